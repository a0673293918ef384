//! Holdings and movements of investment accounts. They do not change in this sandbox either.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde_json::{Value, json};

use super::request::{Request, bounded};
use super::{Answer, done};
use crate::book::Book;
use crate::draw::plaid_id;
use crate::error::PlaidError;
use crate::item::{Item, iso_code, unofficial_code};
use crate::people::{Portfolio, Security};

pub(super) fn holdings(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item_with("investments")?;
    let indexes = request.account_indexes(item)?;
    request.engine.item(item, |item, book| {
        let indexes = investment_accounts(item, indexes)?;
        let mut securities = Securities::default();
        let mut holdings = Vec::new();
        let portfolios = item.portfolios();
        for index in &indexes {
            let account = &item.accounts[*index];
            for holding in &portfolios[*index].holdings {
                holdings.push(json!({
                    "account_id": account.account_id,
                    "cost_basis": holding.cost_basis,
                    "institution_price": holding.price,
                    "institution_price_as_of": holding.as_of.map(|date| date.to_string()),
                    "institution_price_datetime": null,
                    "institution_value": holding.value,
                    "iso_currency_code": iso_code(&holding.currency),
                    "quantity": holding.quantity,
                    "security_id": securities.id_of(&holding.security),
                    "unofficial_currency_code": unofficial_code(&holding.currency),
                    "vested_quantity": null,
                    "vested_value": null,
                }));
            }
        }
        Ok(json!({
            "accounts": accounts(item, book, &indexes),
            "holdings": holdings,
            "is_investments_fallback_item": false,
            "item": item.json(),
            "securities": securities.list(),
        })
        .into())
    })
}

pub(super) fn transactions(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let (first, last) = request.span()?;
    let options = request.options()?;
    let bounded = |name: &str, bounds, usual: i64| {
        options.get(name).map_or(Ok(usual), |value| bounded(name, value, bounds))
    };
    let count = usize::try_from(bounded("count", (1, 500), 100)?).unwrap_or(1);
    let offset = usize::try_from(bounded("offset", (0, i64::MAX), 0)?).unwrap_or_default();
    let item = request.item_with("investments")?;
    let indexes = request.account_indexes(item)?;
    request.engine.item(item, |item, book| {
        let indexes = investment_accounts(item, indexes)?;
        let portfolios = item.portfolios();
        let found = movements(&portfolios, &indexes, (first, last));
        let total = found.len();
        let mut securities = Securities::default();
        let page: Vec<Value> = found
            .into_iter()
            .skip(offset)
            .take(count)
            .map(|m| m.json(item, &mut securities))
            .collect();
        Ok(json!({
            "accounts": accounts(item, book, &indexes),
            "investment_transactions": page,
            "is_investments_fallback_item": false,
            "item": item.json(),
            "securities": securities.list(),
            "total_investment_transactions": total,
        })
        .into())
    })
}

pub(super) fn refresh(request: &Request<'_>) -> Result<Answer, PlaidError> {
    request.item_with("investments")?;
    done()
}

/// Indexes of the investment accounts among these.
fn investment_accounts(item: &Item, mut indexes: Vec<usize>) -> Result<Vec<usize>, PlaidError> {
    indexes.retain(|index| item.accounts[*index].plan.account_type == "investment");
    if indexes.is_empty() {
        let why = "no valid investment accounts were found for this item";
        return Err(PlaidError::new("ITEM_ERROR", "NO_INVESTMENT_ACCOUNTS", why));
    }
    Ok(indexes)
}

fn accounts(item: &Item, book: &Book, indexes: &[usize]) -> Vec<Value> {
    let account = |index: &usize| {
        let mut account = item.account_json(book, *index);
        account["balances"]["margin_loan_amount"] = Value::Null;
        account
    };
    indexes.iter().map(account).collect()
}

struct Movement<'a> {
    account: usize,
    number: usize,
    investment: &'a crate::people::Investment,
}

/// Movements in a span of days, newest first.
fn movements<'a>(
    portfolios: &'a [Portfolio],
    indexes: &[usize],
    (first, last): (Date, Date),
) -> Vec<Movement<'a>> {
    let mut found = Vec::new();
    for index in indexes {
        let all = portfolios[*index].investments.iter().enumerate();
        let of_span = all.filter(|(_, movement)| (first..=last).contains(&movement.date));
        found.extend(of_span.map(|(number, investment)| Movement {
            account: *index,
            number,
            investment,
        }));
    }
    found.sort_by_key(|movement| {
        std::cmp::Reverse((movement.investment.date, movement.account, movement.number))
    });
    found
}

impl Movement<'_> {
    fn json(&self, item: &Item, securities: &mut Securities) -> Value {
        let account = &item.accounts[self.account];
        let label = format!("investment/{}/{}", account.account_id, self.investment.label);
        let mut json = self.investment.body.clone();
        json["account_id"] = json!(account.account_id);
        json["cancel_transaction_id"] = Value::Null;
        json["date"] = json!(self.investment.date.to_string());
        json["investment_transaction_id"] = json!(plaid_id(item.life.namer.seed, &label));
        json["iso_currency_code"] = json!(iso_code(&self.investment.currency));
        let security = self.investment.security.as_ref();
        json["security_id"] = json!(security.map(|security| securities.id_of(security)));
        json["transaction_datetime"] = Value::Null;
        json["unofficial_currency_code"] = json!(unofficial_code(&self.investment.currency));
        json
    }
}

/// The securities that an answer mentions, each once.
#[derive(Default)]
struct Securities(BTreeMap<String, Value>);

impl Securities {
    /// The id of a security: the same everywhere.
    fn id_of(&mut self, security: &Security) -> String {
        let id = plaid_id(0, &format!("security/{}", security.key));
        self.0.entry(id.clone()).or_insert_with(|| {
            let mut body = security.body.clone();
            body["security_id"] = json!(id);
            body
        });
        id
    }

    fn list(self) -> Vec<Value> {
        self.0.into_values().collect()
    }
}
