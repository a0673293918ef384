//! The overview: what needs a person, then how fresh every Item is.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use model::{Item, ItemStatus};
use store::ItemFilter;

use super::render::{Frame, page};
use super::session::Operator;
use super::words::{Age, Badge, count, history, item_badge};
use crate::problem::Problem;
use crate::state::Web;

/// Items shown; more are reached through their end users.
const SHOWN: i64 = 200;
/// States in which a person has to look.
const NEEDS_A_PERSON: [ItemStatus; 6] = [
    ItemStatus::LoginRequired,
    ItemStatus::PendingDisconnect,
    ItemStatus::Expiring,
    ItemStatus::AccountRevoked,
    ItemStatus::Revoked,
    ItemStatus::Erroring,
];

/// An Item as a row.
pub(super) struct ItemRow {
    pub(super) id: String,
    pub(super) item_id: String,
    pub(super) end_user_id: String,
    pub(super) end_user_key: String,
    pub(super) bank: String,
    pub(super) badge: Badge,
    pub(super) detail: Option<String>,
    pub(super) advice: Option<&'static str>,
    pub(super) synced: Age,
    pub(super) webhook: Age,
    pub(super) history: String,
    pub(super) is_live: bool,
    needs_a_person: bool,
}

impl ItemRow {
    pub(super) fn of(item: Item, now: Timestamp) -> Self {
        Self {
            badge: item_badge(&item),
            advice: item.status().what_to_do(),
            history: history(&item),
            synced: Age::or_never(item.last_success_at, now),
            webhook: Age::or_never(item.last_webhook_at, now),
            is_live: item.status().is_live(),
            needs_a_person: NEEDS_A_PERSON.contains(&item.status()),
            id: item.key.into(),
            bank: item
                .institution_name
                .or(item.institution_id)
                .unwrap_or_else(|| "Unnamed institution".to_owned()),
            item_id: item.item_id,
            end_user_id: item.end_user_id,
            end_user_key: item.end_user_key.into(),
            detail: item.status_detail,
        }
    }
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    state: String,
    numbers: [(&'static str, String); 4],
    needs: Vec<ItemRow>,
    items: Vec<ItemRow>,
    more: bool,
    has_integrations: bool,
}

pub(super) async fn show(operator: Operator, State(web): State<Web>) -> Result<Response, Problem> {
    let now = web.ambient().now();
    let summary = web.store.summary().await?;
    let rows = async |filter: ItemFilter| {
        let items = web.store.items(&filter, None, SHOWN).await?;
        Ok::<_, Problem>(items.into_iter().map(|item| ItemRow::of(item, now)))
    };
    let mut needs = Vec::new();
    for status in NEEDS_A_PERSON {
        needs.extend(rows(ItemFilter { status: Some(status), ..ItemFilter::default() }).await?);
    }
    let in_order = rows(ItemFilter::default()).await?.filter(|row| !row.needs_a_person);
    let of = |status| summary.items.iter().find(|(s, _)| *s == status).map_or(0, |(_, n)| *n);
    let all: i64 = summary.items.iter().map(|(_, count)| count).sum();
    let broken: i64 = NEEDS_A_PERSON.into_iter().map(of).sum();
    let state = match (all, broken) {
        (0, _) => "Nothing is linked yet.".to_owned(),
        (_, 0) => format!("All {all} items are in order."),
        (_, 1) => format!("1 of {all} items needs attention."),
        _ => format!("{broken} of {all} items need attention."),
    };
    let template = OverviewPage {
        frame: Frame::new(&operator, "overview", "Overview"),
        state,
        numbers: [
            ("End users", count(summary.end_users)),
            ("Items", count(all)),
            ("Accounts", count(summary.accounts)),
            ("Transactions", count(summary.transactions)),
        ],
        needs,
        items: in_order.collect(),
        more: all > SHOWN,
        has_integrations: summary.integrations > 0,
    };
    Ok(page(&template))
}
