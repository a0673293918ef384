//! A linked login at an institution, who it belongs to, and the states it goes through.

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{EndUserId, IntegrationId, ItemKey};

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

/// The state of an Item, in the words shown to people. An open set: values are only ever added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// Linked; the first sync has not finished.
    Waiting,
    /// The last sync succeeded.
    Healthy,
    /// The bank asks the end user to sign in again (Plaid Link, update mode).
    LoginRequired,
    /// The last sync failed for another reason; it is retried.
    Erroring,
    /// Removal was asked for and waits for Plaid's confirmation.
    Removing,
    /// Removed at Plaid; its data was kept by choice.
    Removed,
}

impl ItemStatus {
    /// The name as stored and served.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Healthy => "healthy",
            Self::LoginRequired => "login_required",
            Self::Erroring => "erroring",
            Self::Removing => "removing",
            Self::Removed => "removed",
        }
    }

    /// The status stored under this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Waiting,
            Self::Healthy,
            Self::LoginRequired,
            Self::Erroring,
            Self::Removing,
            Self::Removed,
        ]
        .into_iter()
        .find(|status| status.as_str() == name)
    }

    /// Whether Plaid is still asked about this Item.
    pub fn is_live(self) -> bool {
        !matches!(self, Self::Removing | Self::Removed)
    }
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
    /// Its state.
    pub status: ItemStatus,
    /// What stands in the way, in words, with Plaid's code and request id.
    pub status_detail: Option<String>,
    /// How much history has arrived.
    pub history: History,
    /// The oldest transaction date seen.
    pub history_since: Option<Date>,
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
