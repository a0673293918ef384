//! Sources: list, add with Save & Test, view with the commands that read one.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::civil::Date;
use plaid::{Check, Credentials, check_token};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use store::{NewSource, Source, SourceSecrets};

use super::integrations::{CheckRow, field_faults};
use super::render::{Faults, Frame, page, page_with};
use super::session::{NoFields, Operator, Signed};
use super::words::Age;
use crate::api::integrations::{Connection, checked, checked_secret};
use crate::problem::{FieldFault, Problem};
use crate::state::Web;

const SECTION: &str = "sources";

struct SourceRow {
    id: String,
    name: String,
    environment: &'static str,
    base_url: String,
    created: Age,
}

#[derive(Template)]
#[template(path = "sources.html")]
struct ListPage {
    frame: Frame,
    sources: Vec<SourceRow>,
}

pub(super) async fn list(operator: Operator, State(web): State<Web>) -> Result<Response, Problem> {
    let now = web.ambient().now();
    let row = |source: Source| SourceRow {
        id: source.id.into(),
        name: source.name,
        environment: source.environment.as_str(),
        base_url: source.base_url.into(),
        created: Age::of(source.created_at, now),
    };
    let sources = web.store.sources().await?.into_iter().map(row).collect();
    Ok(page(&ListPage { frame: Frame::new(&operator, SECTION, "Sources"), sources }))
}

/// The fields of the form; what was typed is never lost, but for secrets.
#[derive(Deserialize, Default, Clone)]
pub(super) struct SourceForm {
    name: String,
    api_key: Option<SecretString>,
    client_id: String,
    environment: String,
    access_token: Option<SecretString>,
    #[serde(default)]
    start_date: String,
    #[serde(default)]
    base_url: String,
    #[serde(default)]
    save_anyway: Option<String>,
}

#[derive(Template)]
#[template(path = "source_form.html")]
struct FormPage {
    frame: Frame,
    form: SourceForm,
    faults: Faults,
    checks: Vec<CheckRow>,
}

pub(super) async fn form(operator: Operator) -> Response {
    let frame = Frame::new(&operator, SECTION, "Add a source");
    let form = SourceForm { environment: "sandbox".to_owned(), ..Default::default() };
    page(&FormPage { frame, form, faults: Faults(Vec::new()), checks: Vec::new() })
}

/// Save & Test: tested first, kept if it works or if the person insists.
pub(super) async fn create(
    State(web): State<Web>,
    Signed(operator, form): Signed<SourceForm>,
) -> Result<Response, Problem> {
    let empty = || SecretString::from("");
    let secrets = SourceSecrets {
        secret: form.api_key.clone().unwrap_or_else(empty),
        access_token: form.access_token.clone().unwrap_or_else(empty),
    };
    let connection = checked(&form.name, &form.environment, Some(&form.base_url), &form.client_id);
    let mut faults = connection.as_ref().err().cloned().unwrap_or_default();
    faults.extend(checked_secret("/secret", &secrets.secret));
    faults.extend(checked_secret("/access_token", &secrets.access_token));
    let start_date = start_date(&form.start_date).map_err(|fault| faults.push(fault));
    let again = |faults, checks: Vec<Check>| FormPage {
        frame: Frame::new(&operator, SECTION, "Add a source"),
        form: form.clone(),
        faults: Faults(faults),
        checks: checks.into_iter().map(CheckRow::from).collect(),
    };
    let (connection, start_date) = match (connection, start_date) {
        (Ok(connection), Ok(start_date)) if faults.is_empty() => (connection, start_date),
        _ => return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &again(faults, Vec::new()))),
    };
    let checks = test(&web, &connection, &secrets).await;
    if form.save_anyway.is_none() && checks.iter().any(Check::is_failure) {
        let faults = field_faults(&checks);
        return Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &again(faults, checks)));
    }
    let Connection { name, environment, base_url, client_id } = connection;
    let new = NewSource { name, environment, base_url, client_id, secrets, start_date };
    let source = web.store.create_source(new).await?;
    Ok(Redirect::to(&format!("/sources/{}", source.id)).into_response())
}

fn start_date(text: &str) -> Result<Option<Date>, FieldFault> {
    match text.trim() {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| FieldFault::new("/start_date", "must be a date like 2026-01-31")),
    }
}

async fn test(web: &Web, connection: &Connection, secrets: &SourceSecrets) -> Vec<Check> {
    let credentials =
        Credentials { client_id: connection.client_id.clone(), secret: secrets.secret.clone() };
    let (environment, base_url) = (connection.environment, connection.base_url.clone());
    let client = web.connector.client(environment, base_url, credentials.clone());
    check_token(&client, environment, &credentials, secrets.access_token.expose_secret()).await
}

#[derive(Template)]
#[template(path = "source.html")]
struct ShowPage {
    frame: Frame,
    id: String,
    environment: &'static str,
    notice: Option<&'static str>,
    base_url: String,
    client_id: String,
    start_date: Option<String>,
    created: Age,
    config: String,
    checks: Vec<CheckRow>,
}

pub(super) async fn show(
    operator: Operator,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let source = find(&web, &id).await?;
    Ok(show_with(&operator, &web, source, Vec::new()))
}

async fn find(web: &Web, id: &str) -> Result<Source, Problem> {
    let missing = || Problem::not_found("source");
    let id = id.parse().map_err(|_| missing())?;
    web.store.source(&id).await?.ok_or_else(missing)
}

pub(super) async fn check(
    State(web): State<Web>,
    Path(id): Path<String>,
    Signed(operator, NoFields {}): Signed<NoFields>,
) -> Result<Response, Problem> {
    let source = find(&web, &id).await?;
    let secrets = web.store.source_secrets(&source.id).await?;
    let secrets = secrets.ok_or_else(|| Problem::not_found("source"))?;
    let connection = Connection {
        name: source.name.clone(),
        environment: source.environment,
        base_url: source.base_url.clone(),
        client_id: source.client_id.clone(),
    };
    let checks = test(&web, &connection, &secrets).await;
    Ok(show_with(&operator, &web, source, checks))
}

fn show_with(operator: &Operator, web: &Web, source: Source, checks: Vec<Check>) -> Response {
    let template = ShowPage {
        config: config(&source),
        frame: Frame::new(operator, SECTION, source.name),
        id: source.id.into(),
        environment: source.environment.as_str(),
        notice: source.environment.notice(),
        base_url: source.base_url.into(),
        client_id: source.client_id,
        start_date: source.start_date.map(|date| date.to_string()),
        created: Age::of(source.created_at, web.ambient().now()),
        checks: checks.into_iter().map(CheckRow::from).collect(),
    };
    page(&template)
}

/// The settings file of the command line, with places for the secrets.
fn config(source: &Source) -> String {
    let mut config = json!({
        "client_id": source.client_id,
        "api_key": "YOUR_API_KEY",
        "plaid_env": source.environment,
        "access_token": "YOUR_ACCESS_TOKEN",
    });
    if source.base_url != source.environment.base_url() {
        config["base_url"] = json!(source.base_url.as_str());
    }
    if let Some(date) = source.start_date {
        config["start_date"] = json!(date.to_string());
    }
    format!("{config:#}")
}

pub(super) async fn delete(
    State(web): State<Web>,
    Path(id): Path<String>,
    Signed(_, NoFields {}): Signed<NoFields>,
) -> Result<Response, Problem> {
    let source = find(&web, &id).await?;
    web.store.delete_source(&source.id).await?;
    Ok(Redirect::to("/sources").into_response())
}
