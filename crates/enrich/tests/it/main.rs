//! The judgement as its users see it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bank_lines;
mod rules;
mod series;
