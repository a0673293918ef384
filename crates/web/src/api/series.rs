//! What an end user's transactions say together: what comes again, where money comes from, what is owed,
//! and what was in an account day by day.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use enrich::{AccountKind, Posting, Reading, balance_history};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use model::{
    Account, BalanceHistory, Currency, DebtPosition, EndUser, IncomeSource, Money, Recurring,
    minor_units,
};
use serde::{Deserialize, Serialize};
use store::TransactionFilter;
use utoipa::{IntoParams, ToSchema};

use crate::problem::{Problem, ProblemDocument};
use crate::request::{Caller, Query, parameter};
use crate::state::Web;

/// What an end user's transactions say together. Plaid's terms keep Transactions data out of decisions
/// about credit; Assets and Consumer Report are made for those.
#[derive(Serialize, ToSchema)]
pub(crate) struct SeriesView {
    /// What comes again, the most frequent first.
    recurring: Vec<Recurring>,
    /// Where money comes from, the largest first.
    income: Vec<IncomeSource>,
    /// What is owed, the largest payments first.
    debts: Vec<DebtPosition>,
    /// Version of the tables that decided; null before the first processing.
    tables: Option<String>,
    /// When the transactions were last processed.
    #[schema(value_type = Option<String>, format = DateTime)]
    processed_at: Option<Timestamp>,
}

/// Reads what an end user's transactions say together.
#[utoipa::path(
    get, path = "/v1/end_users/{id}/series", tag = "enrichment", operation_id = "get_series",
    params(("id" = String, Path, description = "Your end_user_id, or our id")),
    responses((status = 200, body = SeriesView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn get(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
) -> Result<axum::Json<SeriesView>, Problem> {
    let end_user = web.end_user(&id).await?;
    let stored = web.store.series(&end_user.id).await?;
    let (tables, processed_at) =
        stored.as_ref().map(|it| (it.tables.clone(), it.processed_at)).unzip();
    let series = stored.map(|it| it.series).unwrap_or_default();
    let (recurring, income, debts) = (series.recurring, series.income, series.debts);
    Ok(axum::Json(SeriesView { recurring, income, debts, tables, processed_at }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    /// Plaid's account id; all accounts if absent.
    account_id: Option<String>,
    /// First day.
    #[param(value_type = Option<String>, format = Date)]
    from: Option<Date>,
    /// Last day.
    #[param(value_type = Option<String>, format = Date)]
    to: Option<Date>,
}

/// Balances of accounts, day by day.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryView {
    /// One for each account of which a balance was read.
    data: Vec<BalanceHistory>,
}

/// Most readings of one account that are used: four a day for years.
const MOST_READINGS: i64 = 10_000;

/// Counts what was in an end user's accounts at the end of each day, from every reading and what was
/// booked between. Where they disagree, the difference is told and the days are marked.
#[utoipa::path(
    get, path = "/v1/end_users/{id}/balance_history", tag = "enrichment",
    operation_id = "get_balance_history",
    params(("id" = String, Path, description = "Your end_user_id, or our id"), HistoryQuery),
    responses((status = 200, body = HistoryView), (status = 404, body = ProblemDocument)),
)]
pub(crate) async fn balances(
    _: Caller,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Result<axum::Json<HistoryView>, Problem> {
    if query.from.zip(query.to).is_some_and(|(from, to)| from > to) {
        return Err(parameter("from", "must not be later than `to`."));
    }
    let end_user = web.end_user(&id).await?;
    let mut data = histories(&web, &end_user, query.account_id.as_deref()).await?;
    for history in &mut data {
        let wanted = |date: Date| {
            query.from.is_none_or(|from| from <= date) && query.to.is_none_or(|to| date <= to)
        };
        history.days.retain(|day| wanted(day.date));
        history.drifts.retain(|drift| wanted(drift.from) || wanted(drift.to));
    }
    Ok(axum::Json(HistoryView { data }))
}

/// The balances of an end user's accounts, or of one.
pub(crate) async fn histories(
    web: &Web,
    end_user: &EndUser,
    account_id: Option<&str>,
) -> Result<Vec<BalanceHistory>, Problem> {
    let mut accounts = web.store.accounts(&end_user.id, None, i64::MAX).await?;
    accounts.retain(|account| account_id.is_none_or(|wanted| account.account_id == wanted));
    if accounts.is_empty() && account_id.is_some() {
        return Err(Problem::not_found("account"));
    }
    let mut found = Vec::new();
    for account in &accounts {
        found.extend(history(web, end_user, account).await?);
    }
    Ok(found)
}

/// The balances of one account; none if none was ever read.
async fn history(
    web: &Web,
    end_user: &EndUser,
    account: &Account,
) -> Result<Option<BalanceHistory>, Problem> {
    let item = web.item(&account.item_id).await?;
    let always = (Date::MIN, Date::MAX);
    let readings =
        web.store.balance_readings(&item.key, &account.account_id, always, MOST_READINGS);
    let readings = readings.await?;
    let Some(currency) = readings.iter().find_map(|reading| reading.balance.currency.clone())
    else {
        return Ok(None);
    };
    let unit = Currency::of_code(&currency);
    // The last reading of a day stands; the bank's own time tells the day, where it gives one.
    let mut days: BTreeMap<Date, i64> = BTreeMap::new();
    for reading in &readings {
        let at = reading.balance.bank_updated_at.unwrap_or(reading.balance.fetched_at);
        let read = reading.balance.current.as_deref();
        let read = read.and_then(|text| Money::parse(text, unit.clone()).ok());
        if let Some((money, _)) = read {
            days.insert(at.to_zoned(TimeZone::UTC).date(), money.minor());
        }
    }
    let filter = TransactionFilter {
        end_user: Some(end_user.id.clone()),
        account_id: Some(account.account_id.clone()),
        pending: Some(false),
        ..TransactionFilter::default()
    };
    let rows = web.store.transactions(&filter, None, i64::MAX).await?;
    let postings = rows.iter().filter(|row| row.currency == currency);
    let postings = postings.map(|row| Posting { date: row.date, amount: minor_units(&row.amount) });
    let postings: Vec<Posting> = postings.collect();
    let readings: Vec<Reading> =
        days.into_iter().map(|(date, balance)| Reading { date, balance }).collect();
    let kind = AccountKind::of_plaid(&account.account_type);
    let is_owed = matches!(kind, AccountKind::Credit | AccountKind::Loan);
    Ok(Some(balance_history(&account.account_id, &currency, is_owed, &postings, &readings)))
}
