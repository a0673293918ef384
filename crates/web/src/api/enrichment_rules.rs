//! Rules of an integration about what transactions mean: tried on what is here before they hold, then for
//! all that is here and all that comes.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use enrich::{Memory, Named, hundredths};
use jiff::civil::Date;
use model::{
    EnrichmentRule, EnrichmentRuleId, IntegrationId, RuleCondition, RuleDecision, Transaction,
};
use serde::{Deserialize, Serialize};
use store::{TransactionFilter, TransactionPlace};
use utoipa::{IntoParams, ToSchema};

use super::page::{LARGE_LIMIT, LIMIT, Page, PageQuery};
use crate::problem::{FieldFault, Problem, ProblemDocument};
use crate::request::{Caller, Json, Query};
use crate::state::Web;

/// Most rules of an integration: every transaction asks each of them.
pub(crate) const MOST_RULES: i64 = 1_000;
/// Longest text of a rule.
const TEXT_CHARS: usize = 128;
/// Most rows that a rule is tried on: some seconds of reading.
const MOST_LOOKED_AT: usize = 200_000;
/// Rows that a trial shows.
const SHOWN: usize = 20;

/// A rule to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleIn {
    /// Which transactions it is about; at least one condition.
    pub(crate) when: RuleCondition,
    /// What they mean; at least one decision.
    pub(crate) then: RuleDecision,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleQuery {
    /// Only tell what would change.
    #[serde(default)]
    dry_run: bool,
}

/// What a rule would change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trial {
    /// Transactions that would mean something else.
    pub(crate) would_change: usize,
    /// Transactions that were looked at, the newest first.
    pub(crate) looked_at: usize,
    /// Whether those are all there are; a trial looks at no more than 200,000.
    pub(crate) complete: bool,
    /// The newest of those that would change.
    pub(crate) transactions: Vec<TrialRow>,
}

/// A transaction that would mean something else.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrialRow {
    /// Our id.
    id: String,
    #[schema(value_type = String, format = Date)]
    pub(crate) date: Date,
    /// The bank's text.
    pub(crate) name: String,
    /// Decimal with Plaid's sign.
    pub(crate) amount: String,
    pub(crate) currency: String,
    /// What it means now.
    pub(crate) before: Meaning,
    /// What it would mean.
    pub(crate) after: Meaning,
}

/// Category and merchant.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Meaning {
    /// The leaf, or Plaid's primary where only that is known.
    pub(crate) category: Option<String>,
    pub(crate) merchant: Option<String>,
}

/// Makes a rule, or tells what it would change.
#[utoipa::path(
    post, path = "/v1/integrations/{id}/enrichment_rules", tag = "enrichment",
    operation_id = "create_enrichment_rule",
    params(("id" = String, Path, description = "Id of the integration"), RuleQuery),
    request_body = RuleIn,
    responses(
        (status = 201, description = "Made; it holds from now on", body = EnrichmentRule),
        (status = 200, description = "With `dry_run`: what it would change", body = Trial),
        (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument),
    ),
)]
pub(crate) async fn create(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(query): Query<RuleQuery>,
    Json(body): Json<RuleIn>,
) -> Result<Response, Problem> {
    let integration = web.integration(&id).await?.id;
    if query.dry_run {
        let trial = try_rule(&web, &integration, body).await?;
        return Ok(axum::Json(trial).into_response());
    }
    let rule = make(&web, &integration, body).await?;
    Ok((StatusCode::CREATED, axum::Json(rule)).into_response())
}

/// Makes a rule, once it is checked.
pub(crate) async fn make(
    web: &Web,
    integration: &IntegrationId,
    rule: RuleIn,
) -> Result<EnrichmentRule, Problem> {
    check(&rule)?;
    let known = web.store.rules(integration, None, MOST_RULES).await?;
    // Said again, it is the same rule: a caller who lost the answer asks twice.
    if let Some(same) = known.iter().find(|it| it.when == rule.when && it.then == rule.then) {
        return Ok(same.clone());
    }
    if known.len() >= usize::try_from(MOST_RULES).unwrap_or(usize::MAX) {
        let detail = format!("an integration has at most {MOST_RULES} rules; delete some first");
        return Err(Problem::fields(vec![FieldFault::new("/when", detail)]));
    }
    Ok(web.store.add_rule(integration, rule.when, rule.then).await?)
}

fn check(rule: &RuleIn) -> Result<(), Problem> {
    let mut faults = Vec::new();
    let mut fault =
        |pointer: &str, detail: &str| faults.push(FieldFault::new(pointer, detail.to_owned()));
    if rule.when == RuleCondition::default() {
        fault("/when", "must name at least one condition");
    }
    if rule.then == RuleDecision::default() {
        fault("/then", "must decide a category, a merchant or both");
    }
    if rule.then.category.as_deref().is_some_and(|name| Named::parse(name).is_none()) {
        fault("/then/category", NO_CATEGORY);
    }
    let texts = [
        ("/when/merchant_key", &rule.when.merchant_key),
        ("/when/text", &rule.when.text),
        ("/when/end_user_id", &rule.when.end_user_id),
        ("/when/account_id", &rule.when.account_id),
        ("/then/merchant", &rule.then.merchant),
    ];
    for (pointer, text) in texts {
        let fits = |text: &String| {
            text.chars().any(char::is_alphanumeric) && text.chars().count() <= TEXT_CHARS
        };
        if text.as_ref().is_some_and(|text| !fits(text)) {
            fault(pointer, &format!("must be words of 1 to {TEXT_CHARS} characters"));
        }
    }
    let bounds =
        [("/when/amount_min", &rule.when.amount_min), ("/when/amount_max", &rule.when.amount_max)];
    for (pointer, text) in bounds {
        if text.as_deref().is_some_and(|text| hundredths(text).is_none_or(|size| size < 0)) {
            fault(pointer, "must be a decimal number without a sign, such as 12.50");
        }
    }
    let bound = |text: &Option<String>| text.as_deref().and_then(hundredths);
    let (least, most) = (bound(&rule.when.amount_min), bound(&rule.when.amount_max));
    if least.zip(most).is_some_and(|(least, most)| least > most) {
        fault("/when/amount_max", "must not be less than amount_min");
    }
    if faults.is_empty() { Ok(()) } else { Err(Problem::fields(faults)) }
}

/// What to do about a category that nobody knows.
pub(crate) const NO_CATEGORY: &str =
    "must be a leaf of GET /v1/categories, or a code of Plaid's taxonomy, version 2";

/// Looks through an integration's transactions for those that a rule would change.
pub(crate) async fn try_rule(
    web: &Web,
    integration: &IntegrationId,
    rule: RuleIn,
) -> Result<Trial, Problem> {
    check(&rule)?;
    let memory = Memory::new([EnrichmentRule {
        id: EnrichmentRuleId::generate(web.ambient()),
        integration_id: integration.clone(),
        when: rule.when,
        then: rule.then,
        created_at: web.ambient().now(),
    }]);
    let filter = TransactionFilter {
        integration: Some(integration.clone()),
        ..TransactionFilter::default()
    };
    let mut trial =
        Trial { would_change: 0, looked_at: 0, complete: false, transactions: Vec::new() };
    let mut after: Option<TransactionPlace> = None;
    while trial.looked_at < MOST_LOOKED_AT {
        let rows = web.store.transactions(&filter, after.as_ref(), LARGE_LIMIT).await?;
        let Some(last) = rows.last() else {
            trial.complete = true;
            break;
        };
        after = Some(TransactionPlace { date: last.date, id: last.id.clone() });
        trial.looked_at += rows.len();
        for row in rows {
            let Some(mut enrichment) = row.enrichment.clone() else { continue };
            let before = Meaning::of(&enrichment);
            memory.remember(&row, &mut enrichment);
            let after = Meaning::of(&enrichment);
            if before != after {
                trial.would_change += 1;
                if trial.transactions.len() < SHOWN {
                    trial.transactions.push(TrialRow::of(row, before, after));
                }
            }
        }
    }
    Ok(trial)
}

impl Meaning {
    pub(crate) fn of(enrichment: &model::Enrichment) -> Self {
        Self {
            category: enrichment.category.name().map(str::to_owned),
            merchant: enrichment.merchant.as_ref().map(|merchant| merchant.name.clone()),
        }
    }

    /// In words, for people.
    pub(crate) fn words(&self) -> String {
        let all = [&self.category, &self.merchant];
        all.into_iter().flatten().cloned().collect::<Vec<_>>().join(", ")
    }
}

impl TrialRow {
    fn of(row: Transaction, before: Meaning, after: Meaning) -> Self {
        let Transaction { id, date, name, amount, currency, .. } = row;
        Self { id, date, name, amount, currency, before, after }
    }
}

/// Lists an integration's rules in the order they were made; of two that fit, the newer decides.
#[utoipa::path(
    get, path = "/v1/integrations/{id}/enrichment_rules", tag = "enrichment",
    operation_id = "list_enrichment_rules",
    params(("id" = String, Path, description = "Id of the integration"), PageQuery),
    responses((status = 200, body = Page<EnrichmentRule>), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn list(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<EnrichmentRule>>, Problem> {
    let integration = web.integration(&id).await?;
    let (limit, after) = (page.limit(LIMIT)?, page.place()?);
    let rows = web.store.rules(&integration.id, after.as_deref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, |row| row.id.to_string(), |row| row)))
}

/// Takes a rule away; what it decided is judged again.
#[utoipa::path(
    delete, path = "/v1/integrations/{id}/enrichment_rules/{rule_id}", tag = "enrichment",
    operation_id = "delete_enrichment_rule",
    params(
        ("id" = String, Path, description = "Id of the integration"),
        ("rule_id" = String, Path, description = "Id of the rule"),
    ),
    responses((status = 204, description = "Gone"), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn delete(
    _: Caller,
    State(web): State<Web>,
    Path((id, rule)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let integration = web.integration(&id).await?;
    match web.store.delete_rule(&integration.id, &rule).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("rule")),
    }
}
