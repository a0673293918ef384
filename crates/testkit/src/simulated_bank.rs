//! A bank in memory for simulations: a log of what happened, read through Plaid's cursor rules, with
//! every kind of trouble. It knows what a reader at any cursor must have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use model::Stream;
use plaid::{Bank, Error, Part, PlaidError, wire};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::chance::Chance;

/// A transaction as the bank has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The economic event behind it.
    pub(crate) event: usize,
    /// Plaid's id.
    pub(crate) id: String,
    /// The pending row it names as its own.
    pub(crate) pending_id: Option<String>,
    /// Whether it is pending.
    pub(crate) pending: bool,
    /// Amount in cents.
    pub(crate) cents: i64,
    /// Its text.
    pub(crate) name: String,
    /// The day of January 2026.
    pub(crate) day: usize,
}

/// One entry of the log.
#[derive(Debug, Clone)]
enum Entry {
    Added(Row),
    Modified(Row),
    Removed(String),
}

/// How likely trouble is, in hundredths of calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trouble {
    /// Errors that pass.
    pub(crate) passing: usize,
    /// Data that changes between pages.
    pub(crate) mutation: usize,
    /// A login that breaks.
    pub(crate) login: usize,
    /// An answer that is lost after the call.
    pub(crate) lost: usize,
}

impl Trouble {
    /// None at all.
    pub(crate) const NONE: Self = Self { passing: 0, mutation: 0, login: 0, lost: 0 };
}

#[derive(Debug)]
struct State {
    chance: Chance,
    trouble: Trouble,
    log: Vec<Entry>,
    /// Cursors of before this place are of no use any more.
    oldest: usize,
    /// How much of the history is delivered: 0 nothing, 1 a part, 2 all.
    stage: usize,
    /// Rows that come with the second stage.
    later: Vec<Row>,
    /// Posted rows whose pending twin is gone already.
    deferred: Vec<Row>,
    next: usize,
    page: usize,
    login_broken: bool,
    debts: BTreeMap<String, i64>,
    accounts: BTreeSet<String>,
}

/// The bank.
#[derive(Debug)]
pub(crate) struct SimulatedBank {
    item_id: String,
    state: Mutex<State>,
}

const ACCOUNT: &str = "account-1";

impl SimulatedBank {
    /// A bank with a short history, of which nothing is delivered yet.
    pub(crate) fn new(item_id: &str, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let page = 1 + chance.below(6);
        let state = State {
            trouble: Trouble::NONE,
            log: Vec::new(),
            oldest: 0,
            stage: 0,
            later: Vec::new(),
            deferred: Vec::new(),
            next: 0,
            page,
            login_broken: false,
            debts: BTreeMap::new(),
            accounts: BTreeSet::from([ACCOUNT.to_owned()]),
            chance,
        };
        let bank = Self { item_id: item_id.to_owned(), state: Mutex::new(state) };
        bank.with(|state| {
            for _ in 0..state.chance.below(12) {
                let row = state.new_row(false);
                state.later.push(row);
            }
        });
        bank
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("nobody panicked"))
    }

    /// How likely trouble is from now on; a broken login is repaired by none.
    pub(crate) fn set_trouble(&self, trouble: Trouble) {
        self.with(|state| state.trouble = trouble);
    }

    /// Whether the login is broken.
    pub(crate) fn login_is_broken(&self) -> bool {
        self.with(|state| state.login_broken)
    }

    /// The end user signs in again.
    pub(crate) fn repair(&self) {
        self.with(|state| state.login_broken = false);
    }

    /// Delivers the next stage of the history.
    pub(crate) fn deliver_history(&self) {
        self.with(|state| {
            if state.stage == 1 {
                for row in std::mem::take(&mut state.later) {
                    state.log.push(Entry::Added(row));
                }
            }
            state.stage = (state.stage + 1).min(2);
        });
    }

    /// Whether all history is delivered.
    pub(crate) fn is_complete(&self) -> bool {
        self.with(|state| state.stage == 2)
    }

    /// Something happens at the bank.
    pub(crate) fn happen(&self) {
        self.with(State::happen);
    }

    /// Cursors so far become useless, and removals among them are never told: only a full walk that
    /// reconciles finds them.
    pub(crate) fn expire_cursors(&self) {
        self.with(|state| state.oldest = state.log.len());
    }

    /// What a reader at a cursor must have, by Plaid's id. Nothing if the cursor is unknown.
    pub(crate) fn rows_at(&self, cursor: &str) -> Option<BTreeMap<String, Row>> {
        let place = if cursor.is_empty() { 0 } else { cursor.strip_prefix('c')?.parse().ok()? };
        Some(self.with(|state| state.rows_at(place)))
    }

    /// What a reader that is up to date must have.
    pub(crate) fn rows(&self) -> BTreeMap<String, Row> {
        self.with(|state| state.rows_at(state.log.len()))
    }

    /// The debts, by record id.
    pub(crate) fn debts(&self) -> BTreeMap<String, i64> {
        self.with(|state| state.debts.clone())
    }
}

impl State {
    fn rows_at(&self, place: usize) -> BTreeMap<String, Row> {
        let mut rows = BTreeMap::new();
        for entry in self.log.iter().take(place) {
            match entry {
                Entry::Added(row) | Entry::Modified(row) => {
                    rows.insert(row.id.clone(), row.clone());
                }
                Entry::Removed(id) => {
                    rows.remove(id);
                }
            }
        }
        rows
    }

    fn new_row(&mut self, pending: bool) -> Row {
        self.next += 1;
        Row {
            event: self.next,
            id: format!("t{}", self.next),
            pending_id: None,
            pending,
            cents: i64::try_from(self.chance.below(20_000)).unwrap_or(0) - 5_000,
            name: format!("Shop {}", self.chance.below(9)),
            day: 1 + self.chance.below(28),
        }
    }

    /// A new row, a posting in any order and with or without its link, a change, a removal.
    fn happen(&mut self) {
        if self.stage == 0 {
            return;
        }
        let rows: Vec<Row> = self.rows_at(self.log.len()).into_values().collect();
        let pending: Vec<&Row> = rows.iter().filter(|row| row.pending).collect();
        if self.chance.percent(40)
            && let Some(posted) = self.deferred.pop()
        {
            self.log.push(Entry::Added(posted));
            return;
        }
        match self.chance.below(10) {
            0..=2 => {
                let row = self.new_row(true);
                self.log.push(Entry::Added(row));
            }
            3 => {
                let row = self.new_row(false);
                self.log.push(Entry::Added(row));
            }
            4..=6 if !pending.is_empty() => {
                let before = pending[self.chance.below(pending.len())].clone();
                self.post(before);
            }
            7 if !rows.is_empty() => {
                let mut row = rows[self.chance.below(rows.len())].clone();
                row.cents += 1 + i64::try_from(self.chance.below(500)).unwrap_or(0);
                self.log.push(Entry::Modified(row));
            }
            8 if !rows.is_empty() => {
                let id = rows[self.chance.below(rows.len())].id.clone();
                self.log.push(Entry::Removed(id));
            }
            _ => {
                let debt = format!("debt-{}", self.chance.below(4));
                let amount = i64::try_from(self.chance.below(900)).unwrap_or(0);
                if self.chance.percent(30) {
                    self.debts.remove(&debt);
                } else {
                    self.debts.insert(debt, amount);
                }
            }
        }
    }

    fn post(&mut self, before: Row) {
        self.next += 1;
        let linked = !self.chance.percent(15);
        let posted = Row {
            // Without a link nobody can know that it is the same event.
            event: if linked { before.event } else { self.next },
            id: format!("t{}", self.next),
            pending_id: linked.then(|| before.id.clone()),
            pending: false,
            cents: before.cents + i64::try_from(self.chance.below(200)).unwrap_or(0),
            ..before.clone()
        };
        let removed = Entry::Removed(before.id);
        match self.chance.below(3) {
            0 => self.log.extend([removed, Entry::Added(posted)]),
            1 => self.log.extend([Entry::Added(posted), removed]),
            // The removal comes first, the posted row with a later update.
            _ => {
                self.log.push(removed);
                self.deferred.push(posted);
            }
        }
    }

    /// Trouble, if chance has it.
    fn trouble(&mut self) -> Option<Error> {
        if !self.login_broken && self.chance.percent(self.trouble.login) {
            self.login_broken = true;
        }
        if self.login_broken {
            return Some(plaid_error("ITEM_ERROR", "ITEM_LOGIN_REQUIRED", ""));
        }
        if self.chance.percent(self.trouble.passing) {
            return Some(self.chance.one_of(&PASSING)());
        }
        None
    }

    fn sync(&mut self, cursor: &str) -> Result<wire::SyncPage, Error> {
        if let Some(error) = self.trouble() {
            return Err(error);
        }
        if self.stage == 0 {
            return Ok(page(&[], String::new(), false, "NOT_READY"));
        }
        if self.chance.percent(self.trouble.mutation) {
            self.happen();
        }
        let no_use = || plaid_error("INVALID_REQUEST", "INVALID_FIELD", "cursor not associated");
        // `cN` rests at place N; `lN/M` is on its way from N to the log's length M; `fN/M` walks the
        // rows that were live at M.
        let (kind, rest) = cursor.split_at(cursor.len().min(1));
        let mut numbers = rest.split('/').map(|number| number.parse::<usize>().ok());
        let (first, end) = (numbers.next().flatten(), numbers.next().flatten());
        let length = self.log.len();
        let (kind, place, end) = match (kind, first, end) {
            ("", ..) => ("f", 0, length),
            ("c", Some(place), None) => ("l", place, length),
            (kind, Some(place), Some(end)) => (kind, place, end),
            _ => return Err(no_use()),
        };
        if end != length {
            return Err(plaid_error(
                "TRANSACTIONS_ERROR",
                "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION",
                "",
            ));
        }
        let entries: Vec<Entry> = match kind {
            "f" => self.rows_at(end).into_values().map(Entry::Added).collect(),
            _ if place < self.oldest && place < end => return Err(no_use()),
            _ => self.log.clone(),
        };
        let to = (place + self.page).min(entries.len());
        let slice = &entries[place.min(to)..to];
        let more = to < entries.len();
        let next = if more { format!("{kind}{to}/{end}") } else { format!("c{end}") };
        let status =
            if self.stage == 1 { "INITIAL_UPDATE_COMPLETE" } else { "HISTORICAL_UPDATE_COMPLETE" };
        let answer = page(slice, next, more, status);
        if self.chance.percent(self.trouble.lost) {
            return Err(Error::Resting { path: "/transactions/sync", failures: 1 });
        }
        Ok(answer)
    }
}

/// Errors that pass by themselves.
const PASSING: [fn() -> Error; 5] = [
    || plaid_error("RATE_LIMIT_EXCEEDED", "TRANSACTIONS_SYNC_LIMIT", ""),
    || plaid_error("API_ERROR", "INTERNAL_SERVER_ERROR", ""),
    || plaid_error("INSTITUTION_ERROR", "INSTITUTION_DOWN", ""),
    || plaid_error("A_NEW_TYPE", "A_NEW_CODE", ""),
    || Error::Resting { path: "/transactions/sync", failures: 20 },
];

fn plaid_error(error_type: &str, error_code: &str, message: &str) -> Error {
    Error::Plaid(PlaidError {
        status: 400,
        error_type: error_type.to_owned(),
        error_code: error_code.to_owned(),
        error_message: message.to_owned(),
        request_id: Some("simulated".to_owned()),
        retry_after: None,
    })
}

fn raw(value: &Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).expect("JSON")
}

fn page(entries: &[Entry], next: String, more: bool, status: &str) -> wire::SyncPage {
    let mut page = wire::SyncPage {
        transactions_update_status: Some(status.to_owned()),
        accounts: Vec::new(),
        added: Vec::new(),
        modified: Vec::new(),
        removed: Vec::new(),
        next_cursor: next,
        has_more: more,
        request_id: Some("simulated".to_owned()),
    };
    // Within a page Plaid has no order between its lists, so an id stands in one of them only: the
    // last word about it, as a page of real Plaid has it.
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, entry) in entries.iter().enumerate() {
        let (Entry::Added(Row { id, .. }) | Entry::Modified(Row { id, .. }) | Entry::Removed(id)) =
            entry;
        last.insert(id, place);
    }
    for (place, entry) in entries.iter().enumerate() {
        match entry {
            Entry::Added(row) if last[row.id.as_str()] == place => {
                page.added.push(raw(&wire_row(row)));
            }
            Entry::Modified(row) if last[row.id.as_str()] == place => {
                page.modified.push(raw(&wire_row(row)));
            }
            Entry::Removed(id) => {
                page.removed.push(raw(&json!({ "transaction_id": id, "account_id": ACCOUNT })));
            }
            Entry::Added(_) | Entry::Modified(_) => {}
        }
    }
    page
}

fn wire_row(row: &Row) -> Value {
    json!({
        "transaction_id": row.id, "account_id": ACCOUNT, "name": row.name,
        "amount": serde_json::from_str::<Value>(&decimal(row.cents)).expect("a number"),
        "iso_currency_code": "USD", "date": format!("2026-01-{:02}", row.day),
        "pending": row.pending, "pending_transaction_id": row.pending_id,
    })
}

/// Cents as a decimal.
pub(crate) fn decimal(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

impl Bank for SimulatedBank {
    async fn transactions_sync(&self, cursor: &str) -> Result<wire::SyncPage, Error> {
        tokio::task::yield_now().await;
        self.with(|state| state.sync(cursor))
    }

    async fn accounts_balance_get(
        &self,
        _oldest: Option<jiff::Timestamp>,
    ) -> Result<wire::Accounts, Error> {
        self.accounts_get().await
    }

    async fn accounts_get(&self) -> Result<wire::Accounts, Error> {
        tokio::task::yield_now().await;
        self.with(|state| match state.trouble() {
            Some(error) => Err(error),
            None => {
                let account = |id: &String| {
                    raw(&json!({
                        "account_id": id, "name": "Account", "mask": "0001", "type": "depository",
                        "balances": { "current": state.log.len(), "iso_currency_code": "USD" },
                    }))
                };
                let accounts = state.accounts.iter().map(account).collect();
                let item = json!({ "item_id": self.item_id });
                let item = serde_json::from_value(item).expect("an item");
                Ok(wire::Accounts { accounts, item, request_id: None })
            }
        })
    }

    async fn read(&self, stream: Stream, _: &Part) -> Result<Box<RawValue>, Error> {
        tokio::task::yield_now().await;
        if stream != Stream::Liabilities {
            return Err(plaid_error("ITEM_ERROR", "PRODUCTS_NOT_SUPPORTED", ""));
        }
        self.with(|state| match state.trouble() {
            Some(error) => Err(error),
            None => {
                let mut debts: Vec<Value> = state
                    .debts
                    .iter()
                    .map(|(id, amount)| json!({ "account_id": id, "last_payment_amount": amount }))
                    .collect();
                // Some banks tell of a thing twice.
                if state.chance.percent(20) {
                    debts.extend(debts.first().cloned());
                }
                Ok(raw(&json!({ "liabilities": { "credit": debts } })))
            }
        })
    }

    async fn remove(&self) -> Result<(), Error> {
        tokio::task::yield_now().await;
        Ok(())
    }
}
