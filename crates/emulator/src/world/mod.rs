//! The whole world: items, tokens, time. It changes by commands only, so that a journal of
//! commands and the seed give it back.

mod items;
mod linking;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::book::{Book, Books, Changes, Happening, Insertion, Stage};
use crate::clock::Clock;
use crate::error::PlaidError;
use crate::item::{Aging, Item, NewItem, day};
use crate::link::{LinkStep, LinkToken};

const DAY_SECONDS: i64 = 24 * 3_600;

/// Everything that can happen to a world. `item` is the number of an Item.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    CreateItem(NewItem),
    /// Many Items at once, with their access tokens, of the sandbox users in turn.
    Populate {
        items: u64,
        days: i64,
        usernames: Vec<String>,
    },
    Exchange {
        public_token: String,
    },
    /// A new public token of an Item there is.
    CreatePublicToken {
        item: u64,
    },
    Rotate {
        item: u64,
    },
    Remove {
        item: u64,
    },
    SetWebhook {
        item: u64,
        webhook: Option<String>,
    },
    AddProduct {
        item: u64,
        product: String,
    },
    CallSync {
        item: u64,
        days_requested: Option<i64>,
    },
    StartTransactions {
        item: u64,
        days_requested: Option<i64>,
    },
    Load {
        item: u64,
        stage: Stage,
    },
    Refresh {
        item: u64,
    },
    Purchase {
        item: u64,
    },
    Insert {
        item: u64,
        rows: Vec<Insertion>,
    },
    ResetLogin {
        item: u64,
    },
    /// The person signs in again, as in update mode; chosen accounts, if asked.
    Repair {
        item: u64,
        accounts: Option<Vec<usize>>,
    },
    /// The person repaired the login through another application.
    RepairElsewhere {
        item: u64,
    },
    EndConsent {
        item: u64,
    },
    Revoke {
        item: u64,
    },
    RevokeAccount {
        item: u64,
        account: usize,
    },
    OpenAccount {
        item: u64,
    },
    Verify {
        item: u64,
        account: usize,
        status: String,
    },
    RefreshStatements {
        item: u64,
        from: Date,
        to: Date,
    },
    NoteWebhook {
        item: u64,
        code: String,
    },
    CreateUser {
        client_user_id: String,
    },
    CreateLinkToken {
        request: Value,
        update_of: Option<u64>,
    },
    Link {
        token: String,
        step: LinkStep,
    },
    Advance {
        seconds: i64,
    },
    Freeze {
        at: Timestamp,
    },
    Run {
        real: Timestamp,
    },
    /// Whether logins end thirty days after they were entered.
    EndLogins {
        end: bool,
    },
}

impl Command {
    /// The Item it is about, if it is about one.
    fn item(&self) -> Option<u64> {
        match self {
            Self::Rotate { item }
            | Self::Remove { item }
            | Self::CreatePublicToken { item }
            | Self::SetWebhook { item, .. }
            | Self::AddProduct { item, .. }
            | Self::CallSync { item, .. }
            | Self::StartTransactions { item, .. }
            | Self::Load { item, .. }
            | Self::Refresh { item }
            | Self::Purchase { item }
            | Self::Insert { item, .. }
            | Self::ResetLogin { item }
            | Self::Repair { item, .. }
            | Self::RepairElsewhere { item }
            | Self::EndConsent { item }
            | Self::Revoke { item }
            | Self::RevokeAccount { item, .. }
            | Self::OpenAccount { item }
            | Self::Verify { item, .. }
            | Self::RefreshStatements { item, .. }
            | Self::NoteWebhook { item, .. } => Some(*item),
            Self::CreateItem(_)
            | Self::Populate { .. }
            | Self::Exchange { .. }
            | Self::CreateUser { .. }
            | Self::CreateLinkToken { .. }
            | Self::Link { .. }
            | Self::Advance { .. }
            | Self::Freeze { .. }
            | Self::Run { .. }
            | Self::EndLogins { .. } => None,
        }
    }
}

/// A webhook to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The Item it is about; none for Link's own.
    pub(crate) item: Option<u64>,
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
    /// An Item whose history is to be loaded now.
    pub(crate) load: Option<u64>,
    pub(crate) notices: Vec<Notice>,
}

/// A user of the caller's.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) user_id: String,
    pub(crate) user_token: String,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) items: BTreeMap<u64, Item>,
    pub(crate) clock: Clock,
    pub(crate) links: BTreeMap<String, LinkToken>,
    /// By the caller's own id.
    users: BTreeMap<String, User>,
    /// Sandbox logins end after thirty days.
    pub(crate) logins_end: bool,
    books: Books,
    by_token: HashMap<String, u64>,
    public_tokens: HashMap<String, (u64, Timestamp)>,
    next_item: u64,
    next_token: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            items: BTreeMap::new(),
            clock: Clock::default(),
            links: BTreeMap::new(),
            users: BTreeMap::new(),
            logins_end: false,
            books: Books::default(),
            by_token: HashMap::new(),
            public_tokens: HashMap::new(),
            next_item: 1,
            next_token: 1,
        }
    }

    /// How much memory books may take, in MiB. What they say does not depend on it.
    pub(crate) fn keep_books(&mut self, mib: usize) {
        self.books.keep(mib);
    }

    /// The number of the Item behind an access token.
    pub(crate) fn item_of(&self, access_token: &str) -> Option<u64> {
        self.by_token.get(access_token).copied()
    }

    /// The number of the Item of this id.
    pub(crate) fn item_with_id(&self, item_id: &str) -> Option<u64> {
        self.items.iter().find(|(_, item)| item.item_id() == item_id).map(|(number, _)| *number)
    }

    /// The user of this id or token.
    pub(crate) fn user(&self, id_or_token: &str) -> Option<&User> {
        let is = |user: &&User| user.user_id == id_or_token || user.user_token == id_or_token;
        self.users.values().find(is)
    }

    /// An Item and its book as of now.
    pub(crate) fn open(&mut self, number: u64) -> (&Item, &Book) {
        let item = &self.items[&number];
        let book = self.books.open(number, &item.life, &item.log);
        (item, book)
    }

    /// Lets the time up to now pass for an Item, and tells who wants to know. What comes of it
    /// depends on the time alone, not on who looked before.
    pub(crate) fn pass(&mut self, at: Timestamp, number: u64) -> Vec<Notice> {
        let mut notices = Vec::new();
        let logins_end = self.logins_end;
        while let Some((instant, aging)) = self
            .items
            .get(&number)
            .and_then(|item| item.next_event(logins_end))
            .filter(|(instant, _)| *instant <= at)
        {
            notices.extend(self.happen(instant, number, Happening::Pass));
            notices.extend(self.age(number, aging));
        }
        notices.extend(self.happen(at, number, Happening::Pass));
        notices
    }

    /// Carries out a command at an instant of this world's time. An error changes nothing.
    pub(crate) fn apply(
        &mut self,
        at: Timestamp,
        command: &Command,
    ) -> Result<Outcome, PlaidError> {
        let passed = command.item().map(|item| self.pass(at, item));
        let mut outcome = self.carry_out(at, command)?;
        outcome.notices.splice(0..0, passed.into_iter().flatten());
        if let Command::Advance { seconds } = command {
            let later = at.saturating_add(SignedDuration::from_secs(*seconds)).unwrap_or(at);
            outcome.notices.extend(self.pass_all(later));
        }
        Ok(outcome)
    }

    fn carry_out(&mut self, at: Timestamp, command: &Command) -> Result<Outcome, PlaidError> {
        let told = |notices: Vec<Notice>| Ok(Outcome { notices, ..Outcome::default() });
        match command {
            Command::CreateItem(new) => return self.create_item(at, new),
            Command::Populate { items, days, usernames } => {
                return self.populate(at, *items, *days, usernames);
            }
            Command::Exchange { public_token } => return self.exchange(at, public_token),
            Command::Rotate { item } => return Ok(self.rotate(*item)),
            Command::CreateUser { client_user_id } => self.create_user(client_user_id),
            Command::CreateLinkToken { request, update_of } => {
                return Ok(self.create_link_token(at, request, *update_of));
            }
            Command::Link { token, step } => return Ok(self.link(at, token, step)),
            Command::Advance { seconds } => self.clock.step(SignedDuration::from_secs(*seconds)),
            Command::Freeze { at } => self.clock.freeze(*at),
            Command::Run { real } => self.clock.run(*real),
            Command::EndLogins { end } => self.logins_end = *end,
            Command::CreatePublicToken { item } => return Ok(self.create_public_token(at, *item)),
            Command::Load { item, stage } => return told(self.load(at, *item, *stage)),
            Command::Refresh { item } => return told(self.happen(at, *item, Happening::Refresh)),
            Command::Purchase { item } => {
                // Silent: it stands for a change that nobody was told of yet.
                self.happen(at, *item, Happening::Purchase);
            }
            Command::Insert { item, rows } => {
                let rows: Arc<[Insertion]> = rows.clone().into();
                return told(self.happen(at, *item, Happening::Insert(rows)));
            }
            Command::Repair { item, accounts } => {
                let notices = self.repair(at, *item, accounts.as_deref());
                return Ok(Outcome { notices, load: self.loading(*item), ..Outcome::default() });
            }
            Command::RepairElsewhere { item } => {
                let mut notices = self.notify(*item, "ITEM", "LOGIN_REPAIRED", json!({}));
                notices.extend(self.repair(at, *item, None));
                return Ok(Outcome { notices, load: self.loading(*item), ..Outcome::default() });
            }
            of_item => return told(self.change_item(at, of_item)),
        }
        Ok(Outcome::default())
    }

    /// The Item, if its history is still to be loaded.
    pub(crate) fn loading(&self, number: u64) -> Option<u64> {
        let stage = self.items.get(&number)?.stage;
        matches!(stage, Stage::NotReady | Stage::Initial).then_some(number)
    }

    /// Commands that change the state of one Item.
    fn change_item(&mut self, at: Timestamp, command: &Command) -> Vec<Notice> {
        match command {
            Command::Remove { item } => self.change(*item, |item| item.removed = true),
            Command::SetWebhook { item, webhook } => {
                self.change(*item, |item| item.webhook.clone_from(webhook));
                let body = json!({ "error": null, "new_webhook_url": webhook });
                return self.notify(*item, "ITEM", "WEBHOOK_UPDATE_ACKNOWLEDGED", body);
            }
            Command::AddProduct { item, product } => {
                self.change(*item, |item| item.add_product(product));
            }
            Command::CallSync { item, days_requested } => self.change(*item, |item| {
                item.sync_called = true;
                item.start_transactions(*days_requested);
            }),
            Command::StartTransactions { item, days_requested } => {
                self.change(*item, |item| item.start_transactions(*days_requested));
            }
            Command::ResetLogin { item } => return self.break_login(at, *item),
            Command::EndConsent { item } => {
                self.change(*item, |item| item.end_consent(at));
                return self.pass(at, *item);
            }
            Command::Revoke { item } => {
                let body = json!({ "error": null });
                let notices = self.notify(*item, "ITEM", "USER_PERMISSION_REVOKED", body);
                self.change(*item, |item| item.revoked = true);
                return notices;
            }
            Command::RevokeAccount { item, account } => {
                return self.revoke_account(at, *item, *account);
            }
            Command::OpenAccount { item } => return self.open_account(at, *item),
            Command::Verify { item, account, status } => {
                return self.verify(*item, *account, status);
            }
            Command::RefreshStatements { item, from, to } => {
                self.change(*item, |item| item.statements = Some((*from, *to)));
                let body = json!({ "result": "SUCCESS" });
                return self.notify(*item, "STATEMENTS", "STATEMENTS_REFRESH_COMPLETE", body);
            }
            Command::NoteWebhook { item, code } => {
                self.change(*item, |item| item.last_webhook = Some((at, code.clone())));
            }
            other => debug_assert!(false, "{other:?} is carried out nowhere"),
        }
        Vec::new()
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut Item)) {
        if let Some(item) = self.items.get_mut(&number) {
            change(item);
        }
    }

    /// Writes something into the book of an Item and tells who wants to know.
    fn happen(&mut self, at: Timestamp, number: u64, what: Happening) -> Vec<Notice> {
        let Some(item) = self.items.get_mut(&number).filter(|item| item.is_healthy()) else {
            return Vec::new();
        };
        let passing = matches!(what, Happening::Pass);
        let happened = self.books.happen((number, &item.life, &mut item.log), day(at), what);
        let Some(changes) = happened else { return Vec::new() };
        if item.stage >= Stage::Initial {
            item.last_update = Some(if passing { midnight(at) } else { at });
        }
        self.tell(number, &changes)
    }

    /// Webhooks about changed transactions. SYNC_UPDATES_AVAILABLE needs a first sync call.
    fn tell(&self, number: u64, changes: &Changes) -> Vec<Notice> {
        let mut notices = Vec::new();
        let Some(item) = self.items.get(&number).filter(|_| changes.any()) else { return notices };
        if !changes.removed.is_empty() {
            let body = json!({ "error": null, "removed_transactions": changes.removed });
            notices.extend(self.notify(number, "TRANSACTIONS", "TRANSACTIONS_REMOVED", body));
        }
        if changes.added > 0 {
            let body = json!({ "error": null, "new_transactions": changes.added });
            notices.extend(self.notify(number, "TRANSACTIONS", "DEFAULT_UPDATE", body));
        }
        if item.sync_called {
            let flags = sync_flags(item);
            notices.extend(self.notify(number, "TRANSACTIONS", "SYNC_UPDATES_AVAILABLE", flags));
        }
        notices
    }

    fn load(&mut self, at: Timestamp, number: u64, stage: Stage) -> Vec<Notice> {
        let Some(item) = self.items.get_mut(&number) else { return Vec::new() };
        if item.stage == Stage::Off || item.stage >= stage || !item.is_healthy() {
            return Vec::new();
        }
        item.stage = stage;
        item.last_update = Some(at);
        let what = Happening::Load { stage, days: item.days_requested };
        let changes = self.books.happen((number, &item.life, &mut item.log), day(at), what);
        let changes = changes.unwrap_or_default();
        let item = &self.items[&number];
        let code = if stage == Stage::Initial { "INITIAL_UPDATE" } else { "HISTORICAL_UPDATE" };
        let body = json!({ "error": null, "new_transactions": changes.added });
        let mut notices = self.notify(number, "TRANSACTIONS", code, body);
        if item.sync_called {
            let flags = sync_flags(item);
            notices.extend(self.notify(number, "TRANSACTIONS", "SYNC_UPDATES_AVAILABLE", flags));
        }
        notices
    }

    /// Lets time pass for everybody who is told of it; the others catch up when they are asked.
    pub(crate) fn pass_all(&mut self, at: Timestamp) -> Vec<Notice> {
        let numbers: Vec<u64> = self.items.keys().copied().collect();
        let mut notices = Vec::new();
        for number in numbers {
            if self.items[&number].webhook.is_some() {
                notices.extend(self.pass(at, number));
            }
        }
        notices
    }

    /// What time alone does to the login and the consent of an Item.
    fn age(&mut self, number: u64, aging: Aging) -> Vec<Notice> {
        let Some(item) = self.items.get_mut(&number) else { return Vec::new() };
        match aging {
            Aging::LoginEnds => {
                item.login_required = true;
                self.notify_login_required(number)
            }
            Aging::ConsentEndsSoon(end) => {
                item.warned = true;
                if item.institution.is_european() {
                    let body = json!({ "consent_expiration_time": end.to_string() });
                    return self.notify(number, "ITEM", "PENDING_EXPIRATION", body);
                }
                self.notify(number, "ITEM", "PENDING_DISCONNECT", pending_disconnect(end))
            }
        }
    }

    /// A webhook of an Item, if one is set.
    pub(crate) fn notify(
        &self,
        number: u64,
        kind: &str,
        code: &str,
        mut body: Value,
    ) -> Vec<Notice> {
        let Some(item) = self.items.get(&number).filter(|item| item.is_live()) else {
            return Vec::new();
        };
        let Some(url) = item.webhook.clone().filter(|url| !url.is_empty()) else {
            return Vec::new();
        };
        body["environment"] = json!("sandbox");
        body["item_id"] = json!(item.item_id());
        body["webhook_code"] = json!(code);
        body["webhook_type"] = json!(kind);
        vec![Notice { item: Some(number), url, body }]
    }
}

/// The beginning of an instant's day: when the bank was looked at for what merely passed.
fn midnight(at: Timestamp) -> Timestamp {
    let second = at.as_second();
    Timestamp::from_second(second - second.rem_euclid(DAY_SECONDS)).unwrap_or(at)
}

/// The body of SYNC_UPDATES_AVAILABLE.
pub(crate) fn sync_flags(item: &Item) -> Value {
    json!({
        "historical_update_complete": item.stage == Stage::Historical,
        "initial_update_complete": item.stage >= Stage::Initial,
    })
}

/// The body of PENDING_DISCONNECT.
pub(crate) fn pending_disconnect(end: Timestamp) -> Value {
    json!({ "disconnect_time": end.to_string(), "reason": "INSTITUTION_TOKEN_EXPIRATION" })
}
