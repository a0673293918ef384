//! Why the store could not do something. A missing row is `None`, not an error.

use crate::seal::SealError;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database said no.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// Another worker holds or has finished this piece of work; what this one made is void.
    #[error("the lease was lost to another worker")]
    Stale,
    /// What is stored cannot be read back.
    #[error("the database holds {what} that cannot be read")]
    Corrupt {
        /// Which kind of value.
        what: &'static str,
    },
    /// A secret could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The writer has stopped.
    #[error("the database is closed")]
    Closed,
    /// Several writes shared a commit and the commit failed.
    #[error("the commit failed: {0}")]
    Commit(String),
}

impl Error {
    /// For values that the store itself wrote and cannot read.
    pub(crate) fn corrupt(what: &'static str) -> Self {
        Self::Corrupt { what }
    }
}
