//! Connections: which streams of an integration or source go to which destination, and their runs.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use model::{ConnectionSettings, DestinationSettings, Stream};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{
    Connection, Integration, NewConnection, NewDestination, Run, RunBody, RunKind, RunState,
};
use utoipa::ToSchema;

use super::integrations::NAME_CHARS;
use super::page::{LIMIT, Page, PageQuery};
use crate::problem::{FieldFault, Problem, ProblemDocument};
use crate::request::{Caller, Json, Query};
use crate::state::Web;

/// What a connection is made of.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionIn {
    /// The integration or source whose streams are written.
    pub(crate) integration_id: String,
    /// A name for people, up to 128 characters.
    pub(crate) name: String,
    /// Where to: `type` (`postgres`, `sqlite`, `duckdb`, `parquet`, `csv`, `jsonl`, `delta`, `nats`,
    /// `kafka`, `http`, `process`) with the type's own settings. Write-only.
    #[schema(write_only)]
    pub(crate) destination: Value,
    /// Streams, modes, schedule and names; balances, whole, on request, if absent.
    #[serde(default)]
    pub(crate) settings: ConnectionSettings,
}

/// What to change about a connection; an absent part stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionPatch {
    /// A name for people.
    name: Option<String>,
    /// Where to, whole. Write-only.
    #[schema(write_only)]
    destination: Option<Value>,
    /// Streams, modes, schedule and names, whole.
    settings: Option<ConnectionSettings>,
}

/// A connection. What its destination needs is never returned.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConnectionView {
    /// Our id.
    id: String,
    /// The integration or source.
    integration_id: String,
    /// A name for people.
    name: String,
    /// The destination's type.
    destination_type: String,
    /// Where the destination is, without secrets.
    destination: String,
    /// What it does.
    settings: ConnectionSettings,
    /// Tables it has now.
    tables: i64,
    /// Why it does not run, if it is paused.
    paused: Option<String>,
    /// The last run.
    last_run: Option<RunView>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// One execution.
#[derive(Serialize, ToSchema)]
pub(crate) struct RunView {
    /// Our id.
    id: String,
    /// The connection.
    connection_id: String,
    /// What it does.
    kind: RunKind,
    /// How it stands.
    state: RunState,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// From its first beginning to its end.
    seconds: Option<f64>,
    /// Counts of each stream, the outcome in words, the log.
    #[serde(flatten)]
    body: RunBody,
}

impl RunView {
    fn of(run: Run) -> Self {
        let seconds = run
            .ended_at
            .zip(run.body.started_at)
            .map(|(ended, started)| ended.duration_since(started).as_secs_f64());
        Self {
            id: run.id.into(),
            connection_id: run.connection.into(),
            kind: run.kind,
            state: run.state,
            created_at: run.created_at,
            ended_at: run.ended_at,
            seconds,
            body: run.body,
        }
    }
}

async fn view(web: &Web, connection: Connection) -> Result<ConnectionView, Problem> {
    let last_run = web.store.runs(&connection.id, None, 1).await?.into_iter().next();
    Ok(ConnectionView {
        tables: tables(web, &connection).await?,
        id: connection.id.into(),
        integration_id: connection.integration_id.into(),
        name: connection.name,
        destination_type: connection.destination_kind,
        destination: connection.place,
        settings: connection.settings,
        paused: connection.paused,
        last_run: last_run.map(RunView::of),
        created_at: connection.created_at,
    })
}

/// How many tables a connection has.
pub(crate) async fn tables(web: &Web, connection: &Connection) -> Result<i64, Problem> {
    let streams = i64::try_from(connection.settings.streams.len()).unwrap_or(i64::MAX);
    Ok(match connection.settings.namespace {
        model::Namespacing::EndUser => {
            streams * web.store.count_end_users(&connection.integration_id).await?
        }
        _ => streams,
    })
}

/// A destination as given: parsed, allowed, and as it is kept.
pub(crate) fn checked_destination(
    web: &Web,
    given: &Value,
) -> Result<NewDestination, Vec<FieldFault>> {
    let settings: DestinationSettings = match serde_json::from_value(given.clone()) {
        Ok(settings) => settings,
        Err(error) => {
            let fault = FieldFault::new("/destination", without_values(&error.to_string()));
            return Err(vec![fault]);
        }
    };
    if let Some((field, why)) = web.settings.local_destinations.fault(&settings) {
        return Err(vec![FieldFault::new(&format!("/destination/{field}"), why)]);
    }
    if let DestinationSettings::Http { url, .. } = &settings {
        use secrecy::ExposeSecret;
        let private = web.settings.private_addresses;
        if let Err(why) = model::check_outbound_url(url.expose_secret(), private) {
            return Err(vec![FieldFault::new("/destination/url", why)]);
        }
    }
    Ok(NewDestination {
        kind: settings.kind().to_owned(),
        place: settings.to_string(),
        settings: SecretString::from(given.to_string()),
    })
}

/// An error of serde's names fields, and where it names a value nobody repeats it.
fn without_values(error: &str) -> String {
    match error.starts_with("invalid type") || error.starts_with("invalid value") {
        true => "a setting has a value of the wrong kind".to_owned(),
        false => error.to_owned(),
    }
}

/// What is wrong with a connection's name and settings.
pub(crate) fn faults_of(name: &str, settings: &ConnectionSettings) -> Vec<FieldFault> {
    let mut faults = Vec::new();
    if !(1..=NAME_CHARS).contains(&name.trim().chars().count()) {
        faults.push(FieldFault::new("/name", format!("must have 1 to {NAME_CHARS} characters")));
    }
    faults.extend(
        settings
            .faults()
            .into_iter()
            .map(|fault| FieldFault::new(&format!("/settings{}", fault.pointer), fault.detail)),
    );
    faults
}

/// Streams that an integration does not read yet: a source reads them from now on, because it was made
/// for this; of an integration somebody has to say so, because Plaid may bill them.
pub(crate) async fn read_streams(
    web: &Web,
    integration: &Integration,
    settings: &ConnectionSettings,
) -> Result<(), Problem> {
    let chosen = settings.streams.iter().map(|choice| choice.stream);
    let missing: Vec<Stream> =
        chosen.filter(|stream| !integration.streams.contains(stream)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !integration.is_source {
        let names: Vec<&str> = missing.iter().map(|stream| stream.as_str()).collect();
        let detail = format!(
            "the integration does not read {}; choose it there first, GET /v1/streams has its cost",
            names.join(", ")
        );
        return Err(Problem::fields(vec![FieldFault::new("/settings/streams", detail)]));
    }
    let mut streams = integration.streams.clone();
    streams.extend(missing);
    streams.sort();
    Ok(web.store.choose_streams(&integration.id, &streams).await?)
}

/// Two connections that write the same tables would undo each other's work.
async fn overlaps(
    web: &Web,
    own: Option<&str>,
    place: &str,
    settings: &ConnectionSettings,
) -> Result<Option<FieldFault>, Problem> {
    for other in web.store.connections(None, None, i64::MAX).await? {
        let theirs = &other.settings;
        let same_names = theirs.prefix == settings.prefix && theirs.namespace == settings.namespace;
        let same_stream = theirs
            .streams
            .iter()
            .any(|choice| settings.streams.iter().any(|own| own.stream == choice.stream));
        let is_other = Some(other.id.as_str()) != own;
        if is_other && other.place == place && same_names && same_stream {
            let detail = format!(
                "the connection {} writes tables of the same names there; choose another prefix",
                other.name
            );
            return Ok(Some(FieldFault::new("/settings/prefix", detail)));
        }
    }
    Ok(None)
}

/// Makes a connection.
#[utoipa::path(
    post, path = "/v1/connections", tag = "connections", operation_id = "create_connection",
    request_body = ConnectionIn,
    responses(
        (status = 201, body = ConnectionView), (status = 400, body = ProblemDocument),
        (status = 404, body = ProblemDocument), (status = 422, body = ProblemDocument),
    ),
)]
pub(crate) async fn create(
    _: Caller,
    State(web): State<Web>,
    Json(body): Json<ConnectionIn>,
) -> Result<(StatusCode, axum::Json<ConnectionView>), Problem> {
    let connection = save(&web, body).await?;
    Ok((StatusCode::CREATED, axum::Json(view(&web, connection).await?)))
}

/// Keeps a connection that can be.
pub(crate) async fn save(web: &Web, body: ConnectionIn) -> Result<Connection, Problem> {
    let integration = web.integration(&body.integration_id).await?;
    let mut faults = faults_of(&body.name, &body.settings);
    let destination = checked_destination(web, &body.destination);
    faults.extend(destination.as_ref().err().cloned().unwrap_or_default());
    let destination = match destination {
        Ok(destination) if faults.is_empty() => destination,
        _ => return Err(Problem::fields(faults)),
    };
    if let Some(fault) = overlaps(web, None, &destination.place, &body.settings).await? {
        return Err(Problem::fields(vec![fault]));
    }
    read_streams(web, &integration, &body.settings).await?;
    let new = NewConnection {
        integration_id: integration.id,
        name: body.name.trim().to_owned(),
        settings: body.settings,
        destination,
    };
    Ok(web.store.create_connection(new).await?)
}

/// Lists connections.
#[utoipa::path(
    get, path = "/v1/connections", tag = "connections", operation_id = "list_connections",
    params(PageQuery),
    responses((status = 200, body = Page<ConnectionView>), (status = 401, body = ProblemDocument)),
)]
pub(crate) async fn list(
    _: Caller,
    State(web): State<Web>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<ConnectionView>>, Problem> {
    let limit = page.limit(LIMIT)?;
    let rows = web.store.connections(None, page.place()?.as_deref(), limit + 1).await?;
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        views.push(view(&web, row).await?);
    }
    Ok(axum::Json(Page::of(views, limit, |view| view.id.clone(), |view| view)))
}

/// Reads a connection.
#[utoipa::path(
    get, path = "/v1/connections/{id}", tag = "connections", operation_id = "get_connection",
    params(("id" = String, Path, description = "Id of the connection")),
    responses((status = 200, body = ConnectionView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn get(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<ConnectionView>, Problem> {
    let connection = find(&web, &id).await?;
    Ok(axum::Json(view(&web, connection).await?))
}

/// The connection of this id.
pub(crate) async fn find(web: &Web, id: &str) -> Result<Connection, Problem> {
    web.store.connection(id).await?.ok_or_else(|| Problem::not_found("connection"))
}

/// Changes a connection. Streams whose mode or columns change are built anew by the next run.
#[utoipa::path(
    patch, path = "/v1/connections/{id}", tag = "connections", operation_id = "update_connection",
    params(("id" = String, Path, description = "Id of the connection")),
    request_body = ConnectionPatch,
    responses(
        (status = 200, body = ConnectionView), (status = 404, body = ProblemDocument),
        (status = 422, body = ProblemDocument),
    ),
)]
pub(crate) async fn update(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Json(body): Json<ConnectionPatch>,
) -> Result<axum::Json<ConnectionView>, Problem> {
    let before = find(&web, &id).await?;
    let settings = body.settings.unwrap_or_else(|| before.settings.clone());
    let name = body.name.unwrap_or_else(|| before.name.clone()).trim().to_owned();
    let mut faults = faults_of(&name, &settings);
    let destination = body.destination.map(|given| checked_destination(&web, &given));
    let place = match &destination {
        Some(Err(own)) => {
            faults.extend(own.clone());
            before.place.as_str()
        }
        Some(Ok(new)) => new.place.as_str(),
        None => before.place.as_str(),
    };
    faults.extend(overlaps(&web, Some(before.id.as_str()), place, &settings).await?);
    if !faults.is_empty() {
        return Err(Problem::fields(faults));
    }
    let integration = web.integration(before.integration_id.as_str()).await?;
    read_streams(&web, &integration, &settings).await?;
    let after = Connection { name, settings, ..before.clone() };
    web.store.change_connection(&after, destination.and_then(Result::ok)).await?;
    let changed = changed_streams(&before.settings, &after.settings);
    web.store.want_refresh(&before.id, &changed).await?;
    let connection = find(&web, &id).await?;
    Ok(axum::Json(view(&web, connection).await?))
}

/// Streams whose tables look different from now on.
fn changed_streams(before: &ConnectionSettings, after: &ConnectionSettings) -> Vec<Stream> {
    let known = |stream| before.streams.iter().find(|choice| choice.stream == stream);
    let changed = after.streams.iter().filter(|choice| known(choice.stream) != Some(*choice));
    changed.map(|choice| choice.stream).collect()
}

/// Forgets a connection with its runs. What stands at the destination stays.
#[utoipa::path(
    delete, path = "/v1/connections/{id}", tag = "connections", operation_id = "delete_connection",
    params(("id" = String, Path, description = "Id of the connection")),
    responses((status = 204, description = "Forgotten"), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn delete(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let connection = find(&web, &id).await?;
    web.store.delete_connection(&connection.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What to do.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunIn {
    /// `load` writes what is due, `check` tests the destination, `verify` compares both sides, `reset`
    /// empties the tables, `roll_back` brings the last generation back.
    #[serde(default = "load")]
    kind: RunKind,
    /// For `load`: build the tables of these streams anew.
    #[serde(default)]
    refresh: Vec<Stream>,
}

fn load() -> RunKind {
    RunKind::Load
}

/// Asks for a run at once.
#[utoipa::path(
    post, path = "/v1/connections/{id}/runs", tag = "connections", operation_id = "create_run",
    params(("id" = String, Path, description = "Id of the connection")),
    request_body = RunIn,
    responses(
        (status = 202, body = RunView), (status = 404, body = ProblemDocument),
        (status = 422, body = ProblemDocument),
    ),
)]
pub(crate) async fn start(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Json(body): Json<RunIn>,
) -> Result<(StatusCode, axum::Json<RunView>), Problem> {
    let connection = find(&web, &id).await?;
    let is_chosen =
        |stream: &Stream| connection.settings.streams.iter().any(|choice| choice.stream == *stream);
    if let Some(unknown) = body.refresh.iter().find(|stream| !is_chosen(stream)) {
        let detail = format!("the connection does not write {}", unknown.as_str());
        return Err(Problem::fields(vec![FieldFault::new("/refresh", detail)]));
    }
    if connection.paused.is_some() && body.kind == RunKind::Load {
        let detail = "the connection is paused; resume it first";
        return Err(Problem::fields(vec![FieldFault::new("/kind", detail)]));
    }
    web.store.want_refresh(&connection.id, &body.refresh).await?;
    let run = web.store.ask_for_run(&connection.id, body.kind, "person").await?;
    Ok((StatusCode::ACCEPTED, axum::Json(RunView::of(find_run(&web, run.as_str()).await?))))
}

/// Lists the runs of a connection, newest first.
#[utoipa::path(
    get, path = "/v1/connections/{id}/runs", tag = "connections", operation_id = "list_runs",
    params(("id" = String, Path, description = "Id of the connection"), PageQuery),
    responses((status = 200, body = Page<RunView>), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn runs(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<RunView>>, Problem> {
    let connection = find(&web, &id).await?;
    let limit = page.limit(LIMIT)?;
    let rows = web.store.runs(&connection.id, page.place()?.as_deref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, |run| run.id.to_string(), RunView::of)))
}

/// Reads a run with its counts and log.
#[utoipa::path(
    get, path = "/v1/runs/{id}", tag = "connections", operation_id = "get_run",
    params(("id" = String, Path, description = "Id of the run")),
    responses((status = 200, body = RunView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn run(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<RunView>, Problem> {
    Ok(axum::Json(RunView::of(find_run(&web, &id).await?)))
}

/// The run of this id.
pub(crate) async fn find_run(web: &Web, id: &str) -> Result<Run, Problem> {
    web.store.run(id).await?.ok_or_else(|| Problem::not_found("run"))
}

/// Ends a run between two batches; what was written stays, and the next run goes on from there.
#[utoipa::path(
    post, path = "/v1/runs/{id}/cancel", tag = "connections", operation_id = "cancel_run",
    params(("id" = String, Path, description = "Id of the run")),
    responses((status = 200, body = RunView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn cancel(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<RunView>, Problem> {
    let run = find_run(&web, &id).await?;
    web.store.cancel_run(&run).await?;
    Ok(axum::Json(RunView::of(find_run(&web, &id).await?)))
}

/// Keeps a connection from running until it is resumed.
#[utoipa::path(
    post, path = "/v1/connections/{id}/pause", tag = "connections",
    operation_id = "pause_connection",
    params(("id" = String, Path, description = "Id of the connection")),
    responses((status = 200, body = ConnectionView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn pause(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<ConnectionView>, Problem> {
    let connection = find(&web, &id).await?;
    web.store.pause_connection(&connection.id, Some("A person paused it.")).await?;
    let connection = find(&web, &id).await?;
    Ok(axum::Json(view(&web, connection).await?))
}

/// Lets a connection run again; it runs at once unless it only runs when asked.
#[utoipa::path(
    post, path = "/v1/connections/{id}/resume", tag = "connections",
    operation_id = "resume_connection",
    params(("id" = String, Path, description = "Id of the connection")),
    responses((status = 200, body = ConnectionView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn resume(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<ConnectionView>, Problem> {
    let connection = find(&web, &id).await?;
    web.store.pause_connection(&connection.id, None).await?;
    let connection = find(&web, &id).await?;
    Ok(axum::Json(view(&web, connection).await?))
}
