//! What an end user's transactions say together: what comes again, where money comes from, what is owed,
//! and each account's balance day by day.

use std::fmt::Write as _;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use model::{
    Account, BalanceHistory, Basis, DebtPosition, IncomeSource, Recurring, RecurringKind,
    RecurringState,
};

use super::render::{Frame, page};
use super::session::Operator;
use super::words::{Age, grouped, signed};
use crate::api::series::histories;
use crate::problem::Problem;
use crate::state::Web;

const SECTION: &str = "end-users";
/// The picture of a balance, in its own units.
const WIDTH: usize = 960;
const HEIGHT: usize = 120;

struct RecurringRow {
    name: String,
    cadence: &'static str,
    amount: String,
    currency: String,
    is_out: bool,
    next: String,
    state: &'static str,
    class: &'static str,
    shape: &'static str,
    changed: Option<String>,
    missed: Option<String>,
    reason: String,
    last_id: String,
}

struct IncomeRow {
    name: String,
    kind: String,
    cadence: &'static str,
    count: u32,
    lately: String,
    total: String,
    currency: String,
    last: String,
}

struct DebtRow {
    name: String,
    kind: String,
    cadence: &'static str,
    usual: String,
    paid: String,
    received: String,
    currency: String,
    state: &'static str,
    advance: bool,
    last: String,
}

/// An account's balance as a picture, with what it says in a sentence.
struct BalanceRow {
    sentence: String,
    known: String,
    path: String,
    /// Stretches between readings that the transactions do not explain: from, width.
    gaps: Vec<(usize, usize)>,
    drifts: Vec<String>,
    first: String,
    last: String,
}

#[derive(Template)]
#[template(path = "series.html")]
struct SeriesPage {
    frame: Frame,
    end_user: String,
    end_user_id: String,
    state: String,
    contracts: Vec<RecurringRow>,
    habits: Vec<RecurringRow>,
    income: Vec<IncomeRow>,
    debts: Vec<DebtRow>,
    balances: Vec<BalanceRow>,
    width: usize,
    height: usize,
}

pub(super) async fn show(
    operator: Operator,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let now = web.ambient().now();
    let end_user = web.end_user(&id).await?;
    let stored = web.store.series(&end_user.id).await?;
    let processed = Age::or_never(stored.as_ref().map(|it| it.processed_at), now).words;
    let series = stored.map(|it| it.series).unwrap_or_default();
    let accounts = web.store.accounts(&end_user.id, None, i64::MAX).await?;
    let histories = histories(&web, &end_user, None).await?;
    let (contracts, habits): (Vec<_>, Vec<_>) =
        series.recurring.into_iter().partition(|row| row.kind == RecurringKind::Contract);
    let mut contracts: Vec<Recurring> = contracts;
    // What is due next stands first, what has ended last.
    contracts.sort_by_key(|row| {
        (row.next.as_ref().map_or(jiff::civil::Date::MAX, |it| it.date), row.id.clone())
    });
    let rows = |rows: Vec<Recurring>| rows.into_iter().map(RecurringRow::of).collect();
    let title = end_user.name.clone().unwrap_or_else(|| end_user.end_user_id.clone());
    Ok(page(&SeriesPage {
        frame: Frame::new(&operator, SECTION, format!("Series of {title}")),
        state: format!("Processed {processed}."),
        contracts: rows(contracts),
        habits: rows(habits),
        income: series.income.into_iter().map(IncomeRow::of).collect(),
        debts: series.debts.into_iter().map(DebtRow::of).collect(),
        balances: histories.iter().filter_map(|it| BalanceRow::of(it, &accounts)).collect(),
        end_user: end_user.id.to_string(),
        end_user_id: end_user.end_user_id,
        width: WIDTH,
        height: HEIGHT,
    }))
}

impl RecurringRow {
    fn of(row: Recurring) -> Self {
        let (state, class, shape) = match row.state {
            RecurringState::Early => ("new", "waiting", "◐"),
            RecurringState::Active => ("active", "healthy", "●"),
            RecurringState::Missed => ("missed", "needs-you", "▲"),
            RecurringState::Ended => ("ended", "off", "○"),
        };
        let next = row.next.map_or_else(String::new, |next| {
            format!("{} ({} to {})", next.date, next.from, next.to)
        });
        let missed = row.missed.last().map(|day| format!("missed on {day}"));
        let changed = row.changed.map(|it| format!("was {} until {}", grouped(&it.from), it.on));
        Self {
            name: row.name,
            cadence: row.cadence.words(),
            amount: grouped(&row.amount),
            currency: row.currency,
            is_out: row.direction == model::Direction::Out,
            next,
            state,
            class,
            shape,
            changed,
            missed,
            reason: row.reason,
            last_id: row.transactions.last().cloned().unwrap_or_default(),
        }
    }
}

impl IncomeRow {
    fn of(row: IncomeSource) -> Self {
        Self {
            name: row.name,
            kind: row.kind,
            cadence: row.cadence.words(),
            count: row.count,
            lately: grouped(&row.last_90_days),
            total: grouped(&row.total),
            currency: row.currency,
            last: row.last.to_string(),
        }
    }
}

impl DebtRow {
    fn of(row: DebtPosition) -> Self {
        Self {
            name: row.name,
            kind: row.kind.replace('_', " "),
            cadence: row.cadence.words(),
            usual: grouped(&row.usual_payment),
            paid: grouped(&row.paid),
            received: grouped(&row.received),
            currency: row.currency,
            state: if row.is_open { "being paid" } else { "no payment lately" },
            advance: row.looks_like_sales_advance,
            last: row.last.to_string(),
        }
    }
}

impl BalanceRow {
    fn of(history: &BalanceHistory, accounts: &[Account]) -> Option<Self> {
        let account = accounts.iter().find(|it| it.account_id == history.account_id)?;
        let (first, last) = (history.days.first()?, history.days.last()?);
        let sizes: Vec<i64> = history.days.iter().map(|day| whole(&day.balance)).collect();
        let (low, high) = (*sizes.iter().min()?, *sizes.iter().max()?);
        let lowest = history.days.iter().min_by_key(|day| whole(&day.balance))?;
        let owes = matches!(account.account_type.as_str(), "credit" | "loan");
        let (has, least) = if owes { ("owes", "least") } else { ("holds", "lowest") };
        let sentence = format!(
            "{} {has} {} {}; {least} was {} on {}",
            account.name,
            signed(&last.balance),
            history.currency,
            signed(&lowest.balance),
            lowest.date
        );
        let x = |place: usize| place * WIDTH / (sizes.len() - 1).max(1);
        let span = (high - low).max(1);
        let mut path = String::new();
        for (place, size) in sizes.iter().enumerate() {
            let up = usize::try_from((size - low).saturating_mul(100) / span).unwrap_or(0);
            let y = HEIGHT - up * HEIGHT / 100;
            let letter = if place == 0 { 'M' } else { 'L' };
            let _never = write!(path, "{letter}{} {y} ", x(place));
        }
        let unverified = history.days.iter().enumerate();
        let unverified = unverified.filter(|(_, day)| day.basis == Basis::Unverified);
        let gaps = unverified.map(|(place, _)| (x(place), (WIDTH / sizes.len()).max(1))).collect();
        let counted = |basis: Basis| history.days.iter().filter(|day| day.basis == basis).count();
        let known = format!(
            "{} days: {} read at the bank, {} verified between two readings, {} counted from the nearest reading, {} not explained by transactions",
            history.days.len(),
            counted(Basis::Read),
            counted(Basis::Verified),
            counted(Basis::Counted),
            counted(Basis::Unverified)
        );
        let drifts = history.drifts.iter().map(|drift| {
            let amount = signed(&drift.amount);
            format!("{amount} {} between {} and {}", history.currency, drift.from, drift.to)
        });
        Some(Self {
            sentence,
            known,
            path,
            gaps,
            drifts: drifts.collect(),
            first: first.date.to_string(),
            last: last.date.to_string(),
        })
    }
}

/// The whole units of a decimal: as fine as a picture is.
fn whole(decimal: &str) -> i64 {
    decimal.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or(0)
}
