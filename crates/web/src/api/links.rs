//! Links: an Item that the customer's own Plaid Link made is handed over with its token.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use futures_util::StreamExt;
use model::{Item, ItemKey};
use plaid::{AccessToken, Client, Reaction};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
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
    /// An Item of the same end user that this one replaces: its history goes on here under its own
    /// ids and notes, then it is removed at Plaid.
    replaces: Option<String>,
}

/// Items to link at once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinksIn {
    /// Up to 100 Items.
    items: Vec<LinkIn>,
}

/// What became of one Item of many.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinkResult {
    /// Plaid's `item_id`, as sent.
    item_id: String,
    /// HTTP status it would have had alone: 201 linked, 200 known before, else a problem.
    status: u16,
    /// Stable code of the problem.
    code: Option<&'static str>,
    /// What happened and what to do.
    detail: Option<String>,
}

/// What became of each Item, in the order they were sent.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinksView {
    /// The results.
    data: Vec<LinkResult>,
}

/// Items in one request of many: each costs Plaid a call, and a request should end within a minute.
const BULK_ITEMS: usize = 100;
/// Items of one request that are checked at a time.
const BULK_AT_A_TIME: usize = 8;

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
    let client = web.client(&integration).await?;
    let (status, item) = link_one(&web, &integration, &client, body).await?;
    Ok((status, axum::Json(ItemView::of(item))))
}

/// Links many Items: an estate that exists already. Each line has its own result; sending a line
/// again is safe.
#[utoipa::path(
    post, path = "/v1/integrations/{id}/links/bulk", tag = "items", operation_id = "link_items",
    params(("id" = String, Path, description = "Id of the integration")),
    request_body = LinksIn,
    responses(
        (status = 200, body = LinksView), (status = 400, body = ProblemDocument),
        (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument),
    ),
)]
pub(crate) async fn create_many(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Json(body): Json<LinksIn>,
) -> Result<axum::Json<LinksView>, Problem> {
    let integration = web.integration(&id).await?;
    if !(1..=BULK_ITEMS).contains(&body.items.len()) {
        let detail = format!("must have 1 to {BULK_ITEMS} Items");
        return Err(Problem::fields(vec![FieldFault::new("/items", detail)]));
    }
    let client = web.client(&integration).await?;
    let links = body.items.into_iter().map(|item| {
        let (web, integration, client) = (&web, &integration, &client);
        async move {
            let item_id = item.item_id.clone();
            match link_one(web, integration, client, item).await {
                Ok((status, _)) => {
                    LinkResult { item_id, status: status.as_u16(), code: None, detail: None }
                }
                Err(problem) => LinkResult {
                    item_id,
                    status: problem.code.status,
                    code: Some(problem.code.code),
                    detail: Some(told(problem)),
                },
            }
        }
    });
    let data = futures_util::stream::iter(links).buffered(BULK_AT_A_TIME).collect().await;
    Ok(axum::Json(LinksView { data }))
}

fn told(problem: Problem) -> String {
    let faults =
        problem.errors.into_iter().map(|fault| format!(" {}: {}.", fault.pointer, fault.detail));
    faults.fold(problem.detail, |told, fault| told + &fault)
}

/// Links one Item whose token is checked at Plaid.
async fn link_one(
    web: &Web,
    integration: &Integration,
    client: &Client,
    body: LinkIn,
) -> Result<(StatusCode, Item), Problem> {
    let token = checked(integration, &body)?;
    let item = client.item_get(&token).await.map_err(|error| rejected(&error))?;
    if item.item_id != body.item_id {
        let detail = "The access token belongs to another Item than `item_id`.";
        let fault = FieldFault::new("/item_id", "is not the Item of this access token");
        return Err(Problem { errors: vec![fault], ..Problem::new(TOKEN_REJECTED, detail) });
    }
    let replaces = match &body.replaces {
        Some(id) => Some(replaced(web, integration, id, &body.end_user_id, &body.item_id).await?),
        None => None,
    };
    trial::crash_point("link.checked");
    let outcome = web
        .store
        .link(NewLink {
            end_user_name: body.end_user_name,
            institution_name: client.institution_name(&item).await,
            institution_id: item.institution_id,
            replaces,
            ..NewLink::new(
                integration.id.clone(),
                &item.item_id,
                body.access_token,
                &body.end_user_id,
            )
        })
        .await?;
    trial::crash_point("link.stored");
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
        let url = web.webhook_url(integration);
        let updated = client.item_webhook_update(&token, &url).await;
        updated.map_err(|error| rejected(&error))?;
    }
    Ok((status, web.item(key.as_str()).await?))
}

/// The Item that another one of the same end user is to replace.
async fn replaced(
    web: &Web,
    integration: &Integration,
    id: &str,
    end_user_id: &str,
    own_item_id: &str,
) -> Result<ItemKey, Problem> {
    let item = web.store.item(id).await?;
    let item = item
        .filter(|item| item.integration_id == integration.id && item.end_user_id == end_user_id);
    let item = item.filter(|item| item.item_id != own_item_id);
    let fault = || FieldFault::new("/replaces", "must be another Item of the same end user");
    Ok(item.ok_or_else(|| Problem::fields(vec![fault()]))?.key)
}

fn checked(integration: &Integration, body: &LinkIn) -> Result<AccessToken, Problem> {
    let mut faults = Vec::new();
    let between = |text: &str, most: usize| (1..=most).contains(&text.chars().count());
    if !between(&body.item_id, NAME_CHARS) {
        faults.push(FieldFault::new("/item_id", "must be Plaid's item_id"));
    }
    faults.extend(end_user_id_fault(&body.end_user_id));
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

/// What is wrong with a caller's id of an end user, if anything. Ours begin with `eus_`; a caller's that
/// did could be taken for one of them.
pub(crate) fn end_user_id_fault(id: &str) -> Option<FieldFault> {
    let fits = (1..=END_USER_ID_CHARS).contains(&id.chars().count());
    if fits && id.trim() == id && !id.starts_with("eus_") {
        return None;
    }
    let detail = format!(
        "must have 1 to {END_USER_ID_CHARS} characters, no space around them, and not begin with eus_"
    );
    Some(FieldFault::new("/end_user_id", detail))
}

/// Plaid's refusal in our words, with Plaid's code and request id.
pub(crate) fn rejected(error: &plaid::Error) -> Problem {
    match error.reaction() {
        Reaction::Retry | Reaction::Later => Problem::new(PLAID_UNAVAILABLE, format!("{error}.")),
        _ => Problem::new(TOKEN_REJECTED, format!("{error}.")),
    }
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
