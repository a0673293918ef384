//! Plaid's `user_good`: twelve accounts, and sixteen rows that repeat on an absolute grid of
//! thirty days. Figures: Plaid's sandbox, in `data/user_good.json`.

use std::sync::LazyLock;

use jiff::ToSpan;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Deserialize;

use super::{AccountPlan, Balances, each_day};
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

pub(super) fn accounts() -> Vec<AccountPlan> {
    DATA.accounts.iter().map(open).collect()
}

fn open(account: &AccountData) -> AccountPlan {
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
        assert_eq!(accounts().len(), 12);
    }
}
