//! What `serve` and `work` have in common: the settings of workers, and the pipeline made of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use jiff::SignedDuration;
use model::LocalDestinations;
use pipeline::{Pipeline, Sender, Settings};
use plaid::Connector;
use store::Store;

use crate::destination::opener;
use crate::nats::broker;
use crate::settings::DataSettings;
use crate::surroundings;

/// How often a run of a connection is begun that failed for a reason that may pass; the next one by its
/// schedule goes on where it stood.
const MOST_TRIES: u32 = 6;

/// Settings of workers.
#[derive(Args, Clone)]
pub(crate) struct WorkerArguments {
    /// Seconds after which an Item is looked at when no webhook came.
    #[arg(long, default_value_t = 3_600, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    poll_seconds: i64,

    /// Let subscribers have private addresses and plain HTTP, for receivers on this network.
    #[arg(long, env = "SELVEDGE_PRIVATE_SUBSCRIBERS")]
    private_subscribers: bool,

    /// Folder in which files of destinations have to be; `exports` in the data folder if absent.
    #[arg(long, env = "SELVEDGE_DESTINATIONS_DIR", value_name = "DIR")]
    destinations_dir: Option<PathBuf>,

    /// DuckDB's library, for connections to DuckDB files.
    #[arg(long, env = "SELVEDGE_DUCKDB_LIBRARY", value_name = "FILE")]
    duckdb_library: Option<String>,

    /// Let connections start other programs on this machine as destinations.
    #[arg(long, env = "SELVEDGE_PROCESS_DESTINATIONS")]
    process_destinations: bool,

    /// NATS between the processes of this installation: nats://HOST:PORT,HOST:PORT?replicas=3.
    #[arg(long, env = "SELVEDGE_NATS_URL", hide_env_values = true, value_name = "URL")]
    nats_url: Option<String>,

    /// Seconds that work under way may take to finish when this process is asked to stop.
    #[arg(long, default_value_t = 20, value_name = "N")]
    drain_seconds: u64,
}

impl WorkerArguments {
    pub(super) fn options(&self, data: &DataSettings) -> WorkerOptions {
        let exports = || data.data_dir.join("exports");
        WorkerOptions {
            poll_every: SignedDuration::from_secs(self.poll_seconds),
            private_addresses: self.private_subscribers,
            local_destinations: LocalDestinations {
                folder: Some(self.destinations_dir.clone().unwrap_or_else(exports)),
                processes: self.process_destinations,
                duckdb_library: self.duckdb_library.clone(),
            },
            nats_url: self.nats_url.clone(),
            drain: Duration::from_secs(self.drain_seconds),
            works: true,
        }
    }
}

/// What a pipeline is started with.
pub(super) struct WorkerOptions {
    pub(super) poll_every: SignedDuration,
    pub(super) private_addresses: bool,
    pub(super) local_destinations: LocalDestinations,
    pub(super) nats_url: Option<String>,
    pub(super) drain: Duration,
    /// Whether this process has workers, or leaves the work to others.
    pub(super) works: bool,
}

impl WorkerOptions {
    /// Starts the pipeline.
    pub(super) async fn start(
        self,
        store: Store,
        connector: Connector,
    ) -> anyhow::Result<Pipeline> {
        if !store.is_shared() && (self.nats_url.is_some() || !self.works) {
            bail!(
                "a SQLite file is for one process, which does its own work; \
                 for more of them set SELVEDGE_DATABASE_URL to a postgres:// URL"
            );
        }
        let (dispatch, log) = match &self.nats_url {
            Some(url) => broker(url, self.works).await?,
            None => (None, None),
        };
        let http = surroundings::outbound_client(self.private_addresses)?;
        let settings = Settings {
            poll_every: self.poll_every,
            sender: Sender::new(http.clone(), self.private_addresses),
            open: opener(self.local_destinations, http),
            watch: None,
            most_tries: MOST_TRIES,
            drain: self.drain,
            dispatch,
            log: log.map(|log| log as Arc<_>),
        };
        Ok(match self.works {
            true => Pipeline::start(store, connector, settings).await?,
            false => Pipeline::without_workers(store, &connector, &settings),
        })
    }
}
