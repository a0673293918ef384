//! The story: rows of work are claimed, Items are brought up to date, changes get their place in
//! the feed. Nothing goes back: each step is started by a row that the one before it wrote, and a
//! crash between any two lines is repaired by doing the same again.
//!
//! Reading order: `runner` claims work and keeps its lease; `sync_item` is what is done for an
//! Item, `remove_item` how one ends; `retry` says what a failure means; `sequencer` numbers the
//! feed. `read_balances` is the source half: a stream read without a store.

mod read_balances;
mod remove_item;
mod retry;
mod runner;
mod sequencer;
mod sync_item;

pub use read_balances::{BALANCES, read_balances};
pub use runner::{Pipeline, Settings};
