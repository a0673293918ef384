//! `selvedge sync`: a source into a destination, without a server. Underneath it is the server's own
//! path over a store in a folder beside the settings: Items are synced, then a connection runs.

use std::collections::{HashMap, HashSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::SignedDuration;
use model::{
    ConnectionSettings, DestinationSettings, Item, ItemEvent, ItemStatus, LocalDestinations, Stream,
};
use pipeline::{Pipeline, Sender, Settings};
use plaid::Connector;
use secrecy::ExposeSecret;
use store::{
    Connection, Integration, ItemFilter, LinkOutcome, NewConnection, NewDestination,
    NewIntegration, NewLink, Run, RunKind, RunState, Store,
};

use super::sync_config::{SyncConfig, SyncFlags};
use crate::destination::opener;
use crate::settings::DataSettings;
use crate::surroundings;

/// The name of the one integration and the one connection of a settings file.
const NAME: &str = "sync";
/// Items are looked at when the command says so, not by a timer.
const NEVER: SignedDuration = SignedDuration::from_hours(24 * 365);
/// How often the end of the run is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What is under way may take so long to finish when the command ends.
const DRAIN: Duration = Duration::from_secs(5);

/// Read a Plaid source into a destination, without a server.
#[derive(Args)]
#[command(after_help = super::sync_config::EXAMPLE)]
pub(crate) struct Sync {
    #[command(flatten)]
    flags: SyncFlags,

    /// Folder that remembers what was read and written; beside the settings if absent.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Build the tables of all streams anew.
    #[arg(long)]
    refresh: bool,

    /// Instead of writing, compare source and destination by count and checksum.
    #[arg(long)]
    verify: bool,

    /// Instead of writing, empty the tables; the next sync makes them anew.
    #[arg(long)]
    reset: bool,

    /// Instead of writing, bring the tables before the last refresh back.
    #[arg(long)]
    roll_back: bool,

    /// How often to try when something fails that may pass.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tries: u32,

    /// Print the run as JSON.
    #[arg(long)]
    json: bool,
}

impl Sync {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.flags.read()?;
        let kind = match (self.verify, self.reset, self.roll_back) {
            (false, false, false) => RunKind::Load,
            (true, false, false) => RunKind::Verify,
            (false, true, false) => RunKind::Reset,
            (false, false, true) => RunKind::RollBack,
            _ => bail!("--verify, --reset and --roll-back exclude each other"),
        };
        if kind == RunKind::Load
            && let Some(failure) = config.source.check().await?
        {
            bail!(failure);
        }
        let state = self.state.clone().unwrap_or_else(|| self.flags.state_folder());
        let run = self.run_once(&config, &state, kind).await?;
        if self.json {
            println!("{}", serde_json::to_string(&json_of(&run))?);
        } else {
            print_summary(&config.connection, &run);
        }
        Ok(match run.state {
            RunState::Succeeded => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}

impl Sync {
    /// Opens the store, has one run done, and gives it.
    async fn run_once(
        &self,
        config: &SyncConfig,
        state: &Path,
        kind: RunKind,
    ) -> anyhow::Result<Run> {
        let data = DataSettings { data_dir: state.to_owned(), ..DataSettings::default() };
        let store = data.open(true, surroundings::ambient()).await?;
        let connector = Connector::new(surroundings::http_client()?);
        let (integration, connection) = arranged(&store, config, kind).await?;
        if kind == RunKind::Load {
            link_tokens(&store, config, &connector, &integration).await?;
        }
        let streams: Vec<Stream> =
            config.connection.streams.iter().map(|choice| choice.stream).collect();
        if self.refresh {
            store.want_refresh(&connection.id, &streams).await?;
        }
        let bars = Bars::new();
        let http = surroundings::outbound_client(true)?;
        let settings = Settings {
            poll_every: NEVER,
            sender: Sender::new(http.clone(), true),
            open: opener(LocalDestinations::all(), http),
            watch: Some(bars.watch()),
            most_tries: self.tries,
            drain: DRAIN,
            dispatch: None,
            log: None,
        };
        // Counting a large store takes a second, and without a terminal nobody sees the bars.
        for stream in streams.into_iter().filter(|_| std::io::stderr().is_terminal()) {
            let records = store.count_records(&integration.id, stream).await?;
            bars.expect(stream, u64::try_from(records).unwrap_or(0));
        }
        let id = match store.waiting_run(&connection.id).await? {
            // One that a crash interrupted goes on.
            Some(run) if run.kind == kind => run.id,
            _ => store.ask_for_run(&connection.id, kind, "command").await?,
        };
        store.poke(store::WorkKind::Run, connection.id.as_str(), true).await?;
        let pipeline = Pipeline::start(store.clone(), connector, settings).await?;
        let ended = tokio::select! {
            run = ended(&store, id.as_str()) => run,
            () = surroundings::asked_to_stop() => Err(anyhow::anyhow!(
                "stopped; what was written stays, and the next sync goes on from there"
            )),
        };
        bars.clear();
        pipeline.stop().await;
        ended
    }
}

async fn ended(store: &Store, id: &str) -> anyhow::Result<Run> {
    loop {
        let run = store.run(id).await?.context("the run is gone")?;
        if run.ended_at.is_some() {
            return Ok(run);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The integration and the connection of these settings, made or brought up to date.
async fn arranged(
    store: &Store,
    config: &SyncConfig,
    kind: RunKind,
) -> anyhow::Result<(Integration, Connection)> {
    let source = &config.source;
    let known =
        store.integrations(Some(true), None, i64::MAX).await?.into_iter().find(|known| {
            known.client_id == source.client_id && known.base_url == source.base_url()
        });
    let mut streams: Vec<Stream> = vec![Stream::Accounts, Stream::Item];
    streams.extend(config.connection.streams.iter().map(|choice| choice.stream));
    streams.sort();
    streams.dedup();
    let integration = match known {
        Some(known) => {
            store.replace_secret(&known.id, &source.api_key).await?;
            if known.streams != streams {
                store.choose_streams(&known.id, &streams).await?;
            }
            known
        }
        None => {
            store
                .create_integration(NewIntegration {
                    name: NAME.to_owned(),
                    environment: source.plaid_env,
                    base_url: source.base_url(),
                    client_id: source.client_id.clone(),
                    secret: source.api_key.clone(),
                    streams,
                    is_source: true,
                    start_date: source.start_date,
                })
                .await?
        }
    };
    let settings: DestinationSettings =
        serde_json::from_str(config.destination.expose_secret()).context("the destination")?;
    let destination = NewDestination {
        kind: settings.kind().to_owned(),
        place: settings.to_string(),
        settings: config.destination.clone(),
    };
    // Another destination is another connection, with marks of its own.
    let known = store.connections(Some(&integration.id), None, i64::MAX).await?;
    let known = known.into_iter().find(|known| known.place == destination.place);
    let connection = match known {
        Some(known) => {
            let changed = changed_streams(&known.settings, &config.connection);
            let after = Connection { settings: config.connection.clone(), paused: None, ..known };
            store.change_connection(&after, Some(destination)).await?;
            if after.paused.is_none() && kind == RunKind::Load {
                store.pause_connection(&after.id, None).await?;
            }
            store.want_refresh(&after.id, &changed).await?;
            after
        }
        None => {
            let integration_id = integration.id.clone();
            let settings = config.connection.clone();
            let name = NAME.to_owned();
            let new = NewConnection { integration_id, name, settings, destination };
            store.create_connection(new).await?
        }
    };
    Ok((integration, connection))
}

/// Streams whose tables look different from now on.
fn changed_streams(before: &ConnectionSettings, after: &ConnectionSettings) -> Vec<Stream> {
    let known = |stream| before.streams.iter().find(|choice| choice.stream == stream);
    let changed = after
        .streams
        .iter()
        .filter(|choice| known(choice.stream).is_some_and(|known| known != *choice));
    changed.map(|choice| choice.stream).collect()
}

/// Links every token; an Item whose token is no longer named is not read any more, and stays at Plaid.
async fn link_tokens(
    store: &Store,
    config: &SyncConfig,
    connector: &Connector,
    integration: &Integration,
) -> anyhow::Result<()> {
    let source = &config.source;
    let client = connector.client(source.plaid_env, source.base_url(), source.credentials());
    let known = healthy_items(store, integration).await?;
    let mut named = HashSet::new();
    for (token, end_user_id) in source.owned_tokens()? {
        // An Item that is being read already need not be asked for again.
        if let Some(item) = known.get(token.expose())
            && end_user_id.as_ref().unwrap_or(&item.item_id) == &item.end_user_id
        {
            named.insert(item.key.clone());
            continue;
        }
        let item = client.item_get(&token).await?;
        let end_user_id = end_user_id.unwrap_or_else(|| item.item_id.clone());
        let link = NewLink {
            institution_name: client.institution_name(&item).await,
            institution_id: item.institution_id.clone(),
            ..NewLink::new(
                integration.id.clone(),
                &item.item_id,
                token.expose().into(),
                &end_user_id,
            )
        };
        match store.link(link).await? {
            LinkOutcome::Created(key) => {
                named.insert(key);
            }
            LinkOutcome::Replaced(key) => {
                store.item_happens(&key, ItemEvent::Enabled).await?;
                named.insert(key);
            }
            LinkOutcome::OtherEndUser | LinkOutcome::OtherIntegration => bail!(
                "the Item {} was read for another end user before; use another state folder",
                item.item_id
            ),
        }
    }
    let filter = ItemFilter { integration: Some(integration.id.clone()), ..Default::default() };
    for item in store.items(&filter, None, i64::MAX).await? {
        if !named.contains(&item.key) && item.status() != ItemStatus::Disabled {
            store.item_happens(&item.key, ItemEvent::Disabled).await?;
        }
    }
    Ok(())
}

/// The Items without trouble, by their access tokens.
async fn healthy_items(
    store: &Store,
    integration: &Integration,
) -> anyhow::Result<HashMap<String, Item>> {
    let mut found = HashMap::new();
    let filter = ItemFilter {
        integration: Some(integration.id.clone()),
        status: Some(ItemStatus::Healthy),
        ..Default::default()
    };
    for item in store.items(&filter, None, i64::MAX).await? {
        if let Some(token) = store.access_token(&item.key).await? {
            found.insert(token.expose_secret().to_owned(), item);
        }
    }
    Ok(found)
}

fn json_of(run: &Run) -> serde_json::Value {
    serde_json::json!({
        "id": run.id.as_str(), "kind": run.kind, "state": run.state, "run": run.body,
        "seconds": seconds(run),
    })
}

fn seconds(run: &Run) -> f64 {
    let took = run.ended_at.zip(run.body.started_at);
    took.map_or(0.0, |(ended, started)| ended.duration_since(started).as_secs_f64())
}

fn print_summary(settings: &ConnectionSettings, run: &Run) {
    for stream in &run.body.streams {
        let choice = settings.streams.iter().find(|choice| choice.stream == stream.stream);
        let mode = choice.map_or("", |choice| choice.mode.words());
        let name = stream.stream.as_str();
        match &stream.verified {
            Some(said) => println!("{name:<24}  {said}"),
            None => {
                println!(
                    "{name:<24}  {:>9} written  {:>6} deleted  {mode}",
                    stream.written, stream.deleted
                );
            }
        }
    }
    let outcome = run.body.outcome.as_deref().unwrap_or("nothing is known of the run");
    match run.state {
        RunState::Succeeded => println!("{outcome}  {:.1} s", seconds(run)),
        _ => eprintln!("failed: {outcome}"),
    }
}

/// A bar for each stream, on a terminal.
struct Bars {
    all: MultiProgress,
    streams: Arc<Mutex<Vec<(Stream, ProgressBar)>>>,
}

impl Bars {
    fn new() -> Self {
        Self { all: MultiProgress::new(), streams: Arc::default() }
    }

    /// A stream of which so many records are known to be.
    fn expect(&self, stream: Stream, records: u64) {
        let bar = ProgressBar::new(records);
        let style = ProgressStyle::with_template(
            "{prefix:24} [{bar:30}] {human_pos} rows, {per_sec}, {eta} left",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(stream.as_str());
        if let Ok(mut streams) = self.streams.lock() {
            streams.push((stream, self.all.add(bar)));
        }
    }

    fn watch(&self) -> pipeline::Watch {
        let streams = Arc::clone(&self.streams);
        let told = AtomicUsize::new(0);
        Arc::new(move |run: &Run| {
            let Ok(streams) = streams.lock() else { return };
            // What happened is told as it happens; the outcome is for the summary.
            let outcome = run.body.outcome.as_ref().filter(|_| run.ended_at.is_some());
            let known = told.swap(run.body.log.len(), Ordering::Relaxed);
            for line in run.body.log.iter().skip(known).filter(|l| Some(&l.text) != outcome) {
                eprintln!("{}", line.text);
            }
            for (stream, bar) in streams.iter() {
                let counts = run.body.streams.iter().find(|counts| counts.stream == *stream);
                let done = counts.map_or(0, |counts| counts.written + counts.deleted);
                bar.set_length(bar.length().unwrap_or(0).max(done));
                bar.set_position(done);
            }
        })
    }

    fn clear(&self) {
        // A terminal that went away needs no clearing.
        let _gone = self.all.clear();
    }
}
