//! Link tokens and users.

use serde_json::{Value, json};

use super::Answer;
use super::request::Request;
use super::sandbox::checked_url;
use crate::error::PlaidError;
use crate::institutions;
use crate::item::MAXIMUM_DAYS;
use crate::link::{LinkToken, PRODUCT_LISTS};
use crate::world::Command;

/// Languages Link speaks.
const LANGUAGES: [&str; 18] = [
    "da", "nl", "en", "et", "fr", "de", "ht", "hi", "it", "lv", "lt", "nb", "pl", "pt", "ro", "es",
    "sv", "vi",
];

pub(super) fn create(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let language = request.required_text("language")?;
    if !LANGUAGES.contains(&language) {
        return Err(PlaidError::invalid_field(format!("language {language} is not supported")));
    }
    let named = request.get("user").is_some() || request.text("user_id")?.is_some();
    if !named && request.text("user_token")?.is_none() {
        return Err(PlaidError::missing(&["user"]));
    }
    let update_of =
        request.text("access_token")?.map(|token| request.item_behind(token)).transpose()?;
    let products = request.list("products");
    if products.iter().any(|product| product == "balance") {
        let why = "balance cannot be an initial product; it is available on every Item";
        return Err(PlaidError::invalid_input("INVALID_PRODUCT", why));
    }
    if update_of.is_none() && PRODUCT_LISTS.iter().all(|list| request.list(list).is_empty()) {
        return Err(PlaidError::missing(&["products"]));
    }
    if products.iter().any(|product| product == "statements") {
        super::sandbox::statement_span(request.get("statements"))?
            .ok_or_else(|| PlaidError::missing(&["statements"]))?;
    }
    let days = request.get("transactions").and_then(|part| part.get("days_requested"));
    if let Some(days) = days.filter(|days| !days.is_null()) {
        super::request::bounded("transactions.days_requested", days, (1, MAXIMUM_DAYS))?;
    }
    if let Some(webhook) = request.text("webhook")? {
        checked_url(webhook)?;
    }
    if let Some(institution_id) = request.text("institution_id")? {
        institutions::find(institution_id)?;
    }
    let create = Command::CreateLinkToken { request: request.fields(), update_of };
    let token = request.engine.run(&create)?.token.unwrap_or_default();
    Ok(request.engine.read(|world| {
        let link = &world.links[&token];
        let mut json = json!({ "expiration": link.expiration(), "link_token": token });
        if link.is_hosted() {
            json["hosted_link_url"] = json!(format!("{}/link/{token}", request.engine.url));
        }
        if let Some(user_id) = &link.user_id {
            json["user_id"] = json!(user_id);
        }
        json.into()
    }))
}

pub(super) fn get(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let token = request.required_text("link_token")?;
    let found = request.engine.read(|world| world.links.get(token).map(LinkToken::json));
    found.map(Value::into).ok_or_else(|| {
        let why = "provided link token is in an invalid format, expired, or unknown";
        PlaidError::invalid_input("INVALID_LINK_TOKEN", why)
    })
}

pub(super) fn create_user(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let client_user_id = request.required_text("client_user_id")?.to_owned();
    request.engine.run(&Command::CreateUser { client_user_id: client_user_id.clone() })?;
    Ok(request.engine.read(|world| {
        let user = world.user_named(&client_user_id);
        json!({
            "user_id": user.map(|user| &user.user_id),
            "user_token": user.map(|user| &user.user_token),
        })
        .into()
    }))
}
