//! Where money comes from, and what is owed to whom, as far as the transactions tell.

use std::collections::{BTreeMap, HashSet};

use model::{Cadence, DebtPosition, IncomeSource};

use super::{Row, Rows, decimal, is_within};
use crate::enrichment::Flag;

/// The days that `last_90_days` looks back over.
const LATELY_DAYS: i32 = 90;
/// A debt with no payment for so many days is not being paid any more: longer than any quarter.
const OPEN_DAYS: i32 = 100;
/// Equal payments in so short a rhythm pay back an advance on sales.
const ADVANCE_PAYMENTS: usize = 5;
/// Least share of payments, in percent, that are equal to others.
const EQUAL_SHARE: usize = 80;
/// Amounts this close, in percent, are equal.
const EQUAL_PERCENT: u8 = 2;

/// Leaves of income, and the kind of source each tells of.
const INCOME: [(&str, &str); 13] = [
    ("income_salary", "salary"),
    ("income_gig_economy", "gig"),
    ("income_contractor", "gig"),
    ("income_unemployment", "benefits"),
    ("government_benefit", "benefits"),
    ("social_security", "pension"),
    ("cash_deposit", "deposits"),
    ("check_deposit", "deposits"),
    ("income_retirement_pension", "pension"),
    ("income_interest_earned", "interest"),
    ("income_dividends", "dividends"),
    ("income_rental", "rent"),
    ("income_long_term_disability", "benefits"),
];

pub(super) fn income(rows: &Rows<'_>) -> Vec<IncomeSource> {
    let mut sources: BTreeMap<(&str, &str, &str), Vec<usize>> = BTreeMap::new();
    // What went back was not earned.
    let gone: HashSet<&str> =
        rows.all.iter().filter_map(|row| Some(row.ties.refund.as_ref()?.of.as_str())).collect();
    for at in own(rows) {
        let row = &rows.all[at];
        if let Some(kind) = kind_of_income(row).filter(|_| !gone.contains(row.entry.id)) {
            sources.entry((&row.party, kind, row.entry.currency)).or_default().push(at);
        }
    }
    let mut found: Vec<(i64, IncomeSource)> = sources
        .into_iter()
        .map(|((_, kind, currency), of)| {
            let total = sum(rows, &of);
            let (first, last) = ends(rows, &of);
            let shown_to = rows.shown_to(of[of.len() - 1]);
            let lately = of.iter().filter(|at| rows.all[**at].day > shown_to - LATELY_DAYS);
            let lately = sum(rows, &lately.copied().collect::<Vec<_>>());
            let source = IncomeSource {
                name: last.name(),
                kind: kind.to_owned(),
                cadence: cadence(rows, &of),
                count: u32::try_from(of.len()).unwrap_or(u32::MAX),
                first: first.entry.date,
                last: last.entry.date,
                currency: currency.to_owned(),
                total: decimal(total, currency),
                last_90_days: decimal(lately, currency),
            };
            (total, source)
        })
        .collect();
    found.sort_by(|(a, one), (b, other)| (b, &one.name).cmp(&(a, &other.name)));
    found.into_iter().map(|(_, source)| source).collect()
}

/// The kind of a source, for money that was earned.
fn kind_of_income(row: &Row<'_>) -> Option<&'static str> {
    if row.is_out() || row.ties.refund.is_some() || row.ties.transfer.is_some() {
        return None;
    }
    let leaf = row.entry.leaf?;
    let known = INCOME.iter().find(|(name, _)| *name == leaf.name()).map(|(_, kind)| *kind);
    let revenue = row.has(Flag::Revenue) || leaf.lender() == "revenue";
    match known {
        Some(kind) => Some(kind),
        None if leaf.name() == "income_tax_refund" => None,
        None if revenue => Some("revenue"),
        None => (row.primary() == "INCOME").then_some("other"),
    }
}

pub(super) fn debts(rows: &Rows<'_>) -> Vec<DebtPosition> {
    let mut positions: BTreeMap<(&str, &str, &str), Vec<usize>> = BTreeMap::new();
    for at in own(rows) {
        let row = &rows.all[at];
        let lent_by_other = row.ties.transfer.as_ref().is_none_or(|it| it.other.is_none());
        if let Some(kind) = kind_of_debt(row).filter(|_| lent_by_other && row.ties.refund.is_none())
        {
            positions.entry((&row.party, kind, row.entry.currency)).or_default().push(at);
        }
    }
    let mut found: Vec<(i64, DebtPosition)> = positions
        .into_iter()
        .filter_map(|((_, kind, currency), of)| {
            let (paid, received): (Vec<usize>, Vec<usize>) =
                of.iter().partition(|at| rows.all[**at].is_out());
            let last_paid = paid.last().copied()?;
            let (first, last) = ends(rows, &of);
            let mut sizes: Vec<u64> = paid.iter().map(|at| size(&rows.all[*at])).collect();
            sizes.sort_unstable();
            let usual = sizes[sizes.len() / 2];
            let cadence = cadence(rows, &paid);
            // Several advances may be paid back side by side, each in equal parts.
            let equal = sizes.chunk_by(|a, b| is_within(*a, *b, EQUAL_PERCENT));
            let equal: usize =
                equal.map(<[u64]>::len).filter(|count| *count >= ADVANCE_PAYMENTS).sum();
            let often = cadence <= Cadence::Weekly && paid.len() >= ADVANCE_PAYMENTS;
            let total = sum(rows, &paid);
            let position = DebtPosition {
                name: last.name(),
                kind: kind.to_owned(),
                cadence,
                looks_like_sales_advance: often && equal * 100 >= sizes.len() * EQUAL_SHARE,
                is_open: rows.shown_to(last_paid) - rows.all[last_paid].day <= OPEN_DAYS,
                currency: currency.to_owned(),
                received: decimal(sum(rows, &received), currency),
                paid: decimal(total, currency),
                usual_payment: decimal(i64::try_from(usual).unwrap_or(i64::MAX), currency),
                payments: u32::try_from(paid.len()).unwrap_or(u32::MAX),
                first: first.entry.date,
                last: last.entry.date,
            };
            Some((total, position))
        })
        .collect();
    found.sort_by(|(a, one), (b, other)| (b, &one.name).cmp(&(a, &other.name)));
    found.into_iter().map(|(_, position)| position).collect()
}

/// The kind of a debt is in a lender's view of it.
fn kind_of_debt(row: &Row<'_>) -> Option<&'static str> {
    let lender = row.entry.leaf?.lender();
    lender.strip_prefix("debt_in_").or_else(|| lender.strip_prefix("debt_out_"))
}

/// Rows that stand for themselves.
fn own<'r>(rows: &'r Rows<'_>) -> impl Iterator<Item = usize> + 'r {
    rows.single().filter(|at| !rows.all[*at].party.is_empty())
}

fn ends<'r, 'a>(rows: &'r Rows<'a>, of: &[usize]) -> (&'r Row<'a>, &'r Row<'a>) {
    (&rows.all[of[0]], &rows.all[of[of.len() - 1]])
}

fn size(row: &Row<'_>) -> u64 {
    row.entry.amount.unsigned_abs()
}

fn sum(rows: &Rows<'_>, of: &[usize]) -> i64 {
    of.iter().fold(0, |sum, at| sum.saturating_add_unsigned(size(&rows.all[*at])))
}

/// The rhythm that most of the rows keep.
fn cadence(rows: &Rows<'_>, of: &[usize]) -> Cadence {
    let mut counts: BTreeMap<Cadence, usize> = BTreeMap::new();
    for at in of {
        let cadence = rows.all[*at].ties.recurring.as_ref().map(|it| it.cadence);
        *counts.entry(cadence.unwrap_or(Cadence::Irregular)).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map_or(Cadence::Irregular, |(cadence, _)| cadence)
}
