//! An Item at this Plaid: a person's login at an institution, its products, accounts and history.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::draw::plaid_id;
use crate::error::PlaidError;
use crate::ledger::{Event, Ledger, Namer, Step};
use crate::people::{AccountPlan, Available, Balances, Person, Persona};
use crate::rows::Rows;

/// Days of history that come first.
const INITIAL_DAYS: i64 = 30;
/// Days of history when the caller asks for no other number.
pub(crate) const DEFAULT_DAYS: i64 = 90;
/// Most days of history that can be asked for.
pub(crate) const MAXIMUM_DAYS: i64 = 730;
/// How far ahead events are planned.
const HORIZON_DAYS: i64 = 60;

/// How much transaction history has been pulled from the bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Transactions were never asked for.
    Off,
    NotReady,
    Initial,
    Historical,
}

/// What is needed to make an Item.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NewItem {
    pub(crate) institution_id: String,
    pub(crate) institution_name: String,
    pub(crate) products: Vec<String>,
    pub(crate) webhook: Option<String>,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) days_requested: Option<i64>,
}

/// An opened account.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) account_id: String,
    pub(crate) plan: AccountPlan,
}

#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) namer: Namer,
    pub(crate) access_token: String,
    pub(crate) institution_id: String,
    institution_name: String,
    pub(crate) products: Vec<String>,
    pub(crate) webhook: Option<String>,
    created_at: Timestamp,
    pub(crate) removed: bool,
    pub(crate) login_required: bool,
    pub(crate) accounts: Vec<Account>,
    pub(crate) ledger: Ledger,
    pub(crate) rows: Rows,
    pub(crate) stage: Stage,
    days_requested: i64,
    /// Webhooks about sync updates start with the first sync call.
    pub(crate) sync_called: bool,
    pub(crate) last_webhook: Option<(Timestamp, String)>,
    last_update: Option<Timestamp>,
    extra_purchases: u64,
    persona: Persona,
    person: Person,
    /// Last day planned, and how far back.
    planned: Option<(Date, Date)>,
}

impl Item {
    pub(crate) fn open(
        seed: u64,
        number: u64,
        access_token: String,
        new: &NewItem,
        at: Timestamp,
    ) -> Result<Self, PlaidError> {
        let persona = Persona::of(&new.username, &new.password)?;
        let forced = persona.forced_error().or_else(|| new.password.strip_prefix("error_"));
        if let Some(code) = forced {
            return Err(PlaidError::new(
                "ITEM_ERROR",
                code,
                "the sandbox user asked for this error",
            ));
        }
        let namer = Namer { seed, item_id: plaid_id(seed, &format!("item/{number}")) };
        let person = Person { seed, label: format!("item/{number}") };
        let open = |(index, plan)| Account {
            account_id: plaid_id(seed, &format!("account/{number}/{index}")),
            plan,
        };
        Ok(Self {
            accounts: persona.accounts(&person).into_iter().enumerate().map(open).collect(),
            namer,
            access_token,
            institution_id: new.institution_id.clone(),
            institution_name: new.institution_name.clone(),
            products: new.products.clone(),
            webhook: new.webhook.clone(),
            created_at: at,
            removed: false,
            login_required: false,
            ledger: Ledger::default(),
            rows: Rows::default(),
            stage: Stage::Off,
            days_requested: new.days_requested.unwrap_or(DEFAULT_DAYS),
            sync_called: false,
            last_webhook: None,
            last_update: None,
            extra_purchases: 0,
            persona,
            person,
            planned: None,
        })
    }

    pub(crate) fn has(&self, product: &str) -> bool {
        self.products.iter().any(|own| own == product)
    }

    /// Turns transactions on; the number of days is fixed from then on.
    pub(crate) fn start_transactions(&mut self, days_requested: Option<i64>) {
        if self.stage == Stage::Off {
            self.stage = Stage::NotReady;
            self.days_requested = days_requested.unwrap_or(self.days_requested);
            if !self.has("transactions") {
                self.products.push("transactions".to_owned());
            }
        }
    }

    /// Pulls the next part of the history. True if anything changed.
    pub(crate) fn load(&mut self, stage: Stage, at: Timestamp) -> bool {
        if self.stage == Stage::Off || self.stage >= stage {
            return false;
        }
        self.stage = stage;
        self.settle(at);
        true
    }

    /// Lets the days up to `at` happen, one by one. True if anything changed.
    pub(crate) fn settle(&mut self, at: Timestamp) -> bool {
        if self.stage < Stage::Initial || self.removed || self.login_required {
            return false;
        }
        let today = day(at);
        self.plan_until(today);
        let opened = day(self.created_at);
        let days = if self.stage == Stage::Initial { INITIAL_DAYS } else { self.days_requested };
        let since = opened.saturating_sub(days.days());
        let last = self.last_update.map_or(today, day);
        let mut changed = false;
        let mut date = last.min(today);
        loop {
            let steps = self.ledger.settle(&self.namer, since, date);
            changed |= self.show(&steps);
            if date >= today {
                break;
            }
            date = date.saturating_add(1.days());
        }
        self.last_update = Some(at);
        changed
    }

    /// What a refresh finds: pending rows post, one amount moves, new purchases appear.
    pub(crate) fn refresh(&mut self, at: Timestamp) -> bool {
        let changed = self.settle(at);
        if self.stage < Stage::Initial || !self.persona.is_lively() {
            return changed;
        }
        let today = day(at);
        let mut steps = self.ledger.post_pending(&self.namer, today);
        let posted = |event: &Event| event.date() == today && event.plan.amount > Decimal::ZERO;
        let raised = self.ledger.events().iter().rposition(posted);
        steps.extend(raised.and_then(|index| self.ledger.raise(index, Decimal::ONE)));
        self.show(&steps);
        for _ in 0..2 {
            self.purchase(at);
        }
        true
    }

    /// One more purchase, now.
    pub(crate) fn purchase(&mut self, at: Timestamp) {
        let plan = self.persona.purchase(&self.person, day(at), self.extra_purchases);
        if plan.account >= self.accounts.len() {
            return;
        }
        self.extra_purchases += 1;
        self.ledger.add([plan]);
        self.settle(at);
    }

    fn show(&mut self, steps: &[Step]) -> bool {
        self.rows.apply(steps);
        !steps.is_empty()
    }

    fn plan_until(&mut self, today: Date) {
        let horizon = today.saturating_add(HORIZON_DAYS.days());
        let opened = day(self.created_at);
        let span = match self.planned {
            None => (opened.saturating_sub(MAXIMUM_DAYS.days()), horizon),
            Some((_, last)) if last < today => (last.saturating_add(1.days()), horizon),
            Some(_) => return,
        };
        self.ledger.add(self.persona.plans(&self.person, opened, span));
        self.planned = Some(span);
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
        let available: Vec<&str> =
            ["assets", "auth", "identity", "investments", "liabilities", "transactions"]
                .into_iter()
                .filter(|product| !self.has(product))
                .collect();
        json!({
            "available_products": available,
            "billed_products": self.products,
            "consent_expiration_time": null,
            "error": self.login_required.then(|| PlaidError::login_required().object()),
            "institution_id": self.institution_id,
            "institution_name": self.institution_name,
            "item_id": self.namer.item_id,
            "products": self.products,
            "update_type": "background",
            "webhook": self.webhook.as_deref().unwrap_or(""),
        })
    }

    /// The additions of `/item/get`.
    pub(crate) fn json_with_consent(&self) -> Value {
        let mut item = self.json();
        item["created_at"] = json!(self.created_at.to_string());
        item["consented_products"] = json!(self.products);
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
    pub(crate) fn account_json(&self, index: usize) -> Value {
        let account = &self.accounts[index];
        let plan = &account.plan;
        let (available, current) = self.balances(index);
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
        json
    }

    fn balances(&self, index: usize) -> (Option<Decimal>, Option<Decimal>) {
        let plan = &self.accounts[index].plan;
        let (opening, available) = match plan.balances {
            Balances::Fixed { available, current } => return (available, current),
            Balances::Follow { opening, available } => (opening, available),
        };
        let sum = |state| {
            let own = self.ledger.events().iter().filter(|event| event.plan.account == index);
            own.filter(|event| event.state == state).map(Event::amount).sum::<Decimal>()
        };
        let (posted, pending) =
            (sum(crate::ledger::State::Posted), sum(crate::ledger::State::Pending));
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
