//! `selvedge source`: a Plaid source for any platform that speaks the Airbyte protocol.

use std::collections::HashMap;
use std::fs;
use std::io::{BufWriter, Stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use destinations::airbyte::{
    CatalogStream, ConfiguredCatalog, FailureKind, Messages, StreamStatus, read_states,
};
use model::Ambient;
use pipeline::{SourceStream, source_streams};
use serde_json::{Value, json};

use super::source_config::{SourceConfig, spec};
use super::source_items::{Event, Items};
use crate::surroundings;

const DOCUMENTATION: &str = "https://github.com/selvedge/selvedge/blob/main/docs/guides/source.md";
/// Output that is put together before it is written; every state flushes it.
const OUTPUT_BYTES: usize = 256 * 1024;

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
        /// The states of the last read, a JSON file.
        #[arg(long)]
        state: Option<PathBuf>,
    },
}

type Output = Messages<BufWriter<Stdout>>;

impl Source {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let output = BufWriter::with_capacity(OUTPUT_BYTES, std::io::stdout());
        let mut messages = Messages::new(output);
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
                let streams = source_streams(SourceConfig::read(&config)?.compat);
                messages.catalog(&streams.iter().map(listed).collect::<Vec<_>>())?;
            }
            Action::Read { config, catalog, state } => {
                let config = SourceConfig::read(&config)?;
                let catalog: ConfiguredCatalog = serde_json::from_str(&text_of(&catalog)?)
                    .context("the catalog is not valid")?;
                let states = match state {
                    Some(state) => {
                        read_states(&text_of(&state)?).context("the state is not valid")?
                    }
                    None => HashMap::new(),
                };
                return read(&config, &catalog, &states, &mut messages).await;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text_of(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn listed(stream: &SourceStream) -> CatalogStream<'_> {
    CatalogStream {
        table: stream.table(),
        incremental: stream.incremental,
        cursor_field: stream.stream.declaration().cursor_field,
    }
}

/// Reads the configured streams; an Item that fails stops neither others nor other streams.
async fn read(
    config: &SourceConfig,
    catalog: &ConfiguredCatalog,
    states: &HashMap<String, Value>,
    messages: &mut Output,
) -> anyhow::Result<ExitCode> {
    let ambient = surroundings::ambient();
    let streams = source_streams(config.compat);
    let mut failed = false;
    let mut items = None;
    for wanted in &catalog.streams {
        let name = wanted.stream.name.as_str();
        let Some(stream) = streams.iter().find(|stream| stream.table().name == name) else {
            let known: Vec<&str> = streams.iter().map(|s| s.table().name.as_str()).collect();
            let known = known.join(", ");
            let message = format!("this source has no stream {name}; it has {known}");
            messages.error(Some(name), FailureKind::Config, &message, ambient.now())?;
            failed = true;
            continue;
        };
        if items.is_none() {
            items = Some(Items::open(config).await?);
        }
        let Some(items) = &items else { continue };
        let is_incremental = wanted.sync_mode.as_deref() == Some("incremental");
        let state = states.get(name).filter(|_| is_incremental && stream.incremental);
        failed |= !read_stream(items, stream, state, messages, &ambient).await?;
    }
    if failed {
        let message = "Not every stream could be read in full; see the errors before this one.";
        messages.error(None, FailureKind::System, message, ambient.now())?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// One stream of all Items, with a state after each Item; whether all of it was read.
async fn read_stream(
    items: &Items,
    stream: &SourceStream,
    state: Option<&Value>,
    messages: &mut Output,
    ambient: &Ambient,
) -> anyhow::Result<bool> {
    let name = stream.table().name.as_str();
    messages.stream_status(name, StreamStatus::Started, ambient.now())?;
    let mut reached = state.cloned().unwrap_or_else(|| json!({ "items": {} }));
    let (mut complete, mut running, mut seen, mut unsaved) = (true, false, 0, 0);
    let mut events = items.read(stream, state, ambient);
    while let Some(event) = events.recv().await {
        let now = ambient.now();
        match event {
            Event::Waiting(until) => messages.rate_limited(name, until, now)?,
            Event::Failed { may_pass, message } => {
                complete = false;
                let kind = if may_pass { FailureKind::Transient } else { FailureKind::Config };
                messages.error(Some(name), kind, &message, now)?;
            }
            Event::Read { item_id, mut read } => {
                for told in &read.told {
                    messages.log("WARN", &format!("{name} of Item {item_id}: {told}"))?;
                }
                if let Some(why) = &read.lacking {
                    let told =
                        format!("{name}: Item {item_id} lacks the product and is skipped: {why}");
                    messages.log("INFO", &told)?;
                    continue;
                }
                seen += read.count;
                if read.count > 0 {
                    messages.estimate(name, seen, now)?;
                    if !running {
                        running = true;
                        messages.stream_status(name, StreamStatus::Running, now)?;
                    }
                }
                for record in read.records()? {
                    messages.record(name, &record?, now)?;
                }
                unsaved += read.count;
                if let Some(own) = read.state {
                    let is_new = reached["items"][&item_id] != own;
                    reached["items"][&item_id] = own;
                    // Two equal states with records between them would fail the sync.
                    if is_new || unsaved > 0 {
                        messages.state(name, &reached, unsaved)?;
                        unsaved = 0;
                    }
                }
            }
        }
    }
    if !stream.incremental {
        let filler = json!({ "__ab_no_cursor_state_message": true });
        messages.state(name, &filler, unsaved)?;
    } else if seen == 0 {
        messages.state(name, &reached, 0)?;
    }
    let status = if complete { StreamStatus::Complete } else { StreamStatus::Incomplete };
    messages.stream_status(name, status, ambient.now())?;
    Ok(complete)
}
