//! Claims rows of work and does them under a lease that is renewed while the work goes on. Webhooks,
//! timers and people all poke the same rows, so there is one path for all of them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::{Ambient, Item, ItemStatus};
use plaid::{AccessToken, Client, Connector, Credentials, PullError};
use store::{Lease, Store, WorkKind};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::remove_item::remove_item;
use crate::retry::{judge, soon};
use crate::sequencer::number_changes;
use crate::sync_item::sync_item;

/// A lease lasts this long and is renewed at a third of it.
const LEASE: SignedDuration = SignedDuration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Longest sleep of an idle worker, in case a wake-up was lost.
const LOOK_ANYWAY: SignedDuration = SignedDuration::from_secs(30);
/// Pause after a failure of the database.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Work under way may take this long to finish when the process is asked to stop.
const GRACE: Duration = Duration::from_secs(5);
/// Webhooks are remembered this long: far longer than their signatures are accepted.
const WEBHOOKS_KEPT: SignedDuration = SignedDuration::from_hours(24);
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

/// What may be set about the pipeline.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often an Item is looked at when no webhook comes.
    pub poll_every: SignedDuration,
    /// Items synced at a time.
    pub workers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { poll_every: SignedDuration::from_hours(1), workers: 4 }
    }
}

/// The running pipeline.
pub struct Pipeline {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Why a piece of work was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Plaid(#[from] plaid::Error),
    #[error("the bank's data would not hold still: {0}")]
    Restless(String),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the work ended by a fault of this program: {0}")]
    Fault(tokio::task::JoinError),
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

impl Pipeline {
    /// Starts the workers and the sequencer. In a single process every lease left over is void.
    pub async fn start(
        store: Store,
        connector: Connector,
        settings: Settings,
    ) -> Result<Self, store::Error> {
        store.clear_leases().await?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for number in 0..settings.workers {
            let worker = Worker {
                name: format!("worker-{number}"),
                store: store.clone(),
                connector: connector.clone(),
                settings: settings.clone(),
            };
            tasks.spawn(worker.run(stopped.clone()));
        }
        tasks.spawn(until_stopped(stopped.clone(), number_changes(store.clone())));
        tasks.spawn(until_stopped(stopped, tidy(store)));
        Ok(Self { stop, tasks })
    }

    /// Returns when a part of the pipeline has ended by itself, which none ever should.
    pub async fn ended(&mut self) {
        self.tasks.join_next().await;
    }

    /// Lets the work under way finish for a while, then ends. Work that is dropped is done again
    /// after the next start.
    pub async fn stop(mut self) {
        let _gone = self.stop.send(true);
        let finished = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, finished).await.is_err() {
            tracing::warn!("work under way is dropped and will be done again");
            self.tasks.shutdown().await;
        }
    }
}

async fn until_stopped(mut stopped: watch::Receiver<bool>, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

/// Forgets what nobody needs any more.
async fn tidy(store: Store) {
    loop {
        let before = store.ambient().now().saturating_sub(WEBHOOKS_KEPT).unwrap_or_default();
        if let Err(error) = store.forget_webhooks(before).await {
            tracing::warn!(%error, "old webhooks could not be forgotten");
        }
        tokio::time::sleep(TIDY_EVERY).await;
    }
}

#[derive(Clone)]
struct Worker {
    name: String,
    store: Store,
    connector: Connector,
    settings: Settings,
}

impl Worker {
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            match self.store.claim(WorkKind::Sync, &self.name, LEASE).await {
                Ok(Some(lease)) => self.work(&lease).await,
                Ok(None) => tokio::select! {
                    () = self.wait() => {}
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                },
                Err(error) => {
                    tracing::error!(%error, "no work could be claimed");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    /// Sleeps until the next row is due or something is poked.
    async fn wait(&self) {
        let now = self.ambient().now();
        let latest = now.saturating_add(LOOK_ANYWAY).unwrap_or(now);
        let due = self.store.next_due().await.ok().flatten().map_or(latest, |due| due.min(latest));
        let pause = Duration::try_from(due.duration_since(now)).unwrap_or_default();
        let _woken = tokio::time::timeout(pause, self.store.news().work()).await;
    }

    /// Does one piece of work in a task of its own, so that a fault in it ends neither the worker nor
    /// other Items. The lease is renewed meanwhile, and if it is lost the work is dropped, because
    /// another worker has it.
    async fn work(&self, lease: &Lease) {
        let (worker, own) = (self.clone(), lease.clone());
        let mut task = tokio::spawn(async move { worker.bring_up_to_date(&own).await });
        let done = tokio::select! {
            done = &mut task => done.unwrap_or_else(|fault| Err(Failure::Fault(fault))),
            lost = self.keep(lease) => Err(lost.into()),
        };
        task.abort();
        if let Err(failure) = done {
            self.settle(lease, &failure).await;
        }
    }

    async fn keep(&self, lease: &Lease) -> store::Error {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            if let Err(error) = self.store.renew(lease, LEASE).await {
                return error;
            }
        }
    }

    async fn bring_up_to_date(&self, lease: &Lease) -> Result<(), Failure> {
        let Some(item) = self.store.item(&lease.subject).await? else {
            return Ok(self.store.finish(lease, Timestamp::MAX).await?);
        };
        let token = self.store.access_token(&item.key).await?.map(AccessToken::stored);
        let client = self.client(&item).await?;
        match (item.status, token) {
            (ItemStatus::Removing, token) => {
                remove_item(&self.store, &client, &item, token.as_ref(), lease).await
            }
            (ItemStatus::Removed, _) | (_, None) => {
                Ok(self.store.finish(lease, Timestamp::MAX).await?)
            }
            (_, Some(token)) => {
                let applied =
                    sync_item(&self.store, &client, &item, &token, lease, &self.settings).await?;
                tracing::info!(
                    item_id = item.item_id,
                    added = applied.added,
                    modified = applied.modified,
                    removed = applied.removed,
                    "synced"
                );
                Ok(())
            }
        }
    }

    async fn client(&self, item: &Item) -> Result<Client, Failure> {
        let gone = || store::Error::Corrupt { what: "an item without an integration" };
        let integration = self.store.integration(&item.integration_id).await?.ok_or_else(gone)?;
        let secret = self.store.integration_secret(&item.integration_id).await?.ok_or_else(gone)?;
        let credentials = Credentials { client_id: integration.client_id, secret };
        Ok(self.connector.client(integration.environment, integration.base_url, credentials))
    }

    /// Notes a failure where people see it and gives the work back.
    async fn settle(&self, lease: &Lease, failure: &Failure) {
        if matches!(failure, Failure::Store(store::Error::Stale)) {
            tracing::warn!(subject = lease.subject, "the work was taken over or overtaken");
            let again = soon(lease.attempts, self.ambient());
            // Nothing to give back if another worker has it.
            let _lost = self.store.fail(lease, again, "overtaken").await;
            return;
        }
        tracing::warn!(subject = lease.subject, %failure, "the work failed and will be tried again");
        if let Err(error) = self.note(lease, failure).await {
            tracing::error!(%error, "a failure could not be noted; the lease runs out instead");
        }
    }

    async fn note(&self, lease: &Lease, failure: &Failure) -> Result<(), store::Error> {
        let ambient = self.ambient();
        let why = failure.to_string();
        let Some(item) = self.store.item(&lease.subject).await? else {
            return self.store.fail(lease, soon(lease.attempts, ambient), &why).await;
        };
        match failure {
            Failure::Plaid(error) => {
                let verdict = judge(error.reaction(), lease.attempts, ambient);
                let (status, until) = (verdict.status, verdict.not_before);
                self.store.fail_item(&item.key, lease, status, &why, until).await
            }
            Failure::Restless(_) | Failure::Fault(_) => {
                let until = soon(lease.attempts, ambient);
                self.store.fail_item(&item.key, lease, ItemStatus::Erroring, &why, until).await
            }
            Failure::Store(_) => self.store.fail(lease, soon(lease.attempts, ambient), &why).await,
        }
    }

    fn ambient(&self) -> &Ambient {
        self.store.ambient()
    }
}
