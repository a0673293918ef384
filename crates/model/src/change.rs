//! One entry of the feed: what changed, to what, in which order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Account, Balance, RawRecord, Stream, Transaction};

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
    /// Plaid's account id, where the record has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The rest of the record's key, where its stream has more to it.
    #[serde(default, flatten)]
    pub key: BTreeMap<String, String>,
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
    /// A record of any other stream; `GET /v1/streams` has their schemas.
    Other(RawRecord),
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
