//! End users: the list, and one with accounts, balances and transactions.

use std::collections::HashSet;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jiff::Timestamp;
use model::{Account, Balance, Direction, EndUser, Item, Transaction};
use serde::Deserialize;
use store::{ChangeFilter, ItemFilter, TransactionFilter, TransactionPlace};

use super::meaning::{Reason, category, marks, merchant, plaid_differs};
use super::overview::ItemRow;
use super::render::{Frame, page};
use super::session::Operator;
use super::words::{Age, grouped, signed};
use crate::problem::Problem;
use crate::state::Web;

/// Rows on a page.
const SHOWN: i64 = 50;
/// Items and accounts shown of one end user.
const ALL_SHOWN: i64 = 500;
/// News are counted up to here.
const NEWS_COUNTED: i64 = 1_000;
const SECTION: &str = "end-users";

struct EndUserRow {
    id: String,
    end_user_id: String,
    name: String,
    created: Age,
}

#[derive(Template)]
#[template(path = "end_users.html")]
struct ListPage {
    frame: Frame,
    end_users: Vec<EndUserRow>,
    next: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    after: Option<String>,
}

pub(super) async fn list(
    operator: Operator,
    State(web): State<Web>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let now = web.ambient().now();
    let mut rows = web.store.end_users(None, query.after.as_deref(), SHOWN + 1).await?;
    let next = cut(&mut rows).map(|last| last.id.to_string());
    let row = |end_user: EndUser| EndUserRow {
        id: end_user.id.into(),
        name: end_user.name.unwrap_or_else(|| end_user.end_user_id.clone()),
        end_user_id: end_user.end_user_id,
        created: Age::of(end_user.created_at, now),
    };
    let end_users = rows.into_iter().map(row).collect();
    Ok(page(&ListPage { frame: Frame::new(&operator, SECTION, "End users"), end_users, next }))
}

/// Cuts a list to a page; the last row of it if there is more.
fn cut<T>(rows: &mut Vec<T>) -> Option<&T> {
    let shown = usize::try_from(SHOWN).unwrap_or(usize::MAX);
    let more = rows.len() > shown;
    rows.truncate(shown);
    rows.last().filter(|_| more)
}

struct AccountRow {
    account_id: String,
    name: String,
    bank: String,
    kind: String,
    mask: String,
    current: String,
    available: String,
    limit: String,
    currency: String,
    read: Age,
}

struct TransactionRow {
    id: String,
    transaction_id: String,
    date: String,
    name: String,
    merchant: Option<String>,
    account: String,
    category: String,
    /// Why processing says so.
    reason: Option<Reason>,
    /// What Plaid says, where it is something else.
    plaid: Option<String>,
    pending: bool,
    /// What ties it to others.
    marks: Vec<&'static str>,
    /// It came or changed since the operator's last visit.
    is_news: bool,
    out: String,
    into: String,
    exact: Option<String>,
    currency: String,
}

#[derive(Template)]
#[template(path = "end_user.html")]
struct ShowPage {
    frame: Frame,
    id: String,
    path: String,
    state: String,
    end_user_id: String,
    items: Vec<ItemRow>,
    accounts: Vec<AccountRow>,
    transactions: Vec<TransactionRow>,
    /// The one currency of the page, named once; none if there are several.
    currency: Option<String>,
    next: Option<String>,
    is_first_page: bool,
    pending_only: bool,
    account_id: String,
    head: i64,
    /// What came since the operator's last visit, if they were here before.
    since: Option<String>,
}

#[derive(Deserialize, Default)]
pub(super) struct ShowQuery {
    after: Option<String>,
    #[serde(default)]
    account_id: String,
    pending: Option<String>,
}

pub(super) async fn show(
    operator: Operator,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(query): Query<ShowQuery>,
) -> Result<Response, Problem> {
    let now = web.ambient().now();
    let end_user = web.end_user(&id).await?;
    let head = web.store.feed_head().await?;
    let filter = ItemFilter { end_user: Some(end_user.id.clone()), ..ItemFilter::default() };
    let items = web.store.items(&filter, None, ALL_SHOWN).await?;
    let accounts = web.store.accounts(&end_user.id, None, ALL_SHOWN).await?;
    let balances = web.store.balances(&end_user.id, None, ALL_SHOWN).await?;
    let filter = TransactionFilter {
        end_user: Some(end_user.id.clone()),
        account_id: Some(query.account_id.clone()).filter(|id| !id.is_empty()),
        pending: query.pending.as_ref().map(|_| true),
        ..TransactionFilter::default()
    };
    let place = query.after.as_deref().and_then(read_place);
    let mut rows = web.store.transactions(&filter, place.as_ref(), SHOWN + 1).await?;
    let next = cut(&mut rows).map(place_of);
    let last_visit = web.store.visit(&operator.0.operator, &end_user.id).await?;
    let news = news_since(&web, &end_user, last_visit).await?;
    let since = last_visit.map(|at| {
        let visit = Age::of(at, now).words;
        match news.len() {
            0 => format!("Nothing has changed since your last visit, {visit}."),
            count => format!("{} came or changed since your last visit, {visit}.", counted(count)),
        }
    });
    let synced = items.iter().filter_map(|item| item.last_success_at).max();
    let template = ShowPage {
        frame: Frame::new(
            &operator,
            SECTION,
            end_user.name.unwrap_or_else(|| end_user.end_user_id.clone()),
        ),
        path: format!("/end-users/{}", end_user.id),
        id: end_user.id.into(),
        state: format!("Last synced {}.", Age::or_never(synced, now).words),
        end_user_id: end_user.end_user_id,
        currency: one_currency(&rows),
        transactions: rows
            .into_iter()
            .map(|row| TransactionRow {
                is_news: news.contains(&row.id),
                ..TransactionRow::of(row, &accounts)
            })
            .collect(),
        accounts: AccountRow::all(&accounts, &balances, &items, now),
        items: items.into_iter().map(|item| ItemRow::of(item, now)).collect(),
        next,
        is_first_page: query.after.is_none(),
        pending_only: query.pending.is_some(),
        account_id: query.account_id,
        head,
        since,
    };
    Ok(page(&template))
}

/// Ids of the transactions that came or changed since a time, up to as many as are counted.
async fn news_since(
    web: &Web,
    end_user: &EndUser,
    since: Option<Timestamp>,
) -> Result<HashSet<String>, Problem> {
    let Some(since) = since else { return Ok(HashSet::new()) };
    let filter = TransactionFilter {
        end_user: Some(end_user.id.clone()),
        updated_since: Some(since),
        ..TransactionFilter::default()
    };
    let rows = web.store.transactions(&filter, None, NEWS_COUNTED).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

fn counted(count: usize) -> String {
    match i64::try_from(count).unwrap_or(NEWS_COUNTED) {
        1 => "1 transaction".to_owned(),
        NEWS_COUNTED.. => format!("{NEWS_COUNTED} transactions or more"),
        count => format!("{count} transactions"),
    }
}

fn place_of(row: &Transaction) -> String {
    BASE64URL.encode(format!("{} {}", row.date, row.id))
}

fn read_place(text: &str) -> Option<TransactionPlace> {
    let place = String::from_utf8(BASE64URL.decode(text).ok()?).ok()?;
    let (date, id) = place.split_once(' ')?;
    Some(TransactionPlace { date: date.parse().ok()?, id: id.to_owned() })
}

fn one_currency(rows: &[Transaction]) -> Option<String> {
    let first = &rows.first()?.currency;
    rows.iter().all(|row| row.currency == *first).then(|| first.clone())
}

impl AccountRow {
    fn all(
        accounts: &[Account],
        balances: &[Balance],
        items: &[Item],
        now: Timestamp,
    ) -> Vec<Self> {
        let row = |account: &Account| {
            let balance = balances.iter().find(|balance| balance.account_id == account.account_id);
            let amount = |amount: fn(&Balance) -> Option<&String>| {
                balance.and_then(amount).map_or_else(|| "—".to_owned(), |text| signed(text))
            };
            let item = items.iter().find(|item| item.item_id == account.item_id);
            Self {
                account_id: account.account_id.clone(),
                name: account.name.clone(),
                bank: item.and_then(|item| item.institution_name.clone()).unwrap_or_default(),
                kind: account.subtype.clone().unwrap_or_else(|| account.account_type.clone()),
                mask: account.mask.clone().unwrap_or_default(),
                current: amount(|balance| balance.current.as_ref()),
                available: amount(|balance| balance.available.as_ref()),
                limit: amount(|balance| balance.limit.as_ref()),
                currency: balance.and_then(|b| b.currency.clone()).unwrap_or_default(),
                read: Age::or_never(balance.map(|balance| balance.fetched_at), now),
            }
        };
        accounts.iter().map(row).collect()
    }
}

impl TransactionRow {
    fn of(row: Transaction, accounts: &[Account]) -> Self {
        let account = accounts.iter().find(|account| account.account_id == row.account_id);
        let amount = grouped(&row.amount);
        let (out, into) = match row.direction {
            Direction::Out => (amount, String::new()),
            Direction::In => (String::new(), amount),
        };
        Self {
            marks: marks(&row),
            merchant: merchant(&row),
            category: category(&row),
            reason: row.enrichment.as_ref().map(Reason::of),
            plaid: plaid_differs(&row),
            account: account.map_or_else(String::new, |account| account.name.clone()),
            date: row.date.to_string(),
            id: row.id,
            transaction_id: row.transaction_id,
            name: row.name,
            pending: row.pending,
            is_news: false,
            out,
            into,
            exact: row.amount_exact,
            currency: row.currency,
        }
    }
}

#[derive(Template)]
#[template(path = "news.html")]
struct NewsPart {
    id: String,
    since: i64,
    count: usize,
}

#[derive(Deserialize)]
pub(super) struct NewsQuery {
    since: i64,
}

/// How much has changed since the page was shown; rows never jump by themselves.
pub(super) async fn news(
    _: Operator,
    State(web): State<Web>,
    Path(id): Path<String>,
    Query(query): Query<NewsQuery>,
) -> Result<Response, Problem> {
    let end_user = web.end_user(&id).await?;
    let filter = ChangeFilter {
        end_user: Some(end_user.id.clone()),
        stream: Some(model::Stream::Transactions),
        integration: None,
    };
    let count = web.store.changes(query.since, &filter, NEWS_COUNTED).await?.len();
    Ok(page(&NewsPart { id: end_user.id.into(), since: query.since, count }))
}
