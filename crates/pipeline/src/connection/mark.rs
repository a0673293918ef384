//! How far a load is, as its destination keeps it: text that only we read.

use model::RunId;
use serde::{Deserialize, Serialize};
use store::{Place, StreamRun};

/// The mark behind everything a destination has of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Rises with every refresh.
    pub(crate) generation: i64,
    /// The last change of the feed that is there.
    pub(crate) seq: i64,
    /// Where the reading of everything stands, while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reading: Option<Reading>,
    /// What the tables look like: mode, columns, names, beginning. Another shape is built anew.
    #[serde(default)]
    pub(crate) shape: String,
    /// The last change that the generation before had.
    #[serde(default)]
    pub(crate) previous_seq: i64,
    /// What the tables of the generation before looked like.
    #[serde(default)]
    pub(crate) previous_shape: String,
    /// What the run that set the mark had done by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<(RunId, StreamRun)>,
}

/// Where a reading of everything stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Our id of the end user that is being read; empty before the first.
    pub(crate) end_user: String,
    /// Behind which record of theirs.
    pub(crate) first: String,
    /// Which of those that stand there.
    pub(crate) second: String,
    /// How many tables are built; with more end users the reading begins anew.
    pub(crate) tables: usize,
    /// Whether all is read, so that only the swap is left.
    pub(crate) whole: bool,
}

impl Reading {
    pub(crate) fn place(&self) -> Place {
        Place { first: self.first.clone(), second: self.second.clone() }
    }
}

impl Mark {
    /// Reads a mark; one that nobody can read is none, so that everything is written anew.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The last change, and the shape, of the tables that readers see now: while a refresh is under way,
    /// those of before.
    pub(crate) fn seen_now(&self) -> (i64, String) {
        match self.reading {
            Some(_) => (self.previous_seq, self.previous_shape.clone()),
            None => (self.seq, self.shape.clone()),
        }
    }

    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts can be written as JSON")
    }
}
