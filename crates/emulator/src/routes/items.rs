//! Items: exchange, read, remove, webhook, tokens.

use serde_json::{Value, json};

use super::request::Request;
use super::sandbox::{checked_products, checked_url};
use super::{Answer, done};
use crate::error::PlaidError;
use crate::item::NewItem;
use crate::world::Command;

/// Longest telemetry note of `/item/remove`.
const NOTE_CHARACTERS: usize = 512;
/// Items of `/item/import` live here.
const IMPORT_INSTITUTION: &str = "ins_109508";

pub(super) fn exchange(request: &Request<'_>) -> Result<Answer, PlaidError> {
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
        .map(|number| request.engine.read(|world| world.items[&number].item_id().to_owned()));
    Ok(json!({ "access_token": outcome.token, "item_id": item_id }).into())
}

pub(super) fn create_public_token(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item()?;
    let token = request.engine.run(&Command::CreatePublicToken { item })?.token;
    let half_an_hour = jiff::SignedDuration::from_mins(30);
    let expiration = request.engine.now().saturating_add(half_an_hour);
    Ok(json!({
        "expiration": expiration.map_or(Value::Null, |at| json!(at.to_string())),
        "public_token": token,
    })
    .into())
}

pub(super) fn get(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item()?;
    Ok(request.engine.item(item, |item, _| {
        json!({ "item": item.json_with_consent(), "status": item.status_json() }).into()
    }))
}

pub(super) fn remove(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item_to_remove()?;
    if request.text("reason_note")?.is_some_and(|note| note.chars().count() > NOTE_CHARACTERS) {
        return Err(PlaidError::invalid_field("reason_note must have at most 512 characters"));
    }
    request.engine.run(&Command::Remove { item })?;
    done()
}

pub(super) fn update_webhook(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item()?;
    let webhook = request.text("webhook")?.map(checked_url).transpose()?;
    request.engine.run(&Command::SetWebhook { item, webhook })?;
    Ok(request.engine.read(|world| json!({ "item": world.items[&item].json() }).into()))
}

pub(super) fn rotate(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item()?;
    let outcome = request.engine.run(&Command::Rotate { item })?;
    Ok(json!({ "new_access_token": outcome.token }).into())
}

pub(super) fn import(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let products = checked_products(request.list("products"))?;
    if products.is_empty() {
        return Err(PlaidError::missing(&["products"]));
    }
    let login = request.get("user_auth").cloned().unwrap_or_default();
    let text = |name: &str| login[name].as_str().unwrap_or_default().to_owned();
    let options = request.options()?;
    let webhook = options.get("webhook").and_then(Value::as_str).map(checked_url).transpose()?;
    let new = NewItem {
        institution_id: IMPORT_INSTITUTION.to_owned(),
        products,
        webhook,
        username: text("user_id"),
        password: text("auth_token"),
        days_requested: None,
        accounts: None,
        statements: None,
        user_id: None,
        consented: None,
    };
    let made = request.engine.run(&Command::CreateItem(new))?;
    let public_token = made.token.unwrap_or_default();
    let exchanged = request.engine.run(&Command::Exchange { public_token })?;
    Ok(json!({ "access_token": exchanged.token }).into())
}
