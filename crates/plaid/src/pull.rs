//! Pulls one whole update of transactions: every page from a resting cursor to the next one. Knows
//! nothing of where the pages go.

use model::{Ambient, History, Page};

use crate::bank::Bank;
use crate::convert::{self, Owner};
use crate::error::{Error, Reaction};

/// Restarts from the update's first cursor before falling back to the empty one.
const RESTARTS: u32 = 5;
/// Pages in one update: 10,000,000 changes. More is a server that never ends.
const PAGES: u32 = 20_000;

/// Request ids kept of one update.
const REQUEST_IDS: usize = 50;

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
    /// Plaid's ids of its requests.
    pub request_ids: Vec<String>,
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

/// How an update is to be read.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Whose data it is.
    pub owner: &'a Owner,
    /// The resting cursor to go on from; empty for the beginning.
    pub cursor: &'a str,
}

/// Reads pages from the plan's cursor and hands each to `stage` with its attempt and number. When
/// the data changes in between, starts again from the same cursor; when that keeps failing, or the
/// cursor is of no use, walks once from the empty one.
pub async fn pull_update<S: Stage>(
    bank: &impl Bank,
    plan: Plan<'_>,
    ambient: &Ambient,
    stage: &mut S,
) -> Result<Pulled, PullError<S::Error>> {
    let mut start = plan.cursor;
    let mut restarts = 0;
    let mut request_ids = RequestIds::default();
    for attempt in 1.. {
        let walk = Walk { attempt, owner: plan.owner, ambient };
        let failure = match walk.pages(bank, start, stage, &mut request_ids).await? {
            Ok(walked) => {
                return Ok(Pulled {
                    attempt,
                    pages: walked.pages,
                    cursor: walked.cursor,
                    full_walk: start.is_empty(),
                    history: walked.history,
                    request_ids: request_ids.0,
                });
            }
            Err(failure) => failure,
        };
        match failure.reaction() {
            Reaction::RestartUpdate if restarts < RESTARTS => restarts += 1,
            Reaction::RestartUpdate if start.is_empty() => {
                return Err(PullError::Restless { attempts: attempt });
            }
            Reaction::Rewalk if start.is_empty() => return Err(failure.into()),
            _ if trial::has_bug("cursor_never_given_up") => return Err(failure.into()),
            Reaction::RestartUpdate | Reaction::Rewalk => (start, restarts) = ("", 0),
            _ => return Err(failure.into()),
        }
        tracing::info!(item_id = %plan.owner.item_id, %failure, attempt, "the update starts again");
    }
    Err(PullError::Restless { attempts: RESTARTS })
}

/// Plaid's ids of the requests of one update, bounded: the first ones and every failed one's are
/// what support asks for.
#[derive(Default)]
struct RequestIds(Vec<String>);

impl RequestIds {
    fn keep(&mut self, id: Option<&str>) {
        if let Some(id) = id.filter(|_| self.0.len() < REQUEST_IDS) {
            self.0.push(id.to_owned());
        }
    }
}

/// One attempt at an update.
struct Walk<'a> {
    attempt: u32,
    owner: &'a Owner,
    ambient: &'a Ambient,
}

/// An attempt that reached the end.
struct Walked {
    pages: u32,
    cursor: String,
    history: Option<History>,
}

impl Walk<'_> {
    /// Every page from `start`; the inner error is Plaid's, which may be worth another attempt.
    async fn pages<S: Stage>(
        &self,
        bank: &impl Bank,
        start: &str,
        stage: &mut S,
        request_ids: &mut RequestIds,
    ) -> Result<Result<Walked, Error>, PullError<S::Error>> {
        let mut cursor = start.to_owned();
        for number in 0..PAGES {
            let page = match bank.transactions_sync(&cursor).await {
                Ok(page) => page,
                Err(error) => {
                    request_ids.keep(error.request_id());
                    if trial::has_bug("mutation_swallowed")
                        && error.reaction() == Reaction::RestartUpdate
                    {
                        return Ok(Ok(Walked { pages: number, cursor, history: None }));
                    }
                    return Ok(Err(error));
                }
            };
            request_ids.keep(page.request_id.as_deref());
            let history = history(page.transactions_update_status.as_deref());
            let converted = convert::page(&page, self.owner, self.ambient.now());
            stage.stage(self.attempt, number, converted).await.map_err(PullError::Stage)?;
            cursor.clone_from(&page.next_cursor);
            let capped = trial::has_bug("last_page_cap") && number == 1;
            if !page.has_more || capped {
                return Ok(Ok(Walked { pages: number + 1, cursor, history }));
            }
        }
        Err(PullError::Endless)
    }
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
