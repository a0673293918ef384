//! The table of contents: every path of Plaid that is served, and what answers it.

mod accounts;
mod categories;
mod control;
mod enrich;
mod institutions;
mod investments;
mod items;
mod liabilities;
mod link;
mod recurring;
mod request;
mod sandbox;
mod statements;
mod transaction;
mod transactions;
mod webhooks;

use std::sync::Arc;

use hyper::{HeaderMap, Method};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use control::{ACTIONS, Act, act, control};
use request::Request;
pub(crate) use request::item_id_of;

use crate::contract;
use crate::engine::Engine;
use crate::error::PlaidError;

/// What an endpoint answers.
pub(crate) enum Answer {
    /// The request id is still to be put in.
    Json(Value),
    /// A whole JSON body.
    Bytes(Vec<u8>),
    /// A file with the SHA-256 of its bytes.
    File { content_type: &'static str, hash: String, bytes: Vec<u8> },
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}

/// About how many bytes a transaction takes in an answer; a buffer that need not grow is quicker.
const TRANSACTION_BYTES: usize = 1_280;

impl Answer {
    /// A body of so many transactions.
    fn of_transactions(count: usize, body: &impl Serialize) -> Self {
        let mut bytes = Vec::with_capacity((count + 4) * TRANSACTION_BYTES);
        // Writing to memory does not fail, and every key is a string.
        let _written = serde_json::to_writer(&mut bytes, body);
        Self::Bytes(bytes)
    }
}

/// An endpoint: takes a checked request, gives the answer.
type Endpoint = fn(&Request<'_>) -> Result<Answer, PlaidError>;

const ENDPOINTS: [(&str, Endpoint); 38] = [
    ("/sandbox/public_token/create", sandbox::create_public_token),
    ("/sandbox/item/fire_webhook", sandbox::fire_webhook),
    ("/sandbox/item/reset_login", sandbox::reset_login),
    ("/sandbox/item/set_verification_status", sandbox::set_verification_status),
    ("/sandbox/user/reset_login", sandbox::reset_logins_of_user),
    ("/sandbox/transactions/create", sandbox::create_transactions),
    ("/item/public_token/exchange", items::exchange),
    ("/item/public_token/create", items::create_public_token),
    ("/item/get", items::get),
    ("/item/remove", items::remove),
    ("/item/webhook/update", items::update_webhook),
    ("/item/access_token/invalidate", items::rotate),
    ("/item/import", items::import),
    ("/link/token/create", link::create),
    ("/link/token/get", link::get),
    ("/user/create", link::create_user),
    ("/accounts/get", accounts::get),
    ("/accounts/balance/get", accounts::balance),
    ("/identity/get", accounts::identity),
    ("/auth/get", accounts::auth),
    ("/transactions/sync", transactions::sync),
    ("/transactions/get", transactions::get),
    ("/transactions/refresh", transactions::refresh),
    ("/transactions/recurring/get", recurring::get),
    ("/transactions/enrich", enrich::enrich),
    ("/categories/get", categories::get),
    ("/institutions/get", institutions::get),
    ("/institutions/get_by_id", institutions::get_by_id),
    ("/institutions/search", institutions::search),
    ("/liabilities/get", liabilities::get),
    ("/investments/holdings/get", investments::holdings),
    ("/investments/transactions/get", investments::transactions),
    ("/investments/refresh", investments::refresh),
    ("/statements/list", statements::list),
    ("/statements/download", statements::download),
    ("/statements/refresh", statements::refresh),
    ("/webhook_verification_key/get", webhooks::key),
    ("/beta/webhook_events/list", webhooks::list),
];

/// Answers a path of Plaid's. Order of checks: path, JSON, credentials, fields, limits, token.
pub(crate) fn plaid(
    engine: &Arc<Engine>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
    request_id: &str,
) -> Result<Answer, PlaidError> {
    if method != Method::POST || !contract::is_path(path) {
        return Err(PlaidError {
            status: 404,
            ..PlaidError::new("INVALID_REQUEST", "NOT_FOUND", "not found")
        });
    }
    let request = Request::read(engine, (path, request_id), headers, body)?;
    let Some((_, endpoint)) = ENDPOINTS.iter().find(|(known, _)| *known == path) else {
        return Err(not_enabled(path));
    };
    let token = request.text("access_token").ok().flatten();
    engine.count(path, token.and_then(|token| engine.read(|world| world.item_of(token))))?;
    endpoint(&request)
}

/// What Plaid says of a product that the client may not use; all that is not served here.
fn not_enabled(path: &str) -> PlaidError {
    let product = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    PlaidError::invalid_input(
        "INVALID_PRODUCT",
        format!("client is not authorized to access the following products: [\"{product}\"]"),
    )
}

/// An answer that says nothing but its request id.
fn done() -> Result<Answer, PlaidError> {
    Ok(json!({}).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_one_of_plaids_paths() {
        for (path, _) in ENDPOINTS {
            assert!(contract::is_path(path), "{path}");
        }
    }
}
