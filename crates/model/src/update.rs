//! One page of an update on its way into the store: converted, staged, not yet seen by anybody.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{Account, Balance, Stream, Transaction};

/// A record with the raw JSON it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged<T> {
    /// What was made of it.
    pub record: T,
    /// Plaid's bytes, kept so that a later release can read more from them.
    pub raw: String,
}

/// A transaction that Plaid says is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Plaid's transaction id.
    pub transaction_id: String,
    /// Plaid's account id, where given.
    pub account_id: Option<String>,
}

/// An element that could not be read. The rest of its page is unaffected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Which array it stood in.
    pub part: String,
    /// Why it could not be read; never contains the element's values.
    pub reason: String,
    /// Plaid's bytes.
    pub raw: String,
}

/// One page of `/transactions/sync` in our words. Within a page the order is added, modified,
/// removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Accounts that came along.
    pub accounts: Vec<Staged<Account>>,
    /// Their cached balances.
    pub balances: Vec<Balance>,
    /// New transactions.
    pub added: Vec<Staged<Transaction>>,
    /// Transactions with new content.
    pub modified: Vec<Staged<Transaction>>,
    /// Transactions that are gone.
    pub removed: Vec<Removal>,
    /// What could not be read.
    pub quarantined: Vec<Quarantined>,
}

/// A record of a stream that is declared by its fields, as text that is never looked into again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The values of the stream's key but for the Item, joined by `/`.
    pub record_id: String,
    /// The record as JSON.
    pub body: String,
    /// Plaid's bytes.
    pub raw: String,
}

/// One reading of a stream: what it has now, and how far that proves what is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Which stream.
    pub stream: Stream,
    /// Its records.
    pub records: Vec<Arrival>,
    /// What could not be read; while there is any, nothing counts as gone.
    pub quarantined: Vec<Quarantined>,
    /// Only records from this date on were read; all, if absent.
    pub since: Option<Date>,
}
