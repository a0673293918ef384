//! Links: an Item that the customer's own Plaid Link made is handed over with its token.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use plaid::{AccessToken, Client, Reaction};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use store::{Integration, ItemFilter, LinkOutcome, NewLink};
use utoipa::ToSchema;

use super::integrations::NAME_CHARS;
use super::items::ItemView;
use super::page::{LIMIT, Page, PageQuery};
use crate::problem::{
    FieldFault, OTHER_END_USER, OTHER_INTEGRATION, PLAID_UNAVAILABLE, Problem, ProblemDocument,
    TOKEN_REJECTED,
};
use crate::request::{Caller, Json, Query};
use crate::state::Web;

/// Longest id that a caller may give to an end user.
const END_USER_ID_CHARS: usize = 140;

/// An Item to link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkIn {
    /// Plaid's `item_id`.
    item_id: String,
    /// The Item's access token. Write-only, kept sealed.
    #[schema(value_type = String, write_only)]
    access_token: SecretString,
    /// Your own id of the end user, 1 to 140 characters.
    end_user_id: String,
    /// A name for people.
    end_user_name: Option<String>,
    /// Also point the Item's webhook at this integration. It stays as it is unless asked.
    #[serde(default)]
    update_webhook: bool,
}

/// Links an Item: checks the token at Plaid, creates the end user, starts the first sync. Sending
/// the same Item again replaces its token.
#[utoipa::path(
    post, path = "/v1/integrations/{id}/links", tag = "items", operation_id = "link_item",
    params(("id" = String, Path, description = "Id of the integration")),
    request_body = LinkIn,
    responses(
        (status = 201, description = "Linked", body = ItemView),
        (status = 200, description = "Was linked before; the token was replaced", body = ItemView),
        (status = 400, body = ProblemDocument), (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument),
        (status = 502, body = ProblemDocument),
    ),
)]
pub(crate) async fn create(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Json(body): Json<LinkIn>,
) -> Result<(StatusCode, axum::Json<ItemView>), Problem> {
    let integration = web.integration(&id).await?;
    let token = checked(&integration, &body)?;
    let client = web.client(&integration).await?;
    let item = client.item_get(&token).await.map_err(|error| rejected(&error))?;
    if item.item_id != body.item_id {
        let detail = "The access token belongs to another Item than `item_id`.";
        let fault = FieldFault::new("/item_id", "is not the Item of this access token");
        return Err(Problem { errors: vec![fault], ..Problem::new(TOKEN_REJECTED, detail) });
    }
    let outcome = web
        .store
        .link(NewLink {
            integration: integration.id.clone(),
            item_id: item.item_id.clone(),
            access_token: body.access_token,
            end_user_id: body.end_user_id,
            end_user_name: body.end_user_name,
            institution_name: institution_name(&client, &item).await,
            institution_id: item.institution_id,
        })
        .await?;
    let (status, key) = match outcome {
        LinkOutcome::Created(key) => (StatusCode::CREATED, key),
        LinkOutcome::Replaced(key) => (StatusCode::OK, key),
        LinkOutcome::OtherEndUser => {
            let detail = "This Item is linked to another end user of this integration.";
            return Err(Problem::new(OTHER_END_USER, detail));
        }
        LinkOutcome::OtherIntegration => {
            let detail = "This Item is linked through another integration.";
            return Err(Problem::new(OTHER_INTEGRATION, detail));
        }
    };
    // Only now that the Item is ours: a refused link must not turn away another's webhooks.
    if body.update_webhook {
        let url = web.webhook_url(&integration);
        let updated = client.item_webhook_update(&token, &url).await;
        updated.map_err(|error| rejected(&error))?;
    }
    Ok((status, axum::Json(ItemView::of(web.item(key.as_str()).await?))))
}

fn checked(integration: &Integration, body: &LinkIn) -> Result<AccessToken, Problem> {
    let mut faults = Vec::new();
    let between = |text: &str, most: usize| (1..=most).contains(&text.chars().count());
    if !between(&body.item_id, NAME_CHARS) {
        faults.push(FieldFault::new("/item_id", "must be Plaid's item_id"));
    }
    let id = body.end_user_id.as_str();
    // Ours begin so; a caller's that did could be taken for one of them.
    if !between(id, END_USER_ID_CHARS) || id.trim() != id || id.starts_with("eus_") {
        let detail = format!(
            "must have 1 to {END_USER_ID_CHARS} characters, no space around them, and not begin \
             with eus_"
        );
        faults.push(FieldFault::new("/end_user_id", detail));
    }
    if body.end_user_name.as_ref().is_some_and(|name| !between(name, NAME_CHARS)) {
        let detail = format!("must have 1 to {NAME_CHARS} characters");
        faults.push(FieldFault::new("/end_user_name", detail));
    }
    let token = AccessToken::parse(body.access_token.expose_secret(), integration.environment);
    if let Err(error) = &token {
        faults.push(FieldFault::new("/access_token", error.to_string()));
    }
    match token {
        Ok(token) if faults.is_empty() => Ok(token),
        _ => Err(Problem::fields(faults)),
    }
}

/// Plaid's refusal in our words, with Plaid's code and request id.
fn rejected(error: &plaid::Error) -> Problem {
    match error.reaction() {
        Reaction::Retry | Reaction::Later => Problem::new(PLAID_UNAVAILABLE, format!("{error}.")),
        _ => Problem::new(TOKEN_REJECTED, format!("{error}.")),
    }
}

/// Older Items do not carry their institution's name. Without one the id is shown.
async fn institution_name(client: &Client, item: &plaid::wire::Item) -> Option<String> {
    if item.institution_name.is_some() {
        return item.institution_name.clone();
    }
    let institution = client.institution(item.institution_id.as_deref()?).await.ok()?;
    Some(institution.name)
}

/// Lists the Items of an integration.
#[utoipa::path(
    get, path = "/v1/integrations/{id}/links", tag = "items", operation_id = "list_links",
    params(("id" = String, Path, description = "Id of the integration"), PageQuery),
    responses((status = 200, body = Page<ItemView>), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn list(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<ItemView>>, Problem> {
    let integration = web.integration(&id).await?;
    let limit = page.limit(LIMIT)?;
    let filter = ItemFilter { integration: Some(integration.id), ..ItemFilter::default() };
    let rows = web.store.items(&filter, page.place()?.as_deref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, |row| row.key.to_string(), ItemView::of)))
}
