//! `selvedge source`: a Plaid source for any platform that speaks the Airbyte protocol.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use destinations::airbyte::{ConfiguredCatalog, FailureKind, Messages, StreamStatus};
use jiff::Timestamp;
use jiff::civil::Date;
use model::{Ambient, BaseUrl, Environment};
use pipeline::{BALANCES, read_balances};
use plaid::{AccessToken, Check, Client, Connector, Credentials, Reaction, check_token};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::surroundings;

const DOCUMENTATION: &str = "https://github.com/selvedge/selvedge/blob/main/docs/guides/source.md";

/// Speak the Airbyte protocol.
#[derive(Args)]
#[command(after_help = "Example: selvedge source check --config source.json")]
pub(crate) struct Source {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print what the settings look like.
    Spec,
    /// Test the settings without asking the bank.
    Check {
        /// Settings, a JSON file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Print the streams.
    Discover {
        /// Settings, a JSON file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Read the configured streams.
    Read {
        /// Settings, a JSON file.
        #[arg(long)]
        config: PathBuf,
        /// The configured streams, a JSON file.
        #[arg(long)]
        catalog: PathBuf,
        /// Accepted for the protocol; full-refresh streams need none.
        #[arg(long)]
        state: Option<PathBuf>,
    },
}

/// Settings of a source. Unknown keys are ignored, as the protocol asks.
#[derive(Deserialize, Clone)]
pub(crate) struct SourceConfig {
    client_id: String,
    /// Plaid's secret; the form calls it API key.
    api_key: SecretString,
    plaid_env: Environment,
    access_token: Option<SecretString>,
    #[serde(default)]
    access_tokens: Vec<SecretString>,
    start_date: Option<Date>,
    base_url: Option<BaseUrl>,
}

impl Source {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut messages = Messages::new(std::io::stdout());
        match self.action {
            Action::Spec => messages.spec(&spec(), DOCUMENTATION)?,
            Action::Check { config } => {
                let failure = match SourceConfig::read(&config) {
                    Ok(config) => config.check().await?,
                    Err(error) => Some(format!("{error:#}")),
                };
                messages.connection_status(failure.as_deref())?;
            }
            Action::Discover { config } => {
                SourceConfig::read(&config)?;
                messages.catalog(&[&BALANCES])?;
            }
            Action::Read { config, catalog, state: _ } => {
                let config = SourceConfig::read(&config)?;
                let text = fs::read_to_string(&catalog)
                    .with_context(|| format!("cannot read {}", catalog.display()))?;
                let catalog: ConfiguredCatalog =
                    serde_json::from_str(&text).context("the catalog is not valid")?;
                return read(&config, &catalog, &mut messages).await;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the form asks for.
fn spec() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Plaid source",
        "type": "object",
        "additionalProperties": true,
        "required": ["api_key", "client_id", "plaid_env", "access_token"],
        "properties": {
            "access_token": {
                "type": "string", "title": "Access token", "order": 0, "airbyte_secret": true,
                "description": "Token of the Item, from Plaid's public token exchange.",
            },
            "api_key": {
                "type": "string", "title": "API key", "order": 1, "airbyte_secret": true,
                "description": "Plaid's secret of the chosen environment.",
            },
            "client_id": {
                "type": "string", "title": "Client ID", "order": 2,
                "description": "Plaid's client id.",
            },
            "plaid_env": {
                "type": "string", "title": "Plaid environment", "order": 3,
                "enum": ["sandbox", "development", "production"],
                "description": "Plaid retired development in 2024; use production or sandbox.",
            },
            "start_date": {
                "type": "string", "title": "Start date", "order": 4, "format": "date",
                "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "examples": ["2026-01-01"],
                "description": "Oldest acceptable balance where a bank asks for one (Capital One, \
                                Apple Card).",
            },
            "base_url": {
                "type": "string", "title": "Base URL", "order": 5,
                "description": "Another Plaid, such as an emulator on this machine.",
            },
            "access_tokens": {
                "type": "array", "title": "More access tokens", "order": 6, "airbyte_secret": true,
                "items": { "type": "string" },
                "description": "Tokens of further Items, read into the same streams.",
            },
        },
    })
}

impl SourceConfig {
    /// Reads a JSON file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the settings {}", path.display()))?;
        let config: Self = serde_json::from_str(&text).map_err(|error| invalid(&error))?;
        if config.tokens().next().is_none() {
            bail!("the settings lack access_token");
        }
        Ok(config)
    }

    /// Every token, each once.
    fn tokens(&self) -> impl Iterator<Item = &SecretString> {
        let mut seen = HashSet::new();
        let all = self.access_token.iter().chain(&self.access_tokens);
        all.filter(move |token| seen.insert(token.expose_secret().to_owned()))
    }

    /// Every token in checked form.
    pub(crate) fn access_tokens(&self) -> anyhow::Result<Vec<AccessToken>> {
        let parse =
            |token: &SecretString| AccessToken::parse(token.expose_secret(), self.plaid_env);
        Ok(self.tokens().map(parse).collect::<Result<_, _>>()?)
    }

    /// A client with these credentials.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let base_url = self.base_url.clone().unwrap_or_else(|| self.plaid_env.base_url());
        let connector = Connector::new(surroundings::http_client()?);
        Ok(connector.client(self.plaid_env, base_url, self.credentials()))
    }

    fn credentials(&self) -> Credentials {
        Credentials { client_id: self.client_id.clone(), secret: self.api_key.clone() }
    }

    /// Start of the start date in UTC.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        let midnight = self.start_date?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(midnight.timestamp())
    }

    /// What stands in the way, in words; nothing if all is well.
    pub(crate) async fn check(&self) -> anyhow::Result<Option<String>> {
        let client = self.client()?;
        for token in self.tokens() {
            let token = token.expose_secret();
            let checks = check_token(&client, self.plaid_env, &self.credentials(), token).await;
            if let Some(failed) = checks.iter().find(|check| check.is_failure()) {
                return Ok(Some(words(failed)));
            }
        }
        Ok(None)
    }
}

/// One failed check with its fields, as the form names them, and the fix.
fn words(check: &Check) -> String {
    let label = |field: &&str| {
        match *field {
            "secret" => "API key",
            "client_id" => "Client ID",
            "access_token" => "Access token",
            "base_url" => "Base URL",
            other => other,
        }
        .to_owned()
    };
    let fields: Vec<String> = check.fields.iter().map(label).collect();
    let fix = check.fix.as_deref().unwrap_or_default();
    match fields.is_empty() {
        true => format!("{}. {fix}", check.detail),
        false => format!("{}: {}. {fix}", fields.join(" and "), check.detail),
    }
}

/// Why settings cannot be read, without a value of theirs.
fn invalid(error: &serde_json::Error) -> anyhow::Error {
    let text = error.to_string();
    if text.contains("unknown variant") {
        return anyhow::anyhow!("plaid_env must be sandbox, development or production");
    }
    let quotes_a_value = text.starts_with("invalid type") || text.starts_with("invalid value");
    let at = format!("line {} column {}", error.line(), error.column());
    if quotes_a_value {
        anyhow::anyhow!("the settings have a value of the wrong kind at {at}")
    } else {
        anyhow::anyhow!("the settings are not valid: {text}")
    }
}

/// Reads the configured streams; a token that fails does not stop the others.
async fn read(
    config: &SourceConfig,
    catalog: &ConfiguredCatalog,
    messages: &mut Messages<std::io::Stdout>,
) -> anyhow::Result<ExitCode> {
    let ambient = surroundings::ambient();
    let now = || ambient.now();
    let mut failed = false;
    for wanted in &catalog.streams {
        let name = wanted.stream.name.as_str();
        if name != BALANCES.name {
            let message = format!("this source has no stream {name}");
            messages.error(Some(name), FailureKind::Config, &message, now())?;
            failed = true;
            continue;
        }
        failed |= !read_stream(config, messages, &ambient).await?;
    }
    if failed {
        let message = "Not every stream could be read in full; see the errors before this one.";
        messages.error(None, FailureKind::System, message, now())?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn read_stream(
    config: &SourceConfig,
    messages: &mut Messages<std::io::Stdout>,
    ambient: &Ambient,
) -> anyhow::Result<bool> {
    let (client, name) = (config.client()?, BALANCES.name);
    messages.stream_status(name, StreamStatus::Started, ambient.now())?;
    let (mut records, mut complete) = (0, true);
    for token in config.access_tokens()? {
        match read_balances(&client, &token, config.oldest(), ambient).await {
            Ok(rows) => {
                if records == 0 && !rows.is_empty() {
                    messages.stream_status(name, StreamStatus::Running, ambient.now())?;
                }
                for row in &rows {
                    messages.record(&BALANCES, row, ambient.now())?;
                }
                records += rows.len();
            }
            Err(error) => {
                complete = false;
                let kind = match error.reaction() {
                    Reaction::Retry | Reaction::Later => FailureKind::Transient,
                    _ => FailureKind::Config,
                };
                messages.error(Some(name), kind, &error.to_string(), ambient.now())?;
            }
        }
    }
    messages.state(name, records)?;
    let status = if complete { StreamStatus::Complete } else { StreamStatus::Incomplete };
    messages.stream_status(name, status, ambient.now())?;
    Ok(complete)
}
