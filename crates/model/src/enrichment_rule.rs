//! A rule that an integration's people made: which transactions it is about, and what they mean.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Direction, EnrichmentRuleId, IntegrationId};

/// A rule of an integration. Of two that fit, the newer decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrichmentRule {
    /// Our id.
    #[schema(value_type = String)]
    pub id: EnrichmentRuleId,
    /// Whose transactions it is about.
    #[schema(value_type = String)]
    pub integration_id: IntegrationId,
    /// Which ones; everything that is given must hold.
    pub when: RuleCondition,
    /// What they mean.
    pub then: RuleDecision,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Which transactions a rule is about; everything that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleCondition {
    /// The merchant's key, as `enrichment.merchant.key` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant_key: Option<String>,
    /// Words that stand together in the bank's text; case, accents and punctuation do not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Which way the money goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Your id of the end user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_user_id: Option<String>,
    /// Plaid's id of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Smallest size of the amount, a decimal without a sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_min: Option<String>,
    /// Largest size of the amount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_max: Option<String>,
}

/// What transactions mean; at least one is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleDecision {
    /// A leaf of our categories, or a code of Plaid's taxonomy, version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The merchant's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant: Option<String>,
}
