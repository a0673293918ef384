//! The judgement: what a transaction means, from its text, its amount and what Plaid says of it. Pure:
//! no clock, no network, no file; the same rows and tables give the same answers everywhere.
//!
//! Reading order: `transaction` is what comes in, `enrichment` what goes out, each decision with its
//! confidence and reason. `tables` holds what is known, as data: `phrases` finds all of it in one pass,
//! `rules` says what banks' own words mean, `names` who a merchant is. `structure` takes a line apart,
//! `judge` decides, `vote` weighs evidence that does not agree. `category` has the categories and the
//! views of them; `training` makes the model while building. `sheet` judges rows of text, as files have them;
//! `recorded` is the form that records have it in; `series` reads what many rows say together,
//! `memory` keeps what people decided, and `end_user` puts all of it together.

mod calibration;
mod category;
mod end_user;
mod enrichment;
mod judge;
mod memory;
mod names;
mod phrases;
mod recorded;
mod rules;
mod series;
mod sheet;
mod sheet_series;
mod structure;
mod tables;
pub mod training;
mod transaction;
mod vote;

pub use category::{Leaf, Primary};
pub use end_user::{Processed, process};
pub use enrichment::{
    Category, Counterparty, Direction, Enrichment, Evidence, Flag, Flags, Layer, Merchant, Percent,
    Role,
};
pub use judge::Judge;
pub use memory::{Memory, Named, like};
pub use recorded::{country, introduce, judge_record, recorded, tables, tables_version};
pub use series::{
    Entry, Holding, PAIRED_BY_PERSON, Pairing, Posting, Reading, Series, Ties, balance_history,
    series,
};
pub use sheet::{
    BadRow, CONFIDENCE, END_USER, FLAGS, INPUT, MissingColumns, OUTPUT, REQUIRED, Sheet,
    hundredths, judge_sheet, places,
};
pub use sheet_series::{SERIES_OUTPUT, judge_series};
pub use tables::{RuleExample, Tables};
pub use transaction::{AccountKind, Transaction};
