//! Measures what series find in the emulator's people: 200 households and 100 businesses with two years
//! each, against the bank's own ledger. `make eval` runs it; `docs/accuracy.md` says what it means.
//!
//! Arguments: a seed, and how many people of each kind.
#![expect(clippy::float_arithmetic, reason = "shares and percentages for people")]

use std::time::Instant;

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use testkit::{Bank, Household, PEOPLE, SeriesScore};

/// Seed of the published figures: not one that series were tuned on.
const SEED: u64 = 9_061;
/// How many of each kind of business: twice fifty are 100, and there are twice as many households.
const OF_EACH: usize = 50;
/// So many of the kinds, the first, are households.
const HOUSEHOLDS: usize = 3;
/// Balances are read so often, so many days apart.
const READINGS: i64 = 15;
const DAYS_BETWEEN: i64 = 3;
/// They are counted from one reading of so many; the others are the truth.
const KNOWN_EVERY: usize = 5;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let seed = arguments.next().unwrap_or(SEED);
    let of_each = arguments.next().and_then(|n| usize::try_from(n).ok()).unwrap_or(OF_EACH);
    let bank = Bank::open(seed).await;
    let mut people = Vec::new();
    for (number, who) in PEOPLE.into_iter().enumerate() {
        let count = if number < HOUSEHOLDS { (of_each * 4).div_ceil(3) } else { of_each };
        for _ in 0..count {
            people.push(bank.household(who).await);
        }
    }
    let today = testkit::now().to_zoned(TimeZone::UTC).date();
    let began = Instant::now();
    let mut score = SeriesScore::default();
    let mut rows = 0;
    for household in &people {
        let own = household.score(today);
        rows += own.rows;
        score += own;
    }
    // Each is read once whole and once at each of three cuts.
    println!("{} people of the emulator's, seed {seed}, two years each", people.len());
    tell(&score);
    println!("  {:.1} s for {rows} rows, four times each", began.elapsed().as_secs_f64());
    balances(&bank, &mut people, today).await;
    bank.close().await;
}

fn tell(score: &SeriesScore) {
    let share = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
    let [there, said, right] = score.transfers;
    println!(
        "  transfers: {there} pairs; precision {:.2} %, recall {:.2} %; {} wrongly to an account not connected",
        share(right, said),
        share(right, there),
        score.wrongly_unconnected
    );
    let [there, found] = score.duplicates;
    println!(
        "  duplicates: {there}; recall {:.2} %; false marks {} of {} rows, {:.4} %",
        share(found, there),
        score.false_marks,
        score.rows,
        share(score.false_marks, score.rows)
    );
    let [there, found] = score.refunds;
    println!("  refunds: {there}; tied to their payment {:.2} %", share(found, there));
    let [there, found] = score.rhythms;
    let [said, right, days] = score.dates;
    println!(
        "  recurring: {there} rhythms; recall {:.2} %; next date within its interval {:.2} % of {said}, \
         intervals of {:.1} days",
        share(found, there),
        share(right, said),
        days as f64 / said.max(1) as f64
    );
}

/// Lets days pass, reads every balance now and then, and compares with what is counted from few of them.
async fn balances(bank: &Bank, people: &mut [Household], today: Date) {
    let mut readings: Vec<Vec<(Date, Vec<String>)>> = people.iter().map(|_| Vec::new()).collect();
    for number in 1..=READINGS {
        bank.advance(DAYS_BETWEEN).await;
        let day = today.saturating_add((number * DAYS_BETWEEN).days());
        for (household, read) in people.iter().zip(&mut readings) {
            read.push((day, bank.balances(household).await));
        }
    }
    let mut sum = [0; 3];
    for (household, read) in people.iter_mut().zip(&readings) {
        bank.reread(household).await;
        let own = household.score_balances(read, KNOWN_EVERY);
        sum.iter_mut().zip(own).for_each(|(sum, more)| *sum += more);
    }
    let [days, right, drifts] = sum;
    let share = 100.0 * right as f64 / days.max(1) as f64;
    println!("  balances: {right} of {days} days equal, {share:.3} %; {drifts} drifts");
}
