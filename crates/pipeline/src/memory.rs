//! What a sync asks of the store. A trait, so that a simulation can let it fail at any moment.

use model::{Ambient, ItemKey, Page};
use store::{Applied, Error, FailedSync, Lease, Store, StreamState, Update};

/// The store as a sync sees it.
pub trait Memory: Send + Sync {
    /// Time and randomness.
    fn ambient(&self) -> &Ambient;

    /// What is known of the streams of an Item.
    fn stream_states(
        &self,
        item: &ItemKey,
    ) -> impl Future<Output = Result<Vec<StreamState>, Error>> + Send;

    /// Keeps one page of an attempt, seen by nobody.
    fn stage_page(
        &self,
        lease: &Lease,
        attempt: u32,
        number: u32,
        page: &Page,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Applies an update whole and ends the work.
    fn apply_update(&self, update: Update) -> impl Future<Output = Result<Applied, Error>> + Send;

    /// Notes a failure and puts the work off.
    fn fail_item(
        &self,
        key: &ItemKey,
        lease: &Lease,
        failed: FailedSync,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Puts the work off without a word about the Item.
    fn fail(
        &self,
        lease: &Lease,
        not_before: jiff::Timestamp,
        why: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Ends the work until a time.
    fn finish(
        &self,
        lease: &Lease,
        next_due: jiff::Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Ends an Item whose removal Plaid confirmed.
    fn end_removal(
        &self,
        key: &ItemKey,
        lease: &Lease,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

impl Memory for Store {
    fn ambient(&self) -> &Ambient {
        Self::ambient(self)
    }

    async fn stream_states(&self, item: &ItemKey) -> Result<Vec<StreamState>, Error> {
        Self::stream_states(self, item).await
    }

    async fn stage_page(
        &self,
        lease: &Lease,
        attempt: u32,
        number: u32,
        page: &Page,
    ) -> Result<(), Error> {
        Self::stage_page(self, lease, attempt, number, page).await
    }

    async fn apply_update(&self, update: Update) -> Result<Applied, Error> {
        Self::apply_update(self, update).await
    }

    async fn fail_item(
        &self,
        key: &ItemKey,
        lease: &Lease,
        failed: FailedSync,
    ) -> Result<(), Error> {
        Self::fail_item(self, key, lease, failed).await
    }

    async fn fail(
        &self,
        lease: &Lease,
        not_before: jiff::Timestamp,
        why: &str,
    ) -> Result<(), Error> {
        Self::fail(self, lease, not_before, why).await
    }

    async fn finish(&self, lease: &Lease, next_due: jiff::Timestamp) -> Result<(), Error> {
        Self::finish(self, lease, next_due).await
    }

    async fn end_removal(&self, key: &ItemKey, lease: &Lease) -> Result<(), Error> {
        Self::end_removal(self, key, lease).await
    }
}
