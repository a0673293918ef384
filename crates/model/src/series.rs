//! What several transactions say together: which belong to each other, which come again, where money
//! comes from, what is owed, what was in an account on a day.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Confidence;

/// One half of a transfer between the end user's own accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transfer {
    /// The same for both halves: our id of the one that leaves. Absent when the other account is not
    /// connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// Our id of the other half. Absent when the other account is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// How sure.
    #[schema(value_type = f64, minimum = 0, maximum = 0.99)]
    pub confidence: Confidence,
    /// Why, in words.
    pub reason: String,
}

/// Money back for an earlier transaction, or the same transaction once more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tie {
    /// Our id of the earlier transaction.
    pub of: String,
    /// How sure.
    #[schema(value_type = f64, minimum = 0, maximum = 0.99)]
    pub confidence: Confidence,
    /// Why, in words.
    pub reason: String,
}

/// A transaction's place in a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Membership {
    /// The series' id: our id of its first transaction.
    pub id: String,
    /// How often it comes.
    pub cadence: Cadence,
    /// Why, in words; the series itself says how well it holds.
    pub reason: String,
}

/// How often a series comes. An open set: values are only ever added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cadence {
    /// Every working day.
    Weekdays,
    /// Every seven days.
    Weekly,
    /// Every fourteen days.
    Biweekly,
    /// Every twenty-eight days.
    FourWeekly,
    /// Every thirty days.
    ThirtyDays,
    /// Twice a month, on fixed days.
    SemiMonthly,
    /// Every month.
    Monthly,
    /// Every second month.
    Bimonthly,
    /// Every third month.
    Quarterly,
    /// Every sixth month.
    Semiannual,
    /// Every year.
    Annual,
    /// Again and again, with no rhythm.
    Irregular,
}

impl Cadence {
    /// In words that people read.
    pub fn words(self) -> &'static str {
        match self {
            Self::Weekdays => "every working day",
            Self::Weekly => "every week",
            Self::Biweekly => "every other week",
            Self::FourWeekly => "every four weeks",
            Self::ThirtyDays => "every thirty days",
            Self::SemiMonthly => "twice a month",
            Self::Monthly => "every month",
            Self::Bimonthly => "every other month",
            Self::Quarterly => "every quarter",
            Self::Semiannual => "twice a year",
            Self::Annual => "every year",
            Self::Irregular => "now and then",
        }
    }
}

/// Whether somebody has to pay, or likes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecurringKind {
    /// It keeps a rhythm: pay, rent, subscriptions.
    Contract,
    /// It comes again without a rhythm: the coffee shop.
    Habit,
}

/// Where a series stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecurringState {
    /// Too few transactions to be sure.
    Early,
    /// It keeps coming.
    Active,
    /// The last one that was due did not come.
    Missed,
    /// Two in a row did not come: it is over.
    Ended,
}

/// Transactions that come again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recurring {
    /// Our id of its first transaction.
    pub id: String,
    /// With whom.
    pub name: String,
    /// `in` or `out`.
    pub direction: crate::Direction,
    /// Our category, where its transactions have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<String>,
    /// Contract or habit.
    pub kind: RecurringKind,
    /// How often.
    pub cadence: Cadence,
    /// Where it stands.
    pub state: RecurringState,
    /// How many transactions it has.
    pub count: u32,
    /// Date of the first.
    #[schema(value_type = String, format = Date)]
    pub first: Date,
    /// Date of the last.
    #[schema(value_type = String, format = Date)]
    pub last: Date,
    /// The currency of its amounts.
    pub currency: String,
    /// Decimal with Plaid's sign: the amount in the middle of the last twelve.
    pub amount: String,
    /// The smallest and the largest of the last twelve, by size.
    pub amount_band: [String; 2],
    /// When the next is due, and the first and last day it may come; absent for habits and what has
    /// ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextDate>,
    /// Due days of late that had no transaction, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub missed: Vec<Date>,
    /// A fixed amount that is another now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<AmountChange>,
    /// Our ids of its transactions, the oldest first.
    pub transactions: Vec<String>,
    /// Why, in words.
    pub reason: String,
}

/// A day in the future, and how far it may be off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextDate {
    /// The likeliest day.
    #[schema(value_type = String, format = Date)]
    pub date: Date,
    /// First day it may come.
    #[schema(value_type = String, format = Date)]
    pub from: Date,
    /// Last day it may come.
    #[schema(value_type = String, format = Date)]
    pub to: Date,
}

/// An amount that was the same each time, and is another now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AmountChange {
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
    /// Since when.
    #[schema(value_type = String, format = Date)]
    pub on: Date,
}

/// Where money comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncomeSource {
    /// Who pays.
    pub name: String,
    /// `salary`, `gig`, `benefits`, `pension`, `interest`, `dividends`, `rent`, `revenue`, `deposits`,
    /// `other`; an open set.
    pub kind: String,
    /// How often, over all of its payments.
    pub cadence: Cadence,
    /// How many payments.
    pub count: u32,
    /// Date of the first.
    #[schema(value_type = String, format = Date)]
    pub first: Date,
    /// Date of the last.
    #[schema(value_type = String, format = Date)]
    pub last: Date,
    /// The currency of its amounts.
    pub currency: String,
    /// Decimal, positive: all that came.
    pub total: String,
    /// Decimal, positive: what came in the ninety days up to the last day the bank told of.
    pub last_90_days: String,
}

/// What is owed to one lender, as far as payments tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DebtPosition {
    /// The lender.
    pub name: String,
    /// `mortgage`, `auto`, `student`, `card`, `installments`, `earned_wage`, `advance`, `loan`, `lease`,
    /// `collection`; an open set.
    pub kind: String,
    /// How often it is paid back.
    pub cadence: Cadence,
    /// Equal payments on working days or every week: how advances on a business's sales are paid back.
    pub looks_like_sales_advance: bool,
    /// Whether it is still being paid.
    pub is_open: bool,
    /// The currency of its amounts.
    pub currency: String,
    /// Decimal, positive: what was lent, as far as it was seen.
    pub received: String,
    /// Decimal, positive: what was paid back.
    pub paid: String,
    /// Decimal, positive: the payment in the middle.
    pub usual_payment: String,
    /// How many payments.
    pub payments: u32,
    /// Date of the first transaction.
    #[schema(value_type = String, format = Date)]
    pub first: Date,
    /// Date of the last.
    #[schema(value_type = String, format = Date)]
    pub last: Date,
}

/// What an account held at the end of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DayBalance {
    /// The day.
    #[schema(value_type = String, format = Date)]
    pub date: Date,
    /// Decimal; for credit and loans what is owed.
    pub balance: String,
    /// What it rests on.
    pub basis: Basis,
}

/// What a day's balance rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The bank said so that day.
    Read,
    /// Counted between two readings that agree with the transactions.
    Verified,
    /// Counted from the nearest reading; nothing contradicts it.
    Counted,
    /// Between two readings that the transactions do not explain.
    Unverified,
}

/// A stretch between two readings that its transactions do not explain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drift {
    /// Day of the earlier reading.
    #[schema(value_type = String, format = Date)]
    pub from: Date,
    /// Day of the later reading.
    #[schema(value_type = String, format = Date)]
    pub to: Date,
    /// Decimal: the later reading less what was expected.
    pub amount: String,
}

/// An account's balances day by day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BalanceHistory {
    /// Plaid's account id.
    pub account_id: String,
    /// The currency.
    pub currency: String,
    /// Every day between the first and the last that anything is known of.
    pub days: Vec<DayBalance>,
    /// Where the readings and the transactions disagree.
    pub drifts: Vec<Drift>,
}

/// What an end user's transactions say together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndUserSeries {
    /// What comes again, the largest first.
    pub recurring: Vec<Recurring>,
    /// Where money comes from, the largest first.
    pub income: Vec<IncomeSource>,
    /// What is owed, the largest payments first.
    pub debts: Vec<DebtPosition>,
}
