//! Rows as CSV with a line of names.

use std::fs::File;
use std::io::{BufReader, BufWriter};

use anyhow::Context;
use csv::StringRecord;
use enrich::{INPUT, Sheet, places};

use super::{Sink, Source, sync};

pub(super) struct Reader {
    rows: csv::Reader<BufReader<File>>,
    places: [Option<usize>; INPUT.len()],
    record: StringRecord,
}

impl Reader {
    pub(super) fn new(file: BufReader<File>) -> anyhow::Result<Self> {
        let mut rows = csv::Reader::from_reader(file);
        let names = rows.headers().context("the first line has to name the columns, in UTF-8")?;
        let names: Vec<&str> =
            names.iter().map(|name| name.trim_matches(['\u{feff}', ' '])).collect();
        let places = places(&names)?;
        Ok(Self { rows, places, record: StringRecord::new() })
    }
}

impl Source for Reader {
    fn fill(&mut self, sheet: &mut Sheet, rows: usize) -> anyhow::Result<()> {
        for _ in 0..rows {
            if !self
                .rows
                .read_record(&mut self.record)
                .context("a line is no CSV in UTF-8; save the file as that")?
            {
                break;
            }
            for place in self.places {
                sheet.push(place.and_then(|place| self.record.get(place)).unwrap_or_default());
            }
        }
        Ok(())
    }
}

pub(super) struct Writer {
    rows: csv::Writer<BufWriter<File>>,
    columns: usize,
}

impl Writer {
    pub(super) fn new(file: BufWriter<File>, columns: &[&str]) -> anyhow::Result<Self> {
        let mut rows = csv::Writer::from_writer(file);
        rows.write_record(columns)?;
        Ok(Self { rows, columns: columns.len() })
    }
}

impl Sink for Writer {
    fn write(&mut self, sheet: &Sheet) -> anyhow::Result<()> {
        for row in 0..sheet.rows() {
            let cells = (0..self.columns).map(|column| sheet.cell(row, column));
            self.rows.write_record(cells).context("cannot write the output")?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        sync(self.rows.into_inner().context("cannot write the output")?)
    }
}
