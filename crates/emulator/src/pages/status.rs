//! The status page: Items, tokens, webhooks with their fate, and a button for every action.

use std::sync::Arc;

use askama::Template;
use hyper::Response;
use serde_json::json;

use super::{Form, field, page, see_other};
use crate::distort::Body;
use crate::engine::Engine;
use crate::fault::Active;
use crate::institutions::{INSTITUTIONS, Institution};
use crate::item::{Item, NewItem};
use crate::people::USERS;
use crate::routes::{self, Act};
use crate::webhook::{Delivery, Fate};
use crate::world::Command;

/// Most Items, webhooks and link tokens on the page; the newest.
const SHOWN: usize = 50;
const DAY_SECONDS: i64 = 24 * 3_600;

#[derive(Template)]
#[template(path = "status.html")]
struct Status<'a> {
    url: &'a str,
    seed: u64,
    now: String,
    frozen: bool,
    client_id: &'a str,
    failure: Option<String>,
    total: usize,
    items: Vec<ItemRow>,
    actions: &'a [(&'a str, &'a str)],
    webhooks: Vec<WebhookRow>,
    faults: Vec<String>,
    links: Vec<String>,
    banks: Vec<&'a Institution>,
    users: Vec<&'a str>,
}

struct ItemRow {
    item_id: String,
    institution: String,
    username: String,
    state: &'static str,
    tone: &'static str,
    live: bool,
    products: String,
    access_token: String,
    webhook: String,
}

struct WebhookRow {
    at: String,
    name: String,
    url: String,
    fate: String,
    tone: &'static str,
}

/// The page, with what went wrong if something did.
pub(super) fn show(engine: &Engine, failure: Option<String>) -> Response<Body> {
    let deliveries = engine.deliveries();
    let clock = engine.clock_json();
    let (seed, total, items, links) = engine.read(|world| {
        let newest = world.items.values().rev().take(SHOWN).map(ItemRow::of).collect();
        let hosted = world.links.values().filter(|link| link.is_hosted());
        let links = hosted.map(|link| link.token.clone()).take(SHOWN).collect();
        (world.seed, world.items.len(), newest, links)
    });
    let faults = engine.faults().into_iter().filter(Active::is_live);
    let status = Status {
        url: &engine.url,
        seed,
        now: clock["now"].as_str().unwrap_or_default().to_owned(),
        frozen: clock["frozen"] == json!(true),
        client_id: engine.credentials().0,
        failure,
        total,
        items,
        actions: &routes::ACTIONS,
        webhooks: deliveries.iter().rev().take(SHOWN).map(WebhookRow::of).collect(),
        faults: faults.map(|fault| json!(fault).to_string()).collect(),
        links,
        banks: INSTITUTIONS.iter().filter(|bank| bank.supported).collect(),
        users: std::iter::once("user_good").chain(USERS.iter().map(|(name, _)| *name)).collect(),
    };
    let code = if status.failure.is_some() { 400 } else { 200 };
    page(code, &status)
}

/// Does what a form of the page asks for.
pub(super) fn act(engine: &Arc<Engine>, what: &str, form: &Form) -> Response<Body> {
    let worded = |error: crate::error::PlaidError| error.error_message;
    let result = match what {
        "advance" => match field(form, "days").parse::<i64>() {
            Ok(days) if (0..=3_660).contains(&days) => engine
                .run(&Command::Advance { seconds: days * DAY_SECONDS })
                .map(drop)
                .map_err(worded),
            _ => Err("Days is a whole number from 0 to 3660.".to_owned()),
        },
        "clock" => {
            let command = match field(form, "run") {
                "1" => Command::Run { real: engine.real() },
                _ => Command::Freeze { at: engine.now() },
            };
            engine.run(&command).map(drop).map_err(worded)
        }
        "clear_faults" => {
            engine.clear_faults();
            Ok(())
        }
        "create" => create(engine, form).map_err(worded),
        "act" => {
            let wanted = Act {
                action: field(form, "action").to_owned(),
                item_id: field(form, "item_id").to_owned(),
                ..Act::default()
            };
            routes::act(engine, &wanted).map(drop)
        }
        _ => Err("No such action.".to_owned()),
    };
    match result {
        Ok(()) => see_other("/"),
        Err(failure) => show(engine, Some(failure)),
    }
}

fn create(engine: &Arc<Engine>, form: &Form) -> Result<(), crate::error::PlaidError> {
    let webhook = Some(field(form, "webhook").to_owned()).filter(|url| !url.is_empty());
    let new = NewItem {
        institution_id: field(form, "institution_id").to_owned(),
        products: vec!["transactions".to_owned()],
        webhook,
        username: field(form, "username").to_owned(),
        password: "pass_good".to_owned(),
        days_requested: None,
        accounts: None,
        statements: None,
        user_id: None,
        consented: None,
    };
    let made = engine.run(&Command::CreateItem(new))?;
    engine.run(&Command::Exchange { public_token: made.token.unwrap_or_default() })?;
    Ok(())
}

impl ItemRow {
    fn of(item: &Item) -> Self {
        let (state, tone) = match item {
            Item { removed: true, .. } => ("removed", "quiet"),
            Item { revoked: true, .. } => ("withdrawn", "quiet"),
            Item { login_required: true, .. } => ("needs a login", "bad"),
            _ if item.update_status() == "HISTORICAL_UPDATE_COMPLETE" => ("healthy", "good"),
            _ => ("loading, or never asked for transactions", "wait"),
        };
        Self {
            item_id: item.item_id().to_owned(),
            institution: item.institution.name.clone(),
            username: item.username().to_owned(),
            state,
            tone,
            live: item.is_live(),
            products: item.products.join(", "),
            access_token: item.access_token.clone(),
            webhook: item.webhook.clone().unwrap_or_default(),
        }
    }
}

impl WebhookRow {
    fn of(delivery: &Delivery) -> Self {
        let answer = match (&delivery.status, &delivery.error) {
            (Some(status), _) => format!("answered {status}"),
            (None, Some(error)) => error.clone(),
            (None, None) => "not tried".to_owned(),
        };
        let (word, tone) = match delivery.fate {
            Fate::Pending => ("on its way", "wait"),
            Fate::Delivered => ("delivered", "good"),
            Fate::Failed => ("given up", "bad"),
        };
        let text = |name: &str| delivery.body[name].as_str().unwrap_or_default().to_owned();
        let fault =
            delivery.fault.map(|kind| format!(", {}", json!(kind).as_str().unwrap_or_default()));
        Self {
            at: delivery.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            name: format!("{} {}", text("webhook_type"), text("webhook_code")),
            url: delivery.url.clone(),
            fate: format!(
                "{word}: {answer} (attempt {}){}",
                delivery.attempts,
                fault.unwrap_or_default()
            ),
            tone,
        }
    }
}
