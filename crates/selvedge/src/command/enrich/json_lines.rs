//! Rows as one JSON object a line.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};

use anyhow::{Context, bail};
use enrich::{CONFIDENCE, FLAGS, INPUT, REQUIRED, Sheet};
use serde_json::value::RawValue;

use super::{Sink, Source, sync};

pub(super) struct Reader {
    lines: BufReader<File>,
    line: String,
    number: usize,
}

impl Reader {
    pub(super) fn new(lines: BufReader<File>) -> Self {
        Self { lines, line: String::new(), number: 0 }
    }

    fn row(&self, sheet: &mut Sheet) -> anyhow::Result<()> {
        let cells: HashMap<Cow<'_, str>, &RawValue> =
            serde_json::from_str(self.line.trim_start_matches('\u{feff}'))
                .with_context(|| format!("line {} is no JSON object", self.number))?;
        for (column, name) in INPUT.iter().enumerate() {
            match cells.get(*name).map(|cell| cell.get()) {
                Some("null") | None if column < REQUIRED => {
                    bail!("line {} has no {name}", self.number)
                }
                Some("null") | None => sheet.push(""),
                Some(text) if text.starts_with('"') => {
                    let text: Cow<'_, str> = serde_json::from_str(text)
                        .with_context(|| format!("{name} of line {}", self.number))?;
                    sheet.push(&text);
                }
                Some(number) => sheet.push(number),
            }
        }
        Ok(())
    }
}

impl Source for Reader {
    fn fill(&mut self, sheet: &mut Sheet, rows: usize) -> anyhow::Result<()> {
        while sheet.rows() < rows {
            self.line.clear();
            self.number += 1;
            let read = self.lines.read_line(&mut self.line);
            if read.with_context(|| format!("line {} cannot be read", self.number))? == 0 {
                break;
            }
            if !self.line.trim().is_empty() {
                self.row(sheet)?;
            }
        }
        Ok(())
    }
}

pub(super) struct Writer {
    lines: BufWriter<File>,
    columns: &'static [&'static str],
}

impl Writer {
    pub(super) fn new(lines: BufWriter<File>, columns: &'static [&'static str]) -> Self {
        Self { lines, columns }
    }
}

impl Sink for Writer {
    fn write(&mut self, sheet: &Sheet) -> anyhow::Result<()> {
        for row in 0..sheet.rows() {
            for (column, name) in self.columns.iter().enumerate() {
                let before = if column == 0 { '{' } else { ',' };
                write!(self.lines, "{before}\"{name}\":")?;
                match sheet.cell(row, column) {
                    cell if column == CONFIDENCE => write!(self.lines, "{cell}")?,
                    // Here they are a list.
                    cell if column == FLAGS => {
                        let flags: Vec<&str> =
                            cell.split('|').filter(|flag| !flag.is_empty()).collect();
                        serde_json::to_writer(&mut self.lines, &flags)?;
                    }
                    "" => write!(self.lines, "null")?,
                    cell => serde_json::to_writer(&mut self.lines, cell)?,
                }
            }
            writeln!(self.lines, "}}")?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        sync(self.lines)
    }
}
