//! Reads a stream that is declared by its fields: asks the bank, finds the elements, turns each into
//! a record. One bad element is set aside, never the answer.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use model::{Arrival, Declaration, Field, FieldKind, Quarantined, Snapshot, Stream, plain_decimal};
use serde_json::value::RawValue;

use crate::bank::{Bank, Part};
use crate::convert::{Owner, bounded, date};
use crate::error::Error;

/// Plaid keeps investment transactions this long.
const INVESTMENT_MONTHS: i64 = 24;
/// Overlap with what was read before, because settlement dates move and rows are cancelled late.
const INVESTMENT_OVERLAP_DAYS: i64 = 30;
/// Pages of one reading of investment transactions: 100,000 rows.
const PAGES: usize = 200;
/// Readings of a list that changes while it is read.
const READINGS: usize = 3;

/// Where a stream's elements stand in its answer, and what kind each list is.
fn places(stream: Stream) -> &'static [(&'static [&'static str], &'static str)] {
    match stream {
        Stream::Recurring => &[(&["inflow_streams"], "inflow"), (&["outflow_streams"], "outflow")],
        Stream::Liabilities => &[
            (&["liabilities", "credit"], "credit"),
            (&["liabilities", "mortgage"], "mortgage"),
            (&["liabilities", "student"], "student"),
            (&["liabilities", "loan"], "loan"),
            (&["liabilities", "line_of_credit"], "line_of_credit"),
        ],
        Stream::Holdings => &[(&["holdings"], "")],
        Stream::Securities => &[(&["securities"], "")],
        Stream::InvestmentTransactions => &[(&["investment_transactions"], "")],
        Stream::Identity => &[(&["accounts"], "")],
        Stream::Auth => &[
            (&["numbers", "ach"], "ach"),
            (&["numbers", "eft"], "eft"),
            (&["numbers", "international"], "international"),
            (&["numbers", "bacs"], "bacs"),
        ],
        Stream::Institutions => &[(&["institution"], "")],
        Stream::Item => &[(&[], "")],
        Stream::Accounts | Stream::Balances | Stream::Transactions => &[],
    }
}

/// Reads a stream of an Item. `last` is when it was last read in full.
pub async fn read_stream(
    bank: &impl Bank,
    stream: Stream,
    owner: &Owner,
    institution_id: Option<&str>,
    last: Option<Timestamp>,
    now: Timestamp,
) -> Result<Snapshot, Error> {
    if stream == Stream::InvestmentTransactions {
        return read_by_dates(bank, owner, last, now).await;
    }
    let part = Part { institution_id: institution_id.map(str::to_owned), ..Part::default() };
    let answer = bank.read(stream, &part).await?;
    let mut collected = Collected::new(stream, None);
    collected.add(&answer, owner);
    Ok(collected.snapshot)
}

/// Plaid pages this list by offset, which is unsafe while it changes: a reading counts only if it met
/// exactly as many elements as Plaid says there are, all through.
async fn read_by_dates(
    bank: &impl Bank,
    owner: &Owner,
    last: Option<Timestamp>,
    now: Timestamp,
) -> Result<Snapshot, Error> {
    let today = day(now);
    let earliest = today.saturating_sub(INVESTMENT_MONTHS.months());
    let since = last.map_or(earliest, |last| {
        day(last).saturating_sub(INVESTMENT_OVERLAP_DAYS.days()).max(earliest)
    });
    let stream = Stream::InvestmentTransactions;
    for _ in 0..READINGS {
        let mut collected = Collected::new(stream, Some(since));
        let mut totals = HashSet::new();
        let mut seen = 0;
        for _ in 0..PAGES {
            let part = Part { dates: Some((since, today)), offset: seen, ..Part::default() };
            let answer = bank.read(stream, &part).await?;
            totals.insert(number(&answer, "total_investment_transactions"));
            let met = count(&answer, "investment_transactions");
            collected.add(&answer, owner);
            seen += met;
            if met == 0 || totals.iter().any(|total| Some(seen) >= *total) {
                break;
            }
        }
        let snapshot = collected.snapshot;
        let kept = snapshot.records.len() + snapshot.quarantined.len();
        if totals.len() == 1 && totals.contains(&Some(seen)) && kept == seen {
            return Ok(snapshot);
        }
    }
    // What was seen may be true, but a part taken for the whole would hide the rest for good.
    Err(Error::Malformed {
        path: "/investments/transactions/get",
        status: 200,
        reason: "its pages do not add up to the total it names".to_owned(),
        request_id: None,
    })
}

fn day(at: Timestamp) -> Date {
    at.to_zoned(jiff::tz::TimeZone::UTC).date()
}

fn number(answer: &RawValue, name: &str) -> Option<usize> {
    members(answer)?.get(name)?.get().parse().ok()
}

fn count(answer: &RawValue, name: &str) -> usize {
    let list = at_path(answer, &[name]).map(RawValue::get);
    let list = list.and_then(|text| serde_json::from_str::<Vec<&RawValue>>(text).ok());
    list.map_or(0, |list| list.len())
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

fn members(raw: &RawValue) -> Option<Members<'_>> {
    serde_json::from_str(raw.get()).ok()
}

/// What the answers to one reading hold so far.
struct Collected {
    snapshot: Snapshot,
    /// Where each record stands in the snapshot, by its id.
    positions: HashMap<String, usize>,
}

impl Collected {
    fn new(stream: Stream, since: Option<Date>) -> Self {
        let snapshot = Snapshot { stream, records: Vec::new(), quarantined: Vec::new(), since };
        Self { snapshot, positions: HashMap::new() }
    }

    fn add(&mut self, answer: &RawValue, owner: &Owner) {
        let stream = self.snapshot.stream;
        for (path, kind) in places(stream) {
            let Some(found) = at_path(answer, path) else { continue };
            // A single object stands for a list of one.
            let elements: Vec<&RawValue> =
                serde_json::from_str(found.get()).unwrap_or_else(|_| vec![found]);
            for raw in elements.into_iter().filter(|raw| raw.get() != "null") {
                match arrival(stream.declaration(), raw, kind, owner) {
                    Ok(record) => self.keep(record, raw),
                    Err(reason) => self.set_aside(raw, &reason),
                }
            }
        }
    }

    fn keep(&mut self, record: Arrival, raw: &RawValue) {
        match self.positions.get(&record.record_id) {
            None => {
                self.positions.insert(record.record_id.clone(), self.snapshot.records.len());
                self.snapshot.records.push(record);
            }
            // Told twice, word for word.
            Some(known) if self.snapshot.records[*known].body == record.body => {}
            Some(_) => self.set_aside(raw, "another element has the same key"),
        }
    }

    fn set_aside(&mut self, raw: &RawValue, reason: &str) {
        let stream = self.snapshot.stream;
        let raw = if stream.declaration().sealed { String::new() } else { raw.get().to_owned() };
        let (part, reason) = (stream.as_str().to_owned(), reason.to_owned());
        self.snapshot.quarantined.push(Quarantined { part, reason, raw });
    }
}

fn at_path<'a>(raw: &'a RawValue, path: &[&str]) -> Option<&'a RawValue> {
    path.iter().try_fold(raw, |raw, name| members(raw)?.remove(*name))
}

/// One element as a record of its stream.
fn arrival(
    declaration: &Declaration,
    raw: &RawValue,
    kind: &str,
    owner: &Owner,
) -> Result<Arrival, String> {
    let element = members(raw).ok_or("it is not an object")?;
    let mut body = String::from("{");
    let mut key = Vec::new();
    for field in declaration.fields {
        let value = match field.name {
            "item_id" => text(&owner.item_id),
            "end_user_id" => text(&owner.end_user_id),
            "kind" if !kind.is_empty() => text(kind),
            _ => value(field, &element)?,
        };
        let is_key = declaration.key.contains(&field.name);
        if is_key && value == "null" {
            return Err(format!("it has no {}", field.name));
        }
        if is_key && (field.name != "item_id" || declaration.key.len() == 1) {
            key.push(value.trim_matches('"').to_owned());
        }
        let comma = if body.len() > 1 { "," } else { "" };
        body.push_str(&format!("{comma}\"{}\":{value}", field.name));
    }
    body.push('}');
    Ok(Arrival { record_id: key.join("/"), body, raw: raw.get().to_owned() })
}

/// A field's value as JSON. What has not the declared kind is nothing, but an amount that cannot be
/// read sets its element aside: a missing amount could be taken for none.
fn value(field: &Field, element: &Members<'_>) -> Result<String, String> {
    let null = || Ok("null".to_owned());
    if field.kind == FieldKind::Currency {
        return Ok(currency(field, element));
    }
    let own = [field.name];
    let path = if field.path.is_empty() { &own[..] } else { field.path };
    let Some((first, rest)) = path.split_first() else { return null() };
    let Some(raw) = element.get(*first).and_then(|raw| at_path(raw, rest)) else { return null() };
    let json = raw.get();
    let string = || serde_json::from_str::<String>(json).ok();
    Ok(match field.kind {
        FieldKind::Object | FieldKind::List => Some(json.to_owned()),
        FieldKind::Text => string().map(|words| text(&bounded(words))),
        FieldKind::Boolean => matches!(json, "true" | "false").then(|| json.to_owned()),
        FieldKind::Integer => json.parse::<i64>().ok().map(|number| number.to_string()),
        FieldKind::Date => string().and_then(|words| date(&words)).map(|d| text(&d.to_string())),
        FieldKind::Instant => string()
            .and_then(|words| words.parse::<Timestamp>().ok())
            .map(|at| text(&at.to_string())),
        FieldKind::Decimal if json == "null" => None,
        FieldKind::Decimal => {
            let digits = plain_decimal(json).map_err(|error| format!("{}: {error}", field.name))?;
            Some(text(&digits))
        }
        FieldKind::Currency => None,
    }
    .unwrap_or_else(|| "null".to_owned()))
}

/// The ISO code, or else the unofficial one, of the object that the path names.
fn currency(field: &Field, element: &Members<'_>) -> String {
    let inner = field.path.first().map(|first| element.get(*first).and_then(|raw| members(raw)));
    let holder = match &inner {
        None => Some(element),
        Some(inner) => inner.as_ref(),
    };
    let code = |name: &str| {
        let raw = holder?.get(name)?;
        serde_json::from_str::<String>(raw.get()).ok()
    };
    let code = code("iso_currency_code").or_else(|| code("unofficial_currency_code"));
    code.map_or_else(|| "null".to_owned(), |code| text(&code))
}

fn text(words: &str) -> String {
    serde_json::Value::String(words.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(stream: Stream, json: &str) -> Snapshot {
        let owner = Owner { item_id: "item".into(), end_user_id: "alice".into() };
        let raw = RawValue::from_string(json.to_owned()).unwrap();
        let mut collected = Collected::new(stream, None);
        collected.add(&raw, &owner);
        collected.snapshot
    }

    #[test]
    fn a_debt_becomes_a_record_digit_for_digit() {
        let read = snapshot(
            Stream::Liabilities,
            r#"{"liabilities":{"credit":[
                {"account_id":"a","last_payment_amount":168.250,"is_overdue":"perhaps",
                 "aprs":[{"apr_percentage":15.24}],"next_payment_due_date":"2026-05-28"},
                {"account_id":null}, 7,
                {"account_id":"b","last_payment_amount":"many"}],
              "mortgage":null,"student":[{"account_id":"a","interest_rate_percentage":5.25e0}]}}"#,
        );
        let ids: Vec<&str> = read.records.iter().map(|record| record.record_id.as_str()).collect();
        assert_eq!(ids, ["a/credit", "a/student"]);
        let body: serde_json::Value = serde_json::from_str(&read.records[0].body).unwrap();
        assert_eq!(body["last_payment_amount"], "168.250");
        assert_eq!(body["is_overdue"], serde_json::Value::Null);
        assert!(read.records[0].body.contains(r#""aprs":[{"apr_percentage":15.24}]"#));
        assert_eq!(read.quarantined.len(), 3);
    }

    #[test]
    fn an_item_is_one_record_with_plaids_own_freshness() {
        let read = snapshot(
            Stream::Item,
            r#"{"item":{"item_id":"item","institution_id":"ins_1"},
                "status":{"transactions":{"last_successful_update":"2026-01-31T01:02:03+01:00"}}}"#,
        );
        assert_eq!(read.records[0].record_id, "item");
        let body: serde_json::Value = serde_json::from_str(&read.records[0].body).unwrap();
        assert_eq!(body["transactions_updated_at"], "2026-01-31T00:02:03Z");
        assert_eq!(body["institution_id"], "ins_1");
    }

    /// Pages of investment transactions as they come, one after another.
    struct Pages(std::sync::Mutex<Vec<&'static str>>);

    impl Bank for Pages {
        async fn transactions_sync(&self, _: &str) -> Result<crate::wire::SyncPage, Error> {
            unreachable!("not asked here")
        }

        async fn accounts_get(&self) -> Result<crate::wire::Accounts, Error> {
            unreachable!("not asked here")
        }

        async fn accounts_balance_get(
            &self,
            _: Option<Timestamp>,
        ) -> Result<crate::wire::Accounts, Error> {
            unreachable!("not asked here")
        }

        async fn read(&self, _: Stream, _: &Part) -> Result<Box<RawValue>, Error> {
            let mut pages = self.0.lock().unwrap();
            let page = if pages.len() > 1 { pages.remove(0) } else { pages[0] };
            Ok(RawValue::from_string(page.to_owned()).unwrap())
        }

        async fn remove(&self) -> Result<(), Error> {
            unreachable!("not asked here")
        }
    }

    #[tokio::test]
    async fn a_part_of_the_investment_history_is_never_taken_for_the_whole() {
        let owner = Owner { item_id: "item".into(), end_user_id: "alice".into() };
        let read = async |pages: &[&'static str]| {
            let bank = Pages(std::sync::Mutex::new(pages.to_vec()));
            let stream = Stream::InvestmentTransactions;
            let now = Timestamp::UNIX_EPOCH;
            read_stream(&bank, stream, &owner, None, None, now).await.map(|s| s.records.len())
        };
        const ONE: &str = r#"{"investment_transactions":[{"investment_transaction_id":"a","date":"1970-01-01"}],"total_investment_transactions":2}"#;
        const TWO: &str = r#"{"investment_transactions":[{"investment_transaction_id":"b","date":"1970-01-01"}],"total_investment_transactions":2}"#;
        const NONE: &str = r#"{"investment_transactions":[],"total_investment_transactions":2}"#;
        const UNNUMBERED: &str = r#"{"investment_transactions":[]}"#;
        assert_eq!(read(&[ONE, TWO]).await.unwrap(), 2);
        assert!(read(&[NONE]).await.is_err(), "an empty page against a total of two");
        assert!(read(&[ONE, ONE]).await.is_err(), "the same row twice is not two rows");
        assert!(read(&[UNNUMBERED]).await.is_err(), "no total, no proof");
        assert_eq!(read(&[ONE, NONE, ONE, TWO]).await.unwrap(), 2, "read again");
    }
}
