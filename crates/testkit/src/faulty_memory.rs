//! A store that fails as disks and networks do: before a write, or after it, so that its success is
//! not heard of.

use std::sync::Mutex;

use model::{Ambient, ItemKey, Page};
use pipeline::Memory;
use store::{Applied, Error, FailedSync, Lease, Store, StreamState, Update};
use tokio::sync::Notify;

use crate::chance::Chance;

/// The real store behind a bad line.
pub(crate) struct FaultyMemory<'a> {
    store: &'a Store,
    chance: Mutex<Chance>,
    percent: usize,
    /// Writes until everything stands still.
    halts_after: Mutex<Option<usize>>,
    halted: Notify,
    resumed: Notify,
}

impl<'a> FaultyMemory<'a> {
    /// Fails in so many of a hundred writes.
    pub(crate) fn new(store: &'a Store, seed: u64, percent: usize) -> Self {
        Self {
            store,
            chance: Mutex::new(Chance::new(seed)),
            percent,
            halts_after: Mutex::default(),
            halted: Notify::new(),
            resumed: Notify::new(),
        }
    }

    /// Stands still before the write after so many others, until it is resumed; whoever drops the
    /// work meanwhile has crashed it there.
    pub(crate) fn halt_after(&self, writes: usize) {
        *self.halts_after.lock().expect("nobody panicked") = Some(writes);
    }

    /// Returns once it stands still.
    pub(crate) async fn halted(&self) {
        self.halted.notified().await;
    }

    /// Goes on.
    pub(crate) fn resume(&self) {
        self.resumed.notify_one();
    }

    async fn maybe_halt(&self) {
        let halts = {
            let mut left = self.halts_after.lock().expect("nobody panicked");
            match *left {
                Some(0) => {
                    *left = None;
                    true
                }
                Some(writes) => {
                    *left = Some(writes - 1);
                    false
                }
                None => false,
            }
        };
        if halts {
            self.halted.notify_one();
            self.resumed.notified().await;
        }
    }

    /// Whether the next write fails, and whether only after it was made.
    fn fault(&self) -> Option<bool> {
        let mut chance = self.chance.lock().expect("nobody panicked");
        chance.percent(self.percent).then(|| chance.percent(50))
    }

    async fn write<T>(&self, write: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let lost = || Error::Commit("the disk said no".to_owned());
        self.maybe_halt().await;
        match self.fault() {
            None => write.await,
            Some(false) => Err(lost()),
            Some(true) => {
                write.await?;
                Err(lost())
            }
        }
    }
}

impl Memory for FaultyMemory<'_> {
    fn ambient(&self) -> &Ambient {
        self.store.ambient()
    }

    async fn stream_states(&self, item: &ItemKey) -> Result<Vec<StreamState>, Error> {
        self.store.stream_states(item).await
    }

    async fn stage_page(
        &self,
        lease: &Lease,
        attempt: u32,
        number: u32,
        page: &Page,
    ) -> Result<(), Error> {
        self.write(self.store.stage_page(lease, attempt, number, page)).await
    }

    async fn apply_update(&self, update: Update) -> Result<Applied, Error> {
        self.write(self.store.apply_update(update)).await
    }

    async fn fail_item(
        &self,
        key: &ItemKey,
        lease: &Lease,
        failed: FailedSync,
    ) -> Result<(), Error> {
        self.write(self.store.fail_item(key, lease, failed)).await
    }

    async fn fail(
        &self,
        lease: &Lease,
        not_before: jiff::Timestamp,
        why: &str,
    ) -> Result<(), Error> {
        self.write(self.store.fail(lease, not_before, why)).await
    }

    async fn finish(&self, lease: &Lease, next_due: jiff::Timestamp) -> Result<(), Error> {
        self.write(self.store.finish(lease, next_due)).await
    }

    async fn end_removal(&self, key: &ItemKey, lease: &Lease) -> Result<(), Error> {
        self.write(self.store.end_removal(key, lease)).await
    }
}
