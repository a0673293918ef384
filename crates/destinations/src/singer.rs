//! The Singer messages, one JSON object a line, as a tap speaks them. Facts: Singer's specification
//! 0.2.0.

use std::collections::HashMap;
use std::io::{self, Write};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::table::Table;

/// A catalog as `--discover` prints it, with the choices of whoever edited it.
#[derive(Debug, Deserialize)]
pub struct Catalog {
    /// The streams.
    pub streams: Vec<CatalogEntry>,
}

/// One stream of a catalog.
#[derive(Debug, Deserialize)]
pub struct CatalogEntry {
    /// Its name.
    pub tap_stream_id: String,
    /// What is chosen about the stream and its fields.
    #[serde(default)]
    pub metadata: Vec<Metadata>,
    /// Chosen in the way of early taps.
    #[serde(default)]
    pub selected: Option<bool>,
    /// `FULL_TABLE` or `INCREMENTAL`, where the stream has both.
    #[serde(default)]
    pub replication_method: Option<String>,
}

/// A choice about a stream, or with a breadcrumb about a part of it.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    /// Empty for the stream.
    #[serde(default)]
    pub breadcrumb: Vec<String>,
    /// The choices.
    #[serde(default)]
    pub metadata: HashMap<String, Value>,
}

impl CatalogEntry {
    /// Whether the stream is wanted; it is, unless somebody said otherwise.
    pub fn is_selected(&self) -> bool {
        let own = self.metadata.iter().find(|metadata| metadata.breadcrumb.is_empty());
        let own = own.and_then(|metadata| metadata.metadata.get("selected")?.as_bool());
        own.or(self.selected).unwrap_or(true)
    }

    /// Whether everything is to be read anew.
    pub fn is_full_table(&self) -> bool {
        let own = self.metadata.iter().find(|metadata| metadata.breadcrumb.is_empty());
        let own = own.and_then(|metadata| metadata.metadata.get("replication-method")?.as_str());
        own.or(self.replication_method.as_deref()) == Some("FULL_TABLE")
    }
}

/// The catalog of a tap. `incremental` says it of each stream by name.
pub fn catalog(tables: &[Table], incremental: impl Fn(&str) -> bool) -> Value {
    let stream = |table: &Table| {
        let method = if incremental(&table.name) { "INCREMENTAL" } else { "FULL_TABLE" };
        let key = table.key_names();
        let of_stream = json!({
            "breadcrumb": [],
            "metadata": {
                "selected": true, "inclusion": "available", "table-key-properties": key,
                "forced-replication-method": method,
            },
        });
        let of_field = |name: &String| {
            let inclusion = if key.contains(&name.as_str()) { "automatic" } else { "available" };
            json!({ "breadcrumb": ["properties", name], "metadata": { "inclusion": inclusion } })
        };
        let fields = table.columns.iter().map(|column| of_field(&column.name));
        json!({
            "tap_stream_id": table.name,
            "stream": table.name,
            "schema": table.json_schema(),
            "key_properties": key,
            "replication_method": method,
            "metadata": std::iter::once(of_stream).chain(fields).collect::<Vec<Value>>(),
        })
    };
    json!({ "streams": tables.iter().map(stream).collect::<Vec<Value>>() })
}

/// Writes messages to a target.
pub struct Messages<W> {
    output: W,
}

impl<W: Write> Messages<W> {
    /// Writes to an output, usually standard output.
    pub fn new(output: W) -> Self {
        Self { output }
    }

    /// What the records that follow look like.
    pub fn schema(&mut self, table: &Table) -> io::Result<()> {
        self.send(&json!({
            "type": "SCHEMA",
            "stream": table.name,
            "schema": table.json_schema(),
            "key_properties": table.key_names(),
        }))
    }

    /// One record.
    pub fn record(&mut self, stream: &str, data: &RawValue, now: Timestamp) -> io::Result<()> {
        let stream = Value::String(stream.to_owned());
        writeln!(
            self.output,
            "{{\"type\":\"RECORD\",\"stream\":{stream},\"record\":{data},\"time_extracted\":\"{now}\"}}"
        )
    }

    /// Where the next run goes on.
    pub fn state(&mut self, bookmarks: &Value) -> io::Result<()> {
        self.send(&json!({ "type": "STATE", "value": { "bookmarks": bookmarks } }))
    }

    fn send(&mut self, message: &Value) -> io::Result<()> {
        writeln!(self.output, "{message}")?;
        self.output.flush()
    }
}
