//! Rows that may stand twice: a charge that was booked again, or an account that is connected twice.
//! They are marked with a reason and never taken away.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Rows, tie};
use crate::enrichment::Flag;

/// A row with the same reference may be booked again so many days later.
const REFERENCE_DAYS: i32 = 3;
/// Fewest digits of a reference: shorter numbers are stores and dates.
const REFERENCE_DIGITS: usize = 6;
/// On so many days equal rows stand side by side where that is a custom: fares, tolls, machines.
const CUSTOM_DAYS: usize = 3;
/// How often such a mark is right, with the bank's own reference and without: judgements, as no public
/// set has the truth.
const WITH_REFERENCE: u8 = 95;
const WITHOUT_REFERENCE: u8 = 80;
/// The same for an account that is connected twice.
const SAME_ACCOUNT: u8 = 97;
/// Fewest rows that two connections of one account must share, and the least share of them, in percent.
const LEAST_SHARED: usize = 5;
const LEAST_SHARE: usize = 80;

pub(super) fn find(rows: &mut Rows<'_>) {
    accounts_twice(rows);
    charges_twice(rows);
}

/// Equal rows of one account, close to each other.
fn charges_twice(rows: &mut Rows<'_>) {
    let mut equal: HashMap<(usize, i64, &str, &str), Vec<usize>> = HashMap::new();
    for at in rows.single() {
        let row = &rows.all[at];
        let key = (row.entry.account, row.entry.amount, row.entry.currency, row.text.as_str());
        equal.entry(key).or_default().push(at);
    }
    let mut found = Vec::new();
    for group in equal.into_values().filter(|group| group.len() > 1) {
        let row = |at: usize| &rows.all[at];
        let first = row(group[0]);
        let referenced = first.text.split(' ').any(is_reference);
        // Cash is drawn twice, and a bank asks its fee twice, in the same words.
        let repeats = [Flag::Cash, Flag::Fee, Flag::Person, Flag::Transfer, Flag::Income];
        let may_repeat = repeats.iter().any(|flag| first.has(*flag));
        if first.has(Flag::Cash) || (may_repeat && !referenced) {
            continue;
        }
        // A shop's number and its phone stand in every line of it: only a bank's own line with the same
        // reference on another day is the same booking.
        let by_merchant = first.entry.merchant.is_some();
        let days = if referenced && !by_merchant { REFERENCE_DAYS } else { 0 };
        let pairs: Vec<_> = group
            .windows(2)
            .filter(|pair| row(pair[1]).day - row(pair[0]).day <= days)
            .map(|pair| (pair[0], pair[1]))
            .collect();
        let on_days: HashSet<i32> = pairs.iter().map(|(_, at)| row(*at).day).collect();
        if on_days.len() >= CUSTOM_DAYS {
            continue;
        }
        found.extend(pairs.into_iter().map(|(of, at)| (of, at, referenced)));
    }
    for (of, at, referenced) in found {
        let (percent, reason) = if referenced {
            (WITH_REFERENCE, "same account, amount and reference")
        } else {
            (WITHOUT_REFERENCE, "same account, day, amount and text")
        };
        rows.all[at].ties.duplicate = Some(tie(rows.all[of].entry.id, percent, reason.to_owned()));
    }
}

/// A number that names one payment.
fn is_reference(word: &str) -> bool {
    word.bytes().filter(u8::is_ascii_digit).count() >= REFERENCE_DIGITS
}

/// Accounts that two logins show: rows are compared as bags of day and amount.
fn accounts_twice(rows: &mut Rows<'_>) {
    for later in 1..rows.holdings.len() {
        for earlier in 0..later {
            let (one, other) = (&rows.holdings[earlier], &rows.holdings[later]);
            let same_number = !one.mask.is_empty() && one.mask == other.mask;
            let same = if one.identity.is_empty() || other.identity.is_empty() {
                same_number && one.kind == other.kind
            } else {
                one.identity == other.identity
            };
            if same && one.login != other.login {
                mark_shared(rows, earlier, later);
            }
        }
    }
}

fn mark_shared(rows: &mut Rows<'_>, earlier: usize, later: usize) {
    let of = |account: usize| {
        let of_account = |at: &usize| rows.all[*at].entry.account == account;
        (0..rows.all.len()).filter(of_account).collect::<Vec<_>>()
    };
    let (ours, theirs) = (of(earlier), of(later));
    let Some((from, to)) = overlap(rows, &ours, &theirs) else { return };
    let within = |at: &&usize| (from..=to).contains(&rows.all[**at].day);
    let mut bag: BTreeMap<(i32, i64, &str), Vec<usize>> = BTreeMap::new();
    for at in ours.iter().filter(within) {
        let row = &rows.all[*at];
        bag.entry((row.day, row.entry.amount, row.entry.currency)).or_default().push(*at);
    }
    let mut shared = Vec::new();
    let candidates: Vec<usize> = theirs.iter().filter(within).copied().collect();
    for at in &candidates {
        let row = &rows.all[*at];
        let key = (row.day, row.entry.amount, row.entry.currency);
        if let Some(twin) =
            bag.get_mut(&key).and_then(|twins| (!twins.is_empty()).then(|| twins.remove(0)))
        {
            shared.push((twin, *at));
        }
    }
    if shared.len() < LEAST_SHARED || shared.len() * 100 < candidates.len() * LEAST_SHARE {
        return;
    }
    for (twin, at) in shared {
        let reason = "the same account is connected twice".to_owned();
        rows.all[at].ties.duplicate = Some(tie(rows.all[twin].entry.id, SAME_ACCOUNT, reason));
    }
}

/// The days that both show.
fn overlap(rows: &Rows<'_>, ours: &[usize], theirs: &[usize]) -> Option<(i32, i32)> {
    let span = |of: &[usize]| Some((rows.all[*of.first()?].day, rows.all[*of.last()?].day));
    let ((one, other), (from, to)) = (span(ours)?, span(theirs)?);
    Some((one.max(from), other.min(to))).filter(|(from, to)| from <= to)
}
