//! The key that verifies webhooks, and the log of those that were sent.

use serde_json::{Value, json};

use super::Answer;
use super::request::{Request, texts};
use crate::error::PlaidError;
use crate::webhook::{Delivery, Fate};

/// Most entries of a page of the log.
const COUNT: (i64, i64) = (1, 100);
/// How far back the log reaches.
const DAYS: i64 = 7;

pub(super) fn key(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let key_id = request.required_text("key_id")?;
    let key = request.engine.signer.jwk(key_id).ok_or_else(|| {
        let why = "invalid webhook verification key_id provided";
        PlaidError::invalid_input("INVALID_WEBHOOK_VERIFICATION_KEY_ID", why)
    })?;
    Ok(json!({ "key": key }).into())
}

/// Webhooks of the last days, oldest first, but those about transactions.
pub(super) fn list(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let count = usize::try_from(request.number("count", COUNT, COUNT.1)?).unwrap_or(1);
    let now = request.engine.real();
    let oldest = now.saturating_sub(jiff::SignedDuration::from_hours(24 * DAYS)).unwrap_or(now);
    let start = match request.text("start_time")?.map(str::parse::<jiff::Timestamp>) {
        Some(Ok(start)) if start < oldest => {
            return Err(PlaidError::new(
                "INVALID_REQUEST",
                "WEBHOOK_EVENTS_START_TIME_OUT_OF_RANGE",
                "start_time must be within the last 7 days",
            ));
        }
        Some(Ok(start)) => start,
        _ => oldest,
    };
    let after: usize = match request.text("cursor")?.filter(|cursor| !cursor.is_empty()) {
        None => 0,
        Some(cursor) => cursor.parse().map_err(|_| {
            let why = "the cursor is not valid any more";
            PlaidError::new("INVALID_REQUEST", "WEBHOOK_EVENTS_CURSOR_EXPIRED", why)
        })?,
    };
    let listed = |field: &str, value: &Value| {
        let wanted = texts(request.get(field));
        wanted.is_empty() || value.as_str().is_some_and(|value| wanted.iter().any(|w| w == value))
    };
    let wanted = |delivery: &&Delivery| {
        let body = &delivery.body;
        delivery.at >= start
            && body["webhook_type"] != "TRANSACTIONS"
            && listed("webhook_types", &body["webhook_type"])
            && listed("webhook_codes", &body["webhook_code"])
            && listed("item_ids", &body["item_id"])
            && listed("delivery_statuses", &json!(delivery.fate))
    };
    let deliveries = request.engine.deliveries();
    let found: Vec<&Delivery> = deliveries.iter().filter(wanted).collect();
    let page: Vec<Value> = found.iter().skip(after).take(count).map(|d| event(d)).collect();
    let next = after + page.len();
    Ok(json!({
        "has_more": next < found.len(),
        "next_cursor": next.to_string(),
        "webhook_events": page,
    })
    .into())
}

fn event(delivery: &Delivery) -> Value {
    json!({
        "attempt_count": delivery.attempts,
        "delivery_status": delivery.fate,
        "destination_url": delivery.url,
        "item_id": delivery.body["item_id"],
        "last_attempt_time": delivery.last_attempt_at.map(|at| at.to_string()),
        "last_http_status_code": delivery.status.filter(|_| delivery.fate != Fate::Pending),
        "payload": delivery.body,
        "sent_time": delivery.at.to_string(),
        "webhook_code": delivery.body["webhook_code"],
        "webhook_message_id": delivery.id,
        "webhook_type": delivery.body["webhook_type"],
    })
}
