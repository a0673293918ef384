//! Pulls one whole update of transactions: every page from a resting cursor to the next one. Knows
//! nothing of where the pages go.

use model::{Ambient, History, Page};

use crate::client::{AccessToken, Client};
use crate::convert::{self, Owner};
use crate::error::{Error, Reaction};

/// Restarts from the update's first cursor before falling back to the empty one.
const RESTARTS: u32 = 5;
/// Pages in one update: 10,000,000 changes. More is a server that never ends.
const PAGES: u32 = 20_000;

/// What an update brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The attempt whose pages hold; earlier ones are to be discarded.
    pub attempt: u32,
    /// Pages of that attempt.
    pub pages: u32,
    /// The resting cursor behind them.
    pub cursor: String,
    /// Whether the pages start from the empty cursor, so that what they lack is gone.
    pub full_walk: bool,
    /// How much history has been delivered, where Plaid said so in words we know.
    pub history: Option<History>,
}

/// Why no update came about.
#[derive(Debug, thiserror::Error)]
pub enum PullError<E> {
    /// Plaid said no.
    #[error(transparent)]
    Plaid(#[from] Error),
    /// A page could not be put away.
    #[error("a page could not be staged")]
    Stage(#[source] E),
    /// The data changed under every attempt.
    #[error("the bank's data changed during each of {attempts} attempts to read it")]
    Restless {
        /// Attempts made.
        attempts: u32,
    },
    /// More pages than any bank has.
    #[error("the update did not end within {PAGES} pages")]
    Endless,
}

/// Where pages go until their update is complete.
pub trait Stage: Send {
    /// Why a page could not be put away.
    type Error: Send;

    /// Puts one page of one attempt away.
    fn stage(
        &mut self,
        attempt: u32,
        number: u32,
        page: Page,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Reads pages from `cursor` and hands each to `stage` with its attempt and number. When the data
/// changes in between, starts again from the same cursor; when that keeps failing, or the cursor is
/// of no use, walks once from the empty one.
pub async fn pull_update<S: Stage>(
    client: &Client,
    token: &AccessToken,
    owner: &Owner,
    cursor: &str,
    ambient: &Ambient,
    stage: &mut S,
) -> Result<Pulled, PullError<S::Error>> {
    let mut start = cursor;
    let mut restarts = 0;
    for attempt in 1.. {
        let mut place = start.to_owned();
        let mut number = 0;
        let failure = loop {
            let page = match client.transactions_sync(token, &place).await {
                Ok(page) => page,
                Err(error) => break error,
            };
            let history = history(page.transactions_update_status.as_deref());
            let converted = convert::page(&page, owner, ambient.now());
            stage.stage(attempt, number, converted).await.map_err(PullError::Stage)?;
            number += 1;
            place.clone_from(&page.next_cursor);
            if !page.has_more {
                let full_walk = start.is_empty();
                return Ok(Pulled { attempt, pages: number, cursor: place, full_walk, history });
            }
            if number == PAGES {
                return Err(PullError::Endless);
            }
        };
        match failure.reaction() {
            Reaction::RestartUpdate if restarts < RESTARTS => restarts += 1,
            Reaction::RestartUpdate if start.is_empty() => {
                return Err(PullError::Restless { attempts: attempt });
            }
            Reaction::Rewalk if start.is_empty() => return Err(failure.into()),
            Reaction::RestartUpdate | Reaction::Rewalk => (start, restarts) = ("", 0),
            _ => return Err(failure.into()),
        }
        tracing::info!(item_id = %owner.item_id, %failure, attempt, "the update starts again");
    }
    Err(PullError::Restless { attempts: RESTARTS })
}

/// Plaid's status in our words; an unknown one says nothing.
fn history(status: Option<&str>) -> Option<History> {
    match status? {
        "HISTORICAL_UPDATE_COMPLETE" => Some(History::Complete),
        "INITIAL_UPDATE_COMPLETE" => Some(History::Initial),
        "NOT_READY" => Some(History::NotReady),
        _ => None,
    }
}
