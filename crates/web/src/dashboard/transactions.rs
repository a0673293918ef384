//! One transaction: what it means and why, what it is tied to, what a person can correct, and every
//! version of it.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use enrich::Leaf;
use model::{ChangeKind, Direction, Record, Transaction};
use serde::Deserialize;

use super::meaning::{Reason, category, marks, merchant, plaid_differs};
use super::render::{Faults, Frame, page, page_with};
use super::session::{Operator, Signed};
use super::words::grouped;
use crate::api::corrections::{AnnotationIn, correct};
use crate::problem::Problem;
use crate::state::Web;

const SECTION: &str = "end-users";

/// A sentence about another transaction, with the way there.
struct TieRow {
    words: String,
    id: String,
    reason: String,
}

struct VersionRow {
    seq: i64,
    what: &'static str,
    date: String,
    amount: String,
    state: &'static str,
    merchant: String,
    category: String,
    by: String,
}

#[derive(Template)]
#[template(path = "transaction.html")]
struct ShowPage {
    frame: Frame,
    id: String,
    end_user: String,
    end_user_id: String,
    state: String,
    name: String,
    category: String,
    reason: Option<Reason>,
    plaid: Option<String>,
    merchant_reason: Option<String>,
    ties: Vec<TieRow>,
    alone: Option<String>,
    series: Option<String>,
    marks: Vec<&'static str>,
    note: Option<String>,
    categories: Vec<&'static str>,
    given_category: String,
    given_merchant: String,
    is_corrected: bool,
    is_removed: bool,
    faults: Faults,
    versions: Vec<VersionRow>,
}

pub(super) async fn show(
    operator: Operator,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(page(&show_page(&operator, &web, &id).await?))
}

async fn show_page(operator: &Operator, web: &Web, id: &str) -> Result<ShowPage, Problem> {
    let row = web.store.transaction(id).await?;
    let row = row.ok_or_else(|| Problem::not_found("transaction"))?;
    let item = web.item(&row.item_id).await?;
    let title = merchant(&row).unwrap_or_else(|| row.name.clone());
    let annotation = row.annotation.clone().unwrap_or_default();
    let meaning = row.enrichment.as_ref();
    let series = meaning.and_then(|it| it.recurring.as_ref());
    let alone = meaning.and_then(|it| it.transfer.as_ref()).filter(|it| it.other.is_none());
    Ok(ShowPage {
        frame: Frame::new(operator, SECTION, title),
        id: row.id.clone(),
        end_user: item.end_user_key.to_string(),
        end_user_id: row.end_user_id.clone(),
        state: state(&row),
        name: row.name.clone(),
        category: category(&row),
        reason: meaning.map(Reason::of),
        plaid: plaid_differs(&row),
        merchant_reason: meaning.and_then(|it| Some(it.merchant.as_ref()?.reason.clone())),
        ties: ties(web, &row).await?,
        alone: alone.map(|it| it.reason.clone()),
        series: series.map(|it| it.cadence.words().to_owned()),
        marks: marks(&row),
        categories: Leaf::all().map(Leaf::name).collect(),
        given_category: annotation.category.clone().unwrap_or_default(),
        given_merchant: annotation.merchant.clone().unwrap_or_default(),
        is_corrected: annotation.category.is_some() || annotation.merchant.is_some(),
        note: annotation.note,
        is_removed: row.removed,
        faults: Faults(Vec::new()),
        versions: versions(web, id).await?,
    })
}

fn state(row: &Transaction) -> String {
    let way = match row.direction {
        Direction::Out => "out of",
        Direction::In => "into",
    };
    let stage = match (row.removed, row.pending) {
        (true, _) => "taken back by the bank",
        (false, true) => "pending",
        (false, false) => "posted",
    };
    let amount = grouped(&row.amount);
    format!("{amount} {} {way} the account on {}, {stage}.", row.currency, row.date)
}

async fn ties(web: &Web, row: &Transaction) -> Result<Vec<TieRow>, Problem> {
    let Some(meaning) = &row.enrichment else { return Ok(Vec::new()) };
    let transfer = meaning.transfer.as_ref();
    let transfer = transfer.and_then(|it| Some(("The other half", it.other.clone()?, &it.reason)));
    let refund = meaning.refund.as_ref().map(|it| ("Money back for", it.of.clone(), &it.reason));
    let twice = meaning.duplicate.as_ref();
    let twice = twice.map(|it| ("May be the same as", it.of.clone(), &it.reason));
    let mut rows = Vec::new();
    for (words, id, reason) in [transfer, refund, twice].into_iter().flatten() {
        let Some(other) = web.store.transaction(&id).await? else { continue };
        let (name, amount) = (merchant(&other).unwrap_or(other.name), grouped(&other.amount));
        let words = format!("{words}: {name}, {amount} {} on {}", other.currency, other.date);
        rows.push(TieRow { words, id, reason: reason.clone() });
    }
    Ok(rows)
}

async fn versions(web: &Web, id: &str) -> Result<Vec<VersionRow>, Problem> {
    let changes = web.store.history_of(id).await?;
    let row = |change: model::Change| {
        let what = match change.kind {
            ChangeKind::Added => "appeared",
            ChangeKind::Modified => "changed",
            ChangeKind::Removed => "went",
        };
        let Record::Transaction(row) = change.record else {
            return VersionRow { seq: change.seq, what, ..VersionRow::empty() };
        };
        let by = row.enrichment.as_ref().map(|it| Reason::of(it).sure);
        VersionRow {
            seq: change.seq,
            what,
            date: row.date.to_string(),
            amount: grouped(&row.amount),
            state: if row.pending { "pending" } else { "posted" },
            merchant: merchant(&row).unwrap_or_default(),
            category: category(&row),
            by: by.unwrap_or_default(),
        }
    };
    Ok(changes.into_iter().rev().map(row).collect())
}

impl VersionRow {
    fn empty() -> Self {
        Self {
            seq: 0,
            what: "",
            date: String::new(),
            amount: String::new(),
            state: "",
            merchant: String::new(),
            category: String::new(),
            by: String::new(),
        }
    }
}

/// What a person typed; an empty field takes a correction back.
#[derive(Deserialize)]
pub(super) struct CorrectionForm {
    #[serde(default)]
    category: String,
    #[serde(default)]
    merchant: String,
    for_all_like_it: Option<String>,
}

/// Corrects what a transaction means.
pub(super) async fn correction(
    State(web): State<Web>,
    Path(id): Path<String>,
    Signed(operator, form): Signed<CorrectionForm>,
) -> Result<Response, Problem> {
    let given = |text: &str| Some(Some(text.trim().to_owned()).filter(|text| !text.is_empty()));
    let body = AnnotationIn {
        category: given(&form.category),
        merchant: given(&form.merchant),
        for_all_like_it: form.for_all_like_it.is_some(),
        ..AnnotationIn::default()
    };
    match correct(&web, &id, body).await {
        Ok(_) => Ok(Redirect::to(&format!("/transactions/{id}")).into_response()),
        Err(problem) if !problem.errors.is_empty() => {
            let mut shown = show_page(&operator, &web, &id).await?;
            (shown.given_category, shown.given_merchant) = (form.category, form.merchant);
            shown.faults = Faults(problem.errors);
            Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &shown))
        }
        Err(problem) => Err(problem),
    }
}
