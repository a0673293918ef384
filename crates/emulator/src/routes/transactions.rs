//! Transactions: the cursor feed, the dated list, and the refresh that asks the bank.

use jiff::civil::Date;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::request::{Request, bounded};
use super::transaction::{Row, Wishes};
use super::{Answer, done};
use crate::book::{Book, Stage};
use crate::error::PlaidError;
use crate::fault::{Case, FaultKind};
use crate::item::{Item, MAXIMUM_DAYS};
use crate::ledger::{Event, State};
use crate::rows::{self, Cursor, Delta};
use crate::world::Command;

/// Most changes in a page, and how many when the caller does not say.
const COUNT: (i64, i64) = (1, 500);
const DEFAULT_COUNT: i64 = 100;

/// A page of the cursor feed; the keys stand in alphabetical order.
#[derive(Serialize)]
struct Page<'a> {
    accounts: Vec<Value>,
    added: Vec<Row<'a>>,
    has_more: bool,
    modified: Vec<Row<'a>>,
    next_cursor: &'a str,
    removed: Vec<Value>,
    request_id: &'a str,
    transactions_update_status: &'static str,
}

/// A page of the dated list.
#[derive(Serialize)]
struct Listing<'a> {
    accounts: Vec<Value>,
    item: Value,
    request_id: &'a str,
    total_transactions: usize,
    transactions: Vec<Row<'a>>,
}

pub(super) fn sync(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let count = request.number("count", COUNT, DEFAULT_COUNT)?;
    let count = usize::try_from(count).unwrap_or(1);
    let options = request.options()?;
    let account_id = options.get("account_id").and_then(Value::as_str);
    let wishes = wishes(&options);
    let days = days_requested(&options)?;
    let cursor = request.text("cursor")?.unwrap_or_default().to_owned();
    let item = request.healthy_item()?;
    let unknown = |_| PlaidError::invalid_field("options.account_id is not of this item");
    let account =
        account_id.map(|id| request.account_index(item, id).map_err(unknown)).transpose()?;
    request.check_consent(item, "transactions")?;
    begin(request, item, days)?;
    let (stream, ready) = request.engine.read(|world| {
        let own = &world.items[&item];
        let stream = format!("{}/{}", own.item_id(), account_id.unwrap_or("all"));
        (stream, own.stage >= Stage::Initial)
    });
    let of_request = (request.request_id, wishes);
    if !ready {
        return request
            .engine
            .item(item, |item, book| Ok(page_text(item, book, &Delta::default(), "", of_request)));
    }
    let place = match cursor.as_str() {
        "" => Cursor::default(),
        "now" => request.engine.item(item, |_, book| book.rows.resting()),
        text => Cursor::decode(text, &stream)?,
    };
    strike(request, item, place)?;
    request.engine.item(item, |item, book| {
        let shown = |event: usize| {
            account.is_none_or(|account| book.ledger.events()[event].plan.account == account)
        };
        let delta = book.rows.page(place, count, |row| shown(row.event))?;
        let next = delta.next.encode(&stream);
        Ok(page_text(item, book, &delta, &next, of_request))
    })
}

pub(super) fn get(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let span = request.span()?;
    let options = request.options()?;
    let number = |name: &str, bounds: (i64, i64), usual: i64| {
        options.get(name).map_or(Ok(usual), |value| bounded(name, value, bounds))
    };
    let count = usize::try_from(number("count", COUNT, DEFAULT_COUNT)?).unwrap_or(1);
    let offset = usize::try_from(number("offset", (0, i64::MAX), 0)?).unwrap_or_default();
    let wishes = wishes(&options);
    let days = days_requested(&options)?;
    let item = request.healthy_item()?;
    let indexes = request.account_indexes(item)?;
    // A list call turns transactions on, too, but arms no webhooks of sync.
    request.start_transactions(item, days)?;
    request.engine.item(item, |item, book| {
        if item.stage < Stage::Initial {
            return Err(PlaidError::product_not_ready());
        }
        let found = listed(book, &indexes, span);
        let page = found.iter().skip(offset).take(count).map(|event| Row::of(item, event, wishes));
        let listing = Listing {
            accounts: indexes.iter().map(|index| item.account_json(book, *index)).collect(),
            item: item.json(),
            request_id: request.request_id,
            total_transactions: found.len(),
            transactions: page.collect(),
        };
        Ok(Answer::of_transactions(listing.transactions.len(), &listing))
    })
}

pub(super) fn refresh(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.healthy_item()?;
    let enabled = request.engine.read(|world| world.items[&item].stage != Stage::Off);
    if !enabled {
        return Err(PlaidError::new(
            "ITEM_ERROR",
            "PRODUCT_NOT_ENABLED",
            "the transactions product is not enabled for this item",
        ));
    }
    request.engine.run(&Command::Refresh { item })?;
    done()
}

fn wishes(options: &Map<String, Value>) -> Wishes<'_> {
    let version = options.get("personal_finance_category_version").and_then(Value::as_str);
    Wishes {
        original_description: options.get("include_original_description") == Some(&json!(true)),
        version: version.unwrap_or("v2"),
    }
}

fn days_requested(options: &Map<String, Value>) -> Result<Option<i64>, PlaidError> {
    let days = options.get("days_requested").filter(|value| !value.is_null());
    days.map(|days| bounded("days_requested", days, (1, MAXIMUM_DAYS))).transpose()
}

/// The first sync call of an Item arms its webhooks and, if need be, turns transactions on.
fn begin(request: &Request<'_>, item: u64, days_requested: Option<i64>) -> Result<(), PlaidError> {
    let (called, off) = request.engine.read(|world| {
        let item = &world.items[&item];
        (item.sync_called, item.stage == Stage::Off)
    });
    if !called {
        request.engine.run(&Command::CallSync { item, days_requested })?;
    }
    if off {
        request.engine.load_history(item);
    }
    Ok(())
}

/// Lets a fault strike that was asked for on this page of this Item.
fn strike(request: &Request<'_>, item: u64, place: Cursor) -> Result<(), PlaidError> {
    let item_id = request.engine.read(|world| world.items[&item].item_id().to_owned());
    let case = Case {
        path: Some("/transactions/sync"),
        item_id: Some(&item_id),
        page: Some(place.page + 1),
        ..Case::default()
    };
    if request.engine.strike(FaultKind::is_of_pages, case).is_none() {
        return Ok(());
    }
    request.engine.run(&Command::Purchase { item })?;
    Err(rows::mutation())
}

fn page_text(
    item: &Item,
    book: &Book,
    delta: &Delta,
    next_cursor: &str,
    (request_id, wishes): (&str, Wishes<'_>),
) -> Answer {
    let events = book.ledger.events();
    let event = |id: &String| book.rows.get(id).map(|row| &events[row.event]);
    let rows = |ids: &[String]| -> Vec<Row<'_>> {
        ids.iter().filter_map(event).map(|event| Row::of(item, event, wishes)).collect()
    };
    let gone = |id: &String| {
        let account = &item.accounts[event(id)?.plan.account];
        Some(json!({ "account_id": account.account_id, "transaction_id": id }))
    };
    let touched = delta.added.iter().chain(&delta.modified).filter_map(event);
    let mut accounts: Vec<usize> = touched.map(|event| event.plan.account).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let page = Page {
        accounts: accounts.iter().map(|index| item.account_json(book, *index)).collect(),
        added: rows(&delta.added),
        has_more: delta.has_more,
        modified: rows(&delta.modified),
        next_cursor,
        removed: delta.removed.iter().filter_map(gone).collect(),
        request_id,
        transactions_update_status: item.update_status(),
    };
    Answer::of_transactions(page.added.len() + page.modified.len(), &page)
}

/// Live events of these accounts in a span of days, newest first.
fn listed<'a>(book: &'a Book, indexes: &[usize], (first, last): (Date, Date)) -> Vec<&'a Event> {
    let wanted = |event: &&Event| {
        matches!(event.state, State::Pending | State::Posted)
            && indexes.contains(&event.plan.account)
            && (first..=last).contains(&event.date())
    };
    let mut found: Vec<&Event> = book.ledger.events().iter().filter(wanted).collect();
    found.sort_by(|a, b| {
        b.date().cmp(&a.date()).then_with(|| a.transaction_id.cmp(&b.transaction_id))
    });
    found
}
