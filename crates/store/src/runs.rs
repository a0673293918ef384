//! Runs of connections: what was asked for, what came of it, exactly, also when it failed.

use jiff::Timestamp;
use model::{ConnectionId, RunId, Stream};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::integrations::parsed;
use crate::records::json;
use crate::statement::declare;
use crate::work::{self, Lease, WorkKind, instant, optional_instant};

declare! {
    ADD =
        "INSERT INTO runs (id, connection, kind, state, cancelled, created_at, body) \
         VALUES ($1, $2, $3, $4, 0, $5, $6)";
    /// What a person asked for besides a load comes first, also while the connection is paused.
    NEXT =
        "SELECT id, connection, kind, state, cancelled, created_at, ended_at, body FROM runs \
         WHERE connection = $1 AND ended_at IS NULL \
         ORDER BY CASE WHEN kind = 'load' THEN 1 ELSE 0 END, id LIMIT 1";
    GET =
        "SELECT id, connection, kind, state, cancelled, created_at, ended_at, body FROM runs \
         WHERE id = $1";
    LIST =
        "SELECT id, connection, kind, state, cancelled, created_at, ended_at, body FROM runs \
         WHERE connection = $1 AND (CAST($2 AS TEXT) IS NULL OR id < $2) ORDER BY id DESC LIMIT $3";
    /// One that has ended stays as it is.
    SAVE =
        "UPDATE runs SET state = $2, ended_at = $3, body = $4 WHERE id = $1 AND ended_at IS NULL";
    CANCEL = "UPDATE runs SET cancelled = 1 WHERE id = $1 AND ended_at IS NULL";
    IS_CANCELLED = "SELECT cancelled FROM runs WHERE id = $1";
    FORGET = "DELETE FROM runs WHERE ended_at < $1";
    FORGET_ONE = "DELETE FROM runs WHERE id = $1";
}

/// Lines of a run's log that are kept.
const LOG_LINES: usize = 500;

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// Writes what is due.
    Load,
    /// Tests whether the destination can be written.
    Check,
    /// Compares source and destination by count and checksum.
    Verify,
    /// Empties the tables, so that the next run builds them anew.
    Reset,
    /// Brings the last generation of the tables back.
    RollBack,
}

impl RunKind {
    /// The name as stored and served.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Check => "check",
            Self::Verify => "verify",
            Self::Reset => "reset",
            Self::RollBack => "roll_back",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Load, Self::Check, Self::Verify, Self::Reset, Self::RollBack]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It has not begun, or waits to be tried again.
    Waiting,
    /// It is under way.
    Running,
    /// It did what was asked.
    Succeeded,
    /// It did not; `outcome` says why.
    Failed,
    /// A person ended it.
    Cancelled,
}

impl RunState {
    /// The name as stored and served.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Waiting, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// One execution of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Our id.
    pub id: RunId,
    /// Of which connection.
    pub connection: ConnectionId,
    /// What it does.
    pub kind: RunKind,
    /// How it stands.
    pub state: RunState,
    /// Whether a person asked for its end.
    pub cancelled: bool,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What came of it.
    pub body: RunBody,
}

/// What came of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunBody {
    /// `person`, `schedule`, `change` or `command`.
    pub cause: String,
    /// When it first began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// Tries so far.
    pub attempts: u32,
    /// What came of it, in words.
    pub outcome: Option<String>,
    /// Exact counts of each stream: what the destination acknowledged.
    pub streams: Vec<StreamRun>,
    /// What happened, in order.
    pub log: Vec<LogLine>,
}

/// What a run did with a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamRun {
    /// Which.
    pub stream: Stream,
    /// Records that were read here.
    pub read: u64,
    /// Rows that were written there.
    pub written: u64,
    /// Rows that were deleted there.
    pub deleted: u64,
    /// Bytes of the records that were written.
    pub bytes: u64,
    /// How the stream stands.
    pub state: RunState,
    /// Source and destination compared, in words, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
}

impl StreamRun {
    /// Nothing done yet.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            read: 0,
            written: 0,
            deleted: 0,
            bytes: 0,
            state: RunState::Waiting,
            verified: None,
        }
    }
}

/// A line of a run's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What happened.
    pub text: String,
}

impl Run {
    /// Adds a line to the log; the oldest goes when there are too many.
    pub fn log(&mut self, at: Timestamp, text: impl Into<String>) {
        if self.body.log.len() == LOG_LINES {
            self.body.log.remove(0);
        }
        self.body.log.push(LogLine { at, text: text.into() });
    }

    /// The counts of a stream.
    pub fn stream(&mut self, stream: Stream) -> &mut StreamRun {
        let place = self.body.streams.iter().position(|run| run.stream == stream);
        let place = place.unwrap_or_else(|| {
            self.body.streams.push(StreamRun::new(stream));
            self.body.streams.len() - 1
        });
        &mut self.body.streams[place]
    }
}

impl Store {
    /// Asks for a run at once.
    pub async fn ask_for_run(
        &self,
        connection: &ConnectionId,
        kind: RunKind,
        cause: &str,
    ) -> Result<RunId, Error> {
        let run = self.new_run(connection, kind, cause);
        let id = run.id.clone();
        let now = self.ambient.now();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    add(connection, &run).await?;
                    let subject = run.connection.as_str();
                    work::poke_by_person(connection, WorkKind::Run, subject, now).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(id)
    }

    fn new_run(&self, connection: &ConnectionId, kind: RunKind, cause: &str) -> Run {
        Run {
            id: RunId::generate(&self.ambient),
            connection: connection.clone(),
            kind,
            state: RunState::Waiting,
            cancelled: false,
            created_at: self.ambient.now(),
            ended_at: None,
            body: RunBody { cause: cause.to_owned(), ..RunBody::default() },
        }
    }

    /// The run that waits longest, if any.
    pub async fn waiting_run(&self, connection: &ConnectionId) -> Result<Option<Run>, Error> {
        let next = sqlx::query(NEXT).bind(connection.to_string());
        self.db.fetch_optional(next).await?.as_ref().map(read).transpose()
    }

    /// Begins the run that waits longest, or else a new load.
    pub async fn begin_run(&self, connection: &ConnectionId, cause: &str) -> Result<Run, Error> {
        let waiting = self.waiting_run(connection).await?;
        let is_new = waiting.is_none();
        let mut run = waiting.unwrap_or_else(|| self.new_run(connection, RunKind::Load, cause));
        let now = self.ambient.now();
        run.body.started_at.get_or_insert(now);
        run.body.attempts += 1;
        run.state = RunState::Running;
        let row = run.clone();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    if is_new { add(connection, &row).await } else { save(connection, &row).await }
                })
            })
            .await?;
        Ok(run)
    }

    /// Keeps how far a run is.
    pub async fn save_run(&self, run: &Run) -> Result<(), Error> {
        let run = run.clone();
        self.db.write(move |connection| Box::pin(async move { save(connection, &run).await })).await
    }

    /// Ends a run and its work in one write; due again at the given time. A run of which nobody need
    /// know is forgotten.
    pub async fn end_run(
        &self,
        run: &Run,
        lease: &Lease,
        next_due: Timestamp,
        is_worth_keeping: bool,
    ) -> Result<(), Error> {
        let (run, lease, now) = (run.clone(), lease.clone(), self.ambient.now());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    if is_worth_keeping {
                        save(connection, &run).await?;
                    } else {
                        let forget = sqlx::query(FORGET_ONE).bind(run.id.to_string());
                        forget.execute(&mut *connection).await?;
                    }
                    let next = sqlx::query(NEXT).bind(run.connection.to_string());
                    let waits = next.fetch_optional(&mut *connection).await?.is_some();
                    let due = if waits { now } else { next_due };
                    work::finish(connection, &lease, now, due).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Puts a run that failed off, for another try.
    pub async fn retry_run(
        &self,
        run: &Run,
        lease: &Lease,
        not_before: Timestamp,
    ) -> Result<(), Error> {
        let (run, lease) = (run.clone(), lease.clone());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    save(connection, &run).await?;
                    let why = run.body.outcome.as_deref().unwrap_or_default();
                    work::fail(connection, &lease, not_before, why).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Asks a run to end; it does so between two batches.
    pub async fn cancel_run(&self, run: &Run) -> Result<(), Error> {
        let (id, subject, now) =
            (run.id.to_string(), run.connection.to_string(), self.ambient.now());
        // One that is at work looks by itself; a poke would start another behind it.
        let sleeps = run.state == RunState::Waiting;
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(CANCEL).bind(id).execute(&mut *connection).await?;
                    match sleeps {
                        true => {
                            work::poke_by_person(connection, WorkKind::Run, &subject, now).await
                        }
                        false => Ok(()),
                    }
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Whether a person asked for a run's end.
    pub async fn is_cancelled(&self, run: &RunId) -> Result<bool, Error> {
        let find = sqlx::query(IS_CANCELLED).bind(run.to_string());
        let row = self.db.fetch_optional(find).await?;
        Ok(row.map(|row| row.try_get::<i64, _>(0)).transpose()? == Some(1))
    }

    /// One run.
    pub async fn run(&self, id: &str) -> Result<Option<Run>, Error> {
        let get = sqlx::query(GET).bind(id.to_owned());
        self.db.fetch_optional(get).await?.as_ref().map(read).transpose()
    }

    /// Runs of a connection, newest first, behind one.
    pub async fn runs(
        &self,
        connection: &ConnectionId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Run>, Error> {
        let list = sqlx::query(LIST).bind(connection.to_string());
        let list = list.bind(after.map(str::to_owned)).bind(limit);
        self.db.fetch_all(list).await?.iter().map(read).collect()
    }

    /// Forgets runs that ended before a time.
    pub async fn forget_runs(&self, before: Timestamp) -> Result<(), Error> {
        self.db.forget(FORGET, before).await?;
        Ok(())
    }
}

async fn add(connection: &mut Connected, run: &Run) -> Result<(), Error> {
    sqlx::query(ADD)
        .bind(run.id.to_string())
        .bind(run.connection.to_string())
        .bind(run.kind.as_str())
        .bind(run.state.as_str())
        .bind(run.created_at.as_microsecond())
        .bind(json(&run.body)?)
        .execute(connection)
        .await?;
    Ok(())
}

async fn save(connection: &mut Connected, run: &Run) -> Result<(), Error> {
    sqlx::query(SAVE)
        .bind(run.id.to_string())
        .bind(run.state.as_str())
        .bind(run.ended_at.map(Timestamp::as_microsecond))
        .bind(json(&run.body)?)
        .execute(connection)
        .await?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<Run, Error> {
    let (kind, state): (String, String) = (row.try_get("kind")?, row.try_get("state")?);
    let body: String = row.try_get("body")?;
    Ok(Run {
        id: parsed(row, "id")?,
        connection: parsed(row, "connection")?,
        kind: RunKind::from_name(&kind).ok_or(Error::corrupt("a kind of run"))?,
        state: RunState::from_name(&state).ok_or(Error::corrupt("the state of a run"))?,
        cancelled: row.try_get::<i64, _>("cancelled")? != 0,
        created_at: instant(row.try_get("created_at")?)?,
        ended_at: optional_instant(row.try_get("ended_at")?)?,
        body: serde_json::from_str(&body).map_err(|_| Error::corrupt("a run"))?,
    })
}
