//! `selvedge check`: whether a source can be read and a destination written, before any work.

use std::process::ExitCode;

use clap::Args;
use model::{DestinationSettings, LocalDestinations, Stream};
use plaid::CheckState;
use secrecy::ExposeSecret;

use super::sync_config::SyncFlags;
use crate::destination::opener;
use crate::surroundings;

/// Test the settings of a sync: credentials, tokens, products, destination. The bank is not asked.
#[derive(Args)]
#[command(after_help = super::sync_config::EXAMPLE)]
pub(crate) struct Check {
    #[command(flatten)]
    flags: SyncFlags,
}

impl Check {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.flags.read()?;
        let streams: Vec<Stream> =
            config.connection.streams.iter().map(|choice| choice.stream).collect();
        let mut failed = false;
        for check in config.source.all_checks(&streams).await? {
            let word = match check.state {
                CheckState::Passed => "passed",
                CheckState::Notice => "note",
                CheckState::Failed => "failed",
            };
            failed |= check.is_failure();
            println!("{word:<7} {:<12} {}", check.name, check.detail);
            if let Some(fix) = &check.fix {
                println!("{:<20} {fix}", "");
            }
        }
        let settings: DestinationSettings =
            serde_json::from_str(config.destination.expose_secret())?;
        let open = opener(LocalDestinations::all(), surroundings::outbound_client(true)?);
        let checked = match open(&settings) {
            Ok(mut destination) => destination.check().await,
            Err(error) => Err(error),
        };
        match checked {
            Ok(()) => println!("passed  destination  {settings} can be written"),
            Err(error) => {
                failed = true;
                println!("failed  destination  {error}");
            }
        }
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
