//! Whether the server lives and is ready, its own description, and what its errors mean.

use axum::extract::{Path, State};
use axum::response::Html;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::{CODES, Problem, ProblemDocument};
use crate::state::Web;

/// That something is in order.
#[derive(Serialize, ToSchema)]
pub(crate) struct Fine {
    status: &'static str,
}

/// The process answers.
#[utoipa::path(
    get, path = "/healthz", tag = "system", operation_id = "health",
    responses((status = 200, body = Fine)), security(()),
)]
pub(crate) async fn health() -> axum::Json<Fine> {
    axum::Json(Fine { status: "ok" })
}

/// The database can be read and its writer lives.
#[utoipa::path(
    get, path = "/readyz", tag = "system", operation_id = "readiness",
    responses((status = 200, body = Fine), (status = 503, body = ProblemDocument)), security(()),
)]
pub(crate) async fn readiness(State(web): State<Web>) -> Result<axum::Json<Fine>, Problem> {
    web.store.feed_head().await?;
    web.store.reach_writer().await?;
    Ok(axum::Json(Fine { status: "ok" }))
}

/// The page about one error code.
pub(crate) async fn error_page(Path(code): Path<String>) -> Result<Html<String>, Problem> {
    let known = CODES.iter().find(|known| known.code == code);
    let known = known.ok_or_else(|| Problem::not_found("error code"))?;
    Ok(Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <h1>{title}</h1><p><code>{code}</code>, HTTP {status}</p><p>{meaning}</p></html>",
        title = known.title,
        code = known.code,
        status = known.status,
        meaning = known.meaning,
    )))
}
