//! A request to Plaid: decoded, credentials checked, fields read with Plaid's own errors.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use serde_json::{Map, Value};

use crate::error::PlaidError;
use crate::server::Engine;

pub(super) struct Request<'a> {
    pub(super) engine: &'a Arc<Engine>,
    fields: Map<String, Value>,
}

impl<'a> Request<'a> {
    /// Decodes the body and checks the credentials, which may stand in the body or in headers.
    pub(super) fn read(
        engine: &'a Arc<Engine>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, PlaidError> {
        let fields = decode(headers, body)?;
        let given = |name: &'static str, header: &str| {
            let of_body = fields.get(name).and_then(Value::as_str);
            of_body.or_else(|| headers.get(header).and_then(|value| value.to_str().ok()))
        };
        let client_id = given("client_id", "plaid-client-id");
        let secret = given("secret", "plaid-secret");
        let (Some(client_id), Some(secret)) = (client_id, secret) else {
            let missing = [("client_id", client_id), ("secret", secret)];
            let names: Vec<&str> = missing
                .iter()
                .filter(|(_, value)| value.is_none())
                .map(|(name, _)| *name)
                .collect();
            return Err(PlaidError::missing(&names));
        };
        if (client_id, secret) != engine.credentials() {
            let why = "invalid client_id or secret provided";
            return Err(PlaidError::invalid_input("INVALID_API_KEYS", why));
        }
        Ok(Self { engine, fields })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, name: &'static str) -> Result<&str, PlaidError> {
        match self.get(name) {
            None => Err(PlaidError::missing(&[name])),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(PlaidError::invalid_field(format!("{name} must be a string"))),
        }
    }

    /// A text that may be absent or null.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, PlaidError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(PlaidError::invalid_field(format!("{name} must be a string"))),
        }
    }

    /// A whole number within bounds, or the default.
    pub(super) fn number(
        &self,
        name: &str,
        (low, high): (i64, i64),
        default: i64,
    ) -> Result<i64, PlaidError> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => bounded(name, value, (low, high)),
        }
    }

    /// A list of texts that must be there and not be empty.
    pub(super) fn required_list(&self, name: &'static str) -> Result<Vec<String>, PlaidError> {
        let value = self.get(name).ok_or_else(|| PlaidError::missing(&[name]))?;
        let texts = value.as_array().and_then(|list| {
            list.iter().map(|entry| entry.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        texts.filter(|texts| !texts.is_empty()).ok_or_else(|| {
            PlaidError::invalid_field(format!("{name} must be a non-empty array of strings"))
        })
    }

    /// The `options` object; empty if absent, an error if it is something else.
    pub(super) fn options(&self) -> Result<Map<String, Value>, PlaidError> {
        match self.fields.get("options") {
            None => Ok(Map::new()),
            Some(Value::Object(options)) => Ok(options.clone()),
            Some(_) => Err(PlaidError::invalid_field("options must be an object")),
        }
    }

    /// The number of the live Item behind `access_token`.
    pub(super) fn item(&self) -> Result<u64, PlaidError> {
        let token = self.required_text("access_token")?;
        let refuse = |why: &str| PlaidError::invalid_input("INVALID_ACCESS_TOKEN", why);
        let environment = token.strip_prefix("access-").and_then(|rest| rest.split_once('-'));
        match environment {
            None => Err(refuse(
                "provided access token is in an invalid format. expected format: \
                 access-<environment>-<identifier>",
            )),
            Some((environment, _)) if environment != "sandbox" => Err(refuse(&format!(
                "provided access token is for the wrong Plaid environment. expected \"sandbox\", \
                 got \"{environment}\""
            ))),
            Some(_) => {
                let number = self.engine.read(|world| world.item_of(token));
                let number =
                    number.ok_or_else(|| refuse("could not find matching access token"))?;
                let removed = self.engine.read(|world| world.items[&number].removed);
                if removed { Err(PlaidError::item_not_found()) } else { Ok(number) }
            }
        }
    }

    /// The Item behind `access_token`, refused while its login is broken.
    pub(super) fn healthy_item(&self) -> Result<u64, PlaidError> {
        let number = self.item()?;
        let broken = self.engine.read(|world| world.items[&number].login_required);
        if broken { Err(PlaidError::login_required()) } else { Ok(number) }
    }

    /// Indexes of the accounts the request is about: those of `options.account_ids`, else all.
    pub(super) fn account_indexes(&self, item: u64) -> Result<Vec<usize>, PlaidError> {
        let options = self.options()?;
        self.engine.read(|world| {
            let accounts = &world.items[&item].accounts;
            let Some(wanted) = options.get("account_ids").filter(|value| !value.is_null()) else {
                return Ok((0..accounts.len()).collect());
            };
            let unknown = || PlaidError::invalid_field("one or more of the account IDs is invalid");
            let wanted = wanted.as_array().ok_or_else(unknown)?;
            wanted
                .iter()
                .map(|id| accounts.iter().position(|account| id == account.account_id.as_str()))
                .map(|index| index.ok_or_else(unknown))
                .collect()
        })
    }
}

/// A whole number within bounds.
pub(super) fn bounded(
    name: &str,
    value: &Value,
    (low, high): (i64, i64),
) -> Result<i64, PlaidError> {
    value.as_i64().filter(|number| (low..=high).contains(number)).ok_or_else(|| {
        PlaidError::invalid_field(format!("{name} must be an integer between {low} and {high}"))
    })
}

/// Set-up guides send `application/json;charset=UTF-16` with a body in UTF-8; a body that really
/// is UTF-16 is read too.
fn decode(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>, PlaidError> {
    let invalid =
        || PlaidError::new("INVALID_REQUEST", "INVALID_BODY", "body could not be parsed as JSON");
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let wide = content_type.is_some_and(|text| text.to_ascii_lowercase().contains("utf-16"));
    let parsed = serde_json::from_slice(body).ok();
    let parsed = parsed.or_else(|| serde_json::from_str(&utf16(body).filter(|_| wide)?).ok());
    match parsed {
        Some(Value::Object(fields)) => Ok(fields),
        _ => Err(invalid()),
    }
}

fn utf16(body: &[u8]) -> Option<String> {
    let little = body.starts_with(&[0xFF, 0xFE]);
    let body =
        body.strip_prefix(&[0xFF, 0xFE]).or(body.strip_prefix(&[0xFE, 0xFF])).unwrap_or(body);
    let unit = |pair: &[u8]| {
        let pair = [pair[0], pair[1]];
        if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
    };
    let units: Vec<u16> = body.chunks_exact(2).map(unit).collect();
    String::from_utf16(&units).ok()
}
