//! Account holders: which accounts they have, and what they do with their money day by day.

mod custom_user;
mod default_user;
mod regular;

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::error::PlaidError;
use crate::ledger::Plan;

/// How an account's balances come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Balances {
    /// They never move, as with Plaid's default user.
    Fixed { available: Option<Decimal>, current: Option<Decimal> },
    /// They start at `opening` and follow the transactions.
    Follow { opening: Decimal, available: Available },
}

/// How the available balance of a moving account comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Available {
    Derived,
    Forced(Decimal),
    Null,
}

/// An account to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountPlan {
    pub(crate) name: String,
    pub(crate) official_name: Option<String>,
    pub(crate) mask: Option<String>,
    pub(crate) account_type: String,
    pub(crate) subtype: Option<String>,
    pub(crate) currency: String,
    pub(crate) limit: Option<Decimal>,
    pub(crate) holder_category: Option<String>,
    pub(crate) balances: Balances,
}

/// A kind of account holder.
#[derive(Debug, Clone)]
pub(crate) enum Persona {
    /// Plaid's `user_good`: fixed accounts and a grid of sixteen rows every thirty days.
    Default,
    /// Configured by JSON (`user_custom`).
    Custom(Box<custom_user::Config>),
    /// A life with rhythms; the profile's name.
    Regular(&'static str),
}

/// Which of this world's people, for drawing names and amounts.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) seed: u64,
    pub(crate) label: String,
}

impl Persona {
    /// The account holder that a sandbox user name and password stand for.
    pub(crate) fn of(username: &str, password: &str) -> Result<Self, PlaidError> {
        match username {
            "user_good" => Ok(Self::Default),
            "user_custom" => custom_user::parse(password).map(|config| Self::Custom(config.into())),
            "user_transactions_dynamic" | "user_yuppie" | "user_ewa_user" => {
                Ok(Self::Regular("household"))
            }
            "user_small_business" => Ok(Self::Regular("business")),
            other => Err(PlaidError::invalid_field(format!(
                "override_username {other} is not a sandbox user; use user_good, user_custom, \
                 user_transactions_dynamic, user_yuppie, user_ewa_user or user_small_business"
            ))),
        }
    }

    /// The error the user's configuration asks for at creation, if any.
    pub(crate) fn forced_error(&self) -> Option<&str> {
        match self {
            Self::Custom(config) => config.force_error.as_deref(),
            _ => None,
        }
    }

    /// The accounts this person opens.
    pub(crate) fn accounts(&self, person: &Person) -> Vec<AccountPlan> {
        match self {
            Self::Default => default_user::accounts(),
            Self::Custom(config) => custom_user::accounts(config, person),
            Self::Regular(profile) => regular::accounts(profile, person),
        }
    }

    /// What this person does from one day to another, both included. Pure: the same days always
    /// give the same plans.
    pub(crate) fn plans(&self, person: &Person, opened: Date, days: (Date, Date)) -> Vec<Plan> {
        match self {
            Self::Default => default_user::plans(days),
            Self::Custom(config) => custom_user::plans(config, person, opened, days),
            Self::Regular(profile) => regular::plans(profile, person, days),
        }
    }

    /// Whether a refresh finds something new at this person's bank.
    pub(crate) fn is_lively(&self) -> bool {
        matches!(self, Self::Regular(_))
    }

    /// A purchase made today, on the person's spending account.
    pub(crate) fn purchase(&self, person: &Person, today: Date, number: u64) -> Plan {
        regular::purchase(person, self.spending_account(person), today, number)
    }

    fn spending_account(&self, person: &Person) -> usize {
        let spends = |account: &AccountPlan| account.account_type == "depository";
        self.accounts(person).iter().position(spends).unwrap_or(0)
    }
}

/// A decimal in a JSON number or string, digit for digit.
fn decimal(value: &Value) -> Option<Decimal> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    text.parse().ok().or_else(|| Decimal::from_scientific(&text).ok())
}

/// Every day of a span, both ends included.
fn each_day((from, to): (Date, Date)) -> impl Iterator<Item = Date> {
    from.series(jiff::Span::new().days(1)).take_while(move |day| *day <= to)
}
