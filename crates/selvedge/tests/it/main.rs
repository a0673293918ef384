//! The whole system from outside: real HTTP, real databases, real processes, a real browser. One
//! binary, so that the world is linked once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod api;
mod client;
mod conformance;
mod connections;
mod crash;
mod crash_points;
mod demo;
mod documents;
mod durable;
mod engines;
mod enrich;
mod fault_matrix;
mod fault_runs;
mod feed_under_writers;
mod guides;
mod identity;
mod installation;
mod isolation;
mod life;
mod meaning;
mod notes;
mod notices;
mod outside;
mod plans;
mod process;
mod receivers;
mod secrets;
mod shared;
mod simulation;
mod source;
mod start;
mod storm;
mod story;
mod streams;
mod sync;
mod tidy;
mod webhooks;
