//! An account, and a balance: a reading of it at an instant.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A bank account behind an Item. `item_id` and `account_id` are Plaid's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// Plaid's account id.
    pub account_id: String,
    /// Plaid's Item id.
    pub item_id: String,
    /// The caller's id of the end user.
    pub end_user_id: String,
    /// Name given by the bank or the person.
    pub name: String,
    /// The bank's official name.
    pub official_name: Option<String>,
    /// Last two to four characters of the number.
    pub mask: Option<String>,
    /// Plaid's account type; an open set.
    #[serde(rename = "type")]
    pub account_type: String,
    /// Plaid's account subtype; an open set.
    pub subtype: Option<String>,
    /// Stable across Items at banks that tokenise account numbers.
    #[serde(default)]
    pub persistent_account_id: Option<String>,
    /// `personal`, `business` or `unrecognized`, where Plaid says.
    #[serde(default)]
    pub holder_category: Option<String>,
    /// Whether the bank still tells of it.
    #[serde(default)]
    pub status: AccountStatus,
}

/// Whether the bank still tells of an account. An open set: values are only ever added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// It does.
    #[default]
    Active,
    /// It no longer does; that does not prove that the account is closed.
    Missing,
    /// The end user withdrew consent to it at the bank.
    Revoked,
}

/// What a balance reading rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalanceSource {
    /// Came with Plaid's cached account data; free.
    Cached,
    /// Asked of the bank in real time; billed by Plaid.
    RealTime,
}

/// A reading of an account's balances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Balance {
    /// Plaid's account id.
    pub account_id: String,
    /// Plaid's Item id.
    pub item_id: String,
    /// The caller's id of the end user.
    pub end_user_id: String,
    /// Decimal; what may be spent. Often absent for credit and loans.
    pub available: Option<String>,
    /// Decimal; what is there, or for credit and loans what is owed.
    pub current: Option<String>,
    /// Decimal; credit or overdraft limit.
    pub limit: Option<String>,
    /// ISO 4217 code, or the unofficial code that Plaid gives.
    pub currency: Option<String>,
    /// What the reading rests on.
    pub source: BalanceSource,
    /// When we fetched it.
    #[schema(value_type = String, format = DateTime)]
    pub fetched_at: Timestamp,
    /// When the bank last updated it, where the bank says.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub bank_updated_at: Option<Timestamp>,
}

impl Balance {
    /// Whether both readings say the same, whenever they were taken.
    pub fn same_reading(&self, other: &Self) -> bool {
        let facts = |balance: &Self| {
            (
                balance.available.clone(),
                balance.current.clone(),
                balance.limit.clone(),
                balance.currency.clone(),
                balance.bank_updated_at,
            )
        };
        facts(self) == facts(other)
    }
}
