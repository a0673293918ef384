//! The emulator from outside, over HTTP: what its API shows equals what its ledger says.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bank;
mod behaviour;
mod contract;
mod faults;
mod hardness;
mod ledger;
mod random_walks;
mod receiver;
mod set_up_guides;
mod time;
