//! `selvedge keys`: API keys, on the same database as a running server.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use store::Scope;

use crate::settings::DataSettings;
use crate::surroundings;

/// Manage API keys.
#[derive(Args)]
#[command(after_help = "Example: selvedge keys create --name backend --scope read --scope write")]
pub(crate) struct Keys {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    data: DataSettings,
}

#[derive(Subcommand)]
enum Action {
    /// Make a key; its text is printed once and never again.
    Create {
        /// A name for people.
        #[arg(long)]
        name: String,
        /// What it may do: read, write. Both if absent.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
    },
    /// List keys, one JSON object a line.
    List,
    /// End a key at once.
    Revoke {
        /// The key's id.
        id: String,
    },
}

impl Keys {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let store = self.data.open(false, surroundings::ambient()).await?;
        match self.action {
            Action::Create { name, scopes } => {
                let (key, text) = store.create_api_key(&name, &parse(&scopes)?).await?;
                println!("{}", json!({ "id": key.id.as_str(), "key": *text }));
            }
            Action::List => {
                for key in store.api_keys().await? {
                    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
                    println!(
                        "{}",
                        json!({
                            "id": key.id.as_str(), "name": key.name, "prefix": key.prefix,
                            "scopes": scopes, "created_at": key.created_at,
                            "last_used_at": key.last_used_at, "revoked_at": key.revoked_at,
                        })
                    );
                }
            }
            Action::Revoke { id } => {
                let id = id.parse().context("the id of a key starts with key_")?;
                if !store.revoke_api_key(&id).await? {
                    bail!("there is no live key with this id; see `selvedge keys list`");
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn parse(names: &[String]) -> anyhow::Result<Vec<Scope>> {
    if names.is_empty() {
        return Ok(vec![Scope::Read, Scope::Write]);
    }
    let parse = |name: &String| {
        Scope::from_name(name).with_context(|| format!("unknown scope {name}; use read or write"))
    };
    names.iter().map(parse).collect()
}
