//! The emulator's own paths, under `/_emulator/`: the ledger, time, faults, what people do at their
//! bank, and what was called and sent.

use std::sync::Arc;

use hyper::{Method, Response};
use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::book::{Book, Insertion};
use crate::distort::{self, Body, json_body};
use crate::engine::Engine;
use crate::error::PlaidError;
use crate::fault::{Fault, KINDS};
use crate::item::{Item, day};
use crate::ledger::State;
use crate::webhook;
use crate::world::{Command, sync_flags};

/// Furthest that time can be stepped in one request.
const MAXIMUM_STEP_DAYS: i64 = 3_660;
const DAY_SECONDS: i64 = 24 * 3_600;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Step {
    days: i64,
    hours: i64,
    seconds: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetClock {
    /// An instant to stand still at, `now`, or null to run.
    freeze: Option<String>,
}

/// What a person does at their bank, or a test to an Item.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Act {
    pub(crate) action: String,
    pub(crate) item_id: String,
    pub(crate) account_id: Option<String>,
    /// Accounts shared from now on, for `repair`.
    pub(crate) account_ids: Option<Vec<String>>,
}

/// What can be done to an Item, and what it means.
pub(crate) const ACTIONS: [(&str, &str); 15] = [
    ("refresh", "ask the bank for news"),
    ("purchase", "buy something; nobody is told"),
    ("create_transaction", "put a row in, posted today"),
    ("fire_webhook", "send SYNC_UPDATES_AVAILABLE"),
    ("reset_login", "break the login"),
    ("repair", "sign in again"),
    ("repair_elsewhere", "sign in again through another application"),
    ("end_consent", "end the consent now"),
    ("open_account", "open another account at the bank"),
    ("revoke_account", "withdraw an account at the bank"),
    ("revoke", "withdraw the whole Item"),
    ("verify_account", "let micro-deposits verify an account"),
    ("expire_verification", "let the verification of an account expire"),
    ("rotate", "rotate the access token"),
    ("remove", "remove the Item"),
];

/// Answers a path below `/_emulator/`.
pub(crate) fn control(
    engine: &Arc<Engine>,
    method: &Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> Response<Body> {
    let result = match (method.as_str(), path) {
        ("GET", "ledger") => return ledger(engine, query),
        ("GET", "calls") => Ok(json!({ "calls": engine.calls() })),
        ("GET", "webhooks") => Ok(json!({ "webhooks": engine.deliveries() })),
        ("GET", "clock") => Ok(engine.clock_json()),
        ("GET", "items") => Ok(items(engine)),
        ("GET", "faults") => Ok(faults(engine)),
        ("DELETE", "faults") => {
            engine.clear_faults();
            Ok(json!({ "cleared": true }))
        }
        ("POST", "faults") => read(body).and_then(|fault| add_fault(engine, fault)),
        ("POST", "advance") => read(body).and_then(|step| advance(engine, &step)),
        ("POST", "clock") => read(body).and_then(|set: SetClock| set_clock(engine, &set)),
        ("POST", "webhook_key/rotate") => {
            engine.signer.rotate(engine.real().as_second());
            Ok(json!({ "key_id": engine.signer.current() }))
        }
        ("POST", "act") => read(body).and_then(|wanted| act(engine, &wanted)),
        _ => return json_body(404, &json!({ "error": "no such path of the emulator" })),
    };
    match result {
        Ok(answer) => json_body(200, &answer),
        Err(why) => json_body(400, &json!({ "error": why })),
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn worded(error: PlaidError) -> String {
    let PlaidError { error_code, error_message, .. } = error;
    format!("{error_code}: {error_message}")
}

fn advance(engine: &Arc<Engine>, step: &Step) -> Result<Value, String> {
    let seconds = step.days.saturating_mul(DAY_SECONDS);
    let seconds =
        seconds.saturating_add(step.hours.saturating_mul(3_600)).saturating_add(step.seconds);
    if !(0..=MAXIMUM_STEP_DAYS * DAY_SECONDS).contains(&seconds) {
        return Err(format!("send {{\"days\": N}} with N from 0 to {MAXIMUM_STEP_DAYS}"));
    }
    engine.run(&Command::Advance { seconds }).map_err(worded)?;
    Ok(engine.clock_json())
}

fn set_clock(engine: &Arc<Engine>, set: &SetClock) -> Result<Value, String> {
    let command = match set.freeze.as_deref() {
        None => Command::Run { real: engine.real() },
        Some("now") => Command::Freeze { at: engine.now() },
        Some(instant) => {
            let newest = engine.read(|world| world.items.values().map(|i| i.created_at).max());
            let at: Timestamp = instant.parse().map_err(
                |_| "freeze takes an instant such as 2026-10-01T00:00:00Z, \"now\", or null to run",
            )?;
            if newest.is_some_and(|newest| at < newest) {
                return Err("time cannot go back behind the newest Item".to_owned());
            }
            Command::Freeze { at }
        }
    };
    engine.run(&command).map_err(worded)?;
    Ok(engine.clock_json())
}

fn add_fault(engine: &Arc<Engine>, fault: Fault) -> Result<Value, String> {
    if let Some(flaw) = fault.flaw() {
        return Err(flaw.to_owned());
    }
    engine.add_fault(fault);
    Ok(json!({ "added": true }))
}

fn faults(engine: &Engine) -> Value {
    let kinds = KINDS.iter().map(|(_, name, what)| json!({ "kind": name, "what": what }));
    json!({ "faults": engine.faults(), "kinds": kinds.collect::<Vec<_>>() })
}

fn items(engine: &Engine) -> Value {
    let items: Vec<Value> = engine.read(|world| {
        let json = |item: &Item| {
            json!({
                "access_token": item.access_token,
                "institution_id": item.institution.institution_id,
                "item_id": item.item_id(),
                "login_required": item.login_required,
                "products": item.products,
                "removed": !item.is_live(),
                "username": item.username(),
                "webhook": item.webhook,
            })
        };
        world.items.values().map(json).collect()
    });
    json!({ "items": items })
}

/// Does something to an Item.
pub(crate) fn act(engine: &Arc<Engine>, wanted: &Act) -> Result<Value, String> {
    let item = engine.read(|world| world.item_with_id(&wanted.item_id));
    let item = item.ok_or("no Item has this item_id; GET /_emulator/items lists them")?;
    if !engine.read(|world| world.items[&item].is_live()) {
        return Err("the Item is removed or withdrawn".to_owned());
    }
    let account = |id: &str| {
        let find = |item: &Item| item.accounts.iter().position(|account| account.account_id == id);
        engine.read(|world| find(&world.items[&item])).ok_or("the Item has no such account")
    };
    // The one named, or the first.
    let one_account = || match wanted.account_id.as_deref() {
        Some(id) => account(id),
        None => {
            let first = engine.read(|world| world.items[&item].shared().next());
            first.ok_or("the Item has no shared account")
        }
    };
    let command = match wanted.action.as_str() {
        "refresh" => Command::Refresh { item },
        "purchase" => Command::Purchase { item },
        "reset_login" => Command::ResetLogin { item },
        "repair" => {
            let chosen = wanted.account_ids.as_ref();
            let chosen = chosen.map(|ids| ids.iter().map(|id| account(id)).collect());
            let chosen: Option<Vec<usize>> = chosen.transpose()?;
            if chosen.as_ref().is_some_and(Vec::is_empty) {
                return Err("account_ids names no account".to_owned());
            }
            Command::Repair { item, accounts: chosen }
        }
        "repair_elsewhere" => Command::RepairElsewhere { item },
        "end_consent" => Command::EndConsent { item },
        "open_account" => Command::OpenAccount { item },
        "revoke_account" => Command::RevokeAccount { item, account: one_account()? },
        "verify_account" | "expire_verification" => {
            let verified = wanted.action == "verify_account";
            let status = if verified { "automatically_verified" } else { "verification_expired" };
            Command::Verify { item, account: one_account()?, status: status.to_owned() }
        }
        "create_transaction" => {
            let today = day(engine.now());
            let row = Insertion {
                account: one_account()?,
                transacted: today,
                posted: today,
                amount: Decimal::new(1_234, 2),
                currency: "USD".to_owned(),
                description: "STARBUCKS STORE 01234".to_owned(),
            };
            Command::Insert { item, rows: vec![row] }
        }
        "revoke" => Command::Revoke { item },
        "rotate" => Command::Rotate { item },
        "remove" => Command::Remove { item },
        "fire_webhook" => {
            let notices = engine.read(|world| {
                let flags = sync_flags(&world.items[&item]);
                world.notify(item, "TRANSACTIONS", "SYNC_UPDATES_AVAILABLE", flags)
            });
            let sent = notices.len();
            notices.into_iter().for_each(|notice| webhook::send(engine, notice));
            return Ok(json!({ "sent": sent }));
        }
        other => {
            let names: Vec<&str> = ACTIONS.iter().map(|(name, _)| *name).collect();
            return Err(format!("{other} is no action; use one of {}", names.join(", ")));
        }
    };
    engine.run(&command).map_err(worded)?;
    Ok(json!({ "done": wanted.action }))
}

/// What a sync from the empty cursor would return now, plus removed rows; with `future=1` also
/// what is planned or was never shown. An Item at a time, so that no world is too large for it.
fn ledger(engine: &Arc<Engine>, query: &str) -> Response<Body> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let wanted = pairs.clone().find(|(key, _)| *key == "item_id").map(|(_, value)| value);
    let wanted = wanted.filter(|id| !id.is_empty());
    let future = pairs.any(|pair| pair == ("future", "1"));
    let numbers: Vec<u64> = engine.read(|world| {
        let fits = |item: &Item| wanted.is_none_or(|id| item.item_id() == id);
        world.items.iter().filter(|(_, item)| fits(item)).map(|(number, _)| *number).collect()
    });
    if wanted.is_some() && numbers.is_empty() {
        return json_body(404, &json!({ "error": "no Item has this item_id" }));
    }
    let engine = Arc::clone(engine);
    distort::parts(
        "application/x-ndjson",
        numbers
            .into_iter()
            .map(move |number| engine.item(number, |item, book| ledger_lines(item, book, future))),
    )
}

fn ledger_lines(item: &Item, book: &Book, future: bool) -> String {
    let mut lines = String::new();
    let events = book.ledger.events().iter();
    for event in events.filter(|event| future || event.state != State::Planned) {
        let account = &item.accounts[event.plan.account];
        let line = book.ledger.line(&item.life.namer, event, &account.account_id);
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    lines
}
