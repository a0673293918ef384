//! The oracle: every promise about data as one function over the bank's ledger, the store, the feed,
//! files and call counts. Tests attack; this says what, if anything, broke.
//!
//! I1 rows are the ledger's; I2 no event lives twice; I3 the feed has no hole and replays to the rows;
//! I4 no cursor is ahead of its rows; I5 notes stay with their events; I6 no secret stands in a file;
//! I8 calls stay near their fault-free number. (I7, the audit log, does not exist yet.)

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use model::{Annotation, ChangeKind, Item, Page, Record, Stream};
use plaid::{AccessToken, Connector, Credentials, ItemBank, Owner, Plan, Stage, pull_update};
use secrecy::SecretString;
use serde_json::{Value, json};
use store::{ChangeFilter, ItemFilter, Store, TransactionFilter};

use crate::bank::{Bank, CLIENT_ID, SECRET};
use crate::surroundings::{ambient, http_client};
use crate::world::{facts, stored};

/// What the oracle looks at.
pub struct Evidence<'a> {
    /// The store.
    pub store: &'a Store,
    /// The bank.
    pub bank: &'a Bank,
    /// A folder whose files must hold no secret.
    pub folder: Option<&'a Path>,
    /// The secrets.
    pub canaries: &'a [String],
    /// Our id of annotated transactions and what was noted.
    pub notes: &'a BTreeMap<String, Annotation>,
    /// Calls made, and how many a run without faults makes.
    pub calls: Option<(usize, usize)>,
}

/// Calls may be this many hundredths of their fault-free number.
const CALLS_PERCENT: usize = 150;

impl<'a> Evidence<'a> {
    /// Store and bank; nothing else was attacked.
    pub fn of(store: &'a Store, bank: &'a Bank) -> Self {
        static NO_NOTES: BTreeMap<String, Annotation> = BTreeMap::new();
        Self { store, bank, folder: None, canaries: &[], notes: &NO_NOTES, calls: None }
    }

    /// Every promise that is broken, once all is quiet. None is the only good answer.
    pub async fn violations(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let (rows, ledger) = (stored(self.store).await, self.bank.ledger().await);
        if rows != ledger {
            let missing = ledger.keys().filter(|id| !rows.contains_key(*id)).count();
            let extra = rows.keys().filter(|id| !ledger.contains_key(*id)).count();
            broken.push(format!("I1: {missing} rows missing, {extra} too many, or others differ"));
        }
        let all = TransactionFilter::default();
        let live = self.store.transactions(&all, None, i64::MAX).await.expect("rows");
        if live.len() != ledger.len() {
            broken.push(format!("I2: {} live rows for {} events", live.len(), ledger.len()));
        }
        broken.extend(self.feed().await);
        broken.extend(cursors_ahead(self.store, self.bank).await);
        for (id, note) in self.notes {
            let Some(row) = self.store.transaction(id).await.expect("a store") else {
                broken.push(format!("I5: {id} is gone"));
                continue;
            };
            if row.removed && ledger.contains_key(&row.transaction_id) {
                broken.push(format!("I5: {id} goes on under another id"));
            }
            if row.annotation.as_ref() != Some(note) {
                broken.push(format!("I5: {id} has lost its note"));
            }
        }
        if let Some(folder) = self.folder {
            broken.extend(secrets_in(folder, self.canaries));
        }
        if let Some((made, usual)) = self.calls
            && made * 100 > usual * CALLS_PERCENT
        {
            broken.push(format!("I8: {made} calls where {usual} would do"));
        }
        broken
    }

    /// Numbering, and the replay of every stream.
    async fn feed(&self) -> Vec<String> {
        while self.store.number_changes().await.expect("numbers") > 0 {}
        let mut broken = Vec::new();
        let changes = self.store.changes(0, &ChangeFilter::default(), i64::MAX).await;
        let changes = changes.expect("changes");
        for (place, change) in (1_i64..).zip(&changes) {
            if change.seq != place {
                return vec![format!("I3: seq {} stands in place {place}", change.seq)];
            }
        }
        let items = self.store.items(&ItemFilter::default(), None, i64::MAX).await.expect("items");
        let mut numbers: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut replayed: BTreeMap<(Stream, String), Value> = BTreeMap::new();
        for change in changes {
            let record = serde_json::to_value(&change.record).expect("JSON");
            let item_id = record["item_id"].as_str().unwrap_or_default().to_owned();
            numbers.entry(item_id).or_default().push(change.item_seq);
            let key = (change.stream, key_of(change.stream, &record));
            match (change.kind, &change.record) {
                (ChangeKind::Removed, _) => {
                    replayed.remove(&key);
                }
                (_, Record::Transaction(row)) => {
                    let (id, facts) = (row.transaction_id.clone(), facts(row));
                    replayed.insert(key, json!([id, facts]));
                }
                _ => {
                    replayed.insert(key, record);
                }
            }
        }
        for item in &items {
            let told = numbers.remove(&item.item_id).unwrap_or_default();
            if !told.iter().copied().eq(1..=item.item_seq) {
                broken.push(format!("I3: item_seq of {} is {told:?}", item.item_id));
            }
        }
        broken.extend(self.replay_differs(&items, &replayed).await);
        broken
    }

    async fn replay_differs(
        &self,
        items: &[Item],
        replayed: &BTreeMap<(Stream, String), Value>,
    ) -> Option<String> {
        let mut current = BTreeMap::new();
        let all = TransactionFilter::default();
        for row in self.store.transactions(&all, None, i64::MAX).await.expect("rows") {
            let value = json!([row.transaction_id, facts(&row)]);
            current.insert((Stream::Transactions, row.id), value);
        }
        for item in items {
            for stream in Stream::all().filter(|stream| *stream != Stream::Transactions) {
                let rows = self.store.records_of_item(&item.key, stream, None, i64::MAX).await;
                for (_, record) in rows.expect("records") {
                    let record: Value = serde_json::from_str(record.as_str()).expect("JSON");
                    current.insert((stream, key_of(stream, &record)), record);
                }
            }
        }
        let differs = current.iter().find(|(key, value)| replayed.get(*key) != Some(*value));
        let extra = replayed.keys().find(|key| !current.contains_key(*key));
        match (differs, extra) {
            (Some((key, _)), _) => Some(format!("I3: the feed does not replay to {key:?}")),
            (None, Some(key)) => Some(format!("I3: the feed still has {key:?}")),
            (None, None) => None,
        }
    }
}

fn key_of(stream: Stream, record: &Value) -> String {
    let values: Vec<&str> =
        stream.declaration().key.iter().map(|name| record[*name].as_str().unwrap_or("")).collect();
    values.join("/")
}

/// Pulls what the bank has after each stored cursor and applies it to the stored rows by the
/// simplest means: the result must be the ledger. A cursor ahead of its rows would lose some.
pub async fn cursors_ahead(store: &Store, bank: &Bank) -> Option<String> {
    let mut rows = stored(store).await;
    let connector = Connector::new(http_client());
    for item in store.items(&ItemFilter::default(), None, i64::MAX).await.expect("items") {
        let Some(token) = store.access_token(&item.key).await.expect("a store") else { continue };
        if !item.status().is_live() {
            continue;
        }
        let credentials =
            Credentials { client_id: CLIENT_ID.to_owned(), secret: SecretString::from(SECRET) };
        let base_url = bank.url().parse().expect("a URL");
        let client = connector.client(model::Environment::Sandbox, base_url, credentials);
        let owner = Owner { item_id: item.item_id.clone(), end_user_id: item.end_user_id.clone() };
        let bank = ItemBank { client, token: AccessToken::stored(token) };
        let plan = Plan { owner: &owner, cursor: &item.cursor };
        let mut applied = Applied { rows: &mut rows };
        pull_update(&bank, plan, &ambient(), &mut applied).await.expect("an update");
    }
    let ledger = bank.ledger().await;
    (rows != ledger).then(|| {
        let missing = ledger.keys().filter(|id| !rows.contains_key(*id)).count();
        format!("I4: a cursor is ahead of its rows: {missing} can never arrive")
    })
}

struct Applied<'a> {
    rows: &'a mut BTreeMap<String, Value>,
}

impl Stage for Applied<'_> {
    type Error = Infallible;

    async fn stage(&mut self, _: u32, _: u32, page: Page) -> Result<(), Infallible> {
        for staged in page.added.iter().chain(&page.modified) {
            let row = &staged.record;
            self.rows.insert(row.transaction_id.clone(), facts(row));
            row.pending_transaction_id.as_ref().map(|id| self.rows.remove(id));
        }
        for gone in &page.removed {
            self.rows.remove(&gone.transaction_id);
        }
        Ok(())
    }
}

/// Which files of a folder hold which secret.
pub fn secrets_in(folder: &Path, canaries: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).expect("a folder") {
        let path = file.expect("a file").path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        for (number, canary) in canaries.iter().enumerate() {
            if bytes.windows(canary.len()).any(|window| window == canary.as_bytes()) {
                found.push(format!("I6: {} holds canary {number}", path.display()));
            }
        }
    }
    found
}
