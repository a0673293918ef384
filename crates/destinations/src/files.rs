//! Tables as files in a folder or bucket, the same for every format.
//!
//! A table whose rows are merged or replaced is one file, written aside and put in the place of the old
//! one; a table whose rows are appended is a folder of numbered files. Readers see whole files only.
//! The mark is put last: what a crash leaves without one is done again into the same files.
//!
//! Guarantee: each table is seen whole; every change takes effect exactly once.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempPath};

use crate::destination::{
    Batch, Destination, DestinationError, EachRow, Load, MissingColumn, Mode,
};
use crate::table::{Cell, Row, Table, plain_name};

/// Rows held back until they are merged into their file: fewer would write large files too often.
const HELD_ROWS: usize = 50_000;
/// Where marks, last generations and unfinished files are; readers of folders pass over it.
const OWN: &str = "_selvedge";

/// A format of files.
pub trait Format: Send + Sync + 'static {
    /// How names of its files end.
    fn ending(&self) -> &'static str;

    /// Starts a file.
    fn writer(&self, table: &Table, file: File) -> io::Result<Box<dyn RowWriter>>;

    /// The names of a file's columns; nothing where it has no rows to tell them by.
    fn columns(&self, file: File) -> io::Result<Option<Vec<String>>>;

    /// Hands every row over, its cells in the order of the table's columns.
    fn read(&self, table: &Table, file: File, each: EachRow<'_>) -> io::Result<()>;
}

/// A file that is being written.
pub trait RowWriter: Send {
    /// Adds rows.
    fn write(&mut self, rows: &[Row]) -> io::Result<()>;

    /// Ends the file.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Where files are. A name has folders by `/`.
#[async_trait]
pub trait Place: Send + Sync {
    /// For messages.
    fn describe(&self) -> String;

    /// A file to be written, seen by nobody. `owner` names whose it is.
    fn scratch(&self, owner: &str) -> Result<NamedTempFile, DestinationError>;

    /// Removes unfinished files that a crash left.
    fn clear_scratch(&self, owner: &str);

    /// Puts a finished file in its place, in one step and durably.
    async fn put(&self, name: &str, file: TempPath) -> Result<(), DestinationError>;

    /// Copies a file in one step; false if there is none.
    async fn copy(&self, from: &str, to: &str) -> Result<bool, DestinationError>;

    /// A file to be read.
    async fn open(&self, name: &str) -> Result<Option<File>, DestinationError>;

    /// Names of the files in a folder, without it.
    async fn list(&self, folder: &str) -> Result<Vec<String>, DestinationError>;

    /// Removes a file; one that is not there is removed already.
    async fn remove(&self, name: &str) -> Result<(), DestinationError>;
}

/// Files as a destination.
pub struct Files {
    format: Arc<dyn Format>,
    place: Box<dyn Place>,
    held: HashMap<String, Held>,
    aside: HashMap<String, Aside>,
}

/// What is durable of a load.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    mark: Option<String>,
    /// The number of the last file that was appended.
    file: u64,
}

/// Rows of a load that wait to be written.
#[derive(Default)]
struct Held {
    tables: HashMap<String, HeldTable>,
    rows: usize,
    mark: String,
}

/// Rows of one table that wait.
struct HeldTable {
    table: Arc<Table>,
    /// Of a merge the last word on each key; none where it went.
    words: BTreeMap<Vec<Cell>, Option<Row>>,
    /// Of an append every row.
    rows: Vec<Row>,
}

/// Tables of a load that are built aside.
#[derive(Default)]
struct Aside {
    open: Option<OpenTable>,
    whole: HashMap<String, TempPath>,
}

/// A table whose file is being written.
struct OpenTable {
    table: Arc<Table>,
    /// The lock only makes it shareable; nobody waits for it.
    writer: Mutex<Box<dyn RowWriter>>,
    path: TempPath,
}

impl Files {
    /// Files of a format in a place.
    pub fn new(format: impl Format, place: Box<dyn Place>) -> Self {
        Self { format: Arc::new(format), place, held: HashMap::new(), aside: HashMap::new() }
    }

    fn file(&self, table: &Table) -> String {
        format!("{}.{}", folder(table), self.format.ending())
    }

    fn previous(&self, table: &Table) -> String {
        format!("{OWN}/previous/{}", self.file(table))
    }

    fn numbered(&self, table: &Table, number: u64) -> String {
        format!("{}/{number:010}.{}", folder(table), self.format.ending())
    }

    async fn kept(&self, load: &str) -> Result<Kept, DestinationError> {
        match self.place.open(&mark_file(load)).await? {
            None => Ok(Kept::default()),
            Some(file) => serde_json::from_reader(file).map_err(|error| {
                DestinationError::drift(
                    format!("{}/{}", self.place.describe(), mark_file(load)),
                    error.to_string(),
                    "Delete that file; the stream is then loaded anew",
                )
            }),
        }
    }

    async fn keep(&self, load: &str, kept: &Kept) -> Result<(), DestinationError> {
        let file = self.place.scratch(load)?;
        let written = serde_json::to_writer(file.as_file(), kept).map_err(io::Error::from);
        written.map_err(|error| self.failed(error))?;
        self.place.put(&mark_file(load), file.into_temp_path()).await
    }

    fn failed(&self, error: io::Error) -> DestinationError {
        DestinationError::file(std::path::Path::new(&self.place.describe()), error)
    }

    fn start(
        &self,
        load: &str,
        table: &Table,
    ) -> Result<(Box<dyn RowWriter>, TempPath), DestinationError> {
        let (file, path) = self.place.scratch(load)?.into_parts();
        let writer = self.format.writer(table, file).map_err(|error| self.failed(error))?;
        Ok((writer, path))
    }

    fn finish(&self, writer: Box<dyn RowWriter>) -> Result<(), DestinationError> {
        writer.finish().map_err(|error| self.failed(error))
    }

    /// Rows of a refresh into the file of their table, which is whole when the next table begins.
    fn write_aside(&mut self, batch: &Batch<'_>) -> Result<(), DestinationError> {
        let mut aside = self.aside.remove(&batch.load.id).unwrap_or_default();
        for part in &batch.parts {
            let is_open = aside.open.as_ref().is_some_and(|open| open.table == part.table);
            if !is_open {
                self.close_table(&mut aside)?;
                let (writer, path) = self.start(&batch.load.id, &part.table)?;
                let (table, writer) = (Arc::clone(&part.table), Mutex::new(writer));
                aside.open = Some(OpenTable { table, writer, path });
            }
            if let Some(open) = &mut aside.open {
                let writer = open.writer.get_mut().map_err(|_| self.failed(broken()))?;
                writer.write(&part.rows).map_err(|error| self.failed(error))?;
            }
        }
        self.aside.insert(batch.load.id.clone(), aside);
        Ok(())
    }

    fn close_table(&self, aside: &mut Aside) -> Result<(), DestinationError> {
        if let Some(OpenTable { table, writer, path }) = aside.open.take() {
            let writer = writer.into_inner();
            self.finish(writer.map_err(|_| self.failed(broken()))?)?;
            aside.whole.insert(table.to_string(), path);
        }
        Ok(())
    }

    /// Writes what is held of a load, then its mark.
    async fn flush(&mut self, load: &Load) -> Result<(), DestinationError> {
        let Some(held) = self.held.remove(&load.id) else { return Ok(()) };
        let mut kept = self.kept(&load.id).await?;
        match load.mode {
            Mode::Merge => {
                for HeldTable { table, words, .. } in held.tables.values() {
                    self.merge(load, table, words).await?;
                }
            }
            Mode::Append => {
                kept.file += 1;
                for HeldTable { table, rows, .. } in held.tables.values() {
                    let (mut writer, path) = self.start(&load.id, table)?;
                    writer.write(rows).map_err(|error| self.failed(error))?;
                    self.finish(writer)?;
                    self.place.put(&self.numbered(table, kept.file), path).await?;
                }
            }
        }
        self.keep(&load.id, &Kept { mark: Some(held.mark), ..kept }).await
    }

    /// The file anew: rows that nothing new is said of, then the new words.
    async fn merge(
        &self,
        load: &Load,
        table: &Arc<Table>,
        words: &BTreeMap<Vec<Cell>, Option<Row>>,
    ) -> Result<(), DestinationError> {
        let (mut writer, path) = self.start(&load.id, table)?;
        if let Some(file) = self.place.open(&self.file(table)).await? {
            let mut failure = None;
            let each = &mut |row: Row| {
                if failure.is_none() && !words.contains_key(&key_of(table, &row)) {
                    failure = writer.write(&[row]).err();
                }
            };
            let read = self.format.read(table, file, each);
            read.and(failure.map_or(Ok(()), Err)).map_err(|error| self.failed(error))?;
        }
        let rows: Vec<Row> = words.values().flatten().cloned().collect();
        writer.write(&rows).map_err(|error| self.failed(error))?;
        self.finish(writer)?;
        self.place.put(&self.file(table), path).await
    }

    /// Files behind the mark are of a run that ended without one.
    async fn forget_unfinished(&self, load: &Load) -> Result<(), DestinationError> {
        self.place.clear_scratch(&load.id);
        if load.mode == Mode::Append {
            let last = self.kept(&load.id).await?.file;
            self.forget_files(load, last).await?;
        }
        Ok(())
    }

    async fn forget_files(&self, load: &Load, last: u64) -> Result<(), DestinationError> {
        for table in &load.tables {
            for name in self.place.list(&folder(table)).await? {
                let number = name.split('.').next().and_then(|digits| digits.parse::<u64>().ok());
                if number.is_some_and(|number| number > last) {
                    self.place.remove(&format!("{}/{name}", folder(table))).await?;
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Destination for Files {
    async fn check(&mut self) -> Result<(), DestinationError> {
        let name = format!("{OWN}/check");
        let file = self.place.scratch("check")?;
        self.place.put(&name, file.into_temp_path()).await?;
        self.place.clear_scratch("check");
        self.place.remove(&name).await
    }

    async fn prepare(
        &mut self,
        loads: &[Load],
        _add_columns: bool,
    ) -> Result<Vec<MissingColumn>, DestinationError> {
        let mut missing = Vec::new();
        for load in loads {
            self.forget_unfinished(load).await?;
            let compared = load.mode == Mode::Merge && !load.refreshes;
            for table in load.tables.iter().filter(|_| compared) {
                let Some(file) = self.place.open(&self.file(table)).await? else { continue };
                let there = self.format.columns(file).map_err(|error| {
                    DestinationError::drift(
                        format!("{}/{}", self.place.describe(), self.file(table)),
                        error.to_string(),
                        format!("Restore the file, or refresh the stream {}", load.stream),
                    )
                })?;
                let Some(there) = there else { continue };
                let lacks = |name: &&str| !there.iter().any(|column| column == name);
                if let Some(name) = table.key_names().into_iter().find(lacks) {
                    return Err(DestinationError::drift(
                        format!("table {table}"),
                        format!("its file lacks {name}, a part of its primary key"),
                        format!("Restore the file, or refresh the stream {}", load.stream),
                    ));
                }
                let names = table.columns.iter().map(|column| column.name.as_str());
                missing.extend(names.filter(lacks).map(|column| MissingColumn {
                    stream: load.stream.clone(),
                    table: table.to_string(),
                    column: column.to_owned(),
                }));
            }
        }
        Ok(missing)
    }

    async fn mark(&mut self, load: &str) -> Result<Option<String>, DestinationError> {
        Ok(self.kept(load).await?.mark)
    }

    async fn begin_aside(&mut self, load: &Load, _mark: &str) -> Result<(), DestinationError> {
        self.aside.insert(load.id.clone(), Aside::default());
        self.place.clear_scratch(&load.id);
        Ok(())
    }

    async fn write(&mut self, batch: Batch<'_>) -> Result<(), DestinationError> {
        if batch.aside {
            return self.write_aside(&batch);
        }
        let load = batch.load;
        let held = self.held.entry(load.id.clone()).or_default();
        held.rows += batch.len();
        held.mark = batch.mark;
        for part in batch.parts {
            let entry = held.tables.entry(part.table.to_string());
            let HeldTable { table, words, rows } = entry.or_insert_with(|| HeldTable {
                table: part.table,
                words: BTreeMap::new(),
                rows: Vec::new(),
            });
            if load.mode == Mode::Append {
                rows.extend(part.rows);
                continue;
            }
            words.extend(part.gone.into_iter().map(|row| (key_of(table, &row), None)));
            words.extend(part.rows.into_iter().map(|row| (key_of(table, &row), Some(row))));
        }
        if held.rows >= HELD_ROWS { self.flush(load).await } else { Ok(()) }
    }

    async fn settle(&mut self, load: &Load) -> Result<(), DestinationError> {
        self.flush(load).await
    }

    async fn swap(&mut self, load: &Load, mark: &str) -> Result<(), DestinationError> {
        let mut aside = self.aside.remove(&load.id).unwrap_or_default();
        self.close_table(&mut aside)?;
        for table in &load.tables {
            let path = match aside.whole.remove(&table.to_string()) {
                Some(path) => path,
                // A table without rows is a file without rows.
                None => {
                    let (writer, path) = self.start(&load.id, table)?;
                    self.finish(writer)?;
                    path
                }
            };
            self.place.copy(&self.file(table), &self.previous(table)).await?;
            self.place.put(&self.file(table), path).await?;
        }
        // Files that were appended once, under another mode, are of the past.
        self.forget_files(load, 0).await?;
        self.keep(&load.id, &Kept { mark: Some(mark.to_owned()), file: 0 }).await
    }

    async fn roll_back(&mut self, load: &Load, mark: &str) -> Result<bool, DestinationError> {
        let mut any = false;
        for table in &load.tables {
            any |= self.place.copy(&self.previous(table), &self.file(table)).await?;
        }
        if any {
            let kept = self.kept(&load.id).await?;
            self.keep(&load.id, &Kept { mark: Some(mark.to_owned()), ..kept }).await?;
        }
        Ok(any)
    }

    async fn clear(&mut self, load: &Load) -> Result<(), DestinationError> {
        self.place.remove(&mark_file(&load.id)).await?;
        for table in &load.tables {
            self.place.remove(&self.file(table)).await?;
        }
        self.forget_files(load, 0).await
    }

    async fn scan(&mut self, table: &Table, each: EachRow<'_>) -> Result<bool, DestinationError> {
        let mut names = vec![self.file(table)];
        let numbered = self.place.list(&folder(table)).await?;
        names.extend(numbered.into_iter().map(|name| format!("{}/{name}", folder(table))));
        for name in names {
            if let Some(file) = self.place.open(&name).await? {
                self.format.read(table, file, each).map_err(|error| self.failed(error))?;
            }
        }
        Ok(true)
    }
}

/// A file whose writing panicked.
fn broken() -> io::Error {
    io::Error::other("the writing of a file broke off")
}

fn key_of(table: &Table, row: &Row) -> Vec<Cell> {
    table.key.iter().map(|place| row[*place].clone()).collect()
}

fn folder(table: &Table) -> String {
    match &table.namespace {
        Some(namespace) => format!("{}/{}", plain_name(namespace), table.name),
        None => table.name.clone(),
    }
}

fn mark_file(load: &str) -> String {
    format!("{OWN}/marks/{}.json", plain_name(load))
}
