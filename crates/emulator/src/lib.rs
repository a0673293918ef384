//! A Plaid on this machine: stateful, seeded, signed webhooks, time that can be stepped or stopped.
//!
//! Written from Plaid's public description and depending on nothing else of this project, so that
//! a mistake of ours cannot be made twice.
//!
//! Reading order: a request enters by a `connection`, is led by the `server` to a page, a control
//! path or one of Plaid's, is held to the `contract`, is matched against the table in `routes`, and
//! reads the `world` or changes it by a `Command`, which the `journal` keeps. A world holds items; an
//! item has a `book`: the `ledger` (what really happened, hidden) and the `rows` (what the API shows
//! of it). `people` invents who the account holders are and what they do with their money. Faults
//! `distort` answers. The `tour` calls every endpoint, here or at Plaid's own sandbox.

mod book;
mod clock;
mod connection;
mod contract;
mod distort;
mod draw;
mod engine;
mod error;
mod fault;
mod institutions;
mod item;
mod journal;
mod ledger;
mod limits;
mod link;
mod pages;
mod pdf;
mod people;
mod populate;
mod reports;
mod routes;
mod rows;
mod server;
mod tour;
mod webhook;
mod world;

pub use book::USUAL_MIB as USUAL_BOOKS_MIB;
pub use fault::{Fault, FaultKind, KINDS};
pub use populate::{PopulateError, PopulatedItem, Population, populate};
pub use server::{CONTRACT_REPORT, Emulator, Options, StartError};
pub use tour::{Observation, TourError, differences, walk};
