//! `selvedge emulator`: a Plaid on this machine.

mod faults;
mod populate;
mod verify;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use emulator::{Emulator, Options};
use jiff::Timestamp;
use serde_json::json;

use crate::surroundings;

/// Emulate Plaid.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example: selvedge emulator --listen 127.0.0.1:8081 --seed 7 --data plaid-data"
)]
pub(crate) struct EmulatorArguments {
    #[command(subcommand)]
    task: Option<Task>,

    #[command(flatten)]
    serve: Serve,
}

/// What else there is to do with an emulator than to run it.
#[derive(Subcommand)]
enum Task {
    /// Fill a data folder with many Items and their history.
    Populate(populate::Populate),
    /// List, add and clear the faults of a running emulator.
    Faults(faults::Faults),
    /// Walk the same tour here and at Plaid's own sandbox, and report every difference.
    Verify(verify::Verify),
}

#[derive(Args)]
struct Serve {
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    listen: SocketAddr,

    /// Same seed, same world.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,

    /// Folder that keeps the world over a restart; in memory if absent.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// The client id that callers must send.
    #[arg(long, default_value = "emulator", value_name = "ID")]
    client_id: String,

    /// The secret that callers must send.
    #[arg(long, default_value = "sandbox-secret", value_name = "SECRET")]
    secret: String,

    /// Milliseconds until the first thirty days of an Item have loaded.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    initial_delay: u64,

    /// Milliseconds from then until the rest of its history has loaded.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    history_delay: u64,

    /// Let time stand still at this instant, such as 2026-10-01T00:00:00Z.
    #[arg(long, value_name = "INSTANT")]
    freeze: Option<Timestamp>,

    /// Memory for the histories of Items that were read; more lets many Items be read again faster.
    #[arg(long, default_value_t = emulator::USUAL_BOOKS_MIB, value_name = "MIB")]
    books_memory: usize,

    /// Hold callers to Plaid's rate limits for the sandbox.
    #[arg(long)]
    rate_limits: bool,

    /// End logins thirty days after they were made, as Plaid's sandbox does.
    #[arg(long)]
    expire_logins: bool,

    /// Add every call and its answer to this file, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Check every answer and webhook against Plaid's contract, and report to this folder.
    #[arg(long, value_name = "DIR", env = emulator::CONTRACT_REPORT, hide = true)]
    contract_report: Option<PathBuf>,
}

impl EmulatorArguments {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.task {
            None => self.serve.run().await,
            Some(Task::Populate(populate)) => populate.run(),
            Some(Task::Faults(faults)) => faults.run().await,
            Some(Task::Verify(verify)) => verify.run().await,
        }
    }
}

impl Serve {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let emulator = Emulator::start(Options {
            listen: self.listen,
            seed: self.seed,
            data: self.data,
            client_id: self.client_id,
            secret: self.secret,
            initial_delay: Duration::from_millis(self.initial_delay),
            history_delay: Duration::from_millis(self.history_delay),
            freeze: self.freeze,
            books_mib: self.books_memory,
            rate_limits: self.rate_limits,
            expire_logins: self.expire_logins,
            record: self.record,
            contract_report: self.contract_report,
            now: Arc::new(surroundings::now),
            http: surroundings::http_client()?,
        })
        .await?;
        println!("{}", json!({ "ready": true, "url": emulator.url() }));
        surroundings::asked_to_stop().await;
        emulator.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}
