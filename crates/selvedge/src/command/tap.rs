//! `selvedge tap`: the same source for Singer targets.

use std::fs;
use std::io::{BufWriter, Stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use destinations::Table;
use destinations::singer::{Catalog, CatalogEntry, Messages, catalog};
use pipeline::{SourceStream, source_streams};
use serde_json::{Map, Value, json};

use super::source_config::SourceConfig;
use super::source_items::{Event, Items};
use crate::surroundings;

/// Output that is put together before it is written; every state flushes it.
const OUTPUT_BYTES: usize = 256 * 1024;

/// Be a Singer tap.
#[derive(Args)]
#[command(after_help = "Example: selvedge tap --config source.json | target-jsonl")]
pub(crate) struct Tap {
    /// Settings, a JSON file; the same as of `selvedge source`.
    #[arg(long)]
    config: PathBuf,

    /// Print the streams and end.
    #[arg(long)]
    discover: bool,

    /// The streams, as --discover printed them, with choices; all if absent.
    #[arg(long, alias = "properties")]
    catalog: Option<PathBuf>,

    /// The last state a target printed.
    #[arg(long)]
    state: Option<PathBuf>,
}

impl Tap {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = SourceConfig::read(&self.config)?;
        let streams = source_streams(config.compat);
        if self.discover {
            let tables: Vec<Table> = streams.iter().map(|stream| stream.table().clone()).collect();
            let incremental = |name: &str| {
                streams.iter().any(|stream| stream.incremental && stream.table().name == name)
            };
            println!("{:#}", catalog(&tables, incremental));
            return Ok(ExitCode::SUCCESS);
        }
        let read = |path: &PathBuf| {
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let chosen: Option<Catalog> = match &self.catalog {
            Some(path) => {
                Some(serde_json::from_str(&read(path)?).context("the catalog is not valid")?)
            }
            None => None,
        };
        let bookmarks = match &self.state {
            Some(path) => bookmarks(&read(path)?)?,
            None => Map::new(),
        };
        let output = BufWriter::with_capacity(OUTPUT_BYTES, std::io::stdout());
        let mut telling = Telling { messages: Messages::new(output), bookmarks, failed: false };
        let items = Items::open(&config).await?;
        for stream in &streams {
            let name = stream.table().name.as_str();
            let entry = chosen
                .as_ref()
                .map(|catalog| catalog.streams.iter().find(|entry| entry.tap_stream_id == name));
            let is_selected = entry.is_none_or(|e| e.is_some_and(CatalogEntry::is_selected));
            if is_selected {
                let is_full = entry.flatten().is_some_and(CatalogEntry::is_full_table);
                telling.tell(&items, stream, is_full).await?;
            }
        }
        telling.messages.state(&Value::Object(telling.bookmarks))?;
        Ok(if telling.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// A target that is being told.
struct Telling {
    messages: Messages<BufWriter<Stdout>>,
    bookmarks: Map<String, Value>,
    failed: bool,
}

impl Telling {
    /// One stream of all Items, with a state after each Item that has one.
    async fn tell(
        &mut self,
        items: &Items,
        stream: &SourceStream,
        is_full: bool,
    ) -> anyhow::Result<()> {
        let (name, ambient) = (stream.table().name.as_str(), surroundings::ambient());
        self.messages.schema(stream.table())?;
        let known = self.bookmarks.get(name).cloned();
        let known = known.filter(|_| stream.incremental && !is_full);
        let mut own = known.clone().unwrap_or_else(|| json!({ "items": {} }));
        let mut events = items.read(stream, known.as_ref(), &ambient);
        while let Some(event) = events.recv().await {
            match event {
                Event::Waiting(until) => {
                    tracing::warn!(stream = name, %until, "waiting for a limit of Plaid's");
                }
                Event::Failed { message, .. } => {
                    self.failed = true;
                    tracing::error!(stream = name, "{message}");
                }
                Event::Read { item_id, mut read } => {
                    for told in read.told.iter().chain(&read.lacking) {
                        tracing::warn!(stream = name, item_id, "{told}");
                    }
                    for record in read.records()? {
                        self.messages.record(name, &record?, ambient.now())?;
                    }
                    if let Some(state) = read.state {
                        own["items"][&item_id] = state;
                        self.bookmarks.insert(name.to_owned(), own.clone());
                        self.messages.state(&Value::Object(self.bookmarks.clone()))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The bookmarks of a state, with or without what targets put around it.
fn bookmarks(text: &str) -> anyhow::Result<Map<String, Value>> {
    // A target prints a state a line; the last one holds.
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("{}");
    let whole: Result<Value, _> = serde_json::from_str(text);
    let state = whole.or_else(|_| serde_json::from_str(last)).context("the state is not valid")?;
    let found = [&state["bookmarks"], &state["value"]["bookmarks"]].into_iter();
    Ok(found.filter_map(Value::as_object).next().cloned().unwrap_or_default())
}
