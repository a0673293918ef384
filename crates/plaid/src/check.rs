//! Save & Test: what is wrong with which field, in Plaid's code, its meaning and the fix.

use model::{BaseUrl, Environment, Stream};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use crate::client::{AccessToken, Client, Credentials};
use crate::error::{Error, Reaction};

/// No key of Plaid's has this id: asking for it proves the credentials and touches no bank.
const NO_KEY: &str = "00000000-0000-4000-8000-000000000000";
/// Lengths of Plaid's credentials in every sample.
const CLIENT_ID_CHARS: usize = 24;
const SECRET_CHARS: usize = 30;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// In order.
    Passed,
    /// Works, with something to know.
    Notice,
    /// Does not work.
    Failed,
}

/// One check and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Check {
    /// What was checked: `environment`, `format`, `reach`, `credentials`, `item`, `product`,
    /// `webhook`.
    pub name: &'static str,
    /// How it ended.
    pub state: CheckState,
    /// What was found, in words.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// The fields it concerns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<&'static str>,
    /// Plaid's error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plaid_code: Option<String>,
    /// Plaid's id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plaid_request_id: Option<String>,
}

impl Check {
    fn new(name: &'static str, state: CheckState, detail: impl Into<String>) -> Self {
        Self {
            name,
            state,
            detail: detail.into(),
            fix: None,
            fields: Vec::new(),
            plaid_code: None,
            plaid_request_id: None,
        }
    }

    fn passed(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, CheckState::Passed, detail)
    }

    fn failed(
        name: &'static str,
        fields: &[&'static str],
        detail: impl Into<String>,
        fix: &str,
    ) -> Self {
        Self {
            fix: Some(fix.to_owned()),
            fields: fields.to_vec(),
            ..Self::new(name, CheckState::Failed, detail)
        }
    }

    fn because(mut self, error: &Error) -> Self {
        self.plaid_code = error.code().map(str::to_owned);
        self.plaid_request_id = error.request_id().map(str::to_owned);
        self
    }

    /// Whether it stands in the way.
    pub fn is_failure(&self) -> bool {
        self.state == CheckState::Failed
    }
}

/// Checks a `client_id` and a `secret` without touching a bank.
pub async fn check_credentials(
    client: &Client,
    environment: Environment,
    credentials: &Credentials,
) -> Vec<Check> {
    let mut checks = check_form(client.base_url(), environment, credentials);
    if checks.iter().any(Check::is_failure) {
        return checks;
    }
    match client.webhook_key(NO_KEY).await {
        Err(error) if error.code() != Some("INVALID_WEBHOOK_VERIFICATION_KEY_ID") => {
            checks.push(credentials_failure(&error, environment));
        }
        _ => {
            checks.push(Check::passed("reach", format!("{} answers", client.base_url())));
            checks.push(Check::passed("credentials", "Plaid accepts the client id and the secret"));
        }
    }
    checks
}

/// Checks a source's token as well: the Item, and whether it has the product of each chosen stream. Gives
/// the Item, where Plaid told of it.
pub async fn check_token(
    client: &Client,
    environment: Environment,
    credentials: &Credentials,
    token: &str,
    streams: &[Stream],
) -> (Vec<Check>, Option<crate::wire::Item>) {
    let mut checks = check_form(client.base_url(), environment, credentials);
    let mut found = None;
    let token = match AccessToken::parse(token, environment) {
        Ok(token) => token,
        Err(error) => {
            let fix = "Copy the access token that /item/public_token/exchange answered in this \
                       environment.";
            checks.push(Check::failed("format", &["access_token"], error.to_string(), fix));
            return (checks, found);
        }
    };
    if checks.iter().any(Check::is_failure) {
        return (checks, found);
    }
    match client.item_get(&token).await {
        Ok(item) => {
            checks.push(Check::passed("reach", format!("{} answers", client.base_url())));
            checks.push(Check::passed("credentials", "Plaid accepts the client id and the secret"));
            checks.push(item_check(&item));
            checks.extend(streams.iter().map(|stream| product_check(&item, *stream)));
            found = Some(item);
        }
        Err(error) if error.code() == Some("INVALID_ACCESS_TOKEN") => {
            let fix = "Use the token of an Item that was linked with this client id.";
            checks.push(
                Check::failed("item", &["access_token"], error.to_string(), fix).because(&error),
            );
        }
        Err(error) => match error.reaction() {
            Reaction::Repair | Reaction::Relink => {
                let fix = "Have the end user sign in again with Link, then test again.";
                let failed = Check::failed("item", &["access_token"], error.to_string(), fix);
                checks.push(failed.because(&error));
            }
            _ => checks.push(credentials_failure(&error, environment)),
        },
    }
    (checks, found)
}

/// Whether the Item has what a stream needs. One that lacks it is skipped, which is no failure.
fn product_check(item: &crate::wire::Item, stream: Stream) -> Check {
    let name = stream.as_str();
    let Some(product) = stream.declaration().product else {
        return Check::passed("product", format!("{name}: on every Item"));
    };
    let has = |products: &[String]| products.iter().any(|known| known == product);
    if has(&item.products) || has(&item.billed_products) {
        return Check::passed("product", format!("{name}: {product} is on the Item"));
    }
    let is_offered = has(&item.available_products) || has(&item.consented_products);
    let (found, fix) = match is_offered {
        true => (
            format!("{name}: {product} is not on the Item yet, but the bank offers it"),
            "Plaid adds it, and bills it, when it is first asked for.",
        ),
        false => (
            format!("{name}: {product} is not on the Item, so the stream may be skipped"),
            "Add the product to Link and have the end user consent to it, or leave the stream out.",
        ),
    };
    let fix = Some(fix.to_owned());
    Check { fix, ..Check::new("product", CheckState::Notice, found) }
}

fn item_check(item: &crate::wire::Item) -> Check {
    let bank = item.institution_name.as_deref().or(item.institution_id.as_deref());
    let bank = bank.unwrap_or("an institution that Plaid does not name");
    let products = item.products.join(", ");
    let expiry = item.consent_expiration_time.as_deref();
    let expiry = expiry.map_or(String::new(), |time| format!("; consent ends {time}"));
    match &item.error {
        None => Check::passed("item", format!("{bank}; products: {products}{expiry}")),
        Some(error) => Check {
            plaid_code: Some(error.error_code.clone()),
            ..Check::failed(
                "item",
                &["access_token"],
                format!("{bank}: {}", error.error_message),
                "Have the end user sign in again in Link's update mode.",
            )
        },
    }
}

/// What format alone proves. Only Plaid's own hosts have Plaid's formats.
fn check_form(
    base_url: &BaseUrl,
    environment: Environment,
    credentials: &Credentials,
) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(notice) = environment.notice() {
        checks.push(Check::new("environment", CheckState::Notice, notice));
    }
    if *base_url != environment.base_url() {
        return checks;
    }
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let client_id = credentials.client_id.as_str();
    if client_id.len() != CLIENT_ID_CHARS || !hexadecimal(client_id) {
        let detail = "a Plaid client id has 24 hexadecimal digits";
        let fix = "Copy the client id from Plaid's dashboard, Developers, Keys.";
        checks.push(Check::failed("format", &["client_id"], detail, fix));
    }
    let secret = credentials.secret.expose_secret();
    if secret.len() != SECRET_CHARS || !hexadecimal(secret) {
        let detail = "a Plaid secret has 30 hexadecimal digits";
        let fix = "Copy the secret of this environment from Plaid's dashboard, Developers, Keys.";
        checks.push(Check::failed("format", &["secret"], detail, fix));
    }
    checks
}

fn credentials_failure(error: &Error, environment: Environment) -> Check {
    let both = &["client_id", "secret"];
    let failed = match (error.code(), error) {
        (Some("INVALID_API_KEYS"), _) => Check::failed(
            "credentials",
            both,
            format!("{error}. Plaid does not say which of the two is wrong"),
            &format!(
                "Use the client id with its {environment} secret: each environment has its own."
            ),
        ),
        (Some("MISSING_FIELDS"), _) => {
            Check::failed("credentials", both, error.to_string(), "Fill in both fields.")
        }
        (_, Error::Transport { .. }) => Check::failed(
            "reach",
            &["base_url"],
            error.to_string(),
            "Check that this machine can reach Plaid over HTTPS, and the base URL if one is set.",
        ),
        _ => Check::failed(
            "credentials",
            &[],
            error.to_string(),
            "Look the code up in Plaid's error reference; give Plaid's support the request id.",
        ),
    };
    failed.because(error)
}
