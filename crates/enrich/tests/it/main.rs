//! The judgement as its users see it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bank_lines;
#[cfg(feature = "model")]
mod folds;
mod rules;
mod series;
