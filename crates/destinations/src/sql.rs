//! Tables in a database, the same for every engine: a batch is loaded into a table of the session,
//! merged from there, and committed with its mark. What differs is in [`Dialect`] and [`Engine`].
//!
//! Guarantee: rows and mark are one transaction, and begin from the mark that this session knows, so every
//! change takes effect exactly once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use model::FieldKind;

use crate::destination::{
    Batch, Destination, DestinationError, EachRow, Load, MissingColumn, Mode, Part,
};
use crate::table::{Column, Row, Table, bounded_name, plain_name};

/// Tables made or swapped in one transaction: more would need more locks than PostgreSQL has at its
/// usual settings.
const TABLES_AT_ONCE: usize = 200;
/// The table of marks.
const MARKS: &str = "_selvedge_marks";
/// The engine's clock, as text.
const NOW: &str = "CAST(CURRENT_TIMESTAMP AS TEXT)";
/// Behind the name of a table that is being built, and of the last generation.
const ASIDE: &str = "__aside";
const PREVIOUS: &str = "__previous";
/// The mark of a load whose row was only made to be held.
const UNWRITTEN: &str = "";

/// How an engine's SQL differs.
#[derive(Debug, Clone)]
pub struct Dialect {
    /// The engine's name.
    pub engine: &'static str,
    /// The type of a column of each kind.
    pub column_type: fn(FieldKind) -> &'static str,
    /// The type of a kind as the engine's catalog names it.
    pub catalog_type: fn(FieldKind) -> &'static str,
    /// Lists schema, table, column and type of every table.
    pub catalog: &'static str,
    /// Schema of tables without a namespace; none where the engine has no schemas.
    pub schema: Option<String>,
    /// Longest name, in bytes.
    pub name_limit: usize,
    /// Whether tables have primary keys; an engine that holds their index in memory does without, and
    /// rows are deleted before they are inserted.
    pub has_keys: bool,
    /// Most tables of a load that are put in place by their names. More are filled from the tables aside,
    /// and no earlier generation of them is kept: for an engine that reads the definitions of all tables
    /// again at every renaming.
    pub most_renamed: usize,
    /// An expression that reads a column as text.
    pub as_text: fn(FieldKind, &str) -> String,
    /// What limits, within a transaction, how long others are waited for.
    pub waiting: Limits,
}

/// Statements that begin and end a limit on waiting; empty where an engine gives up by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Before others may have to be waited for.
    pub begin: &'static str,
    /// When what follows may wait again.
    pub end: &'static str,
}

/// A connection to an engine.
#[async_trait]
pub trait Engine: Send {
    /// How its SQL differs.
    fn dialect(&self) -> &Dialect;

    /// Runs a statement.
    async fn execute(&mut self, sql: &str) -> Result<(), DestinationError>;

    /// Rows of a small query, every column as text.
    async fn query(&mut self, sql: &str) -> Result<Vec<Row>, DestinationError>;

    /// Adds rows to a table by the fastest path there is. The name is quoted, and has these columns in
    /// this order.
    async fn insert(
        &mut self,
        name: &str,
        columns: &[Column],
        rows: &[Row],
    ) -> Result<(), DestinationError>;

    /// Hands every row of a query over, every column as text.
    async fn each(&mut self, sql: &str, each: EachRow<'_>) -> Result<(), DestinationError>;

    /// Begins a transaction; ends one that a failure left open.
    async fn begin(&mut self) -> Result<(), DestinationError>;

    /// Commits.
    async fn commit(&mut self) -> Result<(), DestinationError>;

    /// Rolls back, whatever happened.
    async fn undo(&mut self);
}

/// A database as a destination.
pub struct Database<E> {
    engine: E,
    /// Tables of this session that batches are loaded into, by their columns.
    stages: HashMap<String, String>,
    /// The mark of each load as this session first read it or last set it.
    marks: HashMap<String, String>,
}

impl<E: Engine> Database<E> {
    /// Takes a connection.
    pub fn new(engine: E) -> Self {
        Self { engine, stages: HashMap::new(), marks: HashMap::new() }
    }

    fn names(&self) -> Names {
        Names { dialect: self.engine.dialect().clone() }
    }

    async fn run(&mut self, sql: &str) -> Result<(), DestinationError> {
        self.engine.execute(sql).await
    }

    /// Does what must be true together, or nothing of it.
    async fn together(
        &mut self,
        statements: impl IntoIterator<Item = String>,
    ) -> Result<(), DestinationError> {
        self.engine.begin().await?;
        let done = self.run_all(statements).await;
        self.end(done).await
    }

    /// Changes tables of a load that is still ours, some at a time, and with the last of them its mark,
    /// or forgets it.
    async fn change_tables(
        &mut self,
        load: &Load,
        of_each: Vec<Vec<String>>,
        mark: Option<&str>,
    ) -> Result<(), DestinationError> {
        let mut steps: Vec<_> = of_each.chunks(TABLES_AT_ONCE).map(<[_]>::concat).collect();
        let last = match mark {
            Some(mark) => self.set_mark(load, mark),
            None => self.forget(load),
        };
        match steps.last_mut() {
            Some(step) => step.push(last),
            None => steps.push(vec![last]),
        }
        for step in steps {
            self.engine.begin().await?;
            let done = match self.hold(&load.id).await {
                Ok(()) => self.run_all(step).await,
                refused => refused,
            };
            self.end(done).await?;
        }
        self.marks.insert(load.id.clone(), mark.unwrap_or(UNWRITTEN).to_owned());
        Ok(())
    }

    async fn run_all(
        &mut self,
        statements: impl IntoIterator<Item = String>,
    ) -> Result<(), DestinationError> {
        for statement in statements {
            self.run(&statement).await?;
        }
        Ok(())
    }

    /// Keeps what a transaction did, or nothing of it.
    async fn end(&mut self, done: Result<(), DestinationError>) -> Result<(), DestinationError> {
        match done {
            Ok(()) => self.engine.commit().await,
            Err(error) => {
                self.engine.undo().await;
                // Tables of the session may have gone with the transaction.
                self.stages.clear();
                Err(error)
            }
        }
    }

    /// Keeps others from a load until the transaction ends. Refuses one that somebody has written since
    /// this session read its mark: what is under way here may be there already.
    async fn hold(&mut self, load: &str) -> Result<(), DestinationError> {
        let (marks, id) = (self.names().marks(), literal(load));
        let touch = format!(
            "INSERT INTO {marks} (load, mark, updated_at) VALUES ({id}, '{UNWRITTEN}', {NOW}) \
             ON CONFLICT (load) DO UPDATE SET updated_at = excluded.updated_at"
        );
        let Limits { begin, end } = self.engine.dialect().waiting;
        let statements = [begin, &touch, end].map(str::to_owned);
        self.run_all(statements.into_iter().filter(|sql| !sql.is_empty())).await?;
        // Not every engine gives the row back that a conflict kept.
        let found = self.stored_mark(load).await?;
        if self.marks.get(load).is_some_and(|known| *known != found) {
            let engine = self.engine.dialect().engine;
            let said = format!("another process has written {load} meanwhile");
            return Err(DestinationError::passing(engine, said));
        }
        self.marks.insert(load.to_owned(), found);
        Ok(())
    }

    /// The mark of a load as it is at the destination.
    async fn stored_mark(&mut self, load: &str) -> Result<String, DestinationError> {
        let (marks, id) = (self.names().marks(), literal(load));
        let found =
            self.engine.query(&format!("SELECT mark FROM {marks} WHERE load = {id}")).await?;
        Ok(found.into_iter().flatten().flatten().next().unwrap_or_default())
    }

    /// Every table there is, with its columns and their types.
    async fn catalog(
        &mut self,
    ) -> Result<HashMap<String, Vec<(String, String)>>, DestinationError> {
        let names = self.names();
        let mut tables: HashMap<String, Vec<(String, String)>> = HashMap::new();
        for row in self.engine.query(self.engine.dialect().catalog).await? {
            let mut cells = row.into_iter().map(Option::unwrap_or_default);
            let (Some(schema), Some(table), Some(column), Some(kind)) =
                (cells.next(), cells.next(), cells.next(), cells.next())
            else {
                continue;
            };
            tables.entry(names.joined(&schema, &table)).or_default().push((column, kind));
        }
        Ok(tables)
    }

    async fn make_marks(&mut self) -> Result<(), DestinationError> {
        let names = self.names();
        let mut statements: Vec<String> = names.make_schema(None).into_iter().collect();
        statements.push(format!(
            "CREATE TABLE IF NOT EXISTS {} (load TEXT PRIMARY KEY, mark TEXT NOT NULL, \
             updated_at TEXT NOT NULL)",
            names.marks()
        ));
        for statement in statements {
            self.run(&statement).await?;
        }
        Ok(())
    }

    /// The session's table for batches with these columns.
    async fn stage(&mut self, columns: &[Column]) -> Result<String, DestinationError> {
        let types: Vec<String> = columns.iter().map(|column| self.names().column(column)).collect();
        let shape = types.join(", ");
        if let Some(stage) = self.stages.get(&shape) {
            return Ok(stage.clone());
        }
        let stage = quoted(&format!("_selvedge_stage_{}", self.stages.len()));
        self.run(&format!("CREATE TEMPORARY TABLE IF NOT EXISTS {stage} ({shape})")).await?;
        self.stages.insert(shape, stage.clone());
        Ok(stage)
    }

    /// Writes a batch and its mark, if the load is still ours.
    async fn write_batch(&mut self, batch: &Batch<'_>) -> Result<(), DestinationError> {
        self.hold(&batch.load.id).await?;
        for part in &batch.parts {
            let name = self.names().table(&part.table, if batch.aside { ASIDE } else { "" });
            let written = match batch.load.mode {
                Mode::Merge if !batch.aside => self.merge(&name, part).await,
                _ => self.engine.insert(&name, &part.table.columns, &part.rows).await,
            };
            written.map_err(|error| named(error, &part.table))?;
        }
        self.run(&self.set_mark(batch.load, &batch.mark)).await
    }

    async fn merge(&mut self, name: &str, part: &Part) -> Result<(), DestinationError> {
        let table = &part.table;
        if !part.rows.is_empty() {
            let stage = self.stage(&table.columns).await?;
            self.engine.insert(&stage, &table.columns, &part.rows).await?;
            if self.engine.dialect().has_keys {
                self.run(&merge_text(name, &stage, table)).await?;
            } else {
                let (key, list) = (keys_of(table), list_of(&table.columns));
                let known = format!("WHERE ({key}) IN (SELECT {key} FROM {stage})");
                self.run(&format!("DELETE FROM {name} {known}")).await?;
                let all = format!("SELECT {list} FROM {stage}");
                self.run(&format!("INSERT INTO {name} ({list}) {all}")).await?;
            }
            self.run(&format!("DELETE FROM {stage}")).await?;
        }
        if !part.gone.is_empty() {
            let columns: Vec<Column> =
                table.key.iter().map(|place| table.columns[*place].clone()).collect();
            let of = |row: &Row| -> Row { table.key.iter().map(|p| row[*p].clone()).collect() };
            let keys: Vec<Row> = part.gone.iter().map(of).collect();
            let stage = self.stage(&columns).await?;
            self.engine.insert(&stage, &columns, &keys).await?;
            let key = list_of(&columns);
            self.run(&format!("DELETE FROM {name} WHERE ({key}) IN (SELECT {key} FROM {stage})"))
                .await?;
            self.run(&format!("DELETE FROM {stage}")).await?;
        }
        Ok(())
    }

    /// Sets the mark of a load that is held.
    fn set_mark(&self, load: &Load, mark: &str) -> String {
        let (marks, mark, id) = (self.names().marks(), literal(mark), literal(&load.id));
        format!("UPDATE {marks} SET mark = {mark}, updated_at = {NOW} WHERE load = {id}")
    }

    fn forget(&self, load: &Load) -> String {
        format!("DELETE FROM {} WHERE load = {}", self.names().marks(), literal(&load.id))
    }

    /// What makes a table that is missing, and brings one that is there up to date, with the columns
    /// that it lacks.
    fn make_ready(
        &self,
        load: &Load,
        table: &Table,
        catalog: &HashMap<String, Vec<(String, String)>>,
    ) -> Result<(Vec<String>, Vec<MissingColumn>), DestinationError> {
        let names = self.names();
        let name = names.table(table, "");
        let Some(found) = catalog.get(&names.catalog_name(table, "")) else {
            return Ok((vec![names.create(&name, table, load.mode)], Vec::new()));
        };
        if load.refreshes {
            // It is built anew beside, whatever it looks like now.
            return Ok((Vec::new(), Vec::new()));
        }
        let (mut statements, mut missing) = (Vec::new(), Vec::new());
        let refresh = format!("refresh the stream {} to make the table anew", load.stream);
        for (place, column) in table.columns.iter().enumerate() {
            let expected = (names.dialect.catalog_type)(column.kind);
            match found.iter().find(|(name, _)| *name == column.name) {
                Some((_, kind)) if kind.eq_ignore_ascii_case(expected) => {}
                Some((_, kind)) => {
                    return Err(DestinationError::drift(
                        format!("table {table}, column {}", column.name),
                        format!("it has the type {kind} where {expected} was made"),
                        format!("Give the column its type back, or {refresh}"),
                    ));
                }
                None if table.key.contains(&place) => {
                    return Err(DestinationError::drift(
                        format!("table {table}"),
                        format!("it lacks {}, a part of its primary key", column.name),
                        format!("Add the column again, or {refresh}"),
                    ));
                }
                None => {
                    let added = names.column(column);
                    statements.push(format!("ALTER TABLE {name} ADD COLUMN {added}"));
                    missing.push(MissingColumn {
                        stream: load.stream.clone(),
                        table: table.to_string(),
                        column: column.name.clone(),
                    });
                }
            }
        }
        Ok((statements, missing))
    }
}

#[async_trait]
impl<E: Engine> Destination for Database<E> {
    async fn check(&mut self) -> Result<(), DestinationError> {
        let names = self.names();
        let probe = names.qualified(None, "_selvedge_check");
        self.engine.begin().await?;
        let statements = names.make_schema(None).into_iter().chain([
            format!("CREATE TABLE {probe} (id INTEGER)"),
            format!("INSERT INTO {probe} VALUES (1)"),
        ]);
        let checked = self.run_all(statements).await;
        self.engine.undo().await;
        checked
    }

    async fn prepare(
        &mut self,
        loads: &[Load],
        add_columns: bool,
    ) -> Result<Vec<MissingColumn>, DestinationError> {
        self.make_marks().await?;
        let names = self.names();
        let catalog = self.catalog().await?;
        let (mut schemas, mut statements, mut missing) = (BTreeSet::new(), Vec::new(), Vec::new());
        for load in loads {
            for table in &load.tables {
                schemas.extend(names.make_schema(table.namespace.as_deref()));
                let (own, lacking) = self.make_ready(load, table, &catalog)?;
                if lacking.is_empty() || add_columns {
                    statements.extend(own);
                }
                missing.extend(lacking);
            }
        }
        let statements: Vec<String> = schemas.into_iter().chain(statements).collect();
        for some in statements.chunks(TABLES_AT_ONCE) {
            self.together(some.to_vec()).await?;
        }
        Ok(missing)
    }

    async fn mark(&mut self, load: &str) -> Result<Option<String>, DestinationError> {
        self.make_marks().await?;
        let mark = self.stored_mark(load).await?;
        self.marks.entry(load.to_owned()).or_insert_with(|| mark.clone());
        Ok(Some(mark).filter(|mark| mark != UNWRITTEN))
    }

    async fn begin_aside(&mut self, load: &Load, mark: &str) -> Result<(), DestinationError> {
        let names = self.names();
        let tables = load.tables.iter().map(|table| {
            let name = names.table(table, ASIDE);
            vec![format!("DROP TABLE IF EXISTS {name}"), names.create(&name, table, load.mode)]
        });
        self.change_tables(load, tables.collect(), Some(mark)).await
    }

    fn resumes_aside(&self) -> bool {
        true
    }

    async fn write(&mut self, batch: Batch<'_>) -> Result<(), DestinationError> {
        self.engine.begin().await?;
        let written = self.write_batch(&batch).await;
        self.end(written).await?;
        self.marks.insert(batch.load.id.clone(), batch.mark);
        Ok(())
    }

    async fn settle(&mut self, _load: &Load) -> Result<(), DestinationError> {
        Ok(())
    }

    /// Table after table: what a crash interrupted is done by doing it again, because a table that was
    /// swapped has nothing aside any more.
    async fn swap(&mut self, load: &Load, mark: &str) -> Result<(), DestinationError> {
        let names = self.names();
        let catalog = self.catalog().await?;
        let waits = |table: &&Arc<Table>| catalog.contains_key(&names.catalog_name(table, ASIDE));
        let renamed = load.tables.len() <= names.dialect.most_renamed;
        let tables = load.tables.iter().filter(waits).map(|table| match renamed {
            true => names.renamed(table).to_vec(),
            false => names.filled(table, load.mode).to_vec(),
        });
        self.change_tables(load, tables.collect(), Some(mark)).await
    }

    async fn roll_back(&mut self, load: &Load, mark: &str) -> Result<bool, DestinationError> {
        let names = self.names();
        let catalog = self.catalog().await?;
        let kept = |table: &&Arc<Table>| catalog.contains_key(&names.catalog_name(table, PREVIOUS));
        let tables = load.tables.iter().filter(kept).map(|table| {
            let gone = format!("DROP TABLE IF EXISTS {}", names.table(table, ""));
            vec![gone, names.rename(table, PREVIOUS, "")]
        });
        let tables: Vec<_> = tables.collect();
        let is_kept = !tables.is_empty();
        if is_kept {
            self.change_tables(load, tables, Some(mark)).await?;
        }
        Ok(is_kept)
    }

    async fn clear(&mut self, load: &Load) -> Result<(), DestinationError> {
        self.make_marks().await?;
        let names = self.names();
        let tables = load.tables.iter().map(|table| {
            let drop = |suffix| format!("DROP TABLE IF EXISTS {}", names.table(table, suffix));
            ["", ASIDE].map(drop).to_vec()
        });
        self.change_tables(load, tables.collect(), None).await
    }

    async fn scan(&mut self, table: &Table, each: EachRow<'_>) -> Result<bool, DestinationError> {
        let dialect = self.engine.dialect();
        let read = |column: &Column| (dialect.as_text)(column.kind, &quoted(&column.name));
        let columns: Vec<String> = table.columns.iter().map(read).collect();
        let name = self.names().table(table, "");
        let all = format!("SELECT {} FROM {name}", columns.join(", "));
        self.engine.each(&all, each).await.map_err(|error| named(error, table))?;
        Ok(true)
    }
}

/// Names and definitions of tables in a dialect.
struct Names {
    dialect: Dialect,
}

impl Names {
    /// The quoted name of a table, with its schema.
    fn table(&self, table: &Table, suffix: &str) -> String {
        self.qualified(table.namespace.as_deref(), &format!("{}{suffix}", table.name))
    }

    fn marks(&self) -> String {
        self.qualified(None, MARKS)
    }

    fn qualified(&self, namespace: Option<&str>, name: &str) -> String {
        match self.parts(namespace, name) {
            (Some(schema), name) => format!("{}.{}", quoted(&schema), quoted(&name)),
            (None, name) => quoted(&name),
        }
    }

    /// As the catalog has it, without quotes.
    fn catalog_name(&self, table: &Table, suffix: &str) -> String {
        let name = format!("{}{suffix}", table.name);
        let (schema, name) = self.parts(table.namespace.as_deref(), &name);
        self.joined(&schema.unwrap_or_default(), &name)
    }

    fn joined(&self, schema: &str, table: &str) -> String {
        match self.dialect.schema {
            Some(_) => format!("{schema}.{table}"),
            None => table.to_owned(),
        }
    }

    fn parts(&self, namespace: Option<&str>, name: &str) -> (Option<String>, String) {
        let bounded = |name: &str| bounded_name(name, self.dialect.name_limit);
        match (&self.dialect.schema, namespace) {
            (Some(_), Some(namespace)) => (Some(bounded(&plain_name(namespace))), bounded(name)),
            (Some(schema), None) => (Some(schema.clone()), bounded(name)),
            (None, Some(namespace)) => {
                (None, bounded(&format!("{}__{name}", plain_name(namespace))))
            }
            (None, None) => (None, bounded(name)),
        }
    }

    fn make_schema(&self, namespace: Option<&str>) -> Option<String> {
        let schema = self.parts(namespace, "").0?;
        Some(format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(&schema)))
    }

    fn column(&self, column: &Column) -> String {
        format!("{} {}", quoted(&column.name), (self.dialect.column_type)(column.kind))
    }

    fn create(&self, name: &str, table: &Table, mode: Mode) -> String {
        let mut parts: Vec<String> = table.columns.iter().map(|c| self.column(c)).collect();
        if mode == Mode::Merge && self.dialect.has_keys {
            parts.push(format!("PRIMARY KEY ({})", keys_of(table)));
        }
        format!("CREATE TABLE {name} ({})", parts.join(", "))
    }

    /// The table aside takes the place of the one in use, which becomes the previous one.
    fn renamed(&self, table: &Table) -> [String; 3] {
        [
            format!("DROP TABLE IF EXISTS {}", self.table(table, PREVIOUS)),
            self.rename(table, "", PREVIOUS),
            self.rename(table, ASIDE, ""),
        ]
    }

    /// The table in use is made anew from the one aside.
    fn filled(&self, table: &Table, mode: Mode) -> [String; 5] {
        let (own, aside) = (self.table(table, ""), self.table(table, ASIDE));
        [
            format!("DROP TABLE IF EXISTS {}", self.table(table, PREVIOUS)),
            format!("DROP TABLE IF EXISTS {own}"),
            self.create(&own, table, mode),
            format!("INSERT INTO {own} SELECT * FROM {aside}"),
            format!("DROP TABLE {aside}"),
        ]
    }

    fn rename(&self, table: &Table, from: &str, to: &str) -> String {
        let (_, to) = self.parts(table.namespace.as_deref(), &format!("{}{to}", table.name));
        format!("ALTER TABLE {} RENAME TO {}", self.table(table, from), quoted(&to))
    }
}

fn merge_text(name: &str, stage: &str, table: &Table) -> String {
    let list = list_of(&table.columns);
    let others = table.columns.iter().enumerate();
    let others = others.filter(|(place, _)| !table.key.contains(place));
    let set: Vec<String> =
        others.map(|(_, column)| format!("{0} = excluded.{0}", quoted(&column.name))).collect();
    let action = match set.is_empty() {
        true => "NOTHING".to_owned(),
        false => format!("UPDATE SET {}", set.join(", ")),
    };
    // Without WHERE, SQLite would read ON as the beginning of a join.
    format!(
        "INSERT INTO {name} ({list}) SELECT {list} FROM {stage} WHERE true \
         ON CONFLICT ({}) DO {action}",
        keys_of(table)
    )
}

fn keys_of(table: &Table) -> String {
    table.key_names().into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

fn list_of(columns: &[Column]) -> String {
    columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
}

/// Says which table an engine's error is about.
fn named(error: DestinationError, table: &Table) -> DestinationError {
    DestinationError { place: format!("table {table} of {}", error.place), ..error }
}

/// An identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''").replace('\0', ""))
}
