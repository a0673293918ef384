//! Plaid's contract as data: what a request must look like, and whether an answer or a webhook
//! keeps to it. Two versions are kept, so that old and new client libraries both are served.
//!
//! The schemas are OpenAPI 3.0's dialect with types and bounds only (`data/contract`).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::PlaidError;

/// The version that requests are held to, and the newest that answers are held to.
static CURRENT: LazyLock<Contract> = LazyLock::new(|| {
    let mut contract = Contract::read(include_str!("../data/contract/contract-current.json"));
    let more = Contract::read(include_str!("../data/contract/contract-supplement.json"));
    contract.paths.extend(more.paths);
    contract.schemas.extend(more.schemas);
    contract
});

/// The version of older client libraries.
static OLDER: LazyLock<Contract> =
    LazyLock::new(|| Contract::read(include_str!("../data/contract/contract-older.json")));

/// Webhooks by type and code, and the schema each keeps to.
const WEBHOOKS: [(&str, &str, &str); 29] = [
    ("ASSETS", "ERROR", "AssetsErrorWebhook"),
    ("ASSETS", "PRODUCT_READY", "AssetsProductReadyWebhook"),
    ("AUTH", "AUTOMATICALLY_VERIFIED", "AutomaticallyVerifiedWebhook"),
    ("AUTH", "DEFAULT_UPDATE", "AuthDefaultUpdateWebhook"),
    ("AUTH", "SMS_MICRODEPOSITS_VERIFICATION", "HostedMMDVerificationWebhook"),
    ("AUTH", "VERIFICATION_EXPIRED", "VerificationExpiredWebhook"),
    ("HOLDINGS", "DEFAULT_UPDATE", "HoldingsDefaultUpdateWebhook"),
    ("IDENTITY", "DEFAULT_UPDATE", "IdentityDefaultUpdateWebhook"),
    ("INVESTMENTS_TRANSACTIONS", "DEFAULT_UPDATE", "InvestmentsDefaultUpdateWebhook"),
    ("INVESTMENTS_TRANSACTIONS", "HISTORICAL_UPDATE", "InvestmentsHistoricalUpdateWebhook"),
    ("ITEM", "ERROR", "ItemErrorWebhook"),
    ("ITEM", "LOGIN_REPAIRED", "ItemLoginRepairedWebhook"),
    ("ITEM", "NEW_ACCOUNTS_AVAILABLE", "NewAccountsAvailableWebhook"),
    ("ITEM", "PENDING_DISCONNECT", "PendingDisconnectWebhook"),
    ("ITEM", "PENDING_EXPIRATION", "PendingExpirationWebhook"),
    ("ITEM", "USER_ACCOUNT_REVOKED", "UserAccountRevokedWebhook"),
    ("ITEM", "USER_PERMISSION_REVOKED", "UserPermissionRevokedWebhook"),
    ("ITEM", "WEBHOOK_UPDATE_ACKNOWLEDGED", "WebhookUpdateAcknowledgedWebhook"),
    ("LIABILITIES", "DEFAULT_UPDATE", "LiabilitiesDefaultUpdateWebhook"),
    ("LINK", "EVENTS", "LinkEventsWebhook"),
    ("LINK", "ITEM_ADD_RESULT", "ItemAddResultWebhook"),
    ("LINK", "SESSION_FINISHED", "LinkSessionFinishedWebhook"),
    ("STATEMENTS", "STATEMENTS_REFRESH_COMPLETE", "StatementsRefreshCompleteWebhook"),
    ("TRANSACTIONS", "DEFAULT_UPDATE", "DefaultUpdateWebhook"),
    ("TRANSACTIONS", "HISTORICAL_UPDATE", "HistoricalUpdateWebhook"),
    ("TRANSACTIONS", "INITIAL_UPDATE", "InitialUpdateWebhook"),
    ("TRANSACTIONS", "RECURRING_TRANSACTIONS_UPDATE", "RecurringTransactionsUpdateWebhook"),
    ("TRANSACTIONS", "SYNC_UPDATES_AVAILABLE", "SyncUpdatesAvailableWebhook"),
    ("TRANSACTIONS", "TRANSACTIONS_REMOVED", "TransactionsRemovedWebhook"),
];

/// Where the versions contradict each other and the newer one is followed: the end of the older
/// version's complaint, and why.
const DIFFERENCES: [(&str, &str); 3] = [
    (
        "canceled_investments_transactions is missing",
        "the older file has one l in the name, the newer two, and Plaid's guide two",
    ),
    (
        r#"reason must not be "INSTITUTION_TOKEN_EXPIRATION""#,
        "the older file knows INSTITUTION_MIGRATION only; the other reason came later",
    ),
    (
        r#"error_type must not be "USER_ERROR""#,
        "the older file's list of error types ends before those of the newer user model",
    ),
];

/// Every path of Plaid's OpenAPI file, of both versions.
const PATHS: &str = include_str!("../data/contract/paths.txt");

/// Whether Plaid has this path.
pub(crate) fn is_path(path: &str) -> bool {
    PATHS.lines().any(|known| known == path)
}

/// Whether a webhook with this code can be sent.
pub(crate) fn is_webhook_code(code: &str) -> bool {
    WEBHOOKS.iter().any(|(_, known, _)| *known == code)
}

/// Refuses a request that breaks the schema of its path, with Plaid's own errors.
pub(crate) fn check_request(path: &str, fields: &Map<String, Value>) -> Result<(), PlaidError> {
    let Some(schema) = CURRENT.request(path) else { return Ok(()) };
    let mut flaws = Vec::new();
    let body = Value::Object(fields.clone());
    CURRENT.check(schema, &body, &mut String::new(), &mut flaws);
    let missing = |flaw: &Flaw| flaw.fault == Fault::Missing;
    let names: Vec<&str> =
        flaws.iter().filter(|flaw| missing(flaw)).map(|flaw| flaw.at.as_str()).collect();
    if !names.is_empty() {
        return Err(PlaidError::missing(&names));
    }
    let wrong = flaws.into_iter().find_map(|flaw| match flaw.fault {
        Fault::Wrong(why) => Some(format!("{} {why}", flaw.at)),
        Fault::Missing | Fault::Unknown => None,
    });
    wrong.map_or(Ok(()), |why| Err(PlaidError::invalid_field(why)))
}

/// What is wrong with an answer of a path, by both versions; empty if nothing is.
pub(crate) fn flaws_of_answer(path: &str, status: u16, answer: &Value) -> Vec<String> {
    let pick = |contract: &'static Contract| {
        if status == 200 { contract.answer(path) } else { contract.schemas.get("PlaidError") }
    };
    flaws(answer, pick(&CURRENT), pick(&OLDER))
}

/// What is wrong with a webhook, by both versions; empty if nothing is.
pub(crate) fn flaws_of_webhook(body: &Value) -> Vec<String> {
    let (kind, code) = (&body["webhook_type"], &body["webhook_code"]);
    let known = WEBHOOKS.iter().find(|(k, c, _)| kind == k && code == c);
    let Some((_, _, name)) = known else {
        return vec![format!("no schema for the webhook {kind} {code}")];
    };
    flaws(body, CURRENT.schemas.get(*name), OLDER.schemas.get(*name))
}

fn flaws(value: &Value, current: Option<&Value>, older: Option<&Value>) -> Vec<String> {
    let found = |contract: &Contract, schema: Option<&Value>| {
        let mut flaws = Vec::new();
        if let Some(schema) = schema {
            contract.check(schema, value, &mut String::new(), &mut flaws);
        }
        flaws
    };
    let (new, old) = (found(&CURRENT, current), found(&OLDER, older));
    let unknown = |flaws: &[Flaw]| -> BTreeSet<String> {
        let unknown = flaws.iter().filter(|flaw| flaw.fault == Fault::Unknown);
        unknown.map(|flaw| flaw.at.clone()).collect()
    };
    // A key is unknown if no version that speaks about it knows it.
    let mut strangers = unknown(&new);
    if older.is_some() {
        strangers = strangers.intersection(&unknown(&old)).cloned().collect();
    }
    let broken = |version: &'static str| {
        move |flaw: Flaw| flaw.text().map(|text| format!("{version}: {text}"))
    };
    let explained = |text: &String| DIFFERENCES.iter().any(|(end, _)| text.ends_with(end));
    let new = new.into_iter().filter_map(broken("current"));
    let old = old.into_iter().filter_map(broken("older")).filter(|text| !explained(text));
    let strangers = strangers.into_iter().map(|at| format!("{at} is in no version"));
    new.chain(old).chain(strangers).collect()
}

#[derive(Debug, Deserialize)]
struct Contract {
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
}

/// Something that does not keep to a schema.
#[derive(Debug, PartialEq, Eq)]
struct Flaw {
    /// Dotted place.
    at: String,
    fault: Fault,
}

#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Missing,
    Wrong(String),
    Unknown,
}

impl Flaw {
    fn text(self) -> Option<String> {
        match self.fault {
            Fault::Missing => Some(format!("{} is missing", self.at)),
            Fault::Wrong(why) => Some(format!("{} {why}", self.at)),
            Fault::Unknown => None,
        }
    }
}

impl Contract {
    fn read(text: &str) -> Self {
        serde_json::from_str(text).expect("the embedded contract is read by every test")
    }

    fn request(&self, path: &str) -> Option<&Value> {
        let request = self.paths.get(path)?.get("request")?;
        request.get(0).or(Some(request))
    }

    /// The schema of a successful JSON answer.
    fn answer(&self, path: &str) -> Option<&Value> {
        let path = self.paths.get(path)?;
        let newer = path.get("response").and_then(|all| all.get(0));
        newer.or_else(|| path.get("responses")?.get("200")?.get("schema"))
    }

    /// Follows a reference.
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let name = schema.get("$ref").and_then(Value::as_str);
        let name = name.and_then(|name| name.rsplit('/').next());
        name.and_then(|name| self.schemas.get(name)).map_or(schema, |target| self.resolve(target))
    }

    fn check(&self, schema: &Value, value: &Value, at: &mut String, flaws: &mut Vec<Flaw>) {
        let schema = self.resolve(schema);
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            // Keys of one part are no strangers to the whole.
            let mut own = Vec::new();
            self.check(part, value, at, &mut own);
            own.retain(|flaw| flaw.fault != Fault::Unknown);
            flaws.extend(own);
        }
        let allowed = schema.get("enum").and_then(Value::as_array);
        if value.is_null() {
            let nullable = schema.get("nullable") == Some(&Value::Bool(true))
                || allowed.is_some_and(|all| all.contains(value))
                || schema.get("type").is_none();
            if !nullable {
                flaws.push(wrong(at, "must not be null"));
            }
            return;
        }
        if let Some(why) = mismatch(schema, value) {
            flaws.push(wrong(at, &why));
            return;
        }
        if allowed.is_some_and(|all| !all.contains(value)) {
            flaws.push(wrong(at, &format!("must not be {value}")));
        }
        match value {
            Value::Object(fields) => self.check_fields(schema, fields, at, flaws),
            Value::Array(entries) => {
                let Some(items) = schema.get("items") else { return };
                for (index, entry) in entries.iter().enumerate() {
                    within(at, &index.to_string(), |at| self.check(items, entry, at, flaws));
                }
            }
            _ => {}
        }
    }

    fn check_fields(
        &self,
        schema: &Value,
        fields: &Map<String, Value>,
        at: &mut String,
        flaws: &mut Vec<Flaw>,
    ) {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str).filter(|name| !fields.contains_key(*name)) {
            within(at, name, |at| flaws.push(Flaw { at: at.clone(), fault: Fault::Missing }));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|other| other.is_object());
        for (name, value) in fields {
            let known = properties.and_then(|properties| properties.get(name));
            within(at, name, |at| match known.or(others) {
                Some(schema) => self.check(schema, value, at, flaws),
                None if properties.is_some_and(|properties| !properties.is_empty()) => {
                    flaws.push(Flaw { at: at.clone(), fault: Fault::Unknown });
                }
                None => {}
            });
        }
    }
}

/// Runs `check` with the place one step deeper.
fn within(at: &mut String, step: &str, check: impl FnOnce(&mut String)) {
    let length = at.len();
    if length > 0 {
        at.push('.');
    }
    at.push_str(step);
    check(at);
    at.truncate(length);
}

fn wrong(at: &str, why: &str) -> Flaw {
    Flaw { at: at.to_owned(), fault: Fault::Wrong(why.to_owned()) }
}

/// Why a value is not of the schema's type or out of its bounds, if so.
fn mismatch(schema: &Value, value: &Value) -> Option<String> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let size = |count: usize, least: &str, most: &str, what: &str| {
        let count = u32::try_from(count).map_or(f64::MAX, f64::from);
        match (bound(least), bound(most)) {
            (Some(least), _) if count < least => Some(format!("must have at least {least} {what}")),
            (_, Some(most)) if count > most => Some(format!("must have at most {most} {what}")),
            _ => None,
        }
    };
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or("any");
    match (kind, value) {
        ("string", Value::String(text)) => {
            size(text.chars().count(), "minLength", "maxLength", "characters")
                .or_else(|| misformed(schema, text))
        }
        ("array", Value::Array(entries)) => size(entries.len(), "minItems", "maxItems", "elements"),
        ("integer", Value::Number(number)) if !number.is_i64() && !number.is_u64() => {
            Some("must be an integer".to_owned())
        }
        ("integer" | "number", Value::Number(number)) => {
            let number = number.as_f64()?;
            match (bound("minimum"), bound("maximum")) {
                (Some(least), _) if number < least => Some(format!("must be at least {least}")),
                (_, Some(most)) if number > most => Some(format!("must be at most {most}")),
                _ => None,
            }
        }
        ("boolean", Value::Bool(_)) | ("object", Value::Object(_)) | ("any", _) => None,
        (kind, _) => Some(format!(
            "must be {} {kind}",
            if kind.starts_with(['a', 'i', 'o']) { "an" } else { "a" }
        )),
    }
}

fn misformed(schema: &Value, text: &str) -> Option<String> {
    match schema.get("format").and_then(Value::as_str) {
        Some("date")
            if jiff::civil::Date::strptime("%Y-%m-%d", text).is_err() || text.len() != 10 =>
        {
            Some("must be a date in the format YYYY-MM-DD".to_owned())
        }
        Some("date-time") if text.parse::<jiff::Timestamp>().is_err() => {
            Some("must be a date-time with a time zone".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plaid's own examples calibrate the checker: all but one fit the older contract, and that
    /// one writes telephone numbers as numbers.
    #[test]
    fn plaids_own_examples_fit_but_for_the_one_that_does_not() {
        let examples: Map<String, Value> =
            serde_json::from_str(include_str!("../data/contract/examples.json")).expect("JSON");
        let (mut fit, mut misfit) = (0, Vec::new());
        for (path, cases) in &examples {
            for (case, body) in cases.as_object().expect("cases") {
                let (Some(schema), true) = (OLDER.answer(path), case.starts_with("200")) else {
                    continue;
                };
                let mut flaws = Vec::new();
                OLDER.check(schema, body, &mut String::new(), &mut flaws);
                flaws.retain(|flaw| flaw.fault != Fault::Unknown);
                if flaws.is_empty() { fit += 1 } else { misfit.push((path.as_str(), flaws)) }
            }
        }
        assert_eq!(fit, 33, "{misfit:#?}");
        assert_eq!(misfit.len(), 1, "{misfit:#?}");
        assert_eq!(misfit[0].0, "/transactions/enrich");
    }

    #[test]
    fn a_request_is_refused_for_what_is_missing_then_for_what_is_wrong() {
        let check = |body: Value| {
            let Value::Object(fields) = body else { panic!("an object") };
            check_request("/transactions/get", &fields)
                .map_err(|error| (error.error_code, error.error_message))
        };
        let fine = serde_json::json!({ "access_token": "a", "start_date": "2026-01-01", "end_date": "2026-01-31" });
        assert!(check(fine.clone()).is_ok());
        let (code, message) = check(serde_json::json!({ "start_date": 1 })).expect_err("refused");
        assert_eq!(code, "MISSING_FIELDS");
        assert!(message.contains("access_token, end_date"), "{message}");
        for (field, value) in [
            ("start_date", serde_json::json!("January")),
            ("options", Value::Null),
            ("options", serde_json::json!({ "count": 0 })),
            ("options", serde_json::json!({ "count": 1.5 })),
            ("options", serde_json::json!({ "account_ids": "a" })),
        ] {
            let mut body = fine.clone();
            body[field] = value;
            let (code, message) = check(body).expect_err("refused");
            assert_eq!(code, "INVALID_FIELD");
            assert!(message.starts_with(field), "{message}");
        }
    }
}
