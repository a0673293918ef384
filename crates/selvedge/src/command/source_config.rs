//! The settings of a source, as its form names them, and what is wrong with them in words.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use jiff::Timestamp;
use jiff::civil::Date;
use model::{BaseUrl, Compat, Environment, Stream};
use plaid::{AccessToken, Check, Client, Connector, Credentials, check_token};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::surroundings;

/// Settings of a source. Unknown keys are ignored, as the protocol asks.
#[derive(Deserialize, Clone)]
pub(crate) struct SourceConfig {
    pub(crate) client_id: String,
    /// Plaid's secret; the form calls it API key.
    pub(crate) api_key: SecretString,
    pub(crate) plaid_env: Environment,
    access_token: Option<SecretString>,
    #[serde(default)]
    access_tokens: Vec<SecretString>,
    /// Tokens with their owners.
    #[serde(default)]
    items: Vec<OwnedToken>,
    pub(crate) start_date: Option<Date>,
    base_url: Option<BaseUrl>,
    pub(crate) compat: Option<Compat>,
}

/// A token and whose it is.
#[derive(Deserialize, Clone)]
struct OwnedToken {
    access_token: SecretString,
    end_user_id: Option<String>,
}

/// What the form asks for.
pub(super) fn spec() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Plaid source",
        "type": "object",
        "additionalProperties": true,
        "required": ["api_key", "client_id", "plaid_env", "access_token"],
        "properties": {
            "access_token": {
                "type": "string", "title": "Access token", "order": 0, "airbyte_secret": true,
                "description": "Token of the Item, from Plaid's public token exchange.",
            },
            "api_key": {
                "type": "string", "title": "API key", "order": 1, "airbyte_secret": true,
                "description": "Plaid's secret of the chosen environment.",
            },
            "client_id": {
                "type": "string", "title": "Client ID", "order": 2,
                "description": "Plaid's client id.",
            },
            "plaid_env": {
                "type": "string", "title": "Plaid environment", "order": 3,
                "enum": ["sandbox", "development", "production"],
                "description": "Plaid retired development in 2024; use production or sandbox.",
            },
            "start_date": {
                "type": "string", "title": "Start date", "order": 4, "format": "date",
                "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "examples": ["2026-01-01"],
                "description": "Oldest acceptable balance where a bank asks for one (Capital One, \
                                Apple Card); transactions before it are left out.",
            },
            "base_url": {
                "type": "string", "title": "Base URL", "order": 5,
                "description": "Another Plaid, such as an emulator on this machine.",
            },
            "access_tokens": {
                "type": "array", "title": "More access tokens", "order": 6, "airbyte_secret": true,
                "items": { "type": "string" },
                "description": "Tokens of further Items, read into the same streams.",
            },
            "compat": {
                "type": "string", "title": "Names and columns", "order": 7, "enum": ["airbyte"],
                "description": "airbyte: only balance and transaction, with the names and columns of \
                                Airbyte's own connector, for those who switch.",
            },
        },
    })
}

impl SourceConfig {
    /// Reads a JSON file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the settings {}", path.display()))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            anyhow::anyhow!("the settings are no JSON at line {line} column {column}")
        })?;
        Self::from_value(value)
    }

    /// Takes settings that were read.
    pub(crate) fn from_value(value: Value) -> anyhow::Result<Self> {
        let config: Self = serde_json::from_value(value).map_err(|error| invalid(&error))?;
        if config.tokens().next().is_none() {
            bail!("the settings lack access_token");
        }
        Ok(config)
    }

    /// Every token, each once.
    fn tokens(&self) -> impl Iterator<Item = &SecretString> {
        let mut seen = HashSet::new();
        let owned = self.items.iter().map(|item| &item.access_token);
        let all = self.access_token.iter().chain(&self.access_tokens).chain(owned);
        all.filter(move |token| seen.insert(token.expose_secret().to_owned()))
    }

    /// Every token in checked form.
    pub(crate) fn access_tokens(&self) -> anyhow::Result<Vec<AccessToken>> {
        let parse =
            |token: &SecretString| AccessToken::parse(token.expose_secret(), self.plaid_env);
        Ok(self.tokens().map(parse).collect::<Result<_, _>>()?)
    }

    /// Every token with its owner, where one is named.
    pub(crate) fn owned_tokens(&self) -> anyhow::Result<Vec<(AccessToken, Option<String>)>> {
        let owner = |token: &AccessToken| {
            let of = self.items.iter().find(|i| i.access_token.expose_secret() == token.expose());
            of.and_then(|item| item.end_user_id.clone())
        };
        Ok(self.access_tokens()?.into_iter().map(|token| (token.clone(), owner(&token))).collect())
    }

    /// Where Plaid is called.
    pub(crate) fn base_url(&self) -> BaseUrl {
        self.base_url.clone().unwrap_or_else(|| self.plaid_env.base_url())
    }

    /// A client with these credentials.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let connector = Connector::new(surroundings::http_client()?);
        Ok(connector.client(self.plaid_env, self.base_url(), self.credentials()))
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials { client_id: self.client_id.clone(), secret: self.api_key.clone() }
    }

    /// Start of the start date in UTC.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        let midnight = self.start_date?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(midnight.timestamp())
    }

    /// What stands in the way, in words; nothing if all is well.
    pub(crate) async fn check(&self) -> anyhow::Result<Option<String>> {
        let client = self.client()?;
        for token in self.tokens() {
            let checks = self.checks(&client, token, &[]).await;
            if let Some(failed) = checks.iter().find(|check| check.is_failure()) {
                return Ok(Some(words(failed)));
            }
        }
        Ok(None)
    }

    /// Every check of every token, with the products of these streams.
    pub(crate) async fn all_checks(&self, streams: &[Stream]) -> anyhow::Result<Vec<Check>> {
        let client = self.client()?;
        let mut checks = Vec::new();
        for token in self.tokens() {
            checks.extend(self.checks(&client, token, streams).await);
        }
        Ok(checks)
    }

    async fn checks(
        &self,
        client: &Client,
        token: &SecretString,
        streams: &[Stream],
    ) -> Vec<Check> {
        let (token, credentials) = (token.expose_secret(), self.credentials());
        check_token(client, self.plaid_env, &credentials, token, streams).await.0
    }
}

/// One failed check with its fields, as the form names them, and the fix.
pub(super) fn words(check: &Check) -> String {
    let label = |field: &&str| {
        match *field {
            "secret" => "API key",
            "client_id" => "Client ID",
            "access_token" => "Access token",
            "base_url" => "Base URL",
            other => other,
        }
        .to_owned()
    };
    let fields: Vec<String> = check.fields.iter().map(label).collect();
    let fix = check.fix.as_deref().unwrap_or_default();
    match fields.is_empty() {
        true => format!("{}. {fix}", check.detail),
        false => format!("{}: {}. {fix}", fields.join(" and "), check.detail),
    }
}

/// Why settings cannot be read, without a value of theirs.
fn invalid(error: &serde_json::Error) -> anyhow::Error {
    let text = error.to_string();
    if text.contains("unknown variant") {
        return anyhow::anyhow!("plaid_env must be sandbox, development or production");
    }
    if text.starts_with("invalid type") || text.starts_with("invalid value") {
        anyhow::anyhow!("the settings have a value of the wrong kind")
    } else {
        anyhow::anyhow!("the settings are not valid: {text}")
    }
}
