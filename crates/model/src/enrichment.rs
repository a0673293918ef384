//! What processing adds to a transaction; each decision with how sure it is and why.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::{Membership, Tie, Transfer};

/// How often a decision like this is right, in hundredths; written as a number from 0 to 0.99.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Confidence(pub u8);

/// What processing says of a transaction. Plaid's own words stand beside it in the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrichment {
    /// What it is about.
    pub category: EnrichedCategory,
    /// Who it was with; absent for fees, transfers and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant: Option<Merchant>,
    /// Everybody else in it: processors, marketplaces, banks, people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counterparties: Vec<Counterparty>,
    /// `transfer`, `recurring`, `refund`, `possible_duplicate`, `fee`, `nsf`, `income`, `cash` and
    /// others; an open set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// `card`, `ach`, `direct_debit`, `standing_order`, `bank_transfer`, where the line says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The part of the bank's text that names the other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The words of the bank's text that say where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// It is half of a transfer between the end user's own accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
    /// It is money back for an earlier transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<Tie>,
    /// It may be an earlier transaction once more. Nothing is taken away for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<Tie>,
    /// It belongs to what comes again by contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurring: Option<Membership>,
    /// Version of the tables that decided.
    pub tables: String,
}

/// A category of ours and what others call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrichedCategory {
    /// Our finest category; absent when only the primary can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<String>,
    /// Primary code of Plaid's taxonomy, version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
    /// Detailed code of Plaid's taxonomy, version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detailed: Option<String>,
    /// Detailed code of Plaid's taxonomy, version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detailed_v1: Option<String>,
    /// What a lender to a business calls it. Plaid's terms keep Transactions data out of decisions
    /// about credit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lender: Option<String>,
    /// What a household calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// How sure.
    #[schema(value_type = f64, minimum = 0, maximum = 0.99)]
    pub confidence: Confidence,
    /// What decided: `person`, `integration_rule`, `transfer`, `refund`, `rule`, `merchant`,
    /// `words`, `merchant_category_code`, `model`, `plaid`, `direction`; an open set.
    pub source: String,
    /// Why, in words, with the words of the bank's text that it rests on.
    pub reason: String,
    /// The next primaries, the likelier first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runners_up: Vec<RunnerUp>,
}

impl EnrichedCategory {
    /// The finest that is said of it: the leaf, else the primary.
    pub fn name(&self) -> Option<&str> {
        self.leaf.as_deref().or(self.primary.as_deref())
    }
}

/// A category that was less likely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunnerUp {
    /// Primary code of Plaid's taxonomy, version 2.
    pub primary: String,
    /// How likely.
    #[schema(value_type = f64, minimum = 0, maximum = 0.99)]
    pub confidence: Confidence,
}

/// Who was paid, or who paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Merchant {
    /// The name that people use.
    pub name: String,
    /// Its website, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
    /// The same for every line that names this merchant alike; for known merchants, for all lines.
    pub key: String,
    /// The key that it would have if nobody had named it, empty if none: rules ask for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_key: Option<String>,
    /// How sure.
    #[schema(value_type = f64, minimum = 0, maximum = 0.99)]
    pub confidence: Confidence,
    /// Why, in words.
    pub reason: String,
}

/// Somebody in a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counterparty {
    /// Its name.
    pub name: String,
    /// `merchant`, `processor`, `marketplace`, `bank`, `person`; an open set.
    pub role: String,
}

impl Serialize for Confidence {
    #[expect(clippy::float_arithmetic, reason = "a share for readers; money never comes here")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / 100.0)
    }
}

impl<'de> Deserialize<'de> for Confidence {
    #[expect(clippy::float_arithmetic, reason = "a share for readers; money never comes here")]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let hundredths = (share.clamp(0.0, 1.0) * 100.0).round() as u8;
        Ok(Self(hundredths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_confidence_is_itself_again() {
        for hundredths in 0..=100 {
            let text = serde_json::to_string(&Confidence(hundredths)).unwrap();
            assert_eq!(serde_json::from_str::<Confidence>(&text).unwrap(), Confidence(hundredths));
        }
        assert_eq!(serde_json::to_string(&Confidence(95)).unwrap(), "0.95");
    }
}
