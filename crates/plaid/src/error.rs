//! Plaid's errors, and what each means for us. Decisions rest on `error_type` and `error_code`,
//! not on the HTTP status, which is 400 for nearly everything.

use std::time::Duration;

use model::Trouble;

use crate::wire::ErrorBody;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Try the same call again within seconds.
    Retry,
    /// Try again in minutes to hours; the bank or Plaid is down.
    Later,
    /// Discard the pages of this update and start it again.
    RestartUpdate,
    /// The stored cursor is of no use; walk from the empty one.
    Rewalk,
    /// The end user must sign in again in Link's update mode.
    Repair,
    /// The Item is gone; it must be linked anew.
    Relink,
    /// Use the cached value instead.
    UseCached,
    /// The Item or the client has no such product: a fact, not a failure.
    Lacking,
    /// Settings or code are wrong; trying again cannot help.
    Fix,
}

/// An error object of Plaid's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error_type} / {error_code}: {error_message}{}", suffix(request_id.as_deref()))]
pub struct PlaidError {
    /// HTTP status.
    pub status: u16,
    /// Plaid's type.
    pub error_type: String,
    /// Plaid's code.
    pub error_code: String,
    /// Text for developers; may change at any time.
    pub error_message: String,
    /// Plaid's id of the request, for their support.
    pub request_id: Option<String>,
    /// The server's wish, where it had one.
    pub retry_after: Option<Duration>,
}

fn suffix(request_id: Option<&str>) -> String {
    request_id.map_or_else(String::new, |id| format!(" (Plaid request_id {id})"))
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Plaid answered with an error.
    #[error(transparent)]
    Plaid(#[from] PlaidError),
    /// No answer: connection, TLS or time.
    #[error("no answer from Plaid at {path}: {}", cause(source))]
    Transport {
        /// The endpoint.
        path: &'static str,
        /// What the client said; carries no URL, body or header.
        source: reqwest::Error,
    },
    /// Plaid failed so often in a row that it is left alone for a moment.
    #[error("Plaid failed {failures} times in a row; {path} is not asked for a moment")]
    Resting {
        /// The endpoint.
        path: &'static str,
        /// Failures in a row.
        failures: u32,
    },
    /// An answer that is not Plaid's.
    #[error("an answer from {path} that could not be read (HTTP {status}): {reason}{}", suffix(request_id.as_deref()))]
    Malformed {
        /// The endpoint.
        path: &'static str,
        /// HTTP status.
        status: u16,
        /// Where reading stopped; carries no value.
        reason: String,
        /// Plaid's id of the request, if it could be found.
        request_id: Option<String>,
    },
}

/// The innermost reason why a request failed: the outer ones only repeat that it did.
pub fn cause(error: &reqwest::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

/// What a reaction means for the life of an Item.
fn trouble(reaction: Reaction) -> Trouble {
    match reaction {
        Reaction::Repair => Trouble::Login,
        Reaction::Relink => Trouble::Gone,
        _ => Trouble::Passing,
    }
}

/// What an error that a webhook told of means for the life of its Item.
pub(crate) fn trouble_of(body: &ErrorBody) -> Trouble {
    trouble(PlaidError::new(400, body.clone(), None).reaction())
}

/// Codes that decide alone. Facts: Plaid's error reference, in the words of this table.
const BY_CODE: [(&str, Reaction); 43] = [
    ("ITEM_LOGIN_REQUIRED", Reaction::Repair),
    ("ACCESS_NOT_GRANTED", Reaction::Repair),
    ("INSUFFICIENT_CREDENTIALS", Reaction::Repair),
    ("INVALID_CREDENTIALS", Reaction::Repair),
    ("INVALID_MFA", Reaction::Repair),
    ("INVALID_UPDATED_USERNAME", Reaction::Repair),
    ("ITEM_LOCKED", Reaction::Repair),
    ("PASSWORD_RESET_REQUIRED", Reaction::Repair),
    ("USER_SETUP_REQUIRED", Reaction::Repair),
    ("MANUAL_VERIFICATION_REQUIRED", Reaction::Repair),
    ("USER_INPUT_TIMEOUT", Reaction::Repair),
    ("NO_ACCOUNTS", Reaction::Repair),
    ("ADDITIONAL_CONSENT_REQUIRED", Reaction::Repair),
    ("ITEM_NOT_FOUND", Reaction::Relink),
    ("ITEM_CONCURRENTLY_DELETED", Reaction::Relink),
    ("ITEM_NOT_SUPPORTED", Reaction::Relink),
    ("USER_PERMISSION_REVOKED", Reaction::Relink),
    ("INSTITUTION_NO_LONGER_SUPPORTED", Reaction::Relink),
    ("PRODUCT_NOT_ENABLED", Reaction::Lacking),
    ("PRODUCTS_NOT_SUPPORTED", Reaction::Lacking),
    ("NO_AUTH_ACCOUNTS", Reaction::Lacking),
    ("NO_INVESTMENT_ACCOUNTS", Reaction::Lacking),
    ("NO_LIABILITY_ACCOUNTS", Reaction::Lacking),
    ("INVALID_PRODUCT", Reaction::Lacking),
    ("PRODUCT_UNAVAILABLE", Reaction::Lacking),
    ("PRODUCT_NOT_READY", Reaction::Later),
    ("INSTITUTION_DOWN", Reaction::Later),
    ("INSTITUTION_NOT_RESPONDING", Reaction::Later),
    ("INSTITUTION_NOT_AVAILABLE", Reaction::Later),
    ("UNSUPPORTED_RESPONSE", Reaction::Fix),
    ("TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION", Reaction::RestartUpdate),
    ("CREDITS_EXHAUSTED", Reaction::Fix),
    ("INTERNAL_SERVER_ERROR", Reaction::Retry),
    ("PLANNED_MAINTENANCE", Reaction::Later),
    ("INVALID_ACCESS_TOKEN", Reaction::Fix),
    ("INVALID_PUBLIC_TOKEN", Reaction::Fix),
    ("INVALID_API_KEYS", Reaction::Fix),
    ("INVALID_ACCOUNT_ID", Reaction::Fix),
    ("INVALID_INSTITUTION", Reaction::Fix),
    ("INVALID_WEBHOOK_VERIFICATION_KEY_ID", Reaction::Fix),
    ("LAST_UPDATED_DATETIME_OUT_OF_RANGE", Reaction::UseCached),
    ("MISSING_FIELDS", Reaction::Fix),
    ("UNKNOWN_FIELDS", Reaction::Fix),
];

/// What an error type means where its code is not in the table.
const BY_TYPE: [(&str, Reaction); 6] = [
    ("RATE_LIMIT_EXCEEDED", Reaction::Retry),
    ("API_ERROR", Reaction::Retry),
    ("INSTITUTION_ERROR", Reaction::Later),
    ("ITEM_ERROR", Reaction::Later),
    ("INVALID_REQUEST", Reaction::Fix),
    ("INVALID_INPUT", Reaction::Fix),
];

impl PlaidError {
    pub(crate) fn new(status: u16, body: ErrorBody, retry_after: Option<Duration>) -> Self {
        Self {
            status,
            error_type: body.error_type,
            error_code: body.error_code,
            error_message: body.error_message,
            request_id: body.request_id,
            retry_after,
        }
    }

    /// What to do about it.
    pub fn reaction(&self) -> Reaction {
        if self.error_code == "INVALID_FIELD" && self.error_message.contains("cursor") {
            return Reaction::Rewalk;
        }
        let known = |table: &[(&str, Reaction)], key: &str| {
            table.iter().find(|(known, _)| *known == key).map(|(_, reaction)| *reaction)
        };
        known(&BY_CODE, &self.error_code)
            .or_else(|| known(&BY_TYPE, &self.error_type))
            // Plaid adds types and codes; a server's own failure is worth another try.
            .unwrap_or(if self.status >= 500 { Reaction::Retry } else { Reaction::Fix })
    }
}

impl Error {
    /// What to do about it.
    pub fn reaction(&self) -> Reaction {
        match self {
            Self::Plaid(error) => error.reaction(),
            Self::Malformed { status, .. } if *status < 500 && *status != 429 => Reaction::Later,
            Self::Transport { .. } | Self::Resting { .. } | Self::Malformed { .. } => {
                Reaction::Retry
            }
        }
    }

    /// Whether a limit of Plaid's was met, which passes by waiting.
    pub fn is_rate_limit(&self) -> bool {
        let limited = |error: &PlaidError| error.error_type == "RATE_LIMIT_EXCEEDED";
        match self {
            Self::Plaid(error) => limited(error) && self.reaction() == Reaction::Retry,
            Self::Malformed { status, .. } => *status == 429,
            Self::Transport { .. } | Self::Resting { .. } => false,
        }
    }

    /// What it means for the life of the Item.
    pub fn trouble(&self) -> Trouble {
        trouble(self.reaction())
    }

    /// Whether Plaid itself is failing, rather than one Item or one request.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Malformed { status, .. } => *status >= 500,
            Self::Plaid(error) => error.status >= 500,
            Self::Resting { .. } => false,
        }
    }

    /// Plaid's code, if Plaid answered.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Plaid(error) => Some(&error.error_code),
            _ => None,
        }
    }

    /// Plaid's id of the failed request, where there is one.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Plaid(error) => error.request_id.as_deref(),
            Self::Malformed { request_id, .. } => request_id.as_deref(),
            Self::Transport { .. } | Self::Resting { .. } => None,
        }
    }

    /// How long Plaid asks to be left alone, where it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Plaid(error) => error.retry_after,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaction(status: u16, error_type: &str, code: &str, message: &str) -> Reaction {
        let error = PlaidError {
            status,
            error_type: error_type.into(),
            error_code: code.into(),
            error_message: message.into(),
            request_id: None,
            retry_after: None,
        };
        error.reaction()
    }

    #[test]
    fn the_body_decides_not_the_status() {
        let cursor = "cursor not associated with access_token";
        for (status, error_type, code, message, expected) in [
            (400, "ITEM_ERROR", "ITEM_LOGIN_REQUIRED", "", Reaction::Repair),
            (400, "ITEM_ERROR", "PRODUCT_NOT_READY", "", Reaction::Later),
            (400, "RATE_LIMIT_EXCEEDED", "TRANSACTIONS_SYNC_LIMIT", "", Reaction::Retry),
            (429, "RATE_LIMIT_EXCEEDED", "CREDITS_EXHAUSTED", "", Reaction::Fix),
            (400, "INVALID_REQUEST", "INVALID_FIELD", cursor, Reaction::Rewalk),
            (400, "INVALID_REQUEST", "INVALID_FIELD", "count", Reaction::Fix),
            (500, "API_ERROR", "INTERNAL_SERVER_ERROR", "", Reaction::Retry),
            (400, "A_NEW_TYPE", "A_NEW_CODE", "", Reaction::Fix),
            (502, "A_NEW_TYPE", "A_NEW_CODE", "", Reaction::Retry),
        ] {
            assert_eq!(reaction(status, error_type, code, message), expected, "{code}");
        }
    }
}
