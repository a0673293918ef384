//! Heavy ways out: Parquet files, files in buckets, DuckDB, Delta Lake.
//!
//! Reading order: `columns` is the way between rows of text and Arrow's columns; `parquet` a format of
//! files, `bucket` a place for them, `duckdb` an engine of SQL, `delta` tables by MERGE;
//! `sheet` is for rows on their way through the judgement.

mod bucket;
mod columns;
#[cfg(feature = "delta")]
mod delta;
mod duckdb;
mod parquet;
mod sheet;

pub use bucket::Bucket;
#[cfg(feature = "delta")]
pub use delta::DeltaLake;
pub use duckdb::DuckDb;
pub use parquet::Parquet;
pub use sheet::{SheetReader, SheetWriter};
