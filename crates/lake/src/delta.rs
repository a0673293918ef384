//! Delta Lake tables, one folder each, by MERGE: changed rows in place, removed ones deleted, every
//! commit seen whole.
//!
//! Guarantee: every change takes effect exactly once. A merge that is done again changes nothing; an
//! append that a crash left without its mark is taken back first. A refresh is one commit that replaces
//! all rows; the version before it is the last generation.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use deltalake::datafusion::prelude::{DataFrame, ParquetReadOptions, SessionContext, col, lit};
use deltalake::delta_datafusion::DeltaSessionContext;
use deltalake::kernel::Transaction;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::protocol::SaveMode;
use deltalake::{DeltaTable, DeltaTableError, ensure_table_uri};
use destinations::{
    Batch, Destination, DestinationError, EachRow, Folder, Format, Load, MissingColumn, Mode, Part,
    Place, Row, RowWriter, Table, plain_name,
};
use futures_util::StreamExt;
use model::FieldKind;
use serde::{Deserialize, Serialize};
use tempfile::TempPath;

use crate::Parquet;
use crate::columns::{batch, rows, schema_of};
use crate::parquet::properties;

/// The column of a merge's source that says which rows went.
const GONE: &str = "__selvedge_gone";
const OWN: &str = "_selvedge";

/// A folder of tables.
pub struct DeltaLake {
    root: PathBuf,
    folder: Folder,
    /// Tables that are built aside, as Parquet files.
    aside: HashMap<String, (TempPath, std::sync::Mutex<Box<dyn RowWriter>>)>,
}

/// What is durable of a load.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    mark: Option<String>,
    /// Appends so far.
    appends: i64,
    /// The version of each table before the append that is under way.
    bases: BTreeMap<String, u64>,
    /// The version of each table before its last refresh.
    previous: BTreeMap<String, u64>,
}

impl DeltaLake {
    /// Tables in a folder.
    pub fn new(root: PathBuf) -> Self {
        let folder = Folder::new(root.clone());
        Self { root, folder, aside: HashMap::new() }
    }

    fn path(&self, table: &Table) -> PathBuf {
        match &table.namespace {
            Some(namespace) => self.root.join(plain_name(namespace)).join(&table.name),
            None => self.root.join(&table.name),
        }
    }

    async fn open(&self, table: &Table) -> Result<DeltaTable, DestinationError> {
        let path = self.path(table);
        let failed = |error| worded(&path, error);
        std::fs::create_dir_all(&path).map_err(|error| DestinationError::file(&path, error))?;
        let whole = path.canonicalize().map_err(|error| DestinationError::file(&path, error))?;
        let url = ensure_table_uri(whole.to_string_lossy()).map_err(failed)?;
        DeltaTable::try_from_url(url).await.map_err(failed)
    }

    async fn kept(&self, load: &str) -> Result<Kept, DestinationError> {
        let Some(file) = self.folder.open(&mark_file(load)).await? else {
            return Ok(Kept::default());
        };
        serde_json::from_reader(file).map_err(|error| {
            let place = self.root.join(mark_file(load));
            let place = place.display().to_string();
            DestinationError::drift(
                place,
                error.to_string(),
                "Delete that file; the stream is then loaded anew",
            )
        })
    }

    async fn keep(&self, load: &str, kept: &Kept) -> Result<(), DestinationError> {
        let file = self.folder.scratch(load)?;
        let written = serde_json::to_writer(file.as_file(), kept).map_err(std::io::Error::from);
        written.map_err(|error| DestinationError::file(&self.root, error))?;
        self.folder.put(&mark_file(load), file.into_temp_path()).await
    }

    /// Changed rows in place of those with their keys, and removed ones away.
    async fn merge(&self, part: &Part) -> Result<(), DestinationError> {
        let table = &part.table;
        let failed = |error| worded(&self.path(table), error);
        let source = source(part).map_err(|error| failed(error.into()))?;
        let same = table
            .key_names()
            .into_iter()
            .map(|name| col(format!("target.\"{name}\"")).eq(col(format!("source.\"{name}\""))));
        let Some(same) = same.reduce(deltalake::datafusion::prelude::Expr::and) else {
            return Ok(());
        };
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let gone = || col(format!("source.{GONE}"));
        let value = |name: &str| col(format!("source.\"{name}\""));
        let merge = self
            .open(table)
            .await?
            .merge(source, same)
            .with_session_state(Arc::new(session().map_err(failed)?.state()))
            .with_writer_properties(properties())
            .with_source_alias("source")
            .with_target_alias("target")
            .when_matched_delete(|delete| delete.predicate(gone().eq(lit(true))))
            .and_then(|merge| {
                merge.when_matched_update(|update| {
                    let update = update.predicate(gone().eq(lit(false)));
                    names.iter().fold(update, |update, name| update.update(*name, value(name)))
                })
            })
            .and_then(|merge| {
                merge.when_not_matched_insert(|insert| {
                    let insert = insert.predicate(gone().eq(lit(false)));
                    names.iter().fold(insert, |insert, name| insert.set(*name, value(name)))
                })
            })
            .map_err(failed)?;
        merge.await.map(|_| ()).map_err(failed)
    }

    async fn append(&self, load: &Load, part: &Part, number: i64) -> Result<(), DestinationError> {
        let table = &part.table;
        let failed = |error| worded(&self.path(table), error);
        let rows = batch(&schema_of(table), &table.columns, &part.rows);
        let rows = rows.map_err(|error| failed(error.into()))?;
        let transaction = Transaction::new(&load.id, number);
        let properties = CommitProperties::default().with_application_transaction(transaction);
        let written = self
            .open(table)
            .await?
            .write(vec![rows])
            .with_save_mode(SaveMode::Append)
            .with_commit_properties(properties)
            .await;
        written.map(|_| ()).map_err(failed)
    }

    /// Takes back what an append wrote that never got its mark.
    async fn take_back(&self, load: &Load) -> Result<(), DestinationError> {
        let kept = self.kept(&load.id).await?;
        for table in &load.tables {
            let Some(base) = kept.bases.get(&table.to_string()) else { continue };
            let found = self.open(table).await?;
            let failed = |error| worded(&self.path(table), error);
            let written = match found.snapshot() {
                Ok(state) => {
                    let store = found.log_store();
                    let version = state.snapshot().transaction_version(store.as_ref(), &load.id);
                    version.await.map_err(failed)?
                }
                Err(_) => None,
            };
            if written.is_some_and(|written| written > kept.appends) {
                found.restore().with_version_to_restore(*base).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    async fn make(&self, table: &Table) -> Result<DeltaTable, DestinationError> {
        let found = self.open(table).await?;
        if found.version().is_some() {
            return Ok(found);
        }
        let failed = |error| worded(&self.path(table), error);
        let empty = batch(&schema_of(table), &table.columns, &[]);
        let empty = empty.map_err(|error| failed(error.into()))?;
        let made = found.write(vec![empty]).with_save_mode(SaveMode::Ignore).await;
        made.map_err(failed)
    }
}

/// Where reads and merges run: one after another, because each holds rows of its own.
fn session() -> Result<SessionContext, DeltaTableError> {
    let one = [("datafusion.execution.target_partitions".to_owned(), "1".to_owned())];
    Ok(DeltaSessionContext::new_with_session_overrides(&one.into())?.into_inner())
}

/// Rows and keys of a merge, with what happens to each.
fn source(part: &Part) -> Result<DataFrame, deltalake::datafusion::error::DataFusionError> {
    let table = &part.table;
    let mut columns = table.columns.clone();
    columns.push(destinations::Column {
        name: GONE.to_owned(),
        kind: FieldKind::Boolean,
        meaning: String::new(),
    });
    let told = |row: &Row, gone: bool| {
        let mut row = row.clone();
        row.push(Some(gone.to_string()));
        row
    };
    let changed = part.rows.iter().map(|row| told(row, false));
    let gone = part.gone.iter().map(|row| told(row, true));
    let rows: Vec<Row> = changed.chain(gone).collect();
    let schema = crate::columns::schema(&columns, &table.key);
    SessionContext::new().read_batch(batch(&schema, &columns, &rows)?)
}

#[async_trait]
impl Destination for DeltaLake {
    async fn check(&mut self) -> Result<(), DestinationError> {
        let name = format!("{OWN}/check");
        let file = self.folder.scratch("check")?;
        self.folder.put(&name, file.into_temp_path()).await?;
        self.folder.clear_scratch("check");
        self.folder.remove(&name).await
    }

    async fn prepare(
        &mut self,
        loads: &[Load],
        add_columns: bool,
    ) -> Result<Vec<MissingColumn>, DestinationError> {
        let mut missing = Vec::new();
        for load in loads {
            self.folder.clear_scratch(&load.id);
            if load.mode == Mode::Append {
                self.take_back(load).await?;
            }
            for table in load.tables.iter().filter(|_| !load.refreshes) {
                let found = self.make(table).await?;
                let failed = |error| worded(&self.path(table), error);
                let there = found.snapshot().map_err(failed)?.schema();
                let wanted = schema_of(table);
                let mut fields = Vec::new();
                for (place, column) in table.columns.iter().enumerate() {
                    if there.field(&column.name).is_some() {
                        continue;
                    }
                    if table.key.contains(&place) {
                        return Err(DestinationError::drift(
                            format!("table {table}"),
                            format!("it lacks {}, a part of its primary key", column.name),
                            format!("Restore the table, or refresh the stream {}", load.stream),
                        ));
                    }
                    fields.push(wanted.field(place).clone());
                    missing.push(MissingColumn {
                        stream: load.stream.clone(),
                        table: table.to_string(),
                        column: column.name.clone(),
                    });
                }
                if add_columns && !fields.is_empty() {
                    // An append without rows brings the columns along.
                    let schema = Arc::new(deltalake::arrow::datatypes::Schema::new(fields));
                    let empty = deltalake::arrow::array::RecordBatch::new_empty(schema);
                    let merged = deltalake::operations::write::SchemaMode::Merge;
                    let added = found.write(vec![empty]).with_schema_mode(merged);
                    added.with_save_mode(SaveMode::Append).await.map_err(failed)?;
                }
            }
        }
        Ok(missing)
    }

    async fn mark(&mut self, load: &str) -> Result<Option<String>, DestinationError> {
        Ok(self.kept(load).await?.mark)
    }

    async fn begin_aside(&mut self, load: &Load, _mark: &str) -> Result<(), DestinationError> {
        self.folder.clear_scratch(&load.id);
        self.aside.clear();
        Ok(())
    }

    async fn write(&mut self, batch: Batch<'_>) -> Result<(), DestinationError> {
        let load = batch.load;
        if batch.aside {
            for part in &batch.parts {
                let name = part.table.to_string();
                if !self.aside.contains_key(&name) {
                    let (file, path) = self.folder.scratch(&load.id)?.into_parts();
                    let writer = Parquet.writer(&part.table, file);
                    let writer = writer.map_err(|error| DestinationError::file(&path, error))?;
                    self.aside.insert(name.clone(), (path, writer.into()));
                }
                let Some((path, writer)) = self.aside.get_mut(&name) else { continue };
                let broken = |_| std::io::Error::other("the writing of a file broke off");
                let written = writer.get_mut().map_err(broken).and_then(|w| w.write(&part.rows));
                written.map_err(|error| DestinationError::file(path, error))?;
            }
            return Ok(());
        }
        let mut kept = self.kept(&load.id).await?;
        if load.mode == Mode::Append {
            for part in &batch.parts {
                let version = self.make(&part.table).await?.version().unwrap_or_default();
                kept.bases.insert(part.table.to_string(), version);
            }
            // What is about to be written is known before it is, so that it can be taken back.
            self.keep(&load.id, &kept).await?;
        }
        for part in &batch.parts {
            match load.mode {
                Mode::Merge => self.merge(part).await?,
                Mode::Append => self.append(load, part, kept.appends + 1).await?,
            }
        }
        let appends = kept.appends + i64::from(load.mode == Mode::Append);
        let bases = BTreeMap::new();
        self.keep(&load.id, &Kept { mark: Some(batch.mark), appends, bases, ..kept }).await
    }

    async fn settle(&mut self, _load: &Load) -> Result<(), DestinationError> {
        Ok(())
    }

    async fn swap(&mut self, load: &Load, mark: &str) -> Result<(), DestinationError> {
        let mut kept = self.kept(&load.id).await?;
        for table in &load.tables {
            let path = self.path(table);
            let failed = |error| worded(&path, error);
            let found = self.make(table).await?;
            let version = found.version().unwrap_or_default();
            let write = match self.aside.remove(&table.to_string()) {
                Some((path, writer)) => {
                    let broken = |_| std::io::Error::other("the writing of a file broke off");
                    let done = writer.into_inner().map_err(broken).and_then(|w| w.finish());
                    done.map_err(|error| DestinationError::file(&path, error))?;
                    let named = path.with_extension("parquet");
                    path.persist(&named).map_err(|e| DestinationError::file(&named, e.error))?;
                    let text = named.to_string_lossy().into_owned();
                    let session = session().map_err(failed)?;
                    let read = session.read_parquet(text, ParquetReadOptions::default()).await;
                    let plan = read.map_err(|error| failed(error.into()))?.into_unoptimized_plan();
                    let write = found.write(Vec::new()).with_input_plan(plan);
                    write
                        .with_session_state(Arc::new(session.state()))
                        .with_writer_properties(properties())
                }
                None => {
                    let empty = batch(&schema_of(table), &table.columns, &[]);
                    found.write(vec![empty.map_err(|error| failed(error.into()))?])
                }
            };
            let overwrite = deltalake::operations::write::SchemaMode::Overwrite;
            let write = write.with_save_mode(SaveMode::Overwrite).with_schema_mode(overwrite);
            write.await.map_err(failed)?;
            kept.previous.insert(table.to_string(), version);
        }
        self.folder.clear_scratch(&load.id);
        self.keep(&load.id, &Kept { mark: Some(mark.to_owned()), ..kept }).await
    }

    async fn roll_back(&mut self, load: &Load, mark: &str) -> Result<bool, DestinationError> {
        let mut kept = self.kept(&load.id).await?;
        let mut any = false;
        for table in &load.tables {
            let Some(version) = kept.previous.remove(&table.to_string()) else { continue };
            let restored = self.open(table).await?.restore().with_version_to_restore(version).await;
            restored.map_err(|error| worded(&self.path(table), error))?;
            any = true;
        }
        if any {
            self.keep(&load.id, &Kept { mark: Some(mark.to_owned()), ..kept }).await?;
        }
        Ok(any)
    }

    async fn clear(&mut self, load: &Load) -> Result<(), DestinationError> {
        self.folder.remove(&mark_file(&load.id)).await?;
        for table in &load.tables {
            let path = self.path(table);
            match std::fs::remove_dir_all(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(DestinationError::file(&path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn scan(&mut self, table: &Table, each: EachRow<'_>) -> Result<bool, DestinationError> {
        let found = self.open(table).await?;
        let failed = |error| worded(&self.path(table), error);
        if found.version().is_none() {
            return Ok(true);
        }
        let (_, mut batches) = found.scan_table().await.map_err(failed)?;
        while let Some(some) = batches.next().await {
            let some = some.map_err(|error| failed(error.into()))?;
            rows(&table.columns, &some, &mut *each).map_err(|error| failed(error.into()))?;
        }
        Ok(true)
    }
}

fn mark_file(load: &str) -> String {
    format!("{OWN}/marks/{}.json", plain_name(load))
}

fn worded(path: &Path, error: DeltaTableError) -> DestinationError {
    let said: String = error.to_string().lines().next().unwrap_or_default().to_owned();
    let place = format!("delta {}", path.display());
    let own = match &error {
        DeltaTableError::InvalidJsonLog { .. } | DeltaTableError::SchemaMismatch { .. } => {
            DestinationError::drift(place, said, "Restore the table, or refresh the stream")
        }
        _ => DestinationError::passing(place, said),
    };
    own.because(error)
}
