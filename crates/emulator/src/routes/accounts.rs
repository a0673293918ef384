//! Accounts, balances, and what identity and auth say of them.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::Answer;
use super::request::Request;
use crate::error::PlaidError;
use crate::item::{Account, Item};
use crate::people::Numbers;

/// Institutions that need `min_last_updated_datetime`: Apple Card always, Capital One for Items
/// with anything but deposits.
const CAPITAL_ONE: &str = "ins_128026";
const APPLE_CARD: &str = "ins_136439";
/// How old the balances of those institutions are here.
const CACHED_MINUTES: i64 = 90;
/// Routing numbers of Plaid's test accounts.
const ACH_ROUTING: &str = "011401533";
const WIRE_ROUTING: &str = "021000021";

pub(super) fn get(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item()?;
    let indexes = request.account_indexes(item)?;
    Ok(request.engine.item(item, |item, book| {
        let accounts: Vec<Value> = indexes.iter().map(|i| item.account_json(book, *i)).collect();
        json!({ "accounts": accounts, "item": item.json() }).into()
    }))
}

pub(super) fn balance(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.healthy_item()?;
    let options = request.options()?;
    let oldest = options.get("min_last_updated_datetime").and_then(Value::as_str);
    let oldest = oldest.and_then(|text| text.parse::<Timestamp>().ok());
    let cached = request.engine.read(|world| {
        let item = &world.items[&item];
        let only_deposits =
            item.shared().all(|i| item.accounts[i].plan.account_type == "depository");
        let bank = item.institution.institution_id.as_str();
        bank == APPLE_CARD || bank == CAPITAL_ONE && !only_deposits
    });
    let age = SignedDuration::from_mins(CACHED_MINUTES);
    let updated = request.engine.now().saturating_sub(age).unwrap_or(Timestamp::UNIX_EPOCH);
    match oldest {
        None if cached => {
            return Err(PlaidError::invalid_field(
                "options.min_last_updated_datetime is required for this institution",
            ));
        }
        Some(oldest) if cached && oldest > updated => {
            return Err(PlaidError::new(
                "INVALID_RESULT",
                "LAST_UPDATED_DATETIME_OUT_OF_RANGE",
                "requested datetime out of range, most recently updated balance is older",
            ));
        }
        _ => {}
    }
    let indexes = request.account_indexes(item)?;
    Ok(request.engine.item(item, |item, book| {
        let account = |index: &usize| {
            let mut account = item.account_json(book, *index);
            if cached {
                account["balances"]["last_updated_datetime"] = json!(updated.to_string());
            }
            account
        };
        let accounts: Vec<Value> = indexes.iter().map(account).collect();
        json!({ "accounts": accounts, "item": item.json() }).into()
    }))
}

pub(super) fn identity(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item_with("identity")?;
    let indexes = request.account_indexes(item)?;
    Ok(request.engine.item(item, |item, book| {
        let portfolios = item.portfolios();
        let account = |index: &usize| {
            let mut account = item.account_json(book, *index);
            account["owners"] = json!([portfolios[*index].owner]);
            account
        };
        let accounts: Vec<Value> = indexes.iter().map(account).collect();
        json!({ "accounts": accounts, "item": item.json() }).into()
    }))
}

pub(super) fn auth(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item_with("auth")?;
    let indexes = request.account_indexes(item)?;
    request.engine.item(item, |item, book| {
        let mut numbers: Map<String, Value> = ["ach", "bacs", "eft", "international"]
            .map(|kind| (kind.to_owned(), json!([])))
            .into_iter()
            .collect();
        let portfolios = item.portfolios();
        for index in &indexes {
            let own = &portfolios[*index].numbers;
            for (kind, entry) in numbers_of(item, &item.accounts[*index], own) {
                if let Some(Value::Array(entries)) = numbers.get_mut(kind) {
                    entries.push(entry);
                }
            }
        }
        if numbers.values().all(|entries| entries == &json!([])) {
            let why = "no valid accounts of types checking, savings or cash management were found";
            return Err(PlaidError::new("ITEM_ERROR", "NO_AUTH_ACCOUNTS", why));
        }
        let accounts: Vec<Value> = indexes.iter().map(|i| item.account_json(book, *i)).collect();
        Ok(json!({ "accounts": accounts, "item": item.json(), "numbers": numbers }).into())
    })
}

/// The numbers of an account in the forms of its country: kind and entry.
fn numbers_of(item: &Item, account: &Account, numbers: &Numbers) -> Vec<(&'static str, Value)> {
    let iban = numbers.international_iban.as_ref();
    let Some(number) = numbers.account.as_ref().or(iban) else { return Vec::new() };
    let mut found = Vec::new();
    let id = &account.account_id;
    if let (Some(institution), Some(branch)) = (&numbers.eft_institution, &numbers.eft_branch) {
        found.push((
            "eft",
            json!({
                "account": number, "account_id": id, "branch": branch, "institution": institution,
            }),
        ));
    }
    if let (Some(iban), Some(bic)) = (iban, &numbers.international_bic) {
        found.push(("international", json!({ "account_id": id, "bic": bic, "iban": iban })));
    }
    if let Some(sort_code) = &numbers.bacs_sort_code {
        found
            .push(("bacs", json!({ "account": number, "account_id": id, "sort_code": sort_code })));
    }
    if !found.is_empty() && numbers.ach_routing.is_none() {
        return found;
    }
    let country = item.institution.country_codes.first().map_or("US", String::as_str);
    let mask = account.plan.mask.as_deref().unwrap_or("0000");
    match (numbers.ach_routing.is_some(), country) {
        (false, "CA") => found.push((
            "eft",
            json!({
                "account": number, "account_id": id, "branch": "01140", "institution": "021",
            }),
        )),
        (false, "GB") => {
            let bacs = json!({ "account": format!("3192{mask}"), "account_id": id, "sort_code": "601613" });
            found.push(("bacs", bacs));
            let iban = format!("GB29NWBK6016133192{mask}");
            found.push((
                "international",
                json!({ "account_id": id, "bic": "NWBKGB21", "iban": iban }),
            ));
        }
        _ => found.push((
            "ach",
            json!({
                "account": number,
                "account_id": id,
                "is_tokenized_account_number": item.institution.persistent_ids,
                "routing": numbers.ach_routing.as_deref().unwrap_or(ACH_ROUTING),
                "wire_routing": numbers.ach_wire_routing.as_deref().unwrap_or(WIRE_ROUTING),
            }),
        )),
    }
    found
}
