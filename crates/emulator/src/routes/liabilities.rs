//! What is owed on the accounts of an Item.

use serde_json::{Map, Value, json};

use super::Answer;
use super::request::Request;
use crate::error::PlaidError;
use crate::people::Owed;

/// Kinds of liability and the names of their lists.
const LISTS: [(Owed, &str); 5] = [
    (Owed::Credit, "credit"),
    (Owed::LineOfCredit, "line_of_credit"),
    (Owed::Loan, "loan"),
    (Owed::Mortgage, "mortgage"),
    (Owed::Student, "student"),
];

pub(super) fn get(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item_with("liabilities")?;
    let options = request.options()?;
    let filtered = options.get("account_ids").is_some_and(Value::is_array);
    let indexes = request.account_indexes(item)?;
    request.engine.item(item, |item, book| {
        let portfolios = item.portfolios();
        let owed = |index: usize| portfolios[index].liability.as_ref();
        if !filtered && indexes.iter().all(|index| owed(*index).is_none()) {
            let why = "no valid liability accounts were found for this item";
            return Err(PlaidError::new("ITEM_ERROR", "NO_LIABILITY_ACCOUNTS", why));
        }
        let list = |kind: Owed| -> Vec<Value> {
            let of_kind = |index: &usize| owed(*index).filter(|liability| liability.kind == kind);
            let body = |index: &usize| {
                let mut body = of_kind(index)?.body.clone();
                body["account_id"] = json!(item.accounts[*index].account_id);
                Some(body)
            };
            indexes.iter().filter_map(body).collect()
        };
        let lists: Map<String, Value> =
            LISTS.iter().map(|(kind, name)| ((*name).to_owned(), json!(list(*kind)))).collect();
        let accounts: Vec<Value> = indexes.iter().map(|i| item.account_json(book, *i)).collect();
        Ok(json!({ "accounts": accounts, "item": item.json(), "liabilities": lists }).into())
    })
}
