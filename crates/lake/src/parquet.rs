//! Parquet files, for everything that reads columns.

use std::fs::File;
use std::io;

use arrow::datatypes::SchemaRef;
use destinations::{Column, EachRow, Format, Row, RowWriter, Table};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::columns::{batch, rows, schema_of};

/// Rows that become a group of the file: as many as are held in memory while it is written.
const GROUP_ROWS: usize = 50_000;

/// Compressed columns.
pub struct Parquet;

impl Format for Parquet {
    fn ending(&self) -> &'static str {
        "parquet"
    }

    fn writer(&self, table: &Table, file: File) -> io::Result<Box<dyn RowWriter>> {
        let schema = schema_of(table);
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties()));
        let writer = writer.map_err(worded)?;
        Ok(Box::new(Writer { writer, schema, columns: table.columns.clone(), held: Vec::new() }))
    }

    fn columns(&self, file: File) -> io::Result<Option<Vec<String>>> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(worded)?;
        let fields = reader.schema().fields().iter();
        Ok(Some(fields.map(|field| field.name().clone()).collect()))
    }

    fn read(&self, table: &Table, file: File, each: EachRow<'_>) -> io::Result<()> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(worded)?;
        for found in reader.build().map_err(worded)? {
            let found = found.map_err(io::Error::other)?;
            rows(&table.columns, &found, &mut *each).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// Rows are put together before they become columns.
const HELD_ROWS: usize = 8_192;

struct Writer {
    writer: ArrowWriter<File>,
    schema: SchemaRef,
    columns: Vec<Column>,
    held: Vec<Row>,
}

impl Writer {
    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let batch = batch(&self.schema, &self.columns, &self.held).map_err(io::Error::other)?;
        self.held.clear();
        self.writer.write(&batch).map_err(worded)
    }
}

impl RowWriter for Writer {
    fn write(&mut self, rows: &[Row]) -> io::Result<()> {
        for some in rows.chunks(HELD_ROWS) {
            self.held.extend_from_slice(some);
            if self.held.len() >= HELD_ROWS {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush()?;
        self.writer.close().map(|_| ()).map_err(worded)
    }
}

/// How files are written.
pub(crate) fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build()
}

/// A full disk stays a full disk.
fn worded(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(inner) => io::Error::other(inner),
        },
        error => io::Error::other(error),
    }
}
