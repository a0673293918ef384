//! The emulator from outside, over HTTP: what its API shows equals what its ledger says.

mod bank;
mod ledger;
mod set_up_guides;
