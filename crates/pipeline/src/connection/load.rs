//! Writes one stream into its tables by its mode: everything aside and swapped in, everything behind
//! what is there, or what changed since the mark.

use std::collections::HashMap;
use std::sync::Arc;

use destinations::{Batch, Cell, Destination, Mode, Part, Row};
use jiff::Timestamp;
use model::{ChangeKind, EndUser, EndUserId, SyncMode};
use store::{
    Extract, Extracted, Integration, Place, Run, RunState, Store, StreamProgress, StreamRun,
};

use super::Watch;
use super::mark::{Mark, Reading};
use super::plan::{Placed, StreamPlan, now_cell};
use super::run::Failure;

/// Rows written together: enough to keep a bulk path busy, few enough to hold in memory.
const BATCH_ROWS: usize = 10_000;
/// Records read from the store at once.
const PAGE_ROWS: i64 = 2_000;
/// End users listed at once.
const PAGE_END_USERS: i64 = 1_000;
/// How often a run's progress is kept for those who look on.
const SHOW_EVERY_MILLIS: i64 = 1_000;

/// What a load needs besides its stream.
pub(crate) struct Loader<'a> {
    pub(crate) store: &'a Store,
    pub(crate) integration: &'a Integration,
    /// The last change that is written.
    pub(crate) head: i64,
    pub(crate) destination: &'a mut dyn Destination,
    pub(crate) run: &'a mut Run,
    pub(crate) watch: Option<&'a Watch>,
    pub(crate) since: Option<jiff::civil::Date>,
    pub(crate) shown_at: Timestamp,
}

/// A stream on its way: its plan, its mark, and rows that wait for their batch.
struct Flow<'p> {
    plan: &'p StreamPlan,
    mark: Mark,
    /// The last mark that was handed over.
    handed: Option<Mark>,
    aside: bool,
    parts: Parts,
    counts: StreamRun,
}

/// Rows of a batch by table, in the order in which tables were met.
#[derive(Default)]
struct Parts {
    tables: Vec<Part>,
    /// Where a key stands, so that the last word on it holds.
    places: HashMap<(usize, Vec<Cell>), (bool, usize)>,
    by_name: HashMap<String, usize>,
    len: usize,
}

impl Loader<'_> {
    /// Writes one stream and gives the mark it reached.
    pub(crate) async fn load(
        &mut self,
        plan: &StreamPlan,
        known: Option<Mark>,
        refreshes: bool,
    ) -> Result<Mark, Failure> {
        let run = self.run.id.clone();
        let stream = plan.choice.stream;
        let counts = match known.as_ref().and_then(|mark| mark.run.clone()) {
            // A run that was interrupted goes on with what it had done by its last mark.
            Some((id, counts)) if id == run => counts,
            _ => StreamRun::new(stream),
        };
        let counts = StreamRun { state: RunState::Running, ..counts };
        let mut flow = Flow {
            plan,
            mark: Mark { shape: plan.shape.clone(), ..known.clone().unwrap_or_default() },
            handed: known,
            aside: false,
            parts: Parts::default(),
            counts,
        };
        match plan.choice.mode {
            SyncMode::FullRefreshOverwrite => self.refresh(&mut flow).await?,
            SyncMode::IncrementalDeduplicated => {
                if refreshes {
                    self.refresh(&mut flow).await?;
                }
                self.catch_up(&mut flow).await?;
            }
            SyncMode::IncrementalAppend => self.catch_up(&mut flow).await?,
            SyncMode::FullRefreshAppend => {
                flow.mark.generation = plan.load.generation;
                flow.mark.reading.get_or_insert_default();
                self.everything(&mut flow).await?;
                flow.mark.reading = None;
                self.write(&mut flow, true).await?;
            }
        }
        self.destination.settle(&plan.load).await?;
        flow.counts.state = RunState::Succeeded;
        *self.run.stream(stream) = flow.counts;
        self.show(true).await?;
        Ok(flow.mark)
    }

    /// Everything aside, then in the place of what readers see.
    async fn refresh(&mut self, flow: &mut Flow<'_>) -> Result<(), Failure> {
        let generation = flow.plan.load.generation;
        let tables = flow.plan.load.tables.len();
        let goes_on = flow.mark.reading.as_ref().is_some_and(|reading| reading.tables == tables)
            && flow.mark.generation == generation
            && self.destination.resumes_aside();
        if !goes_on {
            // Known here before anything is sent: a generation that was given up is never used again.
            self.note_generation(flow.plan).await?;
            flow.counts =
                StreamRun { state: RunState::Running, ..StreamRun::new(flow.plan.choice.stream) };
            flow.mark = Mark {
                generation,
                seq: self.head,
                reading: Some(Reading { tables, ..Reading::default() }),
                previous_seq: flow.plan.seen_now.0,
                previous_shape: flow.plan.seen_now.1.clone(),
                run: None,
                shape: flow.plan.shape.clone(),
            };
            self.destination.begin_aside(&flow.plan.load, &flow.mark.text()).await?;
        }
        flow.aside = true;
        if !flow.mark.reading.as_ref().is_some_and(|reading| reading.whole) {
            self.everything(flow).await?;
            // A swap that is interrupted goes on as a swap.
            flow.mark.reading = Some(Reading { tables, whole: true, ..Reading::default() });
            self.write(flow, true).await?;
        }
        flow.aside = false;
        flow.mark.reading = None;
        self.sign(flow);
        self.destination.swap(&flow.plan.load, &flow.mark.text()).await?;
        flow.handed = Some(flow.mark.clone());
        Ok(())
    }

    /// Every record there is, end user by end user, so that the rows of one table come together.
    async fn everything(&mut self, flow: &mut Flow<'_>) -> Result<(), Failure> {
        let mut reading = flow.mark.reading.clone().unwrap_or_default();
        if !reading.end_user.is_empty() {
            let end_user: EndUserId =
                reading.end_user.parse().map_err(|_| Failure::corrupt("a mark"))?;
            self.of_end_user(flow, &end_user, reading.place()).await?;
        }
        loop {
            let after = Some(reading.end_user.as_str()).filter(|id| !id.is_empty());
            let integration = &self.integration.id;
            let page = self.store.end_users(Some(integration), after, PAGE_END_USERS).await?;
            let Some(EndUser { id: last, .. }) = page.last() else { return Ok(()) };
            reading.end_user = last.to_string();
            for end_user in &page {
                self.of_end_user(flow, &end_user.id, Place::default()).await?;
            }
        }
    }

    async fn of_end_user(
        &mut self,
        flow: &mut Flow<'_>,
        end_user: &EndUserId,
        mut after: Place,
    ) -> Result<(), Failure> {
        let what = Extract {
            integration: &self.integration.id,
            end_user,
            stream: flow.plan.choice.stream,
            since: self.since,
            with_raw: flow.plan.needs_raw(),
        };
        loop {
            let page = self.store.extract(&what, &after, PAGE_ROWS).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.place.clone();
            let is_last = i64::try_from(page.len()).is_ok_and(|len| len < PAGE_ROWS);
            self.take(flow, &page);
            flow.mark.reading = Some(Reading {
                end_user: end_user.to_string(),
                first: after.first.clone(),
                second: after.second.clone(),
                tables: flow.plan.load.tables.len(),
                whole: false,
            });
            if flow.parts.len >= BATCH_ROWS {
                self.write(flow, false).await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// What changed since the mark.
    async fn catch_up(&mut self, flow: &mut Flow<'_>) -> Result<(), Failure> {
        let head = self.head;
        let (integration, stream) = (&self.integration.id, flow.plan.choice.stream);
        while flow.mark.seq < head {
            let range = (flow.mark.seq, head);
            let page = self.store.extract_changes(integration, stream, range, PAGE_ROWS).await?;
            let is_last = i64::try_from(page.len()).is_ok_and(|len| len < PAGE_ROWS);
            flow.mark.seq = match page.last() {
                Some(last) if !is_last => last.seq,
                _ => head,
            };
            self.take(flow, &page);
            if flow.parts.len >= BATCH_ROWS {
                self.write(flow, false).await?;
            }
        }
        let moved = flow.handed.as_ref() != Some(&flow.mark);
        self.write(flow, moved).await
    }

    fn take(&mut self, flow: &mut Flow<'_>, page: &[Extracted]) {
        let now = now_cell(self.store.ambient().now());
        for record in page {
            // One that moved to before the beginning goes from where it was.
            let is_too_old = self.is_too_old(record);
            if is_too_old && (flow.plan.load.mode == Mode::Append || record.seq == 0) {
                continue;
            }
            flow.counts.read += 1;
            let bytes = u64::try_from(record.body.len()).unwrap_or(u64::MAX);
            let is_gone = is_too_old || flow.plan.is_gone(record);
            let Some(placed) = flow.plan.place(record, &now) else { continue };
            flow.counts.bytes += bytes;
            flow.parts.add(placed, is_gone);
        }
    }

    /// Records from before the connection's beginning; what is gone is told all the same.
    fn is_too_old(&self, record: &Extracted) -> bool {
        let Some(since) = self.since else { return false };
        if record.kind == ChangeKind::Removed {
            return false;
        }
        #[derive(serde::Deserialize)]
        struct Dated {
            date: Option<jiff::civil::Date>,
        }
        let dated = serde_json::from_str::<Dated>(&record.body).ok();
        dated.and_then(|dated| dated.date).is_some_and(|date| date < since)
    }

    /// Writes the rows that wait, with the mark behind them; with nothing to write only on request.
    async fn write(&mut self, flow: &mut Flow<'_>, even_empty: bool) -> Result<(), Failure> {
        if self.store.is_cancelled(&self.run.id).await? {
            return Err(Failure::Cancelled);
        }
        if flow.parts.len == 0 && !even_empty {
            return Ok(());
        }
        let parts = std::mem::take(&mut flow.parts).tables;
        let (rows, gone) = parts
            .iter()
            .fold((0, 0), |(rows, gone), part| (rows + part.rows.len(), gone + part.gone.len()));
        flow.counts.written += u64::try_from(rows).unwrap_or(0);
        flow.counts.deleted += u64::try_from(gone).unwrap_or(0);
        self.sign(flow);
        let load = &flow.plan.load;
        let batch = Batch { load, aside: flow.aside, parts, mark: flow.mark.text() };
        trial::crash_point("connection.before_write");
        self.destination.write(batch).await?;
        flow.handed = Some(flow.mark.clone());
        trial::crash_point("connection.written");
        if !self.destination.keeps_marks()
            && let Some(mark) = self.destination.mark(&load.id).await?
        {
            self.acknowledge(flow.plan, &mark, 0).await?;
        }
        *self.run.stream(flow.plan.choice.stream) = flow.counts.clone();
        self.show(false).await
    }

    /// Puts the counts of this run into the mark, so that they are as exact as it is.
    fn sign(&self, flow: &mut Flow<'_>) {
        flow.mark.run = Some((self.run.id.clone(), flow.counts.clone()));
    }

    /// Notes that a generation has begun, before the destination hears of it.
    async fn note_generation(&mut self, plan: &StreamPlan) -> Result<(), Failure> {
        let stream = plan.choice.stream;
        let known = self.store.stream_progress(&self.run.connection).await?;
        let mark = known.into_iter().find(|known| known.stream == stream).and_then(|k| k.mark);
        let (generation, refresh_wanted) = (plan.load.generation, 0);
        let progress = StreamProgress { stream, generation, refresh_wanted, mark };
        Ok(self.store.note_stream_progress(&self.run.connection, progress).await?)
    }

    /// Keeps a mark that the destination acknowledged, and takes back the wishes it fulfils.
    pub(crate) async fn acknowledge(
        &mut self,
        plan: &StreamPlan,
        mark: &str,
        fulfilled: i64,
    ) -> Result<(), Failure> {
        let generation = Mark::parse(mark).map_or(plan.load.generation, |mark| mark.generation);
        let progress = StreamProgress {
            stream: plan.choice.stream,
            generation,
            refresh_wanted: fulfilled,
            mark: Some(mark.to_owned()),
        };
        Ok(self.store.note_stream_progress(&self.run.connection, progress).await?)
    }

    async fn show(&mut self, at_once: bool) -> Result<(), Failure> {
        if let Some(watch) = self.watch {
            watch(self.run);
        }
        let now = self.store.ambient().now();
        let waited = now.as_millisecond() - self.shown_at.as_millisecond();
        if at_once || waited >= SHOW_EVERY_MILLIS {
            self.shown_at = now;
            self.store.save_run(self.run).await?;
        }
        Ok(())
    }
}

impl Parts {
    fn add(&mut self, placed: Placed, is_gone: bool) {
        let name = placed.table.to_string();
        let place = *self.by_name.entry(name).or_insert_with(|| {
            let table = Arc::clone(&placed.table);
            self.tables.push(Part { table, rows: Vec::new(), gone: Vec::new() });
            self.tables.len() - 1
        });
        let part = &mut self.tables[place];
        if placed.key.is_empty() {
            part.rows.push(placed.row);
            self.len += 1;
            return;
        }
        let known = self.places.get(&(place, placed.key.clone())).copied();
        if let Some((was_gone, at)) = known {
            if was_gone == is_gone {
                let list = if is_gone { &mut part.gone } else { &mut part.rows };
                list[at] = placed.row;
                return;
            }
            self.forget(place, was_gone, at);
        }
        let part = &mut self.tables[place];
        let list = if is_gone { &mut part.gone } else { &mut part.rows };
        list.push(placed.row);
        let at = list.len() - 1;
        self.places.insert((place, placed.key), (is_gone, at));
        self.len += 1;
    }

    /// Takes a word back that a later one contradicts; the last of the list takes its place.
    fn forget(&mut self, table: usize, was_gone: bool, at: usize) {
        let part = &mut self.tables[table];
        let key_places = part.table.key.clone();
        let list = if was_gone { &mut part.gone } else { &mut part.rows };
        list.swap_remove(at);
        self.len -= 1;
        if let Some(moved) = list.get(at) {
            let key: Vec<Cell> = key_of(moved, &key_places);
            self.places.insert((table, key), (was_gone, at));
        }
    }
}

fn key_of(row: &Row, key: &[usize]) -> Vec<Cell> {
    key.iter().map(|place| row[*place].clone()).collect()
}
