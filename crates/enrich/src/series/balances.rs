//! What was in an account at the end of each day: counted forward and back from every reading. Where two
//! readings and the transactions between them do not agree, the difference is shown and the days
//! between are marked, never smoothed over.

use std::collections::BTreeMap;

use jiff::civil::Date;
use model::{BalanceHistory, Basis, DayBalance, Drift};

use super::{date_of, day_number, decimal};

/// Most days that are counted back or on from a reading: ten years, though a bank may date a row to the
/// year one.
const MOST_DAYS: i32 = 3_653;

/// What was booked on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    /// The day it was booked.
    pub date: Date,
    /// In minor units and Plaid's sign: positive is money out.
    pub amount: i64,
}

/// What the bank said was there at the end of a day; for credit and loans what was owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The day.
    pub date: Date,
    /// In minor units.
    pub balance: i64,
}

/// Counts an account's balances from its readings and what was booked. `is_owed` for credit and loans,
/// where money out makes the balance larger. Of several readings of one day the last stands.
pub fn balance_history(
    account_id: &str,
    currency: &str,
    is_owed: bool,
    postings: &[Posting],
    readings: &[Reading],
) -> BalanceHistory {
    let mut history = BalanceHistory {
        account_id: account_id.to_owned(),
        currency: currency.to_owned(),
        days: Vec::new(),
        drifts: Vec::new(),
    };
    let mut moved: BTreeMap<i32, i64> = BTreeMap::new();
    for posting in postings {
        let change = if is_owed { posting.amount } else { -posting.amount };
        let day = moved.entry(day_number(posting.date)).or_default();
        *day = day.saturating_add(change);
    }
    let readings: BTreeMap<i32, i64> =
        readings.iter().map(|reading| (day_number(reading.date), reading.balance)).collect();
    let (Some((&first, &at_first)), Some((&last, _))) =
        (readings.first_key_value(), readings.last_key_value())
    else {
        return history;
    };
    let begin = moved.keys().next().map_or(first, |day| first.min(*day)).max(first - MOST_DAYS);
    let end = moved.keys().next_back().map_or(last, |day| last.max(*day)).min(last + MOST_DAYS);
    let on = |day: i32| moved.get(&day).copied().unwrap_or(0);
    let mut days: BTreeMap<i32, (i64, Basis)> = BTreeMap::new();
    // Back from the first reading.
    let mut balance = at_first;
    for day in (begin..first).rev() {
        balance = balance.saturating_sub(on(day + 1));
        days.insert(day, (balance, Basis::Counted));
    }
    // From each reading to the next, and behind the last.
    let mut from = (first, at_first);
    days.insert(first, (at_first, Basis::Read));
    for (&to, &read) in readings.range(first + 1..) {
        let expected = (from.0 + 1..=to).map(on).fold(from.1, i64::saturating_add);
        let basis = if expected == read { Basis::Verified } else { Basis::Unverified };
        let mut balance = from.1;
        for day in from.0 + 1..to {
            balance = balance.saturating_add(on(day));
            days.insert(day, (balance, basis));
        }
        days.insert(to, (read, Basis::Read));
        if expected != read {
            history.drifts.push(Drift {
                from: date_of(from.0),
                to: date_of(to),
                amount: decimal(read.saturating_sub(expected), currency),
            });
        }
        from = (to, read);
    }
    let mut balance = from.1;
    for day in last + 1..=end {
        balance = balance.saturating_add(on(day));
        days.insert(day, (balance, Basis::Counted));
    }
    history.days = days
        .into_iter()
        .map(|(day, (balance, basis))| DayBalance {
            date: date_of(day),
            balance: decimal(balance, currency),
            basis,
        })
        .collect();
    history
}
