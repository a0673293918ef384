//! The schema, brought up to date. Each migration and the note that it was made are one transaction, so
//! a kill leaves it made or not begun; of two processes that start at once, one finds it made.

use std::borrow::Cow;
use std::sync::LazyLock;

use sqlx::Connection;
use sqlx::migrate::{Migrate, MigrateError, Migrator};

use super::{Connected, OpenError};

/// What both engines have.
pub(super) static SHARED: LazyLock<Migrator> =
    LazyLock::new(|| unlocked(sqlx::migrate!("./migrations")));

/// What only PostgreSQL has: row-level security and the tuning of its tables.
pub(super) static POSTGRES: LazyLock<Migrator> = LazyLock::new(|| Migrator {
    table_name: Cow::Borrowed("_sqlx_migrations_postgres"),
    ..unlocked(sqlx::migrate!("./migrations/postgres"))
});

/// Times that another process may be faster with a migration before its error counts.
const MOST_RACES: u32 = 20;
/// What PostgreSQL says to the slower of two that make the same at the same time: the key or the table
/// is there, or somebody else has just written it.
const COLLISIONS: [&str; 6] = ["23505", "42P07", "42710", "40001", "40P01", "XX000"];

/// A step of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub version: i64,
    /// What it brings.
    pub description: String,
}

/// Distributed engines with PostgreSQL's wire have no advisory locks; the table of notes decides who
/// was first.
fn unlocked(mut migrator: Migrator) -> Migrator {
    migrator.set_locking(false);
    migrator
}

/// Makes the migrations that are missing.
pub(super) async fn run(
    connection: &mut Connected,
    migrators: &[&Migrator],
) -> Result<(), OpenError> {
    let mut races = 0;
    for migrator in migrators {
        while let Err(error) = migrator.run_direct(None, connection, false).await {
            races += 1;
            // Who was slower finds the other's work done.
            let is_made = match &error {
                MigrateError::ExecuteMigration(_, version) => {
                    let missing = pending(connection, &[*migrator]).await?;
                    !missing.iter().any(|migration| migration.version == *version)
                }
                _ => false,
            };
            if races > MOST_RACES || !(is_made || is_collision(&error)) {
                return Err(worded(error));
            }
        }
    }
    trial::crash_point("migration.done");
    Ok(())
}

/// Which migrations are missing. Changes nothing.
pub(super) async fn pending(
    connection: &mut Connected,
    migrators: &[&Migrator],
) -> Result<Vec<Migration>, OpenError> {
    let mut missing = Vec::new();
    for migrator in migrators {
        // A role that only serves may make no table, not even the one of notes that is there.
        let mut look = connection.begin().await?;
        let made = match look.list_applied_migrations(&migrator.table_name).await {
            Err(error) if is_missing_table(&error) => Vec::new(),
            made => made.map_err(worded)?,
        };
        look.rollback().await?;
        let known = |version| migrator.version_exists(version);
        if let Some(newer) = made.iter().find(|migration| !known(migration.version)) {
            return Err(OpenError::Newer { version: newer.version });
        }
        let is_made = |version| made.iter().any(|migration| migration.version == version);
        let todo = migrator.iter().filter(|migration| !is_made(migration.version));
        missing.extend(todo.map(|migration| Migration {
            version: migration.version,
            description: migration.description.to_string(),
        }));
    }
    Ok(missing)
}

fn is_missing_table(error: &MigrateError) -> bool {
    let MigrateError::Execute(error) = error else { return false };
    error.as_database_error().is_some_and(|error| {
        error.code().is_some_and(|code| code == "42P01")
            || error.message().starts_with("no such table")
    })
}

/// Whether another process is making the same in this moment.
fn is_collision(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| COLLISIONS.contains(&code.as_ref()))
}

fn worded(error: MigrateError) -> OpenError {
    match error {
        MigrateError::VersionMissing(version) => OpenError::Newer { version },
        other => OpenError::Migrate(other),
    }
}
