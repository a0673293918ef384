//! One step of an Item's life: what is done with a claimed piece of work, and what is noted when it
//! fails. Clock, randomness, Plaid and store are arguments; nothing here does I/O of its own.

use jiff::{SignedDuration, Timestamp};
use model::{Environment, Item, ItemStatus, Stream, Trouble};
use plaid::{Bank, PullError};
use store::Lease;

use crate::memory::Memory;
use crate::retry::{pause_after, soon};
use crate::sync_item::sync_item;

/// What an Item's integration asks for, and how busy the installation is.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What is read.
    pub streams: Vec<Stream>,
    /// Whose limits hold.
    pub environment: Environment,
    /// How often an Item is looked at when no webhook comes.
    pub poll_every: SignedDuration,
    /// Items that share the client's limit.
    pub polled_items: i64,
    /// Oldest acceptable balance where a bank is asked, if the integration names one.
    pub oldest_balance: Option<Timestamp>,
}

/// How a step ended. Whatever it was, it is noted in the store, or the lease runs out.
#[derive(Debug)]
pub enum Ended {
    /// A sync reached Plaid's cursor.
    Synced(store::Applied),
    /// The Item was removed at Plaid.
    Removed,
    /// Nothing was to be done.
    Idle,
    /// It failed and will be tried again.
    Failed(Failure),
}

/// Why a piece of work was not done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Plaid said no, or nothing.
    #[error(transparent)]
    Plaid(#[from] plaid::Error),
    /// The bank's data changed during every attempt.
    #[error("the bank's data would not hold still: {0}")]
    Restless(String),
    /// The database said no.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A defect ended it.
    #[error("the work ended by a fault of this program: {0}")]
    Fault(String),
}

impl From<PullError<store::Error>> for Failure {
    fn from(error: PullError<store::Error>) -> Self {
        match error {
            PullError::Plaid(error) => Self::Plaid(error),
            PullError::Stage(error) => Self::Store(error),
            other @ (PullError::Restless { .. } | PullError::Endless) => {
                Self::Restless(other.to_string())
            }
        }
    }
}

/// Does a claimed piece of work about an Item, and notes how it went. Without a bank there is no
/// token any more, and nothing to ask.
pub async fn step<M: Memory, B: Bank>(
    memory: &M,
    bank: Option<&B>,
    item: &Item,
    lease: &Lease,
    rules: &Rules,
) -> Ended {
    let started_at = memory.ambient().now();
    match act(memory, bank, item, lease, rules).await {
        Ok(ended) => ended,
        Err(failure) => {
            note(memory, item, lease, &failure, started_at).await;
            Ended::Failed(failure)
        }
    }
}

async fn act<M: Memory, B: Bank>(
    memory: &M,
    bank: Option<&B>,
    item: &Item,
    lease: &Lease,
    rules: &Rules,
) -> Result<Ended, Failure> {
    match (item.status(), bank) {
        (ItemStatus::Removing, bank) => {
            // The token stays until Plaid confirms: without it nobody could end the billing.
            if let Some(bank) = bank {
                bank.remove().await?;
                trial::crash_point("removal.confirmed");
            }
            memory.end_removal(&item.key, lease).await?;
            Ok(Ended::Removed)
        }
        (status, Some(bank)) if status.is_live() => {
            Ok(Ended::Synced(sync_item(memory, bank, item, lease, rules).await?))
        }
        _ => {
            memory.finish(lease, Timestamp::MAX).await?;
            Ok(Ended::Idle)
        }
    }
}

/// Notes a failure where people see it and gives the work back.
pub(crate) async fn note<M: Memory>(
    memory: &M,
    item: &Item,
    lease: &Lease,
    failure: &Failure,
    started_at: Timestamp,
) {
    let ambient = memory.ambient();
    let again = soon(lease.attempts, ambient);
    if matches!(failure, Failure::Store(store::Error::Stale)) {
        tracing::warn!(subject = lease.subject, "the work was taken over or overtaken");
        // Nothing to give back if another worker has it.
        let _lost = memory.fail(lease, again, "overtaken").await;
        return;
    }
    let refused = match failure {
        Failure::Plaid(error) => Some(error),
        Failure::Store(_) | Failure::Restless(_) | Failure::Fault(_) => None,
    };
    let failed = store::FailedSync {
        trouble: refused.map_or(Trouble::Passing, plaid::Error::trouble),
        detail: failure.to_string(),
        started_at,
        request_ids: refused
            .and_then(plaid::Error::request_id)
            .map(str::to_owned)
            .into_iter()
            .collect(),
        not_before: refused
            .map_or(again, |error| pause_after(error.reaction(), lease.attempts, ambient)),
    };
    tracing::warn!(subject = lease.subject, %failure, "the work failed and will be tried again");
    if let Err(error) = memory.fail_item(&item.key, lease, failed).await {
        tracing::error!(%error, "a failure could not be noted; the lease runs out instead");
    }
}
