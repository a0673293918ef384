//! Claims rows of work and does them under a lease that is renewed while the work goes on. Webhooks,
//! timers and people all poke the same rows, so there is one path for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::{Ambient, IntegrationId, Item};
use plaid::{AccessToken, Client, Connector, Credentials, ItemBank, Meter};
use store::{Integration, Lease, Store, WorkKind};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::connection::{Means, Open, Watch, run_connection};
use crate::deliver::Sender;
use crate::enrich_end_user::enrich_end_user;
use crate::link_session::{self, Visit};
use crate::retry::soon;
use crate::sequencer::number_changes;
use crate::step::{Ended, Failure, Rules, note, step};

/// A lease lasts this long and is renewed at a third of it.
const LEASE: SignedDuration = SignedDuration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Longest sleep of an idle worker, in case a wake-up was lost.
const LOOK_ANYWAY: SignedDuration = SignedDuration::from_secs(30);
/// Pause after a failure of the database.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Work under way may take this long to finish when the process is asked to stop.
const GRACE: Duration = Duration::from_secs(5);
/// What is forgotten after how long: webhooks far later than their signatures are accepted.
const WEBHOOKS_KEPT: SignedDuration = SignedDuration::from_hours(24);
const SYNCS_KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);
const RUNS_KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);
const DELIVERIES_KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);
const TIDY_EVERY: Duration = Duration::from_secs(3_600);
/// How often the counts of calls to Plaid are kept; a crash loses no more than this.
const KEEP_COUNTS_EVERY: Duration = Duration::from_secs(5);
/// How often the number of polled Items is looked up.
const COUNT_ITEMS_EVERY: Duration = Duration::from_secs(60);

/// Workers of each kind. `most_attempts` keeps some of those that sync to Items whose last sync
/// did not fail, so that Items behind dead banks never hold up the others.
pub const WORKERS: [(WorkKind, i64, usize); 8] = [
    (WorkKind::Sync, 0, 4),
    (WorkKind::Sync, i64::MAX, 4),
    (WorkKind::Notify, i64::MAX, 1),
    (WorkKind::Enrich, i64::MAX, 2),
    (WorkKind::Deliver, 0, 8),
    (WorkKind::Deliver, i64::MAX, 8),
    (WorkKind::LinkSession, i64::MAX, 2),
    (WorkKind::Run, i64::MAX, 4),
];

/// What may be set about the pipeline.
#[derive(Clone)]
pub struct Settings {
    /// How often an Item is looked at when no webhook comes.
    pub poll_every: SignedDuration,
    /// How notices leave.
    pub sender: Sender,
    /// How destinations are opened.
    pub open: Open,
    /// Who is told how far runs are.
    pub watch: Option<Watch>,
    /// How often a run that failed for a reason that may pass is begun in all.
    pub most_tries: u32,
}

/// The running pipeline.
pub struct Pipeline {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    store: Store,
    meter: Meter,
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
        let polled_items = Arc::new(AtomicI64::new(store.polled_items().await?));
        for (kind, most_attempts, count) in WORKERS {
            for number in 0..count {
                let worker = Worker {
                    kind,
                    most_attempts,
                    name: format!("{}-{most_attempts}-{number}", kind.as_str()),
                    store: store.clone(),
                    connector: connector.clone(),
                    settings: settings.clone(),
                    polled_items: Arc::clone(&polled_items),
                };
                tasks.spawn(worker.run(stopped.clone()));
            }
        }
        let meter = connector.meter().clone();
        tasks.spawn(until_stopped(stopped.clone(), number_changes(store.clone())));
        tasks.spawn(until_stopped(stopped.clone(), tidy(store.clone())));
        tasks.spawn(until_stopped(stopped.clone(), count_items(store.clone(), polled_items)));
        tasks.spawn(until_stopped(stopped, keep_counts(store.clone(), meter.clone())));
        Ok(Self { stop, tasks, store, meter })
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
        keep_counts_once(&self.store, &self.meter).await;
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
        let before = |kept| store.ambient().now().saturating_sub(kept).unwrap_or_default();
        let forgotten = async {
            store.forget_webhooks(before(WEBHOOKS_KEPT)).await?;
            store.forget_syncs(before(SYNCS_KEPT)).await?;
            store.forget_runs(before(RUNS_KEPT)).await?;
            store.forget_deliveries(before(DELIVERIES_KEPT)).await
        };
        if let Err(error) = forgotten.await {
            tracing::warn!(%error, "what is old could not be forgotten");
        }
        tokio::time::sleep(TIDY_EVERY).await;
    }
}

async fn count_items(store: Store, polled_items: Arc<AtomicI64>) {
    loop {
        tokio::time::sleep(COUNT_ITEMS_EVERY).await;
        match store.polled_items().await {
            Ok(count) => polled_items.store(count, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "the Items could not be counted"),
        }
    }
}

async fn keep_counts(store: Store, meter: Meter) {
    loop {
        tokio::time::sleep(KEEP_COUNTS_EVERY).await;
        keep_counts_once(&store, &meter).await;
    }
}

/// Keeps the counts of calls to Plaid; what cannot be kept now is kept later.
async fn keep_counts_once(store: &Store, meter: &Meter) {
    for (integration, path, calls) in meter.take() {
        if let Err(error) = store.add_usage(&integration, path, calls.made, calls.failed).await {
            tracing::warn!(%error, "counts of calls to Plaid could not be kept yet");
            meter.put_back(&integration, path, calls);
        }
    }
}

#[derive(Clone)]
struct Worker {
    kind: WorkKind,
    most_attempts: i64,
    name: String,
    store: Store,
    connector: Connector,
    settings: Settings,
    polled_items: Arc<AtomicI64>,
}

impl Worker {
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            match self.store.claim(self.kind, self.most_attempts, &self.name, LEASE).await {
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
        let next = self.store.next_due(self.kind, self.most_attempts).await;
        let due = next.ok().flatten().map_or(latest, |due| due.min(latest));
        let pause = Duration::try_from(due.duration_since(now)).unwrap_or_default();
        let _woken = tokio::time::timeout(pause, self.store.news().work(self.kind)).await;
    }

    /// Does one piece of work in a task of its own, so that a fault in it ends neither the worker nor
    /// other Items. The lease is renewed meanwhile, and if it is lost the work is dropped, because
    /// another worker has it.
    async fn work(&self, lease: &Lease) {
        let started_at = self.ambient().now();
        let (worker, own) = (self.clone(), lease.clone());
        let mut task = tokio::spawn(async move { worker.act(&own).await });
        let done = tokio::select! {
            done = &mut task => done.unwrap_or_else(|fault| Err(Failure::Fault(fault.to_string()))),
            lost = self.keep(lease) => Err(lost.into()),
        };
        task.abort();
        if let Err(failure) = done {
            self.settle(lease, &failure, started_at).await;
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

    async fn act(&self, lease: &Lease) -> Result<(), Failure> {
        match self.kind {
            WorkKind::Sync => self.sync(lease).await,
            WorkKind::Notify => Ok(self.store.notify(lease).await?),
            WorkKind::Enrich => enrich_end_user(&self.store, lease).await,
            WorkKind::Deliver => Ok(self.settings.sender.deliver(&self.store, lease).await?),
            WorkKind::LinkSession => self.link_session(lease).await,
            WorkKind::Run => Ok(self.run_connection(lease).await?),
        }
    }

    /// A failure inside the step is noted by it; an error here came before it.
    async fn sync(&self, lease: &Lease) -> Result<(), Failure> {
        let Some(item) = self.store.item(&lease.subject).await? else {
            return Ok(self.store.finish(lease, Timestamp::MAX).await?);
        };
        let token = self.store.access_token(&item.key).await?.map(AccessToken::stored);
        let integration = self.integration(&item.integration_id).await?;
        let rules = Rules {
            streams: integration.streams.clone(),
            environment: integration.environment,
            poll_every: self.settings.poll_every,
            polled_items: self.polled_items.load(Ordering::Relaxed),
            oldest_balance: integration.start_date.and_then(midnight),
        };
        let bank = match token {
            Some(token) => Some(ItemBank { client: self.client(integration).await?, token }),
            None => None,
        };
        tell(&item, &step(&self.store, bank.as_ref(), &item, lease, &rules).await);
        Ok(())
    }

    async fn run_connection(&self, lease: &Lease) -> Result<(), store::Error> {
        let Settings { open, watch, most_tries, .. } = &self.settings;
        let (store, watch, most_tries) = (&self.store, watch.as_ref(), *most_tries);
        run_connection(&Means { store, open, watch, most_tries }, lease).await
    }

    async fn link_session(&self, lease: &Lease) -> Result<(), Failure> {
        let Some((session, secrets)) = self.store.link_session(&lease.subject).await? else {
            return Ok(self.store.finish(lease, Timestamp::MAX).await?);
        };
        let integration = self.integration(&session.integration_id).await?;
        let client = self.client(integration).await?;
        let (client, session, secrets) = (&client, &session, &secrets);
        Visit { store: &self.store, client, lease, session, secrets }.look_after().await
    }

    async fn integration(&self, id: &IntegrationId) -> Result<Integration, Failure> {
        let gone = || store::Error::Corrupt { what: "an object without its integration" };
        Ok(self.store.integration(id).await?.ok_or_else(gone)?)
    }

    async fn client(&self, integration: Integration) -> Result<Client, Failure> {
        let gone = || store::Error::Corrupt { what: "an integration without its secret" };
        let secret = self.store.integration_secret(&integration.id).await?.ok_or_else(gone)?;
        let credentials = Credentials { client_id: integration.client_id, secret };
        let (environment, base_url) = (integration.environment, integration.base_url);
        let whose = integration.id.as_str();
        Ok(self.connector.metered_client(environment, base_url, credentials, whose))
    }

    /// Notes a failure and gives the work back.
    async fn settle(&self, lease: &Lease, failure: &Failure, started_at: Timestamp) {
        let item = match self.kind {
            WorkKind::Sync => self.store.item(&lease.subject).await.ok().flatten(),
            _ => None,
        };
        if let Some(item) = item {
            return note(&self.store, &item, lease, failure, started_at).await;
        }
        let again = match self.kind {
            WorkKind::LinkSession => link_session::again(lease, &self.store),
            _ => soon(lease.attempts, self.ambient()),
        };
        tracing::warn!(kind = self.kind.as_str(), subject = lease.subject, %failure, "the work failed");
        if let Err(error) = self.store.fail(lease, again, &failure.to_string()).await {
            tracing::error!(%error, "a failure could not be noted; the lease runs out instead");
        }
    }

    fn ambient(&self) -> &Ambient {
        self.store.ambient()
    }
}

/// The beginning of a day in UTC.
fn midnight(date: jiff::civil::Date) -> Option<Timestamp> {
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

fn tell(item: &Item, ended: &Ended) {
    let item_id = &item.item_id;
    match ended {
        Ended::Synced(applied) => tracing::info!(
            item_id,
            added = applied.added,
            modified = applied.modified,
            removed = applied.removed,
            "synced"
        ),
        Ended::Removed => tracing::info!(item_id, "the item was removed at Plaid"),
        Ended::Idle | Ended::Failed(_) => {}
    }
}
