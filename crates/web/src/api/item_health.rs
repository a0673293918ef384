//! How an Item is doing: its log of syncs, how fresh each account is, and switching it off and on.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use model::{AccountStatus, Item, ItemEvent, ItemStatus, Stream};
use serde::Serialize;
use store::{SyncRecord, TransactionFilter, WorkKind};
use utoipa::ToSchema;

use super::items::{ItemView, refuse_unless_live};
use super::page::{LIMIT, Page, PageQuery};
use crate::problem::{ITEM_ENDED, Problem, ProblemDocument, STREAM_NOT_CHOSEN};
use crate::request::{Caller, Query};
use crate::state::Web;

/// Plaid reads a bank one to four times a day; after this long without that, data is stale although
/// every call succeeds.
const STALE_AFTER: SignedDuration = SignedDuration::from_hours(48);
/// Accounts of one Item in an answer.
const ACCOUNTS: i64 = 1_000;

/// One sync: an attempt to bring an Item up to date.
#[derive(Serialize, ToSchema)]
pub(crate) struct SyncView {
    /// Its id.
    id: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// How long it took.
    duration_ms: i64,
    /// Whether Plaid's cursor was reached.
    succeeded: bool,
    /// What came of it, in words.
    outcome: String,
    /// Pages of transactions.
    pages: u32,
    /// Times the update was started again because data changed.
    restarts: u32,
    /// Whether everything was read again from the beginning.
    full_walk: bool,
    /// Transactions that appeared.
    added: u64,
    /// Transactions with new content.
    modified: u64,
    /// Transactions that went.
    removed: u64,
    /// Plaid's ids of the requests, for their support.
    request_ids: Vec<String>,
}

impl SyncView {
    fn of((id, sync): (String, SyncRecord)) -> Self {
        let took = sync.ended_at.duration_since(sync.started_at).as_millis();
        Self {
            id,
            started_at: sync.started_at,
            duration_ms: i64::try_from(took).unwrap_or(i64::MAX),
            succeeded: sync.succeeded,
            outcome: sync.outcome,
            pages: sync.pages,
            restarts: sync.restarts,
            full_walk: sync.full_walk,
            added: sync.added,
            modified: sync.modified,
            removed: sync.removed,
            request_ids: sync.request_ids,
        }
    }
}

/// Lists the syncs of an Item, newest first. They are kept for 30 days.
#[utoipa::path(
    get, path = "/v1/items/{item_id}/syncs", tag = "items", operation_id = "list_syncs",
    params(("item_id" = String, Path, description = "Plaid's item_id, or our id"), PageQuery),
    responses((status = 200, body = Page<SyncView>), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn syncs(
    _: Caller,
    State(web): State<Web>,
    Path(item_id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<SyncView>>, Problem> {
    let item = web.item(&item_id).await?;
    let (limit, after) = (page.limit(LIMIT)?, page.place()?);
    let rows = web.store.syncs(&item.key, after.as_deref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, |(id, _)| id.clone(), SyncView::of)))
}

/// How fresh one account is.
#[derive(Serialize, ToSchema)]
pub(crate) struct AccountFreshness {
    /// Plaid's account id.
    account_id: String,
    /// Its name.
    name: String,
    /// Whether the bank still tells of it.
    status: AccountStatus,
    /// Date of its newest transaction.
    #[schema(value_type = Option<String>, format = Date)]
    newest_transaction: Option<jiff::civil::Date>,
    /// When we last tried.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Timestamp>,
    /// When we last succeeded: everything Plaid had then is here.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_success_at: Option<Timestamp>,
    /// When Plaid last read the bank.
    #[schema(value_type = Option<String>, format = DateTime)]
    bank_updated_at: Option<Timestamp>,
    /// When Plaid last failed to.
    #[schema(value_type = Option<String>, format = DateTime)]
    bank_failed_at: Option<Timestamp>,
    /// When we look again without being asked.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_due_at: Option<Timestamp>,
    /// Whether what is here can be trusted to be recent.
    stale: bool,
    /// Why not, in words.
    why: Option<String>,
}

/// How fresh an Item is, account by account.
#[derive(Serialize, ToSchema)]
pub(crate) struct FreshnessView {
    /// Plaid's `item_id`.
    item_id: String,
    /// Its state.
    status: ItemStatus,
    /// Whether a sync is under way now.
    syncing: bool,
    /// The accounts.
    accounts: Vec<AccountFreshness>,
}

/// Tells how fresh each account of an Item is, and finds what is stale behind successful calls.
#[utoipa::path(
    get, path = "/v1/items/{item_id}/freshness", tag = "items", operation_id = "get_freshness",
    params(("item_id" = String, Path, description = "Plaid's item_id, or our id")),
    responses((status = 200, body = FreshnessView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn freshness(
    _: Caller,
    State(web): State<Web>,
    Path(item_id): Path<String>,
) -> Result<axum::Json<FreshnessView>, Problem> {
    let item = web.item(&item_id).await?;
    let next_due_at = web.store.due_at(WorkKind::Sync, item.key.as_str()).await?;
    let next_due_at = next_due_at.filter(|_| item.status().is_live());
    let why = staleness(&item, web.ambient().now());
    let mut accounts = Vec::new();
    for account in web.store.accounts(&item.end_user_key, None, ACCOUNTS).await? {
        if account.item_id != item.item_id {
            continue;
        }
        let filter = TransactionFilter {
            end_user: Some(item.end_user_key.clone()),
            account_id: Some(account.account_id.clone()),
            ..TransactionFilter::default()
        };
        let newest = web.store.transactions(&filter, None, 1).await?;
        let why = match account.status {
            AccountStatus::Active => why.clone(),
            AccountStatus::Missing => Some("The bank no longer tells of this account.".to_owned()),
            AccountStatus::Revoked => Some("The end user withdrew this account.".to_owned()),
        };
        accounts.push(AccountFreshness {
            account_id: account.account_id,
            name: account.name,
            status: account.status,
            newest_transaction: newest.first().map(|row| row.date),
            last_attempt_at: item.last_attempt_at,
            last_success_at: item.last_success_at,
            bank_updated_at: item.bank_updated_at,
            bank_failed_at: item.bank_failed_at,
            next_due_at,
            stale: why.is_some(),
            why,
        });
    }
    let syncing = web.store.is_at_work(WorkKind::Sync, item.key.as_str()).await?;
    let status = item.status();
    Ok(axum::Json(FreshnessView { item_id: item.item_id, status, syncing, accounts }))
}

/// Why an Item's data cannot be trusted to be recent, if it cannot.
pub(crate) fn staleness(item: &Item, now: Timestamp) -> Option<String> {
    let older = |at: Option<Timestamp>| at.is_some_and(|at| now.duration_since(at) > STALE_AFTER);
    match item.status() {
        ItemStatus::Waiting => return Some("The first sync has not finished.".to_owned()),
        status if !status.is_live() => return Some("Nothing is read any more.".to_owned()),
        ItemStatus::LoginRequired => {
            return Some("The bank asks the end user to sign in again.".to_owned());
        }
        _ => {}
    }
    if older(item.last_success_at) {
        return Some("No sync has succeeded for two days.".to_owned());
    }
    let failed_since = item.bank_failed_at > item.bank_updated_at;
    if older(item.bank_updated_at) {
        let since = if failed_since { " and has failed to since" } else { "" };
        return Some(format!(
            "Calls succeed, but Plaid last read the bank more than two days ago{since}."
        ));
    }
    None
}

/// Switches an Item off: nothing is asked of Plaid until it is switched on. Its billing goes on;
/// delete it to end that.
#[utoipa::path(
    post, path = "/v1/items/{item_id}/disable", tag = "items", operation_id = "disable_item",
    params(("item_id" = String, Path, description = "Plaid's item_id, or our id")),
    responses(
        (status = 200, body = ItemView), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument),
    ),
)]
pub(crate) async fn disable(
    _: Caller,
    State(web): State<Web>,
    Path(item_id): Path<String>,
) -> Result<axum::Json<ItemView>, Problem> {
    switch(&web, &item_id, ItemEvent::Disabled, ItemStatus::Disabled).await
}

/// Switches an Item on; it catches up at once.
#[utoipa::path(
    post, path = "/v1/items/{item_id}/enable", tag = "items", operation_id = "enable_item",
    params(("item_id" = String, Path, description = "Plaid's item_id, or our id")),
    responses(
        (status = 200, body = ItemView), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument),
    ),
)]
pub(crate) async fn enable(
    _: Caller,
    State(web): State<Web>,
    Path(item_id): Path<String>,
) -> Result<axum::Json<ItemView>, Problem> {
    let item = web.item(&item_id).await?;
    if item.status() != ItemStatus::Disabled && item.status().is_live() {
        return Ok(axum::Json(ItemView::of(item)));
    }
    switch(&web, &item_id, ItemEvent::Enabled, ItemStatus::CatchingUp).await
}

async fn switch(
    web: &Web,
    item_id: &str,
    event: ItemEvent,
    wanted: ItemStatus,
) -> Result<axum::Json<ItemView>, Problem> {
    let item = web.item(item_id).await?;
    if web.store.item_happens(&item.key, event).await? != wanted {
        return Err(Problem::new(ITEM_ENDED, "An Item that has ended cannot be switched."));
    }
    Ok(axum::Json(ItemView::of(web.item(item.key.as_str()).await?)))
}

/// Asks the bank for news, now. Plaid bills each call; what it finds arrives by the next sync.
#[utoipa::path(
    post, path = "/v1/items/{item_id}/refresh", tag = "items", operation_id = "refresh_item",
    params(("item_id" = String, Path, description = "Plaid's item_id, or our id")),
    responses(
        (status = 202, description = "The bank is being asked", body = ItemView),
        (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
        (status = 422, body = ProblemDocument), (status = 502, body = ProblemDocument),
    ),
)]
pub(crate) async fn refresh(
    _: Caller,
    State(web): State<Web>,
    Path(item_id): Path<String>,
) -> Result<(StatusCode, axum::Json<ItemView>), Problem> {
    let item = web.item(&item_id).await?;
    refuse_unless_live(&item)?;
    let integration = web.integration(item.integration_id.as_str()).await?;
    if !integration.streams.contains(&Stream::Transactions) {
        let detail =
            "Nobody would read the transactions that the bank is asked for and Plaid bills.";
        return Err(Problem::new(STREAM_NOT_CHOSEN, detail));
    }
    let ended = || Problem::new(ITEM_ENDED, "This Item has no access token any more.");
    let token = web.store.access_token(&item.key).await?.ok_or_else(ended)?;
    let token = plaid::AccessToken::stored(token);
    let client = web.client(&integration).await?;
    let refreshed = client.transactions_refresh(&token).await;
    refreshed.map_err(|error| super::links::rejected(&error))?;
    web.store.poke(WorkKind::Sync, item.key.as_str(), true).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(ItemView::of(item))))
}
