//! Recurring transactions: streams found by who is paid and how regularly.

use std::collections::BTreeMap;

use jiff::ToSpan;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::Answer;
use super::request::{Request, texts};
use super::transaction::Category;
use crate::book::{Book, Stage};
use crate::draw::plaid_id;
use crate::error::PlaidError;
use crate::item::{Item, day, iso_code, number, unofficial_code};
use crate::ledger::{Event, State};

/// Fewest rows of a stream.
const FEWEST: usize = 3;
/// A stream that missed its date by this many rhythms is over.
const MISSED_RHYTHMS: i64 = 2;

/// Word, shortest and longest gap, and the usual one, in days.
const RHYTHMS: [(&str, i64, i64, i64); 5] = [
    ("WEEKLY", 6, 8, 7),
    ("BIWEEKLY", 13, 15, 14),
    ("SEMI_MONTHLY", 16, 17, 15),
    ("MONTHLY", 26, 35, 30),
    ("ANNUALLY", 350, 380, 365),
];

/// The legacy category of each primary code: its id and hierarchy. Older client libraries need one.
const LEGACY: [(&str, &str, &[&str]); 9] = [
    ("BANK_FEES", "10000000", &["Bank Fees"]),
    ("FOOD_AND_DRINK", "13000000", &["Food and Drink"]),
    ("MEDICAL", "14000000", &["Healthcare"]),
    ("LOAN_PAYMENTS", "16000000", &["Payment"]),
    ("ENTERTAINMENT", "17000000", &["Recreation"]),
    ("GENERAL_MERCHANDISE", "19000000", &["Shops"]),
    ("TRANSFER", "21000000", &["Transfer"]),
    ("TRAVEL", "22000000", &["Travel"]),
    ("", "18000000", &["Service"]),
];

pub(super) fn get(request: &Request<'_>) -> Result<Answer, PlaidError> {
    let item = request.item_with("transactions")?;
    let wanted = texts(request.get("account_ids"));
    for id in &wanted {
        request.account_index(item, id)?;
    }
    let options = request.options()?;
    let version = options.get("personal_finance_category_version").and_then(Value::as_str);
    let version = version.unwrap_or("v2");
    let now = request.engine.now();
    request.engine.item(item, |item, book| {
        if item.stage < Stage::Historical {
            return Err(PlaidError::product_not_ready());
        }
        let covered = |index: usize| {
            let account = &item.accounts[index];
            (wanted.is_empty() || wanted.contains(&account.account_id))
                && matches!(
                    account.plan.subtype.as_deref(),
                    Some("checking" | "savings" | "credit card")
                )
        };
        let streams = streams(book, covered);
        let answer = |inflow: bool| -> Vec<Value> {
            let of_direction = streams.iter().filter(|s| s.is_inflow() == inflow);
            of_direction.map(|stream| stream.json(item, version, day(now))).collect()
        };
        Ok(json!({
            "inflow_streams": answer(true),
            "outflow_streams": answer(false),
            "personal_finance_category_version": version,
            "updated_datetime": item.last_update.unwrap_or(now).to_string(),
        })
        .into())
    })
}

struct Stream<'a> {
    key: String,
    /// Oldest first.
    events: Vec<&'a Event>,
    rhythm: (&'static str, i64),
}

/// Posted rows with the same account, direction and counterparty, at regular distances.
fn streams(book: &Book, covered: impl Fn(usize) -> bool) -> Vec<Stream<'_>> {
    let mut groups: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    let posted = |event: &&Event| event.state == State::Posted && covered(event.plan.account);
    for event in book.ledger.events().iter().filter(posted) {
        groups.entry(key(event)).or_default().push(event);
    }
    groups.into_iter().filter_map(|(key, events)| Stream::of(key, events)).collect()
}

/// Account, direction, and the line without the parts that change every time.
fn key(event: &Event) -> String {
    let about = &event.plan.description;
    let fixed = |word: &&str| !word.bytes().any(|byte| byte.is_ascii_digit());
    let line: Vec<&str> = about.name.split([' ', ':', '*']).filter(fixed).collect();
    let who = about.merchant.clone().unwrap_or_else(|| line.join(" "));
    format!("{}/{}/{who}", event.plan.account, event.plan.amount.is_sign_negative())
}

/// The rhythm that at least four of five gaps keep to.
fn rhythm(events: &[&Event]) -> Option<(&'static str, i64)> {
    if events.len() < FEWEST {
        return None;
    }
    let gaps: Vec<i64> =
        events.windows(2).map(|pair| days(pair[0].date(), pair[1].date())).collect();
    RHYTHMS.iter().find_map(|(word, least, most, usual)| {
        let kept = gaps.iter().filter(|gap| (least..=most).contains(gap)).count();
        (kept * 5 >= gaps.len() * 4).then_some((*word, *usual))
    })
}

fn days(from: Date, to: Date) -> i64 {
    to.since(from).map_or(0, |span| i64::from(span.get_days()))
}

impl<'a> Stream<'a> {
    fn of(key: String, mut events: Vec<&'a Event>) -> Option<Self> {
        events.sort_by_key(|event| event.date());
        let rhythm = rhythm(&events)?;
        Some(Self { key, events, rhythm })
    }

    fn is_inflow(&self) -> bool {
        self.events.first().is_some_and(|event| event.plan.amount.is_sign_negative())
    }

    fn json(&self, item: &Item, version: &str, today: Date) -> Value {
        let (first, last) = (self.events[0], self.events[self.events.len() - 1]);
        let about = &last.plan.description;
        let (word, gap) = self.rhythm;
        let active = days(last.date(), today) <= gap * MISSED_RHYTHMS;
        let sum: Decimal = self.events.iter().map(|event| event.amount()).sum();
        let average = (sum / Decimal::from(self.events.len())).round_dp(2);
        let amount = |amount: Decimal| {
            json!({
                "amount": number(amount),
                "iso_currency_code": iso_code(&last.plan.currency),
                "unofficial_currency_code": unofficial_code(&last.plan.currency),
            })
        };
        let ids: Vec<&str> =
            self.events.iter().map(|event| event.transaction_id.as_str()).collect();
        let legacy = LEGACY.iter().find(|(primary, ..)| about.category.starts_with(primary));
        let (_, category_id, hierarchy) = legacy.unwrap_or(&LEGACY[LEGACY.len() - 1]);
        let next = last.date().saturating_add(gap.days());
        json!({
            "account_id": item.accounts[last.plan.account].account_id,
            "average_amount": amount(average),
            "category": hierarchy,
            "category_id": category_id,
            "description": about.name,
            "first_date": first.date().to_string(),
            "frequency": word,
            "is_active": active,
            "is_user_modified": false,
            "last_amount": amount(last.amount()),
            "last_date": last.date().to_string(),
            "merchant_name": about.merchant,
            "personal_finance_category": Category::of(&about.category, &about.confidence, version),
            "predicted_next_date": active.then(|| next.to_string()),
            "status": if active { "MATURE" } else { "TOMBSTONED" },
            "stream_id": plaid_id(item.life.namer.seed, &format!("stream/{}/{}", item.item_id(), self.key)),
            "transaction_ids": ids,
        })
    }
}
