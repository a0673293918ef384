//! Rows of text cells from and to Parquet files and streams of Arrow.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use enrich::{CONFIDENCE, INPUT, Sheet, places};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::parquet::properties;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

/// Reads sheets of `INPUT`.
pub struct SheetReader {
    batches: Batches,
    places: [Option<usize>; INPUT.len()],
    /// A batch and how many of its rows were read.
    current: Option<(RecordBatch, usize)>,
}

/// Writes sheets of named columns of text, but for how sure a row is.
pub struct SheetWriter {
    schema: SchemaRef,
    output: Output,
}

enum Output {
    Parquet(Box<ArrowWriter<File>>),
    Stream(Box<StreamWriter<Box<dyn Write>>>),
}

impl SheetReader {
    /// From a Parquet file, so many rows at a time.
    pub fn of_parquet(file: File, rows: usize) -> Result<Self, ArrowError> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let schema = Arc::clone(reader.schema());
        Self::new(&schema, Box::new(reader.with_batch_size(rows).build()?))
    }

    /// From a stream in Arrow's IPC format.
    pub fn of_stream(stream: impl Read + 'static) -> Result<Self, ArrowError> {
        let reader = StreamReader::try_new(stream, None)?;
        let schema = reader.schema();
        Self::new(&schema, Box::new(reader))
    }

    fn new(schema: &Schema, batches: Batches) -> Result<Self, ArrowError> {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let places = places(&names).map_err(|missing| ArrowError::SchemaError(missing.to_string()));
        Ok(Self { batches, places: places?, current: None })
    }

    /// Fills an empty sheet with so many rows at most; none means the end.
    pub fn fill(&mut self, sheet: &mut Sheet, rows: usize) -> Result<(), ArrowError> {
        while sheet.rows() < rows {
            let (batch, from) = match self.current.take() {
                Some(current) => current,
                None => match self.batches.next() {
                    Some(batch) => (batch?, 0),
                    None => break,
                },
            };
            let to = batch.num_rows().min(from + rows - sheet.rows());
            self.read(&batch, from..to, sheet)?;
            if to < batch.num_rows() {
                self.current = Some((batch, to));
            }
        }
        Ok(())
    }

    fn read(
        &self,
        batch: &RecordBatch,
        rows: std::ops::Range<usize>,
        sheet: &mut Sheet,
    ) -> Result<(), ArrowError> {
        let options = FormatOptions::default();
        let column = |place: &Option<usize>| match place {
            Some(place) => Cells::new(batch.column(*place).as_ref(), &options).map(Some),
            None => Ok(None),
        };
        let columns = self.places.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        for row in rows {
            for column in &columns {
                match column {
                    Some(cells) => cells.push(row, sheet),
                    None => sheet.push(""),
                }
            }
        }
        Ok(())
    }
}

/// The cells of a column as text.
enum Cells<'a> {
    Text(&'a arrow::array::StringArray),
    /// Numbers of a binary kind, as short as they can be written.
    Number(&'a arrow::array::Float64Array),
    Other(&'a dyn Array, ArrayFormatter<'a>),
}

impl<'a> Cells<'a> {
    fn new(array: &'a dyn Array, options: &'a FormatOptions<'a>) -> Result<Self, ArrowError> {
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::Float64 => Self::Number(array.as_primitive::<Float64Type>()),
            _ => Self::Other(array, ArrayFormatter::try_new(array, options)?),
        })
    }

    fn push(&self, row: usize, sheet: &mut Sheet) {
        match self {
            Self::Text(array) if array.is_null(row) => sheet.push(""),
            Self::Text(array) => sheet.push(array.value(row)),
            Self::Number(array) if array.is_null(row) => sheet.push(""),
            Self::Number(array) => sheet.push(&array.value(row).to_string()),
            Self::Other(array, _) if array.is_null(row) => sheet.push(""),
            Self::Other(_, formatter) => sheet.push(&formatter.value(row).to_string()),
        }
    }
}

impl SheetWriter {
    /// Into a Parquet file.
    pub fn to_parquet(file: File, columns: &[&str]) -> Result<Self, ArrowError> {
        let schema = schema(columns);
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties()))?;
        Ok(Self { schema, output: Output::Parquet(Box::new(writer)) })
    }

    /// Into a stream in Arrow's IPC format.
    pub fn to_stream(stream: impl Write + 'static, columns: &[&str]) -> Result<Self, ArrowError> {
        let schema = schema(columns);
        let stream: Box<dyn Write> = Box::new(stream);
        let writer = StreamWriter::try_new(stream, &schema)?;
        Ok(Self { schema, output: Output::Stream(Box::new(writer)) })
    }

    /// Writes the rows of a sheet.
    pub fn write(&mut self, sheet: &Sheet) -> Result<(), ArrowError> {
        let columns =
            (0..self.schema.fields().len()).map(|column| written(sheet, column)).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        match &mut self.output {
            Output::Parquet(writer) => writer.write(&batch)?,
            Output::Stream(writer) => writer.write(&batch)?,
        }
        Ok(())
    }

    /// Makes all of it durable.
    pub fn finish(self) -> Result<(), ArrowError> {
        match self.output {
            Output::Parquet(writer) => writer.into_inner()?.sync_all()?,
            Output::Stream(mut writer) => writer.finish()?,
        }
        Ok(())
    }
}

fn schema(columns: &[&str]) -> SchemaRef {
    let field = |(column, name): (usize, &&str)| {
        let kind = if column == CONFIDENCE { DataType::Float64 } else { DataType::Utf8 };
        Field::new(*name, kind, column != 0)
    };
    Arc::new(Schema::new(columns.iter().enumerate().map(field).collect::<Vec<_>>()))
}

fn written(sheet: &Sheet, column: usize) -> ArrayRef {
    let cells = (0..sheet.rows()).map(|row| sheet.cell(row, column));
    if column == CONFIDENCE {
        let mut numbers = Float64Builder::with_capacity(sheet.rows());
        cells.for_each(|cell| numbers.append_option(cell.parse().ok()));
        return Arc::new(numbers.finish());
    }
    let mut texts = StringBuilder::new();
    for cell in cells {
        // The key is never missing; of everything else nothing is known when it is empty.
        texts.append_option((column == 0 || !cell.is_empty()).then_some(cell));
    }
    Arc::new(texts.finish())
}
