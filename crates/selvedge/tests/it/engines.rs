//! One SQL text for both databases: the schema and every statement, prepared on SQLite and on a
//! private PostgreSQL.

use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::{Connection, Executor, PgConnection, SqlSafeStr, SqliteConnection};
use testkit::Postgres;

use crate::process::root;

async fn migrations(folder: &str) -> Migrator {
    let folder = root().join("crates/store/migrations").join(folder);
    let mut migrator = Migrator::new(Path::new(&folder)).await.unwrap();
    // Distributed engines with PostgreSQL's wire have no advisory locks.
    migrator.set_locking(false);
    migrator
}

#[tokio::test]
async fn every_statement_is_prepared_on_both_engines() {
    let statements = store::statements();
    assert!(statements.len() > 80, "{} statements", statements.len());

    let mut sqlite = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    migrations("").await.run(&mut sqlite).await.unwrap();
    for (file, name, sql) in &statements {
        let prepared = sqlite.prepare(sqlx::AssertSqlSafe(*sql).into_sql_str()).await;
        assert!(prepared.is_ok(), "SQLite, {file} {name}: {}", prepared.err().unwrap());
    }

    let server = Postgres::start();
    let mut postgres = PgConnection::connect(&server.url()).await.unwrap();
    migrations("").await.run(&mut postgres).await.unwrap();
    let mut own = migrations("postgres").await;
    own.dangerous_set_table_name("_sqlx_migrations_postgres");
    own.run(&mut postgres).await.unwrap();
    let mut failures = Vec::new();
    for (file, name, sql) in store::statements_for_postgres() {
        if let Err(error) = postgres.prepare(sqlx::AssertSqlSafe(sql).into_sql_str()).await {
            failures.push(format!("{file} {name}: {error}"));
        }
    }
    postgres.close().await.unwrap();
    assert!(failures.is_empty(), "PostgreSQL:\n{}", failures.join("\n"));
}
