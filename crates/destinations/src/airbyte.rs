//! The Airbyte protocol's messages, one JSON object a line, as a source speaks them. Facts: the
//! protocol's own schema.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::table::{Row, Table};

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
    /// Each with its modes, which a full-refresh source does not need.
    pub streams: Vec<ConfiguredStream>,
}

/// One stream that a platform asks for.
#[derive(Debug, Deserialize)]
pub struct ConfiguredStream {
    /// Which.
    pub stream: NamedStream,
}

/// A stream by name.
#[derive(Debug, Deserialize)]
pub struct NamedStream {
    /// Its name.
    pub name: String,
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
    data: Box<serde_json::value::RawValue>,
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
                "documentationUrl": documentation_url,
                "connectionSpecification": schema,
                "supportsIncremental": false,
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

    /// Which streams there are; all of them full refresh.
    pub fn catalog(&mut self, tables: &[&Table]) -> io::Result<()> {
        let stream = |table: &&Table| {
            let key: Vec<Vec<&str>> = table.key.iter().map(|name| vec![*name]).collect();
            json!({
                "name": table.name,
                "json_schema": table.json_schema(),
                "supported_sync_modes": ["full_refresh"],
                "source_defined_cursor": false,
                "source_defined_primary_key": key,
                "is_resumable": false,
            })
        };
        let streams: Vec<Value> = tables.iter().map(stream).collect();
        self.send(&json!({ "type": "CATALOG", "catalog": { "streams": streams } }))
    }

    /// How a stream stands.
    pub fn stream_status(
        &mut self,
        stream: &str,
        status: StreamStatus,
        now: Timestamp,
    ) -> io::Result<()> {
        self.send(&json!({
            "type": "TRACE",
            "trace": {
                "type": "STREAM_STATUS",
                "emitted_at": now.as_millisecond(),
                "stream_status": {
                    "stream_descriptor": { "name": stream },
                    "status": status.as_str(),
                },
            },
        }))
    }

    /// One record.
    pub fn record(&mut self, table: &Table, row: &Row, now: Timestamp) -> io::Result<()> {
        let data = table.json_record(row);
        let record = RecordBody { stream: table.name, data, emitted_at: now.as_millisecond() };
        self.send(&RecordMessage { kind: "RECORD", record })
    }

    /// The state behind `records` records of a full-refresh stream: a filler, because the protocol
    /// wants one.
    pub fn state(&mut self, stream: &str, records: usize) -> io::Result<()> {
        let count: Value = serde_json::from_str(&format!("{records}.0"))?;
        self.send(&json!({
            "type": "STATE",
            "state": {
                "type": "STREAM",
                "stream": {
                    "stream_descriptor": { "name": stream },
                    "stream_state": { "__ab_no_cursor_state_message": true },
                },
                "sourceStats": { "recordCount": count },
            },
        }))
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
        self.send(&json!({
            "type": "TRACE",
            "trace": { "type": "ERROR", "emitted_at": now.as_millisecond(), "error": error },
        }))
    }

    fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, message)?;
        self.output.write_all(b"\n")?;
        self.output.flush()
    }
}
