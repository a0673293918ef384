//! A request to Plaid: decoded, credentials checked, fields read with Plaid's own errors.

use std::sync::Arc;

use hyper::{HeaderMap, header};
use jiff::civil::Date;
use serde_json::{Map, Value};

use crate::book::Stage;
use crate::contract;
use crate::engine::Engine;
use crate::error::PlaidError;
use crate::institutions;
use crate::world::Command;

/// The one endpoint that needs no credentials.
const OPEN_PATH: &str = "/categories/get";

pub(super) struct Request<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) request_id: &'a str,
    fields: Map<String, Value>,
}

/// The id of the Item that a request names by its access token, if any; for faults, which strike
/// before anything is checked.
pub(crate) fn item_id_of(engine: &Engine, body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        access_token: String,
    }
    let named: Named = serde_json::from_slice(body).ok()?;
    engine.read(|world| {
        let number = world.item_of(&named.access_token)?;
        Some(world.items[&number].item_id().to_owned())
    })
}

impl<'a> Request<'a> {
    /// Decodes the body, checks the credentials, which may stand in the body or in headers, and
    /// then the fields.
    pub(super) fn read(
        engine: &'a Arc<Engine>,
        (path, request_id): (&str, &'a str),
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, PlaidError> {
        let mut fields = decode(headers, body)?;
        drop_nulls(path, &mut fields);
        if path != OPEN_PATH {
            check_credentials(engine, headers, &fields)?;
        }
        contract::check_request(path, &fields)?;
        Ok(Self { engine, request_id, fields })
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

    /// A list of texts; empty if absent. Its form was checked against the contract.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        texts(self.get(name))
    }

    /// A date that must be there.
    pub(super) fn required_date(&self, name: &'static str) -> Result<Date, PlaidError> {
        let text = self.required_text(name)?;
        let form =
            |_| PlaidError::invalid_field(format!("{name} must be in the format YYYY-MM-DD"));
        text.parse().map_err(form)
    }

    /// The first and the last day asked about.
    pub(super) fn span(&self) -> Result<(Date, Date), PlaidError> {
        let span = (self.required_date("start_date")?, self.required_date("end_date")?);
        if span.0 > span.1 {
            return Err(PlaidError::invalid_field("end_date must be on or after start_date"));
        }
        Ok(span)
    }

    /// All fields but the credentials.
    pub(super) fn fields(&self) -> Value {
        let mut fields = self.fields.clone();
        fields.remove("client_id");
        fields.remove("secret");
        Value::Object(fields)
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
        self.item_behind(self.required_text("access_token")?)
    }

    /// The number of the live Item behind a token.
    pub(super) fn item_behind(&self, token: &str) -> Result<u64, PlaidError> {
        self.find_item(token, false)
    }

    /// The Item to be removed, which may have been withdrawn by its person.
    pub(super) fn item_to_remove(&self) -> Result<u64, PlaidError> {
        self.find_item(self.required_text("access_token")?, true)
    }

    fn find_item(&self, token: &str, may_be_revoked: bool) -> Result<u64, PlaidError> {
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
                let found = self.engine.read(|world| {
                    let number = world.item_of(token)?;
                    let item = &world.items[&number];
                    Some((number, item.removed, item.revoked))
                });
                match found {
                    None => Err(refuse("could not find matching access token")),
                    Some((_, true, _)) => Err(PlaidError::item_not_found()),
                    Some((_, false, true)) if !may_be_revoked => Err(PlaidError::revoked()),
                    Some((number, ..)) => Ok(number),
                }
            }
        }
    }

    /// The Item behind `access_token`, refused while its login is broken.
    pub(super) fn healthy_item(&self) -> Result<u64, PlaidError> {
        let number = self.item()?;
        // Its time may have come while nobody looked.
        let broken = self.engine.item(number, |item, _| item.login_required);
        if broken { Err(PlaidError::login_required()) } else { Ok(number) }
    }

    /// The healthy Item behind `access_token`, with the product added if its bank offers it.
    pub(super) fn item_with(&self, product: &str) -> Result<u64, PlaidError> {
        let number = self.healthy_item()?;
        if !institutions::PRODUCTS.contains(&product) {
            return Err(PlaidError::product_not_supported(product));
        }
        self.check_consent(number, product)?;
        if product == "transactions" {
            self.start_transactions(number, None)?;
        } else if !self.engine.read(|world| world.items[&number].has(product)) {
            let add = Command::AddProduct { item: number, product: product.to_owned() };
            self.engine.run(&add)?;
        }
        Ok(number)
    }

    /// Refuses a product that the Item's person did not consent to.
    pub(super) fn check_consent(&self, item: u64, product: &str) -> Result<(), PlaidError> {
        match self.engine.read(|world| world.items[&item].consents_to(product)) {
            true => Ok(()),
            false => Err(PlaidError::consent_required(product)),
        }
    }

    /// Turns transactions on, if they are off, and loads the history.
    pub(super) fn start_transactions(
        &self,
        item: u64,
        days_requested: Option<i64>,
    ) -> Result<(), PlaidError> {
        self.check_consent(item, "transactions")?;
        if self.engine.read(|world| world.items[&item].stage == Stage::Off) {
            self.engine.run(&Command::StartTransactions { item, days_requested })?;
            self.engine.load_history(item);
        }
        Ok(())
    }

    /// Indexes of the accounts the request is about: those of `options.account_ids`, else all.
    pub(super) fn account_indexes(&self, item: u64) -> Result<Vec<usize>, PlaidError> {
        let options = self.options()?;
        let wanted = options.get("account_ids").filter(|value| !value.is_null());
        let indexes = self.engine.read(|world| {
            let item = &world.items[&item];
            let wanted = wanted.and_then(Value::as_array).filter(|wanted| !wanted.is_empty());
            let Some(wanted) = wanted else {
                return Ok(item.shared().collect::<Vec<usize>>());
            };
            let find =
                |id: &Value| item.shared().find(|i| id == item.accounts[*i].account_id.as_str());
            let unknown = || PlaidError::invalid_field("one or more of the account IDs is invalid");
            let mut indexes = Vec::new();
            for id in wanted {
                let index = find(id).ok_or_else(unknown)?;
                if !indexes.contains(&index) {
                    indexes.push(index);
                }
            }
            Ok(indexes)
        })?;
        if indexes.is_empty() {
            let why = "no valid accounts were found for this item";
            return Err(PlaidError::new("ITEM_ERROR", "NO_ACCOUNTS", why));
        }
        Ok(indexes)
    }

    /// The index of a shared account of this id.
    pub(super) fn account_index(&self, item: u64, account_id: &str) -> Result<usize, PlaidError> {
        let found = self.engine.read(|world| {
            let item = &world.items[&item];
            item.shared().find(|index| item.accounts[*index].account_id == account_id)
        });
        found.ok_or_else(|| {
            let why = "failed to find requested account ID for requested item";
            PlaidError::invalid_input("INVALID_ACCOUNT_ID", why)
        })
    }
}

/// Optional fields may be null, which says no more than leaving them out; but sync wants its
/// options to be an object.
fn drop_nulls(path: &str, fields: &mut Map<String, Value>) {
    fields.retain(|name, value| {
        if let Value::Object(inner) = value {
            drop_nulls("", inner);
        }
        !value.is_null() || path == "/transactions/sync" && name == "options"
    });
}

/// The texts of a list.
pub(super) fn texts(list: Option<&Value>) -> Vec<String> {
    let entries = list.and_then(Value::as_array).into_iter().flatten();
    entries.filter_map(|entry| entry.as_str().map(str::to_owned)).collect()
}

fn check_credentials(
    engine: &Engine,
    headers: &HeaderMap,
    fields: &Map<String, Value>,
) -> Result<(), PlaidError> {
    for (name, header) in [("client_id", "plaid-client-id"), ("secret", "plaid-secret")] {
        let of_body = fields.get(name).filter(|_| !headers.contains_key(header));
        if of_body.is_some_and(|value| !value.is_string()) {
            return Err(PlaidError::invalid_field(format!("{name} must be a string")));
        }
    }
    let given = |name: &'static str, header: &str| {
        let of_body = fields.get(name).and_then(Value::as_str);
        of_body.or_else(|| headers.get(header).and_then(|value| value.to_str().ok()))
    };
    let given = [
        ("client_id", given("client_id", "plaid-client-id")),
        ("secret", given("secret", "plaid-secret")),
    ];
    let missing: Vec<&str> =
        given.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        return Err(PlaidError::missing(&missing));
    }
    let (client_id, secret) = engine.credentials();
    if given.map(|(_, value)| value) != [Some(client_id), Some(secret)] {
        let why = "invalid client_id or secret provided";
        return Err(PlaidError::invalid_input("INVALID_API_KEYS", why));
    }
    Ok(())
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
