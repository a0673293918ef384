//! The commands, one file each.

mod bank;
mod capacity;
mod check;
mod demo;
mod discover;
pub(crate) mod doctor;
mod emulator;
mod enrich;
mod keys;
mod link;
mod migrate;
mod openapi;
mod relocate;
mod reprocess;
mod resync;
mod serve;
mod source;
mod source_config;
mod source_items;
mod streams;
mod sync;
mod sync_config;
mod tap;
mod work;
mod workers;

use std::process::ExitCode;

use clap::Subcommand;

/// What the program can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show it all: an emulated bank, a server, data that keeps changing.
    Demo(demo::Demo),
    /// Receive webhooks, sync Items, answer the API and the dashboard.
    Serve(Box<serve::Serve>),
    /// Do the work of a server that has none, or not enough: any number of processes over one PostgreSQL.
    Work(Box<work::Work>),
    /// Bring the schema of the database up to date.
    Migrate(migrate::Migrate),
    /// Move an installation from its SQLite file to PostgreSQL.
    Move(relocate::Move),
    /// Say what an installation of a size needs.
    Capacity(capacity::Capacity),
    /// Look at what this installation stands on, and name the fix of what is wrong.
    Doctor(doctor::Doctor),
    /// Run a Plaid on this machine that Plaid's own client libraries can talk to.
    Emulator(Box<emulator::EmulatorArguments>),
    /// Read a Plaid source in the Airbyte protocol.
    Source(source::Source),
    /// Be a Singer tap.
    Tap(tap::Tap),
    /// Draw the streams with their fields.
    Streams(streams::Streams),
    /// Test the settings of a sync.
    Check(Box<check::Check>),
    /// List the streams of a source.
    Discover(Box<discover::Discover>),
    /// Read a Plaid source into a destination, without a server.
    Sync(Box<sync::Sync>),
    /// Say what transactions mean: rows of a file, or a stream between other programs.
    Enrich(enrich::Enrich),
    /// Bring an existing estate of Items into a running server.
    Link(link::Link),
    /// Read an Item again from the beginning and reconcile.
    Resync(resync::Resync),
    /// Have all transactions processed anew, or see what that would change.
    Reprocess(reprocess::Reprocess),
    /// Make, list and revoke API keys.
    Keys(keys::Keys),
    /// Print the API's OpenAPI document.
    Openapi,
}

impl Command {
    /// What the command logs: a server tells its story, the others speak when something is wrong.
    pub(crate) fn usual_log(&self) -> &'static str {
        match self {
            Self::Serve(_) | Self::Work(_) => "warn,selvedge=info,pipeline=info,web=info",
            Self::Demo(_) => "error",
            _ => "warn",
        }
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Demo(demo) => demo.run().await,
            Command::Serve(serve) => serve.run().await,
            Command::Work(work) => work.run().await,
            Command::Migrate(migrate) => migrate.run().await,
            Command::Move(relocate) => relocate.run().await,
            Command::Capacity(capacity) => capacity.run(),
            Command::Doctor(doctor) => doctor.run().await,
            Command::Emulator(arguments) => arguments.run().await,
            Command::Source(source) => source.run().await,
            Command::Tap(tap) => tap.run().await,
            Command::Streams(streams) => streams.run().await,
            Command::Check(check) => check.run().await,
            Command::Discover(discover) => discover.run().await,
            Command::Sync(sync) => sync.run().await,
            Command::Enrich(enrich) => enrich.run().await,
            Command::Link(link) => link.run().await,
            Command::Resync(resync) => resync.run().await,
            Command::Reprocess(reprocess) => reprocess.run().await,
            Command::Keys(keys) => keys.run().await,
            Command::Openapi => openapi::run(),
        }
    })
}
