//! Money back for an earlier payment: from the same merchant, or a bank's own reversal; whole or in part.

use std::collections::{HashMap, HashSet};

use super::{Row, Rows, tie};
use crate::enrichment::Flag;
use crate::transaction::AccountKind;

/// Money comes back at most so many days later.
const REFUND_DAYS: i32 = 180;
/// A bank takes back its own booking within so many.
const REVERSAL_DAYS: i32 = 14;
/// How often a tie is right: the same amount soon, the same amount late, a part of it. Judgements.
const SAME_SOON: u8 = 96;
const SAME_LATE: u8 = 88;
const IN_PART: u8 = 70;
/// Days that are soon.
const SOON: i32 = 60;
/// Words of a booking that was taken back.
const REVERSALS: [&str; 6] = ["reversal", "reversed", "rev", "returned", "chargeback", "refund"];
/// What comes in by its own right.
const OWN_RIGHT: [Flag; 4] = [Flag::Income, Flag::Revenue, Flag::Transfer, Flag::Cash];

pub(super) fn find(rows: &mut Rows<'_>) {
    // Charges by merchant, the oldest first, with what of each has not come back yet.
    let mut charges: HashMap<(&str, &str), Vec<(usize, i64)>> = HashMap::new();
    let mut found = Vec::new();
    for at in rows.single() {
        let row = &rows.all[at];
        let key = (row.party.as_str(), row.entry.currency);
        if row.entry.amount == 0 {
            continue;
        }
        if row.is_out() {
            if row.ties.transfer.is_none() && !row.party.is_empty() {
                charges.entry(key).or_default().push((at, row.entry.amount));
            }
        } else if row.ties.transfer.is_none()
            && let Some(of) = charges.get_mut(&key)
            && is_money_back(row, rows.holding(at).kind, of)
            && let Some((of, percent, reason)) = charge_of(rows, row, of)
        {
            found.push((at, of, percent, reason));
        }
    }
    found.extend(reversals(rows, &found));
    for (at, of, percent, reason) in found {
        rows.all[at].ties.refund = Some(tie(rows.all[of].entry.id, percent, reason));
    }
}

type Found = (usize, usize, u8, String);

fn is_money_back(row: &Row<'_>, kind: AccountKind, charges: &[(usize, i64)]) -> bool {
    let own_right = OWN_RIGHT.iter().any(|flag| row.has(*flag)) || row.primary() == "INCOME";
    let whole = || charges.iter().any(|(_, left)| *left == -row.entry.amount);
    let back = || kind == AccountKind::Credit || row.entry.merchant.is_some() || whole();
    row.has(Flag::Refund) || (!own_right && back())
}

/// The charge that came back: one of the same amount if there is one, else the latest that is large
/// enough.
fn charge_of(
    rows: &Rows<'_>,
    back: &Row<'_>,
    charges: &mut [(usize, i64)],
) -> Option<(usize, u8, String)> {
    let amount = -back.entry.amount;
    let near = |of: &usize| back.day - rows.all[*of].day <= REFUND_DAYS;
    let same_account = |of: &usize| rows.all[*of].entry.account == back.entry.account;
    let mut open: Vec<&mut (usize, i64)> =
        charges.iter_mut().filter(|(of, left)| *left >= amount && near(of)).collect();
    let whole = |of: &(usize, i64)| rows.all[of.0].entry.amount == amount && of.1 == amount;
    let best =
        open.iter_mut().max_by_key(|of| (whole(of), same_account(&of.0), rows.all[of.0].day))?;
    let days = back.day - rows.all[best.0].day;
    let is_whole = whole(best);
    best.1 -= amount;
    let percent = match (is_whole, days <= SOON) {
        (true, true) => SAME_SOON,
        (true, false) => SAME_LATE,
        (false, _) => IN_PART,
    };
    let how = if is_whole { "the same amount" } else { "a part of the amount" };
    Some((best.0, percent, format!("{how} from the same merchant {days} days later")))
}

/// Bookings that a bank took back: the same account and size, and words that say so.
fn reversals(rows: &Rows<'_>, found: &[Found]) -> Vec<Found> {
    let known: HashSet<usize> = found.iter().map(|(at, ..)| *at).collect();
    let mut sizes: HashMap<(usize, &str, i64), Vec<usize>> = HashMap::new();
    let mut more = Vec::new();
    for at in rows.single() {
        let row = &rows.all[at];
        let says_so = row.text.split(' ').any(|word| REVERSALS.contains(&word))
            || row.has(Flag::Returned)
            || row.has(Flag::Refund);
        let key = |amount: i64| (row.entry.account, row.entry.currency, amount);
        let open = row.ties.transfer.is_none() && !known.contains(&at);
        if says_so
            && open
            && let Some(earlier) = sizes.get_mut(&key(-row.entry.amount))
            && let Some(of) = earlier.pop_if(|of| row.day - rows.all[*of].day <= REVERSAL_DAYS)
        {
            let reason =
                "the same amount the other way in the same account, and says so".to_owned();
            more.push((at, of, SAME_SOON, reason));
            continue;
        }
        sizes.entry(key(row.entry.amount)).or_default().push(at);
    }
    more
}
