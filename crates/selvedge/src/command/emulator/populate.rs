//! `selvedge emulator populate`: a data folder with many Items, ready to be served.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use emulator::Population;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::surroundings;

/// List of the Items made, in the data folder.
const LIST: &str = "items.ndjson";

/// Fill a data folder with many Items and their history.
#[derive(Args)]
#[command(after_help = "Example: selvedge emulator populate --items 400 --months 24 --seed 7 \
                        --data plaid-data\n         selvedge emulator --data plaid-data")]
pub(super) struct Populate {
    /// How many Items.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    items: u64,

    /// How many months of history each has.
    #[arg(long, default_value_t = 24, value_name = "M", value_parser = clap::value_parser!(i32).range(1..=24))]
    months: i32,

    /// Same seed, same population.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,

    /// Folder to fill; it may hold a world already.
    #[arg(long, default_value = "plaid-data", value_name = "DIR")]
    data: PathBuf,

    /// Sandbox users to make Items of, in turn.
    #[arg(
        long,
        value_name = "USER",
        value_delimiter = ',',
        default_value = "user_small_business,user_transactions_dynamic,user_restaurant,user_retiree,user_ewa_user"
    )]
    users: Vec<String>,
}

impl Populate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let list = self.data.join(LIST);
        let wish = Population {
            data: self.data,
            seed: self.seed,
            items: self.items,
            months: self.months,
            usernames: self.users,
        };
        std::fs::create_dir_all(&wish.data)
            .with_context(|| format!("cannot make the folder {}", wish.data.display()))?;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&list);
        let mut file =
            BufWriter::new(file.with_context(|| format!("cannot write {}", list.display()))?);
        let progress = progress(self.items);
        let began = surroundings::now();
        let (mut transactions, mut failure) = (0, None);
        emulator::populate(&wish, began, |item| {
            transactions += item.transactions;
            let line = serde_json::to_string(item).map_err(std::io::Error::from);
            if let Err(error) = line.and_then(|line| writeln!(file, "{line}")) {
                failure.get_or_insert(error);
            }
            progress.inc(1);
        })?;
        progress.finish_and_clear();
        let flushed = file.flush();
        if let Some(error) = failure.or(flushed.err()) {
            return Err(error).with_context(|| format!("cannot write {}", list.display()));
        }
        let milliseconds = surroundings::now().duration_since(began).as_millis();
        println!(
            "{}",
            json!({
                "items": self.items, "list": list, "milliseconds": milliseconds,
                "transactions": transactions,
            })
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn progress(items: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} Items, {eta} left");
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let progress = ProgressBar::with_draw_target(Some(items), target);
    match style {
        Ok(style) => progress.with_style(style),
        Err(_) => progress,
    }
}
