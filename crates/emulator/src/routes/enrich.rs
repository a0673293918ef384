//! Enrichment of transactions that the caller brings: the merchant, if its line is known.

use serde_json::{Value, json};

use super::Answer;
use super::request::Request;
use super::transaction::Category;
use crate::error::PlaidError;
use crate::people::{Merchant, recognise};

/// Most transactions in a call.
const LIMIT: usize = 100;

pub(super) fn enrich(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let kind = request.required_text("account_type")?;
    if !matches!(kind, "depository" | "credit") {
        return Err(PlaidError::invalid_field("account_type must be depository or credit"));
    }
    let given = request.get("transactions").and_then(Value::as_array).cloned().unwrap_or_default();
    if given.is_empty() || given.len() > LIMIT {
        return Err(PlaidError::invalid_field(format!(
            "transactions must have 1 to {LIMIT} elements"
        )));
    }
    if given.iter().any(|row| row["amount"].as_f64().is_some_and(f64::is_sign_negative)) {
        return Err(PlaidError::invalid_field("amount must not be negative; use direction"));
    }
    let options = request.options()?;
    let version = options.get("personal_finance_category_version").and_then(Value::as_str);
    let legacy = options.get("include_legacy_category") == Some(&json!(true));
    let rows: Vec<Value> =
        given.iter().map(|row| enriched(row, version.unwrap_or("v2"), legacy)).collect();
    Ok(json!({ "enriched_transactions": rows }).into())
}

/// The caller's own fields, echoed, and what is known besides.
fn enriched(row: &Value, version: &str, legacy: bool) -> Value {
    let mut enriched = json!({});
    let echoed = [
        "id",
        "description",
        "amount",
        "direction",
        "iso_currency_code",
        "client_user_id",
        "client_account_id",
        "account_type",
        "account_subtype",
    ];
    for name in echoed {
        if let Some(value) = row.get(name).filter(|value| !value.is_null()) {
            enriched[name] = value.clone();
        }
    }
    let merchant = recognise(row["description"].as_str().unwrap_or_default());
    let inflow = row["direction"] == "INFLOW";
    let usual = if inflow {
        "TRANSFER_IN_OTHER_TRANSFER_IN"
    } else {
        "GENERAL_MERCHANDISE_OTHER_GENERAL_MERCHANDISE"
    };
    let detailed = merchant.map_or(usual, |merchant| &merchant.category);
    let confidence = if merchant.is_some() { "VERY_HIGH" } else { "LOW" };
    let category = Category::of(detailed, confidence, version);
    let place = |name: &str| row["location"].get(name).cloned().unwrap_or(Value::Null);
    let mut enrichments = json!({
        "check_number": null,
        "counterparties": merchant.map(counterparty).into_iter().collect::<Vec<_>>(),
        "entity_id": merchant.map(Merchant::entity_id),
        "location": {
            "address": place("address"), "city": place("city"), "country": place("country"),
            "lat": null, "lon": null, "postal_code": place("postal_code"),
            "region": place("region"), "store_number": null,
        },
        "logo_url": null,
        "merchant_name": merchant.map(|merchant| &merchant.name),
        "payment_channel": merchant.map_or("other", |merchant| &merchant.channel),
        "personal_finance_category_icon_url": category.icon_url(),
        "personal_finance_category": category,
        "phone_number": null,
        "website": merchant.and_then(|merchant| merchant.website.as_ref()),
    });
    if legacy {
        enrichments["legacy_category"] = Value::Null;
        enrichments["legacy_category_id"] = Value::Null;
    }
    enriched["enrichments"] = enrichments;
    enriched
}

fn counterparty(merchant: &Merchant) -> Value {
    json!({
        "confidence_level": "VERY_HIGH",
        "entity_id": merchant.entity_id(),
        "logo_url": null,
        "name": merchant.name,
        "phone_number": null,
        "type": "merchant",
        "website": merchant.website,
    })
}
