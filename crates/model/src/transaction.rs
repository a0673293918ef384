//! A transaction: pending, posted, removed. `id` names the economic event and outlives Plaid's ids.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Enrichment;

/// Which way the money went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Into the account.
    In,
    /// Out of the account.
    Out,
}

/// Plaid's personal finance category, as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Category {
    /// Primary code; an open set.
    pub primary: String,
    /// Detailed code; an open set.
    pub detailed: String,
    /// `VERY_HIGH`, `HIGH`, `MEDIUM`, `LOW`, `UNKNOWN`, where given.
    pub confidence: Option<String>,
    /// Taxonomy version, where given.
    pub version: Option<String>,
}

/// Somebody whom Plaid sees in a transaction, as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlaidCounterparty {
    /// Its name.
    pub name: String,
    /// `merchant`, `financial_institution`, `payment_app`, `marketplace`, `payment_terminal`,
    /// `income_source`; an open set.
    #[serde(rename = "type")]
    pub kind: String,
    /// Plaid's id of it, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<String>,
}

/// A transaction as stored and served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transaction {
    /// Ours: the economic event. Empty until the store has given it.
    pub id: String,
    /// Plaid's current id; it changes when a pending transaction posts.
    pub transaction_id: String,
    /// Plaid's Item id.
    pub item_id: String,
    /// Plaid's account id.
    pub account_id: String,
    /// The caller's id of the end user.
    pub end_user_id: String,
    /// Posting date, or while pending the date it occurred.
    #[schema(value_type = String, format = Date)]
    pub date: Date,
    /// When it was authorised.
    #[schema(value_type = Option<String>, format = Date)]
    pub authorized_date: Option<Date>,
    /// Decimal with Plaid's sign: positive leaves the account. Rounded half away from zero to the
    /// currency's minor unit.
    pub amount: String,
    /// The amount exactly as Plaid wrote it, where rounding changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_exact: Option<String>,
    /// Which way the money went.
    pub direction: Direction,
    /// ISO 4217 code, or the unofficial code that Plaid gives.
    pub currency: String,
    /// Whether the bank may still change it.
    pub pending: bool,
    /// Plaid's id of the pending row this one replaced.
    pub pending_transaction_id: Option<String>,
    /// The bank's text.
    pub name: String,
    /// The merchant, where Plaid found one.
    pub merchant_name: Option<String>,
    /// Plaid's id of the merchant, the same for all its transactions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant_entity_id: Option<String>,
    /// The merchant's website, as Plaid has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
    /// Everybody whom Plaid sees in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counterparties: Vec<PlaidCounterparty>,
    /// The unaltered bank text, where Plaid gives it.
    pub original_description: Option<String>,
    /// `online`, `in store`, `other`; an open set.
    pub payment_channel: Option<String>,
    /// Cheque number, for cheques.
    pub check_number: Option<String>,
    /// Plaid's category.
    pub category: Option<Category>,
    /// What processing says of it: merchant, category, flags, each with a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrichment: Option<Enrichment>,
    /// What people noted about the event. It stays with the event, whatever Plaid does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation: Option<Annotation>,
    /// True for a row that Plaid took back; such rows are listed in the full history only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

/// What people noted about a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Annotation {
    /// A category that stands above every other: a leaf of ours, or a code of Plaid's taxonomy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// A merchant that stands above every other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant: Option<String>,
    /// Our id of the other half of a transfer between own accounts; `none` if it is no transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_with: Option<String>,
    /// Parts of the amount that are about different things; together they are the amount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<Split>,
    /// A note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Tags, each once, in order.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
}

/// A part of a transaction's amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Decimal with Plaid's sign.
    pub amount: String,
    /// What it is about: a leaf of ours, or a code of Plaid's taxonomy.
    pub category: String,
    /// A note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Annotation {
    /// Stands in `transfer_with` for no other half: the row is no transfer.
    pub const NO_TRANSFER: &'static str = "none";

    /// Whether nothing is noted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
