//! Typed identifiers with a prefix, so that a wrong id is refused at the door.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Ambient;

/// The text was not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id that starts with `{expected}`")]
pub struct InvalidId {
    /// The prefix that was expected, with its underscore.
    pub expected: &'static str,
}

macro_rules! prefixed_id {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A new id: the prefix and a UUID of version 7, so that ids sort by age.
            pub fn generate(ambient: &Ambient) -> Self {
                Self(format!(concat!($prefix, "_{}"), ambient.uuid().simple()))
            }

            /// The id as text, prefix included.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let expected = concat!($prefix, "_");
                let valid = text.strip_prefix(expected).is_some_and(|rest| {
                    rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
                });
                if valid { Ok(Self(text.to_owned())) } else { Err(InvalidId { expected }) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

prefixed_id! {
    /// One set of Plaid credentials in one environment.
    IntegrationId = "itg";
    /// Our key of a linked Item; records carry Plaid's own `item_id`.
    ItemKey = "itm";
    /// Our id of a customer's customer.
    EndUserId = "eus";
    /// The economic event behind a transaction; it outlives Plaid's ids.
    TransactionKey = "txn";
    /// One API key.
    ApiKeyId = "key";
    /// An outbound webhook endpoint.
    SubscriptionId = "sub";
    /// One message to one subscription.
    DeliveryId = "dlv";
    /// One visit of an end user to Link.
    LinkSessionId = "lnk";
    /// Streams on their way to a destination.
    ConnectionId = "con";
    /// One execution of a connection.
    RunId = "run";
    /// A pair that may be one event, for a person to judge.
    SuggestionId = "sug";
    /// A rule of an integration's people about what transactions mean.
    EnrichmentRuleId = "rul";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let text = "itg_0190a6d5c0de7000800000000000beef";
        assert!(text.parse::<IntegrationId>().is_ok());
        assert_eq!(text.parse::<ItemKey>(), Err(InvalidId { expected: "itm_" }));
        assert!("itg_short".parse::<IntegrationId>().is_err());
    }
}
