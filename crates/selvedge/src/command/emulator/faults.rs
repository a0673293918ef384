//! `selvedge emulator faults`: the faults of a running emulator.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use emulator::{Fault, KINDS};
use serde_json::{Value, json};

use crate::surroundings;

/// List, add and clear the faults of a running emulator.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  selvedge emulator faults kinds\n  selvedge emulator faults add rate_limit \
                  --path /transactions/sync --times 3 --seconds 2\n  selvedge emulator faults clear"
)]
pub(super) struct Faults {
    /// The running emulator.
    #[arg(long, global = true, default_value = "http://127.0.0.1:8081", value_name = "URL")]
    url: String,

    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Every kind of fault and what it does.
    Kinds,
    /// The faults asked for, with how often each struck.
    List,
    /// Ask for a fault.
    Add(Add),
    /// Forget them all.
    Clear,
}

#[derive(Args)]
struct Add {
    /// What goes wrong; `selvedge emulator faults kinds` lists them.
    kind: String,
    /// The endpoint it strikes, such as /transactions/sync.
    #[arg(long)]
    path: Option<String>,
    /// The Item it strikes.
    #[arg(long)]
    item_id: Option<String>,
    /// The code of the webhook it strikes.
    #[arg(long)]
    webhook_code: Option<String>,
    /// The page of an update it strikes, counted from 1.
    #[arg(long)]
    page: Option<u64>,
    /// How often it strikes.
    #[arg(long, default_value_t = 1)]
    times: u64,
    /// In how many of a hundred cases.
    #[arg(long, default_value_t = 100)]
    percent: i64,
    /// Which cases those are.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Seconds it lasts or hints at.
    #[arg(long)]
    seconds: Option<u64>,
    /// Code of Plaid's error, for item_error.
    #[arg(long)]
    error_code: Option<String>,
}

impl Faults {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let url = format!("{}/_emulator/faults", self.url.trim_end_matches('/'));
        let http = surroundings::http_client()?;
        let call = match &self.task {
            Task::Kinds => {
                for (_, name, what) in KINDS {
                    println!("{name:<26} {what}");
                }
                return Ok(ExitCode::SUCCESS);
            }
            Task::List => http.get(&url),
            Task::Clear => http.delete(&url),
            Task::Add(add) => http.post(&url).json(&add.fault()?),
        };
        let answer = call.send().await.with_context(|| {
            format!("no emulator answers at {}; start one or give its --url", self.url)
        })?;
        let accepted = answer.status().is_success();
        let answer: Value = answer.json().await.context("the answer is not an emulator's")?;
        if !accepted {
            bail!("the emulator refuses the fault: {}", answer["error"].as_str().unwrap_or("?"));
        }
        match self.task {
            Task::List => {
                for fault in answer["faults"].as_array().into_iter().flatten() {
                    println!("{fault}");
                }
            }
            _ => println!("{answer}"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Add {
    fn fault(&self) -> anyhow::Result<Fault> {
        let fault = json!({
            "kind": self.kind, "path": self.path, "item_id": self.item_id,
            "webhook_code": self.webhook_code, "page": self.page, "times": self.times,
            "percent": self.percent, "seed": self.seed, "seconds": self.seconds,
            "error_code": self.error_code,
        });
        let fault: Fault = serde_json::from_value(fault).with_context(|| {
            format!("{} is no fault; `selvedge emulator faults kinds` lists them", self.kind)
        })?;
        if let Some(flaw) = fault.flaw() {
            bail!("{flaw}");
        }
        Ok(fault)
    }
}
