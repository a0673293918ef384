//! Plaid's `user_custom`: accounts and dated transactions from a JSON configuration.
//!
//! A row whose `date_posted` lies in the future is pending until that day. Accounts of type
//! `payroll` exist for income products only and are not shown.

use std::sync::LazyLock;

use jiff::Span;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;

use super::custom_products::Products;
use super::products::Portfolio;
use super::{
    AccountPlan, Available, Balances, Challenge, Person, decimal, each_day, is_amount, recognise,
    regular,
};
use crate::error::PlaidError;
use crate::ledger::{Description, Plan};

/// Plaid's documented ceiling is about 55 kB of JSON.
const MAXIMUM_BYTES: usize = 256 * 1024;

static NO_ACCOUNTS: LazyLock<Vec<Account>> = LazyLock::new(|| vec![Account::default(); 2]);

/// The configuration, as far as this emulator acts on it; everything else is accepted.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Config {
    seed: Option<String>,
    #[serde(default)]
    roll_dates_forward: bool,
    override_accounts: Option<Vec<Account>>,
    pub(super) force_error: Option<String>,
    mfa: Option<Mfa>,
    recaptcha: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Mfa {
    #[serde(rename = "type")]
    kind: String,
    question_rounds: Option<usize>,
    questions_per_round: Option<usize>,
    selection_rounds: Option<usize>,
    selections_per_question: Option<usize>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Account {
    #[serde(rename = "type")]
    account_type: Option<String>,
    subtype: Option<String>,
    starting_balance: Option<Value>,
    force_available_balance: Option<Value>,
    #[serde(default)]
    has_null_available_balance: bool,
    currency: Option<String>,
    meta: Option<Meta>,
    transactions: Option<Vec<Transaction>>,
    inflow_model: Option<InflowModel>,
    #[serde(flatten)]
    products: Products,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Meta {
    name: Option<String>,
    official_name: Option<String>,
    limit: Option<Value>,
    mask: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Transaction {
    date_transacted: Date,
    date_posted: Date,
    amount: Value,
    description: String,
    currency: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct InflowModel {
    #[serde(rename = "type")]
    kind: String,
    income_amount: Option<Value>,
    payment_day_of_month: Option<Value>,
    statement_day_of_month: Option<Value>,
    transaction_name: Option<String>,
}

/// Types an account may have.
const TYPES: [&str; 6] = ["credit", "depository", "investment", "loan", "other", "payroll"];
/// Fewest and most rounds, questions and options of a challenge.
const CHALLENGE: (usize, usize) = (1, 9);

/// Whether any number is larger than an amount may be.
fn has_huge_number(value: &Value) -> bool {
    match value {
        Value::Number(_) => decimal(value).is_none_or(|number| !is_amount(number)),
        Value::Array(entries) => entries.iter().any(has_huge_number),
        Value::Object(fields) => fields.values().any(has_huge_number),
        _ => false,
    }
}

/// Reads the configuration from the password field.
pub(super) fn parse(password: &str) -> Result<Config, PlaidError> {
    if password.len() > MAXIMUM_BYTES {
        return Err(PlaidError::invalid_field("the custom user configuration is too long"));
    }
    let invalid = |why: &str| {
        PlaidError::invalid_field(format!("the custom user configuration is not valid: {why}"))
    };
    let given: Value =
        serde_json::from_str(password).map_err(|error| invalid(&error.to_string()))?;
    if has_huge_number(&given) {
        return Err(invalid("an amount is out of range"));
    }
    let config: Config =
        serde_json::from_value(given).map_err(|error| invalid(&error.to_string()))?;
    for account in config.override_accounts.iter().flatten() {
        if account.account_type.as_deref().is_some_and(|kind| !TYPES.contains(&kind)) {
            return Err(invalid("an account type is unknown"));
        }
        let mut amounts = account.transactions.iter().flatten().map(|row| decimal(&row.amount));
        if amounts.any(|amount| amount.is_none()) {
            return Err(invalid("the amount of a transaction is not a number"));
        }
    }
    Ok(config)
}

pub(super) fn accounts(config: &Config, person: &Person, opened: Date) -> Vec<AccountPlan> {
    // One set of names holds for the whole Item.
    let owner = config.shown_accounts().find_map(|account| account.products.identity.as_ref());
    let shown = config.shown_accounts().enumerate();
    shown
        .map(|(index, account)| {
            let plan = open(index, account, &config.person(person));
            let portfolio = account.products.portfolio(owner, &account.currency(), opened);
            AccountPlan { portfolio, ..plan }
        })
        .collect()
}

/// The first deposit account, else the first; none without accounts.
pub(super) fn spending_account(config: &Config) -> Option<usize> {
    let deposits = |account: &&Account| {
        account.account_type.as_deref().is_none_or(|kind| kind == "depository")
    };
    let first = config.shown_accounts().position(|account| deposits(&account));
    first.or_else(|| config.shown_accounts().next().map(|_| 0))
}

fn open(index: usize, account: &Account, person: &Person) -> AccountPlan {
    let meta = account.meta.clone().unwrap_or_default();
    let subtype = account.subtype.clone().unwrap_or_else(|| "checking".to_owned());
    let forced = account.force_available_balance.as_ref().and_then(decimal);
    let opening = account.starting_balance.as_ref().and_then(decimal).unwrap_or_else(|| {
        regular::purchase(person, index, Date::ZERO, 0).amount * Decimal::from(10)
    });
    AccountPlan {
        name: meta.name.unwrap_or_else(|| format!("Plaid {}", capitalised(&subtype))),
        official_name: meta.official_name,
        mask: meta.mask.or_else(|| Some(format!("{:04}", index * 1111))).filter(|m| !m.is_empty()),
        account_type: account.account_type.clone().unwrap_or_else(|| "depository".to_owned()),
        subtype: Some(subtype),
        currency: account.currency(),
        limit: meta.limit.as_ref().and_then(decimal),
        holder_category: None,
        balances: Balances::Follow {
            opening,
            available: match forced {
                _ if account.has_null_available_balance => Available::Null,
                Some(amount) => Available::Forced(amount),
                None => Available::Derived,
            },
        },
        portfolio: Portfolio::default(),
    }
}

pub(super) fn plans(
    config: &Config,
    person: &Person,
    opened: Date,
    days: (Date, Date),
) -> Vec<Plan> {
    let shift = config.shift(opened);
    // Dated rows are planned once, with the span in which the accounts were opened.
    let first_span = (days.0..=days.1).contains(&opened);
    let mut plans = Vec::new();
    for (index, account) in config.shown_accounts().enumerate() {
        match &account.transactions {
            Some(rows) => plans.extend(rows.iter().enumerate().filter(|_| first_span).filter_map(
                |(number, row)| {
                    let plan = row.plan(account, (index, number), shift)?;
                    // What posts later is pending from the start, whenever it was transacted.
                    Some(Plan { occurs_on: plan.occurs_on.min(opened), ..plan })
                },
            )),
            None if account.spends() => {
                let person = config.person(person);
                plans.extend(each_day(days).filter(|day| day.day() % 4 == 0).map(|day| {
                    let number = u64::from(day.day_of_year().unsigned_abs());
                    let plan = regular::purchase(&person, index, day, number);
                    Plan { label: format!("{index}/{day}"), posts_on: day, ..plan }
                }));
            }
            None => {}
        }
        plans.extend(account.income(index, days));
    }
    plans
}

impl Config {
    fn shown_accounts(&self) -> impl Iterator<Item = &Account> {
        let accounts = self.override_accounts.as_ref().unwrap_or(&NO_ACCOUNTS);
        accounts.iter().filter(|account| account.account_type.as_deref() != Some("payroll"))
    }

    /// What the bank asks for after the password.
    pub(super) fn challenge(&self) -> Option<Challenge> {
        let mfa = self.mfa.as_ref()?;
        let (least, most) = CHALLENGE;
        let of = |count: Option<usize>, usual: usize| count.unwrap_or(usual).clamp(least, most);
        match mfa.kind.as_str() {
            "device" => Some(Challenge::Device),
            "questions" => Some(Challenge::Questions {
                rounds: of(mfa.question_rounds, 1),
                questions: of(mfa.questions_per_round, 1),
            }),
            "selections" => Some(Challenge::Selections {
                rounds: of(mfa.selection_rounds, 1),
                questions: 1,
                options: of(mfa.selections_per_question, 2),
            }),
            _ => None,
        }
    }

    /// Whether the captcha in Link fails.
    pub(super) fn fails_captcha(&self) -> bool {
        self.recaptcha.as_deref() == Some("bad")
    }

    /// The person whose random parts repeat when the configuration has a seed of its own.
    fn person(&self, person: &Person) -> Person {
        match &self.seed {
            Some(seed) => Person { seed: person.seed, label: format!("custom/{seed}") },
            None => person.clone(),
        }
    }

    /// How far all activity moves so that the newest falls on the day of creation.
    fn shift(&self, opened: Date) -> Span {
        let rows = self.shown_accounts().flat_map(|account| account.transactions.iter().flatten());
        match rows.map(|row| row.date_posted).max() {
            Some(newest) if self.roll_dates_forward => opened.since(newest).unwrap_or_default(),
            _ => Span::new(),
        }
    }
}

impl Account {
    fn currency(&self) -> String {
        self.currency.clone().unwrap_or_else(|| "USD".to_owned())
    }

    fn spends(&self) -> bool {
        matches!(self.account_type.as_deref(), None | Some("depository" | "credit"))
    }

    /// The monthly movement of an inflow model: income, or a payment on what is owed.
    fn income(&self, index: usize, days: (Date, Date)) -> Vec<Plan> {
        let Some(model) = &self.inflow_model else { return Vec::new() };
        let owed = self.starting_balance.as_ref().and_then(decimal).unwrap_or_default();
        let (amount, usual_name) = match model.kind.as_str() {
            "monthly-income" => {
                (model.income_amount.as_ref().and_then(decimal).unwrap_or_default(), "INCOME")
            }
            "monthly-balance-payment" => (owed, "BALANCE PAYMENT"),
            "monthly-interest-only-payment" => {
                ((owed * MONTHLY_INTEREST).round_dp(2), "INTEREST PAYMENT")
            }
            _ => return Vec::new(),
        };
        let wanted = model.payment_day_of_month.as_ref().or(model.statement_day_of_month.as_ref());
        let wanted = wanted.and_then(Value::as_i64);
        let pays = |day: &Date| match wanted {
            Some(number) => i64::from(day.day()) == number,
            None => *day == day.last_of_month(),
        };
        let name = model.transaction_name.clone().unwrap_or_else(|| usual_name.to_owned());
        each_day(days)
            .filter(pays)
            .map(|day| Plan {
                label: format!("{index}/income/{day}"),
                account: index,
                occurs_on: day,
                posts_on: day,
                vanishes_on: None,
                pending_amount: -amount,
                amount: -amount,
                currency: self.currency(),
                description: describe(&name, -amount),
            })
            .collect()
    }
}

/// A month's interest on what is owed, where only interest is paid.
const MONTHLY_INTEREST: Decimal = Decimal::from_parts(15, 0, 0, false, 3);

impl Transaction {
    fn plan(
        &self,
        account: &Account,
        (index, number): (usize, usize),
        shift: Span,
    ) -> Option<Plan> {
        let amount = decimal(&self.amount)?;
        let posts_on = self.date_posted.saturating_add(shift);
        let transacted = self.date_transacted.saturating_add(shift).min(posts_on);
        Some(Plan {
            label: format!("{index}/{number}"),
            account: index,
            occurs_on: transacted,
            posts_on,
            vanishes_on: None,
            pending_amount: amount,
            amount,
            currency: self.currency.clone().unwrap_or_else(|| account.currency()),
            description: describe(&self.description, amount),
        })
    }
}

/// What Plaid makes of a bank's line: the merchant if it is known, else little.
pub(super) fn describe(text: &str, amount: Decimal) -> Description {
    if let Some(merchant) = recognise(text).filter(|_| amount.is_sign_positive()) {
        return merchant.description(text.to_owned());
    }
    let category = if amount.is_sign_negative() {
        "TRANSFER_IN_OTHER_TRANSFER_IN"
    } else {
        "GENERAL_MERCHANDISE_OTHER_GENERAL_MERCHANDISE"
    };
    Description {
        name: text.to_owned(),
        category: category.to_owned(),
        confidence: "LOW".to_owned(),
        channel: "other".to_owned(),
        transaction_type: "place".to_owned(),
        ..Description::default()
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
