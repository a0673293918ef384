//! CSV files in a folder, one for each table, written beside and renamed into place.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::destination::{Destination, DestinationError};
use crate::table::{Row, Table};

/// A folder of CSV files.
#[derive(Debug, Clone)]
pub struct CsvFiles {
    folder: PathBuf,
}

impl CsvFiles {
    /// The folder is made when it is first written.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn write(&self, table: &Table, rows: &[Row]) -> Result<(), DestinationError> {
        let path = self.folder.join(format!("{}.csv", table.name));
        let aside = self.folder.join(format!(".{}.csv.new", table.name));
        let failed = |source| DestinationError::Csv { path: path.clone(), source };
        let file_failed = |source| DestinationError::File { path: path.clone(), source };
        fs::create_dir_all(&self.folder).map_err(file_failed)?;
        let mut writer = csv::Writer::from_path(&aside).map_err(failed)?;
        writer.write_record(table.columns.iter().map(|column| column.name)).map_err(failed)?;
        for row in rows {
            let cells = row.iter().map(|cell| cell.as_deref().unwrap_or(""));
            writer.write_record(cells.map(harmless)).map_err(failed)?;
        }
        let file = writer
            .into_inner()
            .map_err(|error| file_failed(std::io::Error::other(error.to_string())))?;
        file.sync_all().map_err(file_failed)?;
        fs::rename(&aside, &path).map_err(file_failed)?;
        sync_folder(&self.folder).map_err(file_failed)
    }
}

impl Destination for CsvFiles {
    async fn check(&self) -> Result<(), DestinationError> {
        let path = self.folder.join(".selvedge-check");
        let failed = |source| DestinationError::File { path: path.clone(), source };
        fs::create_dir_all(&self.folder).map_err(failed)?;
        File::create(&path).and_then(|mut file| file.write_all(b"check")).map_err(failed)?;
        fs::remove_file(&path).map_err(failed)
    }

    async fn replace(&self, table: &Table, rows: &[Row]) -> Result<(), DestinationError> {
        self.write(table, rows)
    }
}

/// The new name is durable only once the folder is.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Spreadsheets take cells that begin so for formulas; numbers stay numbers.
fn harmless(cell: &str) -> String {
    let is_number = cell.parse::<f64>().is_ok();
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number {
        format!("'{cell}")
    } else {
        cell.to_owned()
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
        assert_eq!(harmless("Plain"), "Plain");
    }
}
