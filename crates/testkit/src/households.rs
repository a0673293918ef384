//! Households and businesses of an emulated bank with what is true of their money, and how well series
//! find it: transfers, doubles, the next date of what comes again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use enrich::{
    AccountKind, Enrichment, Entry, Holding, Judge, Posting, Reading, Series, Transaction,
    balance_history, series, tables,
};
use jiff::ToSpan;
use jiff::civil::Date;
use model::{Basis, RecurringState};
use serde_json::{Value, json};

use crate::bank::{Bank, Linked};

/// Rhythms of the emulator's people, as the emulator has them.
const PROFILES: &str = include_str!("../../emulator/data/profiles.json");
/// Days before today on which series are asked for their next date.
const CUTS: [i64; 3] = [40, 130, 220];
/// A rhythm is asked for once it had so many events.
const LEAST_EVENTS: usize = 3;

/// The people of the emulator's own, each with the profile it lives by.
pub const PEOPLE: [(&str, &str); 5] = [
    ("user_household", "household"),
    ("user_gig_worker", "gig_worker"),
    ("user_retiree", "retiree"),
    ("user_business", "business"),
    ("user_restaurant", "restaurant"),
];

/// One end user's money, with what is true of it.
#[derive(Debug)]
pub struct Household {
    /// Its Item.
    pub linked: Linked,
    profile: &'static str,
    /// Plaid's ids, kinds and masks of its accounts.
    accounts: Vec<Account>,
    is_business: bool,
    events: Vec<Event>,
}

/// Plaid's id, kind and mask.
type Account = (String, AccountKind, String);

#[derive(Debug)]
struct Event {
    id: String,
    account: usize,
    date: Date,
    amount: i64,
    currency: String,
    name: String,
    stream: Option<String>,
    transfer: Option<String>,
    duplicate_of: Option<String>,
}

/// What was found of what there is; counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeriesScore {
    /// Rows that were read.
    pub rows: usize,
    /// Pairs of halves: that there are, that were said, that were said rightly.
    pub transfers: [usize; 3],
    /// Rows said to go to an account that is not connected, which do go to one that is.
    pub wrongly_unconnected: usize,
    /// Rows that stand twice: that there are, and those found.
    pub duplicates: [usize; 2],
    /// Marks on rows that stand once.
    pub false_marks: usize,
    /// Money back: rows that there are, and those tied to the right payment.
    pub refunds: [usize; 2],
    /// Rhythms: that there are at a cut, and those found with a next date.
    pub rhythms: [usize; 2],
    /// Next dates: that were said, those right, and the days that their intervals take together.
    pub dates: [usize; 3],
}

impl Bank {
    /// Links a person of the emulator's and reads what is true of its money.
    pub async fn household(&self, (username, profile): (&str, &'static str)) -> Household {
        let linked = self.link(username, None).await;
        let answer =
            self.call("/accounts/get", json!({ "access_token": linked.access_token })).await;
        let accounts: Vec<Account> = answer["accounts"]
            .as_array()
            .expect("accounts")
            .iter()
            .map(|account| {
                let text = |key: &str| account[key].as_str().unwrap_or_default().to_owned();
                (text("account_id"), AccountKind::of_plaid(&text("type")), text("mask"))
            })
            .collect();
        let events = self.events_of(&linked, &accounts).await;
        let is_business = matches!(profile, "business" | "restaurant");
        Household { linked, profile, accounts, is_business, events }
    }

    /// Reads a household's ledger again: what was pending has its final amount now.
    pub async fn reread(&self, household: &mut Household) {
        household.events = self.events_of(&household.linked, &household.accounts).await;
    }

    async fn events_of(&self, linked: &Linked, accounts: &[Account]) -> Vec<Event> {
        let place =
            |id: &Value| accounts.iter().position(|(known, ..)| Some(&**known) == id.as_str());
        let lines = self.whole_ledger(linked).await;
        lines
            .iter()
            .filter(|line| line["state"] != "removed" && line["truth"]["vanishes_on"].is_null())
            .map(|line| {
                let text = |of: &Value| of.as_str().map(str::to_owned);
                let truth = &line["truth"];
                Event {
                    id: text(&line["event_id"]).expect("an id"),
                    account: place(&line["account_id"]).expect("a known account"),
                    date: truth["posts_on"].as_str().expect("a date").parse().expect("a date"),
                    amount: line["amount_minor"].as_i64().expect("minor units"),
                    currency: text(&line["currency"]).expect("a currency"),
                    name: text(&line["name"]).expect("a name"),
                    stream: text(&truth["stream"]),
                    transfer: text(&truth["transfer"]),
                    duplicate_of: text(&truth["duplicate_of"]),
                }
            })
            .collect()
    }
}

impl Bank {
    /// What a household's accounts hold now, or owe, in their order.
    pub async fn balances(&self, household: &Household) -> Vec<String> {
        let token = json!({ "access_token": household.linked.access_token });
        let answer = self.call("/accounts/get", token).await;
        let accounts = answer["accounts"].as_array().expect("accounts").iter();
        let current = |account: &Value| account["balances"]["current"].to_string();
        accounts.map(current).map(|text| cents(&text)).collect()
    }
}

/// A number with two decimals.
fn cents(number: &str) -> String {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    format!("{whole}.{part:0<2}")
}

impl Household {
    /// Scores what series say of the rows up to a day, and of next dates on days before it.
    pub fn score(&self, today: Date) -> SeriesScore {
        let mut score = SeriesScore::default();
        let found = Found::new(self, today);
        score.rows = found.events.len();
        found.count_ties(&mut score);
        for days in CUTS {
            Found::new(self, today.saturating_sub(days.days())).count_dates(today, &mut score);
        }
        score
    }

    /// Counts balances from one reading of every so many, and compares with all of them: days that are
    /// said to hold, those that are equal, and drifts.
    pub fn score_balances(&self, readings: &[(Date, Vec<String>)], every: usize) -> [usize; 3] {
        let mut counts = [0; 3];
        let last = readings.iter().map(|(day, _)| *day).max().unwrap_or(Date::MIN);
        for (account, (id, kind, _)) in self.accounts.iter().enumerate() {
            let told = |of: &[String]| of[account].replace('.', "").parse().expect("a balance");
            let known: Vec<Reading> = readings
                .iter()
                .step_by(every)
                .map(|(date, of)| Reading { date: *date, balance: told(of) })
                .collect();
            let postings: Vec<Posting> = self
                .events
                .iter()
                .filter(|event| event.account == account && event.date <= last)
                .map(|event| Posting { date: event.date, amount: event.amount })
                .collect();
            let is_owed = matches!(kind, AccountKind::Credit | AccountKind::Loan);
            let history = balance_history(id, "USD", is_owed, &postings, &known);
            counts[2] += history.drifts.len();
            for (day, of) in readings {
                let said = history.days.iter().find(|said| said.date == *day);
                let said = said.filter(|said| said.basis != Basis::Unverified);
                counts[0] += usize::from(said.is_some());
                counts[1] += usize::from(said.is_some_and(|said| said.balance == of[account]));
            }
        }
        counts
    }

    /// The series of the rows up to a day.
    pub fn series(&self, until: Date) -> Series {
        Found::new(self, until).series
    }

    /// Streams of the profile that keep a rhythm.
    fn rhythms(&self) -> BTreeSet<String> {
        let profiles: Value = serde_json::from_str(PROFILES).expect("JSON");
        let streams = profiles[self.profile]["streams"].as_array().expect("streams").clone();
        let keeps = streams.into_iter().filter(|stream| stream["rhythm"].get("chance").is_none());
        keeps.map(|stream| stream["key"].as_str().expect("a key").to_owned()).collect()
    }
}

/// What series find of a household's rows up to a day.
struct Found<'a> {
    household: &'a Household,
    events: Vec<&'a Event>,
    series: Series,
}

impl<'a> Found<'a> {
    fn new(household: &'a Household, until: Date) -> Self {
        let events: Vec<&Event> =
            household.events.iter().filter(|event| event.date <= until).collect();
        let mut judge = Judge::new(tables());
        let judged: Vec<Enrichment> =
            events.iter().map(|event| household.judge(&mut judge, event)).collect();
        let entries: Vec<Entry<'_>> =
            events.iter().zip(&judged).map(|(event, said)| entry(event, said)).collect();
        let holding =
            |(_, kind, mask): &'a Account| Holding { kind: *kind, mask, ..Holding::default() };
        let holdings: Vec<Holding<'_>> = household.accounts.iter().map(holding).collect();
        let series = series(&entries, &holdings);
        Self { household, events, series }
    }

    fn count_ties(&self, score: &mut SeriesScore) {
        for (event, ties) in self.events.iter().zip(&self.series.ties) {
            let said = ties.transfer.as_ref();
            let other = said.and_then(|said| said.other.as_ref());
            // Each pair is counted at the half that leaves.
            if event.amount > 0 {
                score.transfers[0] += usize::from(event.transfer.is_some());
                score.transfers[1] += usize::from(other.is_some());
                score.transfers[2] +=
                    usize::from(other.is_some() && other == event.transfer.as_ref());
            }
            let alone = said.is_some() && other.is_none();
            score.wrongly_unconnected += usize::from(alone && event.transfer.is_some());
        }
        let said: HashMap<&str, &str> = self
            .events
            .iter()
            .zip(&self.series.ties)
            .filter_map(|(event, ties)| {
                Some((event.id.as_str(), ties.duplicate.as_ref()?.of.as_str()))
            })
            .collect();
        // Of two rows that are the same to the last letter, either may bear the mark.
        let pairs: BTreeSet<(&str, &str)> = self
            .events
            .iter()
            .filter_map(|event| Some((event.id.as_str(), event.duplicate_of.as_deref()?)))
            .collect();
        let is_found = |(a, b): &&(&str, &str)| said.get(a) == Some(b) || said.get(b) == Some(a);
        let found = pairs.iter().filter(is_found).count();
        score.duplicates[0] += pairs.len();
        score.duplicates[1] += found;
        score.false_marks += said.len() - found;
        for (event, ties) in self.events.iter().zip(&self.series.ties) {
            if let Some(of) = event.id.strip_suffix("/refund") {
                score.refunds[0] += 1;
                score.refunds[1] +=
                    usize::from(ties.refund.as_ref().is_some_and(|tie| tie.of == of));
            }
        }
    }

    /// Holds next dates against what came.
    fn count_dates(&self, today: Date, score: &mut SeriesScore) {
        let until = self.events.iter().map(|event| event.date).max().unwrap_or(today);
        let mut streams: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
        for event in &self.household.events {
            // The half that came in of a transfer bears its stream's name, too.
            let key = event.stream.as_deref().filter(|_| !event.id.ends_with("/to"));
            if let Some(key) = key {
                streams.entry(key).or_default().push(event);
            }
        }
        let rhythms = self.household.rhythms();
        let stream_of: HashMap<&str, &str> = streams
            .iter()
            .flat_map(|(key, events)| events.iter().map(|event| (event.id.as_str(), *key)))
            .collect();
        let mut covered = BTreeSet::new();
        for said in &self.series.whole.recurring {
            let Some(next) = said.next.as_ref().filter(|_| said.state == RecurringState::Active)
            else {
                continue;
            };
            let last = said.transactions.last().expect("a series has rows");
            let Some(key) = stream_of.get(last.as_str()) else { continue };
            let coming = streams[key].iter().filter(|event| event.date > until);
            // What had no time to come is not asked for.
            let Some(came) = coming.map(|event| event.date).min().filter(|came| *came <= today)
            else {
                continue;
            };
            covered.insert(*key);
            score.dates[0] += 1;
            score.dates[1] += usize::from((next.from..=next.to).contains(&came));
            let days = next.to.since(next.from).map_or(0, |span| span.get_days()) + 1;
            score.dates[2] += usize::try_from(days).unwrap_or(0);
        }
        for (key, events) in &streams {
            let before = events.iter().filter(|event| event.date <= until).count();
            let came = events.iter().any(|event| event.date > until && event.date <= today);
            if rhythms.contains(*key) && before >= LEAST_EVENTS && came {
                score.rhythms[0] += 1;
                score.rhythms[1] += usize::from(covered.contains(key));
            }
        }
    }
}

impl Household {
    fn judge(&self, judge: &mut Judge<'_>, event: &Event) -> Enrichment {
        judge.judge(&Transaction {
            description: &event.name,
            amount: event.amount,
            account: self.accounts[event.account].1,
            is_business: self.is_business,
            country: "US",
            ..Transaction::default()
        })
    }
}

fn entry<'a>(event: &'a Event, said: &'a Enrichment) -> Entry<'a> {
    Entry {
        id: &event.id,
        account: event.account,
        date: event.date,
        amount: event.amount,
        currency: &event.currency,
        description: &event.name,
        merchant: said.merchant.as_ref().map(|merchant| (&*merchant.key, &*merchant.name)),
        leaf: said.category.leaf,
        flags: said.flags,
        decided: None,
    }
}

impl std::ops::AddAssign for SeriesScore {
    fn add_assign(&mut self, other: Self) {
        fn sum<const N: usize>(into: &mut [usize; N], other: [usize; N]) {
            into.iter_mut().zip(other).for_each(|(sum, more)| *sum += more);
        }
        self.rows += other.rows;
        self.wrongly_unconnected += other.wrongly_unconnected;
        self.false_marks += other.false_marks;
        sum(&mut self.transfers, other.transfers);
        sum(&mut self.duplicates, other.duplicates);
        sum(&mut self.refunds, other.refunds);
        sum(&mut self.rhythms, other.rhythms);
        sum(&mut self.dates, other.dates);
    }
}
