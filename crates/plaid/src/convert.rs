//! Wire to model: the only place where Plaid's shapes become ours. Amounts become decimals of the
//! currency's minor unit here, once; one bad element is set aside and its page goes on.

use jiff::Timestamp;
use jiff::civil::Date;
use model::{
    Account, AccountStatus, Balance, BalanceSource, Category, Currency, Direction, Money, Page,
    PlaidCounterparty, Quarantined, Removal, Staged, Transaction,
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::wire;

/// Longest text kept of any one field; Plaid declares no maximum and advises to plan for long ones.
const TEXT_LIMIT_CHARS: usize = 4_096;
/// Most counterparties kept of a transaction; Plaid names one or two.
const COUNTERPARTIES: usize = 10;
/// Currency of an amount for which Plaid names none: ISO 4217's code for "no currency".
const NO_CURRENCY: &str = "XXX";

/// Whose data it is.
#[derive(Debug, Clone)]
pub struct Owner {
    /// Plaid's Item id.
    pub item_id: String,
    /// The caller's id of the end user.
    pub end_user_id: String,
}

/// One page of `/transactions/sync`.
pub fn page(page: &wire::SyncPage, owner: &Owner, fetched_at: Timestamp) -> Page {
    let mut converted = accounts(&page.accounts, owner, BalanceSource::Cached, fetched_at);
    let quarantined = &mut converted.quarantined;
    converted.added =
        each("added", &page.added, quarantined, |raw, wire| transaction(raw, wire, owner));
    converted.modified =
        each("modified", &page.modified, quarantined, |raw, wire| transaction(raw, wire, owner));
    converted.removed = each("removed", &page.removed, quarantined, |_, wire: wire::Removed| {
        Ok(Removal { transaction_id: wire.transaction_id, account_id: wire.account_id })
    });
    converted
}

/// Accounts and their balances, as a page without transactions.
pub fn accounts(
    elements: &wire::Elements,
    owner: &Owner,
    source: BalanceSource,
    fetched_at: Timestamp,
) -> Page {
    let mut converted = Page::default();
    let pairs =
        each("accounts", elements, &mut converted.quarantined, |raw, wire: wire::Account| {
            let balance = balance(&wire, owner, source, fetched_at)?;
            Ok((Staged { record: account(wire, owner), raw: raw.get().to_owned() }, balance))
        });
    for (account, balance) in pairs {
        converted.accounts.push(account);
        converted.balances.push(balance);
    }
    converted
}

/// Reads every element by itself and sets aside those that cannot be read.
fn each<W: DeserializeOwned, T>(
    part: &str,
    elements: &[Box<RawValue>],
    quarantined: &mut Vec<Quarantined>,
    convert: impl Fn(&RawValue, W) -> Result<T, String>,
) -> Vec<T> {
    let mut converted = Vec::with_capacity(elements.len());
    for raw in elements {
        let read = serde_json::from_str(raw.get())
            .map_err(|error| format!("{:?} error at column {}", error.classify(), error.column()))
            .and_then(|wire| convert(raw, wire));
        match read {
            Ok(element) => converted.push(element),
            Err(reason) => quarantined.push(Quarantined {
                part: part.to_owned(),
                reason,
                raw: raw.get().to_owned(),
            }),
        }
    }
    converted
}

fn transaction(
    raw: &RawValue,
    wire: wire::Transaction,
    owner: &Owner,
) -> Result<Staged<Transaction>, String> {
    let currency = currency(wire.iso_currency_code, wire.unofficial_currency_code)
        .unwrap_or_else(|| Currency::unofficial(NO_CURRENCY));
    let text = wire.amount.get();
    let float =
        trial::has_bug("float_money").then(|| format!("{:.2}", text.parse().unwrap_or(0.0)));
    let flipped = trial::has_bug("sign_flip").then(|| format!("-{text}").replace("--", ""));
    let text = float.as_deref().or(flipped.as_deref()).unwrap_or(text);
    let (amount, exact) = Money::parse(text, currency).map_err(|error| error.to_string())?;
    let date = date(&wire.date).ok_or("the date is not a calendar date")?;
    let date = if trial::has_bug("utc_shift") { date.yesterday().unwrap_or(date) } else { date };
    let channel = wire.payment_channel.as_deref().unwrap_or("other");
    if trial::has_bug("unknown_enum_fatal") && !["online", "in store", "other"].contains(&channel) {
        return Err("an unknown payment channel".to_owned());
    }
    let record = Transaction {
        id: String::new(),
        transaction_id: wire.transaction_id,
        item_id: owner.item_id.clone(),
        account_id: wire.account_id,
        end_user_id: owner.end_user_id.clone(),
        date,
        authorized_date: wire.authorized_date.as_deref().and_then(self::date),
        amount: amount.to_string(),
        amount_exact: (!exact).then(|| text.to_owned()),
        direction: if amount.minor() < 0 { Direction::In } else { Direction::Out },
        currency: amount.currency().code().to_owned(),
        pending: wire.pending.unwrap_or(false),
        pending_transaction_id: wire.pending_transaction_id,
        name: bounded(wire.name.unwrap_or_default()),
        merchant_name: wire.merchant_name.map(bounded),
        merchant_entity_id: wire.merchant_entity_id.map(bounded),
        website: wire.website.map(bounded),
        counterparties: wire
            .counterparties
            .unwrap_or_default()
            .into_iter()
            .take(COUNTERPARTIES)
            .map(counterparty)
            .collect(),
        original_description: wire.original_description.map(bounded),
        payment_channel: wire.payment_channel,
        check_number: wire.check_number,
        category: wire.personal_finance_category.map(category),
        enrichment: None,
        annotation: None,
        removed: false,
    };
    Ok(Staged { record, raw: raw.get().to_owned() })
}

fn counterparty(wire: wire::Counterparty) -> PlaidCounterparty {
    PlaidCounterparty {
        name: bounded(wire.name),
        kind: wire.kind.map_or_else(|| "other".to_owned(), bounded),
        entity_id: wire.entity_id.map(bounded),
    }
}

fn category(wire: wire::Category) -> Category {
    Category {
        primary: wire.primary,
        detailed: wire.detailed,
        confidence: wire.confidence_level,
        version: wire.version,
    }
}

fn account(wire: wire::Account, owner: &Owner) -> Account {
    Account {
        account_id: wire.account_id,
        item_id: owner.item_id.clone(),
        end_user_id: owner.end_user_id.clone(),
        name: bounded(wire.name.unwrap_or_default()),
        official_name: wire.official_name.map(bounded),
        mask: wire.mask,
        account_type: wire.account_type.unwrap_or_else(|| "other".to_owned()),
        subtype: wire.subtype,
        persistent_account_id: wire.persistent_account_id,
        holder_category: wire.holder_category,
        status: AccountStatus::Active,
    }
}

fn balance(
    wire: &wire::Account,
    owner: &Owner,
    source: BalanceSource,
    fetched_at: Timestamp,
) -> Result<Balance, String> {
    let none = wire::Balances::default();
    let balances = wire.balances.as_ref().unwrap_or(&none);
    let iso = balances.iso_currency_code.clone();
    let currency = currency(iso, balances.unofficial_currency_code.clone());
    let unit = currency.clone().unwrap_or_else(|| Currency::unofficial(NO_CURRENCY));
    let decimal = |number: &Option<Box<RawValue>>| match number {
        None => Ok(None),
        Some(text) => Money::parse(text.get(), unit.clone())
            .map(|(money, _)| Some(money.to_string()))
            .map_err(|error| error.to_string()),
    };
    Ok(Balance {
        account_id: wire.account_id.clone(),
        item_id: owner.item_id.clone(),
        end_user_id: owner.end_user_id.clone(),
        available: decimal(&balances.available)?,
        current: decimal(&balances.current)?,
        limit: decimal(&balances.limit)?,
        currency: currency.map(|currency| currency.code().to_owned()),
        source,
        fetched_at,
        bank_updated_at: balances.last_updated_datetime.as_deref().and_then(|t| t.parse().ok()),
    })
}

fn currency(iso: Option<String>, unofficial: Option<String>) -> Option<Currency> {
    match (iso, unofficial) {
        (Some(code), _) => Some(Currency::iso(&code)),
        (None, Some(code)) => Some(Currency::unofficial(&code)),
        (None, None) => None,
    }
}

/// A calendar date; the time of a date-time is dropped, never shifted.
pub(crate) fn date(text: &str) -> Option<Date> {
    text.get(..10)?.parse().ok()
}

pub(crate) fn bounded(text: String) -> String {
    match text.char_indices().nth(TEXT_LIMIT_CHARS) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(json: &str) -> Page {
        let wire: wire::SyncPage = serde_json::from_str(json).unwrap();
        let owner = Owner { item_id: "item".into(), end_user_id: "alice".into() };
        page(&wire, &owner, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn one_bad_element_never_costs_its_page() {
        let page = convert(
            r#"{"added":[
                {"transaction_id":"a","account_id":"x","amount":12.345,"date":"2026-01-31",
                 "iso_currency_code":"USD","personal_finance_category":"a string","pending":null,
                 "a_new_field":{"deep":[1]},"payment_channel":"by pigeon"},
                {"transaction_id":"b","account_id":"x","amount":"twelve","date":"2026-01-31"},
                {"transaction_id":"c","account_id":"x","amount":1,"date":"soon"},
                {"account_id":"x"}, null, 7],
              "modified":null,"removed":[{"transaction_id":"d"},{}],
              "accounts":[{"account_id":"x","balances":{"current":1e30}},{"account_id":"y"}],
              "transactions_update_status":{"new":"shape"},"next_cursor":null,"has_more":false}"#,
        );
        assert_eq!(page.added.len(), 1);
        let row = &page.added[0].record;
        assert_eq!((row.amount.as_str(), row.amount_exact.as_deref()), ("12.35", Some("12.345")));
        assert_eq!((row.category.as_ref(), row.pending), (None, false));
        assert!(page.added[0].raw.contains("a_new_field"), "the raw JSON is kept");
        assert_eq!(page.removed.len(), 1);
        assert_eq!(page.accounts.len(), 1);
        let parts: Vec<&str> = page.quarantined.iter().map(|q| q.part.as_str()).collect();
        assert_eq!(parts, ["accounts", "added", "added", "added", "added", "added", "removed"]);
        assert!(page.quarantined.iter().all(|q| !q.reason.contains("twelve")));
    }

    #[test]
    fn dates_stay_dates() {
        assert_eq!(date("2026-03-29"), Some(Date::constant(2026, 3, 29)));
        assert_eq!(date("2026-03-29T23:30:00-08:00"), Some(Date::constant(2026, 3, 29)));
        assert_eq!(date("29.03.2026"), None);
    }
}
