//! Fills a data folder with a population: many Items with their whole history, ready to be served.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use crate::item::{MAXIMUM_DAYS, day};
use crate::journal::Journal;
use crate::ledger::State;
use crate::people::Persona;
use crate::server::StartError;
use crate::world::{Command, World};

/// What a population is made of.
#[derive(Debug, Clone)]
pub struct Population {
    /// Folder it is kept in.
    pub data: PathBuf,
    /// Same seed, same population.
    pub seed: u64,
    /// How many Items.
    pub items: u64,
    /// How many months of history each has, 1 to 24.
    pub months: i32,
    /// Sandbox users, taken in turn.
    pub usernames: Vec<String>,
}

/// An Item of a population.
#[derive(Debug, Clone, Serialize)]
pub struct PopulatedItem {
    /// Its id.
    pub item_id: String,
    /// Its token, exchanged already.
    pub access_token: String,
    /// The sandbox user it was made of.
    pub username: String,
    /// Transactions that a sync from the empty cursor returns.
    pub transactions: usize,
}

/// Why there is no population.
#[derive(Debug, thiserror::Error)]
pub enum PopulateError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Data(#[from] StartError),
    /// The wish makes no sense.
    #[error("{0}")]
    Wish(String),
}

/// Makes a population and counts it, an Item at a time; memory holds a few Items only.
pub fn populate(
    wish: &Population,
    now: Timestamp,
    mut each: impl FnMut(&PopulatedItem),
) -> Result<(), PopulateError> {
    for username in &wish.usernames {
        Persona::of(username, "pass_good")
            .map_err(|error| PopulateError::Wish(error.error_message))?;
    }
    let days = days_of(wish.months, day(now))?;
    let bad = |folder: &Path| {
        let folder = folder.to_path_buf();
        move |source| StartError::Data { folder, source }
    };
    let (mut journal, mut world): (Journal, World) =
        Journal::open(&wish.data, wish.seed).map_err(bad(&wish.data))?;
    let before = world.items.len();
    let command = Command::Populate { items: wish.items, days, usernames: wish.usernames.clone() };
    world.apply(now, &command).map_err(|error| PopulateError::Wish(error.error_message))?;
    journal.note(now, &command).map_err(bad(&wish.data))?;
    let numbers: Vec<u64> = world.items.keys().copied().skip(before).collect();
    for number in numbers {
        let (item, book) = world.open(number);
        let live = book.ledger.events().iter();
        let live = live.filter(|event| matches!(event.state, State::Pending | State::Posted));
        each(&PopulatedItem {
            item_id: item.item_id().to_owned(),
            access_token: item.access_token.clone(),
            username: item.username().to_owned(),
            transactions: live.count(),
        });
    }
    Ok(())
}

fn days_of(months: i32, today: Date) -> Result<i64, PopulateError> {
    let first = today.saturating_sub(jiff::Span::new().months(months));
    let days = today.since(first).map_or(0, |span| i64::from(span.get_days()));
    if months < 1 || days > MAXIMUM_DAYS + 1 {
        return Err(PopulateError::Wish("months is 1 to 24".to_owned()));
    }
    Ok(days.min(MAXIMUM_DAYS))
}
