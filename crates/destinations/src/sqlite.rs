//! Tables in a SQLite file, replaced in one transaction. Decimals and instants are text, so that
//! no digit is lost; cast them where sums are wanted.

use std::path::PathBuf;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::destination::{Destination, DestinationError};
use crate::table::{Row, Table};

/// A SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteFile {
    path: PathBuf,
}

impl SqliteFile {
    /// The file is made when it is first written.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        SqliteConnectOptions::new().filename(&self.path).create_if_missing(true).connect().await
    }

    async fn try_check(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.connect().await?;
        let mut transaction = connection.begin().await?;
        sqlx::query("CREATE TABLE selvedge_check (id INTEGER)").execute(&mut *transaction).await?;
        transaction.rollback().await?;
        connection.close().await
    }

    async fn try_replace(&self, table: &Table, rows: &[Row]) -> Result<(), sqlx::Error> {
        let mut connection = self.connect().await?;
        let mut transaction = connection.begin().await?;
        for statement in
            [format!("DROP TABLE IF EXISTS {}", quoted(table.name)), create_table(table)]
        {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
        }
        let insert = insert_into(table);
        for row in rows {
            let query = sqlx::query(AssertSqlSafe(insert.as_str()));
            let query = row.iter().fold(query, |query, cell| query.bind(cell.as_deref()));
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        connection.close().await
    }
}

impl Destination for SqliteFile {
    async fn check(&self) -> Result<(), DestinationError> {
        let checked = self.try_check().await;
        checked.map_err(|source| DestinationError::Database { path: self.path.clone(), source })
    }

    async fn replace(&self, table: &Table, rows: &[Row]) -> Result<(), DestinationError> {
        let replaced = self.try_replace(table, rows).await;
        replaced.map_err(|source| DestinationError::Database { path: self.path.clone(), source })
    }
}

fn create_table(table: &Table) -> String {
    let columns: Vec<String> =
        table.columns.iter().map(|column| format!("{} TEXT", quoted(column.name))).collect();
    let key: Vec<String> = table.key.iter().map(|name| quoted(name)).collect();
    format!(
        "CREATE TABLE {} ({}, PRIMARY KEY ({}))",
        quoted(table.name),
        columns.join(", "),
        key.join(", ")
    )
}

fn insert_into(table: &Table) -> String {
    let places: Vec<String> = (1..=table.columns.len()).map(|place| format!("${place}")).collect();
    format!("INSERT INTO {} VALUES ({})", quoted(table.name), places.join(", "))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
