//! DuckDB by ADBC: its library is loaded when it is first needed, so that this program starts without
//! it and follows whatever version a team has.

use std::path::{Path, PathBuf};

use adbc_core::options::{AdbcVersion, IngestMode, OptionDatabase, OptionStatement, OptionValue};
use adbc_core::{Connection as _, Database as _, Driver as _, Optionable, Statement as _};
use adbc_driver_manager::{ManagedConnection, ManagedDriver};
use arrow::array::RecordBatchReader;
use async_trait::async_trait;
use destinations::{Column, DestinationError, Dialect, EachRow, Engine, Row};
use model::FieldKind;

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
const MEMORY: &str = "128MB";

/// A DuckDB file.
pub struct DuckDb {
    path: PathBuf,
    library: Option<String>,
    connection: Option<ManagedConnection>,
    dialect: Dialect,
}

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
            as_text: |_, column| format!("CAST({column} AS VARCHAR)"),
        };
        let library = library.map(str::to_owned);
        Ok(Self { path: path.to_owned(), library, connection: None, dialect })
    }

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

    fn read(&mut self, sql: &str, mut each: impl FnMut(Row)) -> Result<(), DestinationError> {
        let read = (|| {
            let mut statement = self.open()?.new_statement().map_err(told)?;
            statement.set_sql_query(sql).map_err(told)?;
            let found = statement.execute().map_err(told)?;
            let fields = found.schema();
            let columns: Vec<Column> = fields
                .fields()
                .iter()
                .map(|field| Column {
                    name: field.name().clone(),
                    kind: FieldKind::Text,
                    meaning: String::new(),
                })
                .collect();
            for some in found {
                let some =
                    some.map_err(|error| DestinationError::passing("", error.to_string()))?;
                let read = rows(&columns, &some, &mut each);
                read.map_err(|error| DestinationError::passing("", error.to_string()))?;
            }
            Ok::<_, DestinationError>(())
        })();
        read.map_err(|error| self.placed(error))
    }

    fn ingest(
        &mut self,
        name: &str,
        columns: &[Column],
        rows: &[Row],
    ) -> Result<(), DestinationError> {
        let (schema_name, table) = parts(name);
        let done = (|| {
            let of = batch(&schema(columns, &[]), columns, rows);
            let of = of.map_err(|error| DestinationError::passing("", error.to_string()))?;
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
            statement.bind(of).map_err(told)?;
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
        tokio::task::block_in_place(|| self.run(sql))
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<Row>, DestinationError> {
        let mut found = Vec::new();
        tokio::task::block_in_place(|| self.read(sql, |row| found.push(row)))?;
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
        tokio::task::block_in_place(|| self.ingest(name, columns, rows))
    }

    async fn each(&mut self, sql: &str, each: EachRow<'_>) -> Result<(), DestinationError> {
        tokio::task::block_in_place(|| self.read(sql, each))
    }

    async fn begin(&mut self) -> Result<(), DestinationError> {
        self.execute("BEGIN TRANSACTION").await
    }

    async fn commit(&mut self) -> Result<(), DestinationError> {
        self.execute("COMMIT").await
    }

    async fn undo(&mut self) {
        if self.execute("ROLLBACK").await.is_err() {
            self.connection = None;
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
