//! Subscriptions: who is told of what, by signed webhooks, and what became of each.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use model::check_outbound_url;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use store::{Delivery, Notice, Subscription};
use utoipa::ToSchema;

use super::page::{LIMIT, Page, PageQuery};
use crate::problem::{FieldFault, Problem, ProblemDocument};
use crate::request::{Caller, Json, Query};
use crate::state::Web;

/// Bytes of a signing secret.
const SECRET_BYTES: usize = 32;
const URL_CHARS: usize = 2_000;

/// A subscription to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscriptionIn {
    /// Where notices go: `https://…` on the public internet.
    url: String,
    /// `transactions.changed`, `item.state_changed`, `item.repair_needed`; all if absent.
    events: Option<Vec<String>>,
}

/// A subscription.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubscriptionView {
    /// Our id.
    id: String,
    /// The integration.
    integration_id: String,
    /// Where notices go.
    url: String,
    /// Which ones.
    events: Vec<&'static str>,
    /// Proves the notices (Standard Webhooks); shown once, when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl SubscriptionView {
    fn of(row: Subscription) -> Self {
        Self {
            id: row.id.into(),
            integration_id: row.integration_id.into(),
            url: row.url,
            events: row.events.into_iter().map(Notice::as_str).collect(),
            secret: None,
            created_at: row.created_at,
        }
    }
}

/// Subscribes an endpoint to notices of an integration, signed in the Standard Webhooks format.
#[utoipa::path(
    post, path = "/v1/integrations/{id}/subscriptions", tag = "subscriptions",
    operation_id = "create_subscription",
    params(("id" = String, Path, description = "Id of the integration")),
    request_body = SubscriptionIn,
    responses(
        (status = 201, description = "Made; the secret is shown this once", body = SubscriptionView),
        (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument),
    ),
)]
pub(crate) async fn create(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Json(body): Json<SubscriptionIn>,
) -> Result<(StatusCode, axum::Json<SubscriptionView>), Problem> {
    let integration = web.integration(&id).await?;
    let mut faults = Vec::new();
    if body.url.chars().count() > URL_CHARS {
        faults.push(FieldFault::new("/url", format!("must have at most {URL_CHARS} characters")));
    } else if let Err(why) = check_outbound_url(&body.url, web.settings.private_addresses) {
        faults.push(FieldFault::new("/url", why));
    }
    let names = body
        .events
        .unwrap_or_else(|| Notice::ALL.iter().map(|notice| notice.as_str().to_owned()).collect());
    let events: Option<Vec<Notice>> = names.iter().map(|name| Notice::from_name(name)).collect();
    let Some(events) = events.filter(|events| !events.is_empty() && faults.is_empty()) else {
        if faults.is_empty() {
            let known: Vec<&str> = Notice::ALL.iter().map(|notice| notice.as_str()).collect();
            let detail = format!("must be some of {}", known.join(", "));
            faults.push(FieldFault::new("/events", detail));
        }
        return Err(Problem::fields(faults));
    };
    let secret = format!("whsec_{}", BASE64.encode(web.ambient().random::<SECRET_BYTES>()));
    let sealed = SecretString::from(secret.as_str());
    let row = web.store.subscribe(&integration.id, &body.url, &events, &sealed).await?;
    let view = SubscriptionView { secret: Some(secret), ..SubscriptionView::of(row) };
    Ok((StatusCode::CREATED, axum::Json(view)))
}

/// Lists the subscriptions of an integration.
#[utoipa::path(
    get, path = "/v1/integrations/{id}/subscriptions", tag = "subscriptions",
    operation_id = "list_subscriptions",
    params(("id" = String, Path, description = "Id of the integration"), PageQuery),
    responses((status = 200, body = Page<SubscriptionView>), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn list(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<SubscriptionView>>, Problem> {
    let integration = web.integration(&id).await?;
    let (limit, after) = (page.limit(LIMIT)?, page.place()?);
    let rows = web.store.subscriptions(&integration.id, after.as_deref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, |row| row.id.to_string(), SubscriptionView::of)))
}

impl Web {
    async fn subscription(&self, id: &str) -> Result<Subscription, Problem> {
        let found = self.store.subscription(id).await?;
        Ok(found.ok_or_else(|| Problem::not_found("subscription"))?.0)
    }
}

/// Ends a subscription; what was not sent yet is not sent any more.
#[utoipa::path(
    delete, path = "/v1/subscriptions/{id}", tag = "subscriptions",
    operation_id = "delete_subscription",
    params(("id" = String, Path, description = "Id of the subscription")),
    responses((status = 204, description = "Ended"), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn delete(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let subscription = web.subscription(&id).await?;
    web.store.unsubscribe(&subscription.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One message to one subscription.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    /// Our id; the receiver sees it as `webhook-id` and can recognise a repeat by it.
    id: String,
    /// What it tells of.
    event: String,
    /// The body, byte for byte.
    payload: String,
    /// `pending`, `delivered` or `failed`.
    state: String,
    /// Attempts so far.
    attempts: i64,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last tried.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Timestamp>,
    /// HTTP status of the last answer.
    last_status: Option<i64>,
    /// Why the last attempt failed.
    last_error: Option<String>,
}

impl DeliveryView {
    fn of(row: Delivery) -> Self {
        Self {
            id: row.id.into(),
            event: row.event,
            payload: row.payload,
            state: row.state,
            attempts: row.attempts,
            created_at: row.created_at,
            last_attempt_at: row.last_attempt_at,
            last_status: row.last_status,
            last_error: row.last_error,
        }
    }
}

/// Lists the deliveries of a subscription, newest first. They are kept for 30 days.
#[utoipa::path(
    get, path = "/v1/subscriptions/{id}/deliveries", tag = "subscriptions",
    operation_id = "list_deliveries",
    params(("id" = String, Path, description = "Id of the subscription"), PageQuery),
    responses((status = 200, body = Page<DeliveryView>), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn deliveries(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<DeliveryView>>, Problem> {
    let subscription = web.subscription(&id).await?;
    let (limit, after) = (page.limit(LIMIT)?, page.place()?);
    let rows = web.store.deliveries(&subscription.id, after.as_deref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, |row| row.id.to_string(), DeliveryView::of)))
}

/// Sends a delivery again, whatever became of it.
#[utoipa::path(
    post, path = "/v1/deliveries/{id}/send", tag = "subscriptions", operation_id = "send_delivery",
    params(("id" = String, Path, description = "Id of the delivery")),
    responses(
        (status = 202, description = "On its way", body = DeliveryView),
        (status = 404, body = ProblemDocument),
    ),
)]
pub(crate) async fn send(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<(StatusCode, axum::Json<DeliveryView>), Problem> {
    let delivery = web.store.delivery(&id).await?;
    let delivery = delivery.ok_or_else(|| Problem::not_found("delivery"))?;
    web.store.send_again(&delivery.id).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(DeliveryView::of(delivery))))
}
