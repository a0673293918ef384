//! What a `user_custom` account has besides its transactions: owner, numbers, what is owed, what it
//! holds.

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::decimal;
use super::products::{self, Holding, Investment, Liability, Numbers, Owed, Portfolio, Security};

/// The parts of an account's configuration that are about products.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Products {
    pub(super) identity: Option<Value>,
    numbers: Option<Numbers>,
    liability: Option<Map<String, Value>>,
    holdings: Option<Vec<Map<String, Value>>>,
    investment_transactions: Option<Vec<Map<String, Value>>>,
}

impl Products {
    /// What the account has. One set of names holds for the whole Item.
    pub(super) fn portfolio(
        &self,
        owner: Option<&Value>,
        currency: &str,
        opened: Date,
    ) -> Portfolio {
        let holdings = self.holdings.iter().flatten();
        let movements = self.investment_transactions.iter().flatten().enumerate();
        Portfolio {
            owner: owner.map_or(Value::Null, complete_owner),
            numbers: self.numbers.clone().unwrap_or_default(),
            liability: self.liability.as_ref().and_then(|given| liability(given, opened)),
            holdings: holdings.filter_map(|given| holding(given, currency)).collect(),
            investments: movements.filter_map(|(n, given)| movement(n, given, currency)).collect(),
        }
    }
}

/// An owner needs all four lists; a configuration may name fewer.
fn complete_owner(given: &Value) -> Value {
    let list =
        |name: &str| given.get(name).filter(|list| list.is_array()).cloned().unwrap_or(json!([]));
    let address = |entry: &Value| {
        let part = |name: &str| entry["data"].get(name).cloned().unwrap_or(Value::Null);
        json!({
            "data": {
                "city": part("city"), "country": part("country"),
                "postal_code": part("postal_code"), "region": part("region"), "street": part("street"),
            },
            "primary": entry.get("primary").cloned().unwrap_or(json!(false)),
        })
    };
    let addresses: Vec<Value> =
        list("addresses").as_array().into_iter().flatten().map(address).collect();
    json!({
        "addresses": addresses,
        "emails": list("emails"),
        "names": list("names"),
        "phone_numbers": list("phone_numbers"),
    })
}

fn liability(given: &Map<String, Value>, opened: Date) -> Option<Liability> {
    let part = |name: &str| given.get(name).cloned().unwrap_or(Value::Null);
    let or = |name: &str, usual: Value| {
        given.get(name).filter(|v| !v.is_null()).cloned().unwrap_or(usual)
    };
    let rates = [
        ("balance_transfer_apr", "balance_transfer_apr"),
        ("cash_apr", "cash_apr"),
        ("purchase_apr", "purchase_apr"),
        ("special_apr", "special"),
    ];
    let rate = |(field, kind): &(&str, &str)| {
        let percent = given.get(*field).filter(|percent| percent.is_number())?;
        Some(json!({
            "apr_percentage": percent, "apr_type": kind,
            "balance_subject_to_apr": null, "interest_charge_amount": null,
        }))
    };
    let statement = json!(opened.saturating_sub(jiff::Span::new().days(12)).to_string());
    let due = json!(opened.saturating_add(jiff::Span::new().days(18)).to_string());
    match given.get("type")?.as_str()? {
        "credit" => Some(Liability {
            kind: Owed::Credit,
            body: json!({
                "aprs": rates.iter().filter_map(rate).collect::<Vec<_>>(),
                "is_overdue": part("is_overdue"),
                "last_payment_amount": part("last_payment_amount"),
                "last_payment_date": part("last_payment_date"),
                "last_statement_balance": part("last_statement_balance"),
                "last_statement_issue_date": or("last_statement_issue_date", statement),
                "minimum_payment_amount": part("minimum_payment_amount"),
                "next_payment_due_date": or("next_payment_due_date", due),
            }),
        }),
        "student" => {
            Some(Liability { kind: Owed::Student, body: student(given, &statement, &due) })
        }
        "loan" => {
            let mut known = Value::Object(given.clone());
            known["interest_rate"] = interest_rate(given);
            Some(products::loan(&known))
        }
        "line_of_credit" => Some(Liability {
            kind: Owed::LineOfCredit,
            body: json!({
                "aprs": or("aprs", json!([])),
                "available_credit": part("available_credit"),
                "credit_limit": part("credit_limit"),
                "draw_period_end_date": part("draw_period_end_date"),
                "finance_charges": part("finance_charges"),
                "interest_rate": interest_rate(given),
                "last_payment_amount": part("last_payment_amount"),
                "last_payment_date": part("last_payment_date"),
                "last_statement_balance": part("last_statement_balance"),
                "last_statement_issue_date": or("last_statement_issue_date", statement),
                "minimum_payment_amount": part("minimum_payment_amount"),
                "next_payment_amount": part("next_payment_amount"),
                "next_payment_due_date": or("next_payment_due_date", due),
                "past_due_amount": part("past_due_amount"),
                "principal_balance": part("principal_balance"),
            }),
        }),
        _ => None,
    }
}

fn interest_rate(given: &Map<String, Value>) -> Value {
    match given.get("interest_rate") {
        Some(Value::Object(rate)) => json!({
            "percentage": rate.get("percentage").cloned().unwrap_or(Value::Null),
            "type": rate.get("type").cloned().unwrap_or(Value::Null),
        }),
        _ => Value::Null,
    }
}

fn student(given: &Map<String, Value>, statement: &Value, due: &Value) -> Value {
    let part = |name: &str| given.get(name).cloned().unwrap_or(Value::Null);
    let text = |name: &str| part(name).as_str().map(str::to_owned);
    let inner = |object: &str, name: &str| part(object).get(name).cloned().unwrap_or(Value::Null);
    let address = |name: &str| inner("servicer_address", name);
    json!({
        "account_number": part("account_number"),
        "disbursement_dates": text("origination_date").map(|date| vec![date]),
        "expected_payoff_date": part("expected_payoff_date"),
        "guarantor": part("guarantor"),
        "interest_rate_percentage": given.get("nominal_apr").cloned().unwrap_or(json!(0)),
        "is_overdue": part("is_overdue"),
        "last_payment_amount": part("last_payment_amount"),
        "last_payment_date": part("last_payment_date"),
        "last_statement_issue_date": statement,
        "loan_name": part("loan_name"),
        "loan_status": { "end_date": inner("loan_status", "end_date"), "type": inner("loan_status", "type") },
        "minimum_payment_amount": part("minimum_payment_amount"),
        "next_payment_due_date": due,
        "origination_date": part("origination_date"),
        "origination_principal_amount": part("principal"),
        "outstanding_interest_amount": null,
        "payment_reference_number": part("payment_reference_number"),
        "pslf_status": {
            "estimated_eligibility_date": inner("pslf_status", "estimated_eligibility_date"),
            "payments_made": inner("pslf_status", "payments_made"),
            "payments_remaining": inner("pslf_status", "payments_remaining"),
        },
        "repayment_plan": {
            "description": part("repayment_plan_description"), "type": part("repayment_plan_type"),
        },
        "sequence_number": given.get("sequence_number").filter(|n| !n.is_null()).map(ToString::to_string),
        "servicer_address": {
            "city": address("city"), "country": address("country"),
            "postal_code": address("postal_code"), "region": address("region"),
            "street": address("street"),
        },
        "ytd_interest_paid": part("ytd_interest_paid"),
        "ytd_principal_paid": null,
    })
}

fn security(given: &Map<String, Value>, currency: &str) -> Option<Security> {
    let given = given.get("security")?;
    let currency = given.get("currency").and_then(Value::as_str).unwrap_or(currency);
    let names = ["ticker_symbol", "name", "cusip", "isin", "sedol"];
    let key = names.iter().find_map(|name| given.get(*name).and_then(Value::as_str))?;
    Some(Security::new(key, given, currency))
}

fn holding(given: &Map<String, Value>, currency: &str) -> Option<Holding> {
    let number = |name: &str| given.get(name).and_then(decimal);
    let (quantity, price) = (number("quantity")?, number("institution_price")?);
    let currency = given.get("currency").and_then(Value::as_str).unwrap_or(currency);
    let as_of = given.get("institution_price_as_of").and_then(Value::as_str);
    Some(Holding {
        security: security(given, currency)?,
        quantity: crate::item::number(quantity),
        price: crate::item::number(price),
        value: crate::item::number(quantity * price),
        cost_basis: number("cost_basis").map_or(Value::Null, crate::item::number),
        as_of: as_of.and_then(|date| date.parse().ok()),
        currency: currency.to_owned(),
    })
}

fn movement(number: usize, given: &Map<String, Value>, currency: &str) -> Option<Investment> {
    let decimal_of = |name: &str| given.get(name).and_then(decimal);
    let (quantity, price) = (decimal_of("quantity")?, decimal_of("price")?);
    let kind = given.get("type")?.as_str()?;
    let subtype = if kind == "cash" { "deposit" } else { kind };
    let subtype = if kind == "fee" { "miscellaneous fee" } else { subtype };
    let currency = given.get("currency").and_then(Value::as_str).unwrap_or(currency);
    Some(Investment {
        label: format!("custom/{number}"),
        security: security(given, currency),
        date: given.get("date")?.as_str()?.parse().ok()?,
        currency: currency.to_owned(),
        body: json!({
            "amount": crate::item::number(quantity * price),
            "fees": given.get("fees").cloned().unwrap_or(Value::Null),
            "name": given.get("name")?,
            "price": given.get("price")?,
            "quantity": given.get("quantity")?,
            "subtype": subtype,
            "type": kind,
        }),
    })
}
