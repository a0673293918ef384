//! `selvedge move`: an installation goes from its SQLite file to PostgreSQL.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use store::{Database, move_installation};

use crate::surroundings;

/// Move an installation.
#[derive(Args)]
#[command(
    after_help = "Example: selvedge move --from sqlite:selvedge-data/selvedge.db --to postgres://owner@db/bank\n\
                  Stop the server first. A move that was interrupted goes on when the command is given again.\n\
                  The master key moves with nothing: keep its file, and give it to every process."
)]
pub(crate) struct Move {
    /// The installation as it is: sqlite:PATH.
    #[arg(long, value_name = "URL")]
    from: String,

    /// An empty database, with a role that may make tables: postgres://…
    #[arg(long, value_name = "URL", env = "SELVEDGE_DATABASE_URL", hide_env_values = true)]
    to: String,
}

impl Move {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let from = Database::parse(&self.from, true).context("--from")?;
        let to = Database::parse(&self.to, false).context("--to")?;
        if let Database::Sqlite { path, .. } = &from
            && !path.exists()
        {
            anyhow::bail!("there is no database {}", path.display());
        }
        let began = surroundings::now();
        let bar = progress_bar();
        let moved = move_installation(&from, &to, |table, written, all| {
            bar.set_message(table.to_owned());
            bar.set_length(u64::try_from(all).unwrap_or(0));
            bar.set_position(u64::try_from(written).unwrap_or(0));
        });
        let moved = moved.await;
        bar.finish_and_clear();
        let moved = moved?;
        let seconds = surroundings::now().duration_since(began).as_secs_f64();
        println!(
            "{}",
            json!({ "rows": moved.rows, "checksum": moved.checksum, "seconds": seconds })
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{msg:18} {wide_bar} {pos}/{len}, {eta} left");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
