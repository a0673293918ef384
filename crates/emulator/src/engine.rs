//! The world with everything around it: its journal, its clock, what was called and sent.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::book::{Book, Stage};
use crate::draw;
use crate::error::PlaidError;
use crate::fault::{Active, Case, Fault, FaultKind, Faults};
use crate::item::{Item, day};
use crate::journal::Journal;
use crate::limits::Limits;
use crate::reports::{ContractReport, Transcript};
use crate::server::{Options, StartError};
use crate::webhook::{Deliveries, Signer};
use crate::world::{Command, Notice, Outcome, World};

/// Calls kept for `GET /_emulator/calls`.
const LOG_LIMIT: usize = 10_000;

/// A call as noted for tests.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Call {
    at: Timestamp,
    path: String,
    status: u16,
    request_id: String,
    error_code: Option<String>,
    /// The fault that struck it.
    fault: Option<FaultKind>,
}

struct Inner {
    world: World,
    journal: Option<Journal>,
    requests: u64,
    calls: VecDeque<Call>,
    limits: Limits,
    faults: Faults,
    settled: Option<jiff::civil::Date>,
}

/// The world with everything around it.
pub(crate) struct Engine {
    inner: Mutex<Inner>,
    pub(crate) signer: Signer,
    pub(crate) deliveries: Mutex<Deliveries>,
    /// Told of each webhook that was tried.
    pub(crate) tried: Notify,
    pub(crate) contract: Option<ContractReport>,
    pub(crate) transcript: Option<Transcript>,
    pub(crate) options: Options,
    /// Where it is reached.
    pub(crate) url: String,
}

impl Engine {
    pub(crate) fn open(options: Options, url: String) -> Result<Self, StartError> {
        let bad = |folder: &PathBuf| {
            let folder = folder.clone();
            move |source| StartError::Data { folder, source }
        };
        let (journal, mut world) = match &options.data {
            Some(folder) => {
                let (journal, world) = Journal::open(folder, options.seed).map_err(bad(folder))?;
                (Some(journal), world)
            }
            None => (None, World::new(options.seed)),
        };
        world.keep_books(options.books_mib);
        let signer = Signer::open(options.data.as_deref(), (options.now)().as_second())?;
        let contract = options.contract_report.as_ref();
        let contract = contract.map(|f| ContractReport::open(f).map_err(bad(f))).transpose()?;
        let transcript = options.record.as_ref();
        let transcript = transcript.map(|f| Transcript::open(f).map_err(bad(f))).transpose()?;
        let engine = Self {
            inner: Mutex::new(Inner {
                world,
                journal,
                requests: 0,
                calls: VecDeque::new(),
                limits: Limits::default(),
                faults: Faults::default(),
                settled: None,
            }),
            signer,
            deliveries: Mutex::default(),
            tried: Notify::new(),
            contract,
            transcript,
            options,
            url,
        };
        Ok(engine)
    }

    /// Stops the clock where the options say, and goes on loading what was being loaded.
    pub(crate) fn begin(self: &Arc<Self>) {
        let (empty, logins_end) = self.read(|world| (world.items.is_empty(), world.logins_end));
        if logins_end != self.options.expire_logins {
            let _set = self.run(&Command::EndLogins { end: self.options.expire_logins });
        }
        // A world with a past keeps its own time.
        if let Some(at) = self.options.freeze.filter(|_| empty) {
            let _frozen = self.run(&Command::Freeze { at });
        }
        let unfinished: Vec<u64> = self
            .read(|world| world.items.keys().filter_map(|number| world.loading(*number)).collect());
        for item in unfinished {
            self.load_history(item);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Real time.
    pub(crate) fn real(&self) -> Timestamp {
        (self.options.now)()
    }

    /// This world's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.lock().world.clock.now(self.real())
    }

    /// Reads the world.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&World) -> T) -> T {
        read(&self.lock().world)
    }

    /// Reads an Item and its book as of now.
    pub(crate) fn item<T>(
        self: &Arc<Self>,
        number: u64,
        read: impl FnOnce(&Item, &Book) -> T,
    ) -> T {
        let (notices, value) = {
            let mut inner = self.lock();
            let at = inner.world.clock.now(self.real());
            let notices = inner.world.pass(at, number);
            let (item, book) = inner.world.open(number);
            (notices, read(item, book))
        };
        self.send_all(notices);
        value
    }

    /// Carries out a command, notes it and does what follows from it.
    pub(crate) fn run(self: &Arc<Self>, command: &Command) -> Result<Outcome, PlaidError> {
        let mut outcome = {
            let mut inner = self.lock();
            let at = inner.world.clock.now(self.real());
            let outcome = inner.world.apply(at, command)?;
            if let Some(Err(error)) = inner.journal.as_mut().map(|j| j.note(at, command)) {
                tracing::error!(%error, "the emulator's journal could not be written");
                return Err(PlaidError::internal("the emulator's journal could not be written"));
            }
            outcome
        };
        self.send_all(std::mem::take(&mut outcome.notices));
        if let Some(item) = outcome.load {
            self.load_history(item);
        }
        Ok(outcome)
    }

    fn send_all(self: &Arc<Self>, notices: Vec<Notice>) {
        for notice in notices {
            crate::webhook::send(self, notice);
        }
    }

    /// Loads the history of an Item in its two stages, at once or after the configured delays.
    pub(crate) fn load_history(self: &Arc<Self>, item: u64) {
        let stages = [
            (self.options.initial_delay, Stage::Initial),
            (self.options.history_delay, Stage::Historical),
        ];
        if stages.iter().all(|(delay, _)| delay.is_zero()) {
            for (_, stage) in stages {
                let _loaded = self.run(&Command::Load { item, stage });
            }
            return;
        }
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            for (delay, stage) in stages {
                tokio::time::sleep(delay).await;
                let _loaded = engine.run(&Command::Load { item, stage });
            }
        });
    }

    /// Lets a new day happen before it is asked about.
    pub(crate) fn settle_today(self: &Arc<Self>) {
        {
            let mut inner = self.lock();
            let today = day(inner.world.clock.now(self.real()));
            if inner.settled.replace(today) == Some(today) {
                return;
            }
        }
        let _settled = self.run(&Command::Advance { seconds: 0 });
    }

    /// The fault that strikes this case, if one does.
    pub(crate) fn strike(
        &self,
        kinds: impl Fn(FaultKind) -> bool,
        case: Case<'_>,
    ) -> Option<Fault> {
        self.lock().faults.strike(kinds, case)
    }

    /// Asks for a fault. Faults last as long as the process.
    pub(crate) fn add_fault(&self, fault: Fault) {
        self.lock().faults.add(fault);
    }

    pub(crate) fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    pub(crate) fn faults(&self) -> Vec<Active> {
        self.lock().faults.list()
    }

    /// Counts a call against Plaid's limits, if they are switched on.
    pub(crate) fn count(&self, path: &str, item: Option<u64>) -> Result<(), PlaidError> {
        if !self.options.rate_limits {
            return Ok(());
        }
        let real = self.real();
        self.lock().limits.count(path, item, real)
    }

    pub(crate) fn next_request_id(&self) -> String {
        let mut inner = self.lock();
        inner.requests += 1;
        draw::request_id(inner.world.seed, inner.requests)
    }

    pub(crate) fn note_call(
        &self,
        path: &str,
        request_id: &str,
        (status, error_code): (u16, Option<String>),
        fault: Option<FaultKind>,
    ) {
        let call = Call {
            at: self.real(),
            path: path.to_owned(),
            status,
            request_id: request_id.to_owned(),
            error_code,
            fault,
        };
        let calls = &mut self.lock().calls;
        if calls.len() == LOG_LIMIT {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    /// Adds a call to the transcript, if one is kept.
    pub(crate) fn record(
        &self,
        path: &str,
        request: &[u8],
        status: u16,
        answer: &[u8],
        fault: Option<FaultKind>,
    ) {
        if let Some(transcript) = &self.transcript {
            transcript.note(self.real(), path, request, (status, answer), fault);
        }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.lock().calls.iter().cloned().collect()
    }

    /// The credentials that open this Plaid.
    pub(crate) fn credentials(&self) -> (&str, &str) {
        (&self.options.client_id, &self.options.secret)
    }

    /// The clock as `/_emulator/clock` shows it.
    pub(crate) fn clock_json(&self) -> Value {
        let clock = self.read(|world| world.clock);
        let real = self.real();
        let now = clock.now(real);
        let ahead = now.duration_since(real);
        json!({
            "ahead_hours": ahead.as_hours(),
            "frozen": clock.is_frozen(),
            "now": now.to_string(),
        })
    }
}
