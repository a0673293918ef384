//! One execution of a connection: from the claim, over both ends, to the outcome in words and the time
//! of the next one.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use destinations::{Destination, DestinationError, DestinationTrouble};
use jiff::{SignedDuration, Timestamp};
use model::{DestinationSettings, SchemaChanges, Stream, SyncMode};
use secrecy::ExposeSecret;
use store::{
    Connection, Integration, ItemFilter, Lease, Run, RunKind, RunState, Store, StreamProgress,
    StreamRun,
};

use super::load::Loader;
use super::mark::Mark;
use super::plan::{Names, StreamPlan, is_append, plans};
use super::verify::{Compared, verify};
use super::{Open, Watch};
use crate::retry::jitter;

/// Pauses between the tries of a run that failed for a reason that may pass.
const PAUSES: [SignedDuration; 5] = [
    SignedDuration::from_secs(10),
    SignedDuration::from_secs(30),
    SignedDuration::from_secs(90),
    SignedDuration::from_secs(270),
    SignedDuration::from_secs(810),
];
/// When a connection that runs on every change and failed is tried again.
const AGAIN: SignedDuration = SignedDuration::from_mins(15);
/// How long a run waits for the Items it asked to be synced.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Items that are named where they could not be read.
const NAMED_ITEMS: usize = 5;
/// Items looked at for the log.
const LOOKED_AT: i64 = 1_000;

/// Why a run did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The destination said no.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// The store said no.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The connection cannot be as it is set.
    #[error("{0}")]
    Settings(String),
    /// Both sides differ.
    #[error("{0}")]
    Differs(String),
    /// A person ended it.
    #[error("cancelled")]
    Cancelled,
}

impl Failure {
    pub(crate) fn corrupt(what: &'static str) -> Self {
        Self::Store(store::Error::Corrupt { what })
    }

    /// Whether the same may succeed later.
    fn may_pass(&self) -> bool {
        match self {
            Self::Destination(error) => error.trouble == DestinationTrouble::Passing,
            Self::Store(_) => true,
            Self::Settings(_) | Self::Differs(_) | Self::Cancelled => false,
        }
    }
}

/// What runs need from the program.
#[derive(Clone)]
pub(crate) struct Means<'a> {
    pub(crate) store: &'a Store,
    pub(crate) open: &'a Open,
    pub(crate) watch: Option<&'a Watch>,
    /// How often a run that failed for a reason that may pass is begun in all.
    pub(crate) most_tries: u32,
}

/// Does what is due for a connection and notes how it went.
pub(crate) async fn run_connection(means: &Means<'_>, lease: &Lease) -> Result<(), store::Error> {
    let store = means.store;
    let Some(connection) = store.connection(&lease.subject).await? else {
        return store.finish(lease, Timestamp::MAX).await;
    };
    let waiting = store.waiting_run(&connection.id).await?;
    let is_load = waiting.as_ref().is_none_or(|run| run.kind == RunKind::Load);
    if connection.paused.is_some() && is_load {
        return store.finish(lease, Timestamp::MAX).await;
    }
    let cause = match connection.settings.schedule {
        model::Schedule::OnChange => "change",
        _ => "schedule",
    };
    // Whoever slept past the lease writes nothing here any more.
    let fenced = store.under(lease);
    let means = &Means { store: &fenced, ..*means };
    let mut run = fenced.begin_run(&connection.id, cause).await?;
    let result = match run.cancelled {
        true => Err(Failure::Cancelled),
        false => act(means, &connection, &mut run).await,
    };
    let now = store.ambient().now();
    let failure = match result {
        Ok(outcome) => {
            run.log(now, outcome.clone());
            run.body.outcome = Some(outcome);
            run.state = RunState::Succeeded;
            return end(store, means.watch, &connection, run, (lease, now)).await;
        }
        Err(failure) => failure,
    };
    tracing::warn!(connection = %connection.id, run = %run.id, %failure, "the run failed");
    run.log(now, failure.to_string());
    run.body.outcome = Some(failure.to_string());
    let tries = usize::try_from(run.body.attempts).unwrap_or(usize::MAX);
    if failure.may_pass()
        && run.body.attempts < means.most_tries
        && let Some(pause) = PAUSES.get(tries.saturating_sub(1))
    {
        let pause = *pause + jitter(*pause, store.ambient());
        run.state = RunState::Waiting;
        run.log(now, format!("tried again in {} s", pause.as_secs()));
        if let Some(watch) = means.watch {
            watch(&run);
        }
        return store.retry_run(&run, lease, now.saturating_add(pause).unwrap_or(now)).await;
    }
    if let Failure::Destination(error) = &failure
        && error.trouble == DestinationTrouble::Drift
        && run.kind == RunKind::Load
    {
        fenced.pause_connection(&connection.id, Some(&failure.to_string())).await?;
    }
    run.state = match failure {
        Failure::Cancelled => RunState::Cancelled,
        _ => RunState::Failed,
    };
    for stream in run.body.streams.iter_mut().filter(|s| s.state == RunState::Running) {
        stream.state = run.state;
    }
    end(store, means.watch, &connection, run, (lease, now)).await
}

async fn end(
    store: &Store,
    watch: Option<&Watch>,
    connection: &Connection,
    mut run: Run,
    (lease, now): (&Lease, Timestamp),
) -> Result<(), store::Error> {
    run.ended_at = Some(now);
    let wrote = run.body.streams.iter().any(|stream| stream.written + stream.deleted > 0);
    let is_quiet = run.body.cause == "change" && !wrote && run.state == RunState::Succeeded;
    let next = next_due(connection, &run, now);
    store.end_run(&run, lease, next, !is_quiet).await?;
    if let Some(watch) = watch {
        watch(&run);
    }
    Ok(())
}

/// An interval counts from the beginning of a run; one that took longer is followed at once.
fn next_due(connection: &Connection, run: &Run, now: Timestamp) -> Timestamp {
    let schedule = &connection.settings.schedule;
    let from = match schedule {
        model::Schedule::Interval { .. } => run.body.started_at.unwrap_or(now),
        _ => now,
    };
    let next = schedule.next_after(from).map(|next| next.max(now));
    // What failed shall not wait for the next change.
    let failed_on_change = *schedule == model::Schedule::OnChange && run.state == RunState::Failed;
    let soon = failed_on_change.then(|| now.saturating_add(AGAIN).unwrap_or(now));
    next.or(soon).unwrap_or(Timestamp::MAX)
}

/// Does it; what came of it in words.
async fn act(means: &Means<'_>, connection: &Connection, run: &mut Run) -> Result<String, Failure> {
    let store = means.store;
    let integration = store.integration(&connection.integration_id).await?;
    let integration = integration.ok_or(Failure::corrupt("a connection without integration"))?;
    let secrets = store.connection_secrets(&connection.id).await?;
    let settings: DestinationSettings =
        serde_json::from_str(secrets.destination.expose_secret())
            .map_err(|_| Failure::corrupt("settings of a destination"))?;
    let mut destination = (means.open)(&settings)?;
    let destination = destination.as_mut();
    if run.kind == RunKind::Check {
        destination.check().await?;
        return Ok(format!("{settings} can be written"));
    }
    if run.kind == RunKind::Load && run.body.cause != "change" {
        pull(store, connection, &integration, run).await?;
    }
    // Read before the end users: whoever comes later has no change up to here, so none is passed over.
    let head = store.feed_head().await?;
    let end_users = store.end_user_ids(&integration.id).await?;
    let names = Names { integration: &integration.name, end_users: &end_users };
    let progress = store.stream_progress(&connection.id).await?;
    let hash_key = secrets.hash_key.expose_secret().as_bytes();
    let receiver = if destination.keeps_marks() { "" } else { secrets.destination.expose_secret() };
    let mut plans = plans(connection, &progress, &names, hash_key, receiver);
    count_tables(connection, &plans, run, store.ambient().now())?;
    let found = marks_at(destination, &plans).await?;
    // Proof that the lease is still ours: whoever writes there later changes a mark that is known here.
    store.save_run(run).await?;
    match run.kind {
        RunKind::Load | RunKind::Check => {
            let known = marks(destination, &mut plans, &progress, &found).await?;
            make_ready(connection, destination, &mut plans, run, store.ambient().now()).await?;
            let wishes =
                progress.iter().map(|known| (known.stream, known.refresh_wanted)).collect();
            let ends = Ends { connection, integration: &integration, head, wishes };
            load(means, &ends, destination, &plans, known, run).await
        }
        RunKind::Verify => compare(store, connection, &integration, destination, &plans, run).await,
        RunKind::Reset => {
            for plan in &plans {
                destination.clear(&plan.load).await?;
                forget(store, connection, plan).await?;
            }
            Ok("The tables are gone; the next run makes them anew.".to_owned())
        }
        RunKind::RollBack => roll_back(store, connection, destination, &plans, &found).await,
    }
}

/// Brings the Items up to date first where nobody else does: those of a source, and those whose
/// balances are to be asked of the bank.
async fn pull(
    store: &Store,
    connection: &Connection,
    integration: &Integration,
    run: &mut Run,
) -> Result<(), Failure> {
    let reads_balances =
        connection.settings.streams.iter().any(|choice| choice.stream == Stream::Balances);
    let real_time = connection.settings.real_time_balances.unwrap_or(integration.is_source);
    let with_balances = reads_balances && real_time;
    if integration.is_source || with_balances {
        let began = store.ambient().now();
        store.ask_for_syncs(&integration.id, with_balances).await?;
        let patience = began.saturating_add(PATIENCE).unwrap_or(began);
        loop {
            let left = store.unsettled_items(&integration.id, began, integration.is_source).await?
                + store.unprocessed_end_users(Some(&integration.id)).await?;
            let now = store.ambient().now();
            if left == 0 {
                break;
            }
            if store.is_cancelled(&run.id).await? {
                return Err(Failure::Cancelled);
            }
            if now >= patience {
                run.log(now, format!("{left} Items are still loading; what is here is written"));
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // What was just read gets its place in the feed before the load looks there.
        while store.number_changes().await? > 0 {}
        run.log(store.ambient().now(), "the Items are up to date");
    }
    tell_of_items(store, connection, integration, run).await
}

/// Says which Items could not be read and which lack a product; they hold nobody else up.
async fn tell_of_items(
    store: &Store,
    connection: &Connection,
    integration: &Integration,
    run: &mut Run,
) -> Result<(), Failure> {
    let filter = ItemFilter { integration: Some(integration.id.clone()), ..ItemFilter::default() };
    let items = store.items(&filter, None, LOOKED_AT).await?;
    let now = store.ambient().now();
    let troubled: Vec<_> = items.iter().filter(|item| item.status_detail.is_some()).collect();
    for item in troubled.iter().take(NAMED_ITEMS) {
        let detail = item.status_detail.as_deref().unwrap_or_default();
        run.log(now, format!("Item {} was left as it was: {detail}", item.item_id));
    }
    if troubled.len() > NAMED_ITEMS {
        run.log(now, format!("{} Items in all were left as they were", troubled.len()));
    }
    let mut lacking: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let chosen = |stream: Stream| connection.settings.streams.iter().any(|c| c.stream == stream);
    for item in &items {
        for state in store.stream_states(&item.key).await? {
            if state.state == "lacking" && chosen(state.stream) {
                lacking.entry(state.stream.as_str()).or_default().push(&item.item_id);
            }
        }
    }
    for (stream, items) in lacking {
        let named = items.iter().take(NAMED_ITEMS).copied().collect::<Vec<_>>().join(", ");
        let count = items.len();
        run.log(now, format!("{stream}: {count} Items lack the product and are skipped: {named}"));
    }
    Ok(())
}

/// Refuses more tables than the connection may have, before any work.
fn count_tables(
    connection: &Connection,
    plans: &[StreamPlan],
    run: &mut Run,
    now: Timestamp,
) -> Result<(), Failure> {
    let count: usize = plans.iter().map(|plan| plan.load.tables.len()).sum();
    let limit = connection.settings.table_limit;
    if count > limit {
        return Err(Failure::Settings(format!(
            "the connection has {count} tables, and its limit is {limit}. Choose fewer streams, or \
             one namespace for all, or raise table_limit"
        )));
    }
    if connection.settings.namespace == model::Namespacing::EndUser {
        let streams = plans.len();
        run.log(now, format!("{count} tables: {streams} streams for each end user"));
    }
    Ok(())
}

/// The marks that the destination keeps, as text; none where it keeps none.
async fn marks_at(
    destination: &mut dyn Destination,
    plans: &[StreamPlan],
) -> Result<HashMap<Stream, String>, Failure> {
    let mut found = HashMap::new();
    if !destination.keeps_marks() {
        return Ok(found);
    }
    for plan in plans {
        if let Some(mark) = destination.mark(&plan.load.id).await? {
            found.insert(plan.choice.stream, mark);
        }
    }
    Ok(found)
}

/// The mark of each stream, and with it what this run does to its tables.
async fn marks(
    destination: &mut dyn Destination,
    plans: &mut [StreamPlan],
    progress: &[StreamProgress],
    found: &HashMap<Stream, String>,
) -> Result<HashMap<Stream, Mark>, Failure> {
    let mut known = HashMap::new();
    for plan in plans {
        let stream = plan.choice.stream;
        let kept = progress.iter().find(|kept| kept.stream == stream);
        let text = match destination.keeps_marks() {
            true => found.get(&stream).cloned(),
            false => kept.and_then(|kept| kept.mark.clone()),
        };
        let found = text.as_deref().and_then(Mark::parse);
        let last = found.as_ref().map_or(0, |mark| mark.generation).max(plan.load.generation);
        plan.seen_now = found.as_ref().map(Mark::seen_now).unwrap_or_default();
        let wanted = kept.is_some_and(|kept| kept.refresh_wanted > 0);
        // A table of another shape, or that is wished anew, counts as none.
        let mark = found.clone().filter(|mark| mark.shape == plan.shape && !wanted);
        let is_under_way = mark.as_ref().is_some_and(|mark| mark.reading.is_some());
        plan.load.refreshes = match plan.choice.mode {
            SyncMode::FullRefreshOverwrite => true,
            SyncMode::IncrementalDeduplicated => is_under_way || mark.is_none(),
            SyncMode::FullRefreshAppend | SyncMode::IncrementalAppend => false,
        };
        if is_append(plan.choice.mode) && found.is_some() && mark.is_none() {
            destination.clear(&plan.load).await?;
        }
        let begins = plan.load.refreshes && !is_under_way;
        let appends_all = plan.choice.mode == SyncMode::FullRefreshAppend && !is_under_way;
        plan.load.generation = last + i64::from(begins || appends_all);
        if let Some(mark) = mark {
            known.insert(stream, mark);
        }
    }
    Ok(known)
}

/// Makes tables ready, and does with columns that they lack what the connection says.
async fn make_ready(
    connection: &Connection,
    destination: &mut dyn Destination,
    plans: &mut [StreamPlan],
    run: &mut Run,
    now: Timestamp,
) -> Result<(), Failure> {
    let changes = connection.settings.schema_changes;
    let loads: Vec<_> = plans.iter().map(|plan| plan.load.clone()).collect();
    let missing = destination.prepare(&loads, changes == SchemaChanges::Add).await?;
    for column in missing.iter().take(NAMED_ITEMS) {
        let (table, name) = (&column.table, &column.column);
        let what = match changes {
            SchemaChanges::Add => "was added",
            SchemaChanges::Pause | SchemaChanges::Notify => "is missing and left out",
        };
        run.log(now, format!("table {table}: the column {name} {what}"));
    }
    match (missing.first(), changes) {
        (None, _) | (_, SchemaChanges::Add) => Ok(()),
        (Some(first), SchemaChanges::Pause) => Err(DestinationError::drift(
            format!("table {}", first.table),
            format!("it lacks the column {}", first.column),
            "Add the column, or let the connection add columns, then resume it",
        )
        .into()),
        (Some(_), SchemaChanges::Notify) => {
            for plan in plans.iter_mut() {
                let of_stream = missing.iter().filter(|column| column.stream == plan.load.stream);
                let names: Vec<String> = of_stream.map(|column| column.column.clone()).collect();
                plan.leave_out(&names);
            }
            let loads: Vec<_> = plans.iter().map(|plan| plan.load.clone()).collect();
            destination.prepare(&loads, false).await?;
            Ok(())
        }
    }
}

/// What is loaded: whose, and up to which change.
struct Ends<'a> {
    connection: &'a Connection,
    integration: &'a Integration,
    head: i64,
    /// How often each stream was wished anew when the run began.
    wishes: HashMap<Stream, i64>,
}

async fn load(
    means: &Means<'_>,
    ends: &Ends<'_>,
    destination: &mut dyn Destination,
    plans: &[StreamPlan],
    mut known: HashMap<Stream, Mark>,
    run: &mut Run,
) -> Result<String, Failure> {
    for plan in plans {
        // Counts of a try that failed are those of its last mark, or none.
        *run.stream(plan.choice.stream) = StreamRun::new(plan.choice.stream);
    }
    // Nothing of another integration can be read into this one's tables.
    let store = &means.store.within(&ends.integration.id);
    let mut loader = Loader {
        store,
        integration: ends.integration,
        head: ends.head,
        destination,
        run,
        watch: means.watch,
        since: ends.connection.settings.since,
        shown_at: Timestamp::UNIX_EPOCH,
    };
    let mut reached = Vec::new();
    for plan in plans {
        let known = known.remove(&plan.choice.stream);
        let wishes = ends.wishes.get(&plan.choice.stream).copied().unwrap_or_default();
        match loader.load(plan, known.clone(), plan.load.refreshes).await {
            // Nothing was to be said, so nothing has to be heard.
            Ok(mark) if known.as_ref() == Some(&mark) => {}
            Ok(mark) if loader.destination.keeps_marks() => {
                confirm(&mut loader, ends, plan, &mark, wishes).await?;
            }
            Ok(mark) => reached.push((plan, mark, wishes)),
            Err(failure) => {
                count_what_holds(&mut loader, plan).await;
                return Err(failure);
            }
        }
    }
    // A child writes the rest when it hears the end; only then all marks are known.
    loader.destination.close().await?;
    for (plan, mark, wishes) in reached {
        confirm(&mut loader, ends, plan, &mark, wishes).await?;
    }
    Ok(words(run))
}

/// Hears from the destination that it has a stream up to its mark, and notes it.
async fn confirm(
    loader: &mut Loader<'_>,
    ends: &Ends<'_>,
    plan: &StreamPlan,
    mark: &Mark,
    wishes: i64,
) -> Result<(), Failure> {
    let acknowledged = loader.destination.mark(&plan.load.id).await?;
    match acknowledged {
        Some(text) if Mark::parse(&text).as_ref() == Some(mark) => {
            loader.acknowledge(plan, &text, wishes).await
        }
        _ => {
            let stream = plan.choice.stream.as_str();
            let said = format!("it did not acknowledge all of {stream}");
            Err(DestinationError::passing(&ends.connection.place, said).into())
        }
    }
}

/// Of a stream that failed, only what the destination acknowledged counts.
async fn count_what_holds(loader: &mut Loader<'_>, plan: &StreamPlan) {
    let stream = plan.choice.stream;
    let mark = loader.destination.mark(&plan.load.id).await.ok().flatten();
    let mark = mark.as_deref().and_then(Mark::parse);
    let id = loader.run.id.clone();
    let counts = match mark.and_then(|mark| mark.run) {
        Some((run, counts)) if run == id => counts,
        _ => StreamRun::new(stream),
    };
    *loader.run.stream(stream) = StreamRun { state: RunState::Running, ..counts };
}

fn words(run: &Run) -> String {
    let (written, deleted) = run.body.streams.iter().fold((0, 0), |(written, deleted), stream| {
        (written + stream.written, deleted + stream.deleted)
    });
    match (written, deleted) {
        (0, 0) => "Up to date: nothing was to be written.".to_owned(),
        (written, 0) => format!("{written} rows written."),
        (written, deleted) => format!("{written} rows written, {deleted} deleted."),
    }
}

async fn compare(
    store: &Store,
    connection: &Connection,
    integration: &Integration,
    destination: &mut dyn Destination,
    plans: &[StreamPlan],
    run: &mut Run,
) -> Result<String, Failure> {
    let before = store.feed_head().await?;
    let (mut equal, mut differs) = (0, Vec::new());
    for plan in plans {
        let since = connection.settings.since;
        let (compared, said) = verify(store, integration, plan, since, destination).await?;
        let stream = plan.choice.stream;
        let of = run.stream(stream);
        of.verified = Some(said.clone());
        of.state = RunState::Succeeded;
        match compared {
            Compared::Equal => equal += 1,
            Compared::Not => {}
            Compared::Differs => {
                of.state = RunState::Failed;
                differs.push(format!("{}: {said}", stream.as_str()));
            }
        }
    }
    if differs.is_empty() {
        return Ok(match equal {
            0 => "Nothing could be compared.".to_owned(),
            equal if equal == plans.len() => "Source and destination are equal.".to_owned(),
            equal => format!("Equal in the {equal} streams that can be compared."),
        });
    }
    let mut said = differs.join("; ");
    let behind = store.stream_progress(&connection.id).await?.into_iter().any(|progress| {
        let mark = progress.mark.as_deref().and_then(Mark::parse);
        mark.is_some_and(|mark| mark.seq < before)
    });
    if behind || store.feed_head().await? != before {
        said.push_str(
            ". There is news that no run has written yet: run the connection, then verify",
        );
    }
    Err(Failure::Differs(said))
}

async fn roll_back(
    store: &Store,
    connection: &Connection,
    destination: &mut dyn Destination,
    plans: &[StreamPlan],
    found: &HashMap<Stream, String>,
) -> Result<String, Failure> {
    let mut brought = Vec::new();
    for plan in plans.iter().filter(|plan| !is_append(plan.choice.mode)) {
        let Some(text) = found.get(&plan.choice.stream) else { continue };
        let mark = Mark::parse(text).unwrap_or_default();
        if mark.reading.is_some() {
            let stream = plan.choice.stream.as_str();
            let said =
                format!("a refresh of {stream} is under way: run the connection to its end first");
            return Err(Failure::Settings(said));
        }
        let (seq, shape) = (mark.previous_seq, mark.previous_shape.clone());
        let back = Mark { seq, shape, reading: None, run: None, ..mark };
        if destination.roll_back(&plan.load, &back.text()).await? {
            let progress = StreamProgress {
                stream: plan.choice.stream,
                generation: back.generation,
                refresh_wanted: 0,
                mark: Some(back.text()),
            };
            store.note_stream_progress(&connection.id, progress).await?;
            brought.push(plan.choice.stream.as_str());
        }
    }
    if brought.is_empty() {
        return Err(Failure::Settings(
            "there is no last generation to bring back: one is kept at every refresh, and brought \
             back once"
                .to_owned(),
        ));
    }
    Ok(format!("The last generation is back: {}.", brought.join(", ")))
}

async fn forget(store: &Store, connection: &Connection, plan: &StreamPlan) -> Result<(), Failure> {
    let progress = StreamProgress {
        stream: plan.choice.stream,
        generation: plan.load.generation,
        refresh_wanted: 0,
        mark: None,
    };
    Ok(store.note_stream_progress(&connection.id, progress).await?)
}
