//! A connection: which streams of an integration go to which destination, how and when.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Stream;

/// Tables that a connection may have unless it is told otherwise: beyond it a destination is usually
/// set up by mistake, with one namespace for each end user.
pub const USUAL_TABLE_LIMIT: usize = 6_000;
/// Shortest interval of a schedule.
pub const SHORTEST_INTERVAL_MINUTES: u32 = 1;

/// What a connection does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionSettings {
    /// What is written; balances, whole every time, unless chosen otherwise.
    #[serde(default = "usual_streams")]
    pub streams: Vec<StreamChoice>,
    /// When it runs.
    #[serde(default)]
    pub schedule: Schedule,
    /// Put before every table's name.
    #[serde(default)]
    pub prefix: String,
    /// How tables are spread over schemas or folders.
    #[serde(default)]
    pub namespace: Namespacing,
    /// What happens when a stream has a column that its table lacks.
    #[serde(default)]
    pub schema_changes: SchemaChanges,
    /// Records with a date before this are left out.
    #[schema(value_type = Option<String>, format = Date)]
    pub since: Option<Date>,
    /// More tables than this are refused before any work.
    #[serde(default = "usual_table_limit")]
    pub table_limit: usize,
    /// Another product's names and columns, for those who switch.
    pub compat: Option<Compat>,
    /// Whether balances are asked of the banks before they are written: current, and billed by Plaid.
    /// Absent, a source does and an integration does not.
    pub real_time_balances: Option<bool>,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            streams: usual_streams(),
            schedule: Schedule::default(),
            prefix: String::new(),
            namespace: Namespacing::default(),
            schema_changes: SchemaChanges::default(),
            since: None,
            table_limit: USUAL_TABLE_LIMIT,
            compat: None,
            real_time_balances: None,
        }
    }
}

fn usual_streams() -> Vec<StreamChoice> {
    vec![StreamChoice::of(Stream::Balances)]
}

fn usual_table_limit() -> usize {
    USUAL_TABLE_LIMIT
}

/// One stream of a connection: its name, or more about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(from = "NameOrChoice")]
pub struct StreamChoice {
    /// Which.
    pub stream: Stream,
    /// How it is written.
    pub mode: SyncMode,
    /// Fields that are left out.
    pub drop: Vec<String>,
    /// Fields of which only a keyed hash is written: equal values stay equal, nobody can read them.
    pub hash: Vec<String>,
}

impl StreamChoice {
    /// A stream as it is usually written: balances whole every time, the others incrementally.
    pub fn of(stream: Stream) -> Self {
        Self { stream, mode: usual_mode(stream), drop: Vec::new(), hash: Vec::new() }
    }
}

fn usual_mode(stream: Stream) -> SyncMode {
    match stream {
        Stream::Balances => SyncMode::FullRefreshOverwrite,
        _ => SyncMode::IncrementalDeduplicated,
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NameOrChoice {
    Name(Stream),
    Choice(ChoiceTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChoiceTable {
    stream: Stream,
    mode: Option<SyncMode>,
    #[serde(default)]
    drop: Vec<String>,
    #[serde(default)]
    hash: Vec<String>,
}

impl From<NameOrChoice> for StreamChoice {
    fn from(written: NameOrChoice) -> Self {
        match written {
            NameOrChoice::Name(stream) => Self::of(stream),
            NameOrChoice::Choice(ChoiceTable { stream, mode, drop, hash }) => {
                Self { stream, mode: mode.unwrap_or_else(|| usual_mode(stream)), drop, hash }
            }
        }
    }
}

/// How a stream is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncMode {
    /// All records every time; they take the place of the last ones.
    FullRefreshOverwrite,
    /// All records every time, behind the last ones.
    FullRefreshAppend,
    /// Every change once, as a log.
    IncrementalAppend,
    /// The current records: changes in place, removed ones deleted.
    IncrementalDeduplicated,
}

impl SyncMode {
    /// Every mode.
    pub const ALL: [Self; 4] = [
        Self::FullRefreshOverwrite,
        Self::FullRefreshAppend,
        Self::IncrementalAppend,
        Self::IncrementalDeduplicated,
    ];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::FullRefreshOverwrite => "full refresh, overwrite",
            Self::FullRefreshAppend => "full refresh, append",
            Self::IncrementalAppend => "incremental, append",
            Self::IncrementalDeduplicated => "incremental, deduplicated",
        }
    }

    /// The name as written in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FullRefreshOverwrite => "full_refresh_overwrite",
            Self::FullRefreshAppend => "full_refresh_append",
            Self::IncrementalAppend => "incremental_append",
            Self::IncrementalDeduplicated => "incremental_deduplicated",
        }
    }
}

/// When a connection runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// When somebody asks.
    #[default]
    Manual,
    /// So long after the last run began.
    Interval {
        /// Minutes.
        minutes: u32,
    },
    /// By the clock, in UTC.
    Cron {
        /// Five fields: minute, hour, day of month, month, day of week.
        expression: String,
    },
    /// Whenever the feed has news for it.
    OnChange,
}

impl Schedule {
    /// The first time after one at which it is due; none where somebody or something else says so.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Manual | Self::OnChange => None,
            Self::Interval { minutes } => {
                after.checked_add(SignedDuration::from_mins(i64::from(*minutes))).ok()
            }
            Self::Cron { expression } => {
                let cron: croner::Cron = expression.parse().ok()?;
                let after = after.to_zoned(jiff::tz::TimeZone::UTC);
                Some(cron.find_next_occurrence(&after, false).ok()?.timestamp())
            }
        }
    }

    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Manual => "when asked".to_owned(),
            Self::Interval { minutes } => format!("every {minutes} min"),
            Self::Cron { expression } => format!("cron {expression} (UTC)"),
            Self::OnChange => "on every change".to_owned(),
        }
    }
}

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsFault {
    /// Where it stands, as a JSON pointer.
    pub pointer: String,
    /// What is wrong and what may be.
    pub detail: String,
}

impl ConnectionSettings {
    /// Everything in them that cannot be.
    pub fn faults(&self) -> Vec<SettingsFault> {
        let mut faults = Vec::new();
        let mut fault = |pointer: String, detail: String| {
            faults.push(SettingsFault { pointer, detail });
        };
        if self.streams.is_empty() {
            fault("/streams".to_owned(), "choose at least one stream".to_owned());
        }
        let mut seen = Vec::new();
        for (place, choice) in self.streams.iter().enumerate() {
            let name = choice.stream.as_str();
            if seen.contains(&choice.stream) {
                fault(format!("/streams/{place}"), format!("{name} is chosen twice"));
            }
            seen.push(choice.stream);
            for (list, of) in [("drop", &choice.drop), ("hash", &choice.hash)] {
                for field in of {
                    if let Some(detail) = choice.fault_of(field, list) {
                        fault(format!("/streams/{place}/{list}"), detail);
                    }
                }
            }
            let fits = matches!(choice.stream, Stream::Balances | Stream::Transactions)
                && choice.mode == SyncMode::FullRefreshOverwrite;
            if self.compat.is_some() && !fits {
                let detail = "compat airbyte has balances and transactions only, in the mode \
                              full_refresh_overwrite";
                fault(format!("/streams/{place}"), detail.to_owned());
            }
        }
        if let Schedule::Interval { minutes } = &self.schedule
            && *minutes < SHORTEST_INTERVAL_MINUTES
        {
            let detail = format!("must be at least {SHORTEST_INTERVAL_MINUTES}");
            fault("/schedule/minutes".to_owned(), detail);
        }
        if let Schedule::Cron { expression } = &self.schedule
            && let Err(error) = expression.parse::<croner::Cron>()
        {
            let detail = format!("is no cron expression such as 0 6 * * *: {error}");
            fault("/schedule/expression".to_owned(), detail);
        }
        let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if !self.prefix.chars().all(plain) {
            let detail = "may have letters, digits and underscores".to_owned();
            fault("/prefix".to_owned(), detail);
        }
        faults
    }
}

impl StreamChoice {
    fn fault_of(&self, field: &str, list: &str) -> Option<String> {
        let declaration = self.stream.declaration();
        let name = declaration.name;
        if !declaration.fields.iter().any(|known| known.name == field) {
            return Some(format!("{name} has no field {field}"));
        }
        let is_key = declaration.key.contains(&field);
        if is_key && list == "drop" {
            return Some(format!("{field} names the records of {name} and cannot be left out"));
        }
        None
    }
}

/// How tables are spread over schemas or folders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Namespacing {
    /// All in one.
    #[default]
    One,
    /// One named after the integration.
    Integration,
    /// One for each end user: as many tables as end users times streams.
    EndUser,
}

/// What happens when a stream has a column that its table lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaChanges {
    /// It is added.
    #[default]
    Add,
    /// The connection pauses until a person decides.
    Pause,
    /// It is left out, and the run says so.
    Notify,
}

/// Another product's names and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compat {
    /// `balance` and `transaction` as Airbyte's connector for Plaid names them.
    Airbyte,
}

/// A destination with what it takes to write it. Secrets cannot be printed.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum DestinationSettings {
    /// A PostgreSQL database.
    Postgres {
        /// `postgres://user:password@host/database`.
        url: SecretString,
        /// Schema of the tables.
        #[serde(default = "public")]
        schema: String,
    },
    /// A SQLite file.
    Sqlite {
        /// The file.
        path: String,
    },
    /// A DuckDB file.
    Duckdb {
        /// The file.
        path: String,
        /// DuckDB's library; looked for where it is usually installed if absent.
        library: Option<String>,
        /// Schema of the tables.
        #[serde(default = "main")]
        schema: String,
    },
    /// Parquet files.
    Parquet(FilesSettings),
    /// CSV files.
    Csv(FilesSettings),
    /// Files of JSON Lines.
    Jsonl(FilesSettings),
    /// Delta Lake tables.
    Delta(FilesSettings),
    /// NATS JetStream.
    Nats {
        /// `nats://host:4222`, with a password or token where it needs one.
        url: SecretString,
        /// The stream; made if it is missing.
        #[serde(default = "selvedge")]
        stream: String,
    },
    /// Apache Kafka.
    Kafka {
        /// `host:9092`, several with commas.
        brokers: String,
        /// Put before every topic's name.
        #[serde(default = "selvedge")]
        topic_prefix: String,
        /// Further settings of the client, such as `sasl.password`.
        #[serde(default)]
        options: BTreeMap<String, SecretString>,
    },
    /// A web address that batches are posted to.
    Http {
        /// Where to.
        url: SecretString,
        /// Sent with every request.
        #[serde(default)]
        headers: BTreeMap<String, SecretString>,
    },
    /// Another program: an Airbyte destination or a Singer target.
    Process {
        /// The program and its arguments.
        command: Vec<String>,
        /// What it speaks.
        protocol: Protocol,
        /// Its own settings, as JSON text.
        #[serde(default = "no_settings")]
        config: SecretString,
    },
}

/// A folder or a bucket.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSettings {
    /// A folder, or `s3://…`, `gs://…`, `az://…`.
    pub path: String,
    /// What the bucket's service needs, such as `aws_access_key_id`, `aws_secret_access_key`,
    /// `aws_region`, `aws_endpoint`; else the environment has it.
    #[serde(default)]
    pub options: BTreeMap<String, SecretString>,
}

/// What another program speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Airbyte's destination protocol.
    Airbyte,
    /// Singer's targets.
    Singer,
}

fn public() -> String {
    "public".to_owned()
}

fn main() -> String {
    "main".to_owned()
}

fn selvedge() -> String {
    "selvedge".to_owned()
}

fn no_settings() -> SecretString {
    SecretString::from("{}")
}

/// What destinations on this machine may be used: whoever may set up a connection shall not get at
/// all of the server's files and programs with it.
#[derive(Debug, Clone)]
pub struct LocalDestinations {
    /// The folder that files have to be in; none where all may be written.
    pub folder: Option<PathBuf>,
    /// Whether other programs may be started.
    pub processes: bool,
    /// DuckDB's library, for those who may not name one.
    pub duckdb_library: Option<String>,
}

/// Schemes of buckets.
const BUCKETS: [&str; 7] = ["s3", "s3a", "gs", "az", "azure", "abfs", "abfss"];
/// What may be said to Kafka's client by whoever may not use all of the machine: others name files and
/// programs.
const KAFKA_OPTIONS: [&str; 8] = [
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "ssl.ca.pem",
    "compression.type",
    "linger.ms",
];

/// What may be said of a bucket by the same people, for the same reason.
const BUCKET_OPTIONS: [&str; 14] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_region",
    "aws_endpoint",
    "aws_allow_http",
    "aws_virtual_hosted_style_request",
    "google_service_account_key",
    "azure_storage_account_name",
    "azure_storage_account_key",
    "azure_storage_sas_token",
    "azure_storage_client_id",
    "azure_storage_client_secret",
    "azure_storage_tenant_id",
];

impl LocalDestinations {
    /// Everything, for whoever runs the program by hand.
    pub fn all() -> Self {
        Self { folder: None, processes: true, duckdb_library: None }
    }

    /// Where a file or folder really is, or why it may not be written.
    pub fn path(&self, path: &str) -> Result<PathBuf, String> {
        let typed = Path::new(path);
        let Some(folder) = &self.folder else { return Ok(typed.to_owned()) };
        let is_inside = typed.components().all(|part| matches!(part, Component::Normal(_)));
        match is_inside && !path.is_empty() {
            true => Ok(folder.join(typed)),
            false => Err(format!(
                "must be a path inside the server's folder for destinations, {}, written without a \
                 leading slash and without ..",
                folder.display()
            )),
        }
    }

    /// What of a destination is not allowed, with the name of the setting.
    pub fn fault(&self, settings: &DestinationSettings) -> Option<(&'static str, String)> {
        if matches!(settings, DestinationSettings::Process { .. }) && !self.processes {
            let why = "other programs are only started by a server with --process-destinations";
            return Some(("type", why.to_owned()));
        }
        if let Some(scheme) = settings.scheme()
            && !BUCKETS.contains(&scheme)
        {
            let why = format!("must be a folder, or a bucket with one of {}", BUCKETS.join(", "));
            return Some(("path", why));
        }
        if self.folder.is_some() {
            match settings {
                DestinationSettings::Duckdb { library: Some(_), .. } => {
                    let why = "the server is told where the library is, with --duckdb-library";
                    return Some(("library", why.to_owned()));
                }
                DestinationSettings::Kafka { options, .. } => {
                    if let Some(why) = unknown_option(options, &KAFKA_OPTIONS) {
                        return Some(("options", why));
                    }
                }
                DestinationSettings::Parquet(files)
                | DestinationSettings::Csv(files)
                | DestinationSettings::Jsonl(files)
                | DestinationSettings::Delta(files) => {
                    if let Some(why) = unknown_option(&files.options, &BUCKET_OPTIONS) {
                        return Some(("options", why));
                    }
                }
                _ => {}
            }
        }
        let path = settings.local_path()?;
        self.path(path).err().map(|why| ("path", why))
    }
}

fn unknown_option(options: &BTreeMap<String, SecretString>, known: &[&str]) -> Option<String> {
    let unknown = options.keys().find(|name| !known.contains(&name.as_str()))?;
    Some(format!("{unknown} is not one of {}", known.join(", ")))
}

impl DestinationSettings {
    /// The file or folder on this machine that is written, if one is.
    pub fn local_path(&self) -> Option<&str> {
        match self {
            Self::Sqlite { path } | Self::Duckdb { path, .. } => Some(path),
            Self::Parquet(files) | Self::Csv(files) | Self::Jsonl(files) | Self::Delta(files) => {
                Some(files.path.as_str()).filter(|path| !path.contains("://"))
            }
            _ => None,
        }
    }

    /// What stands before `://` in the path of files.
    fn scheme(&self) -> Option<&str> {
        match self {
            Self::Parquet(files) | Self::Csv(files) | Self::Jsonl(files) | Self::Delta(files) => {
                files.path.split_once("://").map(|(scheme, _)| scheme)
            }
            _ => None,
        }
    }

    /// Which type it is, as in settings.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Postgres { .. } => "postgres",
            Self::Sqlite { .. } => "sqlite",
            Self::Duckdb { .. } => "duckdb",
            Self::Parquet(_) => "parquet",
            Self::Csv(_) => "csv",
            Self::Jsonl(_) => "jsonl",
            Self::Delta(_) => "delta",
            Self::Nats { .. } => "nats",
            Self::Kafka { .. } => "kafka",
            Self::Http { .. } => "http",
            Self::Process { .. } => "process",
        }
    }
}

/// Where it is, for people; never with a secret.
impl fmt::Display for DestinationSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Postgres { url, schema } => {
                write!(formatter, "{kind} {}, schema {schema}", without_secrets(url))
            }
            Self::Sqlite { path } => write!(formatter, "{kind} {path}"),
            Self::Duckdb { path, schema, .. } => {
                write!(formatter, "{kind} {path}, schema {schema}")
            }
            Self::Parquet(files) | Self::Csv(files) | Self::Jsonl(files) | Self::Delta(files) => {
                let path = match files.path.contains("://") {
                    true => without_secrets(&SecretString::from(files.path.as_str())),
                    false => files.path.clone(),
                };
                write!(formatter, "{kind} {path}")
            }
            Self::Nats { url, stream } => {
                write!(formatter, "{kind} {}, stream {stream}", without_secrets(url))
            }
            Self::Kafka { brokers, topic_prefix, .. } => {
                write!(formatter, "{kind} {brokers}, topics {topic_prefix}.*")
            }
            Self::Http { url, .. } => {
                // Receivers have tokens in their paths.
                let url = url::Url::parse(url.expose_secret()).ok();
                let host = url.as_ref().and_then(url::Url::host_str).unwrap_or("nowhere");
                write!(formatter, "{kind} {host}")
            }
            Self::Process { command, .. } => {
                write!(formatter, "{kind} {}", command.first().map_or("", String::as_str))
            }
        }
    }
}

/// Host and path of a URL, without user, password and query.
fn without_secrets(url: &SecretString) -> String {
    match url::Url::parse(url.expose_secret()) {
        Ok(url) => format!("{}{}", url.host_str().unwrap_or_default(), url.path()),
        Err(_) => "at an address that cannot be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_short_when_they_are_usual() {
        let settings: ConnectionSettings = serde_json::from_str("{}").unwrap();
        assert_eq!(settings, ConnectionSettings::default());
        let settings: ConnectionSettings = serde_json::from_str(
            r#"{"streams":["transactions",{"stream":"auth","hash":["account"]}]}"#,
        )
        .unwrap();
        assert_eq!(settings.streams[0].mode, SyncMode::IncrementalDeduplicated);
        assert_eq!(settings.streams[1].hash, ["account"]);
        let again = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<ConnectionSettings>(&again).unwrap(), settings);
    }

    #[test]
    fn a_schedule_knows_its_next_time_and_faults_say_where() {
        let at: Timestamp = "2026-01-31T05:59:30Z".parse().unwrap();
        let cron = Schedule::Cron { expression: "0 6 * * *".to_owned() };
        assert_eq!(cron.next_after(at).unwrap().to_string(), "2026-01-31T06:00:00Z");
        let settings: ConnectionSettings = serde_json::from_str(
            r#"{"streams":[{"stream":"auth","drop":["account_id"],"hash":["nope"]}],
                "schedule":{"kind":"cron","expression":"whenever"},"prefix":"a b"}"#,
        )
        .unwrap();
        let faults = settings.faults();
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        let expected = ["/streams/0/drop", "/streams/0/hash", "/schedule/expression", "/prefix"];
        assert_eq!(pointers, expected);
    }

    #[test]
    fn no_secret_of_a_destination_is_shown() {
        let settings: DestinationSettings = serde_json::from_str(
            r#"{"type":"postgres","url":"postgres://joe:canary@db.example/bank?sslkey=canary"}"#,
        )
        .unwrap();
        assert_eq!(settings.to_string(), "postgres db.example/bank, schema public");
        assert!(!format!("{settings:?}").contains("canary"));
    }
}
