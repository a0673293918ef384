//! `selvedge demo`: an emulated bank and a server in one process, five customers with eight logins
//! and two years of history, then new transactions every few seconds.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::SignedDuration;
use model::{ChangeKind, Environment, History, Item, LocalDestinations, Stream};
use secrecy::SecretString;
use serde_json::json;
use store::{ChangeFilter, Integration, ItemFilter, LinkOutcome, NewIntegration, NewLink, Store};

use super::bank::{Bank, CLIENT_ID, LOGINS, MadeItem, SECRET};
use super::serve::{Server, ServerOptions};
use super::workers::WorkerOptions;
use crate::settings::DataSettings;
use crate::surroundings;

/// How long each of the two stages of an Item's history takes when somebody watches.
const STAGE_DELAY: Duration = Duration::from_millis(1_500);
/// Time between two events at the bank.
const EVENT_EVERY: Duration = Duration::from_secs(4);
/// The first load is given up after this long.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often progress is looked at.
const GLANCE: Duration = Duration::from_millis(100);
/// What is under way may take so long to finish when the demonstration ends.
const DRAIN: Duration = Duration::from_secs(5);
/// Refreshes of every lively Item in a run that ends by itself.
const ROUNDS: usize = 3;

/// Show it all.
#[derive(Args)]
#[command(after_help = "Example: selvedge demo, then open the address it prints")]
pub(crate) struct Demo {
    /// Load, let a few things happen, compare with the bank's own ledger, print one JSON line, end.
    #[arg(long)]
    once: bool,

    /// Same seed, same customers.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,

    /// Address of the dashboard; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
}

impl Demo {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let started = surroundings::now();
        let folder = DemoFolder::make(self.seed)?;
        let store = folder.settings().open(true, surroundings::ambient()).await?;
        let delay = if self.once { Duration::ZERO } else { STAGE_DELAY };
        let bank = Bank::open(self.seed, delay).await?;
        let listen = if self.once { SocketAddr::from(([127, 0, 0, 1], 0)) } else { self.listen };
        let options = ServerOptions {
            listen,
            public_url: None,
            workers: WorkerOptions {
                poll_every: SignedDuration::from_secs(if self.once { 1 } else { 30 }),
                private_addresses: true,
                local_destinations: LocalDestinations {
                    folder: Some(folder.0.join("exports")),
                    processes: false,
                    duckdb_library: None,
                },
                nats_url: None,
                drain: DRAIN,
                works: true,
            },
        };
        let server = Server::start(store.clone(), options).await?;
        let integration = integrate(&store, &bank).await?;
        let made = link_all(&store, &bank, &server, &integration).await?;
        first_load(&store, self.once).await?;
        if self.once {
            let difference = settle(&store, &bank, &made).await?;
            let seconds = surroundings::now().duration_since(started).as_millis();
            print_summary(&store, &difference, seconds).await?;
            server.stop().await;
            bank.close().await;
            let agrees = difference.is_empty();
            return Ok(if agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let link = server.setup_link(&store).await?;
        println!("\n  Dashboard   {link}\n  Bank        {}  (an emulated Plaid)\n", bank.url());
        println!("  New transactions arrive every few seconds. Ctrl-C ends the demo.\n");
        tokio::select! {
            ended = keep_living(&store, &bank, &made) => ended?,
            () = surroundings::asked_to_stop() => {}
        }
        server.stop().await;
        bank.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// A folder that goes with the demo.
struct DemoFolder(std::path::PathBuf);

impl DemoFolder {
    fn make(seed: u64) -> anyhow::Result<Self> {
        let name = format!("selvedge-demo-{}-{seed}", std::process::id());
        let path = std::env::temp_dir().join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).context("an old demo folder could not be removed")?;
        }
        Ok(Self(path))
    }

    fn settings(&self) -> DataSettings {
        DataSettings { data_dir: self.0.clone(), ..DataSettings::default() }
    }
}

impl Drop for DemoFolder {
    fn drop(&mut self) {
        // Best effort: it stands in the system's temporary folder.
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

async fn integrate(store: &Store, bank: &Bank) -> anyhow::Result<Integration> {
    let new = NewIntegration {
        name: "Demo bank".to_owned(),
        environment: Environment::Sandbox,
        base_url: bank.url().parse()?,
        client_id: CLIENT_ID.to_owned(),
        secret: SecretString::from(SECRET),
        streams: Stream::all().collect(),
        is_source: false,
        start_date: None,
    };
    Ok(store.create_integration(new).await?)
}

async fn link_all(
    store: &Store,
    bank: &Bank,
    server: &Server,
    integration: &Integration,
) -> anyhow::Result<Vec<MadeItem>> {
    let webhook = format!("{}/webhooks/plaid/{}", server.url, integration.id);
    let mut made = Vec::new();
    for (end_user_id, name, institution_id, username) in LOGINS {
        let item = bank.link(institution_id, username, &webhook).await?;
        let outcome = store
            .link(NewLink {
                end_user_name: Some(name.to_owned()),
                institution_id: Some(institution_id.to_owned()),
                institution_name: bank.institution_name(institution_id).await,
                ..NewLink::new(
                    integration.id.clone(),
                    &item.item_id,
                    SecretString::from(item.token.expose()),
                    end_user_id,
                )
            })
            .await?;
        if !matches!(outcome, LinkOutcome::Created(_)) {
            bail!("the demo's bank gave the same item twice");
        }
        made.push(item);
    }
    Ok(made)
}

/// Shows each Item's history arriving; returns when all of it is here.
async fn first_load(store: &Store, quiet: bool) -> anyhow::Result<()> {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let progress = MultiProgress::with_draw_target(target);
    let style =
        ProgressStyle::with_template("  {prefix:34} [{bar:24}] {msg}")?.progress_chars("=> ");
    let items = store.items(&ItemFilter::default(), None, i64::MAX).await?;
    let bars: Vec<ProgressBar> = items
        .iter()
        .map(|item| {
            let bank = item.institution_name.as_deref().unwrap_or("bank");
            let bar = progress.add(ProgressBar::new(2)).with_style(style.clone());
            bar.with_prefix(format!("{} at {bank}", item.end_user_id)).with_message("waiting")
        })
        .collect();
    let watch = async {
        loop {
            let items = store.items(&ItemFilter::default(), None, i64::MAX).await?;
            for (item, bar) in items.iter().zip(&bars) {
                show(item, bar);
            }
            if items.iter().all(|item| item.history == History::Complete) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(GLANCE).await;
        }
    };
    tokio::time::timeout(PATIENCE, watch).await.context("the first load did not end in time")?
}

fn show(item: &Item, bar: &ProgressBar) {
    let since = item.history_since.map_or(String::new(), |date| format!(" since {date}"));
    let rows = item.item_seq;
    match item.history {
        History::Initial => {
            bar.set_position(1);
            bar.set_message(format!("30 days, {rows} records"));
        }
        History::Complete if !bar.is_finished() => {
            bar.set_position(2);
            bar.finish_with_message(format!("complete{since}, {rows} records"));
        }
        History::NotReady | History::Complete => {}
    }
}

/// Lets things happen, waits until all of it has arrived, and compares.
async fn settle(store: &Store, bank: &Bank, made: &[MadeItem]) -> anyhow::Result<Vec<String>> {
    for _ in 0..ROUNDS {
        for item in made.iter().filter(|item| item.lively) {
            bank.refresh(item).await?;
        }
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let difference = bank.difference(store).await?;
        let waited = tokio::time::Instant::now() >= deadline;
        if difference.is_empty() || waited {
            return Ok(difference);
        }
        tokio::time::sleep(GLANCE).await;
    }
}

async fn print_summary(store: &Store, difference: &[String], millis: i128) -> anyhow::Result<()> {
    while store.number_changes().await? > 0 {}
    let summary = store.summary().await?;
    let items: i64 = summary.items.iter().map(|(_, count)| count).sum();
    println!(
        "{}",
        json!({
            "items": items,
            "accounts": summary.accounts,
            "transactions": summary.transactions,
            "feed_length": store.feed_head().await?,
            "seconds": serde_json::from_str::<serde_json::Value>(&seconds(millis))?,
            "difference": difference,
        })
    );
    Ok(())
}

/// Milliseconds as a decimal number of seconds.
fn seconds(millis: i128) -> String {
    format!("{}.{:03}", millis / 1_000, millis % 1_000)
}

/// One event at the bank every few seconds, and what arrived because of it.
async fn keep_living(store: &Store, bank: &Bank, made: &[MadeItem]) -> anyhow::Result<()> {
    let mut seen = store.feed_head().await?;
    for item in made.iter().filter(|item| item.lively).cycle() {
        bank.refresh(item).await?;
        tokio::time::sleep(EVENT_EVERY).await;
        let changes = store.changes(seen, &ChangeFilter::default(), i64::MAX).await?;
        seen = changes.last().map_or(seen, |change| change.seq);
        let count = |kind| {
            let of_kind = changes.iter().filter(|change| change.kind == kind);
            of_kind.filter(|change| change.stream == Stream::Transactions).count()
        };
        println!(
            "  feed {seen}: {} added, {} modified, {} removed",
            count(ChangeKind::Added),
            count(ChangeKind::Modified),
            count(ChangeKind::Removed),
        );
    }
    Ok(())
}
