//! One entry of the feed: what changed, to what, in which order.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Account, Balance, Transaction};

/// A kind of record that the feed carries. An open set: values are only ever added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Accounts behind Items.
    Accounts,
    /// Latest reading of each account.
    Balances,
    /// Transactions.
    Transactions,
}

impl Stream {
    /// Every stream.
    pub const ALL: [Self; 3] = [Self::Accounts, Self::Balances, Self::Transactions];

    /// The name as stored and served.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Balances => "balances",
            Self::Transactions => "transactions",
        }
    }

    /// The stream of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.as_str() == name)
    }
}

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new, or came back after a removal.
    Added,
    /// It has new content under the same `id`.
    Modified,
    /// It is gone; the record is a tombstone.
    Removed,
}

impl ChangeKind {
    /// The name as stored and served.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Removed => "removed",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Added, Self::Modified, Self::Removed].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What remains of a removed record: its ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tombstone {
    /// Of a transaction, ours: the economic event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Of a transaction, Plaid's last id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    /// Plaid's Item id.
    pub item_id: String,
    /// Plaid's account id.
    pub account_id: String,
}

/// The record of a change, as it was when the change was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Record {
    /// A transaction.
    Transaction(Box<Transaction>),
    /// A removed record.
    Tombstone(Tombstone),
    /// An account.
    Account(Account),
    /// A balance reading.
    Balance(Balance),
}

/// One entry of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Change {
    /// Place in the feed of this installation; rises, and for an unfiltered reader has no holes.
    pub seq: i64,
    /// Number of the entry within its Item: 1, 2, 3, …
    pub item_seq: i64,
    /// What happened.
    pub kind: ChangeKind,
    /// Which kind of record.
    pub stream: Stream,
    /// The record as it was then.
    pub record: Record,
}
