//! The settings of `sync`, `check` and `discover`: a TOML file, flags and environment over it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use model::{ConnectionSettings, DestinationSettings};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::source_config::SourceConfig;

pub(super) const EXAMPLE: &str = "Example: selvedge sync --config sync.toml

sync.toml:
    [source]
    client_id = \"emulator\"
    api_key = \"sandbox-secret\"
    plaid_env = \"sandbox\"
    base_url = \"http://127.0.0.1:8081\"
    access_token = \"access-sandbox-…\"

    [destination]
    type = \"parquet\"      # postgres, sqlite, duckdb, csv, jsonl, …
    path = \"warehouse\"    # a folder; of postgres the url

    [connection]          # balances, whole, if absent
    streams = [\"balances\", \"accounts\", \"transactions\"]

The same without a file:
    selvedge sync --client-id … --plaid-env sandbox --destination csv --path balances
with PLAID_SECRET and PLAID_ACCESS_TOKEN in the environment.";

/// Where settings come from.
#[derive(Args, Clone)]
pub(crate) struct SyncFlags {
    /// Settings, a TOML file; flags come before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Plaid's client id.
    #[arg(long, env = "PLAID_CLIENT_ID", value_name = "ID")]
    client_id: Option<String>,

    /// Plaid's secret; better given in the environment.
    #[arg(long, env = "PLAID_SECRET", hide_env_values = true, value_name = "SECRET")]
    api_key: Option<String>,

    /// sandbox, development or production.
    #[arg(long, env = "PLAID_ENV", value_name = "NAME")]
    plaid_env: Option<String>,

    /// Token of an Item; several with commas. Better given in the environment.
    #[arg(long, env = "PLAID_ACCESS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    access_token: Option<String>,

    /// Another Plaid, such as an emulator on this machine.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,

    /// Type of the destination.
    #[arg(long, value_name = "TYPE")]
    destination: Option<String>,

    /// File or folder of the destination.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// URL of the destination; better given in the environment.
    #[arg(long, env = "SELVEDGE_DESTINATION_URL", hide_env_values = true, value_name = "URL")]
    url: Option<String>,

    /// Streams, with commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    streams: Vec<String>,
}

/// What is read and written.
pub(crate) struct SyncConfig {
    pub(crate) source: SourceConfig,
    /// All of the destination's settings as JSON.
    pub(crate) destination: SecretString,
    pub(crate) connection: ConnectionSettings,
}

impl SyncFlags {
    /// The folder of the state: beside the settings, named after them.
    pub(crate) fn state_folder(&self) -> PathBuf {
        let file = self.config.as_deref().unwrap_or(Path::new("selvedge.toml"));
        file.with_extension("state")
    }

    /// The source alone, for commands that do not write.
    pub(crate) fn source(&self) -> anyhow::Result<SourceConfig> {
        source_of(&mut self.merged()?)
    }

    /// Everything.
    pub(crate) fn read(&self) -> anyhow::Result<SyncConfig> {
        let mut settings = self.merged()?;
        let source = source_of(&mut settings)?;
        let destination = settings.remove("destination").context(
            "the settings lack a [destination]; see `selvedge sync --help` for an example",
        )?;
        // Parsed once, so that what is wrong is told now, without a value of it.
        let parsed = serde_json::from_value::<DestinationSettings>(destination.clone());
        parsed.map_err(|error| anyhow::anyhow!("[destination]: {}", without_values(&error)))?;
        let connection = settings.remove("connection").unwrap_or_else(|| json!({}));
        let connection: ConnectionSettings = serde_json::from_value(connection)
            .map_err(|error| anyhow::anyhow!("[connection]: {}", without_values(&error)))?;
        if let Some(fault) = connection.faults().into_iter().next() {
            bail!("[connection] {}: {}", fault.pointer, fault.detail);
        }
        if let Some(unknown) = settings.keys().next() {
            bail!("the settings have an unknown part [{unknown}]");
        }
        let destination = SecretString::from(destination.to_string());
        Ok(SyncConfig { source, destination, connection })
    }

    /// The file with the flags over it.
    fn merged(&self) -> anyhow::Result<Map<String, Value>> {
        let mut settings = match &self.config {
            None => Map::new(),
            Some(path) => {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("cannot read the settings {}", path.display()))?;
                toml::from_str::<Map<String, Value>>(&text).map_err(|error| {
                    // The error's own text shows the line, which may hold a secret.
                    anyhow::anyhow!("the settings are not valid: {}", error.message())
                })?
            }
        };
        let mut set = |part: &str, name: &str, value: Option<Value>| {
            if let Some(value) = value {
                let part = settings.entry(part).or_insert_with(|| json!({}));
                part[name] = value;
            }
        };
        let text = |text: &Option<String>| text.clone().map(Value::String);
        set("source", "client_id", text(&self.client_id));
        set("source", "api_key", text(&self.api_key));
        set("source", "plaid_env", text(&self.plaid_env));
        set("source", "base_url", text(&self.base_url));
        let tokens = self
            .access_token
            .as_ref()
            .map(|tokens| tokens.split(',').map(|token| json!(token.trim())).collect::<Value>());
        set("source", "access_tokens", tokens);
        set("destination", "type", text(&self.destination));
        set("destination", "path", text(&self.path));
        set("destination", "url", text(&self.url));
        let streams = Some(&self.streams).filter(|streams| !streams.is_empty());
        set("connection", "streams", streams.map(|streams| json!(streams)));
        Ok(settings)
    }
}

fn source_of(settings: &mut Map<String, Value>) -> anyhow::Result<SourceConfig> {
    let source = settings
        .remove("source")
        .context("the settings lack a [source]; see `selvedge sync --help` for an example")?;
    SourceConfig::from_value(source).context("[source]")
}

fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.starts_with("invalid type") || text.starts_with("invalid value") {
        true => "a setting has a value of the wrong kind".to_owned(),
        false => text,
    }
}
