//! Opens a database, and the one way to write to it. The only file that names a driver.
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
use jiff::Timestamp;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AnyPool, Connection, Executor, Row};
use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::seal::SealError;

/// A connection in a write.
pub(crate) type Connected = sqlx::AnyConnection;

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

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Which database to open.
#[derive(Debug, Clone)]
pub struct Database {
    /// Path of the SQLite file; made if missing.
    pub path: PathBuf,
    /// Whether this process is the one that serves; a second one is refused.
    pub exclusive: bool,
}

impl Database {
    /// Reads `sqlite:PATH`.
    pub fn parse(url: &str, exclusive: bool) -> Result<Self, OpenError> {
        match url.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => {
                let path = path.strip_prefix("//").unwrap_or(path);
                Ok(Self { path: PathBuf::from(path), exclusive })
            }
            _ => Err(OpenError::Url),
        }
    }
}

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a URL of a database this program can use.
    #[error("the database URL must have the form sqlite:PATH")]
    Url,
    /// Another process serves from this file.
    #[error("{} is in use by another selvedge process; stop it, or use another data folder", path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The file or its folder cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The linked SQLite can corrupt its log.
    #[error("SQLite {found} can corrupt its write-ahead log; this program needs 3.51.3 or newer")]
    OldSqlite {
        /// The linked version.
        found: String,
    },
    /// The file system cannot give what durability needs.
    #[error(
        "the database cannot be made durable here (journal {journal}, synchronous {synchronous}); use a local disk"
    )]
    NotDurable {
        /// The journal mode that is in force.
        journal: String,
        /// The level of syncing that is in force.
        synchronous: i64,
    },
    /// A newer program wrote this database.
    #[error(
        "the database was written by a newer version of selvedge (schema {version}); upgrade this program"
    )]
    Newer {
        /// The schema version this program does not know.
        version: i64,
    },
    /// The schema could not be brought up to date.
    #[error("the schema could not be brought up to date: {0}")]
    Migrate(MigrateError),
    /// The master key does not belong to this database.
    #[error(
        "the master key is not the one this database was sealed with; restore the key file that belongs to it"
    )]
    MasterKey,
    /// The database said no.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<SealError> for OpenError {
    fn from(_: SealError) -> Self {
        Self::MasterKey
    }
}

/// An open database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Db {
    readers: AnyPool,
    writer: mpsc::Sender<Job>,
    _lock: Arc<Option<File>>,
}

/// What a finished job does once it is known whether its commit succeeded.
type Settle = Box<dyn FnOnce(Result<(), Error>) + Send>;
/// A write. `Err` asks for its savepoint to be rolled back.
type Job =
    Box<dyn for<'c> FnOnce(&'c mut Connected) -> BoxFuture<'c, Result<Settle, Settle>> + Send>;

impl Db {
    pub(crate) async fn open(database: &Database) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        let lock = if database.exclusive { Some(lock(&database.path)?) } else { None };
        make_private(&database.path)?;
        let options = options(&database.path)?;
        let mut writer = sqlx::AnyConnection::connect_with(&options).await?;
        refuse_old_sqlite(&mut writer).await?;
        make_durable(&mut writer).await?;
        migrate(&mut writer).await?;
        trial::crash_point("migration.done");
        let readers = AnyPoolOptions::new()
            .max_connections(READERS)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(READER_PRAGMAS).await.map(|_| ()) })
            })
            .connect_with(options)
            .await?;
        let (sender, jobs) = mpsc::channel(WAITING_WRITES);
        tokio::spawn(write_jobs(writer, jobs));
        Ok(Self { readers, writer: sender, _lock: Arc::new(lock) })
    }

    /// Where reads go.
    pub(crate) fn readers(&self) -> &AnyPool {
        &self.readers
    }

    /// Carries out a write in one transaction. Returns once it is durable, or without any effect.
    pub(crate) async fn write<T, F>(&self, write: F) -> Result<T, Error>
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

    /// Carries out a statement that forgets what is older than a time. Gives how many rows it forgot.
    pub(crate) async fn forget(
        &self,
        statement: &'static str,
        before: Timestamp,
    ) -> Result<u64, Error> {
        self.write(move |connection| {
            Box::pin(async move {
                let forget = sqlx::query(statement).bind(before.as_microsecond());
                Ok(forget.execute(connection).await?.rows_affected())
            })
        })
        .await
    }
}

/// Carries out jobs until the last [`Db`] is gone.
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
    Ok(AnyConnectOptions::from_str(&format!("sqlite://{encoded}?mode=rwc"))?)
}

/// Bank data is for the owner alone; SQLite gives its log the mode of the database file.
fn make_private(path: &Path) -> Result<(), OpenError> {
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    made.map(|_| ()).map_err(|source| OpenError::File { path: path.to_owned(), source })
}

fn lock(path: &Path) -> Result<File, OpenError> {
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

async fn refuse_old_sqlite(connection: &mut Connected) -> Result<(), OpenError> {
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

async fn migrate(connection: &mut Connected) -> Result<(), OpenError> {
    MIGRATIONS.run(connection).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => OpenError::Newer { version },
        other => OpenError::Migrate(other),
    })
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

    #[test]
    fn only_sqlite_urls_are_taken() {
        let path = |url| Database::parse(url, false).map(|database| database.path);
        assert_eq!(path("sqlite:/tmp/a.db").unwrap(), PathBuf::from("/tmp/a.db"));
        assert_eq!(path("sqlite:///tmp/a.db").unwrap(), PathBuf::from("/tmp/a.db"));
        assert!(path("postgres://host/db").is_err() && path("sqlite:").is_err());
    }
}
