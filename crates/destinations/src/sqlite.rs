//! SQLite: tables in one file. Decimals, dates and instants are text, so that no digit is lost; cast
//! them where sums are wanted. Namespaces become the beginning of tables' names.

use std::path::PathBuf;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use model::FieldKind;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row as _};

use crate::destination::{DestinationError, EachRow};
use crate::sql::{Dialect, Engine, Limits, quoted};
use crate::table::{Column, Row};

/// Rows in one insert; SQLite prepares its text once.
const ROWS: usize = 50;
/// SQLite has no limit; ours keeps names readable.
const NAME_LIMIT: usize = 120;

/// Most tables of a stream that are renamed. SQLite reads the whole schema at each renaming: with 8,000
/// tables a second for every one.
const RENAMED: usize = 50;

/// A SQLite file.
pub struct Sqlite {
    path: PathBuf,
    connection: Option<SqliteConnection>,
    dialect: Dialect,
}

impl Sqlite {
    /// The file is made when it is first written.
    pub fn new(path: PathBuf) -> Self {
        let dialect = Dialect {
            engine: "sqlite",
            column_type,
            catalog_type: column_type,
            catalog: "SELECT '', m.name, p.name, p.type FROM sqlite_master m \
                JOIN pragma_table_info(m.name) p WHERE m.type = 'table'",
            schema: None,
            name_limit: NAME_LIMIT,
            has_keys: true,
            most_renamed: RENAMED,
            as_text: |_, column| format!("CAST({column} AS TEXT)"),
            waiting: Limits::default(),
        };
        Self { path, connection: None, dialect }
    }

    async fn connected(&mut self) -> Result<&mut SqliteConnection, DestinationError> {
        if self.connection.is_none() {
            let options = SqliteConnectOptions::new()
                .filename(&self.path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .disable_statement_logging();
            let connected = options.connect().await;
            self.connection = Some(connected.map_err(|error| self.worded(error))?);
        }
        self.connection.as_mut().ok_or_else(|| DestinationError::passing("sqlite", "not connected"))
    }

    fn worded(&self, error: sqlx::Error) -> DestinationError {
        let place = format!("sqlite {}", self.path.display());
        let Some(told) = error.as_database_error() else {
            let said = error.to_string();
            return DestinationError::passing(place, said).because(error);
        };
        let said = told.message().to_owned();
        let own = match said.as_str() {
            text if text.contains("unable to open") => DestinationError::settings(
                place,
                said,
                "Make the folder, and let the user of this program write there",
            ),
            text if text.contains("readonly") => {
                DestinationError::settings(place, said, "Let the user of this program write it")
            }
            text if text.contains("is full") => DestinationError::full(place, said),
            text if text.contains("not a database") => {
                DestinationError::settings(place, said, "Name another file")
            }
            text if text.contains("ON CONFLICT clause does not match") => DestinationError::drift(
                place,
                "the table has lost its primary key",
                "Refresh the stream to make the table anew",
            ),
            text if text.contains("no such") || text.contains("has no column") => {
                let fix = "Somebody changed the table; undo that, or refresh the stream";
                DestinationError::drift(place, said, fix)
            }
            _ => DestinationError::passing(place, said),
        };
        own.because(error)
    }
}

#[async_trait]
impl Engine for Sqlite {
    fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    async fn execute(&mut self, sql: &str) -> Result<(), DestinationError> {
        let done = self.connected().await?.execute(AssertSqlSafe(sql)).await;
        done.map(|_| ()).map_err(|error| self.worded(error))
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<Row>, DestinationError> {
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(self.connected().await?).await;
        Ok(rows.map_err(|error| self.worded(error))?.iter().map(cells).collect())
    }

    async fn insert(
        &mut self,
        name: &str,
        columns: &[Column],
        rows: &[Row],
    ) -> Result<(), DestinationError> {
        for some in rows.chunks(ROWS) {
            let text = insert_text(name, columns, some.len());
            let mut query = sqlx::query(AssertSqlSafe(text));
            for row in some {
                for (column, cell) in columns.iter().zip(row) {
                    query = match column.kind {
                        FieldKind::Integer | FieldKind::Boolean => query.bind(number(cell)),
                        _ => query.bind(cell.as_deref()),
                    };
                }
            }
            let done = query.execute(self.connected().await?).await;
            done.map_err(|error| self.worded(error))?;
        }
        Ok(())
    }

    async fn each(&mut self, sql: &str, each: EachRow<'_>) -> Result<(), DestinationError> {
        let read = async {
            let mut rows = self.connected().await?.fetch(AssertSqlSafe(sql));
            loop {
                match rows.try_next().await {
                    Ok(Some(row)) => each(cells(&row)),
                    Ok(None) => return Ok(Ok(())),
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        let read: Result<Result<(), sqlx::Error>, DestinationError> = read.await;
        read?.map_err(|error| self.worded(error))
    }

    async fn begin(&mut self) -> Result<(), DestinationError> {
        self.execute("BEGIN IMMEDIATE").await
    }

    async fn commit(&mut self) -> Result<(), DestinationError> {
        let committed = self.execute("COMMIT").await;
        if committed.is_err() {
            self.undo().await;
        }
        committed
    }

    async fn undo(&mut self) {
        if let Some(connection) = &mut self.connection
            && connection.execute("ROLLBACK").await.is_err()
        {
            self.connection = None;
        }
    }
}

fn insert_text(name: &str, columns: &[Column], rows: usize) -> String {
    let list: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
    let tuple = format!("({})", vec!["?"; columns.len()].join(", "));
    format!("INSERT INTO {name} ({}) VALUES {}", list.join(", "), vec![tuple; rows].join(", "))
}

fn number(cell: &Option<String>) -> Option<i64> {
    match cell.as_deref()? {
        "true" => Some(1),
        "false" => Some(0),
        digits => digits.parse().ok(),
    }
}

fn cells(row: &SqliteRow) -> Row {
    (0..row.len()).map(|place| row.try_get_unchecked(place).ok().flatten()).collect()
}

fn column_type(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Integer | FieldKind::Boolean => "INTEGER",
        _ => "TEXT",
    }
}
