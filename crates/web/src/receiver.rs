//! Webhooks in: cap, verify the raw bytes, record the event and poke the Item in one transaction,
//! and only then answer 200. Plaid is never called for data here.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use plaid::{KeyError, Token, link_news, news};
use store::{Integration, Received, VisitEnded, WebhookKey};

use crate::problem::{KEY_UNAVAILABLE, Problem, WEBHOOK_REFUSED};
use crate::request::read_body;
use crate::state::Web;

const VERIFICATION: &str = "plaid-verification";

/// Takes a webhook from Plaid, or from a customer who forwards it with its header.
#[utoipa::path(
    post, path = "/webhooks/plaid/{integration}", tag = "webhooks", operation_id = "receive_webhook",
    params(("integration" = String, Path, description = "Id of the integration")),
    request_body(content = Object, description = "Plaid's bytes, unchanged", content_type = "application/json"),
    responses(
        (status = 200, description = "Durably recorded, or a repeat of what was recorded before"),
        (status = 401, description = "Not believed", body = crate::problem::ProblemDocument),
        (status = 404, description = "No such integration", body = crate::problem::ProblemDocument),
        (status = 503, description = "Plaid's key cannot be fetched now; send again", body = crate::problem::ProblemDocument),
    ),
    security(()),
)]
pub(crate) async fn receive(
    State(web): State<Web>,
    Path(integration): Path<String>,
    request: Request<Body>,
) -> Result<StatusCode, Problem> {
    let integration = web.recent_integration(&integration).await?;
    let headers = request.headers().clone();
    let values: Vec<&str> =
        headers.get_all(VERIFICATION).iter().map(|value| value.to_str().unwrap_or("")).collect();
    let token = Token::parse(&values).map_err(refused)?;
    let mut body = read_body(request).await?;
    if trial::has_bug("body_reserialised") {
        let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        body = parsed.to_string().into();
    }
    let now = web.ambient().now();
    let key = key(&web, &integration, token.key_id()).await?;
    let event = token.verify(&key, &body, now).map_err(refused)?;
    trial::crash_point("webhook.believed");
    let link = link_news(&event.webhook).map(|news| VisitEnded {
        link_token: news.link_token,
        public_tokens: news.public_tokens,
        succeeded: news.succeeded,
    });
    let received = Received {
        news: news(&event.webhook),
        link,
        integration_id: integration.id.to_string(),
        body_hash: event.body_hash,
        issued_at: event.issued_at,
        webhook_type: event.webhook.webhook_type,
        webhook_code: event.webhook.webhook_code,
        item_id: event.webhook.item_id,
    };
    tracing::info!(
        webhook_type = received.webhook_type,
        webhook_code = received.webhook_code,
        item_id = received.item_id,
        "webhook"
    );
    if trial::has_bug("acknowledged_before_recorded") {
        tokio::spawn(async move { web.store.record_webhook(received).await });
        return Ok(StatusCode::OK);
    }
    web.store.within(&integration.id).record_webhook(received).await?;
    trial::crash_point("webhook.recorded");
    Ok(StatusCode::OK)
}

async fn key(web: &Web, integration: &Integration, id: &str) -> Result<plaid::wire::Jwk, Problem> {
    let now = web.ambient().now();
    if let Some(known) = web.keys.known(&integration.base_url, id, now) {
        return Ok(known);
    }
    let client = web.client(integration).await?;
    match web.keys.key(&client, id, now).await {
        Ok((key, None)) => Ok(key),
        Ok((key, Some(fetched))) => {
            let kept = WebhookKey {
                base_url: fetched.base_url.to_string(),
                key_id: key.kid.clone(),
                jwk: serde_json::to_string(&fetched.key).unwrap_or_default(),
                fetched_at: fetched.fetched_at,
            };
            web.store.keep_webhook_key(kept).await?;
            Ok(key)
        }
        Err(KeyError::Unknown) => Err(refused(plaid::Refusal::UnknownKey)),
        Err(KeyError::Unavailable(why)) => {
            let why = why.map_or_else(|| "too many look-ups".to_owned(), |why| why.to_string());
            tracing::warn!(why, "a webhook key could not be fetched");
            let detail = "Plaid's key for this webhook cannot be fetched now; send it again later.";
            Err(Problem::new(KEY_UNAVAILABLE, detail))
        }
    }
}

fn refused(refusal: plaid::Refusal) -> Problem {
    tracing::warn!(%refusal, "a webhook was refused");
    Problem::new(WEBHOOK_REFUSED, format!("{refusal}."))
}
