//! A linked login at an institution and who it belongs to.

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{EndUserId, IntegrationId, ItemKey, ItemLife, ItemStatus};

/// The customer's customer, named by the caller's own `end_user_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndUser {
    /// Our id.
    pub id: EndUserId,
    /// The integration it belongs to.
    pub integration_id: IntegrationId,
    /// The caller's own id, unique within the integration.
    pub end_user_id: String,
    /// A name for people, if one was given.
    pub name: Option<String>,
    /// When it was first named.
    pub created_at: Timestamp,
}

/// How much history Plaid has delivered so far (`transactions_update_status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// Nothing yet.
    NotReady,
    /// The latest 30 days.
    Initial,
    /// Everything that was requested.
    Complete,
}

impl History {
    /// The name as stored and served.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotReady => "not_ready",
            Self::Initial => "initial",
            Self::Complete => "complete",
        }
    }

    /// The value stored under this name; an unknown one means nothing is known yet.
    pub fn from_name(name: &str) -> Self {
        match name {
            "initial" => Self::Initial,
            "complete" => Self::Complete,
            _ => Self::NotReady,
        }
    }
}

/// One Plaid Item as we keep it, without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Our key.
    pub key: ItemKey,
    /// Plaid's `item_id`.
    pub item_id: String,
    /// The integration whose credentials reach it.
    pub integration_id: IntegrationId,
    /// Our id of its end user.
    pub end_user_key: EndUserId,
    /// The caller's id of its end user.
    pub end_user_id: String,
    /// Plaid's institution id, where there is one.
    pub institution_id: Option<String>,
    /// The institution's name, where known.
    pub institution_name: Option<String>,
    /// What is known about its life.
    pub life: ItemLife,
    /// What stands in the way, in words, with Plaid's code and request id.
    pub status_detail: Option<String>,
    /// How much history has arrived.
    pub history: History,
    /// The oldest transaction date seen.
    pub history_since: Option<Date>,
    /// Days of history that were asked for; Plaid fixes them at the first sync.
    pub days_requested: i64,
    /// Whether the next sync reads everything again from the empty cursor.
    pub rewalk: bool,
    /// Whether the next sync asks the bank for balances.
    pub balances_wanted: bool,
    /// When Plaid last read transactions from the bank, where Plaid says so.
    pub bank_updated_at: Option<Timestamp>,
    /// When Plaid last failed to.
    pub bank_failed_at: Option<Timestamp>,
    /// Another live Item of the same end user and bank that has one of its accounts, too.
    pub duplicate_of: Option<ItemKey>,
    /// Resting cursor of `/transactions/sync`; empty before the first complete update.
    pub cursor: String,
    /// Number of the last entry written for this Item.
    pub item_seq: i64,
    /// When it was linked.
    pub created_at: Timestamp,
    /// When a sync was last tried.
    pub last_attempt_at: Option<Timestamp>,
    /// When a sync last succeeded.
    pub last_success_at: Option<Timestamp>,
    /// When a webhook for it was last accepted.
    pub last_webhook_at: Option<Timestamp>,
}

impl Item {
    /// Its state, in the words shown to people.
    pub fn status(&self) -> ItemStatus {
        self.life.status()
    }
}
