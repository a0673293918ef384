//! Link: pages hosted by Plaid on which end users link a bank or repair a login. What a visit brings
//! registers itself.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use model::{Item, Stream};
use plaid::{AccessToken, Client, LinkRequest};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use store::{Integration, ItemFilter, LinkSession, NewLinkSession};
use utoipa::ToSchema;

use super::items::refuse_unless_live;
use super::links::{end_user_id_fault, rejected};
use super::page::{LIMIT, Page, PageQuery};
use crate::problem::{FieldFault, ITEM_ENDED, Problem, ProblemDocument};
use crate::request::{Caller, Json, Query};
use crate::state::Web;

/// Plaid shows a generic name instead of a longer one.
const CLIENT_NAME_CHARS: usize = 30;
/// A page can be opened this long: time enough for an e-mail. Plaid allows 21 days.
/// A page is given again only if it lasts this much longer.
const WORTH_SENDING: SignedDuration = SignedDuration::from_hours(3 * 24);
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A page to be made for an end user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkTokenIn {
    /// Your own id of the end user, 1 to 140 characters.
    end_user_id: String,
    /// The name the end user sees, up to 30 characters; the integration's if absent.
    client_name: Option<String>,
}

/// A visit to Link.
#[derive(Serialize, ToSchema)]
pub(crate) struct LinkSessionView {
    /// Our id of the visit.
    id: String,
    /// Your id of the end user.
    end_user_id: String,
    /// The Item that it repairs, or that it made; our id.
    item: Option<String>,
    /// Open this for the end user, or send it to them.
    hosted_link_url: Option<String>,
    /// `open`, `finished` (being exchanged), `linked`, `repaired`, `duplicate`, `abandoned`,
    /// `expired`, `failed`, or `orphaned`: the access token was lost and the end user must link
    /// again.
    state: String,
    /// What stands in the way, in words.
    detail: Option<String>,
    /// Plaid's id of the Item whose token was lost, once a webhook named it.
    orphan_item_id: Option<String>,
    /// How long the page can be opened.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl LinkSessionView {
    fn of(session: LinkSession) -> Self {
        Self {
            id: session.id.into(),
            end_user_id: session.end_user_id,
            item: session.item.map(String::from),
            hosted_link_url: session.hosted_link_url,
            state: session.state,
            detail: session.detail,
            orphan_item_id: session.orphan_item_id,
            expires_at: session.expires_at,
            created_at: session.created_at,
        }
    }
}

/// Makes a page on which an end user links a bank: 730 days of history, our webhook, the products of
/// the streams chosen. When the end user has finished, the Item registers itself.
#[utoipa::path(
    post, path = "/v1/integrations/{id}/link_tokens", tag = "link", operation_id = "create_link_token",
    params(("id" = String, Path, description = "Id of the integration")),
    request_body = LinkTokenIn,
    responses(
        (status = 201, body = LinkSessionView), (status = 404, body = ProblemDocument),
        (status = 422, body = ProblemDocument), (status = 502, body = ProblemDocument),
    ),
)]
pub(crate) async fn create(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Json(body): Json<LinkTokenIn>,
) -> Result<(StatusCode, axum::Json<LinkSessionView>), Problem> {
    let integration = web.integration(&id).await?;
    let mut faults = Vec::new();
    faults.extend(end_user_id_fault(&body.end_user_id));
    let name = body.client_name.as_deref().map(str::trim);
    if name.is_some_and(|name| name.is_empty() || name.chars().count() > CLIENT_NAME_CHARS) {
        let detail = format!("must have 1 to {CLIENT_NAME_CHARS} characters");
        faults.push(FieldFault::new("/client_name", detail));
    }
    if !faults.is_empty() {
        return Err(Problem::fields(faults));
    }
    let client = web.client(&integration).await?;
    let products_if_offered = products_if_offered(&integration.streams);
    let webhook = web.webhook_url(&integration);
    let shown = name.map_or_else(|| shortened(&integration.name), str::to_owned);
    let request = LinkRequest {
        client_name: &shown,
        client_user_id: &body.end_user_id,
        products: &PRODUCTS,
        products_if_offered: &products_if_offered,
        webhook: Some(&webhook),
        lifetime: LIFETIME,
        update: None,
    };
    let session = open(&web, &client, &integration, &request, None).await?;
    Ok((StatusCode::CREATED, axum::Json(LinkSessionView::of(session))))
}

/// Without transactions there is no reason to link.
const PRODUCTS: [&str; 1] = ["transactions"];

/// Plaid's other products for what is read. A bank that lacks one must not end the visit.
fn products_if_offered(streams: &[Stream]) -> Vec<&'static str> {
    // Recurring payments come with transactions and cannot be asked for on their own.
    let own = |product: &&str| !["transactions", "recurring_transactions"].contains(product);
    let mut products: Vec<&str> =
        streams.iter().filter_map(|stream| stream.declaration().product).filter(own).collect();
    products.sort_unstable();
    products.dedup();
    products
}

fn shortened(name: &str) -> String {
    name.chars().take(CLIENT_NAME_CHARS).collect()
}

async fn open(
    web: &Web,
    client: &Client,
    integration: &Integration,
    request: &LinkRequest<'_>,
    item: Option<&Item>,
) -> Result<LinkSession, Problem> {
    let made = client.link_token_create(request).await.map_err(|error| rejected(&error))?;
    let expires_at = made.expiration.parse().unwrap_or_else(|_| web.ambient().now());
    let new = NewLinkSession {
        integration: integration.id.clone(),
        end_user_id: request.client_user_id.to_owned(),
        item: item.map(|item| item.key.clone()),
        link_token: SecretString::from(made.link_token),
        hosted_link_url: made.hosted_link_url,
        expires_at,
    };
    Ok(web.store.open_link_session(new).await?)
}

/// Lists the visits of an integration, newest first.
#[utoipa::path(
    get, path = "/v1/integrations/{id}/link_tokens", tag = "link", operation_id = "list_link_tokens",
    params(("id" = String, Path, description = "Id of the integration"), PageQuery),
    responses((status = 200, body = Page<LinkSessionView>), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn list(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<LinkSessionView>>, Problem> {
    let integration = web.integration(&id).await?;
    let (limit, after) = (page.limit(LIMIT)?, page.place()?);
    let rows = web.store.link_sessions(&integration.id, after.as_deref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, |row| row.id.to_string(), LinkSessionView::of)))
}

impl Web {
    /// A page on which an end user repairs an Item: an open one if there is one that lasts, else a new
    /// one, and whether it is new.
    pub(crate) async fn repair(&self, item: &Item) -> Result<(LinkSession, bool), Problem> {
        refuse_unless_live(item)?;
        let known = self.store.newest_link_session(&item.key).await?;
        let now = self.ambient().now();
        let lasts = now.saturating_add(WORTH_SENDING).unwrap_or(now);
        if let Some(known) = known.filter(|k| k.state == "open" && k.expires_at > lasts) {
            return Ok((known, false));
        }
        let ended = || Problem::new(ITEM_ENDED, "An Item that has ended cannot be repaired.");
        let token = self.store.access_token(&item.key).await?.ok_or_else(ended)?;
        let token = AccessToken::stored(token);
        let integration = self.integration(item.integration_id.as_str()).await?;
        let client = self.client(&integration).await?;
        let webhook = self.webhook_url(&integration);
        let shown = shortened(&integration.name);
        let request = LinkRequest {
            client_name: &shown,
            client_user_id: &item.end_user_id,
            products: &[],
            products_if_offered: &products_if_offered(&integration.streams),
            webhook: Some(&webhook),
            lifetime: LIFETIME,
            update: Some(&token),
        };
        Ok((open(self, &client, &integration, &request, Some(item)).await?, true))
    }
}

/// Makes a page on which the end user repairs an Item (Link's update mode). Afterwards the Item
/// catches up by itself.
#[utoipa::path(
    post, path = "/v1/items/{item_id}/repair", tag = "link", operation_id = "repair_item",
    params(("item_id" = String, Path, description = "Plaid's item_id, or our id")),
    responses(
        (status = 201, body = LinkSessionView),
        (status = 200, description = "An open page that lasts", body = LinkSessionView),
        (status = 404, body = ProblemDocument),
        (status = 409, body = ProblemDocument), (status = 502, body = ProblemDocument),
    ),
)]
pub(crate) async fn repair(
    _: Caller,
    State(web): State<Web>,
    Path(item_id): Path<String>,
) -> Result<(StatusCode, axum::Json<LinkSessionView>), Problem> {
    let item = web.item(&item_id).await?;
    let (session, is_new) = web.repair(&item).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(LinkSessionView::of(session))))
}

/// An Item that needs its end user.
#[derive(Serialize, ToSchema)]
pub(crate) struct RepairView {
    /// Plaid's `item_id`.
    item_id: String,
    /// Your id of the end user.
    end_user_id: String,
    /// The institution's name.
    institution_name: Option<String>,
    /// Its state.
    status: &'static str,
    /// What stands in the way.
    status_detail: Option<String>,
    /// The page to send to the end user; none if it could not be made.
    hosted_link_url: Option<String>,
    /// How long the page can be opened.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Why it could not be made.
    problem: Option<String>,
}

/// The Items that need their end users.
#[derive(Serialize, ToSchema)]
pub(crate) struct RepairsView {
    /// One line for each.
    data: Vec<RepairView>,
}

/// Items for which links are made in one request.
const REPAIRS_AT_ONCE: i64 = 1_000;

/// Makes repair links for every Item of an integration that needs one, as JSON or, with
/// `accept: text/csv`, as a table to send letters from.
#[utoipa::path(
    post, path = "/v1/integrations/{id}/repairs", tag = "link", operation_id = "create_repairs",
    params(("id" = String, Path, description = "Id of the integration")),
    responses((status = 200, body = RepairsView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn repairs(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let integration = web.integration(&id).await?;
    let mut data = Vec::new();
    for status in model::ItemStatus::all().filter(|status| status.needs_repair()) {
        let filter = ItemFilter {
            integration: Some(integration.id.clone()),
            status: Some(status),
            ..ItemFilter::default()
        };
        for item in web.store.items(&filter, None, REPAIRS_AT_ONCE).await? {
            let (url, expires_at, problem) = match web.repair(&item).await {
                Ok((session, _)) => (session.hosted_link_url, Some(session.expires_at), None),
                Err(problem) => (None, None, Some(problem.detail)),
            };
            data.push(RepairView {
                status: item.status().as_str(),
                item_id: item.item_id,
                end_user_id: item.end_user_id,
                institution_name: item.institution_name,
                status_detail: item.status_detail,
                hosted_link_url: url,
                expires_at,
                problem,
            });
        }
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let wants_table = accept.is_some_and(|types| types.to_ascii_lowercase().contains("text/csv"));
    if wants_table {
        return Ok(([(header::CONTENT_TYPE, "text/csv")], table(&data)).into_response());
    }
    Ok(axum::Json(RepairsView { data }).into_response())
}

fn table(rows: &[RepairView]) -> String {
    let mut text =
        "item_id,end_user_id,institution_name,status,status_detail,hosted_link_url,expires_at,problem\r\n"
            .to_owned();
    for row in rows {
        let expires_at = row.expires_at.map(|at| at.to_string());
        let cells = [
            Some(row.item_id.as_str()),
            Some(&row.end_user_id),
            row.institution_name.as_deref(),
            Some(row.status),
            row.status_detail.as_deref(),
            row.hosted_link_url.as_deref(),
            expires_at.as_deref(),
            row.problem.as_deref(),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| quoted(cell.unwrap_or(""))).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
    text
}

/// A cell that no spreadsheet takes for a formula.
fn quoted(cell: &str) -> String {
    let guard = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", cell.replace('"', "\"\""))
}
