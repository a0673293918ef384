//! `selvedge sync`: a source into files or a database, without a server.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use destinations::{CsvFiles, Destination, Row, SqliteFile};
use indicatif::{ProgressBar, ProgressStyle};
use pipeline::{BALANCES, read_balances};
use serde::Deserialize;

use super::source::SourceConfig;
use crate::surroundings;

/// Read a source into a destination.
#[derive(Args)]
#[command(after_help = "Example: selvedge sync --config sync.toml

sync.toml:
    [source]
    client_id = \"emulator\"
    api_key = \"sandbox-secret\"
    plaid_env = \"sandbox\"
    base_url = \"http://127.0.0.1:8081\"
    access_token = \"access-sandbox-…\"

    [destination]
    type = \"csv\"          # or \"sqlite\"
    path = \"balances\"     # a folder, or a database file")]
pub(crate) struct Sync {
    /// Settings, a TOML file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Deserialize)]
struct SyncConfig {
    source: SourceConfig,
    destination: DestinationConfig,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum DestinationConfig {
    Csv { path: PathBuf },
    Sqlite { path: PathBuf },
}

impl Sync {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let text = fs::read_to_string(&self.config)
            .with_context(|| format!("cannot read the settings {}", self.config.display()))?;
        let config: SyncConfig = toml::from_str(&text).map_err(|error| {
            // The error's own text shows the line, which may hold a secret.
            anyhow::anyhow!("the settings are not valid: {}", error.message())
        })?;
        match &config.destination {
            DestinationConfig::Csv { path } => {
                load(&config.source, &CsvFiles::new(path.clone())).await?;
            }
            DestinationConfig::Sqlite { path } => {
                load(&config.source, &SqliteFile::new(path.clone())).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Checks both ends, reads all Items, then replaces the table: a failure leaves the old one whole.
async fn load(source: &SourceConfig, destination: &impl Destination) -> anyhow::Result<()> {
    if let Some(failure) = source.check().await? {
        bail!(failure);
    }
    destination.check().await?;
    let (client, tokens) = (source.client()?, source.access_tokens()?);
    let ambient = surroundings::ambient();
    let bar = ProgressBar::new(u64::try_from(tokens.len())?);
    bar.set_style(ProgressStyle::with_template(
        "{prefix:12} [{bar:30}] {pos}/{len} items, {msg} rows, {elapsed}",
    )?);
    bar.set_prefix(BALANCES.name);
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut rows: Vec<Row> = Vec::new();
    for token in tokens {
        rows.extend(read_balances(&client, &token, source.oldest(), &ambient).await?);
        bar.set_message(rows.len().to_string());
        bar.inc(1);
    }
    destination.replace(&BALANCES, &rows).await?;
    bar.finish();
    println!("{}  {} rows  full refresh, overwrite", BALANCES.name, rows.len());
    Ok(())
}
