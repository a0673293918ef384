//! PostgreSQL: a server that many processes share.
//!
//! Every statement is part of a transaction that says at its beginning what may be seen: everything, or
//! one integration. So row-level security holds whatever the statement says, and a pooler that gives a
//! connection to somebody else after each transaction changes nothing. Writes run at READ COMMITTED and
//! hold the rows they decide by; one that collides with another is undone and carried out again.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use model::IntegrationId;
use secrecy::{ExposeSecret, SecretString};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::{AnyPool, AssertSqlSafe, ConnectOptions, Connection, Executor, Row, Transaction};

use super::migrations::{self, POSTGRES, SHARED};
use super::{Connected, OpenError, Query};
use crate::error::Error;
use crate::relocation::refuse_unfinished;

/// Oldest server this program is tested with, as the server numbers itself.
const OLDEST_SERVER: i64 = 150_000;
/// Connections of one process, unless the URL says otherwise. Half a dozen keep two cores of a server
/// busy; more processes are the way to more.
const CONNECTIONS: u32 = 8;
/// How long a caller waits for one of them.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(10);
/// Times that a write is begun which collides with others.
const MOST_ATTEMPTS: u32 = 12;
/// Pause before the next attempt, for each one so far.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(5);
/// Why a write may be begun again: not serialisable, a deadlock, a key that another has just written, a
/// row that is held too long, a row whose owner has just been deleted (which row-level security sees).
const COLLISIONS: [&str; 5] = ["40001", "40P01", "23505", "55P03", "42501"];

/// The server ends a transaction whose process has stopped in the middle, and does not let a statement
/// wait for ever on rows that are held.
const LIMITS: &str = "SET LOCAL idle_in_transaction_session_timeout = '10s'; \
    SET LOCAL lock_timeout = '20s'";
/// What sees every integration: workers and the whole installation's API.
const EVERYTHING: &str = "*";
/// The same for a connection that is used for nothing else.
const SEE_EVERYTHING: &str = "SET selvedge.integration = '*'";

/// A URL, with what this program reads from it itself.
#[derive(Clone)]
pub struct PostgresUrl {
    url: SecretString,
    place: String,
    connections: u32,
    /// Whether a pooler is in between that hands connections on after each transaction.
    pooled: bool,
}

impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PostgreSQL at {}", self.place)
    }
}

impl PostgresUrl {
    /// Reads `postgres://…`. Parameters of this program: `connections=N`, and `pgbouncer=true` for a
    /// pooler in transaction mode; the others are the driver's, like `sslmode`.
    pub(super) fn parse(text: &str) -> Result<Self, OpenError> {
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut connections, mut pooled, mut rest) = (CONNECTIONS, false, Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("connections", count)) => {
                    connections = count.parse().ok().filter(|n| *n > 0).ok_or(OpenError::Url)?;
                }
                Some(("pgbouncer", yes)) => pooled = yes == "true",
                _ => rest.push(parameter),
            }
        }
        if pooled {
            rest.push("statement-cache-capacity=0");
        }
        let url = format!("{address}?{}", rest.join("&"));
        AnyConnectOptions::from_str(&url).map_err(|_| OpenError::Url)?;
        // What stands before the last @ may be a password.
        let (_, place) = address.rsplit_once('@').or(address.split_once("://")).unwrap_or_default();
        let place = match place.trim_matches('/') {
            "" => "the local socket".to_owned(),
            place => place.to_owned(),
        };
        Ok(Self { url: SecretString::from(url), place, connections, pooled })
    }

    /// Host and database, without user and password.
    pub fn place(&self) -> &str {
        &self.place
    }

    fn options(&self) -> Result<AnyConnectOptions, OpenError> {
        let options = AnyConnectOptions::from_str(self.url.expose_secret());
        // The text of a statement for hundreds of rows tells nobody anything.
        Ok(options.map_err(|_| OpenError::Url)?.disable_statement_logging())
    }

    fn unreachable(&self, source: sqlx::Error) -> OpenError {
        OpenError::Unreachable { place: self.place.clone(), source }
    }
}

/// Something that an operator should know, in words, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worry {
    /// What is not as it should be.
    pub why: String,
    /// What to do.
    pub fix: String,
}

/// A pool of connections to one server.
#[derive(Clone)]
pub(super) struct Postgres {
    pool: AnyPool,
    worries: Arc<[Worry]>,
    begin_reading: Arc<str>,
    begin_writing: Arc<str>,
    pooled: bool,
    connections: u32,
}

impl Postgres {
    /// Looks whether the server keeps what is promised, and whether its schema is this program's.
    pub(super) async fn open(url: &PostgresUrl) -> Result<Self, OpenError> {
        let pool = AnyPoolOptions::new()
            .max_connections(url.connections)
            .acquire_timeout(ACQUIRE_WITHIN)
            // The beginning of a transaction is the test, and is made again on another connection.
            .test_before_acquire(false)
            .connect_with(url.options()?)
            .await
            .map_err(|error| url.unreachable(error))?;
        let postgres = Self {
            pool,
            worries: Arc::from([]),
            begin_reading: Arc::from(""),
            begin_writing: Arc::from(""),
            pooled: url.pooled,
            connections: url.connections,
        };
        let postgres = postgres.seeing(EVERYTHING);
        let mut look = postgres.begin(&postgres.begin_reading).await?;
        let worries = inspect(&mut look, url).await?;
        check_privileges(&mut look, url).await?;
        let missing = migrations::pending(&mut look, &[&SHARED, &POSTGRES]).await?.len();
        if missing > 0 {
            return Err(OpenError::Behind { place: url.place.clone(), missing });
        }
        refuse_unfinished(&mut look).await?;
        look.commit().await?;
        Ok(Self { worries: worries.into(), ..postgres })
    }

    /// The same pool, through which only one integration is seen.
    pub(super) fn within(&self, integration: &IntegrationId) -> Self {
        self.clone().seeing(integration.as_str())
    }

    fn seeing(mut self, whose: &str) -> Self {
        // Behind a pooler the connection may hold statements that another process prepared.
        let forget = if self.pooled { "DEALLOCATE ALL; " } else { "" };
        let whose = whose.replace('\'', "");
        let begin = |mode: &str| {
            let see = format!("SET LOCAL selvedge.integration = '{whose}'");
            Arc::from(format!("BEGIN {mode}; {forget}{LIMITS}; {see}"))
        };
        self.begin_reading = begin("ISOLATION LEVEL READ COMMITTED READ ONLY");
        self.begin_writing = begin("ISOLATION LEVEL READ COMMITTED READ WRITE");
        self
    }

    pub(super) fn worries(&self) -> &[Worry] {
        &self.worries
    }

    /// All rows of a statement that only reads.
    pub(super) async fn fetch_all(&self, query: Query) -> Result<Vec<AnyRow>, Error> {
        let mut reading = self.begin(&self.begin_reading).await?;
        let rows = query.fetch_all(&mut *reading).await?;
        reading.commit().await?;
        Ok(rows)
    }

    /// Begins on a connection that lives: those that died while nobody used them are passed over.
    async fn begin(&self, text: &str) -> Result<Transaction<'static, sqlx::Any>, Error> {
        let mut left = self.connections;
        loop {
            match self.pool.begin_with(AssertSqlSafe(text.to_owned())).await {
                Err(error) if left > 0 && is_broken(&error) => left -= 1,
                begun => return Ok(begun?),
            }
        }
    }

    /// Carries out a write in a transaction of its own, again if it collides with another.
    pub(super) async fn write<T, F>(&self, write: F) -> Result<T, Error>
    where
        F: for<'c> FnOnce(&'c mut Connected) -> BoxFuture<'c, Result<T, Error>> + Clone,
    {
        let mut attempt = 1;
        loop {
            let mut transaction = self.begin(&self.begin_writing).await?;
            let failed = match write.clone()(&mut transaction).await {
                Ok(value) => match transaction.commit().await {
                    Ok(()) => return Ok(value),
                    Err(error) if collides(&error) => Error::Database(error),
                    // Nobody knows whether it holds. Whoever asked asks again, and finds out.
                    Err(error) => return Err(Error::Commit(error.to_string())),
                },
                Err(error) => {
                    // A connection that is gone has nothing to undo.
                    let _undone = transaction.rollback().await;
                    error
                }
            };
            match &failed {
                Error::Database(error) if attempt < MOST_ATTEMPTS && collides(error) => {}
                _ => return Err(failed),
            }
            tracing::debug!(error = %failed, attempt, "a write collided and is carried out again");
            tokio::time::sleep(BETWEEN_ATTEMPTS * attempt).await;
            attempt += 1;
        }
    }
}

fn collides(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| COLLISIONS.contains(&code.as_ref()))
}

/// Whether the connection is gone rather than the statement wrong: also when the server says that it
/// is going.
fn is_broken(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
        }
        _ => false,
    }
}

async fn connect(url: &PostgresUrl) -> Result<Connected, OpenError> {
    let connection = Connected::connect_with(&url.options()?).await;
    connection.map_err(|error| url.unreachable(error))
}

/// A connection for changing the schema, which sees all rows it may have to rewrite for as long as it
/// lives; so it must not be one that a pooler hands on.
pub(super) async fn connect_as_owner(url: &PostgresUrl) -> Result<Connected, OpenError> {
    if url.pooled {
        return Err(OpenError::Unfit {
            place: url.place.clone(),
            why: "a pooler stands before it".to_owned(),
            fix: "Migrate and move at the server's own address, without pgbouncer=true".to_owned(),
        });
    }
    let mut connection = connect(url).await?;
    inspect(&mut connection, url).await?;
    connection.execute(SEE_EVERYTHING).await?;
    Ok(connection)
}

/// Whether the server keeps what is promised. What breaks a promise is refused, what weakens one is
/// told.
async fn inspect(connection: &mut Connected, url: &PostgresUrl) -> Result<Vec<Worry>, OpenError> {
    let unfit = |why: String, fix: &str| OpenError::Unfit {
        place: url.place.clone(),
        why,
        fix: fix.to_owned(),
    };
    let facts = "SELECT CAST(current_setting('server_version_num') AS BIGINT) AS version, \
            current_setting('fsync') AS fsync, \
            current_setting('full_page_writes') AS full_page_writes, \
            current_setting('synchronous_commit') AS synchronous_commit, \
            CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END AS standby, \
            CASE WHEN rolsuper OR rolbypassrls THEN 1 ELSE 0 END AS unbound, \
            CAST(rolname AS TEXT) AS role \
         FROM pg_roles WHERE rolname = current_user";
    let row = connection.fetch_one(facts).await?;
    let version: i64 = row.try_get("version")?;
    if version < OLDEST_SERVER {
        let why = format!("it is version {}, and 15 is the oldest that will do", version / 10_000);
        return Err(unfit(why, "Upgrade the server"));
    }
    if row.try_get::<i32, _>("standby")? == 1 {
        let why = "it is a standby, on which nothing can be written".to_owned();
        return Err(unfit(why, "Use the address of the primary"));
    }
    for (setting, why) in [
        ("fsync", "a loss of power can destroy the database (fsync is off)"),
        ("synchronous_commit", "what was acknowledged can be lost (synchronous_commit is off)"),
    ] {
        if row.try_get::<String, _>(setting)? == "off" {
            let fix = format!("Set {setting} = on in postgresql.conf and reload");
            return Err(unfit(why.to_owned(), &fix));
        }
    }
    let mut worries = Vec::new();
    if row.try_get::<String, _>("full_page_writes")? == "off" {
        worries.push(Worry {
            why: "full_page_writes is off: a loss of power can tear pages".to_owned(),
            fix: "Set full_page_writes = on, unless the file system writes pages whole".to_owned(),
        });
    }
    if row.try_get::<i32, _>("unbound")? == 1 {
        let role: String = row.try_get("role")?;
        worries.push(Worry {
            why: format!("the role {role} is bound by no row-level security"),
            fix: "Serve with a role that is neither superuser nor BYPASSRLS; \
                  `selvedge migrate --grant-to ROLE` gives it what it needs"
                .to_owned(),
        });
    }
    Ok(worries)
}

async fn check_privileges(connection: &mut Connected, url: &PostgresUrl) -> Result<(), OpenError> {
    let lacking = "SELECT CAST(c.relname AS TEXT) AS lacking FROM pg_class c \
         WHERE c.relkind = 'r' AND c.relnamespace = \
            (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('items')) \
         AND NOT (has_table_privilege(c.oid, 'SELECT') \
            AND (c.relname LIKE '\\_sqlx%' OR (has_table_privilege(c.oid, 'INSERT') \
                AND has_table_privilege(c.oid, 'UPDATE') \
                AND has_table_privilege(c.oid, 'DELETE')))) ORDER BY 1";
    let Some(row) = connection.fetch_optional(lacking).await? else { return Ok(()) };
    let table: String = row.try_get("lacking")?;
    Err(OpenError::Unfit {
        place: url.place.clone(),
        why: format!("this role may not read and write the table {table}"),
        fix: "Run `selvedge migrate --grant-to ROLE` as the owner of the tables".to_owned(),
    })
}

/// Lets the role that serves read and write every table there is, and nothing else.
pub(super) async fn grant_to(url: &PostgresUrl, role: &str) -> Result<(), OpenError> {
    let mut connection = connect_as_owner(url).await?;
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    let tables = "SELECT CAST(c.relname AS TEXT) AS name FROM pg_class c \
         WHERE c.relkind = 'r' AND c.relnamespace = \
            (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('items')) ORDER BY 1";
    for row in connection.fetch_all(tables).await? {
        let table: String = row.try_get("name")?;
        let may = match table.starts_with("_sqlx") {
            true => "SELECT",
            false => "SELECT, INSERT, UPDATE, DELETE",
        };
        let grant = format!("GRANT {may} ON \"{table}\" TO {role}");
        connection.execute(AssertSqlSafe(grant)).await?;
    }
    connection.close().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_never_shows_its_password() {
        let url = PostgresUrl::parse("postgres://me:p%40ss@db.example:5432/bank?sslmode=require");
        let url = url.unwrap();
        assert_eq!(format!("{url:?}"), "PostgreSQL at db.example:5432/bank");
    }

    #[test]
    fn parameters_of_this_program_are_taken_out() {
        let url = PostgresUrl::parse("postgres://h/d?connections=3&pgbouncer=true").unwrap();
        assert_eq!((url.connections, url.pooled), (3, true));
        assert!(url.url.expose_secret().ends_with("?statement-cache-capacity=0"));
        assert!(PostgresUrl::parse("postgres://h/d?connections=0").is_err());
    }
}
