//! API keys: list, make one (its text is shown once), revoke.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use store::{ApiKey, Scope};

use super::render::{Frame, page};
use super::session::{NoFields, Operator, Signed};
use super::words::Age;
use crate::api::integrations::NAME_CHARS;
use crate::problem::Problem;
use crate::state::Web;

struct KeyRow {
    id: String,
    name: String,
    prefix: String,
    scopes: String,
    created: Age,
    used: Age,
    is_live: bool,
}

#[derive(Template)]
#[template(path = "api_keys.html")]
struct KeysPage {
    frame: Frame,
    keys: Vec<KeyRow>,
    new_key: Option<String>,
    fault: Option<&'static str>,
}

pub(super) async fn list(operator: Operator, State(web): State<Web>) -> Result<Response, Problem> {
    show(&operator, &web, None, None).await
}

async fn show(
    operator: &Operator,
    web: &Web,
    new_key: Option<String>,
    fault: Option<&'static str>,
) -> Result<Response, Problem> {
    let now = web.ambient().now();
    let row = |key: ApiKey| {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        KeyRow {
            id: key.id.into(),
            name: key.name,
            prefix: key.prefix,
            scopes: scopes.join(", "),
            created: Age::of(key.created_at, now),
            used: Age::or_never(key.last_used_at, now),
            is_live: key.revoked_at.is_none(),
        }
    };
    let keys = web.store.api_keys().await?.into_iter().map(row).collect();
    Ok(page(&KeysPage {
        frame: Frame::new(operator, "api-keys", "API keys"),
        keys,
        new_key,
        fault,
    }))
}

#[derive(Deserialize)]
pub(super) struct KeyForm {
    name: String,
    access: String,
}

pub(super) async fn create(
    State(web): State<Web>,
    Signed(operator, form): Signed<KeyForm>,
) -> Result<Response, Problem> {
    let name = form.name.trim();
    if !(1..=NAME_CHARS).contains(&name.chars().count()) {
        return show(&operator, &web, None, Some("Enter a name of up to 128 characters.")).await;
    }
    let scopes: &[Scope] =
        if form.access == "read" { &[Scope::Read] } else { &[Scope::Read, Scope::Write] };
    let (_, text) = web.store.create_api_key(name, scopes).await?;
    show(&operator, &web, Some((*text).clone()), None).await
}

pub(super) async fn revoke(
    State(web): State<Web>,
    Path(id): Path<String>,
    Signed(_, NoFields {}): Signed<NoFields>,
) -> Result<Response, Problem> {
    let id = id.parse().map_err(|_| Problem::not_found("API key"))?;
    web.store.revoke_api_key(&id).await?;
    Ok(Redirect::to("/api-keys").into_response())
}
