//! `selvedge migrate`: brings the schema up to date, or says what that would do.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use store::{Database, Migration};

use crate::settings::DataSettings;

/// The schema is not up to date.
const BEHIND: u8 = 3;

/// Bring the schema up to date.
#[derive(Args)]
#[command(
    after_help = "Example: selvedge migrate --database-url postgres://owner@db/bank --grant-to selvedge_app\n\
                  Exit codes: 0 up to date, 3 behind (with --check), 1 failed."
)]
pub(crate) struct Migrate {
    /// Only say whether the schema is up to date.
    #[arg(long)]
    check: bool,

    /// Only list what would be done.
    #[arg(long, conflicts_with = "check")]
    dry_run: bool,

    /// On PostgreSQL, let this role read and write the tables, for serving and working.
    #[arg(long, value_name = "ROLE")]
    grant_to: Option<String>,

    #[command(flatten)]
    data: DataSettings,
}

impl Migrate {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let database = self.data.database(false)?;
        let missing = database.pending_migrations().await?;
        let listed: Vec<_> = missing.iter().map(line).collect();
        if self.check || self.dry_run {
            println!("{}", json!({ "up_to_date": missing.is_empty(), "missing": listed }));
            let behind = self.check && !missing.is_empty();
            return Ok(if behind { ExitCode::from(BEHIND) } else { ExitCode::SUCCESS });
        }
        database.migrate().await?;
        if let (Some(role), Database::Postgres(_)) = (&self.grant_to, &database) {
            database.grant_to(role).await?;
        }
        println!("{}", json!({ "up_to_date": true, "made": listed }));
        Ok(ExitCode::SUCCESS)
    }
}

fn line(migration: &Migration) -> serde_json::Value {
    json!({ "version": migration.version, "description": migration.description })
}
