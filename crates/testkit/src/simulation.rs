//! Simulates one Item's life from a seed: the real sync core and the real store, a bank in memory, a
//! clock that jumps, writes that fail, crashes and rival workers. After every step the rows must be
//! exactly those of the stored cursor; at the end everything must agree. The same seed does the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use model::{
    Ambient, Annotation, ChangeKind, Clock, Entropy, Environment, IntegrationId, Item, ItemEvent,
    ItemKey, ItemStatus, Record, Stream, Transaction,
};
use pipeline::{Ended, Rules, step};
use secrecy::SecretString;
use store::{
    ChangeFilter, Database, Lease, LinkOutcome, NewIntegration, NewLink, Store, TransactionFilter,
    WorkKind,
};
use tempfile::TempDir;

use crate::chance::Chance;
use crate::faulty_memory::FaultyMemory;
use crate::simulated_bank::{Row, SimulatedBank, Trouble, decimal};
use crate::world::master_key;

/// Steps of one life.
const STEPS: usize = 24;
/// Looks until everything must be quiet at the end.
const LAST_LOOKS: usize = 60;
pub(crate) const LEASE: SignedDuration = SignedDuration::from_secs(15);
const STREAMS: [Stream; 5] = [
    Stream::Accounts,
    Stream::Balances,
    Stream::Transactions,
    Stream::Liabilities,
    Stream::Holdings,
];

/// Milliseconds since 1970.
struct SimulatedClock(AtomicI64);

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).expect("a time")
    }
}

struct SimulatedEntropy(Mutex<Chance>);

impl Entropy for SimulatedEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().expect("nobody panicked").fill(buffer);
    }
}

/// A store in which lives are simulated one after another.
pub struct Simulation {
    store: Store,
    clock: Arc<SimulatedClock>,
    entropy: Arc<SimulatedEntropy>,
    integration: IntegrationId,
    _folder: TempDir,
}

/// What a life was like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Life {
    /// What happened, in order: two runs of a seed have the same.
    pub story: Vec<String>,
    /// Syncs that reached the cursor.
    pub syncs: usize,
    /// Syncs that failed.
    pub failures: usize,
    /// Workers that crashed.
    pub crashes: usize,
    /// Workers that came too late.
    pub rivals: usize,
}

const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// When every simulated life begins.
const BEGINNING: i64 = 1_767_225_600_000;

impl Simulation {
    /// An empty store, in memory where the machine has a place for that.
    pub async fn open() -> Self {
        let memory = std::path::Path::new("/dev/shm");
        let folder = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let folder = folder.expect("a folder");
        let clock = Arc::new(SimulatedClock(AtomicI64::new(BEGINNING)));
        let entropy = Arc::new(SimulatedEntropy(Mutex::new(Chance::new(0))));
        let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::clone(&entropy) as _);
        let path = folder.path().join("selvedge.db");
        let database = Database::Sqlite { path, exclusive: true };
        let store = Store::open(&database, master_key(), ambient).await.expect("a store");
        let integration = store
            .create_integration(NewIntegration {
                name: "Simulated".to_owned(),
                environment: Environment::Sandbox,
                base_url: Environment::Sandbox.base_url(),
                client_id: "client".to_owned(),
                secret: SecretString::from("secret"),
                streams: STREAMS.to_vec(),
                is_source: false,
                start_date: None,
            })
            .await
            .expect("an integration");
        Self { store, clock, entropy, integration: integration.id, _folder: folder }
    }

    /// Lives one life. The error says what was violated.
    pub async fn live(&self, seed: u64) -> Result<Life, String> {
        self.clock.0.store(BEGINNING, Ordering::SeqCst);
        *self.entropy.0.lock().expect("nobody panicked") = Chance::new(seed);
        let item_id = format!("item-{seed}");
        let key = self.link(&item_id, seed).await;
        let mut run = Run {
            simulation: self,
            bank: SimulatedBank::new(&item_id, seed),
            chance: Chance::new(seed ^ 0x0dd_ba11),
            key,
            notes: BTreeMap::new(),
            ids: BTreeMap::new(),
            life: Life::default(),
        };
        let lived = run.live().await;
        lived.map(|()| run.life).map_err(|violation| format!("seed {seed}: {violation}"))
    }
}

/// What other simulations do with the same store.
impl Simulation {
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) async fn link(&self, item_id: &str, seed: u64) -> ItemKey {
        let token = SecretString::from("access-sandbox-simulated");
        let end_user_id = format!("{item_id} of {seed}");
        let new = NewLink::new(self.integration.clone(), item_id, token, &end_user_id);
        match self.store.link(new).await.expect("a store") {
            LinkOutcome::Created(key) => key,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn set_millis(&self, millis: i64) {
        self.clock.0.store(BEGINNING + millis, Ordering::SeqCst);
    }

    pub(crate) async fn poke(&self, key: &ItemKey) {
        self.store.poke(WorkKind::Sync, key.as_str(), false).await.expect("a store");
    }

    pub(crate) async fn claim(&self, most_attempts: i64) -> Option<Lease> {
        let claim = self.store.claim(WorkKind::Sync, most_attempts, "simulated", LEASE * 20);
        claim.await.expect("a store")
    }

    pub(crate) async fn item(&self, key: &str) -> Item {
        self.store.item(key).await.expect("a store").expect("an item")
    }

    /// Does away with all work that is asked for.
    pub(crate) async fn forget_work(&self) {
        while let Some(lease) = self.claim(i64::MAX).await {
            self.store.finish(&lease, Timestamp::MAX).await.expect("a store");
        }
    }

    pub(crate) fn rules() -> Rules {
        Run::rules()
    }
}

/// One life on its way.
struct Run<'a> {
    simulation: &'a Simulation,
    bank: SimulatedBank,
    chance: Chance,
    key: ItemKey,
    /// Our id and the note of each economic event that was annotated.
    notes: BTreeMap<usize, (String, Annotation)>,
    /// Our id of every economic event that was ever seen.
    ids: BTreeMap<usize, String>,
    life: Life,
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Run<'_> {
    async fn live(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.bank.set_trouble(Trouble { passing: 8, mutation: 12, login: 2, lost: 6 });
            self.something().await?;
            self.rows_are_those_of_the_cursor().await?;
        }
        self.come_to_rest().await?;
        self.everything_agrees().await?;
        self.end().await
    }

    fn tell(&mut self, what: impl Into<String>) {
        self.life.story.push(what.into());
    }

    fn store(&self) -> &Store {
        &self.simulation.store
    }

    async fn item(&self) -> Result<Item, String> {
        let item = self.store().item(self.key.as_str()).await.map_err(said)?;
        item.ok_or_else(|| "the item is gone".to_owned())
    }

    async fn something(&mut self) -> Result<(), String> {
        match self.chance.below(20) {
            0..=5 => {
                for _ in 0..=self.chance.below(4) {
                    self.bank.happen();
                }
                self.store().poke(WorkKind::Sync, self.key.as_str(), false).await.map_err(said)?;
                self.tell("news");
            }
            6 => {
                self.bank.deliver_history();
                self.tell("history");
            }
            7 if self.bank.is_complete() => {
                self.bank.expire_cursors();
                self.tell("cursors expire");
            }
            8 => {
                self.store().rewalk(&self.key).await.map_err(said)?;
                self.tell("a person asks for everything again");
            }
            9 => self.webhook().await?,
            10 | 11 => self.annotate().await?,
            12 => {
                // Clocks jump: minutes, an hour back, a day ahead.
                let jump = self.chance.one_of(&[300, -300, -3_600, 86_400, 16]);
                self.simulation.clock.0.fetch_add(jump * 1_000, Ordering::SeqCst);
                self.tell(format!("the clock jumps by {jump}"));
            }
            13 if self.bank.login_is_broken() => {
                self.bank.repair();
                let event = ItemEvent::LoginRepaired;
                self.store().item_happens(&self.key, event).await.map_err(said)?;
                self.tell("repaired");
            }
            14 | 15 => self.crash().await?,
            16 => self.rivals().await?,
            _ => self.sync(3).await?,
        }
        Ok(())
    }

    async fn webhook(&mut self) -> Result<(), String> {
        let event = match self.chance.below(3) {
            0 => ItemEvent::NewAccounts,
            1 => ItemEvent::Updated,
            _ => ItemEvent::LoginRepaired,
        };
        let status = self.store().item_happens(&self.key, event.clone()).await.map_err(said)?;
        self.tell(format!("{event:?} makes it {}", status.as_str()));
        Ok(())
    }

    async fn annotate(&mut self) -> Result<(), String> {
        let rows = self.rows().await?;
        if rows.is_empty() {
            return Ok(());
        }
        let place = self.chance.below(rows.len());
        let row = rows.values().nth(place).expect("a row");
        let cursor = self.item().await?.cursor;
        let at_cursor = self.bank.rows_at(&cursor).unwrap_or_default();
        let Some(known) = at_cursor.get(&row.transaction_id) else { return Ok(()) };
        let note = Annotation {
            note: Some(format!("note {}", self.chance.below(1_000))),
            ..Annotation::default()
        };
        let word = note.clone();
        self.store().annotate(&row.id, move |_| (word, None)).await.map_err(said)?;
        self.tell(format!("note on event {}", known.event));
        self.notes.insert(known.event, (row.id.clone(), note));
        Ok(())
    }

    async fn claim(&mut self) -> Result<Option<Lease>, String> {
        // Whatever the back-off, time passes until the work is due.
        let next = self.store().next_due(WorkKind::Sync, i64::MAX).await.map_err(said)?;
        if let Some(next) = next.filter(|next| *next < Timestamp::MAX) {
            let now = self.simulation.clock.0.load(Ordering::SeqCst);
            self.simulation.clock.0.store(now.max(next.as_millisecond() + 1), Ordering::SeqCst);
        }
        let claimed = self.store().claim(WorkKind::Sync, i64::MAX, "simulated", LEASE).await;
        claimed.map_err(said)
    }

    fn rules() -> Rules {
        Rules {
            streams: STREAMS.to_vec(),
            environment: Environment::Sandbox,
            poll_every: SignedDuration::from_hours(1),
            polled_items: 1,
            oldest_balance: None,
        }
    }

    fn note_end(&mut self, ended: &Ended) {
        match ended {
            Ended::Synced(applied) => {
                self.life.syncs += 1;
                self.tell(format!("synced {applied:?}"));
            }
            Ended::Failed(failure) => {
                self.life.failures += 1;
                self.tell(format!("failed: {failure}"));
            }
            Ended::Removed | Ended::Idle => self.tell(format!("{ended:?}")),
        }
    }

    /// One worker does what is due; its writes fail now and then.
    async fn sync(&mut self, failing: usize) -> Result<(), String> {
        let Some(lease) = self.claim().await? else { return Ok(()) };
        let item = self.item().await?;
        let seed = u64::try_from(self.chance.below(1 << 30)).unwrap_or(0);
        let simulation = self.simulation;
        let memory = FaultyMemory::new(&simulation.store, seed, failing);
        let ended = step(&memory, Some(&self.bank), &item, &lease, &Self::rules()).await;
        self.note_end(&ended);
        Ok(())
    }

    /// A worker crashes in the middle; the process starts anew.
    async fn crash(&mut self) -> Result<(), String> {
        let Some(lease) = self.claim().await? else { return Ok(()) };
        let item = self.item().await?;
        let halts = self.chance.below(5);
        let simulation = self.simulation;
        let memory = FaultyMemory::new(&simulation.store, 0, 0);
        memory.halt_after(halts);
        let rules = Self::rules();
        let finished = tokio::select! {
            biased;
            ended = step(&memory, Some(&self.bank), &item, &lease, &rules) => Some(ended),
            () = memory.halted() => None,
        };
        match finished {
            Some(ended) => self.note_end(&ended),
            None => {
                self.life.crashes += 1;
                self.tell("crash");
            }
        }
        self.store().clear_leases().await.map_err(said)
    }

    /// A worker stalls until its lease is over, another one does the work, then the first wakes.
    async fn rivals(&mut self) -> Result<(), String> {
        let Some(lease) = self.claim().await? else { return Ok(()) };
        let item = self.item().await?;
        let halts = self.chance.below(4);
        let simulation = self.simulation;
        let memory = FaultyMemory::new(&simulation.store, 0, 0);
        memory.halt_after(halts);
        let rules = Self::rules();
        let late = {
            let slow = step(&memory, Some(&self.bank), &item, &lease, &rules);
            tokio::pin!(slow);
            let finished = tokio::select! {
                biased;
                ended = &mut slow => Some(ended),
                () = memory.halted() => None,
            };
            match finished {
                Some(ended) => ended,
                None => {
                    simulation.clock.0.fetch_add(LEASE.as_secs() * 1_000 + 1, Ordering::SeqCst);
                    let claim = simulation.store.claim(WorkKind::Sync, i64::MAX, "rival", LEASE);
                    if let Some(second) = claim.await.map_err(said)? {
                        let fresh = simulation.store.item(self.key.as_str()).await.map_err(said)?;
                        let fresh = fresh.ok_or("the item is gone")?;
                        let store = &simulation.store;
                        step(store, Some(&self.bank), &fresh, &second, &rules).await;
                    }
                    memory.resume();
                    let ended = slow.await;
                    if matches!(ended, Ended::Synced(_)) {
                        return Err("a worker without its lease could commit".to_owned());
                    }
                    ended
                }
            }
        };
        self.life.rivals += 1;
        self.note_end(&late);
        Ok(())
    }

    async fn rows(&self) -> Result<BTreeMap<String, Transaction>, String> {
        let item = self.item().await?;
        let filter =
            TransactionFilter { end_user: Some(item.end_user_key), ..TransactionFilter::default() };
        let rows = self.store().transactions(&filter, None, i64::MAX).await.map_err(said)?;
        let count = rows.len();
        let by_id: BTreeMap<_, _> =
            rows.into_iter().map(|row| (row.transaction_id.clone(), row)).collect();
        if by_id.len() == count { Ok(by_id) } else { Err("a row lives twice".to_owned()) }
    }

    /// No cursor is ahead of its rows, nor behind them, and an event keeps its id for ever.
    async fn rows_are_those_of_the_cursor(&mut self) -> Result<(), String> {
        let cursor = self.item().await?.cursor;
        let expected = self.bank.rows_at(&cursor).ok_or("a cursor the bank never gave")?;
        let rows = self.rows().await?;
        same(&expected, &rows).map_err(|why| format!("at cursor {cursor}: {why}"))?;
        for (plaid_id, known) in &expected {
            let id = &rows[plaid_id].id;
            let first = self.ids.entry(known.event).or_insert_with(|| id.clone());
            if first != id {
                return Err(format!("event {} was {first} and is {id}", known.event));
            }
        }
        Ok(())
    }

    /// All trouble ends; the Item must reach the bank's state by itself.
    async fn come_to_rest(&mut self) -> Result<(), String> {
        self.bank.set_trouble(Trouble::NONE);
        if self.bank.login_is_broken() {
            self.bank.repair();
        }
        while !self.bank.is_complete() {
            self.bank.deliver_history();
        }
        // Late enough for every stream that is read daily.
        self.simulation.clock.0.fetch_add(2 * DAY_MS, Ordering::SeqCst);
        let rest_began = self.simulation.clock.now();
        for _ in 0..LAST_LOOKS {
            self.sync(0).await?;
            let item = self.item().await?;
            let states = self.store().stream_states(&self.key).await.map_err(said)?;
            let debts = states.iter().find(|state| state.stream == Stream::Liabilities);
            if debts.and_then(|state| state.last_success_at) < Some(rest_began) {
                continue;
            }
            let quiet = item.status() == ItemStatus::Healthy
                || item.status() == ItemStatus::NewAccountsAvailable;
            if quiet && !item.rewalk && self.bank.rows_at(&item.cursor) == Some(self.bank.rows()) {
                return Ok(());
            }
        }
        let item = self.item().await?;
        Err(format!("it does not come to rest: {:?} {:?}", item.status(), item.status_detail))
    }

    async fn everything_agrees(&mut self) -> Result<(), String> {
        let (rows, expected) = (self.rows().await?, self.bank.rows());
        same(&expected, &rows)?;
        for (event, (id, note)) in &self.notes {
            let Some(known) = expected.values().find(|row| row.event == *event) else { continue };
            let row = &rows[&known.id];
            if row.id != *id || row.annotation.as_ref() != Some(note) {
                return Err(format!("event {event} has lost its note or its id: {row:?}"));
            }
        }
        self.feed_agrees(&rows).await
    }

    async fn feed_agrees(&self, rows: &BTreeMap<String, Transaction>) -> Result<(), String> {
        while self.store().number_changes().await.map_err(said)? > 0 {}
        let item = self.item().await?;
        let filter =
            ChangeFilter { end_user: Some(item.end_user_key.clone()), ..ChangeFilter::default() };
        let changes = self.store().changes(0, &filter, i64::MAX).await.map_err(said)?;
        let numbers: Vec<i64> = changes.iter().map(|change| change.item_seq).collect();
        let whole: Vec<i64> = (1..=item.item_seq).collect();
        if numbers != whole {
            return Err(format!("the feed has holes or repeats: {numbers:?}"));
        }
        let mut by_id = BTreeMap::new();
        let mut debts = BTreeMap::new();
        for change in changes {
            match (change.kind, change.record) {
                (kind, Record::Transaction(row)) => {
                    let was_known = by_id.insert(row.id.clone(), *row).is_some();
                    if was_known == (kind == ChangeKind::Added) {
                        return Err("added twice, or modified before it was added".to_owned());
                    }
                }
                (_, Record::Tombstone(gone)) => match gone.id {
                    Some(id) => {
                        by_id.remove(&id).ok_or("removed before it was added")?;
                    }
                    None => {
                        debts.remove(&gone.account_id.unwrap_or_default());
                    }
                },
                (_, Record::Other(record)) => {
                    let record: serde_json::Value =
                        serde_json::from_str(record.as_str()).map_err(said)?;
                    let id = record["account_id"].as_str().unwrap_or_default().to_owned();
                    let amount = record["last_payment_amount"].as_str().unwrap_or("").parse();
                    debts.insert(id, amount.unwrap_or(i64::MIN));
                }
                _ => {}
            }
        }
        let by_plaid: BTreeMap<String, Transaction> =
            by_id.into_values().map(|row| (row.transaction_id.clone(), row)).collect();
        if by_plaid != *rows {
            return Err("the feed does not replay to the rows".to_owned());
        }
        if debts != self.bank.debts() {
            return Err(format!("the debts differ: {debts:?}"));
        }
        Ok(())
    }

    /// The Item is removed with its data: nothing of it stays alive.
    async fn end(&mut self) -> Result<(), String> {
        self.store().begin_removal(&self.key, true).await.map_err(said)?;
        self.sync(0).await?;
        let item = self.item().await?;
        if item.status() != ItemStatus::Removed || !self.rows().await?.is_empty() {
            return Err(format!("it was not removed: {:?}", item.status()));
        }
        Ok(())
    }
}

/// Whether the store's rows say what the bank's do.
fn same(
    expected: &BTreeMap<String, Row>,
    rows: &BTreeMap<String, Transaction>,
) -> Result<(), String> {
    let ids = |map: &BTreeMap<String, Row>| map.keys().cloned().collect::<Vec<_>>();
    if !rows.keys().eq(expected.keys()) {
        let stored: Vec<&String> = rows.keys().collect();
        return Err(format!("rows {stored:?}, expected {:?}", ids(expected)));
    }
    for (id, row) in expected {
        let stored = &rows[id];
        let agrees = stored.amount == decimal(row.cents)
            && stored.pending == row.pending
            && stored.pending_transaction_id == row.pending_id
            && stored.name == row.name
            && stored.date.day() == i8::try_from(row.day).unwrap_or(0);
        if !agrees {
            return Err(format!("{id} is {stored:?}, expected {row:?}"));
        }
    }
    Ok(())
}
