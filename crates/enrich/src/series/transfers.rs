//! Money that went from one account of the holder to another: every pair of rows that could be its two
//! halves is given a score, and the best pairs win. A false pair hides money that was earned or spent,
//! so a pair needs words or numbers that speak for it, not only equal amounts.

use std::collections::{BTreeMap, HashMap};

use model::{Confidence, Transfer};

use super::{Pairing, Row, Rows};
use crate::category::Leaf;
use crate::enrichment::Flag;
use crate::memory::CERTAIN;
use crate::transaction::AccountKind;

/// The half that comes in may be booked so many days before the other, and so many after it.
const DAYS_BEFORE: i32 = 1;
const DAYS_AFTER: i32 = 5;
/// A pair needs this much.
const LEAST_SCORE: i32 = 65;
/// Scores, and how often pairs of at least that score are right.
const PERCENTS: [(i32, u8); 3] = [(105, 99), (85, 97), (LEAST_SCORE, 90)];
/// How often a row that says it is a transfer is one whose other account is not connected.
const UNCONNECTED: u8 = 85;
/// The reason of a pair that a person made.
pub const PAIRED_BY_PERSON: &str = "a person paired them";

/// Plaid's categories that say a row is half of an own transfer.
const OWN: [&str; 5] = [
    "TRANSFER_IN_ACCOUNT_TRANSFER",
    "TRANSFER_OUT_ACCOUNT_TRANSFER",
    "TRANSFER_IN_SAVINGS",
    "TRANSFER_OUT_SAVINGS",
    "LOAN_PAYMENTS_CREDIT_CARD_PAYMENT",
];
/// Words for an account of one's own, and for a card that was paid.
const ACCOUNT_WORDS: [&str; 18] = [
    "sav", "savings", "saver", "chk", "checking", "chequing", "current", "card", "crd", "credit",
    "account", "acct", "acc", "own", "internal", "isa", "thank", "autopay",
];
/// Fewest characters of an account's number.
const MASK_DIGITS: usize = 3;
/// What is never half of one: what was earned, bought, owed to a bank or drawn in cash.
const AGAINST: [Flag; 14] = [
    Flag::Check,
    Flag::Person,
    Flag::Income,
    Flag::Revenue,
    Flag::Payroll,
    Flag::Refund,
    Flag::Fee,
    Flag::Cash,
    Flag::Tax,
    Flag::Chargeback,
    Flag::Returned,
    Flag::PaydayAdvance,
    Flag::MerchantCashAdvance,
    Flag::Gambling,
];
/// Categories that say nothing for or against.
const OPEN: [&str; 5] = ["TRANSFER_IN", "TRANSFER_OUT", "LOAN_PAYMENTS", "OTHER", ""];

struct Candidate {
    score: i32,
    gap: i32,
    out: usize,
    into: usize,
}

pub(super) fn find(rows: &mut Rows<'_>) {
    decided(rows);
    let mut candidates = candidates(rows);
    let order = |of: &Candidate| {
        (-of.score, of.gap.abs(), rows.all[of.out].entry.id, rows.all[of.into].entry.id)
    };
    candidates.sort_by(|a, b| order(a).cmp(&order(b)));
    for Candidate { score, gap, out, into } in candidates {
        if is_taken(&rows.all[out]) || is_taken(&rows.all[into]) {
            continue;
        }
        let percent = PERCENTS.iter().find(|(least, _)| score >= *least).map_or(0, |(_, p)| *p);
        let when = match gap {
            0 => "the same day".to_owned(),
            1 | -1 => "a day apart".to_owned(),
            _ => format!("{} days apart", gap.abs()),
        };
        let said =
            |row: &Row<'_>| if says_transfer(row) { "says transfer" } else { "names nobody" };
        let (a, b) = (said(&rows.all[out]), said(&rows.all[into]));
        let reason = format!(
            "equal amounts {when} in two accounts; money out {a}, money in {b}; score {score}"
        );
        pair(rows, (out, into), percent, &reason);
    }
    unconnected(rows);
}

/// What people paired, which is not asked again.
fn decided(rows: &mut Rows<'_>) {
    let by_id: HashMap<&str, usize> =
        rows.all.iter().enumerate().map(|(at, row)| (row.entry.id, at)).collect();
    let pairs: Vec<_> = rows
        .all
        .iter()
        .enumerate()
        .filter_map(|(at, row)| match row.entry.decided? {
            Pairing::With(other) => Some((at, *by_id.get(other)?)),
            Pairing::Alone => None,
        })
        .filter(|(at, other)| rows.all[*at].is_out() != rows.all[*other].is_out())
        // What a person said of the other half itself stands.
        .filter(|(at, other)| match rows.all[*other].entry.decided {
            None => true,
            Some(Pairing::With(id)) => id == rows.all[*at].entry.id,
            Some(Pairing::Alone) => false,
        })
        .collect();
    for (at, other) in pairs {
        if !is_taken(&rows.all[at]) && !is_taken(&rows.all[other]) {
            let halves = if rows.all[at].is_out() { (at, other) } else { (other, at) };
            pair(rows, halves, CERTAIN.0, PAIRED_BY_PERSON);
        }
    }
}

fn is_taken(row: &Row<'_>) -> bool {
    row.ties.transfer.is_some()
}

fn pair(rows: &mut Rows<'_>, (out, into): (usize, usize), percent: u8, reason: &str) {
    let ids = [out, into].map(|at| rows.all[at].entry.id.to_owned());
    for (at, other) in [(out, 1), (into, 0)] {
        rows.all[at].ties.transfer = Some(Transfer {
            pair: Some(ids[0].clone()),
            other: Some(ids[other].clone()),
            confidence: Confidence(percent),
            reason: reason.to_owned(),
        });
    }
}

fn candidates(rows: &Rows<'_>) -> Vec<Candidate> {
    // Rows of one size and currency, by day, money out and money in apart.
    let mut sizes: BTreeMap<(&str, u64), [Vec<usize>; 2]> = BTreeMap::new();
    for at in rows.single() {
        let row = &rows.all[at];
        let open = row.entry.decided != Some(Pairing::Alone) && !is_taken(row);
        if row.entry.amount != 0 && open {
            let size = sizes.entry((row.entry.currency, row.entry.amount.unsigned_abs()));
            size.or_default()[usize::from(!row.is_out())].push(at);
        }
    }
    let mut found = Vec::new();
    for [outs, ins] in sizes.values() {
        for out in outs {
            let day = rows.all[*out].day;
            let near = |of: &[usize], before: i32| {
                let from = of.partition_point(|at| rows.all[*at].day < day - before);
                from..of.partition_point(|at| rows.all[*at].day <= day + DAYS_AFTER)
            };
            let close = near(outs, DAYS_AFTER).len() + near(ins, DAYS_AFTER).len();
            for into in &ins[near(ins, DAYS_BEFORE)] {
                if rows.all[*out].entry.account == rows.all[*into].entry.account {
                    continue;
                }
                // The two themselves are among those close by.
                let score = score(rows, *out, *into, close.saturating_sub(2));
                if score >= LEAST_SCORE {
                    let gap = rows.all[*into].day - day;
                    found.push(Candidate { score, gap, out: *out, into: *into });
                }
            }
        }
    }
    found
}

/// How much speaks for two rows being halves of one transfer.
fn score(rows: &Rows<'_>, out: usize, into: usize, rivals: usize) -> i32 {
    let (one, other) = (&rows.all[out], &rows.all[into]);
    let mut score = leg(one) + leg(other);
    score += number(rows, out, into) + number(rows, into, out);
    score += match other.day - one.day {
        0 => 10,
        -1 | 1 => 5,
        2 | 3 => 0,
        _ => -10,
    };
    score += if rivals == 0 { 20 } else { 0 };
    score += if one.entry.amount % 100 == 0 { 0 } else { 10 };
    // A purchase on a card is no transfer into it, and cards pay nobody's account.
    if rows.holding(out).kind == AccountKind::Credit && !says_transfer(one) {
        score -= 40;
    }
    score
}

/// What a row itself says.
fn leg(row: &Row<'_>) -> i32 {
    if says_transfer(row) {
        40
    } else if AGAINST.iter().any(|flag| row.has(*flag)) || !OPEN.contains(&row.primary()) {
        -60
    } else if row.entry.merchant.is_some() {
        0
    } else {
        15
    }
}

/// Whether a category is that of an own transfer.
pub(crate) fn is_own(leaf: Leaf) -> bool {
    OWN.contains(&leaf.plaid())
}

/// Whether a row says that it is half of an own transfer: its category, and a word of its own for an
/// account. "Transfer to" a name may be anybody.
fn says_transfer(row: &Row<'_>) -> bool {
    let own = row.entry.leaf.is_some_and(is_own) || row.has(Flag::Transfer);
    own && !row.has(Flag::Person) && names_account(&row.text)
}

/// Whether a row's text names the other account's number, or that of another account of the holder.
fn number(rows: &Rows<'_>, row: usize, other: usize) -> i32 {
    let text = &rows.all[row].text;
    let names = |mask: &str| {
        mask.len() >= 3 && text.split(' ').any(|word| word.trim_start_matches('x') == mask)
    };
    if names(rows.holding(other).mask) {
        return 40;
    }
    let own = rows.holding(row).mask;
    let elsewhere = rows.holdings.iter().any(|holding| holding.mask != own && names(holding.mask));
    if elsewhere { -60 } else { 0 }
}

/// Whether a text names an account: by its kind, or by a number.
fn names_account(text: &str) -> bool {
    let is_number = |word: &str| {
        word.len() >= MASK_DIGITS
            && word.trim_start_matches('x').bytes().all(|b| b.is_ascii_digit())
    };
    text.split(' ').any(|word| ACCOUNT_WORDS.contains(&word) || is_number(word))
}

/// Rows that say they are transfers and whose other half would have come by now.
fn unconnected(rows: &mut Rows<'_>) {
    // What one login has not shown yet, it may still show.
    let seen = rows.shown.iter().copied().filter(|day| *day > i32::MIN);
    let latest = seen.min().unwrap_or(i32::MIN);
    let singles: Vec<usize> = rows.single().collect();
    for at in singles {
        let row = &rows.all[at];
        let waited = latest - row.day > DAYS_AFTER;
        let open = !is_taken(row) && row.entry.decided != Some(Pairing::Alone);
        if open && waited && says_transfer(row) && !AGAINST.iter().any(|flag| row.has(*flag)) {
            let way = if row.is_out() { "to" } else { "from" };
            let reason = format!(
                "says transfer, and no equal half within {DAYS_AFTER} days: {way} an account that is not connected"
            );
            rows.all[at].ties.transfer = Some(Transfer {
                pair: None,
                other: None,
                confidence: Confidence(UNCONNECTED),
                reason,
            });
        }
    }
}
