//! What comes again: rows of one counterparty and direction, parted by their words and amounts until
//! they keep a rhythm. What keeps one is a contract, with its next date; what only comes often is a habit.

use std::collections::BTreeMap;

use model::{
    AmountChange, Cadence, Direction, Membership, NextDate, Recurring, RecurringKind,
    RecurringState,
};

use super::rhythm::{Rhythm, rhythm, working_day};
use super::{Rows, date_of, decimal, is_within};

/// Fewest rows of a contract, of one that comes four times a year or less, and of a habit.
const LEAST_CONTRACT: usize = 3;
const LEAST_RARE: usize = 2;
const LEAST_HABIT: usize = 6;
/// A habit lasts at least so long.
const HABIT_DAYS: i32 = 60;
/// A habit with no row for so many of its usual gaps has ended.
const HABIT_GAPS: i32 = 6;
/// Below this many rows a rhythm may be chance, so the amounts must be steady, too.
const FEW: usize = 6;
/// Amounts this close, in percent of the middle one, are steady; this close, the same.
const STEADY_PERCENT: u8 = 12;
const SAME_PERCENT: u8 = 2;
/// A gap of more than this, in percent, parts amounts.
const APART_PERCENT: u8 = 10;
/// A contract may have so many rows, in percent, on the day of another.
const MOST_SAME_DAY_PERCENT: usize = 10;
/// The rows that a rhythm and an amount are read off: older ones were another life.
const LATEST: usize = 24;
const LATEST_AMOUNTS: usize = 12;
/// A fixed amount was the same so many times before it changed.
const FIXED_TIMES: usize = 3;
/// Due days without a row, after which a contract has ended.
const MISSED_ENDS: i32 = 2;
/// The same for working days and weeks, where holidays take some.
const MISSED_ENDS_OFTEN: i32 = 4;
/// Categories of what is owed by contract: a few rows of them make a rhythm.
const OF_CONTRACTS: [&str; 4] =
    ["INCOME", "LOAN_PAYMENTS", "RENT_AND_UTILITIES", "GOVERNMENT_AND_NON_PROFIT"];
/// More prices than this are no price list of subscriptions.
const MOST_PRICES: usize = 4;
/// Categories of what people do by themselves.
const OF_HABITS: [&str; 5] =
    ["FOOD_AND_DRINK", "GENERAL_MERCHANDISE", "TRANSPORTATION", "TRAVEL", "MEDICAL"];

/// Rows of one series, by date.
struct Group {
    rows: Vec<usize>,
    rhythm: Option<Rhythm>,
}

pub(super) fn find(rows: &mut Rows<'_>) -> Vec<Recurring> {
    let mut parties: BTreeMap<(String, bool, &str), Vec<usize>> = BTreeMap::new();
    for at in rows.single() {
        let row = &rows.all[at];
        if row.ties.refund.is_none() && row.entry.amount != 0 && !row.party.is_empty() {
            let key = (row.party.clone(), row.is_out(), row.entry.currency);
            parties.entry(key).or_default().push(at);
        }
    }
    let mut groups = Vec::new();
    for party in parties.into_values() {
        part(rows, party, &mut groups);
    }
    let mut found: Vec<Recurring> = Vec::new();
    for group in groups {
        let series = describe(rows, &group);
        // What a row says must not change with every new one: the series has the counts.
        let first = rows.all[group.rows[0]].name();
        let reason = format!("comes {}: {first}", series.cadence.words());
        // A habit binds nobody: its rows stand in the series alone.
        for at in group.rows.iter().filter(|_| group.rhythm.is_some()) {
            let (id, cadence, reason) = (series.id.clone(), series.cadence, reason.clone());
            rows.all[*at].ties.recurring = Some(Membership { id, cadence, reason });
        }
        found.push(series);
    }
    found.sort_by(|a, b| (b.count, &a.id).cmp(&(a.count, &b.id)));
    found
}

/// Parts the rows of a counterparty into series: whole if they keep a rhythm, else by their words, then
/// by their accounts, then by their amounts; what is left is a habit if it comes often.
fn part(rows: &Rows<'_>, party: Vec<usize>, groups: &mut Vec<Group>) {
    let words = |at: &usize| rows.all[*at].words.as_str();
    let account = |at: &usize| rows.all[*at].entry.account;
    let parts = if are_side_by_side(rows, &party) { prices(rows, &party) } else { vec![party] };
    let left = keep_contracts(rows, parts, groups);
    let parts = left.iter().flat_map(|of| grouped(of, words)).collect();
    let left = keep_contracts(rows, parts, groups);
    let parts = left.iter().flat_map(|of| grouped(of, account)).collect();
    let left = keep_contracts(rows, parts, groups);
    let parts = left.iter().flat_map(|of| by_amount(rows, of)).collect();
    let left = keep_contracts(rows, parts, groups);
    let mut rest = left.concat();
    rest.sort_unstable();
    let lasts = |of: &[usize]| rows.all[of[of.len() - 1]].day - rows.all[of[0]].day;
    if rest.len() >= LEAST_HABIT && lasts(&rest) >= HABIT_DAYS {
        groups.push(Group { rows: rest, rhythm: None });
    }
}

/// Rows of each amount.
fn prices(rows: &Rows<'_>, of: &[usize]) -> Vec<Vec<usize>> {
    grouped(of, |at| rows.all[*at].entry.amount)
}

/// Whether all rows have one of a few prices, each several times, and the prices alternate: several
/// things are paid for. A price that followed another is the same thing, dearer.
fn are_side_by_side(rows: &Rows<'_>, of: &[usize]) -> bool {
    let prices = prices(rows, of);
    let alternate = || {
        let spans = prices.iter().map(|price| (price[0], price[price.len() - 1]));
        let mut spans: Vec<(usize, usize)> = spans.collect();
        spans.sort_unstable();
        spans.windows(2).all(|pair| pair[1].0 < pair[0].1)
    };
    (2..=MOST_PRICES).contains(&prices.len())
        && prices.iter().all(|price| price.len() >= LEAST_CONTRACT)
        && alternate()
}

/// Takes out those that keep a rhythm; the others come back.
fn keep_contracts(
    rows: &Rows<'_>,
    parts: Vec<Vec<usize>>,
    groups: &mut Vec<Group>,
) -> Vec<Vec<usize>> {
    let mut left = Vec::new();
    for part in parts {
        match contract(rows, &part) {
            Some(rhythm) => groups.push(Group { rows: part, rhythm: Some(rhythm) }),
            None => left.push(part),
        }
    }
    left
}

fn grouped<K: Ord>(rows: &[usize], key: impl Fn(&usize) -> K) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<K, Vec<usize>> = BTreeMap::new();
    for at in rows {
        groups.entry(key(at)).or_default().push(*at);
    }
    groups.into_values().collect()
}

/// Rows whose amounts lie together.
fn by_amount(rows: &Rows<'_>, of: &[usize]) -> Vec<Vec<usize>> {
    let mut sorted = of.to_vec();
    sorted.sort_by_key(|at| (size(rows, *at), *at));
    let mut parts: Vec<Vec<usize>> = Vec::new();
    for at in sorted {
        match parts.last_mut() {
            Some(part)
                if is_within(size(rows, at), size(rows, part[part.len() - 1]), APART_PERCENT) =>
            {
                part.push(at);
            }
            _ => parts.push(vec![at]),
        }
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts
}

fn size(rows: &Rows<'_>, at: usize) -> u64 {
    rows.all[at].entry.amount.unsigned_abs()
}

/// The rhythm of rows that are bound to come.
fn contract(rows: &Rows<'_>, of: &[usize]) -> Option<Rhythm> {
    let latest = &of[of.len().saturating_sub(LATEST)..];
    let mut days: Vec<i32> = latest.iter().map(|at| rows.all[*at].day).collect();
    days.dedup();
    // Two rows a day are two series, such as wages and their taxes.
    let several_a_day = (latest.len() - days.len()) * 100 > latest.len() * MOST_SAME_DAY_PERCENT;
    if days.len() < LEAST_RARE || several_a_day {
        return None;
    }
    let found = rhythm(&days)?;
    let rare = found.cadence >= Cadence::Quarterly;
    let least = if rare { LEAST_RARE } else { LEAST_CONTRACT };
    let bound = of.last().is_some_and(|at| OF_CONTRACTS.contains(&rows.all[*at].primary()));
    let of_habits = of.last().is_some_and(|at| OF_HABITS.contains(&rows.all[*at].primary()));
    let sure = match days.len() {
        n if n < least => false,
        // Two dates always keep some rhythm.
        2 => bound && are_within(rows, of, SAME_PERCENT),
        n if n < FEW => bound || are_within(rows, latest, STEADY_PERCENT),
        // Who shops every Saturday is bound by nothing, unless it costs the same each time.
        _ => !of_habits || are_within(rows, latest, STEADY_PERCENT),
    };
    sure.then_some(found)
}

/// Whether all amounts are this close to the one in the middle.
fn are_within(rows: &Rows<'_>, of: &[usize], percent: u8) -> bool {
    let middle = median(of.iter().map(|at| size(rows, *at)).collect());
    of.iter().all(|at| is_within(size(rows, *at), middle, percent))
}

fn median<T: Ord + Copy + Default>(mut sizes: Vec<T>) -> T {
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).copied().unwrap_or_default()
}

fn describe(rows: &Rows<'_>, group: &Group) -> Recurring {
    let of = &group.rows;
    let row = |at: usize| &rows.all[at];
    let (first, last) = (row(of[0]), row(of[of.len() - 1]));
    let shown_to = rows.shown_to(of[of.len() - 1]);
    let (state, next) = match &group.rhythm {
        Some(rhythm) => outlook(rhythm, of.len(), shown_to),
        None => (habit_state(rows, of, shown_to), None),
    };
    let missed = group.rhythm.iter().flat_map(|rhythm| missed(rhythm, state, shown_to));
    let currency = last.entry.currency;
    let sizes: Vec<i64> =
        of.iter().rev().take(LATEST_AMOUNTS).map(|at| row(*at).entry.amount).collect();
    // A price that holds again is the price.
    let holds = run(rows, of) >= FIXED_TIMES;
    let usual = if holds { last.entry.amount } else { median(sizes.clone()) };
    let by_size = |amount: &&i64| amount.unsigned_abs();
    let band = [sizes.iter().min_by_key(by_size), sizes.iter().max_by_key(by_size)];
    let cadence = group.rhythm.as_ref().map_or(Cadence::Irregular, |rhythm| rhythm.cadence);
    Recurring {
        id: first.entry.id.to_owned(),
        name: last.name(),
        direction: if last.is_out() { Direction::Out } else { Direction::In },
        leaf: last.entry.leaf.map(|leaf| leaf.name().to_owned()),
        kind: if group.rhythm.is_some() { RecurringKind::Contract } else { RecurringKind::Habit },
        cadence,
        state,
        count: u32::try_from(of.len()).unwrap_or(u32::MAX),
        first: first.entry.date,
        last: last.entry.date,
        currency: currency.to_owned(),
        amount: decimal(usual, currency),
        amount_band: band.map(|amount| decimal(amount.copied().unwrap_or_default(), currency)),
        next,
        missed: missed.map(date_of).collect(),
        changed: changed(rows, of),
        transactions: of.iter().map(|at| row(*at).entry.id.to_owned()).collect(),
        reason: match &group.rhythm {
            Some(rhythm) => {
                format!("{} of the latest {} due days had a transaction", rhythm.kept, rhythm.slots)
            }
            None => format!("{} transactions without a rhythm", of.len()),
        },
    }
}

/// Where a contract stands at the last day its login shows, and when it is due next.
fn outlook(rhythm: &Rhythm, count: usize, shown_to: i32) -> (RecurringState, Option<NextDate>) {
    let often = rhythm.cadence <= Cadence::Biweekly;
    let ends = if often { MISSED_ENDS_OFTEN } else { MISSED_ENDS };
    let mut missed = 0;
    let mut next = rhythm.next(1);
    while next.2 < shown_to && missed < ends {
        missed += 1;
        next = rhythm.next(missed + 1);
    }
    let state = match missed {
        0 if count < LEAST_CONTRACT => RecurringState::Early,
        0 => RecurringState::Active,
        n if n < ends => RecurringState::Missed,
        _ => return (RecurringState::Ended, None),
    };
    let (due, from, to) = next;
    // Banks book nothing on a weekend: what is due on one comes the working day after, or before.
    let to = to.max(working_day(due));
    (state, Some(NextDate { date: date_of(due), from: date_of(from), to: date_of(to) }))
}

/// Due days without a transaction: between others, and behind the last while more may come.
fn missed(rhythm: &Rhythm, state: RecurringState, shown_to: i32) -> Vec<i32> {
    let ahead = (1..).map(|ahead| rhythm.next(ahead));
    let late = ahead.take_while(|(_, _, to)| *to < shown_to).map(|(due, ..)| due);
    let late = late.take(if state == RecurringState::Missed { usize::MAX } else { 0 });
    rhythm.missed.iter().copied().chain(late).collect()
}

fn habit_state(rows: &Rows<'_>, of: &[usize], shown_to: i32) -> RecurringState {
    let gaps = of.windows(2).map(|pair| rows.all[pair[1]].day - rows.all[pair[0]].day);
    let usual = median(gaps.collect()).max(1);
    let silent = shown_to - rows.all[of[of.len() - 1]].day;
    if silent > usual * HABIT_GAPS { RecurringState::Ended } else { RecurringState::Active }
}

/// A fixed amount that is another now: so many equal ones before, and since then equal ones again.
fn changed(rows: &Rows<'_>, of: &[usize]) -> Option<AmountChange> {
    let now = of.len() - run(rows, of);
    let before = &of[..now];
    let (was, is) = (&rows.all[*before.last()?].entry, &rows.all[of[now]].entry);
    (run(rows, before) >= FIXED_TIMES).then(|| AmountChange {
        from: decimal(was.amount, was.currency),
        to: decimal(is.amount, is.currency),
        on: is.date,
    })
}

/// How many rows at the end have the same amount.
fn run(rows: &Rows<'_>, of: &[usize]) -> usize {
    let last = of.last().map(|at| rows.all[*at].entry.amount);
    of.iter().rev().take_while(|at| Some(rows.all[**at].entry.amount) == last).count()
}
