//! `selvedge work`: workers without a window, any number of them over one PostgreSQL.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use plaid::Connector;
use serde_json::json;

use super::workers::WorkerArguments;
use crate::settings::DataSettings;
use crate::surroundings;

/// Work.
#[derive(Args)]
#[command(
    after_help = "Example: SELVEDGE_DATABASE_URL=postgres://selvedge@db/bank selvedge work --data-dir /etc/selvedge"
)]
pub(crate) struct Work {
    #[command(flatten)]
    workers: WorkerArguments,

    #[command(flatten)]
    data: DataSettings,
}

impl Work {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let store = self.data.open(true, surroundings::ambient()).await?;
        if !store.is_shared() {
            bail!(
                "a SQLite file is for the one process that serves, which works too; \
                 set SELVEDGE_DATABASE_URL to a postgres:// URL for more of them"
            );
        }
        let connector = Connector::new(surroundings::http_client()?);
        let mut pipeline = self.workers.options(&self.data).start(store, connector).await?;
        println!("{}", json!({ "ready": true }));
        let failed = tokio::select! {
            () = surroundings::asked_to_stop() => false,
            () = pipeline.ended() => true,
        };
        pipeline.stop().await;
        if failed {
            bail!("a part of the worker ended by itself; the log says why");
        }
        Ok(ExitCode::SUCCESS)
    }
}
