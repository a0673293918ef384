//! Files of text: CSV for people and spreadsheets, JSON Lines for programs.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};

use serde_json::value::RawValue;

use crate::destination::EachRow;
use crate::files::{Format, RowWriter};
use crate::table::{Cell, Row, Table, cell};

/// Comma-separated values with a header. An empty cell is nothing.
pub struct Csv;

/// One JSON object a line.
pub struct JsonLines;

impl Format for Csv {
    fn ending(&self) -> &'static str {
        "csv"
    }

    fn writer(&self, table: &Table, file: File) -> io::Result<Box<dyn RowWriter>> {
        let mut writer = csv::Writer::from_writer(file);
        let names = table.columns.iter().map(|column| &column.name);
        writer.write_record(names).map_err(plain)?;
        Ok(Box::new(CsvWriter(writer)))
    }

    fn columns(&self, file: File) -> io::Result<Option<Vec<String>>> {
        let mut reader = csv::Reader::from_reader(file);
        Ok(Some(reader.headers()?.iter().map(str::to_owned).collect()))
    }

    fn read(&self, table: &Table, file: File, each: EachRow<'_>) -> io::Result<()> {
        let mut reader = csv::Reader::from_reader(file);
        let headers: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
        let places = places(table, &headers);
        for record in reader.records() {
            let record = record?;
            let text =
                |place: &Option<usize>| record.get((*place)?).filter(|text| !text.is_empty());
            each(places.iter().map(|place| text(place).map(as_written)).collect());
        }
        Ok(())
    }
}

/// Where each column of the table stands in the file.
fn places(table: &Table, headers: &[String]) -> Vec<Option<usize>> {
    let place = |name: &str| headers.iter().position(|header| header == name);
    table.columns.iter().map(|column| place(&column.name)).collect()
}

struct CsvWriter(csv::Writer<File>);

impl RowWriter for CsvWriter {
    fn write(&mut self, rows: &[Row]) -> io::Result<()> {
        for row in rows {
            let cells = row.iter().map(|cell| cell.as_deref().map_or(String::new(), harmless));
            self.0.write_record(cells).map_err(plain)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}

/// The error of the file, whose kind says what to do, without what the writer put around it.
fn plain(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Spreadsheets take cells that begin so for formulas; numbers stay numbers.
fn harmless(cell: &str) -> String {
    let is_number = cell.parse::<f64>().is_ok();
    if cell.starts_with(FORMULA) && !is_number { format!("'{cell}") } else { cell.to_owned() }
}

/// What [`harmless`] was given.
fn as_written(cell: &str) -> String {
    match cell.strip_prefix('\'') {
        Some(rest) if rest.starts_with(FORMULA) => rest.to_owned(),
        _ => cell.to_owned(),
    }
}

impl Format for JsonLines {
    fn ending(&self) -> &'static str {
        "jsonl"
    }

    fn writer(&self, table: &Table, file: File) -> io::Result<Box<dyn RowWriter>> {
        Ok(Box::new(LinesWriter { table: table.clone(), output: BufWriter::new(file) }))
    }

    fn columns(&self, file: File) -> io::Result<Option<Vec<String>>> {
        let mut line = String::new();
        BufReader::new(file).read_line(&mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line)?;
        Ok(Some(members.into_iter().map(|(name, _)| name).collect()))
    }

    fn read(&self, table: &Table, file: File, each: EachRow<'_>) -> io::Result<()> {
        for line in BufReader::new(file).lines() {
            let line = line?;
            let members: HashMap<&str, &RawValue> = serde_json::from_str(&line)?;
            let found = |name: &str| members.get(name).map(|raw| raw.get());
            let read =
                |column: &crate::table::Column| -> Cell { cell(column.kind, found(&column.name)?) };
            each(table.columns.iter().map(read).collect());
        }
        Ok(())
    }
}

struct LinesWriter {
    table: Table,
    output: BufWriter<File>,
}

impl RowWriter for LinesWriter {
    fn write(&mut self, rows: &[Row]) -> io::Result<()> {
        for row in rows {
            self.output.write_all(self.table.json_record(row).get().as_bytes())?;
            self.output.write_all(b"\n")?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_defused_and_a_negative_amount_is_not() {
        assert_eq!(harmless("=HYPERLINK(1)"), "'=HYPERLINK(1)");
        assert_eq!(harmless("-12.50"), "-12.50");
        assert_eq!(harmless("@SUM(A1)"), "'@SUM(A1)");
        for text in ["=HYPERLINK(1)", "-12.50", "'quoted'", "Plain", "'"] {
            assert_eq!(as_written(&harmless(text)), text);
        }
    }
}
