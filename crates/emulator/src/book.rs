//! The book of one Item: its hidden ledger and the rows its API shows. A book is the fold of what
//! happened to the Item, so it can be put away when nobody asks and be written anew when somebody
//! does; a world of a million transactions needs memory for a few books only.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::ToSpan;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::ledger::{Event, Ledger, Namer, State, Step};
use crate::people::{Person, Persona};
use crate::rows::Rows;

/// Days of history that come first.
const INITIAL_DAYS: i64 = 30;
/// How many days are planned at a time. Fixed, so that the order of events does not depend on when
/// somebody looked.
const BLOCK_DAYS: i64 = 60;
/// Memory for open books, in MiB, where nobody says otherwise.
pub const USUAL_MIB: usize = 100;
/// Events of open books that fit into a MiB, about.
const EVENTS_OF_A_MIB: usize = 1_000;

/// How much transaction history has been pulled from the bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Transactions were never asked for.
    Off,
    NotReady,
    Initial,
    Historical,
}

/// Who an Item belongs to; it never changes.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) persona: Arc<Persona>,
    pub(crate) person: Person,
    pub(crate) namer: Namer,
    /// The day the Item was made.
    pub(crate) opened: Date,
}

/// What can happen to a book. Each happens on a day, and the days before it have happened then.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// The days up to this one pass.
    Pass,
    /// A part of the history arrives, of this many days in all.
    Load { stage: Stage, days: i64 },
    /// The bank is asked for news.
    Refresh,
    /// Something is bought.
    Purchase,
    /// Rows are put in by hand.
    Insert(Arc<[Insertion]>),
    /// These accounts are shared, by index; rows of the others go.
    Share(Vec<bool>),
}

/// A row put in by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Insertion {
    pub(crate) account: usize,
    pub(crate) transacted: Date,
    pub(crate) posted: Date,
    pub(crate) amount: Decimal,
    pub(crate) currency: String,
    pub(crate) description: String,
}

/// What changed in the rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) added: usize,
    pub(crate) modified: usize,
    pub(crate) removed: Vec<String>,
}

impl Changes {
    pub(crate) fn any(&self) -> bool {
        self.added + self.modified + self.removed.len() > 0
    }

    fn note(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Appears { .. } => self.added += 1,
                Step::Changes { .. } => self.modified += 1,
                Step::Goes { transaction_id } => self.removed.push(transaction_id.clone()),
            }
        }
    }
}

/// The ledger and the rows of one Item.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) ledger: Ledger,
    pub(crate) rows: Rows,
    stage: Stage,
    days: i64,
    /// Which accounts are shared; all where nothing else was said.
    shared: Option<Vec<bool>>,
    /// The last day that has passed.
    passed: Option<Date>,
    /// The last day that is planned.
    planned: Option<Date>,
    purchases: u64,
    insertions: usize,
}

impl Book {
    fn blank() -> Self {
        Self {
            ledger: Ledger::default(),
            rows: Rows::default(),
            stage: Stage::Off,
            days: 0,
            shared: None,
            passed: None,
            planned: None,
            purchases: 0,
            insertions: 0,
        }
    }

    /// Writes down what happens on a day.
    fn happen(&mut self, life: &Life, today: Date, what: &Happening) -> Changes {
        let mut changes = Changes::default();
        if let Happening::Load { stage, days } = what {
            (self.stage, self.days) = (*stage, *days);
        }
        self.pass(life, today, &mut changes);
        match what {
            Happening::Pass | Happening::Load { .. } => {}
            Happening::Refresh => self.refresh(life, today, &mut changes),
            Happening::Purchase => self.purchase(life, today, &mut changes),
            Happening::Insert(rows) => self.insert(life, rows, &mut changes),
            Happening::Share(shared) => {
                self.shared = Some(shared.clone());
                let steps = self.ledger.share(|account| *shared.get(account).unwrap_or(&false));
                self.show(&steps, &mut changes);
                self.settle(life, today, &mut changes);
            }
        }
        changes
    }

    /// Lets the days up to this one pass, one by one.
    fn pass(&mut self, life: &Life, today: Date, changes: &mut Changes) {
        if self.stage < Stage::Initial {
            return;
        }
        self.plan_until(life, today);
        let mut day = self.passed.unwrap_or(today).min(today);
        loop {
            self.settle(life, day, changes);
            if day >= today {
                break;
            }
            day = day.saturating_add(1.days());
        }
        self.passed = Some(self.passed.unwrap_or(today).max(today));
    }

    fn settle(&mut self, life: &Life, today: Date, changes: &mut Changes) {
        if self.stage < Stage::Initial {
            return;
        }
        let days =
            if self.stage == Stage::Initial { INITIAL_DAYS.min(self.days) } else { self.days };
        let since = life.opened.saturating_sub(days.days());
        let shared = self.shared.as_deref();
        let shown = |account: usize| shared.is_none_or(|all| *all.get(account).unwrap_or(&false));
        let steps = self.ledger.settle(&life.namer, since, today, shown);
        self.show(&steps, changes);
    }

    fn show(&mut self, steps: &[Step], changes: &mut Changes) {
        self.rows.apply(steps);
        changes.note(steps);
    }

    fn plan_until(&mut self, life: &Life, today: Date) {
        let first = life.opened.saturating_sub(self.days.days());
        while self.planned.is_none_or(|planned| planned < today) {
            let (from, to) = match self.planned {
                None => (first, life.opened.saturating_add(BLOCK_DAYS.days())),
                Some(last) => {
                    (last.saturating_add(1.days()), last.saturating_add(BLOCK_DAYS.days()))
                }
            };
            self.ledger.add(life.persona.plans(&life.person, life.opened, (from, to)));
            self.planned = Some(to);
        }
    }

    /// What a refresh finds: pending rows post, one amount moves, new purchases appear.
    fn refresh(&mut self, life: &Life, today: Date, changes: &mut Changes) {
        if self.stage < Stage::Initial || !life.persona.is_lively() {
            return;
        }
        let mut steps = self.ledger.post_pending(&life.namer, today);
        let posted = |event: &Event| {
            event.state == State::Posted
                && event.date() == today
                && event.plan.amount > Decimal::ZERO
        };
        let raised = self.ledger.events().iter().rposition(posted);
        steps.extend(raised.and_then(|index| self.ledger.raise(index, Decimal::ONE)));
        self.show(&steps, changes);
        for _ in 0..2 {
            self.purchase(life, today, changes);
        }
    }

    fn purchase(&mut self, life: &Life, today: Date, changes: &mut Changes) {
        let Some(plan) = life.persona.purchase(&life.person, today, self.purchases) else { return };
        self.purchases += 1;
        self.ledger.add([plan]);
        self.settle(life, today, changes);
    }

    fn insert(&mut self, life: &Life, rows: &[Insertion], changes: &mut Changes) {
        for row in rows {
            let plan = life.persona.insertion(self.insertions, row);
            self.insertions += 1;
            let step = self.ledger.insert(&life.namer, plan);
            self.show(&[step], changes);
        }
    }
}

/// What happened to an Item, on which day: enough to write its book.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Vec<(Date, Happening)>);

impl Log {
    /// Adds an entry. Days that merely pass leave one entry, however often somebody looked.
    pub(crate) fn note(&mut self, day: Date, what: Happening) {
        if let (Happening::Pass, Some((last, Happening::Pass))) = (&what, self.0.last_mut()) {
            *last = day;
            return;
        }
        self.0.push((day, what));
    }

    fn book(&self, life: &Life) -> Book {
        let mut book = Book::blank();
        for (day, what) in &self.0 {
            book.happen(life, *day, what);
        }
        book
    }
}

/// The books that are open.
#[derive(Debug)]
pub(crate) struct Books {
    /// With the turn in which each was last opened.
    open: HashMap<u64, (u64, Book)>,
    turn: u64,
    /// Events in all open books.
    events: usize,
    /// Most of them that stay open.
    most_events: usize,
}

impl Default for Books {
    fn default() -> Self {
        let most_events = USUAL_MIB * EVENTS_OF_A_MIB;
        Self { open: HashMap::new(), turn: 0, events: 0, most_events }
    }
}

impl Books {
    /// Keeps about as many open from now on as fit into so many MiB.
    pub(crate) fn keep(&mut self, mib: usize) {
        self.most_events = mib.saturating_mul(EVENTS_OF_A_MIB);
    }

    /// The book of an Item, written anew if it was put away.
    pub(crate) fn open(&mut self, number: u64, life: &Life, log: &Log) -> &mut Book {
        self.turn += 1;
        if !self.open.contains_key(&number) {
            let book = log.book(life);
            self.events += book.ledger.events().len();
            self.put_away();
            self.open.insert(number, (self.turn, book));
        }
        let (turn, book) = self.open.entry(number).or_insert_with(|| (0, Book::blank()));
        *turn = self.turn;
        book
    }

    /// Closes the books longest unused, until those that stay open fit.
    fn put_away(&mut self) {
        while self.events > self.most_events {
            let oldest = self.open.iter().min_by_key(|(_, (turn, _))| *turn);
            let Some(number) = oldest.map(|(number, _)| *number) else { return };
            let closed = self.open.remove(&number);
            let events = closed.map_or(0, |(_, book)| book.ledger.events().len());
            self.events = self.events.saturating_sub(events);
        }
    }

    /// Writes down what happens on a day, in the log and in the book. Nothing if nothing happens.
    pub(crate) fn happen(
        &mut self,
        (number, life, log): (u64, &Life, &mut Log),
        today: Date,
        what: Happening,
    ) -> Option<Changes> {
        let book = self.open(number, life, log);
        let idle = matches!(what, Happening::Pass)
            && (book.stage < Stage::Initial || book.passed.is_some_and(|passed| passed >= today));
        if idle {
            return None;
        }
        let before = book.ledger.events().len();
        let changes = book.happen(life, today, &what);
        let grown = book.ledger.events().len() - before;
        self.events += grown;
        log.note(today, what);
        Some(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(username: &str) -> Life {
        let persona = Persona::of(username, "x").expect("a sandbox user");
        Life {
            persona: Arc::new(persona),
            person: Person { seed: 4, label: "item/1".to_owned() },
            namer: Namer { seed: 4, item_id: "item".to_owned() },
            opened: Date::constant(2026, 3, 10),
        }
    }

    /// The rows in the order the API shows them.
    fn shown(book: &Book) -> Vec<String> {
        book.rows.live().map(str::to_owned).collect()
    }

    #[test]
    fn a_book_put_away_and_written_anew_is_the_same_however_often_somebody_looked() {
        for username in ["user_good", "user_transactions_dynamic", "user_small_business"] {
            let life = life(username);
            let (mut looked, mut rested) = (Books::default(), Books::default());
            let (mut looked_log, mut rested_log) = (Log::default(), Log::default());
            let day = |offset: i64| life.opened.saturating_add(offset.days());
            let load = Happening::Load { stage: Stage::Historical, days: 200 };
            let happenings = [
                (0, load),
                (40, Happening::Refresh),
                (90, Happening::Purchase),
                (170, Happening::Pass),
            ];
            for (offset, what) in &happenings {
                looked.happen((1, &life, &mut looked_log), day(*offset), what.clone());
                rested.happen((1, &life, &mut rested_log), day(*offset), what.clone());
                for later in 1..12 {
                    looked.happen(
                        (1, &life, &mut looked_log),
                        day(offset + later),
                        Happening::Pass,
                    );
                }
                rested.happen((1, &life, &mut rested_log), day(offset + 11), Happening::Pass);
            }
            let often = shown(looked.open(1, &life, &looked_log));
            assert_eq!(often, shown(rested.open(1, &life, &rested_log)), "{username}");
            assert_eq!(often, shown(&looked_log.book(&life)), "{username}: written anew");
            assert!(looked_log.0.len() <= 2 * happenings.len(), "days that pass leave one entry");
        }
    }
}
