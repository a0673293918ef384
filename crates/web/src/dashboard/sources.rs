//! Sources: list, add with Save & Test, view with its streams, connections and the commands that read
//! one without a server.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::civil::Date;
use model::Stream;
use plaid::Check;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use store::{Integration, ItemFilter};

use super::connections::{ConnectionRow, rows_of};
use super::integrations::{CheckRow, field_faults};
use super::overview::ItemRow;
use super::render::{Faults, Frame, page, page_with};
use super::session::{NoFields, Operator, Signed};
use super::words::Age;
use crate::api::sources::{SourceIn, checked_source, find, pointer, save, test, test_again};
use crate::problem::{FieldFault, Problem};
use crate::state::Web;

const SECTION: &str = "sources";
/// Sources shown.
const SHOWN: i64 = 500;

struct SourceRow {
    id: String,
    name: String,
    environment: &'static str,
    base_url: String,
    item: Option<ItemRow>,
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
    let mut sources = Vec::new();
    for source in web.store.integrations(Some(true), None, SHOWN).await? {
        sources.push(SourceRow {
            item: items(&web, &source).await?.into_iter().next(),
            id: source.id.into(),
            name: source.name,
            environment: source.environment.as_str(),
            base_url: source.base_url.into(),
            created: Age::of(source.created_at, now),
        });
    }
    Ok(page(&ListPage { frame: Frame::new(&operator, SECTION, "Sources"), sources }))
}

async fn items(web: &Web, source: &Integration) -> Result<Vec<ItemRow>, Problem> {
    let filter = ItemFilter { integration: Some(source.id.clone()), ..ItemFilter::default() };
    let items = web.store.items(&filter, None, SHOWN).await?;
    let now = web.ambient().now();
    Ok(items.into_iter().map(|item| ItemRow::of(item, now)).collect())
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
}

impl SourceForm {
    /// As the API takes it, but for a date that is none.
    fn body(&self) -> (SourceIn, Option<FieldFault>) {
        let empty = || SecretString::from("");
        let typed = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let start_date = typed(&self.start_date).map(|text| text.parse::<Date>());
        let fault = start_date
            .as_ref()
            .and_then(|date| date.as_ref().err())
            .map(|_| FieldFault::new("/start_date", "must be a date like 2026-01-31"));
        let body = SourceIn {
            name: self.name.clone(),
            api_key: self.api_key.clone().unwrap_or_else(empty),
            client_id: self.client_id.clone(),
            environment: self.environment.clone(),
            access_token: self.access_token.clone().unwrap_or_else(empty),
            start_date: start_date.and_then(Result::ok),
            base_url: typed(&self.base_url),
            end_user_id: None,
            streams: None,
        };
        (body, fault)
    }
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

/// Save & Test: kept once Plaid told of the Item and accepts what was typed.
pub(super) async fn create(
    State(web): State<Web>,
    Signed(operator, form): Signed<SourceForm>,
) -> Result<Response, Problem> {
    let again = |faults, checks: Vec<Check>| {
        let template = FormPage {
            frame: Frame::new(&operator, SECTION, "Add a source"),
            form: form.clone(),
            faults: Faults(faults),
            checks: checks.into_iter().map(CheckRow::from).collect(),
        };
        page_with(StatusCode::UNPROCESSABLE_ENTITY, &template)
    };
    let (body, fault) = form.body();
    let access = match (checked_source(&body), fault) {
        (Ok(access), None) => access,
        (access, fault) => {
            let faults = access.err().into_iter().flatten().chain(fault).collect();
            return Ok(again(faults, Vec::new()));
        }
    };
    let (checks, item) = test(&web, &access, &body).await;
    let Some(item) = item.filter(|_| !checks.iter().any(Check::is_failure)) else {
        let faults = field_faults(&checks).into_iter();
        let faults = faults.map(|fault| {
            FieldFault::new(&pointer(fault.pointer.trim_start_matches('/')), fault.detail)
        });
        return Ok(again(faults.collect(), checks));
    };
    match save(&web, access, body, item).await {
        Ok(source) => Ok(Redirect::to(&format!("/sources/{}", source.id)).into_response()),
        Err(problem) if problem.code.status == 409 => {
            let fault = FieldFault::new("/access_token", problem.detail);
            Ok(again(vec![fault], checks))
        }
        Err(problem) => Err(problem),
    }
}

struct StreamRow {
    name: &'static str,
    key: String,
    product: &'static str,
    is_read: bool,
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
    items: Vec<ItemRow>,
    connections: Vec<ConnectionRow>,
    streams: Vec<StreamRow>,
}

pub(super) async fn show(
    operator: Operator,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let source = find(&web, &id).await?;
    show_with(&operator, &web, source, Vec::new()).await
}

pub(super) async fn check(
    State(web): State<Web>,
    Path(id): Path<String>,
    Signed(operator, NoFields {}): Signed<NoFields>,
) -> Result<Response, Problem> {
    let source = find(&web, &id).await?;
    let checks = test_again(&web, &source).await?;
    show_with(&operator, &web, source, checks).await
}

async fn show_with(
    operator: &Operator,
    web: &Web,
    source: Integration,
    checks: Vec<Check>,
) -> Result<Response, Problem> {
    let stream = |stream: Stream| {
        let declaration = stream.declaration();
        StreamRow {
            name: declaration.name,
            key: declaration.key.join(", "),
            product: declaration.product.unwrap_or("on every Item"),
            is_read: source.streams.contains(&stream),
        }
    };
    let template = ShowPage {
        config: config(&source),
        items: items(web, &source).await?,
        connections: rows_of(web, Some(&source.id)).await?,
        streams: Stream::all().map(stream).collect(),
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
    Ok(page(&template))
}

/// The settings file of the command line, with places for the secrets.
fn config(source: &Integration) -> String {
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
    web.store.delete_integration(&source.id).await?;
    Ok(Redirect::to("/sources").into_response())
}
