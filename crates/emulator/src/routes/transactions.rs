//! Transactions: the cursor feed, and the refresh that asks the bank.

use serde_json::{Value, json};

use super::request::{Request, bounded};
use crate::error::PlaidError;
use crate::item::{Item, MAXIMUM_DAYS, Stage, iso_code, number, unofficial_code};
use crate::ledger::{Description, Event};
use crate::rows::{self, Cursor, Delta};
use crate::world::{Command, FaultKind};

/// Most changes in a page, and how many when the caller does not say.
const COUNT: (i64, i64) = (1, 500);
const DEFAULT_COUNT: i64 = 100;

/// Codes of taxonomy version 2 and what version 1 called them.
const RENAMED: [(&str, &str); 5] = [
    ("INCOME_SALARY", "INCOME_WAGES"),
    ("INCOME_OTHER", "INCOME_OTHER_INCOME"),
    ("LOAN_PAYMENTS_CASH_ADVANCES", "LOAN_PAYMENTS_OTHER_PAYMENT"),
    ("TRANSFER_IN_WIRE", "TRANSFER_IN_OTHER_TRANSFER_IN"),
    ("TRANSFER_OUT_WIRE", "TRANSFER_OUT_OTHER_TRANSFER_OUT"),
];

/// Primary codes, the longer ones of a common beginning first.
const PRIMARY: [&str; 18] = [
    "LOAN_DISBURSEMENTS",
    "LOAN_PAYMENTS",
    "INCOME",
    "TRANSFER_IN",
    "TRANSFER_OUT",
    "BANK_FEES",
    "ENTERTAINMENT",
    "FOOD_AND_DRINK",
    "GENERAL_MERCHANDISE",
    "HOME_IMPROVEMENT",
    "MEDICAL",
    "PERSONAL_CARE",
    "GENERAL_SERVICES",
    "GOVERNMENT_AND_NON_PROFIT",
    "TRANSPORTATION",
    "TRAVEL",
    "RENT_AND_UTILITIES",
    "OTHER",
];

/// What the caller wants of each row.
struct Wishes {
    account_id: Option<String>,
    original_description: bool,
    version: String,
}

pub(super) fn sync(request: &Request<'_>) -> Result<Value, PlaidError> {
    let count = request.number("count", COUNT, DEFAULT_COUNT)?;
    let count = usize::try_from(count).unwrap_or(1);
    let options = request.options()?;
    let text = |name: &str| options.get(name).and_then(Value::as_str).map(str::to_owned);
    let wishes = Wishes {
        account_id: text("account_id"),
        original_description: options.get("include_original_description") == Some(&json!(true)),
        version: text("personal_finance_category_version").unwrap_or_else(|| "v2".to_owned()),
    };
    let days = options.get("days_requested").filter(|value| !value.is_null());
    let days = days.map(|days| bounded("days_requested", days, (1, MAXIMUM_DAYS))).transpose()?;
    let cursor = request.text("cursor")?.unwrap_or_default().to_owned();
    let item = request.healthy_item()?;
    begin(request, item, days)?;
    let stream = request.engine.read(|world| {
        let account = wishes.account_id.as_deref().unwrap_or("all");
        format!("{}/{account}", world.items[&item].namer.item_id)
    });
    let ready = request.engine.read(|world| world.items[&item].stage >= Stage::Initial);
    if !ready {
        return Ok(page_json(request, item, &wishes, &Delta::default(), ""));
    }
    let place = match cursor.as_str() {
        "" => Cursor::default(),
        "now" => request.engine.read(|world| world.items[&item].rows.resting()),
        text => Cursor::decode(text, &stream)?,
    };
    strike(request, item, place)?;
    let delta = request.engine.read(|world| {
        let item = &world.items[&item];
        item.rows.page(place, count, |row| wishes.shows(item, row.event))
    })?;
    let next = delta.next.encode(&stream);
    Ok(page_json(request, item, &wishes, &delta, &next))
}

/// The first call of an Item arms its webhooks and, if need be, turns transactions on.
fn begin(request: &Request<'_>, item: u64, days_requested: Option<i64>) -> Result<(), PlaidError> {
    let (called, off) = request.engine.read(|world| {
        let item = &world.items[&item];
        (item.sync_called, item.stage == Stage::Off)
    });
    if !called {
        request.engine.run(&Command::CallSync { item, days_requested })?;
    }
    if off { request.engine.load_history(item) } else { Ok(()) }
}

/// Lets a fault strike that was asked for on this page of this Item.
fn strike(request: &Request<'_>, item: u64, place: Cursor) -> Result<(), PlaidError> {
    let index = request.engine.read(|world| {
        let item_id = &world.items[&item].namer.item_id;
        world.faults.iter().position(|fault| {
            fault.kind == FaultKind::MutationDuringPagination
                && fault.times > 0
                && fault.page == place.page + 1
                && fault.item_id.as_ref().is_none_or(|id| id == item_id)
        })
    });
    let Some(index) = index else { return Ok(()) };
    request.engine.run(&Command::SpendFault { index })?;
    request.engine.run(&Command::Purchase { item })?;
    Err(rows::mutation())
}

pub(super) fn refresh(request: &Request<'_>) -> Result<Value, PlaidError> {
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
    Ok(json!({}))
}

fn page_json(
    request: &Request<'_>,
    item: u64,
    wishes: &Wishes,
    delta: &Delta,
    next_cursor: &str,
) -> Value {
    request.engine.read(|world| {
        let item = &world.items[&item];
        let event = |id: &String| item.rows.get(id).map(|row| &item.ledger.events()[row.event]);
        let rows = |ids: &[String]| -> Vec<Value> {
            ids.iter().filter_map(event).map(|event| wishes.row(item, event)).collect()
        };
        let gone = |id: &String| {
            let account = &item.accounts[event(id)?.plan.account];
            Some(json!({ "account_id": account.account_id, "transaction_id": id }))
        };
        let removed: Vec<Value> = delta.removed.iter().filter_map(gone).collect();
        let touched = delta.added.iter().chain(&delta.modified).filter_map(event);
        let mut accounts: Vec<usize> = touched.map(|event| event.plan.account).collect();
        accounts.sort_unstable();
        accounts.dedup();
        json!({
            "accounts": accounts.iter().map(|index| item.account_json(*index)).collect::<Vec<_>>(),
            "added": rows(&delta.added),
            "has_more": delta.has_more,
            "modified": rows(&delta.modified),
            "next_cursor": next_cursor,
            "removed": removed,
            "transactions_update_status": item.update_status(),
        })
    })
}

impl Wishes {
    fn shows(&self, item: &Item, event: usize) -> bool {
        let account = &item.accounts[item.ledger.events()[event].plan.account];
        self.account_id.as_ref().is_none_or(|wanted| *wanted == account.account_id)
    }

    /// One transaction as Plaid answers it.
    fn row(&self, item: &Item, event: &Event) -> Value {
        let plan = &event.plan;
        let about = &plan.description;
        let detailed = self.category(&about.category);
        let primary = PRIMARY.iter().find(|primary| detailed.starts_with(**primary));
        let primary = primary.unwrap_or(&"OTHER");
        json!({
            "account_id": item.accounts[plan.account].account_id,
            "account_owner": null,
            "amount": number(event.amount()),
            "authorized_date": plan.occurs_on.to_string(),
            "authorized_datetime": null,
            "category": null,
            "category_id": null,
            "check_number": null,
            "counterparties": counterparties(about),
            "date": event.date().to_string(),
            "datetime": null,
            "iso_currency_code": iso_code(&plan.currency),
            "location": {
                "address": null, "city": null, "country": null, "lat": null, "lon": null,
                "postal_code": null, "region": null, "store_number": about.store_number,
            },
            "logo_url": null,
            "merchant_entity_id": about.entity_id,
            "merchant_name": about.merchant,
            "name": about.name,
            "original_description": self.original_description.then_some(&about.name),
            "payment_channel": about.channel,
            "payment_meta": {
                "by_order_of": null, "payee": null, "payer": null, "payment_method": null,
                "payment_processor": null, "ppd_id": null, "reason": null, "reference_number": null,
            },
            "pending": event.is_pending(),
            "pending_transaction_id": event.pending_transaction_id,
            "personal_finance_category": {
                "confidence_level": about.confidence,
                "detailed": detailed,
                "primary": primary,
                "version": self.version,
            },
            "personal_finance_category_icon_url":
                format!("https://plaid-category-icons.plaid.com/PFC_{primary}.png"),
            "transaction_code": null,
            "transaction_id": event.transaction_id,
            "transaction_type": about.transaction_type,
            "unofficial_currency_code": unofficial_code(&plan.currency),
            "website": about.website,
        })
    }

    fn category<'a>(&self, detailed: &'a str) -> &'a str {
        let renamed = RENAMED.iter().find(|(new, _)| *new == detailed && self.version == "v1");
        renamed.map_or(detailed, |(_, old)| old)
    }
}

fn counterparties(about: &Description) -> Vec<Value> {
    let merchant = about.merchant.as_ref().map(|name| {
        json!({
            "confidence_level": about.confidence,
            "entity_id": about.entity_id,
            "logo_url": null,
            "name": name,
            "type": "merchant",
            "website": about.website,
        })
    });
    merchant.into_iter().collect()
}
