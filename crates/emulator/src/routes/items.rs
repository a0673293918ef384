//! Items: exchange, read, remove, webhook.

use serde_json::{Value, json};

use super::request::Request;
use super::sandbox::checked_url;
use crate::error::PlaidError;
use crate::world::Command;

pub(super) fn exchange(request: &Request<'_>) -> Result<Value, PlaidError> {
    let token = request.required_text("public_token")?;
    if !token.starts_with("public-sandbox-") {
        return Err(PlaidError::invalid_input(
            "INVALID_PUBLIC_TOKEN",
            "provided public token is in an invalid format. expected format: \
             public-<environment>-<identifier>",
        ));
    }
    let outcome = request.engine.run(&Command::Exchange { public_token: token.to_owned() })?;
    let item_id = outcome
        .item
        .map(|number| request.engine.read(|world| world.items[&number].namer.item_id.clone()));
    Ok(json!({ "access_token": outcome.token, "item_id": item_id }))
}

pub(super) fn get(request: &Request<'_>) -> Result<Value, PlaidError> {
    let item = request.item()?;
    Ok(request.engine.read(|world| {
        let item = &world.items[&item];
        json!({ "item": item.json_with_consent(), "status": item.status_json() })
    }))
}

pub(super) fn remove(request: &Request<'_>) -> Result<Value, PlaidError> {
    let item = request.item()?;
    request.engine.run(&Command::Remove { item })?;
    Ok(json!({}))
}

pub(super) fn update_webhook(request: &Request<'_>) -> Result<Value, PlaidError> {
    let item = request.item()?;
    let webhook = request.text("webhook")?.map(checked_url).transpose()?;
    request.engine.run(&Command::SetWebhook { item, webhook })?;
    Ok(request.engine.read(|world| json!({ "item": world.items[&item].json() })))
}
