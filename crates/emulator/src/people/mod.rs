//! Account holders: which accounts they have, and what they do with their money day by day.

mod custom_products;
mod custom_user;
mod default_user;
mod merchants;
mod products;
mod regular;

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::Value;

pub(crate) use merchants::{Merchant, recognise};
pub(crate) use products::{Investment, Numbers, Owed, Portfolio, Security};

use crate::book::Insertion;
use crate::error::PlaidError;
use crate::ledger::Plan;

/// Sandbox users with a life of their own, and the profile each lives by. Those from
/// `user_gig_worker` on are this emulator's.
pub(crate) const USERS: [(&str, &str); 24] = [
    ("user_transactions_dynamic", "household"),
    ("user_yuppie", "household"),
    ("user_ewa_user", "gig_worker"),
    ("user_small_business", "business"),
    ("user_bank_income", "household"),
    ("user_credit_bonus", "household"),
    ("user_credit_joint_account", "household"),
    ("user_credit_profile_poor", "gig_worker"),
    ("user_credit_profile_good", "household"),
    ("user_credit_profile_excellent", "retiree"),
    ("user_prism_1", "household"),
    ("user_prism_2", "gig_worker"),
    ("user_prism_3", "retiree"),
    ("user_prism_4", "household"),
    ("user_prism_5", "gig_worker"),
    ("user_prism_6", "retiree"),
    ("user_prism_7", "household"),
    ("user_prism_8", "gig_worker"),
    ("user_limited_purpose_checking", "gig_worker"),
    ("user_gig_worker", "gig_worker"),
    ("user_household", "household"),
    ("user_retiree", "retiree"),
    ("user_restaurant", "restaurant"),
    ("user_business", "business"),
];

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
    pub(crate) portfolio: Portfolio,
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
            other => {
                let known = USERS.iter().find(|(name, _)| *name == other);
                known.map(|(_, profile)| Self::Regular(profile)).ok_or_else(|| {
                    PlaidError::invalid_field(format!(
                        "override_username {other} is not a sandbox user; use user_good, \
                         user_custom, user_transactions_dynamic, user_small_business or another \
                         of the documented ones"
                    ))
                })
            }
        }
    }

    /// The error the user's configuration asks for at creation, if any.
    pub(crate) fn forced_error(&self) -> Option<&str> {
        match self {
            Self::Custom(config) => config.force_error.as_deref(),
            _ => None,
        }
    }

    /// Whether the captcha in Link fails.
    pub(crate) fn fails_captcha(&self, password: &str) -> bool {
        match self {
            Self::Custom(config) => config.fails_captcha(),
            _ => password.replace(' ', "") == r#"{"recaptcha":"bad"}"#,
        }
    }

    /// What the user's bank asks for after the password, in Link.
    pub(crate) fn challenge(&self, password: &str) -> Option<Challenge> {
        match self {
            Self::Custom(config) => config.challenge(),
            _ => Challenge::of(password),
        }
    }

    /// The accounts this person opens, on a day.
    pub(crate) fn accounts(&self, person: &Person, opened: Date) -> Vec<AccountPlan> {
        let mut accounts = match self {
            Self::Default => default_user::accounts(opened),
            Self::Custom(config) => custom_user::accounts(config, person, opened),
            Self::Regular(profile) => regular::accounts(profile, person),
        };
        for account in &mut accounts {
            account.complete(opened);
        }
        accounts
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

    /// A purchase made today on the person's spending account, if there is one.
    pub(crate) fn purchase(&self, person: &Person, today: Date, number: u64) -> Option<Plan> {
        let account = match self {
            Self::Default | Self::Regular(_) => 0,
            Self::Custom(config) => custom_user::spending_account(config)?,
        };
        Some(regular::purchase(person, account, today, number))
    }

    /// A row put in by hand.
    pub(crate) fn insertion(&self, number: usize, row: &Insertion) -> Plan {
        Plan {
            label: format!("insertion/{number}"),
            account: row.account,
            occurs_on: row.transacted.min(row.posted),
            posts_on: row.posted,
            vanishes_on: None,
            pending_amount: row.amount,
            amount: row.amount,
            currency: row.currency.clone(),
            description: custom_user::describe(&row.description, row.amount),
        }
    }
}

impl AccountPlan {
    /// Fills in what a bank has of every account.
    fn complete(&mut self, opened: Date) {
        let (kind, subtype) = (self.account_type.as_str(), self.subtype.as_deref());
        if self.portfolio.numbers == Numbers::default() {
            self.portfolio.numbers = products::usual_numbers(kind, subtype, self.mask.as_deref());
        }
        if self.portfolio.liability.is_none() {
            let owed = match self.balances {
                Balances::Fixed { current, .. } => current,
                Balances::Follow { opening, .. } => Some(opening),
            };
            let owed = owed.map_or(Value::Null, crate::item::number);
            self.portfolio.liability = products::usual_liability(kind, subtype, &owed, opened);
        }
        if self.portfolio.owner.is_null() {
            self.portfolio.owner = default_user::owner();
        }
    }

    /// A savings account that somebody opens later.
    pub(crate) fn late_savings(number: usize, opened: Date) -> Self {
        let balance = Some(Decimal::new(2_500, 0));
        let mut account = Self {
            name: format!("New Savings {number}"),
            official_name: Some("Plaid Late Savings".to_owned()),
            mask: Some(format!("{:04}", 7_700 + number)),
            account_type: "depository".to_owned(),
            subtype: Some("savings".to_owned()),
            currency: "USD".to_owned(),
            limit: None,
            holder_category: None,
            balances: Balances::Fixed { available: balance, current: balance },
            portfolio: Portfolio::default(),
        };
        account.complete(opened);
        account
    }
}

/// What a bank asks for after the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A code sent to a device; it is 1234.
    Device,
    /// Rounds of questions; the answers are `answer_<round>_<question>`.
    Questions { rounds: usize, questions: usize },
    /// Rounds of questions with options; the first one is right.
    Selections { rounds: usize, questions: usize, options: usize },
}

/// The code that every device shows.
const DEVICE_CODE: &str = "1234";

impl Challenge {
    /// What a sandbox password asks for.
    fn of(password: &str) -> Option<Self> {
        let numbers = |rest: &str| -> Vec<usize> {
            rest.split('_')
                .filter_map(|part| part.parse().ok())
                .filter(|n| *n > 0 && *n < 10)
                .collect()
        };
        if password == "mfa_device" {
            return Some(Self::Device);
        }
        if let Some(rest) = password.strip_prefix("mfa_questions_") {
            let [rounds, questions] = numbers(rest)[..] else { return None };
            return Some(Self::Questions { rounds, questions });
        }
        let rest = password.strip_prefix("mfa_selections")?;
        match numbers(rest)[..] {
            [] => Some(Self::Selections { rounds: 1, questions: 1, options: 2 }),
            [rounds, questions, options] => Some(Self::Selections { rounds, questions, options }),
            _ => None,
        }
    }

    pub(crate) fn rounds(&self) -> usize {
        match self {
            Self::Device => 1,
            Self::Questions { rounds, .. } | Self::Selections { rounds, .. } => *rounds,
        }
    }

    /// Questions of a round, each with its options (none: free text) and its right answer.
    pub(crate) fn questions(&self, round: usize) -> Vec<(String, Vec<String>, String)> {
        match self {
            Self::Device => {
                vec![("Code sent to your device".to_owned(), Vec::new(), DEVICE_CODE.to_owned())]
            }
            Self::Questions { questions, .. } => (0..*questions)
                .map(|n| {
                    (format!("Question {round}.{n}"), Vec::new(), format!("answer_{round}_{n}"))
                })
                .collect(),
            Self::Selections { questions, options, .. } => (0..*questions)
                .map(|n| {
                    let mut choices = vec!["Yes".to_owned(), "No".to_owned()];
                    choices.extend((2..*options).map(|option| format!("Option {option}")));
                    (format!("Question {round}.{n}"), choices, "Yes".to_owned())
                })
                .collect(),
        }
    }
}

/// Largest amount that is taken: ten billion. Sums of a hundred thousand of them, and minor units
/// of the smallest kind, can still be told.
const MOST: Decimal = Decimal::from_parts(1_410_065_408, 2, 0, false, 0);

/// Whether a number can be an amount.
pub(crate) fn is_amount(number: Decimal) -> bool {
    number.abs() <= MOST
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
