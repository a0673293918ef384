//! The story: rows of work are claimed, Items are brought up to date, changes get their place in
//! the feed. Nothing goes back: each step is started by a row that the one before it wrote, and a
//! crash between any two lines is repaired by doing the same again.
//!
//! Reading order: `runner` claims work and keeps its lease; `step` is what is done for an Item and
//! `sync_item` the greatest part of it, with `enrich_page` for what transactions mean, all without I/O of
//! their own: `memory` is what they ask of the store. `enrich_end_user` then reads
//! what all transactions of an end user mean together. `retry` says when a failure is worth another try; `link_session` makes Items of visits
//! to Link; `deliver` tells subscribers; `sequencer` numbers the feed; `elected` is what one process does for
//! all, `dispatch` how processes wake each other; `connection` writes streams to
//! destinations; `source` reads them without a store, for platforms.

mod connection;
mod deliver;
mod dispatch;
mod elected;
mod enrich_end_user;
mod enrich_page;
mod link_session;
mod memory;
mod retry;
mod runner;
mod sequencer;
mod source;
mod step;
mod sync_item;
mod tidy;

pub use connection::{Open, Watch};
pub use deliver::{PublicAddresses, Sender};
pub use dispatch::Dispatch;
pub use elected::EventLog;
pub use enrich_end_user::{Changed, judge_end_user};
pub use memory::Memory;
pub use runner::{Pipeline, Settings, WORKERS};
pub use source::{ItemRead, ReadError, ReadPlan, SourceStream, read_item, source_streams};
pub use step::{Ended, Failure, Rules, step};
