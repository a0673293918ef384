//! Endpoints that only Plaid's sandbox has.

use serde_json::{Value, json};

use super::institutions;
use super::request::{Request, bounded};
use crate::error::PlaidError;
use crate::item::{MAXIMUM_DAYS, NewItem};
use crate::world::{Command, sync_flags};

/// Products that an Item can be initialised with.
const PRODUCTS: [&str; 11] = [
    "assets",
    "auth",
    "balance",
    "identity",
    "income_verification",
    "investments",
    "liabilities",
    "signal",
    "statements",
    "transactions",
    "transfer",
];

pub(super) fn create_public_token(request: &Request<'_>) -> Result<Value, PlaidError> {
    let institution_id = request.required_text("institution_id")?.to_owned();
    let products = request.required_list("initial_products")?;
    if let Some(unknown) = products.iter().find(|product| !PRODUCTS.contains(&product.as_str())) {
        return Err(PlaidError::invalid_field(format!("{unknown} is not a valid product")));
    }
    let institution = institutions::find(&institution_id)?;
    let options = request.options()?;
    let text = |name: &str| options.get(name).and_then(Value::as_str).map(str::to_owned);
    let days = options.get("transactions").and_then(|t| t.get("days_requested"));
    let days = days.filter(|days| !days.is_null());
    let new = NewItem {
        institution_name: institution.name.clone(),
        institution_id,
        products: products.into_iter().filter(|product| product != "balance").collect(),
        webhook: text("webhook").map(|url| checked_url(&url)).transpose()?,
        username: text("override_username").unwrap_or_else(|| "user_good".to_owned()),
        password: password(options.get("override_password")),
        days_requested: days
            .map(|days| bounded("days_requested", days, (1, MAXIMUM_DAYS)))
            .transpose()?,
    };
    let transactions = new.products.iter().any(|product| product == "transactions");
    let outcome = request.engine.run(&Command::CreateItem(new))?;
    if let (Some(item), true) = (outcome.item, transactions) {
        request.engine.load_history(item)?;
    }
    Ok(json!({ "public_token": outcome.token }))
}

/// Some callers send a custom user's configuration as an object instead of as a string.
fn password(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(config @ Value::Object(_)) => config.to_string(),
        _ => "pass_good".to_owned(),
    }
}

/// A URL that webhooks can be sent to.
pub(super) fn checked_url(url: &str) -> Result<String, PlaidError> {
    let usable = reqwest::Url::parse(url)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    if usable || url.is_empty() {
        Ok(url.to_owned())
    } else {
        Err(PlaidError::invalid_field("webhook must be a valid URL"))
    }
}

pub(super) fn reset_login(request: &Request<'_>) -> Result<Value, PlaidError> {
    let item = request.item()?;
    request.engine.run(&Command::ResetLogin { item })?;
    Ok(json!({ "reset_login": true }))
}

/// Webhook codes that can be fired, with the type they have when the caller names none.
const FIREABLE: [(&str, &str); 8] = [
    ("DEFAULT_UPDATE", "TRANSACTIONS"),
    ("SYNC_UPDATES_AVAILABLE", "TRANSACTIONS"),
    ("RECURRING_TRANSACTIONS_UPDATE", "TRANSACTIONS"),
    ("NEW_ACCOUNTS_AVAILABLE", "ITEM"),
    ("LOGIN_REPAIRED", "ITEM"),
    ("PENDING_DISCONNECT", "ITEM"),
    ("USER_PERMISSION_REVOKED", "ITEM"),
    ("USER_ACCOUNT_REVOKED", "ITEM"),
];

pub(super) fn fire_webhook(request: &Request<'_>) -> Result<Value, PlaidError> {
    let item = request.item()?;
    let code = request.required_text("webhook_code")?;
    let kind = FIREABLE.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind);
    let kind = kind.ok_or_else(|| PlaidError::invalid_field("webhook_code is not supported"))?;
    let kind = request.text("webhook_type")?.unwrap_or(kind);
    let new_transactions = request.options()?.get("new_transactions").cloned().unwrap_or(json!(0));
    let outcome = request.engine.read(|world| {
        let own = &world.items[&item];
        if kind == "TRANSACTIONS" && !own.has("transactions") {
            return Err(PlaidError::new(
                "SANDBOX_ERROR",
                "SANDBOX_PRODUCT_NOT_ENABLED",
                "the requested product is not enabled for this item",
            ));
        }
        let body = match code {
            "SYNC_UPDATES_AVAILABLE" => sync_flags(own),
            "DEFAULT_UPDATE" => json!({ "error": null, "new_transactions": new_transactions }),
            "RECURRING_TRANSACTIONS_UPDATE" => {
                let ids: Vec<&str> = own.accounts.iter().map(|a| a.account_id.as_str()).collect();
                json!({ "account_ids": ids })
            }
            "PENDING_DISCONNECT" => json!({ "reason": "INSTITUTION_TOKEN_EXPIRATION" }),
            "USER_ACCOUNT_REVOKED" => {
                json!({ "account_id": own.accounts.first().map(|a| a.account_id.clone()) })
            }
            "LOGIN_REPAIRED" => json!({}),
            _ => json!({ "error": null }),
        };
        Ok(world.notify(item, kind, code, body))
    })?;
    let Some(notice) = outcome.notices.into_iter().next() else {
        return Err(PlaidError::new(
            "SANDBOX_ERROR",
            "SANDBOX_WEBHOOK_INVALID",
            "the item has no usable webhook",
        ));
    };
    request.engine.send(notice);
    Ok(json!({ "webhook_fired": true }))
}
