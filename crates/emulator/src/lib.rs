//! A Plaid on this machine: stateful, seeded, signed webhooks, time that can be stepped.
//!
//! Written from Plaid's public description and depending on nothing else of this project, so that
//! a mistake of ours cannot be made twice.
//!
//! Reading order: a request enters `server`, is matched against the table in `routes`, reads the
//! `world` or changes it by a `Command`, which the `journal` keeps. A world holds items; an item
//! has the `ledger` (what really happened, hidden) and the `rows` (what the API shows of it).
//! `people` invents who the account holders are and what they do with their money.

mod draw;
mod error;
mod item;
mod journal;
mod ledger;
mod people;
mod routes;
mod rows;
mod server;
mod webhook;
mod world;

pub use server::{Emulator, Options, StartError};
