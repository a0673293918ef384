//! The emulator's own paths, under `/_emulator/`: the ledger, time, faults, and what was called.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ledger::State;
use crate::server::{Engine, json as answer};
use crate::world::{Command, Fault};

/// Most days time can be stepped in one request.
const MAXIMUM_STEP_DAYS: i64 = 3_660;

#[derive(Deserialize)]
struct Advance {
    days: i64,
}

/// Answers a path below `/_emulator/`.
pub(crate) fn control(
    engine: &Arc<Engine>,
    method: &Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> Response {
    match (method.as_str(), path) {
        ("GET", "ledger") => ledger(engine, query),
        ("GET", "calls") => answer(StatusCode::OK, &json!({ "calls": engine.calls() })),
        ("GET", "webhooks") => answer(StatusCode::OK, &json!({ "webhooks": engine.attempts() })),
        ("POST", "advance") => match serde_json::from_slice::<Advance>(body) {
            Ok(Advance { days }) if (0..=MAXIMUM_STEP_DAYS).contains(&days) => {
                let _advanced = engine.run(&Command::Advance { days });
                answer(StatusCode::OK, &json!({ "ahead_hours": engine.ahead().as_hours() }))
            }
            _ => refuse(&format!("send {{\"days\": N}} with N from 0 to {MAXIMUM_STEP_DAYS}")),
        },
        ("POST", "faults") => match serde_json::from_slice::<Fault>(body) {
            Ok(fault) if fault.page > 0 => {
                let _added = engine.run(&Command::AddFault(fault));
                answer(StatusCode::OK, &json!({ "added": true }))
            }
            Ok(_) => refuse("page counts from 1"),
            Err(error) => refuse(&error.to_string()),
        },
        _ => answer(StatusCode::NOT_FOUND, &json!({ "error": "no such path of the emulator" })),
    }
}

fn refuse(why: &str) -> Response {
    answer(StatusCode::BAD_REQUEST, &json!({ "error": why }))
}

/// What a sync from the empty cursor would return now, plus removed rows; with `future=1` also
/// what is planned or was never shown.
fn ledger(engine: &Arc<Engine>, query: &str) -> Response {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let wanted = pairs.clone().find(|(key, _)| *key == "item_id").map(|(_, value)| value);
    let future = pairs.any(|pair| pair == ("future", "1"));
    let lines: Vec<Value> = engine.read(|world| {
        let items = world.items.values();
        let items = items.filter(|item| wanted.is_none_or(|id| item.namer.item_id == id));
        items
            .flat_map(|item| {
                let events = item.ledger.events().iter();
                events.filter(|event| future || event.state != State::Planned).map(|event| {
                    let account = &item.accounts[event.plan.account];
                    item.ledger.line(&item.namer, event, &account.account_id)
                })
            })
            .collect()
    });
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    (StatusCode::OK, [("content-type", "application/x-ndjson")], body).into_response()
}
