//! Opens a database, and the one way to read and to write it. The only files that name a driver are
//! here: `sqlite` is a file with one writer, `postgres` a server that many processes share, `dialect`
//! the little in which their SQL differs, `migrations` the schema of both.

pub(crate) mod dialect;
mod migrations;
mod postgres;
mod sqlite;

use std::fs::File;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use model::IntegrationId;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::migrate::{MigrateError, Migrator};

pub use self::migrations::Migration;
use self::migrations::{POSTGRES, SHARED};
use self::postgres::Postgres;
pub use self::postgres::{PostgresUrl, Worry};
use self::sqlite::Sqlite;
use crate::error::Error;
use crate::seal::SealError;
use crate::work::{self, Lease};

/// A connection in a write.
pub(crate) type Connected = sqlx::AnyConnection;
/// A statement with its values.
pub(crate) type Query = sqlx::query::Query<'static, sqlx::Any, AnyArguments>;

/// Which database to open.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file on this machine, for one process.
    Sqlite {
        /// Its path; made if missing.
        path: PathBuf,
        /// Whether this process is the one that serves; a second one is refused.
        exclusive: bool,
    },
    /// A server that many processes share.
    Postgres(PostgresUrl),
}

impl Database {
    /// Reads `sqlite:PATH` or `postgres://…`.
    pub fn parse(url: &str, exclusive: bool) -> Result<Self, OpenError> {
        match url.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => {
                let path = path.strip_prefix("//").unwrap_or(path);
                Ok(Self::Sqlite { path: PathBuf::from(path), exclusive })
            }
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(PostgresUrl::parse(url)?)),
            _ => Err(OpenError::Url),
        }
    }

    /// Which migrations are missing. Changes nothing but that a missing file is made.
    pub async fn pending_migrations(&self) -> Result<Vec<Migration>, OpenError> {
        let (mut connection, migrators) = self.connect_as_owner().await?;
        migrations::pending(&mut connection, &migrators).await
    }

    /// Lets a role read and write every table there is, and nothing else.
    pub async fn grant_to(&self, role: &str) -> Result<(), OpenError> {
        sqlx::any::install_default_drivers();
        match self {
            Self::Sqlite { .. } => Ok(()),
            Self::Postgres(url) => postgres::grant_to(url, role).await,
        }
    }

    /// Brings the schema up to date; may be killed and begun again at any moment.
    pub async fn migrate(&self) -> Result<(), OpenError> {
        let (mut connection, migrators) = self.connect_as_owner().await?;
        migrations::run(&mut connection, &migrators).await
    }

    /// A connection that may change the schema, and the migrations that make it.
    async fn connect_as_owner(&self) -> Result<(Connected, Vec<&'static Migrator>), OpenError> {
        sqlx::any::install_default_drivers();
        Ok(match self {
            Self::Sqlite { path, .. } => (sqlite::connect(path).await?, vec![&*SHARED]),
            Self::Postgres(url) => {
                (postgres::connect_as_owner(url).await?, vec![&*SHARED, &*POSTGRES])
            }
        })
    }
}

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a URL of a database this program can use.
    #[error(
        "the database URL must have the form sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE"
    )]
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
    /// The server cannot keep what this program promises.
    #[error("PostgreSQL at {place}: {why}. {fix}")]
    Unfit {
        /// Host and database.
        place: String,
        /// What is wrong.
        why: String,
        /// What to do about it.
        fix: String,
    },
    /// The server cannot be reached.
    #[error("PostgreSQL at {place} cannot be reached: {source}")]
    Unreachable {
        /// Host and database.
        place: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// The schema is older than this program.
    #[error(
        "the schema of {place} lacks {missing} migrations; run `selvedge migrate` with a role that owns the tables"
    )]
    Behind {
        /// Host and database.
        place: String,
        /// How many.
        missing: usize,
    },
    /// A move into this database has not ended.
    #[error(
        "an installation is being moved into this database; run `selvedge move` again until it ends"
    )]
    HalfMoved,
    /// What is in this database lives elsewhere now.
    #[error("this installation was moved to {place}; set SELVEDGE_DATABASE_URL to that database")]
    MovedAway {
        /// Host and database.
        place: String,
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

/// Both ends of a move.
pub(crate) struct Relocated {
    pub(crate) old: Connected,
    pub(crate) new: Connected,
    /// Host and database of the new one.
    pub(crate) place: String,
    /// Held, nobody serves from the old one.
    pub(crate) lock: File,
}

/// Opens both ends of a move with their schemas up to date; nothing if they are not what they have to be.
pub(crate) async fn open_for_relocation(
    from: &Database,
    to: &Database,
) -> Result<Option<Relocated>, OpenError> {
    let (Database::Sqlite { path, .. }, Database::Postgres(url)) = (from, to) else {
        return Ok(None);
    };
    let lock = sqlite::lock(path)?;
    from.migrate().await?;
    to.migrate().await?;
    let old = sqlite::connect(path).await?;
    let new = postgres::connect_as_owner(url).await?;
    Ok(Some(Relocated { old, new, place: url.place().to_owned(), lock }))
}

/// An open database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Db {
    engine: Engine,
    /// Every write proves that this is held.
    lease: Option<Lease>,
}

#[derive(Clone)]
enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Db {
    pub(crate) async fn open(database: &Database) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        let engine = match database {
            Database::Sqlite { path, exclusive } => {
                Engine::Sqlite(Sqlite::open(path, *exclusive).await?)
            }
            Database::Postgres(url) => Engine::Postgres(Postgres::open(url).await?),
        };
        Ok(Self { engine, lease: None })
    }

    /// The same database, of which PostgreSQL shows nothing but what belongs to one integration.
    pub(crate) fn within(&self, integration: &IntegrationId) -> Self {
        let engine = match &self.engine {
            Engine::Sqlite(sqlite) => Engine::Sqlite(sqlite.clone()),
            Engine::Postgres(postgres) => Engine::Postgres(postgres.within(integration)),
        };
        Self { engine, lease: self.lease.clone() }
    }

    /// The same database, to which nothing is written any more once a lease is lost.
    pub(crate) fn under(&self, lease: &Lease) -> Self {
        Self { engine: self.engine.clone(), lease: Some(lease.clone()) }
    }

    /// Whether other processes may work on the same database.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.engine, Engine::Postgres(_))
    }

    /// What an operator should know of the database; nothing when all is well.
    pub(crate) fn worries(&self) -> &[Worry] {
        match &self.engine {
            Engine::Sqlite(_) => &[],
            Engine::Postgres(postgres) => postgres.worries(),
        }
    }

    /// All rows of a statement that only reads.
    pub(crate) async fn fetch_all(&self, query: Query) -> Result<Vec<AnyRow>, Error> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(query.fetch_all(&sqlite.readers).await?),
            Engine::Postgres(postgres) => Box::pin(postgres.fetch_all(query)).await,
        }
    }

    /// The first row of a statement that only reads, if there is one.
    pub(crate) async fn fetch_optional(&self, query: Query) -> Result<Option<AnyRow>, Error> {
        match &self.engine {
            Engine::Sqlite(sqlite) => Ok(query.fetch_optional(&sqlite.readers).await?),
            Engine::Postgres(_) => Ok(self.fetch_all(query).await?.into_iter().next()),
        }
    }

    /// The one row of a statement that only reads.
    pub(crate) async fn fetch_one(&self, query: Query) -> Result<AnyRow, Error> {
        let row = self.fetch_optional(query).await?;
        row.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// Carries out a write in one transaction. Returns once it is durable, or without any effect. Where
    /// others write at the same time it may be carried out again from its beginning, never in parts.
    pub(crate) async fn write<T, F>(&self, write: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connected) -> BoxFuture<'c, Result<T, Error>>
            + Clone
            + Send
            + 'static,
    {
        match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.write(fenced(write, self.lease.clone())).await,
            Engine::Postgres(postgres) => {
                Box::pin(postgres.write(fenced(write, self.lease.clone()))).await
            }
        }
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

/// A write that proves at its end that a lease is held, if there is one.
fn fenced<T, F>(
    write: F,
    lease: Option<Lease>,
) -> impl for<'c> FnOnce(&'c mut Connected) -> BoxFuture<'c, Result<T, Error>> + Clone + Send + 'static
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut Connected) -> BoxFuture<'c, Result<T, Error>>
        + Clone
        + Send
        + 'static,
{
    move |connection| {
        Box::pin(async move {
            let value = write(connection).await?;
            if let Some(lease) = lease {
                work::hold(connection, &lease).await?;
            }
            Ok(value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_which_engine() {
        let path = |url| match Database::parse(url, false) {
            Ok(Database::Sqlite { path, .. }) => Some(path),
            _ => None,
        };
        assert_eq!(path("sqlite:/tmp/a.db").unwrap(), PathBuf::from("/tmp/a.db"));
        assert_eq!(path("sqlite:///tmp/a.db").unwrap(), PathBuf::from("/tmp/a.db"));
        let parsed = |url| Database::parse(url, false);
        assert!(matches!(parsed("postgres://u@host/db"), Ok(Database::Postgres(_))));
        assert!(parsed("mysql://host/db").is_err() && parsed("sqlite:").is_err());
    }
}
