//! Rows of text cells of one end user, judged together: what files have with `--series`.

use std::collections::{BTreeMap, HashSet};

use jiff::civil::Date;
use model::{Account, AccountStatus, Currency, Direction, EndUserSeries, Enrichment, Money};

use crate::end_user::{Processed, together};
use crate::judge::Judge;
use crate::recorded::recorded;
use crate::sheet::{BadRow, INPUT, OUTPUT, Sheet, transaction};
use crate::tables::Tables;

/// Columns that go out with series behind those of rows alone: what ties a row to others.
const TIES: [&str; 5] =
    ["transfer_pair", "transfer_other", "refund_of", "duplicate_of", "recurring_id"];

/// Columns of rows that go out with series.
pub const SERIES_OUTPUT: [&str; OUTPUT.len() + TIES.len()] = {
    let mut all = [""; OUTPUT.len() + TIES.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < OUTPUT.len() { OUTPUT[at] } else { TIES[at - OUTPUT.len()] };
        at += 1;
    }
    all
};

/// Judges the rows of one end user, a sheet of `INPUT`, into rows of `SERIES_OUTPUT` and what they say
/// together. Dates are needed.
pub fn judge_series(tables: &Tables, input: &Sheet) -> Result<(Sheet, EndUserSeries), BadRow> {
    let mut judge = Judge::new(tables);
    let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
    let (mut records, mut judged) = (Vec::new(), Vec::new());
    let mut ids: HashSet<&str> = HashSet::new();
    for row in 0..input.rows() {
        let cells = input.row::<{ INPUT.len() }>(row);
        let record = record(&cells)?;
        if !ids.insert(cells[0]) {
            let trouble = "the id is there twice; series name rows by it".to_owned();
            return Err(BadRow { id: record.id, trouble });
        }
        accounts.entry(record.account_id.clone()).or_insert_with(|| account(&record, &cells));
        let row = transaction(&cells)?;
        judged.push(recorded(&judge.judge(&row), row.description));
        records.push(record);
    }
    let accounts: Vec<Account> = accounts.into_values().collect();
    let Processed { enrichments, series } = together(&records, &accounts, judged);
    let mut output = Sheet::new(SERIES_OUTPUT.len());
    for (record, enrichment) in records.iter().zip(&enrichments) {
        write(&record.id, enrichment, &mut output);
    }
    Ok((output, series))
}

fn record(cells: &[&str; INPUT.len()]) -> Result<model::Transaction, BadRow> {
    let [id, amount, description, date, currency, _, account, ..] = *cells;
    let size = transaction(cells)?.amount;
    let bad = |trouble: String| BadRow { id: id.to_owned(), trouble };
    if id.is_empty() || account.is_empty() {
        return Err(bad("id or account_id is empty; series need both".to_owned()));
    }
    let currency = currency.to_uppercase();
    let date: Date = date
        .get(..10)
        .unwrap_or(date)
        .parse()
        .map_err(|_| bad(format!("date is {date:?}; series need one such as 2026-03-31")))?;
    let exact = Currency::is_iso(&currency)
        .then(|| Money::parse(amount.trim().trim_start_matches('+'), Currency::iso(&currency)).ok())
        .flatten();
    let in_hundredths = || {
        format!("{}{}.{:02}", if size < 0 { "-" } else { "" }, size.abs() / 100, size.abs() % 100)
    };
    Ok(model::Transaction {
        id: id.to_owned(),
        transaction_id: id.to_owned(),
        item_id: String::new(),
        account_id: account.to_owned(),
        end_user_id: String::new(),
        date,
        authorized_date: None,
        amount: exact.map_or_else(in_hundredths, |(money, _)| money.to_string()),
        amount_exact: None,
        direction: if size < 0 { Direction::In } else { Direction::Out },
        currency,
        pending: false,
        pending_transaction_id: None,
        name: description.to_owned(),
        merchant_name: None,
        merchant_entity_id: None,
        website: None,
        counterparties: Vec::new(),
        original_description: None,
        payment_channel: None,
        check_number: None,
        category: None,
        enrichment: None,
        annotation: None,
        removed: false,
    })
}

fn account(record: &model::Transaction, cells: &[&str; INPUT.len()]) -> Account {
    let [_, _, _, _, _, _, _, account_type, ..] = *cells;
    Account {
        account_id: record.account_id.clone(),
        item_id: String::new(),
        end_user_id: String::new(),
        name: String::new(),
        official_name: None,
        mask: None,
        account_type: account_type.to_owned(),
        subtype: None,
        persistent_account_id: None,
        holder_category: None,
        status: AccountStatus::default(),
    }
}

fn write(id: &str, enrichment: &Enrichment, output: &mut Sheet) {
    let category = &enrichment.category;
    let merchant = enrichment.merchant.as_ref();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    output.push(id);
    output.push(merchant.map_or("", |merchant| &merchant.name));
    output.push(merchant.and_then(|merchant| merchant.website.as_deref()).unwrap_or_default());
    output.push(&text(&category.primary));
    output.push(&text(&category.detailed));
    output.push_percent(category.confidence.0);
    output.push(&text(&category.lender));
    output.push(&enrichment.flags.join("|"));
    output.push(&category.source);
    output.push(&category.reason);
    let transfer = enrichment.transfer.as_ref();
    output.push(transfer.and_then(|it| it.pair.as_deref()).unwrap_or_default());
    output.push(transfer.and_then(|it| it.other.as_deref()).unwrap_or_default());
    output.push(enrichment.refund.as_ref().map_or("", |tie| &tie.of));
    output.push(enrichment.duplicate.as_ref().map_or("", |tie| &tie.of));
    output.push(enrichment.recurring.as_ref().map_or("", |series| &series.id));
}
