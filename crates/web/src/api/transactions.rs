//! Transactions of everybody, filtered.

use axum::extract::{Path, State};
use jiff::Timestamp;
use jiff::civil::Date;
use model::{Change, Currency, Money, Transaction};
use serde::{Deserialize, Serialize};
use store::{TransactionFilter, TransactionPlace};
use utoipa::{IntoParams, ToSchema};

use super::page::{LARGE_LIMIT, Page, PageQuery};
use crate::problem::{Problem, ProblemDocument};
use crate::request::{Caller, Query, parameter};
use crate::state::Web;

/// Which transactions; an absent parameter does not narrow.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransactionQuery {
    /// Of one integration.
    pub(crate) integration_id: Option<String>,
    /// Of one end user, by your id or ours.
    pub(crate) end_user_id: Option<String>,
    /// Of one account.
    pub(crate) account_id: Option<String>,
    /// First date.
    #[param(value_type = Option<String>, format = Date)]
    pub(crate) from: Option<Date>,
    /// Last date.
    #[param(value_type = Option<String>, format = Date)]
    pub(crate) to: Option<Date>,
    /// Smallest amount (Plaid's sign: positive = money out); needs `currency`.
    pub(crate) amount_min: Option<String>,
    /// Largest amount; needs `currency`.
    pub(crate) amount_max: Option<String>,
    /// In one currency.
    pub(crate) currency: Option<String>,
    /// Only pending, or only posted.
    pub(crate) pending: Option<bool>,
    /// `current` (the default): what is pending or posted now; `posted`; or `history`: also rows that
    /// Plaid took back, marked `removed`.
    #[serde(default)]
    pub(crate) view: View,
    /// Changed at or after this instant.
    #[param(value_type = Option<String>, format = DateTime)]
    pub(crate) updated_since: Option<Timestamp>,
    /// Rows wanted: 1 to 5,000, 100 if absent.
    pub(crate) limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub(crate) after: Option<String>,
}

/// Which life stages a list shows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum View {
    /// Pending and posted.
    #[default]
    Current,
    /// Posted only.
    Posted,
    /// Everything there ever was.
    History,
}

/// Lists transactions, newest first.
#[utoipa::path(
    get, path = "/v1/transactions", tag = "transactions", operation_id = "list_transactions",
    params(TransactionQuery),
    responses((status = 200, body = Page<Transaction>), (status = 400, body = ProblemDocument)),
)]
pub(crate) async fn list(
    _: Caller,
    State(web): State<Web>,
    Query(mut query): Query<TransactionQuery>,
) -> Result<axum::Json<Page<Transaction>>, Problem> {
    if let Some(id) = &query.end_user_id {
        let end_user = web.end_user_of(id, query.integration_id.as_deref()).await?;
        query.end_user_id = Some(end_user.id.to_string());
    }
    list_transactions(&web, query).await
}

/// The list behind both paths; `end_user_id` is ours by now.
pub(crate) async fn list_transactions(
    web: &Web,
    query: TransactionQuery,
) -> Result<axum::Json<Page<Transaction>>, Problem> {
    let page = PageQuery { limit: query.limit, after: query.after.clone() };
    let limit = page.limit(LARGE_LIMIT)?;
    let after = page.place()?.map(|place| read_place(&place)).transpose()?;
    let filter = filter(query)?;
    let rows = web.store.transactions(&filter, after.as_ref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, place_of, |row| row)))
}

/// The place behind a row.
pub(crate) fn place_of(row: &Transaction) -> String {
    format!("{} {}", row.date, row.id)
}

fn read_place(text: &str) -> Result<TransactionPlace, Problem> {
    let place = text.split_once(' ').and_then(|(date, id)| {
        Some(TransactionPlace { date: date.parse().ok()?, id: id.to_owned() })
    });
    place.ok_or_else(|| parameter("after", "must be the `next_cursor` of an earlier page."))
}

fn filter(query: TransactionQuery) -> Result<TransactionFilter, Problem> {
    let currency = query.currency.as_ref().map(|code| Currency::iso(&code.to_uppercase()));
    let amount = |name: &str, text: Option<String>| match (text, &currency) {
        (None, _) => Ok(None),
        (Some(_), None) => Err(parameter(name, "needs `currency` beside it.")),
        (Some(text), Some(currency)) => Money::parse(&text, currency.clone())
            .map(|(money, _)| Some(money))
            .map_err(|_| parameter(name, "must be a decimal number.")),
    };
    let least = amount("amount_min", query.amount_min)?;
    let most = amount("amount_max", query.amount_max)?;
    let integration = query.integration_id.map(|id| id.parse()).transpose();
    let end_user = query.end_user_id.map(|id| id.parse()).transpose();
    Ok(TransactionFilter {
        integration: integration
            .map_err(|_| parameter("integration_id", "must start with `itg_`."))?,
        end_user: end_user.map_err(|_| Problem::not_found("end user"))?,
        account_id: query.account_id,
        from: query.from,
        to: query.to,
        currency,
        least,
        most,
        pending: if query.view == View::Posted { Some(false) } else { query.pending },
        updated_since: query.updated_since,
        with_removed: query.view == View::History,
    })
}

/// Reads a transaction.
#[utoipa::path(
    get, path = "/v1/transactions/{id}", tag = "transactions", operation_id = "get_transaction",
    params(("id" = String, Path, description = "Our id of the transaction")),
    responses((status = 200, body = Transaction), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn get(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<Transaction>, Problem> {
    let transaction = web.store.transaction(&id).await?;
    Ok(axum::Json(transaction.ok_or_else(|| Problem::not_found("transaction"))?))
}

/// Every version of a transaction.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryView {
    /// As the feed told of it, oldest first; `seq` is 0 where it has not been numbered yet.
    data: Vec<Change>,
}

/// Tells what happened to a transaction: every version of it.
#[utoipa::path(
    get, path = "/v1/transactions/{id}/history", tag = "transactions",
    operation_id = "get_transaction_history",
    params(("id" = String, Path, description = "Our id of the transaction")),
    responses((status = 200, body = HistoryView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn history(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<HistoryView>, Problem> {
    let data = web.store.history_of(&id).await?;
    if data.is_empty() {
        return Err(Problem::not_found("transaction"));
    }
    Ok(axum::Json(HistoryView { data }))
}
