//! Accounts and balances.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::request::Request;
use crate::error::PlaidError;

/// Institutions that need `min_last_updated_datetime`: Apple Card always, Capital One for Items
/// with anything but deposits.
const CAPITAL_ONE: &str = "ins_128026";
const APPLE_CARD: &str = "ins_136439";

pub(super) fn get(request: &Request<'_>) -> Result<Value, PlaidError> {
    let item = request.item()?;
    answer(request, item)
}

pub(super) fn balance(request: &Request<'_>) -> Result<Value, PlaidError> {
    let item = request.healthy_item()?;
    let options = request.options()?;
    let oldest = options.get("min_last_updated_datetime").filter(|value| !value.is_null());
    let valid =
        |value: &Value| value.as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok());
    if oldest.is_some_and(|value| !valid(value)) {
        return Err(PlaidError::invalid_field(
            "min_last_updated_datetime must be a date-time with a time zone",
        ));
    }
    let needed = request.engine.read(|world| {
        let item = &world.items[&item];
        let only_deposits = item.accounts.iter().all(|a| a.plan.account_type == "depository");
        item.institution_id == APPLE_CARD || item.institution_id == CAPITAL_ONE && !only_deposits
    });
    if needed && oldest.is_none() {
        return Err(PlaidError::invalid_field(
            "options.min_last_updated_datetime is required for this institution",
        ));
    }
    answer(request, item)
}

fn answer(request: &Request<'_>, item: u64) -> Result<Value, PlaidError> {
    let indexes = request.account_indexes(item)?;
    request.engine.read(|world| {
        let item = &world.items[&item];
        if item.accounts.is_empty() {
            let why = "no valid accounts were found for this item";
            return Err(PlaidError::new("ITEM_ERROR", "NO_ACCOUNTS", why));
        }
        let accounts: Vec<Value> = indexes.iter().map(|index| item.account_json(*index)).collect();
        Ok(json!({ "accounts": accounts, "item": item.json() }))
    })
}
