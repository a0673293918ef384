//! Connections: streams of an integration into the tables of a destination.
//!
//! Reading order: `run` is one execution from claim to end; `plan` says which tables there are and
//! where their cells come from; `load` writes one stream by its mode; `verify` compares both sides.

mod load;
mod mark;
pub(crate) mod plan;
mod run;
mod verify;

use std::sync::Arc;

use destinations::{Destination, DestinationError};
use model::DestinationSettings;
use store::Run;

pub(crate) use run::{Means, run_connection};

/// Opens a destination; the program knows which ones it was built with.
pub type Open = Arc<
    dyn Fn(&DestinationSettings) -> Result<Box<dyn Destination>, DestinationError> + Send + Sync,
>;

/// Is told how far a run is.
pub type Watch = Arc<dyn Fn(&Run) + Send + Sync>;
