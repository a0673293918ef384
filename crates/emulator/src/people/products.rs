//! What an account has besides its transactions: who owns it, its numbers, what is owed on it, what
//! it holds. Bodies are kept in Plaid's shape; ids are put in when they are answered.

use jiff::ToSpan;
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Value, json};

/// Everything of one account that is not a transaction of the bank.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Portfolio {
    /// An `Owner`.
    pub(crate) owner: Value,
    pub(crate) numbers: Numbers,
    pub(crate) liability: Option<Liability>,
    pub(crate) holdings: Vec<Holding>,
    pub(crate) investments: Vec<Investment>,
}

/// The numbers that money is sent to. An account without an account number cannot be debited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Numbers {
    pub(crate) account: Option<String>,
    pub(crate) ach_routing: Option<String>,
    pub(crate) ach_wire_routing: Option<String>,
    pub(crate) eft_institution: Option<String>,
    pub(crate) eft_branch: Option<String>,
    pub(crate) international_bic: Option<String>,
    pub(crate) international_iban: Option<String>,
    pub(crate) bacs_sort_code: Option<String>,
}

/// What is owed, in Plaid's shape but for the account id.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Liability {
    pub(crate) kind: Owed,
    pub(crate) body: Value,
}

/// The kinds of liability Plaid tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Owed {
    Credit,
    Mortgage,
    Student,
    Loan,
    LineOfCredit,
}

/// A position in a security.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holding {
    /// What the security's id is drawn from.
    pub(crate) security: Security,
    pub(crate) quantity: Value,
    pub(crate) price: Value,
    pub(crate) value: Value,
    pub(crate) cost_basis: Value,
    pub(crate) as_of: Option<Date>,
    pub(crate) currency: String,
}

/// A dated movement in an investment account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Investment {
    /// Stable within the account.
    pub(crate) label: String,
    pub(crate) security: Option<Security>,
    pub(crate) date: Date,
    pub(crate) currency: String,
    /// `name`, `type`, `subtype`, `quantity`, `price`, `amount`, `fees`.
    pub(crate) body: Value,
}

/// A security in Plaid's shape but for its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Security {
    /// The same for the same security everywhere.
    pub(crate) key: String,
    pub(crate) body: Value,
}

impl Security {
    /// A security of which only these parts are known.
    pub(crate) fn new(key: &str, known: &Value, currency: &str) -> Self {
        let part = |name: &str| known.get(name).cloned().unwrap_or(Value::Null);
        let ticker = part("ticker_symbol");
        let option = ticker.as_str().and_then(option_contract);
        let kind = match (&option, part("type")) {
            (_, Value::String(kind)) => kind,
            (Some(_), _) => "derivative".to_owned(),
            (None, _) => "equity".to_owned(),
        };
        Self {
            key: key.to_owned(),
            body: json!({
                "cfi_code": null,
                "close_price": part("close_price"),
                "close_price_as_of": null,
                "cusip": null,
                "figi": null,
                "fixed_income": part("fixed_income"),
                "industry": null,
                "institution_id": null,
                "institution_security_id": part("institution_security_id"),
                "is_cash_equivalent": known.get("is_cash_equivalent").cloned().unwrap_or(json!(kind == "cash")),
                "isin": null,
                "iso_currency_code": crate::item::iso_code(currency),
                "market_identifier_code": null,
                "name": part("name"),
                "option_contract": known.get("option_contract").cloned().or(option).unwrap_or(Value::Null),
                "proxy_security_id": null,
                "sector": null,
                "sedol": null,
                "subtype": part("subtype"),
                "ticker_symbol": ticker,
                "type": kind,
                "unofficial_currency_code": crate::item::unofficial_code(currency),
                "update_datetime": null,
            }),
        }
    }
}

/// Reads an OCC option symbol without spaces: ticker, date, call or put, strike in thousandths.
fn option_contract(symbol: &str) -> Option<Value> {
    let (head, strike) = symbol.split_at_checked(symbol.len().checked_sub(8)?)?;
    let (head, side) = head.split_at_checked(head.len().checked_sub(1)?)?;
    let (ticker, date) = head.split_at_checked(head.len().checked_sub(6)?)?;
    let side = match side {
        "C" => "call",
        "P" => "put",
        _ => return None,
    };
    let date = Date::strptime("%y%m%d", date).ok()?;
    let strike = rust_decimal::Decimal::new(strike.parse().ok()?, 3);
    (!ticker.is_empty()).then(|| {
        json!({
            "contract_type": side,
            "expiration_date": date.to_string(),
            "strike_price": crate::item::number(strike),
            "underlying_security_ticker": ticker,
        })
    })
}

/// The owner that a name alone makes.
pub(crate) fn owner(name: &str) -> Value {
    let slug: String = name.to_lowercase().replace(' ', ".");
    json!({
        "addresses": [{
            "data": {
                "city": "Malakoff", "country": "US", "postal_code": "14236", "region": "NY",
                "street": "2992 Cameron Road",
            },
            "primary": true,
        }],
        "emails": [{ "data": format!("{slug}@example.com"), "primary": true, "type": "primary" }],
        "names": [name],
        "phone_numbers": [{ "data": "2025550123", "primary": true, "type": "mobile" }],
    })
}

/// The numbers of Plaid's test accounts: a fixed beginning and the mask.
pub(crate) fn usual_numbers(
    account_type: &str,
    subtype: Option<&str>,
    mask: Option<&str>,
) -> Numbers {
    let debitable = account_type == "depository"
        && matches!(subtype, Some("checking" | "savings" | "cash management"));
    if !debitable {
        return Numbers::default();
    }
    Numbers {
        account: Some(format!("111122223333{}", mask.unwrap_or("0000"))),
        ..Numbers::default()
    }
}

/// What is owed on an account of which no more than its kind is known, as of a day.
pub(crate) fn usual_liability(
    account_type: &str,
    subtype: Option<&str>,
    owed: &Value,
    opened: Date,
) -> Option<Liability> {
    let last = opened.saturating_sub(12.days()).to_string();
    let next = opened.saturating_add(18.days()).to_string();
    match (account_type, subtype) {
        ("credit", _) => Some(Liability {
            kind: Owed::Credit,
            body: json!({
                "aprs": [{
                    "apr_percentage": 19.99, "apr_type": "purchase_apr",
                    "balance_subject_to_apr": null, "interest_charge_amount": null,
                }],
                "is_overdue": false,
                "last_payment_amount": null,
                "last_payment_date": null,
                "last_statement_balance": owed,
                "last_statement_issue_date": last,
                "minimum_payment_amount": 25,
                "next_payment_due_date": next,
            }),
        }),
        ("loan", Some("student" | "mortgage" | "line of credit")) | (_, None) => None,
        ("loan", _) => {
            Some(loan(&json!({ "principal_balance": owed, "next_payment_due_date": next })))
        }
        _ => None,
    }
}

/// A loan of which these parts are known.
pub(crate) fn loan(known: &Value) -> Liability {
    let part = |name: &str| known.get(name).cloned().unwrap_or(Value::Null);
    Liability {
        kind: Owed::Loan,
        body: json!({
            "account_number": part("account_number"),
            "compounding_period": part("compounding_period"),
            "interest_rate": part("interest_rate"),
            "last_payment_amount": part("last_payment_amount"),
            "last_payment_date": part("last_payment_date"),
            "loan_term_months": part("loan_term_months"),
            "maturity_date": part("maturity_date"),
            "next_payment_amount": part("next_payment_amount"),
            "next_payment_due_date": part("next_payment_due_date"),
            "origination_date": part("origination_date"),
            "origination_principal_amount": part("origination_principal_amount"),
            "payment_count": part("payment_count"),
            "payment_frequency": part("payment_frequency"),
            "payoff_amount": part("payoff_amount"),
            "principal_balance": part("principal_balance"),
            "ytd_interest_paid": part("ytd_interest_paid"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_symbol_is_read_and_a_share_is_no_option() {
        let option = option_contract("NFLX180201C00355000").expect("an option");
        assert_eq!(option["underlying_security_ticker"], "NFLX");
        assert_eq!(option["expiration_date"], "2018-02-01");
        assert_eq!(option["strike_price"], 355);
        for other in ["ACHN", "", "CUR:USD", "ABCDEFGHIJKLMNOPQRS"] {
            assert_eq!(option_contract(other), None, "{other}");
        }
    }
}
