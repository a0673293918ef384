//! The bank side: the only code that knows Plaid's JSON.
//!
//! Reading order: `wire` has the shapes exactly as sent, `client` the calls with their `limits` and
//! retries, `circuit` and `meter`, `error` what an error means for us, `convert` the way into our
//! vocabulary, `bank` one Item as a sync sees it, `pull` one whole update, `read_stream` every other
//! stream, `check` what is wrong with settings, `webhook` and `keys` the way in for events, `news`
//! what they mean.

mod bank;
mod check;
mod circuit;
mod client;
mod convert;
mod error;
mod keys;
mod limits;
mod meter;
mod news;
mod pull;
mod read_stream;
mod webhook;
pub mod wire;

pub use bank::{Bank, ItemBank, Part, current_accounts};
pub use check::{Check, CheckState, check_credentials, check_token};
pub use client::{
    AccessToken, Client, Connector, Credentials, DAYS_REQUESTED, LinkRequest, SandboxUser,
    TokenMismatch,
};
pub use convert::{Owner, accounts, page};
pub use error::{Error, PlaidError, Reaction, cause};
pub use keys::{KeyCache, KeyError, KeyRecord};
pub use limits::{cost_of, syncs_a_minute};
pub use meter::{Calls, Meter};
pub use news::{LinkNews, link_news, news};
pub use pull::{Plan, PullError, Pulled, Stage, pull_update};
pub use read_stream::read_stream;
pub use webhook::{Event, MAXIMUM_AGE_SECONDS, MAXIMUM_SKEW_SECONDS, Refusal, Token};
