//! What one process does for all: it holds a row of work like any other for as long as it lives, and when
//! it dies another one takes the row over.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use store::{Hint, Lease, LogEntry, Store, WorkKind};
use tokio::sync::watch;

use crate::dispatch::{POLL_EVERY, Poll};
use crate::sequencer::number_changes;
use crate::tidy::tidy;

/// The tasks that one process has, and what each is about.
pub(crate) const ELECTED: [(WorkKind, &str); 3] =
    [(WorkKind::Sequence, "feed"), (WorkKind::Schedule, "clock"), (WorkKind::Publish, "log")];

/// How long an elected task is held: short, because everybody waits for whoever takes it over.
pub(crate) const HELD: SignedDuration = SignedDuration::from_secs(6);
/// How often it is renewed.
pub(crate) const RENEWED_EVERY: Duration = Duration::from_secs(2);
/// Changes brought to the log in one go.
const PUBLISHED_AT_ONCE: i64 = 1_000;
/// Pause after the log could not be written.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A log outside the database that the feed is brought to.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// The number of the last change that is in it; 0 when it is empty.
    async fn last(&self) -> Result<i64, String>;

    /// Adds changes that follow the last one without a gap, each once, whoever else may be adding the
    /// same; [`None`] stands for one that was erased before it came here.
    async fn append(&self, first: i64, changes: Vec<Option<LogEntry>>) -> Result<(), String>;
}

/// Does an elected task until the process is asked to stop or another process has taken it over.
pub(crate) async fn serve_all(
    store: &Store,
    log: Option<&Arc<dyn EventLog>>,
    wakes_others: bool,
    lease: &Lease,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), store::Error> {
    let task: Pin<Box<dyn Future<Output = ()> + Send + '_>> = match (lease.kind, log) {
        (WorkKind::Sequence, _) => Box::pin(number_changes(store.clone())),
        (WorkKind::Schedule, _) => Box::pin(keep_time(store, wakes_others)),
        (WorkKind::Publish, Some(log)) => Box::pin(publish(store, log.as_ref())),
        _ => return store.finish(lease, Timestamp::MAX).await,
    };
    tokio::select! {
        () = task => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    // Whoever looks next goes on at once.
    store.finish(lease, store.ambient().now()).await
}

/// Forgets what is old, and where processes do not look for themselves, wakes them for rows whose time
/// has come.
async fn keep_time(store: &Store, wakes_others: bool) {
    let wake = async {
        if !wakes_others {
            return;
        }
        let poll = Poll::new(store.clone(), POLL_EVERY);
        loop {
            tokio::time::sleep(POLL_EVERY).await;
            for hint in poll.look().await.unwrap_or_default() {
                if let Hint::Work(kind) = hint {
                    store.news().announce(kind);
                }
            }
        }
    };
    tokio::join!(tidy(store.clone()), wake);
}

/// Brings the feed to the log, from where the log ends.
async fn publish(store: &Store, log: &dyn EventLog) {
    let mut head = store.news().head();
    loop {
        match publish_some(store, log).await {
            Ok(0) => {
                let _moved = tokio::time::timeout(POLL_EVERY, head.changed()).await;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(error, "the event log could not be written; it goes on later");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn publish_some(store: &Store, log: &dyn EventLog) -> Result<usize, String> {
    let last = log.last().await?;
    let worded = |error: store::Error| error.to_string();
    // What is read may end before the feed does, but has no gap that is not one for ever.
    let entries = store.log_entries(last, PUBLISHED_AT_ONCE).await.map_err(worded)?;
    let Some(end) = entries.last().map(|entry| entry.change.seq) else { return Ok(0) };
    // Where many were erased, their numbers come in parts, too.
    let end = end.min(last + PUBLISHED_AT_ONCE);
    let mut entries = entries.into_iter().peekable();
    let changes: Vec<Option<LogEntry>> =
        (last + 1..=end).map(|seq| entries.next_if(|entry| entry.change.seq == seq)).collect();
    let count = changes.len();
    log.append(last + 1, changes).await?;
    Ok(count)
}
