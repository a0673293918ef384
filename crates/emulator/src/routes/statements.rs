//! Statements: a PDF for each month and account, made of the transactions of that month.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::request::Request;
use super::{Answer, done};
use crate::book::Book;
use crate::draw::plaid_id;
use crate::error::PlaidError;
use crate::item::Item;
use crate::ledger::{Event, State};
use crate::pdf;
use crate::world::Command;

/// Months listed when nobody asked for a span.
const USUAL_MONTHS: i32 = 3;
/// Statements reach back two years at most.
const MOST_MONTHS: usize = 24;

pub(super) fn list(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item_with("statements")?;
    let now = crate::item::day(request.engine.now());
    Ok(request.engine.item(item, |item, _| {
        let months = months(item, now);
        let account = |index: usize| {
            let account = &item.accounts[index];
            let statements = months.iter().map(|month| {
                json!({
                    "date_posted": month.last_of_month().to_string(),
                    "month": month.month(),
                    "statement_id": statement_id(item, index, *month),
                    "year": month.year(),
                })
            });
            json!({
                "account_id": account.account_id,
                "account_mask": account.plan.mask.as_deref().unwrap_or_default(),
                "account_name": account.plan.name,
                "account_official_name": account.plan.official_name.as_deref().unwrap_or_default(),
                "account_subtype": account.plan.subtype.as_deref().unwrap_or_default(),
                "account_type": account.plan.account_type,
                "statements": statements.collect::<Vec<Value>>(),
            })
        };
        json!({
            "accounts": covered(item).map(account).collect::<Vec<_>>(),
            "institution_id": item.institution.institution_id,
            "institution_name": item.institution.name,
            "item_id": item.item_id(),
        })
        .into()
    }))
}

pub(super) fn download(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item_with("statements")?;
    let wanted = request.required_text("statement_id")?;
    let now = crate::item::day(request.engine.now());
    request.engine.item(item, |item, book| {
        let months = months(item, now);
        let mut all =
            covered(item).flat_map(|index| months.iter().map(move |month| (index, *month)));
        let found = all.find(|(index, month)| statement_id(item, *index, *month) == wanted);
        let (index, month) = found.ok_or_else(|| {
            PlaidError::invalid_field("statement_id does not name a statement of this item")
        })?;
        let bytes = pdf::of_lines(&lines(item, book, index, month));
        let hash = digest(&SHA256, &bytes);
        let hash = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Answer::File { content_type: "application/pdf", hash, bytes })
    })
}

pub(super) fn refresh(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let (from, to) = request.span()?;
    let item = request.item_with("statements")?;
    request.engine.run(&Command::RefreshStatements { item, from, to })?;
    done()
}

/// Indexes of the accounts that have statements.
fn covered(item: &Item) -> impl Iterator<Item = usize> {
    let kinds = ["depository", "credit"];
    item.shared()
        .filter(move |index| kinds.contains(&item.accounts[*index].plan.account_type.as_str()))
}

/// The first days of the months asked for that are over, newest first.
fn months(item: &Item, today: Date) -> Vec<Date> {
    let this_month = today.first_of_month();
    let usual = (this_month.saturating_sub(USUAL_MONTHS.months()), today);
    let (from, to) = item.statements.unwrap_or(usual);
    let from = from.first_of_month();
    let mut months = Vec::new();
    let mut month = this_month.saturating_sub(1.months());
    while month >= from && months.len() < MOST_MONTHS {
        if month <= to {
            months.push(month);
        }
        month = month.saturating_sub(1.months());
    }
    months
}

fn statement_id(item: &Item, index: usize, month: Date) -> String {
    let account_id = &item.accounts[index].account_id;
    plaid_id(item.life.namer.seed, &format!("statement/{account_id}/{month}"))
}

fn lines(item: &Item, book: &Book, index: usize, month: Date) -> Vec<String> {
    let plan = &item.accounts[index].plan;
    let of_month = |event: &&Event| {
        event.state == State::Posted
            && event.plan.account == index
            && event.date().first_of_month() == month
    };
    let mut events: Vec<&Event> = book.ledger.events().iter().filter(of_month).collect();
    events.sort_by_key(|event| event.date());
    let mut lines = vec![
        item.institution.name.clone(),
        format!("Statement {}", month.strftime("%B %Y")),
        format!("{} {}", plan.name, plan.mask.as_deref().unwrap_or_default()),
        String::new(),
    ];
    lines.extend(events.iter().map(|event| {
        format!("{}  {:>12}  {}", event.date(), event.amount(), event.plan.description.name)
    }));
    lines.push(format!("{} transactions", events.len()));
    lines
}
