//! `selvedge emulator verify`: the emulator against Plaid's own sandbox, with the user's keys.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use emulator::{Emulator, Observation, Options};
use jiff::tz::TimeZone;

use crate::surroundings;

/// Exit code when there are differences.
const DIFFERENT: u8 = 3;

/// Walk the same tour here and at Plaid's own sandbox, and report every difference.
#[derive(Args)]
#[command(
    after_help = "Example: PLAID_CLIENT_ID=… PLAID_SECRET=… selvedge emulator verify --against \
                  https://sandbox.plaid.com\n\nThe tour makes two Items and a user in that sandbox and \
                  removes the Items. The report goes to standard output, ready to be pasted into an \
                  issue; it holds names and types of fields, and no values."
)]
pub(super) struct Verify {
    /// Base URL of the Plaid to compare with.
    #[arg(long, value_name = "URL")]
    against: String,

    /// Your client id there.
    #[arg(long, env = "PLAID_CLIENT_ID", value_name = "ID")]
    client_id: String,

    /// Your sandbox secret there.
    #[arg(long, env = "PLAID_SECRET", hide_env_values = true, value_name = "SECRET")]
    secret: String,
}

impl Verify {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let http = surroundings::http_client()?;
        let options = Options::new(Arc::new(surroundings::now), http.clone());
        let own = (options.client_id.clone(), options.secret.clone());
        let emulator = Emulator::start(options).await?;
        let today = surroundings::now().to_zoned(TimeZone::UTC).date();
        let tell = |observation: &Observation| {
            let error = observation.error.as_deref().unwrap_or("");
            eprintln!("{:>4} {} {error}", observation.status, observation.path);
        };
        let own_keys = (own.0.as_str(), own.1.as_str());
        let here = emulator::walk(&http, &emulator.url(), own_keys, today, |_| {})
            .await
            .context("the tour here")?;
        let keys = (self.client_id.as_str(), self.secret.as_str());
        let there = emulator::walk(&http, &self.against, keys, today, tell)
            .await
            .context("the tour there")?;
        emulator.stop().await;
        let differences = emulator::differences(&here, &there);
        println!("# Emulator {} against {}\n", env!("CARGO_PKG_VERSION"), self.against);
        println!("{today}, {} steps, {} differences.\n", there.len(), differences.len());
        for difference in &differences {
            println!("- {difference}");
        }
        Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
    }
}
