//! `selvedge doctor`: looks at everything an installation stands on, and names the fix of what is wrong.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::nats::examine;
use crate::settings::DataSettings;
use crate::surroundings;

/// Something is weaker than it should be, and nothing is broken.
const WEAK: u8 = 3;

/// Look at what this installation stands on.
#[derive(Args)]
#[command(after_help = "Example: selvedge doctor --data-dir /var/lib/selvedge\n\
                  Exit codes: 0 all is well, 3 something is weak, 1 something is broken.")]
pub(crate) struct Doctor {
    /// NATS between the processes of this installation.
    #[arg(long, env = "SELVEDGE_NATS_URL", hide_env_values = true, value_name = "URL")]
    nats_url: Option<String>,

    /// Monitoring address of a NATS server, which tells whether it syncs every write: http://HOST:8222.
    #[arg(long, env = "SELVEDGE_NATS_MONITOR_URL", value_name = "URL")]
    nats_monitor_url: Option<String>,

    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    data: DataSettings,
}

/// What was looked at, and how it is.
pub(crate) struct Finding {
    pub(crate) health: Health,
    pub(crate) about: String,
    /// What to do about it; empty when all is well.
    pub(crate) fix: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    Well,
    Weak,
    Broken,
}

impl Finding {
    pub(crate) fn well(about: impl Into<String>) -> Self {
        Self { health: Health::Well, about: about.into(), fix: String::new() }
    }

    pub(crate) fn weak(about: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { health: Health::Weak, about: about.into(), fix: fix.into() }
    }

    pub(crate) fn broken(about: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { health: Health::Broken, about: about.into(), fix: fix.into() }
    }

    fn print(&self, as_json: bool) {
        let health = match self.health {
            Health::Well => "well",
            Health::Weak => "weak",
            Health::Broken => "broken",
        };
        if as_json {
            let (about, fix) = (&self.about, &self.fix);
            println!("{}", json!({ "health": health, "about": about, "fix": fix }));
        } else if self.fix.is_empty() {
            println!("{health:7} {}", self.about);
        } else {
            println!("{health:7} {}\n        {}", self.about, self.fix);
        }
    }
}

impl Doctor {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut findings = self.database().await;
        if let Some(url) = &self.nats_url {
            findings.extend(examine(url, self.nats_monitor_url.as_deref()).await);
        }
        for finding in &findings {
            finding.print(self.json);
        }
        Ok(match findings.iter().map(|finding| finding.health).max() {
            Some(Health::Broken) => ExitCode::FAILURE,
            Some(Health::Weak) => ExitCode::from(WEAK),
            _ => ExitCode::SUCCESS,
        })
    }

    async fn database(&self) -> Vec<Finding> {
        let store = match self.data.open_existing(surroundings::ambient()).await {
            Ok(store) => store,
            Err(error) => {
                return vec![Finding::broken(
                    format!("the database: {error}"),
                    "The rest was not looked at.",
                )];
            }
        };
        let mut findings = vec![Finding::well(match store.is_shared() {
            true => "PostgreSQL is new enough, durable, and its schema is this program's",
            false => "the SQLite file is durable, and its schema is this program's",
        })];
        findings.push(Finding::well("the master key is the one this database was sealed with"));
        let worries = store.worries().iter();
        findings.extend(worries.map(|worry| Finding::weak(&worry.why, &worry.fix)));
        match store.reach_writer().await {
            Ok(()) => findings.push(Finding::well("the database takes writes")),
            Err(error) => findings.push(Finding::broken(
                format!("the database takes no writes: {error}"),
                "Look for a full disk, and for a transaction that does not end.",
            )),
        }
        findings
    }
}
