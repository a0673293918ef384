//! The bank side: the only code that knows Plaid's JSON.
//!
//! Reading order: `wire` has the shapes exactly as sent, `client` the calls with their `limits` and
//! retries, `error` what an error means for us, `convert` the way into our vocabulary, `pull` one
//! whole update, `check` what is wrong with settings, `webhook` and `keys` the way in for events.

mod check;
mod client;
mod convert;
mod error;
mod keys;
mod limits;
mod pull;
mod webhook;
pub mod wire;

pub use check::{Check, CheckState, check_credentials, check_token};
pub use client::{AccessToken, Client, Connector, Credentials, SandboxUser, TokenMismatch};
pub use convert::{Owner, accounts, page};
pub use error::{Error, PlaidError, Reaction};
pub use keys::{KeyCache, KeyError, KeyRecord};
pub use pull::{PullError, Pulled, Stage, pull_update};
pub use webhook::{Event, MAXIMUM_AGE_SECONDS, MAXIMUM_SKEW_SECONDS, Refusal, Token};
