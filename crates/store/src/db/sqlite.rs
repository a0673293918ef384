//! SQLite: one file, one process that serves, one writer.
//!
//! All writes pass through one task that lets those waiting share a commit, each in a savepoint of
//! its own: durability costs one sync of the disk for many webhooks and pages. Readers have
//! connections of their own and never wait for the writer.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyPool, ConnectOptions, Connection, Executor, Row};
use tokio::sync::{mpsc, oneshot};

use super::migrations::{self, SHARED};
use super::{Connected, OpenError};
use crate::error::Error;
use crate::relocation::refuse_unfinished;

/// Oldest SQLite without the bug that can corrupt a write-ahead log that is reset while two
/// connections write.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);
/// Readers at a time.
const READERS: u32 = 4;
/// Writes that may wait before callers are held back.
const WAITING_WRITES: usize = 4_096;
/// Writes that share a commit, so that none waits for ever.
const SHARED_COMMIT: usize = 256;

/// `FULL` syncs the log at every commit: what was acknowledged survives a loss of power. The cache
/// is in KiB when negative; a busy database (an administrative command) is waited for 10 s.
const WRITER_PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
    PRAGMA busy_timeout = 10000; PRAGMA cache_size = -16384; PRAGMA foreign_keys = ON;";
/// SQLite's number for `PRAGMA synchronous = FULL`.
const SYNCHRONOUS_FULL: i64 = 2;
const READER_PRAGMAS: &str =
    "PRAGMA busy_timeout = 10000; PRAGMA cache_size = -4096; PRAGMA query_only = ON;";

/// An open file.
#[derive(Clone)]
pub(super) struct Sqlite {
    pub(super) readers: AnyPool,
    writer: mpsc::Sender<Job>,
    _lock: Arc<Option<File>>,
}

/// What a finished job does once it is known whether its commit succeeded.
type Settle = Box<dyn FnOnce(Result<(), Error>) + Send>;
/// A write. `Err` asks for its savepoint to be rolled back.
type Job =
    Box<dyn for<'c> FnOnce(&'c mut Connected) -> BoxFuture<'c, Result<Settle, Settle>> + Send>;

impl Sqlite {
    /// Opens the file, made if missing. `exclusive` refuses a second process that serves.
    pub(super) async fn open(path: &Path, exclusive: bool) -> Result<Self, OpenError> {
        let lock = if exclusive { Some(lock(path)?) } else { None };
        let mut writer = connect(path).await?;
        migrations::run(&mut writer, &[&SHARED]).await?;
        refuse_unfinished(&mut writer).await?;
        let readers = AnyPoolOptions::new()
            .max_connections(READERS)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(READER_PRAGMAS).await.map(|_| ()) })
            })
            .connect_with(options(path)?)
            .await?;
        let (sender, jobs) = mpsc::channel(WAITING_WRITES);
        tokio::spawn(write_jobs(writer, jobs));
        Ok(Self { readers, writer: sender, _lock: Arc::new(lock) })
    }

    /// Carries out a write with others in one transaction. Returns once it is durable, or without any
    /// effect.
    pub(super) async fn write<T, F>(&self, write: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connected) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            Box::pin(async move {
                let result = write(connection).await;
                let succeeded = result.is_ok();
                let settle: Settle = Box::new(move |committed| {
                    // A caller that went away needs no answer.
                    let _gone = answer.send(committed.and(result));
                });
                if succeeded { Ok(settle) } else { Err(settle) }
            })
        });
        self.writer.send(job).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Commit("the write could not begin".to_owned()))?
    }
}

/// A durable connection for writing to the file, made if missing.
pub(super) async fn connect(path: &Path) -> Result<Connected, OpenError> {
    make_private(path)?;
    let mut connection = Connected::connect_with(&options(path)?).await?;
    refuse_old(&mut connection).await?;
    make_durable(&mut connection).await?;
    Ok(connection)
}

/// Carries out jobs until the last [`Sqlite`] is gone.
async fn write_jobs(mut connection: Connected, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.recv().await {
        let mut settles = Vec::new();
        let committed = share_commit(&mut connection, &mut jobs, first, &mut settles).await;
        if let Err(error) = &committed {
            tracing::error!(%error, "a commit failed; its writes are undone");
            // Nothing to undo if the transaction never began.
            let _undone = connection.execute("ROLLBACK").await;
        }
        for settle in settles {
            settle(match &committed {
                Ok(()) => Ok(()),
                Err(error) => Err(Error::Commit(error.to_string())),
            });
        }
    }
    let _closed = connection.close().await;
}

async fn share_commit(
    connection: &mut Connected,
    jobs: &mut mpsc::Receiver<Job>,
    first: Job,
    settles: &mut Vec<Settle>,
) -> Result<(), sqlx::Error> {
    let mut next = Some(first);
    connection.execute("BEGIN IMMEDIATE").await?;
    while let Some(job) = next.take() {
        connection.execute("SAVEPOINT job").await?;
        match job(connection).await {
            Ok(settle) => settles.push(settle),
            Err(settle) => {
                settles.push(settle);
                connection.execute("ROLLBACK TO job").await?;
            }
        }
        connection.execute("RELEASE job").await?;
        if settles.len() < SHARED_COMMIT {
            next = jobs.try_recv().ok();
        }
    }
    connection.execute("COMMIT").await.map(|_| ())
}

fn options(path: &Path) -> Result<AnyConnectOptions, OpenError> {
    let encoded = path.to_str().ok_or(OpenError::Url)?.replace('%', "%25");
    let encoded = encoded.replace('?', "%3F").replace('#', "%23");
    let options = AnyConnectOptions::from_str(&format!("sqlite://{encoded}?mode=rwc"))?;
    // The text of a statement for hundreds of rows tells nobody anything.
    Ok(options.disable_statement_logging())
}

/// Bank data is for the owner alone; SQLite gives its log the mode of the database file.
fn make_private(path: &Path) -> Result<(), OpenError> {
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    made.map(|_| ()).map_err(|source| OpenError::File { path: path.to_owned(), source })
}

/// Keeps other processes from serving the file.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let failed = |source| OpenError::File { path: lock_path.clone(), source };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

async fn refuse_old(connection: &mut Connected) -> Result<(), OpenError> {
    let row = connection.fetch_one("SELECT sqlite_version()").await?;
    let found: String = row.try_get(0)?;
    if is_too_old(&found) { Err(OpenError::OldSqlite { found }) } else { Ok(()) }
}

fn is_too_old(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    (part(), part(), part()) < OLDEST_SQLITE
}

/// What the promises rest on is asked for and then looked at.
async fn make_durable(connection: &mut Connected) -> Result<(), OpenError> {
    connection.execute(WRITER_PRAGMAS).await?;
    let journal: String = connection.fetch_one("PRAGMA journal_mode").await?.try_get(0)?;
    let synchronous: i64 = connection.fetch_one("PRAGMA synchronous").await?.try_get(0)?;
    let durable = journal == "wal" && synchronous == SYNCHRONOUS_FULL;
    if durable { Ok(()) } else { Err(OpenError::NotDurable { journal, synchronous }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlite_that_can_corrupt_its_log_is_too_old() {
        for (version, too_old) in [
            ("3.7.0", true),
            ("3.40.1", true),
            ("3.51.2", true),
            ("3.51.3", false),
            ("3.53.2", false),
            ("4.0.0", false),
        ] {
            assert_eq!(is_too_old(version), too_old, "{version}");
        }
    }
}
