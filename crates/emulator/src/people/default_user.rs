//! Plaid's `user_good`: twelve accounts, and sixteen rows that repeat on an absolute grid of
//! thirty days. Figures: Plaid's sandbox, in `data/user_good.json`.

use std::sync::LazyLock;

use jiff::ToSpan;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::products::{Holding, Investment, Liability, Portfolio, Security};
use super::{AccountPlan, Balances, each_day};
use crate::item::number;
use crate::ledger::{Description, Plan};

/// Days between two repetitions of the rows.
const GRID_DAYS: i32 = 30;
/// The grid's anchor is every date whose Unix day number has this remainder.
const GRID_PHASE: i32 = 7;
/// The oldest row of a repetition stands this many days before its anchor.
const GRID_REACH: i64 = 21;

static DATA: LazyLock<Data> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/user_good.json"))
        .expect("the embedded file is checked by a test")
});

static PRODUCTS: LazyLock<Products> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/user_good_products.json"))
        .expect("the embedded file is checked by a test")
});

/// How often the movements of an investment account repeat: once in thirty days for two years.
const INVESTMENT_REPEATS: i64 = 24;

#[derive(Deserialize)]
struct Products {
    owner: Value,
    liabilities: Vec<LiabilityData>,
    securities: Map<String, Value>,
    holdings: Vec<HoldingData>,
    investment_transactions: Vec<InvestmentData>,
}

#[derive(Deserialize)]
struct LiabilityData {
    account: usize,
    #[serde(flatten)]
    liability: Liability,
}

#[derive(Deserialize)]
struct HoldingData {
    account: usize,
    security: String,
    quantity: Decimal,
    price: Decimal,
    cost_basis: Decimal,
}

#[derive(Deserialize)]
struct InvestmentData {
    account: usize,
    security: String,
    days_before: i64,
    #[serde(flatten)]
    body: Value,
}

#[derive(Deserialize)]
struct Data {
    accounts: Vec<AccountData>,
    rows: Vec<RowData>,
}

#[derive(Deserialize)]
struct AccountData {
    name: String,
    official_name: Option<String>,
    mask: String,
    #[serde(rename = "type")]
    account_type: String,
    subtype: String,
    available: Option<Decimal>,
    current: Option<Decimal>,
    limit: Option<Decimal>,
}

#[derive(Deserialize)]
struct RowData {
    days_before: i64,
    account: usize,
    amount: Decimal,
    description: Description,
}

pub(super) fn accounts(opened: Date) -> Vec<AccountPlan> {
    DATA.accounts.iter().enumerate().map(|(index, account)| open(index, account, opened)).collect()
}

/// The default account holder.
pub(super) fn owner() -> Value {
    PRODUCTS.owner.clone()
}

fn open(index: usize, account: &AccountData, opened: Date) -> AccountPlan {
    AccountPlan {
        name: account.name.clone(),
        official_name: account.official_name.clone(),
        mask: Some(account.mask.clone()),
        account_type: account.account_type.clone(),
        subtype: Some(account.subtype.clone()),
        currency: "USD".to_owned(),
        limit: account.limit,
        holder_category: None,
        balances: Balances::Fixed { available: account.available, current: account.current },
        portfolio: portfolio(index, opened),
    }
}

fn portfolio(index: usize, opened: Date) -> Portfolio {
    let liability = PRODUCTS.liabilities.iter().find(|data| data.account == index);
    let holdings = PRODUCTS.holdings.iter().filter(|data| data.account == index);
    let movements = PRODUCTS.investment_transactions.iter().filter(|data| data.account == index);
    Portfolio {
        owner: owner(),
        liability: liability.map(|data| data.liability.clone()),
        holdings: holdings.map(|data| data.holding(opened)).collect(),
        investments: movements.flat_map(|data| data.repeated(opened)).collect(),
        ..Portfolio::default()
    }
}

fn security(key: &str) -> Security {
    Security::new(key, PRODUCTS.securities.get(key).unwrap_or(&Value::Null), "USD")
}

impl HoldingData {
    fn holding(&self, opened: Date) -> Holding {
        Holding {
            security: security(&self.security),
            quantity: number(self.quantity),
            price: number(self.price),
            value: number(self.quantity * self.price),
            cost_basis: number(self.cost_basis),
            as_of: Some(opened),
            currency: "USD".to_owned(),
        }
    }
}

impl InvestmentData {
    fn repeated(&self, opened: Date) -> impl Iterator<Item = Investment> {
        (0..INVESTMENT_REPEATS).map(move |turn| {
            let days = self.days_before + turn * i64::from(GRID_DAYS);
            let date = opened.saturating_sub(days.days());
            let mut body = self.body.clone();
            for field in ["account", "security", "days_before"] {
                body.as_object_mut().map(|fields| fields.remove(field));
            }
            Investment {
                label: format!("{}/{date}", self.security),
                security: Some(security(&self.security)),
                date,
                currency: "USD".to_owned(),
                body,
            }
        })
    }
}

pub(super) fn plans((from, to): (Date, Date)) -> Vec<Plan> {
    let anchors = each_day((from, to.saturating_add(GRID_REACH.days()))).filter(is_anchor);
    anchors
        .flat_map(|anchor| {
            DATA.rows.iter().enumerate().map(move |(number, row)| plan(anchor, number, row))
        })
        .filter(|plan| from <= plan.posts_on && plan.posts_on <= to)
        .collect()
}

fn is_anchor(day: &Date) -> bool {
    let epoch = Date::constant(1970, 1, 1);
    let number = day.since(epoch).map_or(0, |span| span.get_days());
    number.rem_euclid(GRID_DAYS) == GRID_PHASE
}

fn plan(anchor: Date, number: usize, row: &RowData) -> Plan {
    let day = anchor.saturating_sub(row.days_before.days());
    Plan {
        label: format!("grid/{anchor}/{number}"),
        account: row.account,
        occurs_on: day,
        posts_on: day,
        vanishes_on: None,
        pending_amount: row.amount,
        amount: row.amount,
        currency: "USD".to_owned(),
        description: row.description.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_rows_stand_on_the_grid_plaid_was_seen_to_use() {
        let rows = plans((Date::constant(2026, 10, 12), Date::constant(2026, 11, 10)));
        assert_eq!(rows.len(), 16);
        let day = |name: &str| {
            let row = rows.iter().find(|row| row.description.name == name).expect("the row");
            row.posts_on.to_string()
        };
        assert_eq!(day("Uber 063015 SF**POOL**"), "2026-11-10");
        assert_eq!(day("KFC"), "2026-10-20");
        assert_eq!(accounts(Date::constant(2026, 11, 10)).len(), 12);
    }
}
