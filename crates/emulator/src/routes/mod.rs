//! The table of contents: every path of Plaid that is served, and what answers it.

mod accounts;
mod control;
mod institutions;
mod items;
mod request;
mod sandbox;
mod transactions;

use std::sync::Arc;

use axum::http::{HeaderMap, Method};
use serde_json::{Value, json};

pub(crate) use control::control;
use request::Request;

use crate::error::PlaidError;
use crate::server::Engine;

/// An endpoint: takes a checked request, gives the answer without its request id.
type Endpoint = fn(&Request<'_>) -> Result<Value, PlaidError>;

const ENDPOINTS: [(&str, Endpoint); 13] = [
    ("/sandbox/public_token/create", sandbox::create_public_token),
    ("/sandbox/item/fire_webhook", sandbox::fire_webhook),
    ("/sandbox/item/reset_login", sandbox::reset_login),
    ("/item/public_token/exchange", items::exchange),
    ("/item/get", items::get),
    ("/item/remove", items::remove),
    ("/item/webhook/update", items::update_webhook),
    ("/accounts/get", accounts::get),
    ("/accounts/balance/get", accounts::balance),
    ("/transactions/sync", transactions::sync),
    ("/transactions/refresh", transactions::refresh),
    ("/institutions/get_by_id", institutions::get_by_id),
    ("/webhook_verification_key/get", webhook_key),
];

/// Answers a path of Plaid's. Order of checks: JSON, path, credentials, fields, token.
pub(crate) fn plaid(
    engine: &Arc<Engine>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Value, PlaidError> {
    let endpoint = ENDPOINTS.iter().find(|(known, _)| *known == path && method == Method::POST);
    let Some((_, endpoint)) = endpoint else {
        return Err(PlaidError {
            status: 404,
            ..PlaidError::new("INVALID_REQUEST", "NOT_FOUND", "not found")
        });
    };
    endpoint(&Request::read(engine, headers, body)?)
}

fn webhook_key(request: &Request<'_>) -> Result<Value, PlaidError> {
    let key_id = request.required_text("key_id")?;
    let key = request.engine.jwk(key_id).ok_or_else(|| {
        let why = "invalid webhook verification key_id provided";
        PlaidError::invalid_input("INVALID_WEBHOOK_VERIFICATION_KEY_ID", why)
    })?;
    Ok(json!({ "key": key }))
}
