//! Institutions: the sandbox's test banks and some that people know.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::PlaidError;

/// In the order in which `/institutions/get` lists them.
pub(crate) static INSTITUTIONS: LazyLock<Vec<Institution>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../data/institutions.json"))
        .expect("the embedded file is checked by a test")
});

/// What every institution offers. `auth` is not offered by card issuers only.
pub(crate) const PRODUCTS: [&str; 9] = [
    "assets",
    "auth",
    "balance",
    "identity",
    "investments",
    "liabilities",
    "recurring_transactions",
    "statements",
    "transactions",
];

/// A one-pixel PNG; real logos are the banks' own.
const LOGO: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

#[derive(Debug, Deserialize)]
pub(crate) struct Institution {
    pub(crate) institution_id: String,
    pub(crate) name: String,
    pub(crate) country_codes: Vec<String>,
    pub(crate) oauth: bool,
    pub(crate) routing_numbers: Vec<String>,
    url: Option<String>,
    primary_color: Option<String>,
    /// How many days a person's consent lasts, where it ends.
    pub(crate) consent_days: Option<i64>,
    /// What linking the same login once more does to the older Item.
    #[serde(default)]
    pub(crate) relink: Relink,
    /// Account ids are tokenised and stable over Items.
    #[serde(default)]
    pub(crate) persistent_ids: bool,
    #[serde(default)]
    health: Health,
    #[serde(default = "yes")]
    pub(crate) supported: bool,
}

/// What linking the same login once more does to the older Item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Relink {
    /// Both live.
    #[default]
    Harmless,
    /// The older one dies.
    Always,
    /// The older one dies if other accounts were chosen.
    AccountsDiffer,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Health {
    #[default]
    Healthy,
    Degraded,
    Down,
}

fn yes() -> bool {
    true
}

/// Which parts of an institution a caller asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) optional_metadata: bool,
    pub(crate) status: bool,
    pub(crate) auth_metadata: bool,
    pub(crate) payment_initiation_metadata: bool,
}

/// The institution of this id.
pub(crate) fn find(institution_id: &str) -> Result<&'static Institution, PlaidError> {
    let found = INSTITUTIONS.iter().find(|bank| bank.institution_id == institution_id);
    found.ok_or_else(|| {
        PlaidError::invalid_input("INVALID_INSTITUTION", "invalid institution_id provided")
    })
}

impl Institution {
    pub(crate) fn is_in(&self, countries: &[String]) -> bool {
        self.country_codes.iter().any(|own| countries.contains(own))
    }

    /// Whether consent ends the way it does in Europe.
    pub(crate) fn is_european(&self) -> bool {
        self.country_codes.iter().all(|country| country != "US" && country != "CA")
    }

    /// As Plaid answers it. Parts that were not asked for are left out, not null.
    pub(crate) fn json(&self, wanted: Wanted) -> Value {
        let mut json = json!({
            "connection_availability": if self.supported { "SUPPORTED" } else { "NOT_SUPPORTED" },
            "country_codes": self.country_codes,
            "dtc_numbers": [],
            "institution_id": self.institution_id,
            "name": self.name,
            "oauth": self.oauth,
            "products": PRODUCTS,
            "routing_numbers": self.routing_numbers,
        });
        if wanted.optional_metadata {
            let slug: String =
                self.name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
            json["url"] =
                json!(self.url.clone().unwrap_or_else(|| format!("https://{slug}.example/")));
            json["primary_color"] = json!(self.primary_color.as_deref().unwrap_or("#174e7c"));
            json["logo"] = json!(LOGO);
        }
        if wanted.status {
            json["status"] = self.status();
        }
        if wanted.auth_metadata {
            json["auth_metadata"] = json!({ "supported_methods": {
                "automated_micro_deposits": false, "instant_auth": true,
                "instant_match": !self.oauth, "instant_micro_deposits": true,
            } });
        }
        if wanted.payment_initiation_metadata {
            json["payment_initiation_metadata"] = match self.is_european() {
                true => json!({
                    "maximum_payment_amount": { "GBP": "10000" },
                    "standing_order_metadata": null,
                    "supports_commercial_payment_consents": false,
                    "supports_international_payments": true,
                    "supports_payment_consents": true,
                    "supports_refund_details": true,
                    "supports_sepa_instant": false,
                }),
                false => Value::Null,
            };
        }
        json
    }

    fn status(&self) -> Value {
        let (word, success) = match self.health {
            Health::Healthy => ("HEALTHY", "0.97"),
            Health::Degraded => ("DEGRADED", "0.6"),
            Health::Down => ("DOWN", "0"),
        };
        let share = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
        let (lost, interval) = match self.health {
            Health::Healthy => ("0.03", "NORMAL"),
            Health::Degraded => ("0.4", "DELAYED"),
            Health::Down => ("1", "STOPPED"),
        };
        let product = |updates: bool| {
            let mut breakdown = json!({
                "error_institution": share(lost), "error_plaid": 0, "success": share(success),
            });
            if updates {
                breakdown["refresh_interval"] = json!(interval);
            }
            json!({
                "breakdown": breakdown,
                "last_status_change": "2026-01-05T09:00:00Z",
                "status": word,
            })
        };
        json!({
            "auth": product(false),
            "health_incidents": null,
            "identity": product(false),
            "investments": product(false),
            "investments_updates": product(true),
            "item_logins": product(false),
            "liabilities": product(false),
            "liabilities_updates": product(true),
            "transactions_updates": product(true),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banks_that_suites_and_guides_name_are_there() {
        assert_eq!(find("ins_43").expect("a bank").name, "Tartan-Dominion Bank of Canada");
        assert_eq!(find("ins_0").expect_err("no bank").error_code, "INVALID_INSTITUTION");
        let of = |country: &str| {
            INSTITUTIONS.iter().filter(|bank| bank.is_in(&[country.to_owned()])).count()
        };
        assert!(of("US") >= 20 && of("GB") >= 3 && of("CA") >= 3);
    }
}
