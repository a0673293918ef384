//! The ways out: tables of text, decimals and instants written to files, a database, or an Airbyte
//! platform.
//!
//! Reading order: `table` is what is written, `destination` the contract every way out keeps, then
//! one file for each way out.

pub mod airbyte;
mod csv_files;
mod destination;
mod sqlite;
mod table;

pub use csv_files::CsvFiles;
pub use destination::{Destination, DestinationError};
pub use sqlite::SqliteFile;
pub use table::{Column, ColumnKind, Row, Table};
