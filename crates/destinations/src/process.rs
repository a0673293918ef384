//! Another program as a destination: one that speaks Airbyte's destination protocol, or a Singer
//! target, run as a child. Rows go to its standard input; a mark counts once the child echoes it.
//!
//! Guarantee: at least once, by the child's own promise: what it echoed is durable there.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::OsString;
use std::io::Write as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use model::{DestinationSettings, Protocol};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, BufWriter};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;

use crate::destination::{Batch, Destination, DestinationError, Load, MissingColumn, Mode};
use crate::scratch::Scratch;
use crate::table::{Row, Table};

/// A child that was told the end has this long to write the rest.
const ENDING: Duration = Duration::from_secs(600);
/// A check has this long.
const CHECKING: Duration = Duration::from_secs(120);
/// Lines of the child's complaints that are kept for the error.
const COMPLAINTS: usize = 5;
const COMPLAINT_CHARS: usize = 300;
/// Shorter texts in a child's settings are no secrets, and would take holes into every word.
const SECRET_CHARS: usize = 5;
/// How the names of our own environment variables begin.
const OWN_VARIABLES: [&str; 2] = ["SELVEDGE_", "PLAID_"];

/// Another program.
pub struct Process {
    command: Vec<String>,
    protocol: Protocol,
    config: SecretString,
    place: String,
    running: Option<Running>,
    heard: Arc<Mutex<Heard>>,
    /// Says when records were sent.
    now: fn() -> Timestamp,
}

struct Running {
    child: Child,
    input: BufWriter<ChildStdin>,
    readers: Vec<JoinHandle<()>>,
    /// Streams whose end the child has to be told.
    complete: Vec<Value>,
    _files: Scratch,
}

/// A mark that was sent, and the states that have to come back for it.
struct Sent {
    mark: String,
    waiting: BTreeSet<u64>,
}

/// What the child said.
#[derive(Default)]
struct Heard {
    /// Marks of each load that were sent, in their order, until all their states are echoed.
    sent: HashMap<String, VecDeque<Sent>>,
    /// The last echoed mark of each load.
    marks: HashMap<String, String>,
    complaints: Vec<String>,
    status: Option<Value>,
    last: u64,
}

impl Process {
    /// Takes the settings and the clock that stamps records.
    pub fn new(
        settings: &DestinationSettings,
        now: fn() -> Timestamp,
    ) -> Result<Self, DestinationError> {
        let place = settings.to_string();
        match settings {
            DestinationSettings::Process { command, protocol, config } if !command.is_empty() => {
                Ok(Self {
                    command: command.clone(),
                    protocol: *protocol,
                    config: config.clone(),
                    place,
                    running: None,
                    heard: Arc::default(),
                    now,
                })
            }
            _ => Err(DestinationError::settings(
                place,
                "command is empty",
                "Name a program that can be run, with its arguments",
            )),
        }
    }

    /// Files that only this user can read.
    fn files(&self, catalog: Option<&Value>) -> Result<Scratch, DestinationError> {
        let folder = Scratch::new()?;
        let failed = |error| DestinationError::file(folder.path(), error);
        let write = |name: &str, text: &str| {
            std::fs::File::create(folder.path().join(name))
                .and_then(|mut file| file.write_all(text.as_bytes()))
        };
        write("config.json", self.config.expose_secret()).map_err(failed)?;
        if let Some(catalog) = catalog {
            write("catalog.json", &catalog.to_string()).map_err(failed)?;
        }
        Ok(folder)
    }

    fn program(&self, arguments: &[&str], files: &Scratch) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(arguments).arg("--config");
        command.arg(files.path().join("config.json"));
        // Our own secrets are not its.
        let own = std::env::vars_os().map(|(name, _)| name);
        let is_own = |name: &OsString| {
            OWN_VARIABLES.iter().any(|own| name.to_string_lossy().starts_with(own))
        };
        for name in own.filter(is_own) {
            command.env_remove(name);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    fn spawn(&self, command: &mut Command) -> Result<Child, DestinationError> {
        command.spawn().map_err(|error| {
            let fix = "Name a program that is there and can be run";
            DestinationError::settings(&self.place, error.to_string(), fix).because(error)
        })
    }

    fn listen(&self, child: &mut Child) -> Vec<JoinHandle<()>> {
        let echoes = child.stdout.take().map(|out| {
            let (heard, protocol) = (Arc::clone(&self.heard), self.protocol);
            tokio::spawn(each_line(out, move |line| {
                if let Ok(mut heard) = heard.lock() {
                    heard.note(protocol, line);
                }
            }))
        });
        let complaints = child.stderr.take().map(|out| {
            let heard = Arc::clone(&self.heard);
            tokio::spawn(each_line(out, move |line| {
                if let Ok(mut heard) = heard.lock() {
                    heard.complain(line);
                }
            }))
        });
        echoes.into_iter().chain(complaints).collect()
    }

    /// What the child said, when it went wrong.
    fn complaint(&self, what: &str) -> DestinationError {
        let complaints = self.heard.lock().map(|heard| heard.complaints.join(" | "));
        let complaints = self.without_secrets(complaints.unwrap_or_default());
        let said = match complaints.is_empty() {
            true => what.to_owned(),
            false => format!("{what}: {complaints}"),
        };
        DestinationError::passing(&self.place, said)
    }

    /// A child that complains may quote its settings; none of their texts is repeated.
    fn without_secrets(&self, complaint: String) -> String {
        let settings: Value =
            serde_json::from_str(self.config.expose_secret()).unwrap_or(Value::Null);
        let mut texts = Vec::new();
        texts_of(&settings, &mut texts);
        texts.iter().fold(complaint, |told, text| told.replace(text.as_str(), "…"))
    }

    async fn send(&mut self, lines: &str) -> Result<(), DestinationError> {
        let Some(running) = &mut self.running else {
            return Err(DestinationError::passing(&self.place, "the program does not run"));
        };
        let input = &mut running.input;
        let write = async {
            input.write_all(lines.as_bytes()).await?;
            input.flush().await
        };
        let sent = tokio::time::timeout(ENDING, write).await;
        if !matches!(sent, Ok(Ok(()))) {
            // It ended; what it said last tells why.
            let ended = self.end().await;
            return Err(ended.err().unwrap_or_else(|| self.complaint("it stopped reading")));
        }
        Ok(())
    }

    /// Ends the input and waits for the rest.
    async fn end(&mut self) -> Result<(), DestinationError> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        // A child that is gone already needs no end.
        let _gone = running.input.shutdown().await;
        drop(running.input);
        let waited = tokio::time::timeout(ENDING, running.child.wait()).await;
        if waited.is_err() {
            // Its readers end when it does.
            let _killed = running.child.kill().await;
        }
        for reader in running.readers {
            let _ended = reader.await;
        }
        match waited {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.complaint(&format!("it ended with {status}"))),
            _ => Err(self.complaint("it did not end")),
        }
    }

    /// A mark as one state for each table: it counts when all of them come back, because a child may
    /// write its tables apart from each other.
    fn states(&self, load: &Load, mark: &str, tables: &[(&Table, usize)]) -> String {
        let mut lines = String::new();
        let Ok(mut heard) = self.heard.lock() else { return lines };
        let mut waiting = BTreeSet::new();
        for (table, count) in tables {
            heard.last += 1;
            waiting.insert(heard.last);
            let value = json!({ "selvedge": heard.last, "load": load.id });
            let count = f64::from(u32::try_from(*count).unwrap_or(u32::MAX));
            let message = match self.protocol {
                Protocol::Singer => json!({ "type": "STATE", "value": value }),
                Protocol::Airbyte => json!({
                    "type": "STATE",
                    "state": {
                        "type": "STREAM",
                        "stream": {
                            "stream_descriptor": descriptor(table), "stream_state": value,
                        },
                        "sourceStats": { "recordCount": count },
                    },
                }),
            };
            lines.push_str(&format!("{message}\n"));
        }
        let sent = heard.sent.entry(load.id.clone()).or_default();
        sent.push_back(Sent { mark: mark.to_owned(), waiting });
        lines
    }

    fn record(&self, load: &Load, table: &Table, row: &Row, is_gone: bool) -> String {
        let now = (self.now)();
        let data = if is_gone { table.json_key(row) } else { table.json_record(row) };
        let data = match is_gone {
            false => data.get().to_owned(),
            true => with_member(data.get(), deleted_field(self.protocol), &now.to_string()),
        };
        match self.protocol {
            Protocol::Airbyte => {
                let namespace = table.namespace.as_ref().map_or(String::new(), |namespace| {
                    format!(",\"namespace\":{}", Value::String(namespace.clone()))
                });
                format!(
                    "{{\"type\":\"RECORD\",\"record\":{{\"stream\":{}{namespace},\"data\":{data},\
                     \"emitted_at\":{}}}}}\n",
                    Value::String(table.name.clone()),
                    now.as_millisecond()
                )
            }
            Protocol::Singer => format!(
                "{{\"type\":\"RECORD\",\"stream\":{},\"record\":{data},\"version\":{},\
                 \"time_extracted\":\"{now}\"}}\n",
                Value::String(singer_name(table)),
                load.generation
            ),
        }
    }
}

impl Heard {
    fn note(&mut self, protocol: Protocol, line: &str) {
        let Ok(message) = serde_json::from_str::<Value>(line) else { return };
        let state = match protocol {
            Protocol::Singer => &message,
            Protocol::Airbyte => &message["state"]["stream"]["stream_state"],
        };
        if let Some(number) = state["selvedge"].as_u64() {
            return self.echoed(protocol, number);
        }
        match message["type"].as_str() {
            Some("CONNECTION_STATUS") => self.status = Some(message["connectionStatus"].clone()),
            Some("TRACE") if message["trace"]["type"] == "ERROR" => {
                self.complain(message["trace"]["error"]["message"].as_str().unwrap_or_default());
            }
            _ => {}
        }
    }

    /// A Singer target echoes the last state that holds, an Airbyte destination each one of a stream. A
    /// mark counts when its states and those of the marks before it came back.
    fn echoed(&mut self, protocol: Protocol, number: u64) {
        for (load, sent) in &mut self.sent {
            for mark in sent.iter_mut() {
                match protocol {
                    Protocol::Singer => mark.waiting.retain(|waiting| *waiting > number),
                    Protocol::Airbyte => drop(mark.waiting.remove(&number)),
                }
            }
            while sent.front().is_some_and(|mark| mark.waiting.is_empty()) {
                if let Some(Sent { mark, .. }) = sent.pop_front() {
                    self.marks.insert(load.clone(), mark);
                }
            }
        }
    }

    fn complain(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if self.complaints.len() == COMPLAINTS {
            self.complaints.remove(0);
        }
        self.complaints.push(line.chars().take(COMPLAINT_CHARS).collect());
    }
}

async fn each_line(out: impl AsyncRead + Unpin, mut each: impl FnMut(&str)) {
    let mut lines = BufReader::new(out).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        each(&line);
    }
}

#[async_trait]
impl Destination for Process {
    async fn check(&mut self) -> Result<(), DestinationError> {
        if self.protocol == Protocol::Singer {
            // A target has no check: one that can be started and ends on an empty input will do.
            self.prepare(&[], false).await?;
            return self.end().await;
        }
        let files = self.files(None)?;
        let mut child = self.spawn(self.program(&["check"], &files).stdin(Stdio::null()))?;
        let readers = self.listen(&mut child);
        let ended = tokio::time::timeout(CHECKING, child.wait()).await;
        if ended.is_err() {
            let _killed = child.kill().await;
        }
        for reader in readers {
            let _ended = reader.await;
        }
        let status = self.heard.lock().ok().and_then(|mut heard| heard.status.take());
        match status {
            Some(status) if status["status"] == "SUCCEEDED" => Ok(()),
            Some(status) => Err(DestinationError::settings(
                &self.place,
                status["message"].as_str().unwrap_or("its check failed"),
                "Change the settings in config, as the program says",
            )),
            None if ended.is_err() => Err(self.complaint("its check did not end")),
            None => Err(self.complaint("its check said nothing")),
        }
    }

    async fn prepare(
        &mut self,
        loads: &[Load],
        _add_columns: bool,
    ) -> Result<Vec<MissingColumn>, DestinationError> {
        let files = self.files(Some(&catalog(loads)))?;
        let mut command = match self.protocol {
            Protocol::Singer => self.program(&[], &files),
            Protocol::Airbyte => {
                let mut command = self.program(&["write"], &files);
                command.arg("--catalog").arg(files.path().join("catalog.json"));
                command
            }
        };
        let mut child = self.spawn(command.stdin(Stdio::piped()))?;
        let readers = self.listen(&mut child);
        let Some(input) = child.stdin.take() else {
            return Err(DestinationError::passing(&self.place, "it takes no input"));
        };
        let input = BufWriter::new(input);
        self.running = Some(Running { child, input, readers, complete: Vec::new(), _files: files });
        let begin: String = loads
            .iter()
            .flat_map(|load| load.tables.iter().map(move |table| (load, table)))
            .map(|(load, table)| match self.protocol {
                Protocol::Singer => format!("{}\n", singer_schema(load, table)),
                Protocol::Airbyte => self.status(table, "STARTED"),
            })
            .collect();
        self.send(&begin).await?;
        Ok(Vec::new())
    }

    fn keeps_marks(&self) -> bool {
        false
    }

    async fn mark(&mut self, load: &str) -> Result<Option<String>, DestinationError> {
        Ok(self.heard.lock().ok().and_then(|heard| heard.marks.get(load).cloned()))
    }

    async fn begin_aside(&mut self, _load: &Load, _mark: &str) -> Result<(), DestinationError> {
        Ok(())
    }

    async fn write(&mut self, batch: Batch<'_>) -> Result<(), DestinationError> {
        let load = batch.load;
        for part in &batch.parts {
            let mut lines = String::new();
            for row in &part.rows {
                lines.push_str(&self.record(load, &part.table, row, false));
            }
            for row in &part.gone {
                lines.push_str(&self.record(load, &part.table, row, true));
            }
            self.send(&lines).await?;
        }
        if batch.aside {
            return Ok(());
        }
        let counts =
            batch.parts.iter().map(|part| (part.table.as_ref(), part.rows.len() + part.gone.len()));
        let mut tables: Vec<(&Table, usize)> = counts.collect();
        if tables.is_empty() {
            tables.extend(load.tables.first().map(|table| (table.as_ref(), 0)));
        }
        let lines = self.states(load, &batch.mark, &tables);
        self.send(&lines).await
    }

    async fn settle(&mut self, load: &Load) -> Result<(), DestinationError> {
        self.complete(load).await
    }

    /// Rows of older generations go when the child hears that the stream is complete.
    async fn swap(&mut self, load: &Load, mark: &str) -> Result<(), DestinationError> {
        let mut lines = String::new();
        if self.protocol == Protocol::Singer {
            for table in &load.tables {
                let activate = json!({
                    "type": "ACTIVATE_VERSION",
                    "stream": singer_name(table),
                    "version": load.generation,
                });
                lines.push_str(&format!("{activate}\n"));
            }
        }
        let tables: Vec<(&Table, usize)> =
            load.tables.iter().map(|table| (table.as_ref(), 0)).collect();
        lines += &self.states(load, mark, &tables);
        self.send(&lines).await?;
        self.complete(load).await
    }

    async fn clear(&mut self, _load: &Load) -> Result<(), DestinationError> {
        Ok(())
    }

    async fn close(&mut self) -> Result<(), DestinationError> {
        self.end().await
    }
}

impl Process {
    fn status(&self, table: &Table, status: &str) -> String {
        let message = json!({
            "type": "TRACE",
            "trace": {
                "type": "STREAM_STATUS",
                "emitted_at": (self.now)().as_millisecond(),
                "stream_status": { "stream_descriptor": descriptor(table), "status": status },
            },
        });
        format!("{message}\n")
    }

    /// Tells the child once that a load's streams are complete.
    async fn complete(&mut self, load: &Load) -> Result<(), DestinationError> {
        if self.protocol == Protocol::Singer {
            return Ok(());
        }
        let Some(running) = &mut self.running else { return Ok(()) };
        let mut news = Vec::new();
        for table in &load.tables {
            let descriptor = descriptor(table);
            if !running.complete.contains(&descriptor) {
                running.complete.push(descriptor);
                news.push(Arc::clone(table));
            }
        }
        let lines: String = news.iter().map(|table| self.status(table, "COMPLETE")).collect();
        self.send(&lines).await
    }
}

/// Every text in settings that is long enough to be a secret.
fn texts_of(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() >= SECRET_CHARS => texts.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|value| texts_of(value, texts)),
        Value::Object(members) => members.values().for_each(|value| texts_of(value, texts)),
        _ => {}
    }
}

/// The member that says a record is gone, by each protocol's habit.
fn deleted_field(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Airbyte => "_ab_cdc_deleted_at",
        Protocol::Singer => "_sdc_deleted_at",
    }
}

fn with_member(object: &str, name: &str, text: &str) -> String {
    let inner = object.trim_end_matches('}');
    format!("{inner},\"{name}\":\"{text}\"}}")
}

fn descriptor(table: &Table) -> Value {
    match &table.namespace {
        Some(namespace) => json!({ "name": table.name, "namespace": namespace }),
        None => json!({ "name": table.name }),
    }
}

/// Singer's targets take what stands before a hyphen for the schema.
fn singer_name(table: &Table) -> String {
    match &table.namespace {
        Some(namespace) => format!("{namespace}-{}", table.name),
        None => table.name.clone(),
    }
}

fn schema(table: &Table, protocol: Protocol) -> Value {
    let mut schema = table.json_schema();
    let deleted = json!({ "type": ["null", "string"], "format": "date-time" });
    schema["properties"][deleted_field(protocol)] = deleted;
    schema
}

fn singer_schema(load: &Load, table: &Table) -> Value {
    let key = if load.mode == Mode::Merge { table.key_names() } else { Vec::new() };
    let schema = schema(table, Protocol::Singer);
    json!({ "type": "SCHEMA", "stream": singer_name(table), "schema": schema, "key_properties": key })
}

/// The configured catalog that an Airbyte destination is started with.
fn catalog(loads: &[Load]) -> Value {
    let streams = loads.iter().flat_map(|load| {
        load.tables.iter().map(move |table| {
            let key: Vec<[&str; 1]> = table.key_names().into_iter().map(|name| [name]).collect();
            let mut stream = descriptor(table);
            stream["json_schema"] = schema(table, Protocol::Airbyte);
            stream["supported_sync_modes"] = json!(["full_refresh", "incremental"]);
            stream["source_defined_primary_key"] = json!(key);
            let (mode, sync_mode) = match load.mode {
                Mode::Merge => ("append_dedup", "incremental"),
                Mode::Append => ("append", "incremental"),
            };
            json!({
                "stream": stream,
                "sync_mode": sync_mode,
                "destination_sync_mode": mode,
                "primary_key": key,
                "generation_id": load.generation,
                "minimum_generation_id": if load.refreshes { load.generation } else { 0 },
                "sync_id": load.generation,
            })
        })
    });
    json!({ "streams": streams.collect::<Vec<Value>>() })
}
