//! The Airbyte protocol's messages, one JSON object a line, as a source speaks them. Facts: the
//! protocol's own schema.

use std::collections::HashMap;
use std::io::{self, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::table::Table;

/// How a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStatus {
    /// Work on it has begun.
    Started,
    /// Its first record is on its way.
    Running,
    /// All of it was sent.
    Complete,
    /// A part of it could not be sent.
    Incomplete,
}

impl StreamStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::Running => "RUNNING",
            Self::Complete => "COMPLETE",
            Self::Incomplete => "INCOMPLETE",
        }
    }
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The settings'.
    Config,
    /// It may pass.
    Transient,
    /// The source's.
    System,
}

/// Streams that a platform asks for.
#[derive(Debug, Deserialize)]
pub struct ConfiguredCatalog {
    /// Each with its modes.
    pub streams: Vec<ConfiguredStream>,
}

/// One stream that a platform asks for. Unknown members are the platform's own.
#[derive(Debug, Deserialize)]
pub struct ConfiguredStream {
    /// Which.
    pub stream: NamedStream,
    /// `full_refresh` or `incremental`; a platform may ask for the latter of every stream.
    #[serde(default)]
    pub sync_mode: Option<String>,
}

/// A stream by name.
#[derive(Debug, Deserialize)]
pub struct NamedStream {
    /// Its name.
    pub name: String,
}

/// The state of each stream as a platform hands it back: an array of state messages with nulls and
/// renamed members, or an object of old.
pub fn read_states(text: &str) -> Result<HashMap<String, Value>, serde_json::Error> {
    let given: Value = serde_json::from_str(text)?;
    let messages = match given {
        Value::Array(messages) => messages,
        Value::Null => Vec::new(),
        one => vec![one],
    };
    let mut states = HashMap::new();
    for message in messages {
        let message = if message["state"].is_object() { &message["state"] } else { &message };
        let global = [&message["global"], &message["global_"]];
        let global = global.into_iter().find_map(|global| global["stream_states"].as_array());
        let listed = global.into_iter().flatten().chain([&message["stream"]]);
        for stream in listed.filter(|stream| stream["stream_state"].is_object()) {
            if let Some(name) = stream["stream_descriptor"]["name"].as_str() {
                states.insert(name.to_owned(), stream["stream_state"].clone());
            }
        }
    }
    Ok(states)
}

/// A stream in a catalog.
#[derive(Debug, Clone)]
pub struct CatalogStream<'a> {
    /// Its columns and key.
    pub table: &'a Table,
    /// Whether it can be read from where the last run ended.
    pub incremental: bool,
    /// The field that an incremental reader orders by, where the source does not.
    pub cursor_field: Option<&'a str>,
}

/// Writes messages to a platform.
pub struct Messages<W> {
    output: W,
}

/// A record as sent; its data keeps every digit.
#[derive(Serialize)]
struct RecordMessage<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    record: RecordBody<'a>,
}

#[derive(Serialize)]
struct RecordBody<'a> {
    stream: &'a str,
    data: &'a RawValue,
    emitted_at: i64,
}

impl<W: Write> Messages<W> {
    /// Writes to an output, usually standard output.
    pub fn new(output: W) -> Self {
        Self { output }
    }

    /// What the settings look like.
    pub fn spec(&mut self, schema: &Value, documentation_url: &str) -> io::Result<()> {
        self.send(&json!({
            "type": "SPEC",
            "spec": {
                "protocol_version": "0.18.0",
                "documentationUrl": documentation_url,
                "connectionSpecification": schema,
                "supportsIncremental": true,
            },
        }))
    }

    /// Whether the settings work, and if not why.
    pub fn connection_status(&mut self, failure: Option<&str>) -> io::Result<()> {
        let status = match failure {
            None => json!({ "status": "SUCCEEDED" }),
            Some(message) => json!({ "status": "FAILED", "message": message }),
        };
        self.send(&json!({ "type": "CONNECTION_STATUS", "connectionStatus": status }))
    }

    /// Which streams there are.
    pub fn catalog(&mut self, streams: &[CatalogStream<'_>]) -> io::Result<()> {
        let stream = |CatalogStream { table, incremental, cursor_field }: &CatalogStream<'_>| {
            let key: Vec<[&str; 1]> = table.key_names().into_iter().map(|name| [name]).collect();
            let modes: &[&str] = match incremental {
                true => &["full_refresh", "incremental"],
                false => &["full_refresh"],
            };
            json!({
                "name": table.name,
                "json_schema": table.json_schema(),
                "supported_sync_modes": modes,
                "source_defined_cursor": incremental,
                "default_cursor_field": cursor_field.map(|field| [field]).unwrap_or_default(),
                "source_defined_primary_key": key,
                "is_resumable": incremental,
            })
        };
        let streams: Vec<Value> = streams.iter().map(stream).collect();
        self.send(&json!({ "type": "CATALOG", "catalog": { "streams": streams } }))
    }

    /// How a stream stands.
    pub fn stream_status(
        &mut self,
        stream: &str,
        status: StreamStatus,
        now: Timestamp,
    ) -> io::Result<()> {
        self.stream_status_because(stream, status, None, now)
    }

    /// A stream goes on once Plaid's limit lets it.
    pub fn rate_limited(
        &mut self,
        stream: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> io::Result<()> {
        let reason = json!([{
            "type": "RATE_LIMITED",
            "rate_limited": { "quota_reset": until.as_millisecond() },
        }]);
        self.stream_status_because(stream, StreamStatus::Running, Some(reason), now)
    }

    fn stream_status_because(
        &mut self,
        stream: &str,
        status: StreamStatus,
        reasons: Option<Value>,
        now: Timestamp,
    ) -> io::Result<()> {
        let mut body = json!({
            "stream_descriptor": { "name": stream },
            "status": status.as_str(),
        });
        if let Some(reasons) = reasons {
            body["reasons"] = reasons;
        }
        self.trace("STREAM_STATUS", "stream_status", &body, now)
    }

    /// How many records a stream is going to have, as far as that is known.
    pub fn estimate(&mut self, stream: &str, rows: u64, now: Timestamp) -> io::Result<()> {
        let body = json!({ "name": stream, "type": "STREAM", "row_estimate": rows });
        self.trace("ESTIMATE", "estimate", &body, now)
    }

    /// One record.
    pub fn record(&mut self, stream: &str, data: &RawValue, now: Timestamp) -> io::Result<()> {
        let record = RecordBody { stream, data, emitted_at: now.as_millisecond() };
        serde_json::to_writer(&mut self.output, &RecordMessage { kind: "RECORD", record })?;
        // Flushed with the next state, so that many records share a system call.
        self.output.write_all(b"\n")
    }

    /// The state behind `records` records of a stream.
    pub fn state(&mut self, stream: &str, state: &Value, records: u64) -> io::Result<()> {
        // The protocol wants a number with a decimal point.
        let count: Box<RawValue> = serde_json::from_str(&format!("{records}.0"))?;
        self.send(&StateMessage {
            kind: "STATE",
            state: StateBody {
                kind: "STREAM",
                stream: json!({ "stream_descriptor": { "name": stream }, "stream_state": state }),
                source_stats: SourceStats { record_count: count },
            },
        })
    }

    /// Something to be read in the log.
    pub fn log(&mut self, level: &str, message: &str) -> io::Result<()> {
        self.send(&json!({ "type": "LOG", "log": { "level": level, "message": message } }))
    }

    /// A failure, of one stream or of the whole command.
    pub fn error(
        &mut self,
        stream: Option<&str>,
        kind: FailureKind,
        message: &str,
        now: Timestamp,
    ) -> io::Result<()> {
        let failure_type = match kind {
            FailureKind::Config => "config_error",
            FailureKind::Transient => "transient_error",
            FailureKind::System => "system_error",
        };
        let mut error = json!({ "message": message, "failure_type": failure_type });
        if let Some(stream) = stream {
            error["stream_descriptor"] = json!({ "name": stream });
        }
        self.trace("ERROR", "error", &error, now)
    }

    fn trace(&mut self, kind: &str, member: &str, body: &Value, now: Timestamp) -> io::Result<()> {
        let mut trace = json!({ "type": kind, "emitted_at": now.as_millisecond() });
        trace[member] = body.clone();
        self.send(&json!({ "type": "TRACE", "trace": trace }))
    }

    fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, message)?;
        self.output.write_all(b"\n")?;
        self.output.flush()
    }
}

#[derive(Serialize)]
struct StateMessage {
    #[serde(rename = "type")]
    kind: &'static str,
    state: StateBody,
}

#[derive(Serialize)]
struct StateBody {
    #[serde(rename = "type")]
    kind: &'static str,
    stream: Value,
    #[serde(rename = "sourceStats")]
    source_stats: SourceStats,
}

#[derive(Serialize)]
struct SourceStats {
    #[serde(rename = "recordCount")]
    record_count: Box<RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_in_every_form_they_come_back_in() {
        let own = r#"{"type":"STREAM","stream":{"stream_descriptor":{"name":"a","namespace":null},
            "stream_state":{"n":1}},"data":null,"global_":null}"#;
        let forms = [
            format!("[{own}]"),
            own.to_owned(),
            format!(r#"[{{"type":"STATE","state":{own}}}]"#),
            r#"[{"type":"GLOBAL","global_":{"stream_states":[{"stream_descriptor":{"name":"a"},
                "stream_state":{"n":1}}]}}]"#
                .to_owned(),
        ];
        for form in forms {
            assert_eq!(read_states(&form).unwrap()["a"], json!({ "n": 1 }), "{form}");
        }
        assert!(read_states("[]").unwrap().is_empty() && read_states("{}").unwrap().is_empty());
    }
}
