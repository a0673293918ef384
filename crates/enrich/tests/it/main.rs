//! The judgement as its users see it.

mod bank_lines;
mod rules;
mod series;
