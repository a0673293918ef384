//! The contract of every way out.
//!
//! - `replace` writes a whole table; readers see the old rows or the new ones, never a part.
//! - A crash in the middle leaves the old rows; doing it again is always safe.
//! - When it returns, the rows are durable.

use std::path::PathBuf;

use crate::table::{Row, Table};

/// A way out.
pub trait Destination {
    /// Proves that the destination can be written, and leaves no trace.
    fn check(&self) -> impl Future<Output = Result<(), DestinationError>> + Send;

    /// Replaces a table's rows (full refresh, overwrite).
    fn replace(
        &self,
        table: &Table,
        rows: &[Row],
    ) -> impl Future<Output = Result<(), DestinationError>> + Send;
}

/// Why a destination could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// A file or folder.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A CSV file.
    #[error("cannot write {}: {source}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// What the writer said.
        source: csv::Error,
    },
    /// A database.
    #[error("cannot write the database {}: {source}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: sqlx::Error,
    },
}
