//! Rows that are judged together: those of one end user after another, as they stand in the input.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::{Context, bail};
use enrich::{END_USER, INPUT, Sheet, Tables, judge_series};
use serde_json::json;

use super::sync;

/// Gathers the rows of an end user until the next one begins.
pub(super) struct Together<'t> {
    tables: &'t Tables,
    end_user: String,
    rows: Sheet,
    done: HashSet<String>,
    series: Option<BufWriter<File>>,
}

impl<'t> Together<'t> {
    pub(super) fn new(tables: &'t Tables, series: Option<File>) -> Self {
        Self {
            tables,
            end_user: String::new(),
            rows: Sheet::new(INPUT.len()),
            done: HashSet::new(),
            series: series.map(BufWriter::new),
        }
    }

    /// Takes rows, and gives those of the end users that are whole now.
    pub(super) fn judge(&mut self, sheet: &Sheet) -> anyhow::Result<Vec<Sheet>> {
        let mut judged = Vec::new();
        for row in 0..sheet.rows() {
            let end_user = sheet.cell(row, END_USER);
            if end_user != self.end_user {
                judged.extend(self.rest()?);
                if self.done.contains(end_user) {
                    bail!(
                        "the rows of end user {end_user:?} do not stand together; sort the input by \
                         end_user_id"
                    );
                }
                end_user.clone_into(&mut self.end_user);
            }
            self.rows.push_row(sheet, row);
        }
        Ok(judged)
    }

    /// The end user whose rows were gathered last.
    pub(super) fn rest(&mut self) -> anyhow::Result<Vec<Sheet>> {
        if self.rows.rows() == 0 {
            return Ok(Vec::new());
        }
        let (judged, series) = judge_series(self.tables, &self.rows)?;
        if let Some(output) = &mut self.series {
            let line = json!({ "end_user_id": self.end_user, "series": series });
            writeln!(output, "{line}").context("cannot write the series")?;
        }
        self.rows.clear();
        self.done.insert(std::mem::take(&mut self.end_user));
        Ok(vec![judged])
    }

    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.series.map_or(Ok(()), sync)
    }
}
