//! DuckDB by ADBC: its library is loaded when it is first needed, so that this program starts without
//! it and follows whatever version a team has.
//!
//! Its calls block, so they run on a thread of their own. Always the same one: the C library keeps a heap
//! for every thread that allocates, and what DuckDB frees in one is not found by the next.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use adbc_core::options::{AdbcVersion, IngestMode, OptionDatabase, OptionStatement, OptionValue};
use adbc_core::{Connection as _, Database as _, Driver as _, Optionable, Statement as _};
use adbc_driver_manager::{ManagedConnection, ManagedDriver};
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use async_trait::async_trait;
use destinations::{Column, DestinationError, Dialect, EachRow, Engine, Limits, Row};
use model::FieldKind;
use tokio::sync::oneshot;

use crate::columns::{batch, rows, schema};

/// Where its library usually is.
const USUAL: [&str; 5] = [
    "libduckdb.so",
    "/usr/local/lib/libduckdb.so",
    "/usr/lib/libduckdb.so",
    "/usr/lib/x86_64-linux-gnu/libduckdb.so",
    "/opt/homebrew/lib/libduckdb.dylib",
];
/// DuckDB has no limit; ours keeps names readable.
const NAME_LIMIT: usize = 120;
/// Memory it may use: it shares the machine with this program.
const MEMORY: &str = "64MB";

/// A DuckDB file.
pub struct DuckDb {
    dialect: Dialect,
    work: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

/// Something to do on DuckDB's thread.
type Work = Box<dyn FnOnce(&mut Session) + Send>;

impl DuckDb {
    /// The file is made when it is first written.
    pub fn new(path: &Path, library: Option<&str>, schema: &str) -> Result<Self, DestinationError> {
        let dialect = Dialect {
            engine: "duckdb",
            column_type,
            catalog_type,
            catalog: "SELECT table_schema, table_name, column_name, data_type \
                FROM information_schema.columns WHERE table_catalog = current_database()",
            schema: Some(schema.to_owned()),
            name_limit: NAME_LIMIT,
            has_keys: false,
            most_renamed: usize::MAX,
            as_text: |_, column| format!("CAST({column} AS VARCHAR)"),
            waiting: Limits::default(),
        };
        let library = library.map(str::to_owned);
        let mut session = Session { path: path.to_owned(), library, connection: None };
        let place = session.place();
        let (work, todo) = mpsc::channel::<Work>();
        let thread = std::thread::Builder::new().name("duckdb".to_owned());
        let thread = thread.spawn(move || todo.iter().for_each(|work| work(&mut session)));
        let thread = thread.map_err(|error| DestinationError::passing(place, error.to_string()))?;
        Ok(Self { dialect, work: Some(work), thread: Some(thread) })
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T, DestinationError> + Send + 'static,
    ) -> Result<T, DestinationError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |session| {
            // Who asked may have gone; the work is done all the same.
            let _ = answer.send(work(session));
        });
        // A thread that ended drops the work, and the answer with it.
        let _ = self.work.as_ref().map(|thread| thread.send(work));
        let gone = |_| Err(DestinationError::passing("duckdb", "its thread ended"));
        answered.await.unwrap_or_else(gone)
    }
}

/// Closes the file before anybody else may open it.
impl Drop for DuckDb {
    fn drop(&mut self) {
        self.work = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("DuckDB's thread failed");
        }
    }
}

/// The open file, on its thread.
struct Session {
    path: PathBuf,
    library: Option<String>,
    connection: Option<ManagedConnection>,
}

impl Session {
    fn place(&self) -> String {
        format!("duckdb {}", self.path.display())
    }

    fn load(&self) -> Result<ManagedDriver, DestinationError> {
        let named = self.library.as_deref();
        let tried: Vec<&str> = named.map_or_else(|| USUAL.to_vec(), |named| vec![named]);
        for library in &tried {
            let entry = Some(b"duckdb_adbc_init".as_slice());
            let loaded =
                ManagedDriver::load_dynamic_from_filename(library, entry, AdbcVersion::V100);
            if let Ok(driver) = loaded {
                return Ok(driver);
            }
        }
        Err(DestinationError::settings(
            self.place(),
            format!("DuckDB's library could not be loaded from {}", tried.join(", ")),
            "Install DuckDB's library (libduckdb.so, from duckdb.org or the npm package \
             @duckdb/node-bindings-linux-x64) and name its path in library",
        ))
    }

    fn open(&mut self) -> Result<&mut ManagedConnection, DestinationError> {
        if self.connection.is_none() {
            if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty())
            {
                let made = std::fs::create_dir_all(folder);
                made.map_err(|error| DestinationError::file(folder, error))?;
            }
            let mut driver = self.load()?;
            let path = OptionValue::String(self.path.display().to_string());
            let options = [(OptionDatabase::Other("path".to_owned()), path)];
            let database = driver.new_database_with_opts(options);
            let database = database.map_err(|error| self.worded(&error))?;
            let connection = database.new_connection().map_err(|error| self.worded(&error))?;
            self.connection = Some(connection);
            // An increment of memory for every thread is not worth its speed here.
            let settings = format!(
                "SET memory_limit = '{MEMORY}'; SET threads = 1; SET preserve_insertion_order = false; \
                 SET TimeZone = 'UTC'"
            );
            for setting in settings.split("; ") {
                self.run(setting)?;
            }
        }
        let place = self.place();
        self.connection.as_mut().ok_or_else(|| DestinationError::passing(place, "not connected"))
    }

    fn run(&mut self, sql: &str) -> Result<(), DestinationError> {
        let done = (|| {
            let mut statement = self.open()?.new_statement().map_err(told)?;
            statement.set_sql_query(sql).map_err(told)?;
            statement.execute_update().map_err(told)?;
            Ok::<_, DestinationError>(())
        })();
        done.map_err(|error| self.placed(error))
    }

    fn read(
        &mut self,
        sql: &str,
        mut each: impl FnMut(RecordBatch) -> bool,
    ) -> Result<(), DestinationError> {
        let read = (|| {
            let mut statement = self.open()?.new_statement().map_err(told)?;
            statement.set_sql_query(sql).map_err(told)?;
            for some in statement.execute().map_err(told)? {
                if !each(some.map_err(|error| unreadable(&error))?) {
                    break;
                }
            }
            Ok::<_, DestinationError>(())
        })();
        read.map_err(|error| self.placed(error))
    }

    fn ingest(&mut self, name: &str, rows: RecordBatch) -> Result<(), DestinationError> {
        let (schema_name, table) = parts(name);
        let done = (|| {
            let mut statement = self.open()?.new_statement().map_err(told)?;
            let append = IngestMode::Append.into();
            statement.set_option(OptionStatement::IngestMode, append).map_err(told)?;
            let table = OptionValue::String(table.clone());
            statement.set_option(OptionStatement::TargetTable, table).map_err(told)?;
            match &schema_name {
                Some(schema) => {
                    let schema = OptionValue::String(schema.clone());
                    statement.set_option(OptionStatement::TargetDbSchema, schema).map_err(told)?;
                }
                None => {
                    let temporary = OptionValue::String("true".to_owned());
                    statement.set_option(OptionStatement::Temporary, temporary).map_err(told)?;
                }
            }
            statement.bind(rows).map_err(told)?;
            statement.execute_update().map_err(told)?;
            Ok::<_, DestinationError>(())
        })();
        done.map_err(|error| self.placed(error))
    }

    fn placed(&self, error: DestinationError) -> DestinationError {
        if error.place.is_empty() {
            return DestinationError { place: self.place(), ..error };
        }
        error
    }

    fn worded(&self, error: &adbc_core::error::Error) -> DestinationError {
        let said = error.message.clone();
        let place = self.place();
        if said.contains("Conflicting lock") || said.contains("Could not set lock") {
            let fix = "Close the other program that has the file open, then try again";
            return DestinationError::settings(place, "another program has it open", fix);
        }
        if said.contains("not a valid DuckDB database") {
            return DestinationError::settings(place, said, "Name another file");
        }
        DestinationError::passing(place, said)
    }
}

/// What DuckDB said, until its place is known.
fn told(error: adbc_core::error::Error) -> DestinationError {
    let said = error.message;
    if said.contains("does not have a column") || said.contains("does not exist") {
        let fix = "Somebody changed the table; undo that, or refresh the stream";
        return DestinationError::drift("", said, fix);
    }
    if said.contains("No space left") {
        return DestinationError::full("", said);
    }
    DestinationError::passing("", said)
}

fn unreadable(error: &ArrowError) -> DestinationError {
    DestinationError::passing("duckdb", error.to_string())
}

/// The columns of a batch, to be read as text.
fn texts(batch: &RecordBatch) -> Vec<Column> {
    let fields = batch.schema_ref().fields().iter();
    let text = |name: &String| Column {
        name: name.clone(),
        kind: FieldKind::Text,
        meaning: String::new(),
    };
    fields.map(|field| text(field.name())).collect()
}

/// Schema and table of a quoted name.
fn parts(name: &str) -> (Option<String>, String) {
    let plain = |text: &str| text.trim_matches('"').replace("\"\"", "\"");
    match name.split_once("\".\"") {
        Some((schema, table)) => (Some(plain(schema)), plain(table)),
        None => (None, plain(name)),
    }
}

#[async_trait]
impl Engine for DuckDb {
    fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    async fn execute(&mut self, sql: &str) -> Result<(), DestinationError> {
        let sql = sql.to_owned();
        self.on_thread(move |session| session.run(&sql)).await
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<Row>, DestinationError> {
        let mut found = Vec::new();
        self.each(sql, &mut |row| found.push(row)).await?;
        Ok(found)
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
        let rows =
            batch(&schema(columns, &[]), columns, rows).map_err(|error| unreadable(&error))?;
        let name = name.to_owned();
        self.on_thread(move |session| session.ingest(&name, rows)).await
    }

    async fn each(&mut self, sql: &str, each: EachRow<'_>) -> Result<(), DestinationError> {
        let sql = sql.to_owned();
        let (batches, mut found) = tokio::sync::mpsc::channel(1);
        let read = self.on_thread(move |session| {
            session.read(&sql, |batch| batches.blocking_send(batch).is_ok())
        });
        let hand_over = async move {
            while let Some(batch) = found.recv().await {
                rows(&texts(&batch), &batch, &mut *each).map_err(|error| unreadable(&error))?;
            }
            Ok(())
        };
        let (read, handed_over) = tokio::join!(read, hand_over);
        read.and(handed_over)
    }

    async fn begin(&mut self) -> Result<(), DestinationError> {
        self.execute("BEGIN TRANSACTION").await
    }

    async fn commit(&mut self) -> Result<(), DestinationError> {
        self.execute("COMMIT").await
    }

    async fn undo(&mut self) {
        let closed = self.on_thread(|session| {
            if session.run("ROLLBACK").is_err() {
                session.connection = None;
            }
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::warn!(%error, "could not roll back");
        }
    }
}

fn column_type(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Text | FieldKind::Currency => "VARCHAR",
        FieldKind::Decimal => "DECIMAL(38,18)",
        FieldKind::Integer => "BIGINT",
        FieldKind::Boolean => "BOOLEAN",
        FieldKind::Date => "DATE",
        FieldKind::Instant => "TIMESTAMPTZ",
        FieldKind::Object | FieldKind::List => "JSON",
    }
}

fn catalog_type(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Instant => "TIMESTAMP WITH TIME ZONE",
        other => column_type(other),
    }
}
