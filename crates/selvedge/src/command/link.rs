//! `selvedge link`: brings an existing estate of Items into a running server, line by line. What was
//! done is written beside the file, so that a second run goes on where the first one ended.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::surroundings;

/// Items in one request; the server takes up to 100.
const AT_ONCE: usize = 25;

/// Link many Items.
#[derive(Args)]
#[command(
    after_help = "Example: selvedge link --file items.csv --integration itg_… --server http://127.0.0.1:8080

items.csv has a header and the columns item_id, access_token, end_user_id, and if you like
end_user_name and replaces. The result of each line goes to items.csv.results.csv; lines that
succeeded there are not sent again."
)]
pub(crate) struct Link {
    /// The Items, a CSV file.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,

    /// The integration they belong to.
    #[arg(long, value_name = "ID")]
    integration: String,

    /// The server.
    #[arg(
        long,
        env = "SELVEDGE_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    server: String,

    /// An API key of the server that may write.
    #[arg(long, env = "SELVEDGE_API_KEY", value_name = "KEY", hide_env_values = true)]
    api_key: SecretString,

    /// Also point the Items' webhooks at the integration.
    #[arg(long)]
    update_webhook: bool,
}

#[derive(Deserialize)]
struct Line {
    item_id: String,
    access_token: SecretString,
    end_user_id: String,
    end_user_name: Option<String>,
    replaces: Option<String>,
}

/// What became of a line.
#[derive(Serialize, Deserialize)]
struct Outcome {
    item_id: String,
    status: u16,
    code: Option<String>,
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Outcomes {
    data: Vec<Outcome>,
}

impl Link {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let results = results_path(&self.file);
        let done = done(&results)?;
        let mut lines = Vec::new();
        let file = File::open(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        for (index, line) in csv::Reader::from_reader(file).into_deserialize().enumerate() {
            // The error's own text shows the line, which holds a token.
            let line: Line = line.map_err(|_| {
                let number = index + 2;
                anyhow::anyhow!(
                    "line {number} of {} is not item_id,access_token,end_user_id",
                    self.file.display()
                )
            })?;
            if !done.contains(&line.item_id) {
                lines.push(line);
            }
        }
        let bar = ProgressBar::new(u64::try_from(lines.len())?);
        bar.set_style(ProgressStyle::with_template("[{bar:30}] {pos}/{len} items, {elapsed}")?);
        let http = surroundings::http_client()?;
        let exists = results.exists();
        let log = OpenOptions::new().create(true).append(true).open(&results)?;
        let mut log = csv::WriterBuilder::new().has_headers(!exists).from_writer(log);
        let (mut linked, mut refused) = (0, 0);
        for chunk in lines.chunks(AT_ONCE) {
            for outcome in self.send(&http, chunk).await? {
                match outcome.status {
                    200 | 201 => linked += 1,
                    _ => refused += 1,
                }
                log.serialize(outcome)?;
            }
            log.flush()?;
            bar.inc(u64::try_from(chunk.len())?);
        }
        bar.finish_and_clear();
        println!(
            "{}",
            json!({
                "linked": linked, "refused": refused, "done_before": done.len(),
                "results": results.display().to_string(),
            })
        );
        Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn send(&self, http: &reqwest::Client, lines: &[Line]) -> anyhow::Result<Vec<Outcome>> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let items: Vec<_> = lines
            .iter()
            .map(|line| {
                json!({
                    "item_id": line.item_id,
                    "access_token": line.access_token.expose_secret(),
                    "end_user_id": line.end_user_id,
                    "end_user_name": filled(&line.end_user_name),
                    "replaces": filled(&line.replaces),
                    "update_webhook": self.update_webhook,
                })
            })
            .collect();
        let server = self.server.trim_end_matches('/');
        let url = format!("{server}/v1/integrations/{}/links/bulk", self.integration);
        let answer = http
            .post(url)
            .bearer_auth(self.api_key.expose_secret())
            .json(&json!({ "items": items }))
            .send()
            .await
            .context("the server did not answer; run the command again to go on")?;
        let status = answer.status();
        if !status.is_success() {
            let problem: serde_json::Value = answer.json().await.unwrap_or_default();
            bail!("the server answered {status}: {}", problem["detail"].as_str().unwrap_or(""));
        }
        let outcomes: Outcomes = answer.json().await.context("the server's answer is not ours")?;
        Ok(outcomes.data)
    }
}

fn results_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".results.csv");
    PathBuf::from(name)
}

/// Items that an earlier run linked.
fn done(results: &Path) -> anyhow::Result<HashSet<String>> {
    if !results.exists() {
        return Ok(HashSet::new());
    }
    let mut done = HashSet::new();
    for outcome in csv::Reader::from_path(results)?.into_deserialize() {
        let outcome: Outcome =
            outcome.with_context(|| format!("{} is not a list of results", results.display()))?;
        if matches!(outcome.status, 200 | 201) {
            done.insert(outcome.item_id);
        }
    }
    Ok(done)
}
