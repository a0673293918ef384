//! Connections: list, add with Save & Test, view with what its runs did, and everything one can do
//! about it.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::Timestamp;
use model::{
    ConnectionSettings, IntegrationId, Namespacing, Schedule, SchemaChanges, Stream, StreamChoice,
    SyncMode,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{Connection, Integration, Run, RunKind, RunState};

use super::destination_fields::{DESTINATIONS, DestinationFields, FieldOf};
use super::render::{Faults, Frame, page, page_with};
use super::session::{NoFields, Operator, Signed};
use super::words::{Age, Badge, count, run_badge};
use crate::api::connections::{ConnectionIn, find, find_run, save, tables};
use crate::problem::{FieldFault, Problem};
use crate::state::Web;

const SECTION: &str = "connections";
/// Connections and integrations shown on a page.
const SHOWN: i64 = 500;
/// Runs shown; the API has all of the last 90 days.
const RUNS_SHOWN: i64 = 20;

/// A connection in a list.
pub(super) struct ConnectionRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) integration: String,
    pub(super) place: String,
    pub(super) streams: String,
    pub(super) schedule: String,
    pub(super) badge: Badge,
    pub(super) outcome: String,
    pub(super) last: Age,
}

/// The connections of one integration or of all.
pub(super) async fn rows_of(
    web: &Web,
    integration: Option<&IntegrationId>,
) -> Result<Vec<ConnectionRow>, Problem> {
    let mut rows = Vec::new();
    for connection in web.store.connections(integration, None, SHOWN).await? {
        let of = web.integration(connection.integration_id.as_str()).await?;
        let last = web.store.runs(&connection.id, None, 1).await?.into_iter().next();
        let names: Vec<&str> =
            connection.settings.streams.iter().map(|choice| choice.stream.as_str()).collect();
        rows.push(ConnectionRow {
            streams: names.join(", "),
            integration: of.name,
            place: connection.place.clone(),
            schedule: connection.settings.schedule.words(),
            badge: run_badge(last.as_ref(), connection.paused.is_some()),
            outcome: last.as_ref().and_then(|run| run.body.outcome.clone()).unwrap_or_default(),
            last: Age::or_never(last.map(|run| run.created_at), web.ambient().now()),
            id: connection.id.into(),
            name: connection.name,
        });
    }
    Ok(rows)
}

#[derive(Template)]
#[template(path = "connections.html")]
struct ListPage {
    frame: Frame,
    connections: Vec<ConnectionRow>,
    has_sources: bool,
}

pub(super) async fn list(operator: Operator, State(web): State<Web>) -> Result<Response, Problem> {
    let connections = rows_of(&web, None).await?;
    let has_sources = !web.store.integrations(None, None, 1).await?.is_empty();
    let frame = Frame::new(&operator, SECTION, "Connections");
    Ok(page(&ListPage { frame, connections, has_sources }))
}

/// Which destination the form is for.
#[derive(Deserialize, Default)]
pub(super) struct FormQuery {
    #[serde(rename = "type")]
    kind: Option<String>,
    integration: Option<String>,
}

struct Choice {
    value: String,
    label: String,
    is_chosen: bool,
}

struct StreamFields {
    name: &'static str,
    meaning: &'static str,
    is_chosen: bool,
    modes: Vec<Choice>,
    hash: String,
    drop: String,
}

struct Field {
    of: &'static FieldOf,
    value: String,
}

#[derive(Template)]
#[template(path = "connection_form.html")]
struct FormPage {
    frame: Frame,
    faults: Faults,
    /// What concerns no single field.
    told: Vec<String>,
    destinations: &'static [DestinationFields],
    kind: &'static DestinationFields,
    integrations: Vec<Choice>,
    name: String,
    fields: Vec<Field>,
    streams: Vec<StreamFields>,
    schedules: Vec<Choice>,
    minutes: String,
    expression: String,
    namespaces: Vec<Choice>,
    schema_changes: Vec<Choice>,
    prefix: String,
    since: String,
    table_limit: String,
    real_time: bool,
}

/// What was typed, by field.
type Typed = HashMap<String, String>;

pub(super) async fn form(
    operator: Operator,
    State(web): State<Web>,
    Query(query): Query<FormQuery>,
) -> Result<Response, Problem> {
    let mut typed = Typed::from([("stream.balances".to_owned(), "on".to_owned())]);
    typed.extend(query.kind.map(|kind| ("type".to_owned(), kind)));
    typed.extend(query.integration.map(|id| ("integration_id".to_owned(), id)));
    Ok(page(&form_page(&operator, &web, &typed, Vec::new()).await?))
}

async fn form_page(
    operator: &Operator,
    web: &Web,
    typed: &Typed,
    faults: Vec<FieldFault>,
) -> Result<FormPage, Problem> {
    let value = |name: &str| typed.get(name).cloned().unwrap_or_default();
    let kind = DestinationFields::named(&value("type"));
    let field = |of: &'static FieldOf| Field {
        value: if of.is_secret {
            String::new()
        } else {
            value(&format!("destination.{}", of.name))
        },
        of,
    };
    let known =
        ["name", "integration_id", "prefix", "since", "minutes", "expression", "table_limit"];
    let is_shown = |fault: &FieldFault| {
        let field = fault.pointer.trim_start_matches('/');
        known.contains(&field) || field.starts_with("destination.")
    };
    let told = faults.iter().filter(|fault| !is_shown(fault));
    Ok(FormPage {
        frame: Frame::new(operator, SECTION, "Add a connection"),
        told: told.map(|fault| format!("{}: {}", fault.pointer, fault.detail)).collect(),
        faults: Faults(faults),
        destinations: DESTINATIONS,
        kind,
        integrations: integrations(web, &value("integration_id")).await?,
        name: value("name"),
        fields: kind.fields.iter().map(field).collect(),
        streams: Stream::all().map(|stream| stream_fields(typed, stream)).collect(),
        schedules: choices(typed, "schedule", &SCHEDULES),
        minutes: typed.get("minutes").cloned().unwrap_or_else(|| "60".to_owned()),
        expression: value("expression"),
        namespaces: choices(typed, "namespace", &NAMESPACES),
        schema_changes: choices(typed, "schema_changes", &SCHEMA_CHANGES),
        prefix: value("prefix"),
        since: value("since"),
        table_limit: typed
            .get("table_limit")
            .cloned()
            .unwrap_or_else(|| model::USUAL_TABLE_LIMIT.to_string()),
        real_time: typed.contains_key("real_time_balances"),
    })
}

fn choices(typed: &Typed, name: &str, all: &[(&str, &str)]) -> Vec<Choice> {
    let chosen = typed.get(name).map_or(all[0].0, String::as_str);
    let choice = |(value, label): &(&str, &str)| Choice {
        value: (*value).to_owned(),
        label: (*label).to_owned(),
        is_chosen: *value == chosen,
    };
    all.iter().map(choice).collect()
}

fn stream_fields(typed: &Typed, stream: Stream) -> StreamFields {
    let name = stream.as_str();
    let value = |what: &str| typed.get(&format!("{what}.{name}")).cloned();
    let usual = StreamChoice::of(stream).mode.as_str();
    let chosen = value("mode").unwrap_or_else(|| usual.to_owned());
    let mode = |mode: SyncMode| Choice {
        value: mode.as_str().to_owned(),
        label: mode.words().to_owned(),
        is_chosen: mode.as_str() == chosen,
    };
    StreamFields {
        name,
        meaning: stream.declaration().meaning,
        is_chosen: value("stream").is_some(),
        modes: SyncMode::ALL.map(mode).into(),
        hash: value("hash").unwrap_or_default(),
        drop: value("drop").unwrap_or_default(),
    }
}

/// What can be read from.
async fn integrations(web: &Web, chosen: &str) -> Result<Vec<Choice>, Problem> {
    let all = web.store.integrations(None, None, SHOWN).await?;
    let choice = |integration: Integration| Choice {
        is_chosen: integration.id.as_str() == chosen,
        label: match integration.is_source {
            true => format!("{} (source)", integration.name),
            false => integration.name,
        },
        value: integration.id.into(),
    };
    Ok(all.into_iter().map(choice).collect())
}

const SCHEDULES: [(&str, &str); 4] = [
    ("manual", "when asked"),
    ("interval", "every so many minutes"),
    ("cron", "by the clock (cron, UTC)"),
    ("on_change", "on every change"),
];
const NAMESPACES: [(&str, &str); 3] = [
    ("one", "all tables in one"),
    ("integration", "named after the integration"),
    ("end_user", "one per end user (many tables)"),
];
const SCHEMA_CHANGES: [(&str, &str); 3] = [
    ("add", "add the column"),
    ("pause", "pause the connection"),
    ("notify", "leave it out and say so"),
];

/// Save & Test: kept if it can be; the destination is then tested by a run of its own.
pub(super) async fn create(
    State(web): State<Web>,
    Signed(operator, typed): Signed<Typed>,
) -> Result<Response, Problem> {
    let faults = match body(&typed) {
        Ok(body) => match save(&web, body).await {
            Ok(connection) => {
                web.store.ask_for_run(&connection.id, RunKind::Check, "person").await?;
                let to = format!("/connections/{}", connection.id);
                return Ok(Redirect::to(&to).into_response());
            }
            Err(problem) if !problem.errors.is_empty() => {
                problem.errors.into_iter().map(beside).collect()
            }
            Err(problem) => return Err(problem),
        },
        Err(faults) => faults,
    };
    let template = form_page(&operator, &web, &typed, faults).await?;
    Ok(page_with(StatusCode::UNPROCESSABLE_ENTITY, &template))
}

/// A fault of the API beside the field of the form that it means.
fn beside(fault: FieldFault) -> FieldFault {
    let pointer = fault.pointer.replace("/destination/", "/destination.");
    let pointer = pointer.replace("/settings/schedule/", "/").replace("/settings/", "/");
    FieldFault { pointer, ..fault }
}

/// The form as the API takes it.
fn body(typed: &Typed) -> Result<ConnectionIn, Vec<FieldFault>> {
    let mut faults = Vec::new();
    let value = |name: &str| typed.get(name).map_or("", |text| text.trim());
    let kind = DestinationFields::named(value("type"));
    let mut destination = Map::from_iter([("type".to_owned(), json!(kind.kind))]);
    for field in kind.fields {
        let text = value(&format!("destination.{}", field.name));
        match field.value(text) {
            Ok(Some(value)) => {
                destination.insert(field.name.to_owned(), value);
            }
            Ok(None) => {}
            Err(why) => {
                faults.push(FieldFault::new(&format!("/destination.{}", field.name), why));
            }
        }
    }
    let number = |name: &str, faults: &mut Vec<FieldFault>| {
        value(name).parse::<u32>().unwrap_or_else(|_| {
            faults.push(FieldFault::new(&format!("/{name}"), "must be a whole number"));
            0
        })
    };
    let schedule = match value("schedule") {
        "interval" => Schedule::Interval { minutes: number("minutes", &mut faults) },
        "cron" => Schedule::Cron { expression: value("expression").to_owned() },
        "on_change" => Schedule::OnChange,
        _ => Schedule::Manual,
    };
    let since = Some(value("since")).filter(|text| !text.is_empty()).map(str::parse);
    let since = since.transpose().unwrap_or_else(|_| {
        faults.push(FieldFault::new("/since", "must be a date like 2026-01-31"));
        None
    });
    let table_limit = usize::try_from(number("table_limit", &mut faults)).unwrap_or(usize::MAX);
    let parsed = |name: &str| serde_json::from_value::<Value>(json!(value(name))).ok();
    let settings = ConnectionSettings {
        streams: chosen_streams(typed),
        schedule,
        prefix: value("prefix").to_owned(),
        namespace: parsed("namespace").and_then(one_of::<Namespacing>).unwrap_or_default(),
        schema_changes: parsed("schema_changes")
            .and_then(one_of::<SchemaChanges>)
            .unwrap_or_default(),
        since,
        table_limit,
        compat: None,
        real_time_balances: typed.contains_key("real_time_balances").then_some(true),
    };
    match faults.is_empty() {
        true => Ok(ConnectionIn {
            integration_id: value("integration_id").to_owned(),
            name: value("name").to_owned(),
            destination: Value::Object(destination),
            settings,
        }),
        false => Err(faults),
    }
}

fn one_of<T: serde::de::DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

fn chosen_streams(typed: &Typed) -> Vec<StreamChoice> {
    let list = |name: String| -> Vec<String> {
        let text = typed.get(&name).map_or("", String::as_str);
        text.split(',').map(str::trim).filter(|f| !f.is_empty()).map(str::to_owned).collect()
    };
    let chosen = |stream: &Stream| typed.contains_key(&format!("stream.{}", stream.as_str()));
    let choice = |stream: Stream| {
        let name = stream.as_str();
        let mode = typed.get(&format!("mode.{name}")).and_then(|mode| one_of(json!(mode)));
        let usual = StreamChoice::of(stream);
        StreamChoice {
            mode: mode.unwrap_or(usual.mode),
            hash: list(format!("hash.{name}")),
            drop: list(format!("drop.{name}")),
            ..usual
        }
    };
    Stream::all().filter(chosen).map(choice).collect()
}

struct StreamRow {
    name: &'static str,
    mode: &'static str,
    fields: String,
}

struct CountRow {
    stream: &'static str,
    read: String,
    written: String,
    deleted: String,
    bytes: String,
    verified: Option<String>,
}

struct RunRow {
    id: String,
    kind: &'static str,
    badge: Badge,
    created: Age,
    took: String,
    outcome: String,
    cause: String,
    counts: Vec<CountRow>,
    log: Vec<(String, String)>,
    is_under_way: bool,
}

#[derive(Template)]
#[template(path = "connection.html")]
struct ShowPage {
    frame: Frame,
    id: String,
    integration: String,
    integration_path: String,
    place: String,
    schedule: String,
    namespace: &'static str,
    tables: String,
    paused: Option<String>,
    streams: Vec<StreamRow>,
    runs: Vec<RunRow>,
    is_under_way: bool,
    created: Age,
}

pub(super) async fn show(
    operator: Operator,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let connection = find(&web, &id).await?;
    let integration = web.integration(connection.integration_id.as_str()).await?;
    let now = web.ambient().now();
    let runs = web.store.runs(&connection.id, None, RUNS_SHOWN).await?;
    let runs: Vec<RunRow> = runs.into_iter().map(|run| run_row(run, now)).collect();
    let names = NAMESPACES[connection.settings.namespace as usize].1;
    let section = if integration.is_source { "sources" } else { "integrations" };
    let template = ShowPage {
        tables: count(tables(&web, &connection).await?),
        integration_path: format!("/{section}/{}", integration.id),
        integration: integration.name,
        place: connection.place.clone(),
        schedule: connection.settings.schedule.words(),
        namespace: names,
        paused: connection.paused.clone(),
        streams: connection.settings.streams.iter().map(stream_row).collect(),
        is_under_way: runs.iter().any(|run| run.is_under_way),
        runs,
        created: Age::of(connection.created_at, now),
        id: connection.id.to_string(),
        frame: Frame::new(&operator, SECTION, connection.name),
    };
    Ok(page(&template))
}

fn stream_row(choice: &StreamChoice) -> StreamRow {
    let list = |what: &str, fields: &[String]| {
        (!fields.is_empty()).then(|| format!("{what} {}", fields.join(", ")))
    };
    let fields = list("hashed:", &choice.hash).into_iter().chain(list("left out:", &choice.drop));
    StreamRow {
        name: choice.stream.as_str(),
        mode: choice.mode.words(),
        fields: fields.collect::<Vec<_>>().join("; "),
    }
}

fn run_row(run: Run, now: Timestamp) -> RunRow {
    let took = run.ended_at.zip(run.body.started_at);
    let took = took.map_or(String::new(), |(ended, started)| {
        format!("{:.1} s", ended.duration_since(started).as_secs_f64())
    });
    let number = |number: u64| count(i64::try_from(number).unwrap_or(i64::MAX));
    let counts = run.body.streams.iter().map(|stream| CountRow {
        stream: stream.stream.as_str(),
        read: number(stream.read),
        written: number(stream.written),
        deleted: number(stream.deleted),
        bytes: number(stream.bytes),
        verified: stream.verified.clone(),
    });
    RunRow {
        kind: match run.kind {
            RunKind::Load => "Load",
            RunKind::Check => "Test",
            RunKind::Verify => "Verify",
            RunKind::Reset => "Reset",
            RunKind::RollBack => "Roll back",
        },
        badge: run_badge(Some(&run), false),
        created: Age::of(run.created_at, now),
        took,
        is_under_way: matches!(run.state, RunState::Waiting | RunState::Running),
        outcome: run.body.outcome.clone().unwrap_or_default(),
        cause: run.body.cause.clone(),
        counts: counts.collect(),
        log: run
            .body
            .log
            .iter()
            .map(|l| (l.at.strftime("%F %T").to_string(), l.text.clone()))
            .collect(),
        id: run.id.into(),
    }
}

/// What a person may ask for.
#[derive(Deserialize)]
pub(super) struct ActionForm {
    action: String,
    #[serde(default)]
    name: String,
}

pub(super) async fn act(
    State(web): State<Web>,
    Path(id): Path<String>,
    Signed(_, form): Signed<ActionForm>,
) -> Result<Response, Problem> {
    let connection = find(&web, &id).await?;
    let to = format!("/connections/{}", connection.id);
    match form.action.as_str() {
        "pause" => {
            web.store.pause_connection(&connection.id, Some("A person paused it.")).await?;
        }
        "resume" => web.store.pause_connection(&connection.id, None).await?,
        "refresh" => {
            let streams: Vec<Stream> =
                connection.settings.streams.iter().map(|choice| choice.stream).collect();
            web.store.want_refresh(&connection.id, &streams).await?;
            web.store.ask_for_run(&connection.id, RunKind::Load, "person").await?;
        }
        "delete" => {
            if form.name.trim() != connection.name {
                let why = "Type the connection's name to confirm.";
                return Err(Problem::fields(vec![FieldFault::new("/name", why)]));
            }
            web.store.delete_connection(&connection.id).await?;
            return Ok(Redirect::to("/connections").into_response());
        }
        "reset" if form.name.trim() != connection.name => {
            let why = "Type the connection's name to confirm.";
            return Err(Problem::fields(vec![FieldFault::new("/name", why)]));
        }
        kind => ask(&web, &connection, kind).await?,
    }
    Ok(Redirect::to(&to).into_response())
}

async fn ask(web: &Web, connection: &Connection, kind: &str) -> Result<(), Problem> {
    let kind = RunKind::from_name(kind).ok_or_else(|| Problem::not_found("action"))?;
    web.store.ask_for_run(&connection.id, kind, "person").await?;
    Ok(())
}

pub(super) async fn cancel(
    State(web): State<Web>,
    Path(id): Path<String>,
    Signed(_, NoFields {}): Signed<NoFields>,
) -> Result<Response, Problem> {
    let run = find_run(&web, &id).await?;
    web.store.cancel_run(&run).await?;
    Ok(Redirect::to(&format!("/connections/{}", run.connection)).into_response())
}
