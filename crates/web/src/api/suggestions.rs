//! Suggestions: pairs that may be one transaction where Plaid names no link. A person judges.

use axum::extract::{Path, State};
use jiff::Timestamp;
use model::Transaction;
use serde::{Deserialize, Serialize};
use store::{Settled, Suggestion};
use utoipa::{IntoParams, ToSchema};

use super::page::{LIMIT, Page, PageQuery};
use crate::problem::{ALREADY_SETTLED, Problem, ProblemDocument};
use crate::request::{Caller, Query};
use crate::state::Web;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SuggestionQuery {
    /// Of one Item: Plaid's item_id, or our id.
    item_id: Option<String>,
    /// Also those that were settled.
    #[serde(default)]
    settled: bool,
    /// Rows wanted: 1 to 1,000, 100 if absent.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    after: Option<String>,
}

/// Two transactions that may be one.
#[derive(Serialize, ToSchema)]
pub(crate) struct SuggestionView {
    /// Our id.
    id: String,
    /// `posting`: a pending row and a posted one; `relink`: a row known from a login that was
    /// replaced and one of the new login.
    kind: String,
    /// Why they may be one.
    reason: String,
    /// Our id of the earlier transaction; it stays if the pair is accepted.
    from_id: String,
    /// Our id of the later one.
    to_id: String,
    /// `accepted`, `dismissed`, or `moot` when another suggestion settled it.
    resolution: Option<String>,
    /// When it was found.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was settled.
    #[schema(value_type = Option<String>, format = DateTime)]
    resolved_at: Option<Timestamp>,
}

impl SuggestionView {
    fn of(row: Suggestion) -> Self {
        Self {
            id: row.id.into(),
            kind: row.kind,
            reason: row.reason,
            from_id: row.from_id,
            to_id: row.to_id,
            resolution: row.resolution,
            created_at: row.created_at,
            resolved_at: row.resolved_at,
        }
    }
}

/// Lists suggested pairs.
#[utoipa::path(
    get, path = "/v1/suggestions", tag = "transactions", operation_id = "list_suggestions",
    params(SuggestionQuery),
    responses((status = 200, body = Page<SuggestionView>), (status = 400, body = ProblemDocument)),
)]
pub(crate) async fn list(
    _: Caller,
    State(web): State<Web>,
    Query(query): Query<SuggestionQuery>,
) -> Result<axum::Json<Page<SuggestionView>>, Problem> {
    let item = match &query.item_id {
        Some(id) => Some(web.item(id).await?.key),
        None => None,
    };
    let page = PageQuery { limit: query.limit, after: query.after };
    let (limit, after) = (page.limit(LIMIT)?, page.place()?);
    let rows =
        web.store.suggestions(item.as_ref(), query.settled, after.as_deref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, |row| row.id.to_string(), SuggestionView::of)))
}

/// The transaction that an accepted pair became.
#[derive(Serialize, ToSchema)]
pub(crate) struct AcceptedView {
    /// The one transaction, under the id of the earlier one.
    transaction: Transaction,
}

/// Accepts a pair: the earlier transaction goes on as what the later one is, with its notes.
#[utoipa::path(
    post, path = "/v1/suggestions/{id}/accept", tag = "transactions",
    operation_id = "accept_suggestion",
    params(("id" = String, Path, description = "Id of the suggestion")),
    responses(
        (status = 200, body = AcceptedView),
        (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
    ),
)]
pub(crate) async fn accept(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<AcceptedView>, Problem> {
    let suggestion = settle(&web, &id, true).await?;
    let transaction = web.store.transaction(&suggestion.from_id).await?;
    let transaction = transaction.ok_or_else(|| Problem::not_found("transaction"))?;
    Ok(axum::Json(AcceptedView { transaction }))
}

/// Dismisses a pair for good.
#[utoipa::path(
    post, path = "/v1/suggestions/{id}/dismiss", tag = "transactions",
    operation_id = "dismiss_suggestion",
    params(("id" = String, Path, description = "Id of the suggestion")),
    responses(
        (status = 200, body = SuggestionView),
        (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
    ),
)]
pub(crate) async fn dismiss(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<SuggestionView>, Problem> {
    Ok(axum::Json(SuggestionView::of(settle(&web, &id, false).await?)))
}

async fn settle(web: &Web, id: &str, accept: bool) -> Result<Suggestion, Problem> {
    let missing = || Problem::not_found("suggestion");
    match web.store.settle_suggestion(id, accept).await? {
        Settled::Yes => web.store.suggestion(id).await?.ok_or_else(missing),
        Settled::Unknown => Err(missing()),
        Settled::Before => {
            Err(Problem::new(ALREADY_SETTLED, "This suggestion was settled before."))
        }
        Settled::Outdated => {
            let detail = "The later transaction is gone, so the two cannot be joined any more.";
            Err(Problem::new(ALREADY_SETTLED, detail))
        }
    }
}
