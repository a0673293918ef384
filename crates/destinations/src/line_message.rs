//! Changes as lines of JSON, for receivers that are told of changes instead of holding tables: HTTP
//! and brokers. `{"kind":"upsert"|"delete"|"append","stream","table","generation","record"}`.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::destination::{Batch, Load, Mode, Part};
use crate::table::Row;

/// The column that is different whenever a row is written.
const WRITTEN_AT: &str = "_selvedge_synced_at";

/// A number made of texts by FNV-1a: the same on every machine, and enough to tell the rows of one
/// batch apart.
pub fn fingerprint<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let bytes = texts.into_iter().flat_map(|text| text.bytes().chain([0x1f]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[derive(Serialize)]
struct Line<'a> {
    kind: &'static str,
    stream: &'a str,
    table: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    generation: i64,
    record: Box<RawValue>,
}

/// One change on its way.
pub struct LineMessage {
    /// The namespace and name of its table.
    pub table: String,
    /// Its record's key as JSON; empty where rows are only appended.
    pub key: String,
    /// The line, without its end.
    pub text: String,
    /// A number made of what it says, but for the time of writing: the same whenever it is said again.
    pub fingerprint: u64,
}

/// Every change of a batch.
pub fn messages_of(batch: &Batch<'_>) -> impl Iterator<Item = LineMessage> {
    batch.parts.iter().flat_map(move |part| {
        let kind = if batch.load.mode == Mode::Merge { "upsert" } else { "append" };
        let rows = part.rows.iter().map(move |row| message(batch.load, part, row, kind));
        let gone = part.gone.iter().map(move |row| message(batch.load, part, row, "delete"));
        rows.chain(gone)
    })
}

/// Every change of a batch, a line each.
pub(crate) fn lines_of(batch: &Batch<'_>) -> String {
    messages_of(batch).map(|message| message.text + "\n").collect()
}

/// A line that speaks of the whole load.
pub(crate) fn line_of(load: &Load, kind: &str, mut body: Value) -> String {
    body["kind"] = kind.into();
    body["stream"] = load.stream.as_str().into();
    format!("{body}\n")
}

fn message(load: &Load, part: &Part, row: &Row, kind: &'static str) -> LineMessage {
    let table = &part.table;
    let is_gone = kind == "delete";
    let record = if is_gone { table.json_key(row) } else { table.json_record(row) };
    let line = Line {
        kind,
        stream: &load.stream,
        table: &table.name,
        namespace: table.namespace.as_deref(),
        generation: load.generation,
        record,
    };
    let key = match table.key.is_empty() {
        true => String::new(),
        false => table.json_key(row).get().to_owned(),
    };
    let name = table.to_string();
    let cells = table.columns.iter().zip(row).filter(|(column, _)| column.name != WRITTEN_AT);
    let cells = cells.map(|(_, cell)| cell.as_deref().unwrap_or("\u{0}"));
    let fingerprint = fingerprint([kind, &name].into_iter().chain(cells));
    let text =
        serde_json::to_string(&line).expect("texts, numbers and JSON can be written as JSON");
    LineMessage { table: name, key, text, fingerprint }
}
