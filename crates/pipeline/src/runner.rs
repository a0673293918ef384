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
use crate::dispatch::{Dispatch, POLL_EVERY, Poll, SWEEP_EVERY, carry};
use crate::elected::{ELECTED, EventLog, HELD, RENEWED_EVERY, serve_all};
use crate::enrich_end_user::enrich_end_user;
use crate::link_session::{self, Visit};
use crate::retry::soon;
use crate::sequencer::number_changes;
use crate::step::{Ended, Failure, Rules, note, step};
use crate::tidy::tidy;

/// A lease lasts this long and is renewed at a third of it.
const LEASE: SignedDuration = SignedDuration::from_secs(15);
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Longest sleep of an idle worker, in case a wake-up was lost.
const LOOK_ANYWAY: SignedDuration = SignedDuration::from_secs(30);
/// Shortest sleep where others claim, too.
const LEAST_PAUSE: Duration = Duration::from_millis(50);
/// Pause after a failure of the database.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// How often a process says that it lives.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(5);
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
    /// How long work under way may take to finish when the process is asked to stop.
    pub drain: Duration,
    /// What carries wake-ups between processes, if there is more than the database.
    pub dispatch: Option<Arc<dyn Dispatch>>,
    /// A log outside the database that the feed is brought to.
    pub log: Option<Arc<dyn EventLog>>,
}

/// The running pipeline.
pub struct Pipeline {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    store: Store,
    meter: Meter,
    process: String,
    drain: Duration,
}

impl Pipeline {
    /// Starts the workers and what they need: in the one process of a SQLite file the sequencer itself,
    /// on a shared database a part in the election for it.
    pub async fn start(
        store: Store,
        connector: Connector,
        settings: Settings,
    ) -> Result<Self, store::Error> {
        let mut pipeline = Self::without_workers(store.clone(), &connector, &settings);
        let stopped = pipeline.stop.subscribe();
        let polled_items = Arc::new(AtomicI64::new(store.polled_items().await?));
        // A process without a log leaves the task of it to those that have one.
        let has_log = settings.log.is_some();
        let takes = |kind| store.is_shared() && (has_log || kind != WorkKind::Publish);
        let elected: Vec<_> = ELECTED.into_iter().filter(|(kind, _)| takes(*kind)).collect();
        for (kind, subject) in &elected {
            store.poke(*kind, subject, false).await?;
        }
        let elected = elected.into_iter().map(|(kind, _)| (kind, i64::MAX, 1));
        for (kind, most_attempts, count) in WORKERS.into_iter().chain(elected) {
            for _ in 0..count {
                let worker = Worker {
                    kind,
                    most_attempts,
                    process: pipeline.process.clone(),
                    store: store.clone(),
                    connector: connector.clone(),
                    settings: settings.clone(),
                    polled_items: Arc::clone(&polled_items),
                    stopped: stopped.clone(),
                };
                pipeline.tasks.spawn(worker.run());
            }
        }
        if !store.is_shared() {
            // In a single process every lease left over is void.
            store.clear_leases().await?;
            pipeline.spawn(number_changes(store.clone()));
            pipeline.spawn(tidy(store.clone()));
        }
        pipeline.spawn(count_items(store, polled_items));
        Ok(pipeline)
    }

    /// Starts what a process needs that leaves the work to others: it hears of the feed, and keeps the
    /// counts of its own calls to Plaid.
    pub fn without_workers(store: Store, connector: &Connector, settings: &Settings) -> Self {
        let meter = connector.meter().clone();
        let process = store.ambient().uuid().simple().to_string();
        let mut pipeline = Self {
            stop: watch::Sender::new(false),
            tasks: JoinSet::new(),
            store: store.clone(),
            meter: meter.clone(),
            process,
            drain: settings.drain,
        };
        pipeline.spawn(keep_counts(store.clone(), meter));
        if store.is_shared() {
            let every = if settings.dispatch.is_some() { SWEEP_EVERY } else { POLL_EVERY };
            pipeline.spawn(Poll::new(store.clone(), every).run());
            // Also a process without workers calls Plaid: to look at a token, to ask a bank.
            let share = share_limits(store.clone(), connector.clone(), pipeline.process.clone());
            pipeline.spawn(share);
        }
        if let Some(dispatch) = settings.dispatch.clone() {
            pipeline.spawn(carry(store, dispatch));
        }
        pipeline
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(until_stopped(self.stop.subscribe(), task));
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
        if tokio::time::timeout(self.drain, finished).await.is_err() {
            tracing::warn!("work under way is dropped and will be done again");
            self.tasks.shutdown().await;
        }
        keep_counts_once(&self.store, &self.meter).await;
        if self.store.is_shared() {
            let released = self.store.release_leases(&self.process).await;
            if let Err(error) = released.and(self.store.process_gone(&self.process).await) {
                tracing::warn!(%error, "what this process held is free when its leases run out");
            }
        }
    }
}

async fn until_stopped(mut stopped: watch::Receiver<bool>, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

/// Tells the others that this process lives, and takes no more of Plaid's limits than its share.
async fn share_limits(store: Store, connector: Connector, process: String) {
    loop {
        match store.live_processes(&process).await {
            Ok(count) => connector.share_among(count),
            Err(error) => tracing::warn!(%error, "the live processes could not be counted"),
        }
        tokio::time::sleep(SIGN_OF_LIFE_EVERY).await;
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
    process: String,
    store: Store,
    connector: Connector,
    settings: Settings,
    polled_items: Arc<AtomicI64>,
    stopped: watch::Receiver<bool>,
}

impl Worker {
    async fn run(self) {
        let mut stopped = self.stopped.clone();
        let (lasts, _) = self.lease();
        while !*stopped.borrow() {
            match self.store.claim(self.kind, self.most_attempts, &self.process, lasts).await {
                Ok(Some(lease)) => {
                    if self.store.is_shared() {
                        // Where there was one, there may be more for whoever is idle.
                        self.store.news().announce(self.kind);
                    }
                    self.work(&lease).await;
                }
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
        // What is due and cannot be claimed is being claimed by another process.
        let pause = if self.store.is_shared() { pause.max(LEAST_PAUSE) } else { pause };
        let _woken = tokio::time::timeout(pause, self.store.news().work(self.kind)).await;
    }

    /// Does one piece of work in a task of its own, so that a fault in it ends neither the worker nor
    /// other Items. The lease is renewed meanwhile, and if it is lost the work is dropped, because
    /// another worker has it.
    async fn work(&self, lease: &Lease) {
        let started_at = self.ambient().now();
        let (worker, own) = (self.clone(), lease.clone());
        // What is in the set ends with it, also when this worker is dropped.
        let mut task = JoinSet::new();
        task.spawn(async move { worker.act(&own).await });
        let done = tokio::select! {
            Some(done) = task.join_next() => {
                done.unwrap_or_else(|fault| Err(Failure::Fault(fault.to_string())))
            }
            lost = self.keep(lease) => Err(lost.into()),
        };
        drop(task);
        if let Err(failure) = done {
            self.settle(lease, &failure, started_at).await;
        }
    }

    async fn keep(&self, lease: &Lease) -> store::Error {
        let (lasts, renew_every) = self.lease();
        let from_now = || self.ambient().now().saturating_add(lasts).unwrap_or(Timestamp::MAX);
        let mut held_until = from_now();
        loop {
            tokio::time::sleep(renew_every).await;
            match self.store.renew(lease, lasts).await {
                Ok(()) => held_until = from_now(),
                Err(store::Error::Stale) => return store::Error::Stale,
                // The database may be back before the lease has run out.
                Err(error) if held_until <= self.ambient().now() => return error,
                Err(error) => tracing::warn!(%error, "a lease could not be renewed yet"),
            }
        }
    }

    fn is_elected(&self) -> bool {
        ELECTED.iter().any(|(kind, _)| *kind == self.kind)
    }

    /// How long a lease lasts, and how often it is renewed.
    fn lease(&self) -> (SignedDuration, Duration) {
        if self.is_elected() { (HELD, RENEWED_EVERY) } else { (LEASE, RENEW_EVERY) }
    }

    async fn act(&self, lease: &Lease) -> Result<(), Failure> {
        match self.kind {
            WorkKind::Sync => self.sync(lease).await,
            WorkKind::Notify => Ok(self.of_end_user(lease).await?.notify(lease).await?),
            WorkKind::Enrich => enrich_end_user(&self.of_end_user(lease).await?, lease).await,
            WorkKind::Deliver => Ok(self.settings.sender.deliver(&self.store, lease).await?),
            WorkKind::LinkSession => self.link_session(lease).await,
            WorkKind::Run => Ok(self.run_connection(lease).await?),
            WorkKind::Sequence | WorkKind::Schedule | WorkKind::Publish => {
                let Settings { log, dispatch, .. } = &self.settings;
                let stopped = self.stopped.clone();
                Ok(serve_all(&self.store, log.as_ref(), dispatch.is_some(), lease, stopped).await?)
            }
        }
    }

    /// A failure inside the step is noted by it; an error here came before it.
    async fn sync(&self, lease: &Lease) -> Result<(), Failure> {
        let Some(item) = self.store.item(&lease.subject).await? else {
            return Ok(self.store.finish(lease, Timestamp::MAX).await?);
        };
        // From here on nothing is there but this integration, whatever is asked for.
        let store = self.store.within(&item.integration_id);
        let token = store.access_token(&item.key).await?.map(AccessToken::stored);
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
        tell(&item, &step(&store, bank.as_ref(), &item, lease, &rules).await);
        Ok(())
    }

    /// The store in which nothing is but the integration of the end user whose turn it is; the whole store
    /// if the end user is gone: the work then just ends.
    async fn of_end_user(&self, lease: &Lease) -> Result<Store, store::Error> {
        let integration = self.store.integration_of(&lease.subject).await?;
        Ok(integration.map_or_else(|| self.store.clone(), |id| self.store.within(&id)))
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
            // Everybody waits for what one does for all.
            _ if self.is_elected() => self.ambient().now(),
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
