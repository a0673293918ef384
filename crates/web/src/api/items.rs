//! Items: state, freshness, pull, removal.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use model::{History, Item, ItemStatus};
use serde::{Deserialize, Serialize};
use store::{ItemFilter, WorkKind};
use utoipa::{IntoParams, ToSchema};

use super::page::{LIMIT, Page, PageQuery};
use crate::problem::{ITEM_DISABLED, ITEM_ENDED, Problem, ProblemDocument};
use crate::request::{Caller, Query, parameter};
use crate::state::Web;

/// An Item. Its token is never returned.
#[derive(Serialize, ToSchema)]
pub(crate) struct ItemView {
    /// Plaid's `item_id`.
    item_id: String,
    /// Our key of it; works wherever `item_id` does.
    id: String,
    /// The integration.
    integration_id: String,
    /// Your id of the end user.
    end_user_id: String,
    /// Plaid's institution id.
    institution_id: Option<String>,
    /// The institution's name.
    institution_name: Option<String>,
    /// Its state.
    status: ItemStatus,
    /// What stands in the way, with Plaid's code and request id.
    status_detail: Option<String>,
    /// What you must do about it, if anything.
    what_to_do: Option<&'static str>,
    /// When it stops working, where Plaid has announced that.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    /// Our id of another live Item of the same end user that has one of its accounts, too. Keep one:
    /// delete the other, or link anew with `replaces`.
    duplicate_of: Option<String>,
    /// How much history has arrived.
    history: History,
    /// Days of history that were asked for; Plaid fixes them at the first sync.
    history_days_requested: i64,
    /// Date of the oldest transaction.
    #[schema(value_type = Option<String>, format = Date)]
    history_since: Option<Date>,
    /// Number of its last entry in the feed; entries 1 to this one prove completeness.
    item_seq: i64,
    /// When it was linked.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When a sync was last tried.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Timestamp>,
    /// When a sync last succeeded.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_success_at: Option<Timestamp>,
    /// When a webhook for it was last accepted.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_webhook_at: Option<Timestamp>,
}

impl ItemView {
    pub(crate) fn of(item: Item) -> Self {
        Self {
            item_id: item.item_id,
            id: item.key.into(),
            integration_id: item.integration_id.into(),
            end_user_id: item.end_user_id,
            institution_id: item.institution_id,
            institution_name: item.institution_name,
            status: item.life.status(),
            status_detail: item.status_detail,
            what_to_do: item.life.status().what_to_do(),
            ends_at: item.life.ends_at,
            duplicate_of: item.duplicate_of.map(String::from),
            history: item.history,
            history_days_requested: item.days_requested,
            history_since: item.history_since,
            item_seq: item.item_seq,
            created_at: item.created_at,
            last_attempt_at: item.last_attempt_at,
            last_success_at: item.last_success_at,
            last_webhook_at: item.last_webhook_at,
        }
    }
}

/// Reads an Item.
#[utoipa::path(
    get, path = "/v1/items/{item_id}", tag = "items", operation_id = "get_item",
    params(("item_id" = String, Path, description = "Plaid's item_id, or our id")),
    responses((status = 200, body = ItemView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn get(
    _: Caller,
    State(web): State<Web>,
    Path(item_id): Path<String>,
) -> Result<axum::Json<ItemView>, Problem> {
    Ok(axum::Json(ItemView::of(web.item(&item_id).await?)))
}

/// Which Items; an absent parameter does not narrow.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ItemQuery {
    /// Of one integration.
    integration_id: Option<String>,
    /// Of one end user, by your id or ours.
    end_user_id: Option<String>,
    /// In one state.
    status: Option<ItemStatus>,
    /// Rows wanted: 1 to 1,000, 100 if absent.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    after: Option<String>,
}

/// Lists Items.
#[utoipa::path(
    get, path = "/v1/items", tag = "items", operation_id = "list_items",
    params(ItemQuery),
    responses((status = 200, body = Page<ItemView>), (status = 400, body = ProblemDocument)),
)]
pub(crate) async fn list(
    _: Caller,
    State(web): State<Web>,
    Query(query): Query<ItemQuery>,
) -> Result<axum::Json<Page<ItemView>>, Problem> {
    let end_user = match &query.end_user_id {
        Some(id) => Some(web.end_user_of(id, query.integration_id.as_deref()).await?.id),
        None => None,
    };
    let integration = query.integration_id.map(|id| id.parse()).transpose();
    let integration =
        integration.map_err(|_| parameter("integration_id", "must start with `itg_`."))?;
    let filter = ItemFilter { integration, end_user, status: query.status };
    let page = PageQuery { limit: query.limit, after: query.after };
    let limit = page.limit(LIMIT)?;
    let rows = web.store.items(&filter, page.place()?.as_deref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, |row| row.key.to_string(), ItemView::of)))
}

/// Refuses what needs Plaid for an Item of which Plaid is not asked any more.
pub(crate) fn refuse_unless_live(item: &Item) -> Result<(), Problem> {
    match item.status() {
        ItemStatus::Disabled => Err(Problem::new(ITEM_DISABLED, "This Item is switched off.")),
        status if status.is_live() => Ok(()),
        status => {
            let detail = format!("This Item is {}; nothing is read of it.", status.as_str());
            Err(Problem::new(ITEM_ENDED, detail))
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SyncQuery {
    /// Read everything again from the beginning and reconcile: what Plaid no longer has goes, notes
    /// and ids stay.
    #[serde(default)]
    full: bool,
}

/// Pulls what Plaid has, as soon as possible. The bank is not asked.
#[utoipa::path(
    post, path = "/v1/items/{item_id}/sync", tag = "items", operation_id = "sync_item",
    params(("item_id" = String, Path, description = "Plaid's item_id, or our id"), SyncQuery),
    responses(
        (status = 202, description = "The sync is on its way", body = ItemView),
        (status = 404, body = ProblemDocument), (status = 409, body = ProblemDocument),
    ),
)]
pub(crate) async fn sync(
    _: Caller,
    State(web): State<Web>,
    Path(item_id): Path<String>,
    Query(query): Query<SyncQuery>,
) -> Result<(StatusCode, axum::Json<ItemView>), Problem> {
    let item = web.item(&item_id).await?;
    refuse_unless_live(&item)?;
    if query.full {
        web.store.rewalk(&item.key).await?;
    } else {
        web.store.poke(WorkKind::Sync, item.key.as_str(), true).await?;
    }
    Ok((StatusCode::ACCEPTED, axum::Json(ItemView::of(item))))
}

/// What happens to the data of a removed Item.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DataChoice {
    /// It stays readable.
    Keep,
    /// It is erased once Plaid confirms; the feed says so with tombstones.
    Erase,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemovalQuery {
    /// `keep` or `erase`. Must be said, because neither can be undone.
    data: DataChoice,
    /// Only tell what would be removed.
    #[serde(default)]
    dry_run: bool,
}

/// What a removal does or would do.
#[derive(Serialize, ToSchema)]
pub(crate) struct RemovalView {
    /// The Item.
    item: ItemView,
    /// Whether this was only a question.
    dry_run: bool,
    /// How many live transactions would be or will be erased.
    erases_transactions: i64,
}

/// Removes an Item: at Plaid, tried again until Plaid confirms; then its data, by choice.
#[utoipa::path(
    delete, path = "/v1/items/{item_id}", tag = "items", operation_id = "remove_item",
    params(("item_id" = String, Path, description = "Plaid's item_id, or our id"), RemovalQuery),
    responses(
        (status = 202, description = "The removal is on its way", body = RemovalView),
        (status = 200, description = "What a removal would do", body = RemovalView),
        (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument),
    ),
)]
pub(crate) async fn remove(
    _: Caller,
    State(web): State<Web>,
    Path(item_id): Path<String>,
    Query(query): Query<RemovalQuery>,
) -> Result<(StatusCode, axum::Json<RemovalView>), Problem> {
    let item = web.item(&item_id).await?;
    if item.status() == ItemStatus::Removed {
        return Err(Problem::new(ITEM_ENDED, "This Item was removed before."));
    }
    let erases = match query.data {
        DataChoice::Erase => web.store.count_transactions(&item.key).await?,
        DataChoice::Keep => 0,
    };
    let status = if query.dry_run {
        StatusCode::OK
    } else {
        web.store.begin_removal(&item.key, query.data == DataChoice::Erase).await?;
        StatusCode::ACCEPTED
    };
    let item = ItemView::of(web.item(item.key.as_str()).await?);
    let view = RemovalView { item, dry_run: query.dry_run, erases_transactions: erases };
    Ok((status, axum::Json(view)))
}
