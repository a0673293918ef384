//! The contract of every way out, and what it is asked to write.
//!
//! - A batch is written with its mark: after a crash the destination knows the mark of what it has, and
//!   whoever writes goes on from there. Doing a batch again changes nothing.
//! - Readers see a table as it was or as it is; never half of a batch.
//! - A refresh is built aside and swapped in; the old table stays readable until then, and is kept as
//!   the last generation, which can be brought back.
//! - When a call returns, what it says is durable, but for [`Destination::write`], which may hold rows
//!   back until [`Destination::settle`]; [`Destination::mark`] tells of durable rows only.

use std::sync::Arc;

use async_trait::async_trait;

use crate::table::{Row, Table};

/// How the rows of a load meet those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are added behind them.
    Append,
    /// They take the place of those with the same key; keys that went are deleted.
    Merge,
}

/// One stream on its way into its tables.
#[derive(Debug, Clone)]
pub struct Load {
    /// Names the load at the destination: its mark is kept under this.
    pub id: String,
    /// The stream's name.
    pub stream: String,
    /// How rows meet those that are there.
    pub mode: Mode,
    /// Rises with every refresh.
    pub generation: i64,
    /// Whether this run builds the tables anew, so that rows of older generations go.
    pub refreshes: bool,
    /// The tables, all with the same columns; one for each namespace.
    pub tables: Vec<Arc<Table>>,
}

/// Rows for one table.
#[derive(Debug, Clone)]
pub struct Part {
    /// Which of the load's tables.
    pub table: Arc<Table>,
    /// New rows, and in a merge rows with new content; each key once.
    pub rows: Vec<Row>,
    /// Rows to be deleted, of which only the key's cells count; no key is in both lists.
    pub gone: Vec<Row>,
}

/// What is written together.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    /// The load.
    pub load: &'a Load,
    /// Into the tables that are built aside, or into those that readers see.
    pub aside: bool,
    /// The rows, by table.
    pub parts: Vec<Part>,
    /// The mark behind them.
    pub mark: String,
}

impl Batch<'_> {
    /// How many rows it carries.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.rows.len() + part.gone.len()).sum()
    }

    /// Whether it carries nothing but its mark.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A column that a table at the destination lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingColumn {
    /// The stream's name.
    pub stream: String,
    /// The table, for people.
    pub table: String,
    /// The column.
    pub column: String,
}

/// Takes rows one after another.
pub type EachRow<'a> = &'a mut (dyn FnMut(Row) + Send);

/// A way out.
#[async_trait]
pub trait Destination: Send {
    /// Proves that the destination can be written, and leaves no trace.
    async fn check(&mut self) -> Result<(), DestinationError>;

    /// Makes the tables of all loads ready, and repairs what a crash left. Gives the columns that tables
    /// lacked: added now if that is wished, else nothing was changed.
    async fn prepare(
        &mut self,
        loads: &[Load],
        add_columns: bool,
    ) -> Result<Vec<MissingColumn>, DestinationError>;

    /// Whether marks outlive this session at the destination; else whoever writes keeps them.
    fn keeps_marks(&self) -> bool {
        true
    }

    /// The mark behind everything of a load that is durable, as far as it is known in this session.
    async fn mark(&mut self, load: &str) -> Result<Option<String>, DestinationError>;

    /// Makes empty tables aside. Where [`Self::resumes_aside`] holds, the mark is kept with them.
    async fn begin_aside(&mut self, load: &Load, mark: &str) -> Result<(), DestinationError>;

    /// Writes a batch. Aside, rows of one table come together: once another table's came, it is whole.
    async fn write(&mut self, batch: Batch<'_>) -> Result<(), DestinationError>;

    /// Makes everything of a load that was written durable and seen.
    async fn settle(&mut self, load: &Load) -> Result<(), DestinationError>;

    /// Puts the tables that were built aside in the place of those that readers see.
    async fn swap(&mut self, load: &Load, mark: &str) -> Result<(), DestinationError>;

    /// Whether rows aside outlive a crash, so that a refresh goes on where it stood.
    fn resumes_aside(&self) -> bool {
        false
    }

    /// Brings the last generation back; false if there is none.
    async fn roll_back(&mut self, load: &Load, mark: &str) -> Result<bool, DestinationError> {
        let _ = (load, mark);
        Ok(false)
    }

    /// Forgets the load's mark and empties its tables.
    async fn clear(&mut self, load: &Load) -> Result<(), DestinationError>;

    /// Reads a table back; false if this destination cannot.
    async fn scan(&mut self, table: &Table, each: EachRow<'_>) -> Result<bool, DestinationError> {
        let _ = (table, each);
        Ok(false)
    }

    /// Ends the run; a destination that waits for an end of data gets it here.
    async fn close(&mut self) -> Result<(), DestinationError> {
        Ok(())
    }
}

/// What kind of trouble a destination is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestinationTrouble {
    /// A setting, a right or a password has to change.
    Settings,
    /// A table is not as it was left.
    Drift,
    /// It may pass.
    Passing,
}

/// Why a destination could not be written: where, what was said, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {said}. {fix}")]
pub struct DestinationError {
    /// Whether it may pass.
    pub trouble: DestinationTrouble,
    /// The destination, table or column.
    pub place: String,
    /// What was said; never a secret.
    pub said: String,
    /// What to do about it.
    pub fix: String,
    /// The error below.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl DestinationError {
    /// Trouble that may pass by itself.
    pub fn passing(place: impl Into<String>, said: impl Into<String>) -> Self {
        let fix = "The load goes on from its last mark when it is tried again.";
        Self::new(DestinationTrouble::Passing, place, said, fix)
    }

    /// Trouble that a setting ends.
    pub fn settings(
        place: impl Into<String>,
        said: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(DestinationTrouble::Settings, place, said, fix)
    }

    /// No space is left there.
    pub fn full(place: impl Into<String>, said: impl Into<String>) -> Self {
        let fix =
            "Free space: nothing half written is seen, and the load goes on from its last mark";
        Self::new(DestinationTrouble::Passing, place, said, fix)
    }

    /// A table that is not as it was left.
    pub fn drift(
        place: impl Into<String>,
        said: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(DestinationTrouble::Drift, place, said, fix)
    }

    fn new(
        trouble: DestinationTrouble,
        place: impl Into<String>,
        said: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let said = said.into().trim_end_matches('.').to_owned();
        Self { trouble, place: place.into(), said, fix: fix.into(), source: None }
    }

    /// A file or folder that the system does not let us use.
    pub fn file(path: &std::path::Path, error: std::io::Error) -> Self {
        let place = path.display().to_string();
        let said = error.to_string();
        let own = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::full(place, said)
            }
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                Self::settings(place, said, "Let the user of this program write there.")
            }
            std::io::ErrorKind::NotADirectory | std::io::ErrorKind::IsADirectory => {
                Self::settings(place, said, "Give the path of a folder that can be written.")
            }
            _ => Self::passing(place, said),
        };
        own.because(error)
    }

    /// Keeps the error below.
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
}
