//! What a person says of a transaction: a note, and what it really means. It holds at once, stands above
//! every judgement, and stays with the economic event; on request it holds for all like it.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::{Path, State};
use enrich::{Memory, Named, PAIRED_BY_PERSON, like};
use model::{Annotation, Currency, Enrichment, Money, RuleDecision, Split, Transaction};
use serde::Deserialize;
use utoipa::ToSchema;

use super::enrichment_rules::{NO_CATEGORY, RuleIn, make};
use crate::problem::{FieldFault, Problem, ProblemDocument};
use crate::request::{Caller, Json};
use crate::state::Web;

/// Longest merchant, note and tag, and most tags and parts.
const MERCHANT_CHARS: usize = 128;
const NOTE_CHARS: usize = 2_000;
const TAG_CHARS: usize = 64;
const TAGS: usize = 50;
const SPLITS: usize = 50;
/// How long an answer waits for processing at most, and how often it looks.
const PATIENCE: Duration = Duration::from_millis(900);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What to note about a transaction; null removes, an absent field leaves as it is.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnnotationIn {
    /// A category that stands above every other: a leaf of `GET /v1/categories`, or a code of Plaid's
    /// taxonomy, version 2.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub(crate) category: Option<Option<String>>,
    /// A merchant that stands above every other, up to 128 characters.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub(crate) merchant: Option<Option<String>>,
    /// Our id of the other half of a transfer between own accounts; `none` if it is no transfer.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub(crate) transfer_with: Option<Option<String>>,
    /// Parts of the amount that are about different things, in place of those there are; together they
    /// are the amount. An empty list removes them.
    pub(crate) splits: Option<Vec<Split>>,
    /// A note, up to 2,000 characters.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    pub(crate) note: Option<Option<String>>,
    /// Up to 50 tags of up to 64 characters, in place of those there are.
    pub(crate) tags: Option<BTreeSet<String>>,
    /// Also make a rule of the category and the merchant given here, for all transactions of the
    /// integration with the same merchant (else the same words) and direction, here and to come.
    #[serde(default)]
    pub(crate) for_all_like_it: bool,
}

/// Tells null from absence.
fn given<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(input).map(Some)
}

/// Notes something about a transaction, or corrects what it means. It stays with the economic event:
/// through posting, a full re-walk and a re-link.
#[utoipa::path(
    patch, path = "/v1/transactions/{id}", tag = "transactions", operation_id = "annotate_transaction",
    params(("id" = String, Path, description = "Our id of the transaction")),
    request_body = AnnotationIn,
    responses(
        (status = 200, body = Transaction), (status = 404, body = ProblemDocument),
        (status = 422, body = ProblemDocument),
    ),
)]
pub(crate) async fn annotate(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Json(body): Json<AnnotationIn>,
) -> Result<axum::Json<Transaction>, Problem> {
    Ok(axum::Json(correct(&web, &id, body).await?))
}

/// Notes and corrects, and makes the rule if one is wished.
pub(crate) async fn correct(
    web: &Web,
    id: &str,
    body: AnnotationIn,
) -> Result<Transaction, Problem> {
    let missing = || Problem::not_found("transaction");
    let known = web.store.transaction(id).await?.filter(|row| !row.removed).ok_or_else(missing)?;
    let rule = rule_of(&known, &body)?;
    // Only what is given is checked: an older note may have what is not taken any more.
    let mut faults = faults(&body);
    faults.extend(fault_of_splits(&known, body.splits.as_deref().unwrap_or_default()));
    let pair = body.transfer_with.as_ref().and_then(Option::as_deref);
    faults.extend(fault_of_pair(web, &known, pair).await?);
    if !faults.is_empty() {
        return Err(Problem::fields(faults));
    }
    if let Some(rule) = rule {
        let item = web.item(&known.item_id).await?;
        make(web, &item.integration_id, rule).await?;
    }
    let takes_back = takes_back(&known, &body);
    let word = move |row: &Transaction| {
        let annotation = changed(row.annotation.clone().unwrap_or_default(), body);
        let enrichment = (!takes_back).then(|| at_once(row, &annotation)).flatten();
        (annotation, enrichment)
    };
    let annotated = web.store.annotate(id, word).await?.ok_or_else(missing)?;
    if !takes_back {
        return Ok(annotated);
    }
    processed(web, &known.item_id).await?;
    web.store.transaction(id).await?.ok_or_else(missing)
}

/// Whether a word is taken back, or rows are paired or parted: only processing knows what comes of it.
fn takes_back(known: &Transaction, body: &AnnotationIn) -> bool {
    let before = known.annotation.clone().unwrap_or_default();
    let removes = |given: &Option<Option<String>>| *given == Some(None);
    (before.category.is_some() && removes(&body.category))
        || (before.merchant.is_some() && removes(&body.merchant))
        || body.transfer_with.as_ref().is_some_and(|given| *given != before.transfer_with)
}

/// What a transaction means now, where what a person says is all that counts.
fn at_once(row: &Transaction, annotation: &Annotation) -> Option<Enrichment> {
    let mut enrichment = row.enrichment.clone()?;
    let said = Transaction { annotation: Some(annotation.clone()), ..row.clone() };
    Memory::default().remember(&said, &mut enrichment);
    Some(enrichment)
}

/// Waits a moment for the processing of an end user: who takes a word back, or pairs two rows, wants to
/// see what comes of it.
async fn processed(web: &Web, item_id: &str) -> Result<(), Problem> {
    let end_user = web.item(item_id).await?.end_user_key;
    let processed = async {
        while !web.store.is_processed(&end_user).await? {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, processed).await.unwrap_or(Ok(()))
}

fn changed(mut annotation: Annotation, body: AnnotationIn) -> Annotation {
    let texts = [
        (&mut annotation.category, body.category),
        (&mut annotation.merchant, body.merchant),
        (&mut annotation.transfer_with, body.transfer_with),
        (&mut annotation.note, body.note),
    ];
    for (text, given) in texts {
        if let Some(given) = given {
            *text = given;
        }
    }
    annotation.splits = body.splits.unwrap_or(annotation.splits);
    annotation.tags = body.tags.unwrap_or(annotation.tags);
    annotation
}

/// The rule for all transactions like this one, if one is wished.
fn rule_of(known: &Transaction, body: &AnnotationIn) -> Result<Option<RuleIn>, Problem> {
    if !body.for_all_like_it {
        return Ok(None);
    }
    let fault = |detail: &str| {
        Problem::fields(vec![FieldFault::new("/for_all_like_it", detail.to_owned())])
    };
    let then = RuleDecision {
        category: body.category.clone().flatten(),
        merchant: body.merchant.clone().flatten(),
    };
    if then == RuleDecision::default() {
        return Err(fault("needs a category or a merchant beside it"));
    }
    let when = like(known).ok_or_else(|| {
        fault("the bank's text has no words to know its like by; make a rule with other conditions")
    })?;
    Ok(Some(RuleIn { when, then }))
}

fn faults(body: &AnnotationIn) -> Vec<FieldFault> {
    let fits = |text: &str, most: usize| (1..=most).contains(&text.chars().count());
    let given = |text: &Option<Option<String>>| text.clone().flatten();
    let mut faults = Vec::new();
    if given(&body.category).is_some_and(|name| Named::parse(&name).is_none()) {
        faults.push(FieldFault::new("/category", NO_CATEGORY.to_owned()));
    }
    let texts = [("/merchant", &body.merchant, MERCHANT_CHARS), ("/note", &body.note, NOTE_CHARS)];
    for (pointer, text, most) in texts {
        if given(text).is_some_and(|text| !fits(&text, most)) {
            faults.push(FieldFault::new(pointer, format!("must have 1 to {most} characters")));
        }
    }
    if given(&body.merchant).is_some_and(|name| !name.chars().any(char::is_alphanumeric)) {
        let detail = "must have a letter or a digit; null takes a correction back";
        faults.push(FieldFault::new("/merchant", detail.to_owned()));
    }
    let tags = body.tags.iter().flatten();
    if tags.clone().count() > TAGS || tags.clone().any(|tag| !fits(tag, TAG_CHARS)) {
        let detail = format!("must be at most {TAGS} tags of 1 to {TAG_CHARS} characters");
        faults.push(FieldFault::new("/tags", detail));
    }
    faults
}

/// What is wrong with the parts of an amount.
fn fault_of_splits(known: &Transaction, splits: &[Split]) -> Option<FieldFault> {
    if splits.is_empty() {
        return None;
    }
    let fault = |detail: String| Some(FieldFault::new("/splits", detail));
    if splits.len() > SPLITS {
        return fault(format!("must be at most {SPLITS} parts"));
    }
    if splits.iter().any(|split| Named::parse(&split.category).is_none()) {
        return fault(format!("each category {NO_CATEGORY}"));
    }
    let currency = Currency::of_code(&known.currency);
    let minor = |text: &str| match Money::parse(text, currency.clone()) {
        Ok((money, true)) => Some(money.minor()),
        _ => None,
    };
    let sum = splits.iter().try_fold(0_i64, |sum, split| sum.checked_add(minor(&split.amount)?));
    if sum.is_none() || sum != minor(&known.amount) {
        return fault(format!("must be decimals that together are {}", known.amount));
    }
    None
}

/// What is wrong with another half.
async fn fault_of_pair(
    web: &Web,
    known: &Transaction,
    other: Option<&str>,
) -> Result<Option<FieldFault>, Problem> {
    let Some(other) = other.filter(|other| *other != Annotation::NO_TRANSFER) else {
        return Ok(None);
    };
    let fault = |detail: String| Ok(Some(FieldFault::new("/transfer_with", detail)));
    let found = web.store.transaction(other).await?.filter(|row| !row.removed);
    let Some(row) = found else {
        return fault("must be `none`, or our id of a transaction".to_owned());
    };
    let whose =
        async |row: &Transaction| Ok::<_, Problem>(web.item(&row.item_id).await?.end_user_key);
    let opposite = row.amount.strip_prefix('-') == Some(&known.amount)
        || known.amount.strip_prefix('-') == Some(&row.amount);
    let fits = whose(&row).await? == whose(known).await?
        && row.account_id != known.account_id
        && row.currency == known.currency
        && opposite
        && !(row.pending || known.pending);
    if !fits {
        return fault(
            "must be the same amount the other way, posted, in another account of the same end user"
                .to_owned(),
        );
    }
    let said = row.annotation.as_ref().and_then(|it| it.transfer_with.as_deref());
    let by_person = row.enrichment.as_ref().and_then(|it| it.transfer.as_ref());
    let by_person = by_person.filter(|it| it.reason == PAIRED_BY_PERSON);
    let taken = said.or_else(|| by_person.and_then(|it| it.other.as_deref()));
    match taken.filter(|taken| *taken != known.id) {
        Some(taken) => fault(format!(
            "is said to be paired with {taken} (`none`: with no row); take that back first"
        )),
        None => Ok(None),
    }
}
