//! `selvedge reprocess`: what would transactions mean by this build's tables, and have them say it. Works
//! on the database of a running server, whose workers do it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use model::Enrichment;
use pipeline::judge_end_user;
use serde_json::{Value, json};

use crate::settings::DataSettings;
use crate::surroundings;

/// Have all transactions processed anew, or see what that would change.
#[derive(Args)]
#[command(after_help = "Example: selvedge reprocess --dry-run

For after an upgrade that brings new tables. What a person decided stands. A running server begins within
half a minute; without one it is done at the next start.")]
pub(crate) struct Reprocess {
    /// Only tell what would change, as JSON.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    data: DataSettings,
}

/// Ways from one meaning to another that are told, the most frequent first.
const SHOWN: usize = 50;
/// End users read in one go.
const PAGE: i64 = 500;

impl Reprocess {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let store = self.data.open_existing(surroundings::ambient()).await?;
        if !self.dry_run {
            store.want_processing(None).await?;
            println!("{}", json!({ "reprocess": "asked for" }));
            return Ok(ExitCode::SUCCESS);
        }
        let mut ways: BTreeMap<(String, String), usize> = BTreeMap::new();
        let (mut rows, mut others) = (0_usize, 0_usize);
        let mut after: Option<String> = None;
        loop {
            let page = store.end_users(None, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.to_string());
            for end_user in page {
                let changed = judge_end_user(&store, &end_user.id).await?;
                rows += changed.rows.len();
                for (row, before) in changed.rows.iter().zip(&changed.before) {
                    let way = (meaning(before.as_ref()), meaning(row.record.enrichment.as_ref()));
                    if way.0 == way.1 {
                        others += 1;
                    } else {
                        *ways.entry(way).or_default() += 1;
                    }
                }
            }
        }
        let mut ways: Vec<_> = ways.into_iter().collect();
        ways.sort_by(|(a, one), (b, other)| (other, a).cmp(&(one, b)));
        let ways: Vec<Value> = ways
            .into_iter()
            .take(SHOWN)
            .map(|((from, to), count)| json!({ "from": from, "to": to, "transactions": count }))
            .collect();
        let told = json!({
            "tables": enrich::tables_version(), "would_change": rows, "categories": ways,
            "only_in_other_fields": others,
        });
        println!("{told:#}");
        Ok(ExitCode::SUCCESS)
    }
}

fn meaning(enrichment: Option<&Enrichment>) -> String {
    enrichment.and_then(|it| it.category.name()).unwrap_or("nothing").to_owned()
}
