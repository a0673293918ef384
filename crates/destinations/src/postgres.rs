//! PostgreSQL: batches by COPY into a table of the session, merged from there in one transaction.

use std::fmt::Write as _;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use model::FieldKind;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row as _};

use crate::destination::{DestinationError, EachRow};
use crate::sql::{Dialect, Engine, Limits, quoted};
use crate::table::{Column, Row};

/// Text sent at once in a COPY.
const COPY_BYTES: usize = 256 * 1024;
/// Longest identifier of PostgreSQL, in bytes.
const NAME_LIMIT: usize = 63;
/// A process that stopped in the middle of a batch gives its load back after a minute; who waits for it
/// is told, and tries again.
const WAITING: Limits = Limits {
    begin: "SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL lock_timeout = '30s'",
    end: "SET LOCAL lock_timeout TO DEFAULT",
};

/// A connection to PostgreSQL.
pub struct Postgres {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    dialect: Dialect,
}

impl Postgres {
    /// Takes a URL; connects when it is first used.
    pub fn new(url: &SecretString, schema: &str) -> Result<Self, DestinationError> {
        let options: PgConnectOptions = url.expose_secret().parse().map_err(|_| {
            DestinationError::settings(
                "postgres url",
                "it cannot be read",
                "Write it as postgres://user:password@host:5432/database",
            )
        })?;
        let dialect = Dialect {
            engine: "postgres",
            column_type,
            catalog_type,
            catalog: "SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, NULL) \
                FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
                JOIN pg_namespace n ON n.oid = c.relnamespace \
                WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped \
                AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
                ORDER BY 1, 2, a.attnum",
            schema: Some(schema.to_owned()),
            name_limit: NAME_LIMIT,
            has_keys: true,
            most_renamed: usize::MAX,
            as_text: |_, column| format!("{column}::text"),
            waiting: WAITING,
        };
        let options = options.application_name("selvedge").disable_statement_logging();
        Ok(Self { options, connection: None, dialect })
    }

    /// Connects where that has not been done, or was lost.
    async fn connected(&mut self) -> Result<&mut PgConnection, DestinationError> {
        if self.connection.is_none() {
            let connection = self.options.connect().await;
            let mut connection = connection.map_err(|error| self.worded(error))?;
            let utc = connection.execute("SET TIME ZONE 'UTC'").await;
            utc.map_err(|error| self.worded(error))?;
            self.connection = Some(connection);
        }
        self.connection
            .as_mut()
            .ok_or_else(|| DestinationError::passing("postgres", "not connected"))
    }

    fn worded(&self, error: sqlx::Error) -> DestinationError {
        worded(&format!("postgres {}", self.options.get_host()), error)
    }

    /// A connection that broke is not used again.
    fn failed(&mut self, error: sqlx::Error) -> DestinationError {
        if error.as_database_error().is_none() {
            self.connection = None;
        }
        self.worded(error)
    }
}

#[async_trait]
impl Engine for Postgres {
    fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    async fn execute(&mut self, sql: &str) -> Result<(), DestinationError> {
        let done = self.connected().await?.execute(AssertSqlSafe(sql)).await;
        done.map(|_| ()).map_err(|error| self.failed(error))
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<Row>, DestinationError> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(self.connected().await?).await;
        Ok(rows.map_err(|error| self.failed(error))?.iter().map(cells).collect())
    }

    async fn insert(
        &mut self,
        name: &str,
        columns: &[Column],
        rows: &[Row],
    ) -> Result<(), DestinationError> {
        if rows.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        let copy = format!("COPY {name} ({}) FROM STDIN", list.join(", "));
        let connection = self.connected().await?;
        let copied = async {
            let mut copy = connection.copy_in_raw(&copy).await?;
            let mut text = String::with_capacity(COPY_BYTES * 2);
            for row in rows {
                copy_line(&mut text, columns, row);
                if text.len() >= COPY_BYTES {
                    copy.send(text.as_bytes()).await?;
                    text.clear();
                }
            }
            copy.send(text.as_bytes()).await?;
            copy.finish().await
        };
        let copied: Result<u64, sqlx::Error> = copied.await;
        copied.map(|_| ()).map_err(|error| self.failed(error))
    }

    async fn each(&mut self, sql: &str, each: EachRow<'_>) -> Result<(), DestinationError> {
        let read = async {
            let connection = self.connected().await?;
            let mut rows = connection.fetch(AssertSqlSafe(sql));
            loop {
                match rows.try_next().await {
                    Ok(Some(row)) => each(cells(&row)),
                    Ok(None) => return Ok(Ok(())),
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        let read: Result<Result<(), sqlx::Error>, DestinationError> = read.await;
        read?.map_err(|error| self.failed(error))
    }

    async fn begin(&mut self) -> Result<(), DestinationError> {
        self.execute("BEGIN").await
    }

    async fn commit(&mut self) -> Result<(), DestinationError> {
        self.execute("COMMIT").await
    }

    async fn undo(&mut self) {
        if let Some(connection) = &mut self.connection
            && connection.execute("ROLLBACK").await.is_err()
        {
            self.connection = None;
        }
    }
}

fn cells(row: &PgRow) -> Row {
    (0..row.len()).map(|place| row.try_get_unchecked(place).ok().flatten()).collect()
}

fn column_type(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Text | FieldKind::Currency => "text",
        FieldKind::Decimal => "numeric",
        FieldKind::Integer => "bigint",
        FieldKind::Boolean => "boolean",
        FieldKind::Date => "date",
        FieldKind::Instant => "timestamptz",
        FieldKind::Object | FieldKind::List => "jsonb",
    }
}

fn catalog_type(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Instant => "timestamp with time zone",
        other => column_type(other),
    }
}

/// One line of COPY's text form. PostgreSQL's text has no NUL.
fn copy_line(text: &mut String, columns: &[Column], row: &Row) {
    for (place, (column, cell)) in columns.iter().zip(row).enumerate() {
        if place > 0 {
            text.push('\t');
        }
        match cell {
            None => text.push_str("\\N"),
            Some(cell) if matches!(column.kind, FieldKind::Object | FieldKind::List) => {
                escape(text, &cell.replace("\\u0000", ""));
            }
            Some(cell) => escape(text, cell),
        }
    }
    text.push('\n');
}

fn escape(text: &mut String, cell: &str) {
    for letter in cell.chars() {
        let escaped = match letter {
            '\0' => Ok(()),
            '\\' => text.write_str("\\\\"),
            '\n' => text.write_str("\\n"),
            '\r' => text.write_str("\\r"),
            '\t' => text.write_str("\\t"),
            other => text.write_char(other),
        };
        debug_assert!(escaped.is_ok(), "a string takes what is written to it");
    }
}

/// PostgreSQL's codes that say what to do: https://www.postgresql.org/docs/current/errcodes-appendix.html
fn worded(place: &str, error: sqlx::Error) -> DestinationError {
    let Some(told) = error.as_database_error() else {
        return match &error {
            sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => DestinationError::settings(
                place,
                "the address or its encryption cannot be used",
                "Check the url and its sslmode",
            ),
            _ => {
                let said = error.to_string();
                DestinationError::passing(place, said).because(error)
            }
        };
    };
    let (said, code) = (told.message().to_owned(), told.code().unwrap_or_default().into_owned());
    let own = match code.as_str() {
        "28000" | "28P01" => {
            DestinationError::settings(place, said, "Check user and password in the url")
        }
        "3D000" => DestinationError::settings(place, said, "Create the database, or name another"),
        "42501" => DestinationError::settings(
            place,
            said,
            "Grant the user CREATE on the database and on the schema, and make it owner of its tables",
        ),
        "42P10" => DestinationError::drift(
            place,
            "the table has lost its primary key",
            "Add the key again, or refresh the stream to make the table anew",
        ),
        "42P01" | "42703" | "42804" => {
            let fix = "Somebody changed the table; undo that, or refresh the stream";
            DestinationError::drift(place, said, fix)
        }
        "2BP01" => DestinationError::drift(
            place,
            said,
            "A view stands on the last generation; make it anew on the table, then run again",
        ),
        "53100" => DestinationError::full(place, said),
        _ => DestinationError::passing(place, format!("{said} (code {code})")),
    };
    own.because(error)
}
