//! Compares source and destination of a stream: how many rows, and a sum that any other row, missing,
//! added or different in one digit, would change.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use destinations::{Destination, Row, Table, canonical};
use model::{EndUserId, SyncMode};
use store::{Extract, Integration, Place, Store};

use super::plan::StreamPlan;
use super::run::Failure;

/// Records read from the store at once.
const PAGE_ROWS: i64 = 2_000;
/// Tables that are named where they differ.
const NAMED: usize = 5;

/// What a table holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    rows: u64,
    sum: u128,
}

/// What came of comparing one stream.
pub(crate) enum Compared {
    Equal,
    Differs,
    /// It cannot be compared.
    Not,
}

/// Compares one stream; also in words.
pub(crate) async fn verify(
    store: &Store,
    integration: &Integration,
    plan: &StreamPlan,
    since: Option<jiff::civil::Date>,
    destination: &mut dyn Destination,
) -> Result<(Compared, String), Failure> {
    let is_current = matches!(
        plan.choice.mode,
        SyncMode::FullRefreshOverwrite | SyncMode::IncrementalDeduplicated
    );
    if !is_current {
        return Ok((Compared::Not, "not compared: rows are only appended".to_owned()));
    }
    let here = source_totals(store, integration, plan, since).await?;
    let mut there = BTreeMap::new();
    for table in &plan.load.tables {
        let mut totals = Totals::default();
        let each = &mut |row: Row| totals.add(plan, table, &row);
        if !destination.scan(table, each).await? {
            return Ok((
                Compared::Not,
                "not compared: this destination cannot be read back".to_owned(),
            ));
        }
        if totals != Totals::default() {
            there.insert(table.to_string(), totals);
        }
    }
    let rows =
        |side: &BTreeMap<String, Totals>| side.values().map(|totals| totals.rows).sum::<u64>();
    if here == there {
        return Ok((Compared::Equal, format!("{} rows, checksums equal", rows(&here))));
    }
    let names = here.keys().chain(there.keys());
    let mut differing: Vec<&String> =
        names.filter(|name| here.get(*name) != there.get(*name)).collect();
    differing.sort();
    differing.dedup();
    let named =
        differing.iter().take(NAMED).map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    Ok((
        Compared::Differs,
        format!("{} rows here, {} rows there; differing: {named}", rows(&here), rows(&there)),
    ))
}

async fn source_totals(
    store: &Store,
    integration: &Integration,
    plan: &StreamPlan,
    since: Option<jiff::civil::Date>,
) -> Result<BTreeMap<String, Totals>, Failure> {
    let mut totals: BTreeMap<String, Totals> = BTreeMap::new();
    for key in store.end_user_ids(&integration.id).await?.into_keys() {
        let end_user: EndUserId = key.parse().map_err(|_| Failure::corrupt("an end user"))?;
        let what = Extract {
            integration: &integration.id,
            end_user: &end_user,
            stream: plan.choice.stream,
            since,
            with_raw: plan.needs_raw(),
        };
        let mut after = Place::default();
        loop {
            let page = store.extract(&what, &after, PAGE_ROWS).await?;
            let Some(last) = page.last() else { break };
            after = last.place.clone();
            for record in &page {
                if let Some(placed) = plan.place(record, "") {
                    let of = totals.entry(placed.table.to_string()).or_default();
                    of.add(plan, &placed.table, &placed.row);
                }
            }
        }
    }
    Ok(totals)
}

impl Totals {
    fn add(&mut self, plan: &StreamPlan, table: &Table, row: &Row) {
        let mut text = String::new();
        for place in plan.compared() {
            // An empty text and nothing are the same to files of text.
            if let Some(cell) = row[place].as_deref().filter(|cell| !cell.is_empty()) {
                text.push_str(&canonical(table.columns[place].kind, cell));
            }
            text.push('\u{1f}');
        }
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        let mut half = [0; 16];
        half.copy_from_slice(&hash.as_ref()[..16]);
        self.rows += 1;
        self.sum = self.sum.wrapping_add(u128::from_le_bytes(half));
    }
}
