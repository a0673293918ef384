//! Streams: what each is, what is known of them for an Item, and their records.

use axum::extract::{Path, State};
use jiff::Timestamp;
use jiff::civil::Date;
use model::{Balance, Cost, Declaration, FieldKind, RawRecord, STREAMS, Stream};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::StreamState;
use utoipa::{IntoParams, ToSchema};

use super::page::{LARGE_LIMIT, Page, PageQuery};
use crate::problem::{Problem, ProblemDocument};
use crate::request::{Caller, Query, parameter};
use crate::state::Web;

/// What a stream is.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamView {
    /// Its name.
    name: Stream,
    /// What its records are.
    meaning: &'static str,
    /// The fields that name a record.
    key: &'static [&'static str],
    /// `full_refresh`, and `incremental` where Plaid allows it.
    sync_modes: Vec<&'static str>,
    /// The field an incremental reader goes by.
    cursor_field: Option<&'static str>,
    /// Plaid's product that an Item needs.
    product: Option<&'static str>,
    /// What Plaid charges for it.
    cost: Cost,
    /// Whether it is sealed at rest.
    sealed: bool,
    /// Seconds after which it is read again without news of it; 0 with every sync.
    every_seconds: i64,
    /// JSON Schema of its records.
    json_schema: Value,
}

impl StreamView {
    fn of(declaration: &Declaration) -> Self {
        let mut sync_modes = vec!["full_refresh"];
        sync_modes.extend(declaration.cursor_field.map(|_| "incremental"));
        Self {
            name: declaration.stream,
            meaning: declaration.meaning,
            key: declaration.key,
            sync_modes,
            cursor_field: declaration.cursor_field,
            product: declaration.product,
            cost: declaration.cost,
            sealed: declaration.sealed,
            every_seconds: declaration.every.as_secs(),
            json_schema: json_schema(declaration),
        }
    }
}

/// A stream's records as a JSON Schema, from the declaration of its fields.
pub(crate) fn json_schema(declaration: &Declaration) -> Value {
    let properties: Map<String, Value> = declaration
        .fields
        .iter()
        .map(|field| {
            let (kind, format) = match field.kind {
                FieldKind::Text | FieldKind::Decimal | FieldKind::Currency => ("string", None),
                FieldKind::Date => ("string", Some("date")),
                FieldKind::Instant => ("string", Some("date-time")),
                FieldKind::Integer => ("integer", None),
                FieldKind::Boolean => ("boolean", None),
                FieldKind::Object => ("object", None),
                FieldKind::List => ("array", None),
            };
            let mut kinds = vec![kind];
            if !declaration.key.contains(&field.name) {
                kinds.push("null");
            }
            let mut schema = json!({ "type": kinds, "description": field.meaning });
            if let Some(format) = format {
                schema["format"] = json!(format);
            }
            (field.name.to_owned(), schema)
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": declaration.name,
        "description": declaration.meaning,
        "type": "object",
        "properties": properties,
        "required": declaration.key,
    })
}

/// Every stream.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamsView {
    /// The streams.
    data: Vec<StreamView>,
}

/// Lists the streams with their schemas, keys, modes, products and costs.
#[utoipa::path(
    get, path = "/v1/streams", tag = "streams", operation_id = "list_streams",
    responses((status = 200, body = StreamsView)),
)]
pub(crate) async fn list(_: Caller) -> axum::Json<StreamsView> {
    axum::Json(StreamsView { data: STREAMS.iter().map(StreamView::of).collect() })
}

/// What is known of one stream of an Item.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamStateView {
    /// Which stream.
    stream: Stream,
    /// `available`, `lacking` (the Item or its bank has no such product: a fact, not a failure),
    /// `failing`, or `waiting` for its first reading or for Plaid to prepare it.
    state: String,
    /// Why, in words.
    detail: Option<String>,
    /// When it was last tried.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Timestamp>,
    /// When it was last read.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_success_at: Option<Timestamp>,
    /// When it is read again without news of it.
    #[schema(value_type = Option<String>, format = DateTime)]
    due_at: Option<Timestamp>,
}

/// The streams of an Item.
#[derive(Serialize, ToSchema)]
pub(crate) struct StreamStatesView {
    /// The streams that its integration reads.
    data: Vec<StreamStateView>,
}

/// Tells what is known of each stream of an Item.
#[utoipa::path(
    get, path = "/v1/items/{item_id}/streams", tag = "streams", operation_id = "list_item_streams",
    params(("item_id" = String, Path, description = "Plaid's item_id, or our id")),
    responses((status = 200, body = StreamStatesView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn states(
    _: Caller,
    State(web): State<Web>,
    Path(item_id): Path<String>,
) -> Result<axum::Json<StreamStatesView>, Problem> {
    let item = web.item(&item_id).await?;
    let integration = web.integration(item.integration_id.as_str()).await?;
    let known = web.store.stream_states(&item.key).await?;
    let with_sync = |stream| StreamStateView {
        stream,
        state: if item.last_success_at.is_some() { "available" } else { "waiting" }.to_owned(),
        detail: None,
        last_attempt_at: item.last_attempt_at,
        last_success_at: item.last_success_at,
        due_at: None,
    };
    let view = |stream: Stream| {
        if stream.comes_with_sync() {
            return with_sync(stream);
        }
        match known.iter().find(|state| state.stream == stream) {
            Some(state) => of_state(state),
            None => StreamStateView {
                stream,
                state: "waiting".to_owned(),
                detail: None,
                last_attempt_at: None,
                last_success_at: None,
                due_at: None,
            },
        }
    };
    Ok(axum::Json(StreamStatesView { data: integration.streams.into_iter().map(view).collect() }))
}

fn of_state(state: &StreamState) -> StreamStateView {
    StreamStateView {
        stream: state.stream,
        state: state.state.clone(),
        detail: state.detail.clone(),
        last_attempt_at: state.last_attempt_at,
        last_success_at: state.last_success_at,
        due_at: Some(state.due_at),
    }
}

/// Lists the records of a stream of an Item. Transactions have a list of their own.
#[utoipa::path(
    get, path = "/v1/items/{item_id}/streams/{stream}", tag = "streams", operation_id = "list_records",
    params(
        ("item_id" = String, Path, description = "Plaid's item_id, or our id"),
        ("stream" = Stream, Path, description = "Name of the stream"),
        PageQuery,
    ),
    responses((status = 200, body = Page<RawRecord>), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn records(
    _: Caller,
    State(web): State<Web>,
    Path((item_id, stream)): Path<(String, String)>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<RawRecord>>, Problem> {
    let missing = || Problem::not_found("stream (transactions have /v1/transactions)");
    let stream = Stream::from_name(&stream).filter(|stream| *stream != Stream::Transactions);
    let stream = stream.ok_or_else(missing)?;
    let item = web.item(&item_id).await?;
    let (limit, after) = (page.limit(LARGE_LIMIT)?, page.place()?);
    let rows = web.store.records_of_item(&item.key, stream, after.as_deref(), limit + 1).await?;
    Ok(axum::Json(Page::of(rows, limit, |(id, _)| id.clone(), |(_, record)| record)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadingsQuery {
    /// Plaid's account id.
    account_id: String,
    /// First day, in UTC; 30 days ago if absent.
    #[param(value_type = Option<String>, format = Date)]
    from: Option<Date>,
    /// Last day; today if absent.
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Date>,
}

/// A balance that was read.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadingView {
    /// The reading as it was first.
    #[serde(flatten)]
    balance: Balance,
    /// When the same was last read again that day.
    #[schema(value_type = String, format = DateTime)]
    confirmed_at: Timestamp,
}

/// Readings of an account.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReadingsView {
    /// Oldest first: what differs from the reading before it, and the first of each day.
    data: Vec<ReadingView>,
}

/// Most days of readings in one answer.
const READING_DAYS: i64 = 366;

/// Lists every balance that was read of an account.
#[utoipa::path(
    get, path = "/v1/items/{item_id}/balance_readings", tag = "streams",
    operation_id = "list_balance_readings",
    params(("item_id" = String, Path, description = "Plaid's item_id, or our id"), ReadingsQuery),
    responses((status = 200, body = ReadingsView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn balance_readings(
    _: Caller,
    State(web): State<Web>,
    Path(item_id): Path<String>,
    Query(query): Query<ReadingsQuery>,
) -> Result<axum::Json<ReadingsView>, Problem> {
    let item = web.item(&item_id).await?;
    let (from, to) = days(&web, query.from, query.to)?;
    let rows = web.store.balance_readings(&item.key, &query.account_id, (from, to), LARGE_LIMIT);
    let data = rows.await?.into_iter();
    let data = data
        .map(|row| ReadingView { balance: row.balance, confirmed_at: row.confirmed_at })
        .collect();
    Ok(axum::Json(ReadingsView { data }))
}

/// The days that are asked for: the last 30 if nothing is said, a year at most.
pub(crate) fn days(
    web: &Web,
    from: Option<Date>,
    to: Option<Date>,
) -> Result<(Date, Date), Problem> {
    let today = web.ambient().now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let to = to.unwrap_or(today);
    let from = from.unwrap_or_else(|| to.saturating_sub(jiff::Span::new().days(29)));
    let span = from.until(to).map_or(-1, |span| i64::from(span.get_days()));
    if (0..READING_DAYS).contains(&span) {
        Ok((from, to))
    } else {
        Err(parameter("from", &format!("must lie 0 to {} days before `to`.", READING_DAYS - 1)))
    }
}
