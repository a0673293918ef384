//! Wake-ups between processes that share a database. The rows decide what is to be done; a hint only has
//! somebody look sooner, and whoever hears none looks by itself after a while.
//!
//! There are three ways: within one process nothing has to be carried ([`store::ChangeWatch`] wakes
//! everybody); [`Poll`] asks the database four times a second; a message broker, where there is one,
//! carries hints at once, and [`Poll`] sweeps behind it.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use store::{Hint, Store};

/// How often a process without a broker asks the database.
pub(crate) const POLL_EVERY: Duration = Duration::from_millis(250);
/// How often a process with one asks, in case a hint was lost.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Carries hints between processes.
#[async_trait]
pub trait Dispatch: Send + Sync {
    /// Tells one other process, or all where all must know. What cannot be carried is dropped.
    async fn tell(&self, hint: Hint);

    /// The next hint from another process. Whoever stops waiting loses none.
    async fn next(&self) -> Hint;
}

/// Carries hints in both directions for as long as the process lives.
pub(crate) async fn carry(store: Store, dispatch: Arc<dyn Dispatch>) {
    let Some(mut outward) = store.news().outward() else { return pending().await };
    loop {
        tokio::select! {
            hint = outward.recv() => match hint {
                Some(hint) => dispatch.tell(hint).await,
                None => return pending().await,
            },
            hint = dispatch.next() => store.news().hear(hint),
        }
    }
}

/// Finds in the database what others have left to do.
pub(crate) struct Poll {
    store: Store,
    every: Duration,
}

impl Poll {
    pub(crate) fn new(store: Store, every: Duration) -> Self {
        Self { store, every }
    }

    /// Looks now and then, and wakes those here whom it concerns.
    pub(crate) async fn run(self) {
        loop {
            tokio::time::sleep(self.every).await;
            match self.look().await {
                Ok(hints) => hints.into_iter().for_each(|hint| self.store.news().hear(hint)),
                Err(error) => tracing::warn!(%error, "the database could not be asked for work"),
            }
        }
    }

    /// What there is to be done, and how far the feed is.
    pub(crate) async fn look(&self) -> Result<Vec<Hint>, store::Error> {
        let kinds = self.store.claimable_kinds().await?.into_iter().map(Hint::Work);
        let mut hints: Vec<Hint> = kinds.collect();
        hints.push(Hint::Head(self.store.feed_head().await?));
        if self.store.has_unnumbered().await? {
            hints.push(Hint::Written);
        }
        Ok(hints)
    }
}
