//! Sources: credentials and a token, made to be read into destinations. Underneath, an integration with
//! one Item.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use jiff::civil::Date;
use model::{Environment, ItemStatus, Stream};
use plaid::{AccessToken, Check, Credentials, check_token, wire};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use store::{Integration, ItemFilter, LinkOutcome, NewIntegration, NewLink};
use utoipa::ToSchema;

use super::integrations::{CheckView, PlaidAccess, checked, checked_secret};
use super::links::end_user_id_fault;
use super::page::{LIMIT, Page, PageQuery};
use crate::problem::{FieldFault, OTHER_INTEGRATION, Problem, ProblemDocument, TOKEN_REJECTED};
use crate::request::{Caller, Json, Query};
use crate::state::Web;

/// What a source reads until a connection chooses more: free with every Item.
const FREE: [Stream; 4] = [Stream::Accounts, Stream::Balances, Stream::Institutions, Stream::Item];
/// The end user of a token whose owner nobody named.
const NOBODY: &str = "default";

/// What a source is made of.
#[derive(Deserialize, ToSchema, Clone)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceIn {
    /// A name for people, up to 128 characters.
    pub(crate) name: String,
    /// Plaid's `secret` of this environment. Write-only.
    #[schema(value_type = String, write_only)]
    pub(crate) api_key: SecretString,
    /// Plaid's `client_id`.
    pub(crate) client_id: String,
    /// `sandbox`, `production`, or `development`, which Plaid retired.
    pub(crate) environment: String,
    /// Token of the Item. Write-only.
    #[schema(value_type = String, write_only)]
    pub(crate) access_token: SecretString,
    /// Oldest acceptable balance; Capital One and Apple Card ask for it.
    #[schema(value_type = Option<String>, format = Date)]
    pub(crate) start_date: Option<Date>,
    /// Another base URL than the environment's own, such as an emulator on this machine.
    pub(crate) base_url: Option<String>,
    /// The caller's id of the Item's owner; `default` if absent.
    pub(crate) end_user_id: Option<String>,
    /// Streams whose products are looked for on the Item; balances if absent.
    pub(crate) streams: Option<Vec<Stream>>,
}

/// A source. Its secrets are never returned.
#[derive(Serialize, ToSchema)]
pub(crate) struct SourceView {
    /// Our id; an integration's.
    id: String,
    /// A name for people.
    name: String,
    /// Plaid's environment.
    environment: Environment,
    /// Where Plaid is called.
    base_url: String,
    /// Plaid's `client_id`.
    client_id: String,
    /// Oldest acceptable balance.
    #[schema(value_type = Option<String>, format = Date)]
    start_date: Option<Date>,
    /// What is read of its Item.
    streams: Vec<Stream>,
    /// Plaid's id of the Item.
    item_id: Option<String>,
    /// How the Item stands.
    status: Option<ItemStatus>,
    /// Something to know about the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<&'static str>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

async fn view(web: &Web, integration: Integration) -> Result<SourceView, Problem> {
    let filter = ItemFilter { integration: Some(integration.id.clone()), ..Default::default() };
    let item = web.store.items(&filter, None, 1).await?.into_iter().next();
    Ok(SourceView {
        id: integration.id.into(),
        name: integration.name,
        notice: integration.environment.notice(),
        environment: integration.environment,
        base_url: integration.base_url.into(),
        client_id: integration.client_id,
        start_date: integration.start_date,
        streams: integration.streams,
        status: item.as_ref().map(model::Item::status),
        item_id: item.map(|item| item.item_id),
        created_at: integration.created_at,
    })
}

/// A source as typed, and what is wrong with it before Plaid is asked.
pub(crate) fn checked_source(body: &SourceIn) -> Result<PlaidAccess, Vec<FieldFault>> {
    let base_url = body.base_url.as_deref();
    let access = checked(&body.name, &body.environment, base_url, &body.client_id);
    let mut faults = access.as_ref().err().cloned().unwrap_or_default();
    faults.extend(checked_secret("/api_key", &body.api_key));
    faults.extend(checked_secret("/access_token", &body.access_token));
    faults.extend(body.end_user_id.as_deref().and_then(end_user_id_fault));
    match access {
        Ok(access) if faults.is_empty() => Ok(access),
        _ => Err(faults),
    }
}

/// Save & Test: every check, and the Item where Plaid told of it.
pub(crate) async fn test(
    web: &Web,
    access: &PlaidAccess,
    body: &SourceIn,
) -> (Vec<Check>, Option<wire::Item>) {
    let credentials =
        Credentials { client_id: access.client_id.clone(), secret: body.api_key.clone() };
    let (environment, base_url) = (access.environment, access.base_url.clone());
    let client = web.connector.client(environment, base_url, credentials.clone());
    let streams = body.streams.clone().unwrap_or_else(|| vec![Stream::Balances]);
    let token = body.access_token.expose_secret();
    check_token(&client, environment, &credentials, token, &streams).await
}

/// Keeps a source whose Item Plaid told of.
pub(crate) async fn save(
    web: &Web,
    access: PlaidAccess,
    body: SourceIn,
    item: wire::Item,
) -> Result<Integration, Problem> {
    // One Item has one owner here: a second source of it would read it twice.
    if let Some(known) = web.store.item(&item.item_id).await?
        && known.status() != ItemStatus::Removed
    {
        let detail = "This Item is linked already, through an integration or another source.";
        return Err(Problem::new(OTHER_INTEGRATION, detail));
    }
    let PlaidAccess { name, environment, base_url, client_id } = access;
    let mut streams = FREE.to_vec();
    streams.extend(body.streams.unwrap_or_default());
    streams.sort();
    streams.dedup();
    let new = NewIntegration {
        name,
        environment,
        base_url,
        client_id,
        secret: body.api_key,
        streams,
        is_source: true,
        start_date: body.start_date,
    };
    let integration = web.store.create_integration(new).await?;
    let client = web.client(&integration).await?;
    let end_user_id = body.end_user_id.as_deref().unwrap_or(NOBODY);
    let link = NewLink {
        institution_name: client.institution_name(&item).await,
        institution_id: item.institution_id.clone(),
        ..NewLink::new(integration.id.clone(), &item.item_id, body.access_token, end_user_id)
    };
    match web.store.link(link).await? {
        LinkOutcome::Created(_) | LinkOutcome::Replaced(_) => Ok(integration),
        LinkOutcome::OtherEndUser | LinkOutcome::OtherIntegration => {
            web.store.delete_integration(&integration.id).await?;
            let detail = "This Item is linked already, through an integration or another source.";
            Err(Problem::new(OTHER_INTEGRATION, detail))
        }
    }
}

/// Save & Test of a source that is kept.
pub(crate) async fn test_again(
    web: &Web,
    integration: &Integration,
) -> Result<Vec<Check>, Problem> {
    let missing = || Problem::not_found("source");
    let secret = web.store.integration_secret(&integration.id).await?.ok_or_else(missing)?;
    let filter = ItemFilter { integration: Some(integration.id.clone()), ..Default::default() };
    let credentials = Credentials { client_id: integration.client_id.clone(), secret };
    let client = web.client(integration).await?;
    let mut checks = Vec::new();
    for item in web.store.items(&filter, None, LIMIT).await? {
        let Some(token) = web.store.access_token(&item.key).await? else { continue };
        let token = AccessToken::stored(token);
        let (environment, streams) = (integration.environment, &integration.streams);
        let (found, _) =
            check_token(&client, environment, &credentials, token.expose(), streams).await;
        checks.extend(found);
    }
    Ok(checks)
}

/// Adds a source once its test has passed: credentials, token, Item. The bank is not asked.
#[utoipa::path(
    post, path = "/v1/sources", tag = "sources", operation_id = "create_source",
    request_body = SourceIn,
    responses(
        (status = 201, body = SourceView), (status = 400, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 422, body = ProblemDocument),
    ),
)]
pub(crate) async fn create(
    _: Caller,
    State(web): State<Web>,
    Json(body): Json<SourceIn>,
) -> Result<(StatusCode, axum::Json<SourceView>), Problem> {
    let access = checked_source(&body).map_err(Problem::fields)?;
    let (checks, item) = test(&web, &access, &body).await;
    let failed: Vec<&Check> = checks.iter().filter(|check| check.is_failure()).collect();
    let Some(item) = item.filter(|_| failed.is_empty()) else {
        return Err(refused(&failed));
    };
    let integration = save(&web, access, body, item).await?;
    Ok((StatusCode::CREATED, axum::Json(view(&web, integration).await?)))
}

/// What stands in the way, by field.
fn refused(failed: &[&Check]) -> Problem {
    let words =
        |check: &Check| format!("{}. {}", check.detail, check.fix.as_deref().unwrap_or_default());
    let faults = failed.iter().flat_map(|check| {
        check.fields.iter().map(|field| FieldFault::new(&pointer(field), words(check)))
    });
    let detail = failed.first().map_or_else(|| "Plaid did not tell.".to_owned(), |c| words(c));
    Problem { errors: faults.collect(), ..Problem::new(TOKEN_REJECTED, detail) }
}

/// A field of a check as the form names it.
pub(crate) fn pointer(field: &str) -> String {
    match field {
        "secret" => "/api_key".to_owned(),
        other => format!("/{other}"),
    }
}

/// Lists sources.
#[utoipa::path(
    get, path = "/v1/sources", tag = "sources", operation_id = "list_sources", params(PageQuery),
    responses((status = 200, body = Page<SourceView>), (status = 401, body = ProblemDocument)),
)]
pub(crate) async fn list(
    _: Caller,
    State(web): State<Web>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<SourceView>>, Problem> {
    let limit = page.limit(LIMIT)?;
    let rows = web.store.integrations(Some(true), page.place()?.as_deref(), limit + 1).await?;
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        views.push(view(&web, row).await?);
    }
    Ok(axum::Json(Page::of(views, limit, |view| view.id.clone(), |view| view)))
}

/// Reads a source.
#[utoipa::path(
    get, path = "/v1/sources/{id}", tag = "sources", operation_id = "get_source",
    params(("id" = String, Path, description = "Id of the source")),
    responses((status = 200, body = SourceView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn get(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<SourceView>, Problem> {
    let source = find(&web, &id).await?;
    Ok(axum::Json(view(&web, source).await?))
}

/// The source of this id.
pub(crate) async fn find(web: &Web, id: &str) -> Result<Integration, Problem> {
    let integration = web.integration(id).await;
    let source = integration.ok().filter(|integration| integration.is_source);
    source.ok_or_else(|| Problem::not_found("source"))
}

/// Tests a source again, with the product of each stream that is read.
#[utoipa::path(
    post, path = "/v1/sources/{id}/check", tag = "sources", operation_id = "check_source",
    params(("id" = String, Path, description = "Id of the source")),
    responses((status = 200, body = CheckView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn check(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<CheckView>, Problem> {
    let source = find(&web, &id).await?;
    Ok(axum::Json(CheckView::of(test_again(&web, &source).await?)))
}

/// Forgets a source with its data and connections. The Item at Plaid, and what stands at destinations,
/// stay.
#[utoipa::path(
    delete, path = "/v1/sources/{id}", tag = "sources", operation_id = "delete_source",
    params(("id" = String, Path, description = "Id of the source")),
    responses((status = 204, description = "Forgotten"), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn delete(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let source = find(&web, &id).await?;
    web.store.delete_integration(&source.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
