//! The whole world: items, tokens, time, faults. It changes by commands only, so that a journal of
//! commands and the seed give it back.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::draw;
use crate::error::PlaidError;
use crate::item::{Item, NewItem, Stage};
use crate::ledger::State;

/// Minutes for which a public token can be exchanged.
const PUBLIC_TOKEN_MINUTES: i64 = 30;

/// Everything that can happen to a world. `item` is the number of an Item.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    CreateItem(NewItem),
    Exchange { public_token: String },
    Remove { item: u64 },
    SetWebhook { item: u64, webhook: Option<String> },
    CallSync { item: u64, days_requested: Option<i64> },
    Load { item: u64, stage: Stage },
    Refresh { item: u64 },
    Purchase { item: u64 },
    ResetLogin { item: u64 },
    NoteWebhook { item: u64, code: String },
    Advance { days: i64 },
    AddFault(Fault),
    SpendFault { index: usize },
}

/// A fault asked for by a test.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// The Item it strikes; any if absent.
    pub(crate) item_id: Option<String>,
    /// The page it strikes, counted from 1 within an update.
    pub(crate) page: u64,
    /// How often it strikes.
    #[serde(default = "once")]
    pub(crate) times: u64,
}

fn once() -> u64 {
    1
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FaultKind {
    /// The bank's data changes just before the page is served.
    MutationDuringPagination,
}

/// A webhook to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) item: u64,
    pub(crate) url: String,
    pub(crate) body: Value,
}

/// What a command brought about.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// A token that was made.
    pub(crate) token: Option<String>,
    /// The Item concerned.
    pub(crate) item: Option<u64>,
    pub(crate) notices: Vec<Notice>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) items: BTreeMap<u64, Item>,
    pub(crate) faults: Vec<Fault>,
    /// How far this world's time is ahead of real time.
    pub(crate) ahead: SignedDuration,
    by_token: HashMap<String, u64>,
    public_tokens: HashMap<String, (u64, Timestamp)>,
    next_item: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            items: BTreeMap::new(),
            faults: Vec::new(),
            ahead: SignedDuration::ZERO,
            by_token: HashMap::new(),
            public_tokens: HashMap::new(),
            next_item: 1,
        }
    }

    /// The number of the Item behind an access token.
    pub(crate) fn item_of(&self, access_token: &str) -> Option<u64> {
        self.by_token.get(access_token).copied()
    }

    /// Carries out a command at an instant of this world's time. An error changes nothing.
    pub(crate) fn apply(
        &mut self,
        at: Timestamp,
        command: &Command,
    ) -> Result<Outcome, PlaidError> {
        match command {
            Command::CreateItem(new) => self.create_item(at, new),
            Command::Exchange { public_token } => self.exchange(at, public_token),
            Command::Remove { item } => {
                self.change(*item, |item| item.removed = true);
                Ok(Outcome::default())
            }
            Command::SetWebhook { item, webhook } => {
                self.change(*item, |item| item.webhook.clone_from(webhook));
                let body = json!({ "error": null, "new_webhook_url": webhook });
                Ok(self.notify(*item, "ITEM", "WEBHOOK_UPDATE_ACKNOWLEDGED", body))
            }
            Command::CallSync { item, days_requested } => {
                self.change(*item, |item| {
                    item.sync_called = true;
                    item.start_transactions(*days_requested);
                });
                Ok(Outcome::default())
            }
            Command::Load { item, stage } => Ok(self.load(at, *item, *stage)),
            Command::Refresh { item } => {
                let changed = self.items.get_mut(item).is_some_and(|item| item.refresh(at));
                Ok(if changed { self.notify_update(*item) } else { Outcome::default() })
            }
            Command::Purchase { item } => {
                self.change(*item, |item| item.purchase(at));
                Ok(Outcome::default())
            }
            Command::ResetLogin { item } => {
                self.change(*item, |item| item.login_required = true);
                let mut error = PlaidError::login_required().object();
                error["status"] = json!(400);
                Ok(self.notify(*item, "ITEM", "ERROR", json!({ "error": error })))
            }
            Command::NoteWebhook { item, code } => {
                self.change(*item, |item| item.last_webhook = Some((at, code.clone())));
                Ok(Outcome::default())
            }
            Command::Advance { days } => Ok(self.advance(at, *days)),
            Command::AddFault(fault) => {
                self.faults.push(fault.clone());
                Ok(Outcome::default())
            }
            Command::SpendFault { index } => {
                if let Some(fault) = self.faults.get_mut(*index) {
                    fault.times = fault.times.saturating_sub(1);
                }
                Ok(Outcome::default())
            }
        }
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut Item)) {
        if let Some(item) = self.items.get_mut(&number) {
            change(item);
        }
    }

    fn create_item(&mut self, at: Timestamp, new: &NewItem) -> Result<Outcome, PlaidError> {
        let number = self.next_item;
        let access_token = draw::token(self.seed, "access", number);
        let mut item = Item::open(self.seed, number, access_token, new, at)?;
        if item.has("transactions") {
            item.start_transactions(None);
        }
        let public_token = draw::token(self.seed, "public", number);
        self.items.insert(number, item);
        self.public_tokens.insert(public_token.clone(), (number, at));
        self.next_item += 1;
        Ok(Outcome { token: Some(public_token), item: Some(number), ..Outcome::default() })
    }

    fn exchange(&mut self, at: Timestamp, public_token: &str) -> Result<Outcome, PlaidError> {
        let alive = |made: &Timestamp| at.duration_since(*made).as_mins() < PUBLIC_TOKEN_MINUTES;
        let (number, _) =
            self.public_tokens.get(public_token).filter(|(_, made)| alive(made)).ok_or_else(
                || {
                    let why = "could not find matching public token";
                    PlaidError::invalid_input("INVALID_PUBLIC_TOKEN", why)
                },
            )?;
        let access_token = self.items[number].access_token.clone();
        self.by_token.insert(access_token.clone(), *number);
        Ok(Outcome { token: Some(access_token), item: Some(*number), ..Outcome::default() })
    }

    fn load(&mut self, at: Timestamp, number: u64, stage: Stage) -> Outcome {
        let loaded = self.items.get_mut(&number).is_some_and(|item| item.load(stage, at));
        if !loaded {
            return Outcome::default();
        }
        let code = if stage == Stage::Initial { "INITIAL_UPDATE" } else { "HISTORICAL_UPDATE" };
        let body = json!({ "error": null, "new_transactions": self.live_rows(number) });
        let mut outcome = self.notify(number, "TRANSACTIONS", code, body);
        outcome.notices.extend(self.notify_update(number).notices);
        outcome
    }

    fn advance(&mut self, at: Timestamp, days: i64) -> Outcome {
        self.ahead += SignedDuration::from_hours(24 * days);
        let later = at.saturating_add(SignedDuration::from_hours(24 * days)).unwrap_or(at);
        let mut outcome = Outcome::default();
        let numbers: Vec<u64> = self.items.keys().copied().collect();
        for number in numbers {
            if self.items.get_mut(&number).is_some_and(|item| item.settle(later)) {
                outcome.notices.extend(self.notify_update(number).notices);
            }
        }
        outcome
    }

    fn live_rows(&self, number: u64) -> usize {
        let shown = |state| matches!(state, State::Pending | State::Posted);
        let events = self.items.get(&number).map_or(&[][..], |item| item.ledger.events());
        events.iter().filter(|event| shown(event.state)).count()
    }

    /// The webhook of new sync data, once sync has been called.
    fn notify_update(&self, number: u64) -> Outcome {
        match self.items.get(&number) {
            Some(item) if item.sync_called => {
                self.notify(number, "TRANSACTIONS", "SYNC_UPDATES_AVAILABLE", sync_flags(item))
            }
            _ => Outcome::default(),
        }
    }

    /// A webhook of an Item, if one is set.
    pub(crate) fn notify(&self, number: u64, kind: &str, code: &str, mut body: Value) -> Outcome {
        let Some(item) = self.items.get(&number) else { return Outcome::default() };
        let Some(url) = item.webhook.clone().filter(|url| !url.is_empty()) else {
            return Outcome::default();
        };
        body["environment"] = json!("sandbox");
        body["item_id"] = json!(item.namer.item_id);
        body["webhook_code"] = json!(code);
        body["webhook_type"] = json!(kind);
        Outcome { notices: vec![Notice { item: number, url, body }], ..Outcome::default() }
    }
}

/// The body of SYNC_UPDATES_AVAILABLE.
pub(crate) fn sync_flags(item: &Item) -> Value {
    json!({
        "historical_update_complete": item.stage == Stage::Historical,
        "initial_update_complete": item.stage >= Stage::Initial,
    })
}
