//! One Item: its state and what to do, how fresh each account is, its streams, and its log of syncs.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use model::{AccountStatus, Stream};
use store::WorkKind;

use super::overview::ItemRow;
use super::render::{Frame, page};
use super::session::{NoFields, Operator, Signed};
use super::words::{Age, Badge, stream_badge};
use crate::api::item_health::staleness;
use crate::problem::Problem;
use crate::state::Web;

/// Syncs shown; the API has all of the last 30 days.
const SYNCS_SHOWN: i64 = 20;
/// Accounts shown.
const ACCOUNTS_SHOWN: i64 = 500;

struct AccountRow {
    name: String,
    mask: String,
    state: &'static str,
}

struct StreamRow {
    name: &'static str,
    meaning: &'static str,
    badge: Badge,
    detail: Option<String>,
    read: Age,
}

struct SyncRow {
    started: Age,
    took: String,
    succeeded: bool,
    outcome: String,
    counts: String,
    pages: u32,
    request_id: String,
}

#[derive(Template)]
#[template(path = "item.html")]
struct ItemPage {
    frame: Frame,
    state: String,
    item: ItemRow,
    stale: Option<String>,
    needs_repair: bool,
    bank_read: Option<Age>,
    accounts: Vec<AccountRow>,
    streams: Vec<StreamRow>,
    syncs: Vec<SyncRow>,
}

pub(super) async fn show(
    operator: Operator,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let now = web.ambient().now();
    let item = web.item(&id).await?;
    let integration = web.integration(item.integration_id.as_str()).await?;
    let known = web.store.stream_states(&item.key).await?;
    let accounts = web.store.accounts(&item.end_user_key, None, ACCOUNTS_SHOWN).await?;
    let accounts = accounts.into_iter().filter(|account| account.item_id == item.item_id);
    let syncs = web.store.syncs(&item.key, None, SYNCS_SHOWN).await?;
    let stream = |stream: Stream| {
        let state = known.iter().find(|state| state.stream == stream);
        let read = match stream.comes_with_sync() {
            true => item.last_success_at,
            false => state.and_then(|state| state.last_success_at),
        };
        StreamRow {
            name: stream.as_str(),
            meaning: stream.declaration().meaning,
            badge: stream_badge(state.map(|state| state.state.as_str()), read.is_some()),
            detail: state.and_then(|state| state.detail.clone()),
            read: Age::or_never(read, now),
        }
    };
    let template = ItemPage {
        state: match item.last_success_at {
            Some(at) if item.status().is_live() => {
                format!("Nothing is missing up to what Plaid had {}.", Age::of(at, now).words)
            }
            _ => String::new(),
        },
        stale: staleness(&item, now),
        needs_repair: item.status().needs_repair(),
        bank_read: item.bank_updated_at.map(|at| Age::of(at, now)),
        accounts: accounts
            .map(|account| AccountRow {
                name: account.name,
                mask: account.mask.unwrap_or_default(),
                state: match account.status {
                    AccountStatus::Active => "",
                    AccountStatus::Missing => "no longer told of by the bank",
                    AccountStatus::Revoked => "withdrawn by the end user",
                },
            })
            .collect(),
        streams: integration.streams.iter().copied().map(stream).collect(),
        syncs: syncs
            .into_iter()
            .map(|(_, sync)| SyncRow {
                took: format!("{} ms", sync.ended_at.duration_since(sync.started_at).as_millis()),
                started: Age::of(sync.started_at, now),
                succeeded: sync.succeeded,
                counts: format!("+{} ~{} −{}", sync.added, sync.modified, sync.removed),
                pages: sync.pages,
                request_id: sync.request_ids.last().cloned().unwrap_or_default(),
                outcome: sync.outcome,
            })
            .collect(),
        frame: Frame::new(
            &operator,
            "end-users",
            item.institution_name.clone().unwrap_or_else(|| item.item_id.clone()),
        ),
        item: ItemRow::of(item, now),
    };
    Ok(page(&template))
}

/// Pulls what Plaid has.
pub(super) async fn sync(
    State(web): State<Web>,
    Path(id): Path<String>,
    Signed(_, NoFields {}): Signed<NoFields>,
) -> Result<Response, Problem> {
    let item = web.item(&id).await?;
    if item.status().is_live() {
        web.store.poke(WorkKind::Sync, item.key.as_str(), true).await?;
    }
    Ok(Redirect::to(&format!("/end-users/{}", item.end_user_key)).into_response())
}

/// Reads everything again from the beginning and reconciles.
pub(super) async fn resync(
    State(web): State<Web>,
    Path(id): Path<String>,
    Signed(_, NoFields {}): Signed<NoFields>,
) -> Result<Response, Problem> {
    let item = web.item(&id).await?;
    if item.status().is_live() {
        web.store.rewalk(&item.key).await?;
    }
    Ok(Redirect::to(&format!("/items/{}", item.key)).into_response())
}

#[derive(Template)]
#[template(path = "repair.html")]
struct RepairPage {
    frame: Frame,
    item: ItemRow,
    url: String,
    expires: String,
}

/// Makes a repair link and shows it.
pub(super) async fn repair(
    State(web): State<Web>,
    Path(id): Path<String>,
    Signed(operator, NoFields {}): Signed<NoFields>,
) -> Result<Response, Problem> {
    let item = web.item(&id).await?;
    let (session, _) = web.repair(&item).await?;
    let now = web.ambient().now();
    Ok(page(&RepairPage {
        frame: Frame::new(&operator, "end-users", "Repair link".to_owned()),
        item: ItemRow::of(item, now),
        url: session.hosted_link_url.unwrap_or_default(),
        expires: session.expires_at.to_string(),
    }))
}
