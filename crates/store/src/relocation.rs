//! Moves an installation from a SQLite file to PostgreSQL: row by row in the order of the keys, each batch
//! with the place it ends at in one transaction, so that a move that was killed goes on where it stood;
//! then both are read again and compared. Secrets stay sealed, with the same master key.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::TryStreamExt;
use serde_json::Value as Json;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use crate::batch::{Value, bind_all, tuples};
use crate::db::{Connected, Database, OpenError, Relocated, open_for_relocation};
use crate::error::Error;
use crate::statement::declare;

declare! {
    PLACE = "SELECT last_key, finished FROM relocations WHERE table_name = $1";
    SAVE_PLACE =
        "INSERT INTO relocations (table_name, last_key, finished) VALUES ($1, $2, $3) \
         ON CONFLICT (table_name) DO UPDATE SET last_key = excluded.last_key, \
            finished = excluded.finished";
    BEGUN = "SELECT COUNT(*) FROM relocations";
    FORGET_PLACES = "DELETE FROM relocations";
    IN_USE =
        "SELECT (SELECT COUNT(*) FROM integrations) + (SELECT COUNT(*) FROM api_keys) \
            + (SELECT COUNT(*) FROM operators)";
    FORGET_INSTALLATION = "DELETE FROM installation";
    FORGET_HEAD = "DELETE FROM feed_head";
    CLEAR_LEASES =
        "UPDATE work SET lease_owner = NULL, lease_until = 0 WHERE lease_owner IS NOT NULL";
}

/// Rows in one transaction: a kill repeats no more than these.
const BATCH: usize = 2_000;
/// Rows in one statement: 25 columns of them stay below the 65,535 values that PostgreSQL takes.
const ROWS: usize = 500;
/// In the place of a table: the whole move.
const WHOLE: &str = "*";
/// Tables that belong to a database, not to an installation.
const LEFT_BEHIND: [&str; 2] = ["processes", "relocations"];

/// What was moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// Rows by table, as they were compared.
    pub rows: BTreeMap<String, i64>,
    /// A sum over all rows of all tables, equal on both sides.
    pub checksum: String,
}

/// Why an installation was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// One of both could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Only this way is there.
    #[error(
        "an installation moves from sqlite:PATH to postgres://…; these URLs say something else"
    )]
    Direction,
    /// The target has an installation of its own.
    #[error("there is another installation in the database {0}; name an empty one")]
    InUse(String),
    /// There is nothing left to do.
    #[error("this installation was moved to {0} before; serve it from there")]
    Done(String),
    /// What arrived is not what left.
    #[error(
        "{table} has {there} rows and checksum {there_sum} in the new database, and {here} rows and {here_sum} in the old one; \
         nothing was changed in the old one. Empty the new database and move again"
    )]
    Differs {
        /// Which table.
        table: String,
        /// Rows of the old one.
        here: i64,
        /// Their sum.
        here_sum: String,
        /// Rows of the new one.
        there: i64,
        /// Their sum.
        there_sum: String,
    },
    /// One of both said no.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<sqlx::Error> for MoveError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Moves everything, or what is left of it, and compares. `told` hears of rows written, and of how many
/// there are. The old file is served no more once it has been moved.
pub async fn move_installation(
    from: &Database,
    to: &Database,
    mut told: impl FnMut(&str, i64, i64) + Send,
) -> Result<Moved, MoveError> {
    let Relocated { mut old, mut new, place, lock: _held } =
        open_for_relocation(from, to).await?.ok_or(MoveError::Direction)?;
    // Nobody writes to the old file until this ends.
    old.execute("BEGIN IMMEDIATE").await?;
    begin(&mut old, &mut new, &place).await?;
    sqlx::query(CLEAR_LEASES).execute(&mut old).await?;
    let tables = tables(&mut old).await?;
    for table in &tables {
        copy(&mut old, &mut new, table, &mut told).await?;
    }
    let moved = compare(&mut old, &mut new, &tables).await?;
    // First the old one is closed for good, then the new one opened.
    save_place(&mut old, WHOLE, &Json::String(place), true).await?;
    old.execute("COMMIT").await?;
    trial::crash_point("move.compared");
    sqlx::query(FORGET_PLACES).execute(&mut new).await?;
    Ok(moved)
}

/// Says no if a move into this database has not ended, or if what is in it was moved away.
pub(crate) async fn refuse_unfinished(connection: &mut Connected) -> Result<(), OpenError> {
    let whole = sqlx::query(PLACE).bind(WHOLE).fetch_optional(connection).await?;
    let Some(row) = whole else { return Ok(()) };
    let place: String = row.try_get("last_key")?;
    Err(match row.try_get::<i64, _>("finished")? {
        1 => OpenError::MovedAway { place: place.trim_matches('"').to_owned() },
        _ => OpenError::HalfMoved,
    })
}

/// A table with its columns, the first of which are its key.
struct Table {
    name: String,
    columns: Vec<Column>,
    key: usize,
}

struct Column {
    name: String,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Integer,
    Bytes,
}

async fn begin(old: &mut Connected, new: &mut Connected, place: &str) -> Result<(), MoveError> {
    let count = async |new: &mut Connected, sql: &'static str| {
        Ok::<i64, MoveError>(sqlx::query(sql).fetch_one(new).await?.try_get(0)?)
    };
    if count(new, BEGUN).await? > 0 {
        return Ok(());
    }
    if count(new, IN_USE).await? > 0 {
        let moved = sqlx::query(PLACE).bind(WHOLE).fetch_optional(old).await?.is_some();
        let place = place.to_owned();
        return Err(if moved { MoveError::Done(place) } else { MoveError::InUse(place) });
    }
    let mut first = new.begin().await?;
    for forget in [FORGET_HEAD, FORGET_INSTALLATION] {
        sqlx::query(forget).execute(&mut *first).await?;
    }
    save_place(&mut first, WHOLE, &Json::Null, false).await?;
    first.commit().await?;
    Ok(())
}

/// The tables of the old database as it describes them itself.
async fn tables(old: &mut Connected) -> Result<Vec<Table>, Error> {
    let names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' \
         AND name NOT LIKE 'sqlite%' ORDER BY name";
    let mut tables = Vec::new();
    for row in old.fetch_all(names).await? {
        let name: String = row.try_get(0)?;
        if LEFT_BEHIND.contains(&name.as_str()) {
            continue;
        }
        let describe = format!(
            "SELECT name, type, pk FROM pragma_table_info('{name}') ORDER BY pk = 0, pk, cid"
        );
        let mut table = Table { name, columns: Vec::new(), key: 0 };
        for row in old.fetch_all(AssertSqlSafe(describe)).await? {
            let kind = match row.try_get::<String, _>("type")?.as_str() {
                "TEXT" => Kind::Text,
                "BIGINT" => Kind::Integer,
                "BYTEA" => Kind::Bytes,
                _ => return Err(Error::corrupt("a column of an unknown kind")),
            };
            table.key += usize::from(row.try_get::<i64, _>("pk")? > 0);
            table.columns.push(Column { name: row.try_get("name")?, kind });
        }
        tables.push(table);
    }
    Ok(tables)
}

impl Table {
    fn columns(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        names.join(", ")
    }

    fn key_columns(&self) -> String {
        let key: Vec<&str> =
            self.columns[..self.key].iter().map(|column| column.name.as_str()).collect();
        key.join(", ")
    }

    /// Rows behind a key, in the order of keys.
    fn read(&self, behind: bool) -> String {
        let (columns, key) = (self.columns(), self.key_columns());
        let places: Vec<String> = (1..=self.key).map(|place| format!("${place}")).collect();
        let behind = match behind {
            true => format!("WHERE ({key}) > ({})", places.join(", ")),
            false => String::new(),
        };
        format!("SELECT {columns} FROM {} {behind} ORDER BY {key} LIMIT {BATCH}", self.name)
    }

    fn insert(&self, rows: usize) -> String {
        let (columns, name) = (self.columns(), &self.name);
        format!("INSERT INTO {name} ({columns}) VALUES {}", tuples(rows, self.columns.len()))
    }

    fn values(&self, row: &AnyRow) -> Result<Vec<Value>, Error> {
        let value = |(place, column): (usize, &Column)| {
            Ok(match column.kind {
                Kind::Text => Value::MaybeText(row.try_get(place)?),
                Kind::Integer => Value::MaybeInteger(row.try_get(place)?),
                Kind::Bytes => Value::MaybeBytes(row.try_get(place)?),
            })
        };
        self.columns.iter().enumerate().map(value).collect()
    }

    fn key_of(&self, row: &AnyRow) -> Result<Json, Error> {
        let value = |(place, column): (usize, &Column)| {
            Ok(match column.kind {
                Kind::Text => Json::String(row.try_get(place)?),
                Kind::Integer => Json::from(row.try_get::<i64, _>(place)?),
                Kind::Bytes => {
                    let bytes: Vec<u8> = row.try_get(place)?;
                    Json::from(bytes)
                }
            })
        };
        let key = self.columns[..self.key].iter().enumerate().map(value);
        Ok(Json::Array(key.collect::<Result<_, Error>>()?))
    }

    /// The values of a key that was saved.
    fn key_from(&self, saved: &Json) -> Result<Vec<Value>, Error> {
        let parts = saved.as_array().ok_or(Error::corrupt("the place of a move"))?;
        let value = |(part, column): (&Json, &Column)| {
            let bytes = |part: &Json| serde_json::from_value(part.clone()).ok();
            match column.kind {
                Kind::Text => part.as_str().map(|text| Value::Text(text.to_owned())),
                Kind::Integer => part.as_i64().map(Value::Integer),
                Kind::Bytes => bytes(part).map(|bytes| Value::MaybeBytes(Some(bytes))),
            }
            .ok_or(Error::corrupt("the place of a move"))
        };
        parts.iter().zip(&self.columns).map(value).collect()
    }
}

async fn copy(
    old: &mut Connected,
    new: &mut Connected,
    table: &Table,
    told: &mut impl FnMut(&str, i64, i64),
) -> Result<(), MoveError> {
    let place = sqlx::query(PLACE).bind(table.name.clone()).fetch_optional(&mut *new).await?;
    let mut behind = None;
    if let Some(place) = place {
        if place.try_get::<i64, _>("finished")? == 1 {
            return Ok(());
        }
        let key: String = place.try_get("last_key")?;
        behind = serde_json::from_str(&key).ok();
    }
    let count = format!("SELECT COUNT(*) FROM {}", table.name);
    let all: i64 = old.fetch_one(AssertSqlSafe(count)).await?.try_get(0)?;
    let mut written = 0;
    loop {
        let read = table.read(behind.is_some());
        let key = behind.as_ref().map(|key| table.key_from(key)).transpose()?;
        let read = bind_all(sqlx::query(AssertSqlSafe(read)), key.unwrap_or_default());
        let rows = read.fetch_all(&mut *old).await?;
        let Some(last) = rows.last() else { break };
        let key = table.key_of(last)?;
        let mut batch = new.begin().await?;
        for some in rows.chunks(ROWS) {
            let values = some.iter().map(|row| table.values(row));
            let values = values.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
            let insert = sqlx::query(AssertSqlSafe(table.insert(some.len())));
            bind_all(insert, values).execute(&mut *batch).await?;
        }
        save_place(&mut batch, &table.name, &key, false).await?;
        batch.commit().await?;
        trial::crash_point("move.batch_written");
        written += i64::try_from(rows.len()).unwrap_or(0);
        told(&table.name, written, all);
        behind = Some(key);
    }
    Ok(save_place(new, &table.name, &Json::Null, true).await?)
}

async fn save_place(
    connection: &mut Connected,
    table: &str,
    key: &Json,
    finished: bool,
) -> Result<(), Error> {
    let save = sqlx::query(SAVE_PLACE).bind(table.to_owned()).bind(key.to_string());
    save.bind(i64::from(finished)).execute(connection).await?;
    Ok(())
}

/// Reads both sides again.
async fn compare(
    old: &mut Connected,
    new: &mut Connected,
    tables: &[Table],
) -> Result<Moved, MoveError> {
    let mut moved = Moved::default();
    let mut whole = 0_u128;
    for table in tables {
        let (here, here_sum) = sum(old, table).await?;
        let (there, there_sum) = sum(new, table).await?;
        if (here, here_sum) != (there, there_sum) {
            let (here_sum, there_sum) = (format!("{here_sum:032x}"), format!("{there_sum:032x}"));
            let table = table.name.clone();
            return Err(MoveError::Differs { table, here, here_sum, there, there_sum });
        }
        moved.rows.insert(table.name.clone(), here);
        whole = whole.wrapping_add(here_sum);
    }
    moved.checksum = format!("{whole:032x}");
    Ok(moved)
}

/// How many rows a table has, and the sum of what each of them says, in whatever order they come.
async fn sum(connection: &mut Connected, table: &Table) -> Result<(i64, u128), Error> {
    let read = AssertSqlSafe(format!("SELECT {} FROM {}", table.columns(), table.name));
    let mut rows = sqlx::query(read).fetch(connection);
    let (mut count, mut sum) = (0, 0_u128);
    while let Some(row) = rows.try_next().await? {
        count += 1;
        let mut text = table.name.clone().into_bytes();
        for value in table.values(&row)? {
            value.write_to(&mut text);
        }
        let hash = digest(&SHA256, &text);
        let mut half = [0; 16];
        half.copy_from_slice(&hash.as_ref()[..16]);
        sum = sum.wrapping_add(u128::from_be_bytes(half));
    }
    Ok((count, sum))
}
