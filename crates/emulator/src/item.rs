//! An Item at this Plaid: a person's login at an institution, its products, accounts and state. Its
//! transactions are in its book.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::book::{Book, Life, Log, Stage};
use crate::draw::plaid_id;
use crate::error::PlaidError;
use crate::institutions::{self, Institution};
use crate::ledger::{Namer, State};
use crate::people::{AccountPlan, Available, Balances, Person, Persona, Portfolio};

/// Days of history when the caller asks for no other number.
pub(crate) const DEFAULT_DAYS: i64 = 90;
/// Most days of history that can be asked for.
pub(crate) const MAXIMUM_DAYS: i64 = 730;
/// Plaid warns this many days before a consent ends.
const WARNING_DAYS: i64 = 7;
/// Sandbox Items need a new login this many days after they were made.
const LOGIN_DAYS: i64 = 30;

/// What is needed to make an Item.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NewItem {
    pub(crate) institution_id: String,
    pub(crate) products: Vec<String>,
    pub(crate) webhook: Option<String>,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) days_requested: Option<i64>,
    /// The accounts a person chose; all if nobody was asked.
    pub(crate) accounts: Option<Vec<usize>>,
    /// Months of statements that were asked for.
    pub(crate) statements: Option<(Date, Date)>,
    /// The user of `/user/create` it belongs to.
    pub(crate) user_id: Option<String>,
    /// The products its person consented to in Link; nobody asked where there was no Link.
    #[serde(default)]
    pub(crate) consented: Option<Vec<String>>,
}

/// Whether an account is the caller's to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Shared,
    /// It is there, but the person did not choose it.
    Unshared,
    /// The person withdrew it at the bank.
    Revoked,
}

/// An opened account.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) account_id: String,
    pub(crate) plan: AccountPlan,
    pub(crate) standing: Standing,
    pub(crate) verification_status: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) life: Life,
    pub(crate) log: Log,
    pub(crate) access_token: String,
    pub(crate) institution: &'static Institution,
    username: String,
    password: String,
    pub(crate) user_id: Option<String>,
    pub(crate) products: Vec<String>,
    consented: Option<Vec<String>>,
    pub(crate) webhook: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) removed: bool,
    /// The person withdrew the whole Item at the bank or at Plaid.
    pub(crate) revoked: bool,
    pub(crate) login_required: bool,
    pub(crate) accounts: Vec<Account>,
    pub(crate) stage: Stage,
    pub(crate) days_requested: i64,
    /// Webhooks about sync updates start with the first sync call.
    pub(crate) sync_called: bool,
    pub(crate) last_webhook: Option<(Timestamp, String)>,
    pub(crate) last_update: Option<Timestamp>,
    pub(crate) statements: Option<(Date, Date)>,
    consent_ends: Option<Timestamp>,
    /// Whether the end of the consent was announced.
    pub(crate) warned: bool,
    /// When the login was last entered.
    login_at: Timestamp,
}

/// What time alone does to an Item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aging {
    /// Its consent ends soon, at this instant.
    ConsentEndsSoon(Timestamp),
    /// It needs its person again.
    LoginEnds,
}

impl Item {
    pub(crate) fn open(
        seed: u64,
        number: u64,
        access_token: String,
        new: &NewItem,
        at: Timestamp,
    ) -> Result<Self, PlaidError> {
        let institution = institutions::find(&new.institution_id)?;
        let persona = Persona::of(&new.username, &new.password)?;
        let forced = persona.forced_error().or_else(|| new.password.strip_prefix("error_"));
        if let Some(code) = forced {
            return Err(PlaidError::of_code(code));
        }
        let namer = Namer { seed, item_id: plaid_id(seed, &format!("item/{number}")) };
        let person = Person { seed, label: format!("item/{number}") };
        let opened = day(at);
        let open = |(index, plan)| Account {
            account_id: account_id(seed, number, index),
            // Portfolios are large and seldom asked about: they are drawn again then.
            plan: AccountPlan { portfolio: Portfolio::default(), ..plan },
            standing: match &new.accounts {
                Some(chosen) if !chosen.contains(&index) => Standing::Unshared,
                _ => Standing::Shared,
            },
            verification_status: None,
        };
        Ok(Self {
            accounts: persona.accounts(&person, opened).into_iter().enumerate().map(open).collect(),
            life: Life { persona: Arc::new(persona), person, namer, opened },
            log: Log::default(),
            access_token,
            institution,
            username: new.username.clone(),
            password: new.password.clone(),
            user_id: new.user_id.clone(),
            products: new.products.clone(),
            consented: new.consented.clone(),
            webhook: new.webhook.clone(),
            created_at: at,
            removed: false,
            revoked: false,
            login_required: false,
            stage: Stage::Off,
            days_requested: new.days_requested.unwrap_or(DEFAULT_DAYS),
            sync_called: false,
            last_webhook: None,
            last_update: None,
            statements: new.statements,
            consent_ends: institution.consent_days.map(|days| days_after(at, days)),
            warned: false,
            login_at: at,
        })
    }

    pub(crate) fn item_id(&self) -> &str {
        &self.life.namer.item_id
    }

    pub(crate) fn username(&self) -> &str {
        &self.username
    }

    pub(crate) fn has(&self, product: &str) -> bool {
        self.products.iter().any(|own| own == product)
    }

    pub(crate) fn add_product(&mut self, product: &str) {
        if !self.has(product) {
            self.products.push(product.to_owned());
        }
    }

    /// Whether its person lets the caller have the product.
    pub(crate) fn consents_to(&self, product: &str) -> bool {
        self.consented.as_ref().is_none_or(|own| own.iter().any(|own| own == product))
    }

    /// The person consents to more products, in update mode.
    pub(crate) fn consent_to(&mut self, products: &[String]) {
        if let Some(consented) = &mut self.consented {
            consented.extend_from_slice(products);
        }
    }

    /// Whether it can be called at all.
    pub(crate) fn is_live(&self) -> bool {
        !self.removed && !self.revoked
    }

    /// Whether its bank lets Plaid in.
    pub(crate) fn is_healthy(&self) -> bool {
        self.is_live() && !self.login_required
    }

    /// Whether another new Item is the same login at the same bank.
    pub(crate) fn is_login(&self, new: &NewItem) -> bool {
        self.institution.institution_id == new.institution_id && self.username == new.username
    }

    /// Indexes of the accounts the caller may see.
    pub(crate) fn shared(&self) -> impl Iterator<Item = usize> {
        let shared = |(_, account): &(usize, &Account)| account.standing == Standing::Shared;
        self.accounts.iter().enumerate().filter(shared).map(|(index, _)| index)
    }

    /// What each account has besides its transactions.
    pub(crate) fn portfolios(&self) -> Vec<Portfolio> {
        let Life { persona, person, opened, .. } = &self.life;
        let first = persona.accounts(person, *opened).into_iter();
        let later = first.len()..self.accounts.len();
        let later = later.map(|index| AccountPlan::late_savings(index, *opened));
        first.chain(later).map(|plan| plan.portfolio).collect()
    }

    /// For each account, whether the caller may see it.
    pub(crate) fn sharing(&self) -> Vec<bool> {
        self.accounts.iter().map(|account| account.standing == Standing::Shared).collect()
    }

    /// The person was there: the login works again and the consent starts anew.
    pub(crate) fn log_in(&mut self, at: Timestamp) {
        self.login_required = false;
        self.login_at = at;
        self.warned = false;
        self.consent_ends = self.institution.consent_days.map(|days| days_after(at, days));
    }

    /// Ends the consent now, as at an institution that ends it early.
    pub(crate) fn end_consent(&mut self, at: Timestamp) {
        self.consent_ends = Some(at);
        self.warned = true;
    }

    /// What comes about next without anybody's doing, and when.
    pub(crate) fn next_event(&self, logins_end: bool) -> Option<(Timestamp, Aging)> {
        if !self.is_healthy() {
            return None;
        }
        let stale = logins_end.then(|| days_after(self.login_at, LOGIN_DAYS));
        let end = [stale, self.consent_ends].into_iter().flatten().min();
        let end = end.map(|end| (end, Aging::LoginEnds));
        let warning = self.consent_ends.filter(|_| !self.warned);
        let warning =
            warning.map(|end| (days_after(end, -WARNING_DAYS), Aging::ConsentEndsSoon(end)));
        [warning, end].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Turns transactions on; the number of days is fixed from then on.
    pub(crate) fn start_transactions(&mut self, days_requested: Option<i64>) {
        if self.stage == Stage::Off {
            self.stage = Stage::NotReady;
            self.days_requested = days_requested.unwrap_or(self.days_requested);
            self.add_product("transactions");
        }
    }

    /// Plaid's word for how far the history is.
    pub(crate) fn update_status(&self) -> &'static str {
        match self.stage {
            Stage::Off | Stage::NotReady => "NOT_READY",
            Stage::Initial => "INITIAL_UPDATE_COMPLETE",
            Stage::Historical => "HISTORICAL_UPDATE_COMPLETE",
        }
    }

    /// The Item object that most answers carry.
    pub(crate) fn json(&self) -> Value {
        let unused = |product: &&&str| !self.has(product);
        let available: Vec<&str> = institutions::PRODUCTS.iter().filter(unused).copied().collect();
        json!({
            "auth_method": self.has("auth").then_some("INSTANT_AUTH"),
            "available_products": available,
            "billed_products": self.products,
            "consent_expiration_time": self.consent_ends.map(|end| end.to_string()),
            "consented_products": self.consented.as_ref().unwrap_or(&self.products),
            "error": self.login_required.then(|| PlaidError::login_required().object()),
            "institution_id": self.institution.institution_id,
            "institution_name": self.institution.name,
            "item_id": self.item_id(),
            "products": self.products,
            "update_type": "background",
            "webhook": self.webhook.as_deref().unwrap_or(""),
        })
    }

    /// The Item object of `/item/get`.
    pub(crate) fn json_with_consent(&self) -> Value {
        let mut item = self.json();
        item["created_at"] = json!(self.created_at.to_string());
        item["consented_use_cases"] = json!([]);
        item["consented_data_scopes"] = json!([]);
        item
    }

    /// The `status` object of `/item/get`.
    pub(crate) fn status_json(&self) -> Value {
        let update = |product: &str| {
            self.has(product).then(|| {
                json!({
                    "last_failed_update": null,
                    "last_successful_update": self.last_update.map(|at| at.to_string()),
                })
            })
        };
        json!({
            "investments": update("investments"),
            "last_webhook": self.last_webhook.as_ref().map(|(at, code)| {
                json!({ "code_sent": code, "sent_at": at.to_string() })
            }),
            "transactions": update("transactions"),
        })
    }

    /// One account as Plaid answers it.
    pub(crate) fn account_json(&self, book: &Book, index: usize) -> Value {
        let account = &self.accounts[index];
        let plan = &account.plan;
        let (available, current) = self.balances(book, index);
        let mut json = json!({
            "account_id": account.account_id,
            "balances": {
                "available": available.map(number),
                "current": current.map(number),
                "iso_currency_code": iso_code(&plan.currency),
                "limit": plan.limit.map(number),
                "unofficial_currency_code": unofficial_code(&plan.currency),
            },
            "mask": plan.mask,
            "name": plan.name,
            "official_name": plan.official_name,
            "subtype": plan.subtype,
            "type": plan.account_type,
        });
        if let Some(holder) = &plan.holder_category {
            json["holder_category"] = json!(holder);
        }
        if let Some(status) = &account.verification_status {
            json["verification_status"] = json!(status);
        }
        if self.institution.persistent_ids && plan.account_type == "depository" {
            // The same account at the same bank, whichever Item shows it.
            let login = format!("persistent/{}/{}/{index}", self.username, self.password);
            json["persistent_account_id"] = json!(plaid_id(self.life.namer.seed, &login));
        }
        json
    }

    fn balances(&self, book: &Book, index: usize) -> (Option<Decimal>, Option<Decimal>) {
        let plan = &self.accounts[index].plan;
        let (opening, available) = match plan.balances {
            Balances::Fixed { available, current } => return (available, current),
            Balances::Follow { opening, available } => (opening, available),
        };
        let (mut posted, mut pending) = (Decimal::ZERO, Decimal::ZERO);
        for event in book.ledger.events().iter().filter(|event| event.plan.account == index) {
            match event.state {
                State::Posted => posted += event.amount(),
                State::Pending => pending += event.amount(),
                State::Planned | State::Removed => {}
            }
        }
        let owes = plan.account_type == "credit" || plan.account_type == "loan";
        let current = if owes { opening + posted } else { opening - posted };
        let derived = match (owes, plan.limit) {
            (false, _) => Some(current - pending),
            (true, Some(limit)) => Some(limit - current - pending),
            (true, None) => None,
        };
        let available = match available {
            Available::Derived => derived,
            Available::Forced(amount) => Some(amount),
            Available::Null => None,
        };
        (available, Some(current))
    }
}

/// The id of an account of an Item.
pub(crate) fn account_id(seed: u64, number: u64, index: usize) -> String {
    plaid_id(seed, &format!("account/{number}/{index}"))
}

fn days_after(at: Timestamp, days: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_hours(24 * days)).unwrap_or(at)
}

/// The calendar day of an instant, in UTC as at this bank.
pub(crate) fn day(at: Timestamp) -> Date {
    at.to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// A decimal as a JSON number with the digits it has.
pub(crate) fn number(decimal: Decimal) -> Value {
    let text = decimal.normalize().to_string();
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// The ISO 4217 code, or nothing for currencies outside it.
pub(crate) fn iso_code(currency: &str) -> Option<&str> {
    let official = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase());
    official.then_some(currency)
}

/// The code of a currency outside ISO 4217.
pub(crate) fn unofficial_code(currency: &str) -> Option<&str> {
    iso_code(currency).is_none().then_some(currency)
}
