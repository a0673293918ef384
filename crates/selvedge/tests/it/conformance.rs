//! One suite that every destination passes: what is written is read back cell by cell, batches and
//! refreshes are whole or not there, marks outlive the session, and doing things twice changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use destinations::{
    Batch, Column, Csv, Database, Destination, DestinationTrouble, Files, Folder, JsonLines, Load,
    Mode, Part, Postgres, Row, Sqlite, Table, canonical,
};
use model::FieldKind;
use testkit::Postgres as Server;

use crate::process::root;

/// Makes a destination anew, as a process that starts does.
type Make<'a> = Box<dyn Fn() -> Box<dyn Destination> + 'a>;

const KINDS: [(&str, FieldKind); 8] = [
    ("id", FieldKind::Text),
    ("amount", FieldKind::Decimal),
    ("count", FieldKind::Integer),
    ("pending", FieldKind::Boolean),
    ("date", FieldKind::Date),
    ("at", FieldKind::Instant),
    ("more", FieldKind::Object),
    ("currency", FieldKind::Currency),
];

fn table(namespace: Option<&str>, kinds: &[(&str, FieldKind)], with_key: bool) -> Arc<Table> {
    let column = |(name, kind): &(&str, FieldKind)| Column {
        name: (*name).to_owned(),
        kind: *kind,
        meaning: String::new(),
    };
    Arc::new(Table {
        namespace: namespace.map(str::to_owned),
        name: if with_key { "rows" } else { "log" }.to_owned(),
        columns: kinds.iter().map(column).collect(),
        key: if with_key { vec![0] } else { Vec::new() },
    })
}

fn load(mode: Mode, generation: i64, tables: Vec<Arc<Table>>) -> Load {
    let name = if mode == Mode::Merge { "rows" } else { "log" };
    Load {
        id: format!("con_1/{name}"),
        stream: name.to_owned(),
        mode,
        generation,
        refreshes: false,
        tables,
    }
}

/// A row of every kind, of which `number` tells the content.
fn row(id: &str, number: i64) -> Row {
    let cell = |text: String| Some(text);
    vec![
        cell(id.to_owned()),
        cell(format!("-{number}.50")),
        cell(number.to_string()),
        cell((number % 2 == 0).to_string()),
        cell(format!("19{:02}-12-31", 60 + number % 40)),
        cell(format!("2026-01-31T01:02:03.{:06}Z", 500 + number)),
        cell(format!(r#"{{"n":{number},"text":"Größe \"x\" \\ \n"}}"#)),
        cell("USD".to_owned()),
    ]
}

fn odd_rows() -> Vec<Row> {
    let mut rows = vec![
        vec![Some("nothing".to_owned()), None, None, None, None, None, None, None],
        row("quo\"te'd, \\N \t \n \r line", 1),
        row("=HYPERLINK(1)", 2),
        row("日本語 emoji 🦀", 3),
    ];
    rows[1][1] = Some("12345678901234567890.123456".to_owned());
    rows[2][1] = Some("0.000000000000000001".to_owned());
    rows
}

type Content = BTreeSet<Vec<Option<String>>>;

fn content(table: &Table, rows: impl IntoIterator<Item = Row>) -> Content {
    let canonical = |row: Row| {
        let cells = row.into_iter().zip(&table.columns);
        cells
            .map(|(cell, column)| {
                let cell = cell.filter(|text| !text.is_empty());
                cell.map(|text| canonical(column.kind, &text))
            })
            .collect()
    };
    rows.into_iter().map(canonical).collect()
}

async fn there(destination: &mut dyn Destination, table: &Table) -> Content {
    let mut rows = Vec::new();
    assert!(destination.scan(table, &mut |row| rows.push(row)).await.unwrap(), "it can be read");
    let count = rows.len();
    let content = content(table, rows);
    assert_eq!(content.len(), count, "no row is there twice");
    content
}

async fn write(
    destination: &mut dyn Destination,
    load: &Load,
    (rows, gone): (Vec<Row>, Vec<Row>),
    mark: &str,
) {
    let table = Arc::clone(&load.tables[0]);
    let parts = vec![Part { table, rows, gone }];
    let batch = Batch { load, aside: false, parts, mark: mark.to_owned() };
    destination.write(batch).await.unwrap();
}

/// Every promise of the contract, of a destination that can be read back.
async fn conforms(make: Make<'_>) {
    let mut destination = make();
    destination.check().await.unwrap();
    destination.check().await.unwrap();
    merges(&make).await;
    refreshes(&make).await;
    appends(&make).await;
    spreads(&make).await;
    grows(&make).await;
}

async fn merges(make: &Make<'_>) {
    let mut destination = make();
    let table = table(None, &KINDS, true);
    let load = load(Mode::Merge, 1, vec![Arc::clone(&table)]);
    assert_eq!(destination.mark(&load.id).await.unwrap(), None);
    for _ in 0..2 {
        let missing = destination.prepare(std::slice::from_ref(&load), true).await.unwrap();
        assert_eq!(missing, []);
    }
    let mut rows: Vec<Row> = (0..500).map(|n| row(&format!("row-{n}"), n)).collect();
    rows.extend(odd_rows());
    for _ in 0..2 {
        write(destination.as_mut(), &load, (rows.clone(), Vec::new()), "one").await;
        destination.settle(&load).await.unwrap();
        assert_eq!(there(destination.as_mut(), &table).await, content(&table, rows.clone()));
    }
    drop(destination);
    let mut destination = make();
    assert_eq!(destination.mark(&load.id).await.unwrap().as_deref(), Some("one"), "it is kept");
    destination.prepare(std::slice::from_ref(&load), true).await.unwrap();
    let changed: Vec<Row> = (0..10).map(|n| row(&format!("row-{n}"), n + 1_000)).collect();
    let gone: Vec<Row> = (10..20).map(|n| row(&format!("row-{n}"), n)).collect();
    write(destination.as_mut(), &load, (changed.clone(), gone), "two").await;
    destination.settle(&load).await.unwrap();
    let kept = rows.split_off(20).into_iter().chain(changed);
    assert_eq!(there(destination.as_mut(), &table).await, content(&table, kept));
    write(destination.as_mut(), &load, (Vec::new(), Vec::new()), "three").await;
    destination.settle(&load).await.unwrap();
    assert_eq!(destination.mark(&load.id).await.unwrap().as_deref(), Some("three"));
    destination.close().await.unwrap();
}

async fn refreshes(make: &Make<'_>) {
    let mut destination = make();
    let table = table(None, &KINDS, true);
    let load = Load { refreshes: true, ..load(Mode::Merge, 2, vec![Arc::clone(&table)]) };
    destination.prepare(std::slice::from_ref(&load), true).await.unwrap();
    let old = there(destination.as_mut(), &table).await;
    let rows: Vec<Row> = (0..300).map(|n| row(&format!("new-{n}"), n)).collect();
    // Twice, because the first try is given up.
    for _ in 0..2 {
        destination.begin_aside(&load, "begun").await.unwrap();
        for some in rows.chunks(100) {
            let parts =
                vec![Part { table: Arc::clone(&table), rows: some.to_vec(), gone: Vec::new() }];
            let batch = Batch { load: &load, aside: true, parts, mark: "aside".to_owned() };
            destination.write(batch).await.unwrap();
            assert_eq!(there(destination.as_mut(), &table).await, old, "the old rows stay");
        }
    }
    destination.swap(&load, "swapped").await.unwrap();
    assert_eq!(there(destination.as_mut(), &table).await, content(&table, rows));
    assert_eq!(destination.mark(&load.id).await.unwrap().as_deref(), Some("swapped"));
    drop(destination);
    let mut destination = make();
    assert!(destination.roll_back(&load, "back").await.unwrap());
    assert_eq!(there(destination.as_mut(), &table).await, old, "the last generation is back");
    assert_eq!(destination.mark(&load.id).await.unwrap().as_deref(), Some("back"));
    destination.clear(&load).await.unwrap();
    assert_eq!(destination.mark(&load.id).await.unwrap(), None);
    // What was emptied can be built again.
    destination.prepare(std::slice::from_ref(&load), true).await.unwrap();
    destination.begin_aside(&load, "begun").await.unwrap();
    destination.swap(&load, "empty").await.unwrap();
    assert_eq!(there(destination.as_mut(), &table).await, Content::new());
    destination.clear(&load).await.unwrap();
}

async fn appends(make: &Make<'_>) {
    let table = table(None, &KINDS, false);
    let load = load(Mode::Append, 1, vec![Arc::clone(&table)]);
    let rows: Vec<Row> = (0..30).map(|n| row(&format!("entry-{n}"), n)).collect();
    for (number, some) in rows.chunks(10).enumerate() {
        let mut destination = make();
        destination.prepare(std::slice::from_ref(&load), true).await.unwrap();
        write(destination.as_mut(), &load, (some.to_vec(), Vec::new()), &number.to_string()).await;
        destination.settle(&load).await.unwrap();
    }
    let mut destination = make();
    assert_eq!(destination.mark(&load.id).await.unwrap().as_deref(), Some("2"));
    assert_eq!(there(destination.as_mut(), &table).await, content(&table, rows));
    destination.clear(&load).await.unwrap();
}

async fn spreads(make: &Make<'_>) {
    let mut destination = make();
    // More than a SQLite file renames.
    let names = (0..60).map(|number| format!("end user {number}"));
    let tables: Vec<Arc<Table>> = names.map(|name| table(Some(&name), &KINDS, true)).collect();
    let first = load(Mode::Merge, 1, tables.clone());
    let refresh = Load { refreshes: true, ..load(Mode::Merge, 2, tables.clone()) };
    let rows = |key| move |n: usize| row(key, i64::try_from(n).unwrap());
    let batch = |load, aside, key| {
        let parts = tables.iter().enumerate().map(|(n, table)| Part {
            table: Arc::clone(table),
            rows: vec![rows(key)(n)],
            gone: Vec::new(),
        });
        Batch { load, aside, parts: parts.collect(), mark: key.to_owned() }
    };
    destination.prepare(std::slice::from_ref(&first), true).await.unwrap();
    destination.write(batch(&first, false, "same key")).await.unwrap();
    destination.settle(&first).await.unwrap();
    for (n, table) in tables.iter().enumerate() {
        let expected = content(table, [rows("same key")(n)]);
        assert_eq!(there(destination.as_mut(), table).await, expected);
    }
    destination.begin_aside(&refresh, "begun").await.unwrap();
    destination.write(batch(&refresh, true, "new key")).await.unwrap();
    destination.swap(&refresh, "swapped").await.unwrap();
    for (n, table) in tables.iter().enumerate() {
        let expected = content(table, [rows("new key")(n)]);
        assert_eq!(there(destination.as_mut(), table).await, expected);
    }
    // Once more, in place of what has the same key.
    destination.write(batch(&refresh, false, "new key")).await.unwrap();
    destination.settle(&refresh).await.unwrap();
    for (n, table) in tables.iter().enumerate() {
        let expected = content(table, [rows("new key")(n)]);
        assert_eq!(there(destination.as_mut(), table).await, expected);
    }
    destination.clear(&refresh).await.unwrap();
}

/// A column that is new is told of, and added when that is wished.
async fn grows(make: &Make<'_>) {
    let narrow = table(None, &KINDS[..3], true);
    let wide = table(None, &KINDS, true);
    let mut destination = make();
    let before = load(Mode::Merge, 1, vec![Arc::clone(&narrow)]);
    destination.prepare(std::slice::from_ref(&before), true).await.unwrap();
    let old: Row = row("old", 1)[..3].to_vec();
    write(destination.as_mut(), &before, (vec![old.clone()], Vec::new()), "narrow").await;
    destination.settle(&before).await.unwrap();
    drop(destination);
    let mut destination = make();
    let after = load(Mode::Merge, 1, vec![Arc::clone(&wide)]);
    for add in [false, true] {
        let missing = destination.prepare(std::slice::from_ref(&after), add).await.unwrap();
        let names: Vec<&str> = missing.iter().map(|column| column.column.as_str()).collect();
        assert_eq!(names, ["pending", "date", "at", "more", "currency"]);
    }
    write(destination.as_mut(), &after, (vec![row("new", 2)], Vec::new()), "wide").await;
    destination.settle(&after).await.unwrap();
    let filled = old.into_iter().chain(vec![None; 5]).collect();
    let expected = content(&wide, [filled, row("new", 2)]);
    assert_eq!(there(destination.as_mut(), &wide).await, expected);
    destination.clear(&after).await.unwrap();
}

/// A worker that slept while another wrote the same load writes nothing when it wakes: not its batch a
/// second time, not into tables that the other builds, and no table away.
async fn wakes_late(make: &Make<'_>) {
    let table = table(None, &KINDS, false);
    let log = load(Mode::Append, 1, vec![Arc::clone(&table)]);
    let first = (0..10).map(|n| row(&format!("entry-{n}"), n)).collect();
    let mut expected = Vec::new();
    for (before, mark, new) in [(None, "1", first), (Some("1"), "2", vec![row("later", 11)])] {
        expected.extend(new.clone());
        let (mut sleeper, mut other) = (make(), make());
        for destination in [&mut sleeper, &mut other] {
            assert_eq!(destination.mark(&log.id).await.unwrap().as_deref(), before);
            destination.prepare(std::slice::from_ref(&log), true).await.unwrap();
        }
        write(other.as_mut(), &log, (new.clone(), Vec::new()), mark).await;
        let part = Part { table: Arc::clone(&table), rows: new, gone: Vec::new() };
        let batch = Batch { load: &log, aside: false, parts: vec![part], mark: mark.to_owned() };
        let refused = [
            sleeper.write(batch.clone()).await,
            sleeper.write(Batch { aside: true, ..batch }).await,
            sleeper.begin_aside(&log, "begun").await,
            sleeper.swap(&log, "swapped").await,
            sleeper.clear(&log).await,
        ];
        for refused in refused {
            let error = refused.unwrap_err();
            assert_eq!(error.trouble, DestinationTrouble::Passing, "{error}");
            assert!(error.to_string().contains("another process"), "{error}");
        }
        assert_eq!(there(other.as_mut(), &table).await, content(&table, expected.clone()));
        assert_eq!(sleeper.mark(&log.id).await.unwrap().as_deref(), Some(mark));
    }
    let mut last = make();
    last.clear(&log).await.unwrap();
    assert_eq!(last.mark(&log.id).await.unwrap(), None);
}

/// Whatever else the folder of a run is used for.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_conforms() {
    let folder = folder();
    let path = folder.path().join("out.db");
    let make: Make<'_> = Box::new(|| Box::new(Database::new(Sqlite::new(path.clone()))));
    wakes_late(&make).await;
    conforms(make).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_conforms() {
    let server = Server::start();
    let url = server.url().into();
    let make: Make<'_> =
        Box::new(|| Box::new(Database::new(Postgres::new(&url, "bank data").unwrap())));
    wakes_late(&make).await;
    conforms(make).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_conforms() {
    let folder = folder();
    let root = folder.path().to_owned();
    conforms(Box::new(|| Box::new(Files::new(Csv, Box::new(Folder::new(root.clone())))))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jsonl_conforms() {
    let folder = folder();
    let root = folder.path().to_owned();
    conforms(Box::new(|| Box::new(Files::new(JsonLines, Box::new(Folder::new(root.clone()))))))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_conforms() {
    let folder = folder();
    let root = folder.path().to_owned();
    conforms(Box::new(|| Box::new(Files::new(lake::Parquet, Box::new(Folder::new(root.clone()))))))
        .await;
}

/// DuckDB's own library, from npm.
pub(crate) fn duckdb_library() -> String {
    let bindings = "tests/node/node_modules/@duckdb/node-bindings-linux-x64/libduckdb.so";
    let path = root().join(bindings);
    assert!(path.exists(), "run `make test`, which installs {}", path.display());
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_conforms() {
    let folder = folder();
    let (path, library) = (folder.path().join("out.duckdb"), duckdb_library());
    conforms(Box::new(|| {
        Box::new(Database::new(lake::DuckDb::new(&path, Some(&library), "main").unwrap()))
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_says_what_is_missing_and_everything_else_works_without_it() {
    let made = lake::DuckDb::new(Path::new("out.duckdb"), Some("/nowhere/libduckdb.so"), "main");
    let error = Database::new(made.unwrap()).check().await.unwrap_err();
    assert_eq!(error.trouble, DestinationTrouble::Settings);
    let said = error.to_string();
    assert!(said.contains("/nowhere/libduckdb.so") && said.contains("name its path"), "{said}");
}

/// A table that was changed by hand is never written over: the error names it and the way out.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_changed_by_hand_is_told_of() {
    use sqlx::{Connection, Executor};
    let folder = folder();
    let path = folder.path().join("out.db");
    let table = table(None, &KINDS, true);
    let load = load(Mode::Merge, 1, vec![Arc::clone(&table)]);
    let make = || Database::new(Sqlite::new(path.clone()));
    let by_hand = async |sql: &str| {
        let url = format!("sqlite://{}", path.display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
        connection.close().await.unwrap();
    };
    let cases = [
        ("ALTER TABLE rows RENAME COLUMN id TO other", "a part of its primary key"),
        (
            "DROP TABLE rows; CREATE TABLE rows (id TEXT, amount TEXT, count TEXT, \
             pending INTEGER, date TEXT, at TEXT, more TEXT, currency TEXT)",
            "column count: it has the type TEXT where INTEGER was made",
        ),
        (
            "DROP TABLE rows; CREATE TABLE rows (id TEXT, amount TEXT, count INTEGER, \
             pending INTEGER, date TEXT, at TEXT, more TEXT, currency TEXT)",
            "the table has lost its primary key",
        ),
    ];
    for (sql, expected) in cases {
        make().clear(&load).await.unwrap();
        make().prepare(std::slice::from_ref(&load), true).await.unwrap();
        by_hand(sql).await;
        let mut destination = make();
        let mut said = destination.prepare(std::slice::from_ref(&load), true).await.err();
        if said.is_none() {
            let parts =
                vec![Part { table: Arc::clone(&table), rows: vec![row("a", 1)], gone: Vec::new() }];
            let batch = Batch { load: &load, aside: false, parts, mark: "m".to_owned() };
            said = destination.write(batch).await.err();
        }
        let error = said.expect(expected);
        assert_eq!(error.trouble, DestinationTrouble::Drift);
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains("rows"), "{text}");
        assert!(text.to_lowercase().contains("refresh the stream"), "{text}");
    }
}

/// PostgreSQL's own words become what to do.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_without_rights_or_with_a_wrong_address_says_what_to_do() {
    let server = Server::start();
    let url = server.url();
    let mut admin = Database::new(Postgres::new(&url.clone().into(), "public").unwrap());
    use sqlx::{Connection, Executor};
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    connection
        .execute("CREATE ROLE reader LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        .await
        .unwrap();
    admin.check().await.unwrap();
    let cases = [
        (url.replace("user=postgres", "user=reader"), "Grant the user CREATE"),
        (url.replace("/postgres?", "/nothing?"), "Create the database"),
        (url.replace("user=postgres", "user=nobody"), "Check user and password"),
        ("not a url".to_owned(), "postgres://user:password@host"),
    ];
    for (url, expected) in cases {
        let error = match Postgres::new(&url.clone().into(), "bank") {
            Ok(engine) => Database::new(engine).check().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert_eq!(error.trouble, DestinationTrouble::Settings);
    }
}

/// A full disk leaves what was there, whole, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_says_so_and_loses_nothing() {
    let folder = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let mut destination = Files::new(Csv, Box::new(Folder::new(file)));
    let error = destination.check().await.unwrap_err();
    assert!(error.to_string().contains("Give the path of a folder"), "{error}");
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = destinations::DestinationError::file(folder.path(), full);
    assert!(error.to_string().contains("Free space"), "{error}");
    assert_eq!(error.trouble, DestinationTrouble::Passing);
}

/// The tables of a connection by name, for tests that look at a folder.
pub(crate) fn files_in(folder: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            match path.is_dir() {
                true if !name.starts_with("_selvedge") => folders.push(path),
                true => {}
                false => drop(found.insert(name, entry.metadata().unwrap().len())),
            }
        }
    }
    found
}
