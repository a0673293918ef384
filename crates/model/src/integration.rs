//! Where an integration talks to: Plaid's environments and their base URLs.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A Plaid environment, by the name Plaid gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Test data, unlimited Items.
    Sandbox,
    /// Retired by Plaid in June 2024; accepted as a legacy name with its own base URL.
    Development,
    /// Real banks.
    Production,
}

/// The text named no Plaid environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown environment; use sandbox, production or (retired by Plaid) development")]
pub struct InvalidEnvironment;

impl Environment {
    /// The name as it stands in tokens, URLs and webhooks.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Development => "development",
            Self::Production => "production",
        }
    }

    /// Plaid's host for this environment.
    pub fn base_url(self) -> BaseUrl {
        BaseUrl(format!("https://{}.plaid.com", self.as_str()))
    }

    /// What a person who chose this environment should know, if anything.
    pub fn notice(self) -> Option<&'static str> {
        (self == Self::Development).then_some(
            "Plaid retired the development environment in June 2024 and deleted its Items. \
             Use production (it has a free quota for small tests) or sandbox.",
        )
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Environment {
    type Err = InvalidEnvironment;

    fn from_str(text: &str) -> Result<Self, InvalidEnvironment> {
        [Self::Sandbox, Self::Development, Self::Production]
            .into_iter()
            .find(|environment| environment.as_str() == text)
            .ok_or(InvalidEnvironment)
    }
}

/// The root of a Plaid API: HTTPS, or plain HTTP on this machine's loopback only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl(String);

/// Why a base URL was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBaseUrl {
    /// Neither scheme.
    #[error("a base URL starts with https:// (or http:// for an emulator on this machine)")]
    Scheme,
    /// Bank data never travels unencrypted.
    #[error("http:// is accepted for loopback addresses only (127.0.0.1, [::1], localhost)")]
    PlainHttp,
    /// Something besides scheme, host and port.
    #[error("a base URL is a scheme, a host and a port, without user name, path or query")]
    Form,
}

impl BaseUrl {
    /// The URL without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names this machine.
    pub fn is_loopback(&self) -> bool {
        self.0.split_once("://").is_some_and(|(_, authority)| is_loopback(authority))
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBaseUrl> {
        let trimmed = text.trim().trim_end_matches('/');
        let (scheme, authority) = trimmed.split_once("://").ok_or(InvalidBaseUrl::Scheme)?;
        let forbidden = |c: char| "/?#@\\".contains(c) || c.is_whitespace() || c.is_control();
        if authority.is_empty() || authority.contains(forbidden) {
            return Err(InvalidBaseUrl::Form);
        }
        match scheme {
            "https" => Ok(Self(trimmed.to_owned())),
            "http" if is_loopback(authority) => Ok(Self(trimmed.to_owned())),
            "http" => Err(InvalidBaseUrl::PlainHttp),
            _ => Err(InvalidBaseUrl::Scheme),
        }
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = InvalidBaseUrl;

    fn try_from(text: String) -> Result<Self, InvalidBaseUrl> {
        text.parse()
    }
}

impl From<BaseUrl> for String {
    fn from(url: BaseUrl) -> Self {
        url.0
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for good in
            ["http://127.0.0.1:8", "http://[::1]:8", "http://localhost:8/", "https://a.example"]
        {
            assert!(good.parse::<BaseUrl>().is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://sandbox.plaid.com", InvalidBaseUrl::PlainHttp),
            ("http://127.0.0.1.example.com", InvalidBaseUrl::PlainHttp),
            ("http://127.0.0.1@evil.example", InvalidBaseUrl::Form),
            ("https://a.example/path", InvalidBaseUrl::Form),
            ("ftp://127.0.0.1", InvalidBaseUrl::Scheme),
            ("sandbox", InvalidBaseUrl::Scheme),
        ] {
            assert_eq!(bad.parse::<BaseUrl>(), Err(why), "{bad}");
        }
    }

    #[test]
    fn an_unknown_environment_is_refused() {
        assert_eq!("Production".parse::<Environment>(), Err(InvalidEnvironment));
        assert_eq!("production".parse(), Ok(Environment::Production));
    }
}
