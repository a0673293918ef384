//! The ways out: tables written to databases, files, receivers and other programs.
//!
//! Reading order: `table` is what is written, `destination` the contract every way out keeps. Databases
//! share `sql`, with an engine in `postgres` and `sqlite`; files share `files`, with formats in
//! `text_formats` and a place in `folder`; `scratch` is for what is on its way; `http` and `process` tell others. `airbyte` and `singer` are
//! the messages of a source. Heavy ways out are in the crates `lake` and `brokers`.

pub mod airbyte;
mod destination;
mod files;
mod folder;
mod http;
mod line_message;
mod postgres;
mod process;
mod scratch;
pub mod singer;
mod sql;
mod sqlite;
mod table;
mod text_formats;

pub use destination::{
    Batch, Destination, DestinationError, DestinationTrouble, EachRow, Load, MissingColumn, Mode,
    Part,
};
pub use files::{Files, Format, Place, RowWriter};
pub use folder::Folder;
pub use http::Http;
pub use line_message::{LineMessage, fingerprint, messages_of};
pub use postgres::Postgres;
pub use process::Process;
pub use scratch::Scratch;
pub use sql::{Database, Dialect, Engine, Limits, quoted};
pub use sqlite::Sqlite;
pub use table::{Cell, Column, Row, Table, bounded_name, canonical, cell, plain_name};
pub use text_formats::{Csv, JsonLines};
