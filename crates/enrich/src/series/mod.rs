//! What an end user's transactions say together. Pure, like the judgement of one row: the same rows
//! give the same answers, in whatever order they come, so that going on from what is stored and
//! beginning anew end in the same bytes.
//!
//! Reading order: `duplicates` first, because a row that stands twice must not be paired; then
//! `transfers` between own accounts and `refunds`; `recurring` finds what comes again, by the rhythms
//! of `rhythm`; `sources` says where money comes from and what is owed. `balances` counts what was in an
//! account on each day.

mod balances;
mod duplicates;
mod recurring;
mod refunds;
mod rhythm;
mod sources;
mod transfers;

use classifier::Line;
use jiff::civil::Date;
use model::{Confidence, Currency, EndUserSeries, Membership, Money, Tie, Transfer};

pub use balances::{Posting, Reading, balance_history};
pub use transfers::PAIRED_BY_PERSON;
pub(crate) use transfers::is_own;

use crate::category::Leaf;
use crate::enrichment::{Flag, Flags};
use crate::transaction::AccountKind;

/// Longest part of a text that names the other side.
const PARTY_BYTES: usize = 60;

/// A judged transaction, as series need it. Empty texts mean that a thing is not known.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Names it; series name each other's rows by it.
    pub id: &'a str,
    /// Its account: a place among those handed in.
    pub account: usize,
    /// When it was booked, or while pending when it happened.
    pub date: Date,
    /// In minor units and Plaid's sign: positive is money out.
    pub amount: i64,
    /// ISO 4217 code.
    pub currency: &'a str,
    /// What the bank printed.
    pub description: &'a str,
    /// The merchant's key and name.
    pub merchant: Option<(&'a str, &'a str)>,
    /// What it is about.
    pub leaf: Option<Leaf>,
    /// What else is said of it.
    pub flags: Flags,
    /// What a person decided about its other half, which stands.
    pub decided: Option<Pairing<'a>>,
}

/// What a person says of a row's other half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing<'a> {
    /// It is the row with this id.
    With(&'a str),
    /// It is no transfer.
    Alone,
}

/// An account of the end user.
#[derive(Debug, Clone, Copy, Default)]
pub struct Holding<'a> {
    /// Its kind.
    pub kind: AccountKind,
    /// Last characters of its number.
    pub mask: &'a str,
    /// The same for the same account behind another login; empty where banks do not say.
    pub identity: &'a str,
    /// Which login shows it. What one login has not shown yet, it may still show.
    pub login: usize,
}

/// What ties a row to others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ties {
    /// It is half of a transfer between own accounts.
    pub transfer: Option<Transfer>,
    /// It is money back for an earlier row.
    pub refund: Option<Tie>,
    /// It may be an earlier row once more.
    pub duplicate: Option<Tie>,
    /// It comes again.
    pub recurring: Option<Membership>,
}

/// What rows say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series {
    /// For each row handed in, in their order.
    pub ties: Vec<Ties>,
    /// For all of them.
    pub whole: EndUserSeries,
}

/// Reads what the rows of one end user say together.
pub fn series(entries: &[Entry<'_>], holdings: &[Holding<'_>]) -> Series {
    let mut rows = Rows::new(entries, holdings);
    duplicates::find(&mut rows);
    transfers::find(&mut rows);
    refunds::find(&mut rows);
    let recurring = recurring::find(&mut rows);
    let whole =
        EndUserSeries { income: sources::income(&rows), debts: sources::debts(&rows), recurring };
    let mut ties = vec![Ties::default(); entries.len()];
    for row in rows.all {
        ties[row.place] = row.ties;
    }
    Series { ties, whole }
}

/// A row with what is made of it.
struct Row<'a> {
    entry: &'a Entry<'a>,
    /// Its place among those handed in.
    place: usize,
    /// Days since 1970.
    day: i32,
    /// Its text in normal form, whole.
    text: String,
    /// Who is on the other side: the merchant's key, else the words of the text without a digit.
    party: String,
    /// The words of the text without a digit.
    words: String,
    ties: Ties,
}

/// Rows by date and id.
struct Rows<'a> {
    all: Vec<Row<'a>>,
    holdings: &'a [Holding<'a>],
    /// For each login, the last day it shows.
    shown: Vec<i32>,
}

impl<'a> Rows<'a> {
    fn new(entries: &'a [Entry<'a>], holdings: &'a [Holding<'a>]) -> Self {
        let mut line = Line::default();
        let mut all: Vec<Row<'a>> = entries
            .iter()
            .enumerate()
            .map(|(place, entry)| Row::new(entry, place, &mut line))
            .collect();
        all.sort_by(|a, b| (a.day, a.entry.id).cmp(&(b.day, b.entry.id)));
        let logins = holdings.iter().map(|holding| holding.login + 1).max().unwrap_or(0);
        let mut shown = vec![i32::MIN; logins];
        for row in &all {
            let last = &mut shown[holdings[row.entry.account].login];
            *last = (*last).max(row.day);
        }
        Self { all, holdings, shown }
    }

    fn holding(&self, row: usize) -> &Holding<'a> {
        &self.holdings[self.all[row].entry.account]
    }

    /// The last day that a row's login shows.
    fn shown_to(&self, row: usize) -> i32 {
        self.shown[self.holding(row).login]
    }

    /// Rows that do not repeat another.
    fn single(&self) -> impl Iterator<Item = usize> {
        (0..self.all.len()).filter(|row| self.all[*row].ties.duplicate.is_none())
    }
}

impl<'a> Row<'a> {
    fn new(entry: &'a Entry<'a>, place: usize, line: &mut Line) -> Self {
        let text = line.read(entry.description).text().trim().to_owned();
        let words = wordy(&text);
        let party = entry.merchant.map_or_else(|| words.clone(), |(key, _)| key.to_owned());
        let day = day_number(entry.date);
        Self { entry, place, day, text, party, words, ties: Ties::default() }
    }

    fn is_out(&self) -> bool {
        self.entry.amount > 0
    }

    fn has(&self, flag: Flag) -> bool {
        self.entry.flags.has(flag)
    }

    /// Plaid's primary category.
    fn primary(&self) -> &'static str {
        self.entry.leaf.map_or("", |leaf| leaf.primary().name())
    }

    /// The name to tell people.
    fn name(&self) -> String {
        self.entry
            .merchant
            .map_or_else(|| crate::names::tidy_name(&self.words), |(_, n)| n.to_owned())
    }
}

/// The words without a digit: what stays the same when a reference changes.
fn wordy(text: &str) -> String {
    let mut words = String::new();
    let plain = |word: &&str| !word.bytes().any(|byte| byte.is_ascii_digit());
    for word in text.split(' ').filter(plain) {
        if words.len() + word.len() > PARTY_BYTES {
            break;
        }
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    words
}

/// Days since 1970.
fn day_number(date: Date) -> i32 {
    date.since(Date::constant(1970, 1, 1)).map_or(0, |span| span.get_days())
}

/// The date so many days after 1970 began.
fn date_of(day: i32) -> Date {
    Date::constant(1970, 1, 1).saturating_add(jiff::Span::new().days(day))
}

/// Whether two amounts differ by so many percent of the second at most.
fn is_within(one: u64, other: u64, percent: u8) -> bool {
    u128::from(one.abs_diff(other)) * 100 <= u128::from(other) * u128::from(percent)
}

fn tie(of: &str, percent: u8, reason: String) -> Tie {
    Tie { of: of.to_owned(), confidence: Confidence(percent), reason }
}

/// A size of money as a decimal.
fn decimal(minor: i64, currency: &str) -> String {
    Money::from_minor(minor, Currency::of_code(currency)).to_string()
}
