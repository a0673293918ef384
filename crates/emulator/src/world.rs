//! The whole world: items, tokens, time. It changes by commands only, so that a journal of
//! commands and the seed give it back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::book::{Book, Books, Changes, Happening, Insertion, Stage};
use crate::clock::Clock;
use crate::draw;
use crate::error::PlaidError;
use crate::institutions::{self, Relink};
use crate::item::{self, Account, Aged, Item, NewItem, Standing, day};
use crate::link::{Added, LinkStep, LinkToken, Request, Visitor};
use crate::people::{AccountPlan, Person};

/// Minutes for which a public token can be exchanged.
const PUBLIC_TOKEN_MINUTES: i64 = 30;

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

    /// Lets the days up to now pass for an Item, and tells who wants to know.
    pub(crate) fn pass(&mut self, at: Timestamp, number: u64) -> Vec<Notice> {
        let mut notices = self.age(at, number);
        notices.extend(self.happen(at, number, Happening::Pass));
        notices
    }

    /// Carries out a command at an instant of this world's time. An error changes nothing.
    pub(crate) fn apply(
        &mut self,
        at: Timestamp,
        command: &Command,
    ) -> Result<Outcome, PlaidError> {
        let mut outcome = self.carry_out(at, command)?;
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
            of_item => return told(self.change_item(at, of_item)),
        }
        Ok(Outcome::default())
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
            Command::Repair { item, accounts } => {
                return self.repair(at, *item, accounts.as_deref());
            }
            Command::RepairElsewhere { item } => {
                let mut notices = self.notify(*item, "ITEM", "LOGIN_REPAIRED", json!({}));
                notices.extend(self.repair(at, *item, None));
                return notices;
            }
            Command::EndConsent { item } => {
                self.change(*item, |item| item.end_consent(at));
                return self.age(at, *item);
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
            _ => {}
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
        let happened = self.books.happen((number, &item.life, &mut item.log), day(at), what);
        let Some(changes) = happened else { return Vec::new() };
        if item.stage >= Stage::Initial {
            item.last_update = Some(at);
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
            } else {
                self.age(at, number);
            }
        }
        notices
    }

    /// What time alone does to the login and the consent of an Item.
    fn age(&mut self, at: Timestamp, number: u64) -> Vec<Notice> {
        let logins_end = self.logins_end;
        let Some(item) = self.items.get_mut(&number) else { return Vec::new() };
        let european = item.institution.is_european();
        match item.age(at, logins_end) {
            None => Vec::new(),
            Some(Aged::LoginRequired) => self.notify_login_required(number),
            Some(Aged::ConsentEnding(end)) if european => {
                let body = json!({ "consent_expiration_time": end.to_string() });
                self.notify(number, "ITEM", "PENDING_EXPIRATION", body)
            }
            Some(Aged::ConsentEnding(end)) => {
                let body = pending_disconnect(end);
                self.notify(number, "ITEM", "PENDING_DISCONNECT", body)
            }
        }
    }

    fn break_login(&mut self, at: Timestamp, number: u64) -> Vec<Notice> {
        // What happened before is still shown.
        let mut notices = self.happen(at, number, Happening::Pass);
        self.change(number, |item| item.login_required = true);
        notices.extend(self.notify_login_required(number));
        notices
    }

    fn notify_login_required(&self, number: u64) -> Vec<Notice> {
        let mut error = PlaidError::login_required().object();
        error["status"] = json!(400);
        self.notify(number, "ITEM", "ERROR", json!({ "error": error }))
    }

    fn repair(&mut self, at: Timestamp, number: u64, chosen: Option<&[usize]>) -> Vec<Notice> {
        self.change(number, |item| {
            item.log_in(at);
            let Some(chosen) = chosen else { return };
            for (index, account) in item.accounts.iter_mut().enumerate() {
                account.standing = match chosen.contains(&index) {
                    true => Standing::Shared,
                    false => Standing::Unshared,
                };
            }
        });
        let Some(item) = self.items.get(&number) else { return Vec::new() };
        let what =
            if chosen.is_some() { Happening::Share(item.sharing()) } else { Happening::Pass };
        self.happen(at, number, what)
    }

    fn revoke_account(&mut self, at: Timestamp, number: u64, account: usize) -> Vec<Notice> {
        let Some(item) = self.items.get_mut(&number) else { return Vec::new() };
        let Some(account) = item.accounts.get_mut(account) else { return Vec::new() };
        account.standing = Standing::Revoked;
        let body = json!({ "account_id": account.account_id });
        let sharing = item.sharing();
        let mut notices = self.notify(number, "ITEM", "USER_ACCOUNT_REVOKED", body);
        notices.extend(self.happen(at, number, Happening::Share(sharing)));
        notices
    }

    /// The person opens an account at the bank, which they have not shared yet.
    fn open_account(&mut self, at: Timestamp, number: u64) -> Vec<Notice> {
        let seed = self.seed;
        self.change(number, |item| {
            let index = item.accounts.len();
            item.accounts.push(Account {
                account_id: item::account_id(seed, number, index),
                plan: AccountPlan::late_savings(index, day(at)),
                standing: Standing::Unshared,
                verification_status: None,
            });
        });
        self.notify(number, "ITEM", "NEW_ACCOUNTS_AVAILABLE", json!({ "error": null }))
    }

    fn verify(&mut self, number: u64, account: usize, status: &str) -> Vec<Notice> {
        let Some(item) = self.items.get_mut(&number) else { return Vec::new() };
        let Some(account) = item.accounts.get_mut(account) else { return Vec::new() };
        account.verification_status = Some(status.to_owned());
        let body = json!({ "account_id": account.account_id });
        let code = if status == "verification_expired" {
            "VERIFICATION_EXPIRED"
        } else {
            "AUTOMATICALLY_VERIFIED"
        };
        self.notify(number, "AUTH", code, body)
    }

    fn create_item(&mut self, at: Timestamp, new: &NewItem) -> Result<Outcome, PlaidError> {
        let number = self.next_item;
        self.create_item_as(at, number, new)
    }

    fn create_item_as(
        &mut self,
        at: Timestamp,
        number: u64,
        new: &NewItem,
    ) -> Result<Outcome, PlaidError> {
        let access_token = draw::token(self.seed, "access", number);
        let mut item = Item::open(self.seed, number, access_token, new, at)?;
        let transactions = item.has("transactions");
        if transactions {
            item.start_transactions(None);
        }
        if new.accounts.is_some() {
            let share = Happening::Share(item.sharing());
            self.books.happen((number, &item.life, &mut item.log), day(at), share);
        }
        let notices = self.invalidate_older(&item, new);
        let public_token = draw::token(self.seed, "public", number);
        self.items.insert(number, item);
        self.public_tokens.insert(public_token.clone(), (number, at));
        self.next_item = self.next_item.max(number + 1);
        Ok(Outcome {
            token: Some(public_token),
            item: Some(number),
            load: transactions.then_some(number),
            notices,
        })
    }

    /// Some banks let a login be linked once: the older Item dies.
    fn invalidate_older(&mut self, item: &Item, new: &NewItem) -> Vec<Notice> {
        let kills = |older: &Item| match item.institution.relink {
            Relink::Harmless => false,
            Relink::Always => true,
            Relink::AccountsDiffer => older.sharing() != item.sharing(),
        };
        let dying =
            |(_, older): &(&u64, &Item)| older.is_healthy() && older.is_login(new) && kills(older);
        let dying: Vec<u64> = self.items.iter().filter(dying).map(|(number, _)| *number).collect();
        let mut notices = Vec::new();
        for number in dying {
            self.change(number, |item| item.login_required = true);
            notices.extend(self.notify_login_required(number));
        }
        notices
    }

    fn populate(
        &mut self,
        at: Timestamp,
        items: u64,
        days: i64,
        usernames: &[String],
    ) -> Result<Outcome, PlaidError> {
        for turn in 0..items {
            let which = usize::try_from(turn).unwrap_or_default() % usernames.len().max(1);
            let new = NewItem {
                institution_id: "ins_109508".to_owned(),
                products: vec!["transactions".to_owned()],
                webhook: None,
                username: usernames.get(which).cloned().unwrap_or_default(),
                password: "pass_good".to_owned(),
                days_requested: Some(days),
                accounts: None,
                statements: None,
                user_id: None,
            };
            let outcome = self.create_item(at, &new)?;
            self.exchange(at, &outcome.token.unwrap_or_default())?;
            // The history is only noted: books are written when somebody reads them.
            self.change(outcome.item.unwrap_or_default(), |item| {
                item.stage = Stage::Historical;
                item.last_update = Some(at);
                item.log.note(day(at), Happening::Load { stage: Stage::Historical, days });
            });
        }
        Ok(Outcome::default())
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

    /// A new public token of an Item, as older applications use for update mode.
    pub(crate) fn public_token(&self, number: u64) -> Option<&str> {
        let own = self.public_tokens.iter().find(|(_, (item, _))| *item == number);
        own.map(|(token, _)| token.as_str())
    }

    fn rotate(&mut self, number: u64) -> Outcome {
        self.next_token += 1;
        let token = draw::token(self.seed, &format!("access-{number}"), self.next_token);
        let token = token.replacen(&format!("access-{number}-"), "access-", 1);
        if let Some(item) = self.items.get_mut(&number) {
            self.by_token.remove(&item.access_token);
            item.access_token.clone_from(&token);
            self.by_token.insert(token.clone(), number);
        }
        Outcome { token: Some(token), item: Some(number), ..Outcome::default() }
    }

    fn create_user(&mut self, client_user_id: &str) {
        let number = u64::try_from(self.users.len()).unwrap_or_default() + 1;
        let seed = self.seed;
        self.users.entry(client_user_id.to_owned()).or_insert_with(|| User {
            user_id: draw::user_id(seed, number),
            user_token: draw::token(seed, "user", number),
        });
    }

    /// The user of the caller's own id.
    pub(crate) fn user_named(&self, client_user_id: &str) -> Option<&User> {
        self.users.get(client_user_id)
    }

    fn create_link_token(
        &mut self,
        at: Timestamp,
        request: &Value,
        update_of: Option<u64>,
    ) -> Outcome {
        let token = draw::token(self.seed, "link", self.next_token);
        self.next_token += 1;
        let named = ["user_id", "user_token"].iter().find_map(|field| request[*field].as_str());
        let user_id = named.and_then(|named| self.user(named)).map(|user| user.user_id.clone());
        let link = LinkToken::new(token.clone(), at, request.clone(), update_of, user_id);
        self.links.insert(token.clone(), link);
        Outcome { token: Some(token), item: update_of, ..Outcome::default() }
    }

    /// A step of a person in hosted Link.
    fn link(&mut self, at: Timestamp, token: &str, step: &LinkStep) -> Outcome {
        let Some(mut link) = self.links.remove(token) else { return Outcome::default() };
        let number = link.update_of.unwrap_or(self.next_item);
        let updating = link.update_of.and_then(|number| self.items.get(&number));
        let updating = updating.map(|item| {
            let plans = item.accounts.iter().map(|account| account.plan.clone()).collect();
            (item.institution, item.username().to_owned(), plans)
        });
        let person = Person { seed: self.seed, label: format!("item/{number}") };
        let outcome = match link.step(at, step, &Visitor { person, updating }) {
            Request::Nothing => Outcome::default(),
            Request::Left => Outcome { notices: self.link_notices(&link), ..Outcome::default() },
            Request::Complete { accounts } => self.complete_link(at, number, &mut link, &accounts),
        };
        self.links.insert(token.to_owned(), link);
        outcome
    }

    fn complete_link(
        &mut self,
        at: Timestamp,
        number: u64,
        link: &mut LinkToken,
        chosen: &[usize],
    ) -> Outcome {
        if link.update_of.is_some() {
            let chosen = link.chooses_accounts().then_some(chosen);
            for product in link.list("products") {
                self.change(number, |item| item.add_product(&product));
            }
            let mut notices = self.repair(at, number, chosen);
            link.complete(at, None);
            notices.extend(self.link_notices(link));
            return Outcome { item: Some(number), notices, ..Outcome::default() };
        }
        let Some(new) = new_item(link, chosen) else { return Outcome::default() };
        match self.create_item_as(at, number, &new) {
            Ok(mut outcome) => {
                let public_token = outcome.token.clone().unwrap_or_default();
                let accounts = metadata_accounts(&self.items[&number]);
                link.complete(at, Some(Added { public_token, accounts }));
                outcome.notices.extend(self.link_notices(link));
                outcome
            }
            Err(error) => {
                link.fail(at, error);
                Outcome::default()
            }
        }
    }

    /// Link's own webhooks go to the URL of the link token.
    fn link_notices(&self, link: &LinkToken) -> Vec<Notice> {
        let Some(url) = link.text("webhook").filter(|url| !url.is_empty()) else {
            return Vec::new();
        };
        let notice = |(code, mut body): (&str, Value)| {
            body["environment"] = json!("sandbox");
            body["webhook_code"] = json!(code);
            body["webhook_type"] = json!("LINK");
            Notice { item: None, url: url.to_owned(), body }
        };
        link.webhooks().into_iter().map(notice).collect()
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

/// The Item that a finished session asks for.
fn new_item(link: &LinkToken, chosen: &[usize]) -> Option<NewItem> {
    let session = link.session.as_ref()?;
    let mut products = link.list("products");
    products.extend(link.list("required_if_supported_products"));
    products.retain(|product| {
        institutions::PRODUCTS.contains(&product.as_str()) && product != "balance"
    });
    let date = |field: &str| link.request["statements"][field].as_str()?.parse().ok();
    Some(NewItem {
        institution_id: session.institution()?.institution_id.clone(),
        products,
        webhook: link.text("webhook").map(str::to_owned),
        username: session.username.clone(),
        password: session.password.clone(),
        days_requested: link.request["transactions"]["days_requested"].as_i64(),
        accounts: Some(chosen.to_vec()),
        statements: date("start_date").zip(date("end_date")),
        user_id: link.user_id.clone(),
    })
}

/// The accounts of an Item as Link's metadata has them.
fn metadata_accounts(item: &Item) -> Vec<Value> {
    let account = |index: usize| {
        let account = &item.accounts[index];
        json!({
            "class_type": null,
            "id": account.account_id,
            "mask": account.plan.mask,
            "name": account.plan.name,
            "subtype": account.plan.subtype.as_deref().unwrap_or_default(),
            "type": account.plan.account_type,
            "verification_status": account.verification_status,
        })
    };
    item.shared().map(account).collect()
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
