//! One method for each endpoint we use: limits kept, failures that pass retried, answers bounded.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use jiff::Timestamp;
use model::{BaseUrl, Environment, Stream};
use reqwest::header::{HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::bank::Part;
use crate::circuit::Circuit;
use crate::error::{Error, PlaidError, Reaction};
use crate::limits::{self, Endpoint, Limits};
use crate::meter::Meter;
use crate::wire;

/// The version of Plaid's API that the wire types were written from.
const PLAID_VERSION: &str = "2020-09-14";
/// Largest answer read, unpacked: a page of 500 transactions is under 1 MiB.
const ANSWER_LIMIT_BYTES: usize = 32 * 1024 * 1024;
/// Changes in a page: Plaid's maximum keeps the window for mutations small.
const PAGE_COUNT: u32 = 500;
/// History asked for at the first sync of an Item; Plaid freezes 90 days otherwise.
pub const DAYS_REQUESTED: u32 = 730;
/// Countries whose banks may be linked.
const COUNTRY_CODES: [&str; 3] = ["US", "CA", "GB"];
/// Attempts at a call in all, and the pauses between them.
const ATTEMPTS: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(400);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// One `client_id` with its secret.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Plaid's `client_id`; not secret.
    pub client_id: String,
    /// Plaid's `secret` for one environment.
    pub secret: SecretString,
}

/// A token of one Item. It cannot be printed.
#[derive(Clone)]
pub struct AccessToken(SecretString);

/// The token is of another environment, or no token at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenMismatch {
    /// Not in Plaid's form.
    #[error("an access token has the form access-<environment>-<identifier>")]
    Form,
    /// Another environment's.
    #[error("the access token is of the {found} environment, the credentials are of {expected}")]
    Environment {
        /// The environment in the token.
        found: String,
        /// The environment of the credentials.
        expected: Environment,
    },
}

impl AccessToken {
    /// Takes a token whose form and environment were checked.
    pub fn parse(text: &str, environment: Environment) -> Result<Self, TokenMismatch> {
        let rest = text.strip_prefix("access-").ok_or(TokenMismatch::Form)?;
        let (found, identifier) = rest.split_once('-').ok_or(TokenMismatch::Form)?;
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if identifier.is_empty() || !printable {
            return Err(TokenMismatch::Form);
        }
        if found != environment.as_str() {
            let found = found.to_owned();
            return Err(TokenMismatch::Environment { found, expected: environment });
        }
        Ok(Self(SecretString::from(text)))
    }

    /// A token that was checked when it was stored.
    pub fn stored(secret: SecretString) -> Self {
        Self(secret)
    }

    /// The token's text, for sealing.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AccessToken(…)")
    }
}

/// A sandbox user to make an Item of.
#[derive(Debug, Clone)]
pub struct SandboxUser<'a> {
    /// Where the login is.
    pub institution_id: &'a str,
    /// Sandbox user name, such as `user_good`.
    pub username: &'a str,
    /// Products to start with.
    pub products: &'a [&'a str],
    /// Where webhooks go.
    pub webhook: Option<&'a str>,
}

/// A page of Link to be made.
#[derive(Debug, Clone)]
pub struct LinkRequest<'a> {
    /// Shown to the end user, up to 30 characters.
    pub client_name: &'a str,
    /// The caller's opaque id of the end user.
    pub client_user_id: &'a str,
    /// Products that a new Item must have.
    pub products: &'a [&'a str],
    /// Products it shall have where the bank offers them.
    pub products_if_offered: &'a [&'a str],
    /// Where the new Item's webhooks, and those of the visit, go.
    pub webhook: Option<&'a str>,
    /// How long the page can be opened.
    pub lifetime: Duration,
    /// The Item to repair; none for a new one.
    pub update: Option<&'a AccessToken>,
}

/// Makes clients that share connections and, for each environment, limits. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    http: reqwest::Client,
    meter: Meter,
    circuits: Arc<Mutex<HashMap<BaseUrl, Arc<Circuit>>>>,
    sandbox: Arc<Limits>,
    production: Arc<Limits>,
    loopback: Arc<Limits>,
}

impl Connector {
    /// Takes the HTTP client that the program made.
    pub fn new(http: reqwest::Client) -> Self {
        Self {
            http,
            meter: Meter::default(),
            circuits: Arc::default(),
            sandbox: Arc::new(Limits::of(Environment::Sandbox)),
            production: Arc::new(Limits::of(Environment::Production)),
            loopback: Arc::new(Limits::none()),
        }
    }

    /// A client for one set of credentials.
    pub fn client(
        &self,
        environment: Environment,
        base_url: BaseUrl,
        credentials: Credentials,
    ) -> Client {
        let limits = match environment {
            _ if base_url.is_loopback() => &self.loopback,
            Environment::Production => &self.production,
            Environment::Sandbox | Environment::Development => &self.sandbox,
        };
        let circuit = match self.circuits.lock() {
            Ok(mut circuits) => Arc::clone(circuits.entry(base_url.clone()).or_default()),
            Err(_) => Arc::default(),
        };
        Client {
            http: self.http.clone(),
            base_url,
            credentials,
            limits: Arc::clone(limits),
            circuit,
            metered: None,
        }
    }

    /// Lets so many processes share what Plaid allows a client.
    pub fn share_among(&self, processes: u32) {
        for limits in [&self.sandbox, &self.production] {
            limits.share_among(processes);
        }
    }

    /// The counts of all calls that were made for somebody.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// A client whose calls are counted for an integration.
    pub fn metered_client(
        &self,
        environment: Environment,
        base_url: BaseUrl,
        credentials: Credentials,
        integration: &str,
    ) -> Client {
        let metered = Some((self.meter.clone(), integration.to_owned()));
        Client { metered, ..self.client(environment, base_url, credentials) }
    }
}

/// Calls Plaid with one set of credentials. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base_url: BaseUrl,
    credentials: Credentials,
    limits: Arc<Limits>,
    circuit: Arc<Circuit>,
    metered: Option<(Meter, String)>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Client({})", self.base_url)
    }
}

impl Client {
    /// Where it calls.
    pub fn base_url(&self) -> &BaseUrl {
        &self.base_url
    }

    /// One page of transactions after the cursor; `''` starts from the beginning.
    pub async fn transactions_sync(
        &self,
        token: &AccessToken,
        cursor: &str,
    ) -> Result<wire::SyncPage, Error> {
        let body = json!({
            "cursor": cursor,
            "count": PAGE_COUNT,
            "options": { "include_original_description": true, "days_requested": DAYS_REQUESTED },
        });
        self.call(&limits::TRANSACTIONS_SYNC, body, Some(token)).await
    }

    /// Accounts with cached balances; free.
    pub async fn accounts_get(&self, token: &AccessToken) -> Result<wire::Accounts, Error> {
        self.call(&limits::ACCOUNTS_GET, json!({}), Some(token)).await
    }

    /// Accounts with balances asked of the bank; billed by Plaid.
    pub async fn accounts_balance_get(
        &self,
        token: &AccessToken,
        oldest: Option<Timestamp>,
    ) -> Result<wire::Accounts, Error> {
        let body = match oldest {
            Some(oldest) => {
                json!({ "options": { "min_last_updated_datetime": oldest.to_string() } })
            }
            None => json!({}),
        };
        self.call(&limits::ACCOUNTS_BALANCE_GET, body, Some(token)).await
    }

    /// The Item and its state.
    pub async fn item_get(&self, token: &AccessToken) -> Result<wire::Item, Error> {
        let answer: wire::ItemEnvelope =
            self.call(&limits::ITEM_GET, json!({}), Some(token)).await?;
        Ok(answer.item)
    }

    /// Ends the Item at Plaid, for good. An Item that is gone already counts as ended.
    pub async fn item_remove(&self, token: &AccessToken) -> Result<(), Error> {
        let answer: Result<wire::Done, Error> =
            self.call(&limits::ITEM_REMOVE, json!({}), Some(token)).await;
        match answer {
            Err(error) if error.reaction() != Reaction::Relink => Err(error),
            _ => Ok(()),
        }
    }

    /// Sends the Item's webhooks to another URL.
    pub async fn item_webhook_update(
        &self,
        token: &AccessToken,
        webhook: &str,
    ) -> Result<(), Error> {
        let body = json!({ "webhook": webhook });
        let _item: wire::ItemEnvelope =
            self.call(&limits::ITEM_WEBHOOK_UPDATE, body, Some(token)).await?;
        Ok(())
    }

    /// Asks the bank for news; billed by Plaid.
    pub async fn transactions_refresh(&self, token: &AccessToken) -> Result<(), Error> {
        let _done: wire::Done =
            self.call(&limits::TRANSACTIONS_REFRESH, json!({}), Some(token)).await?;
        Ok(())
    }

    /// An institution by its id.
    pub async fn institution(&self, institution_id: &str) -> Result<wire::Institution, Error> {
        let body = institution_request(institution_id);
        let answer: wire::InstitutionEnvelope =
            self.call(&limits::INSTITUTIONS_GET_BY_ID, body, None).await?;
        Ok(answer.institution)
    }

    /// The name of an Item's institution, which older Items do not carry. Nothing if Plaid does not
    /// tell: people are shown the id then.
    pub async fn institution_name(&self, item: &wire::Item) -> Option<String> {
        if item.institution_name.is_some() {
            return item.institution_name.clone();
        }
        let institution = self.institution(item.institution_id.as_deref()?).await.ok()?;
        Some(institution.name)
    }

    /// One answer of the endpoint that has a stream, as text. Transactions have their own call.
    pub(crate) async fn read_stream(
        &self,
        token: &AccessToken,
        stream: Stream,
        part: &Part,
    ) -> Result<Box<RawValue>, Error> {
        let (endpoint, body) = match stream {
            Stream::Accounts | Stream::Balances | Stream::Transactions => {
                (&limits::ACCOUNTS_GET, json!({}))
            }
            Stream::Recurring => (&limits::TRANSACTIONS_RECURRING_GET, json!({})),
            Stream::Liabilities => (&limits::LIABILITIES_GET, json!({})),
            Stream::Holdings | Stream::Securities => (&limits::INVESTMENTS_HOLDINGS_GET, json!({})),
            Stream::InvestmentTransactions => {
                let (start, end) = part.dates.unwrap_or_default();
                let body = json!({
                    "start_date": start.to_string(), "end_date": end.to_string(),
                    "options": { "count": PAGE_COUNT, "offset": part.offset },
                });
                (&limits::INVESTMENTS_TRANSACTIONS_GET, body)
            }
            Stream::Identity => (&limits::IDENTITY_GET, json!({})),
            Stream::Auth => (&limits::AUTH_GET, json!({})),
            Stream::Item => (&limits::ITEM_GET, json!({})),
            Stream::Institutions => {
                let Some(id) = &part.institution_id else {
                    return Ok(RawValue::NULL.to_owned());
                };
                let body = institution_request(id);
                return self.call(&limits::INSTITUTIONS_GET_BY_ID, body, None).await;
            }
        };
        self.call(endpoint, body, Some(token)).await
    }

    /// A page of Link for an end user, hosted by Plaid.
    pub async fn link_token_create(
        &self,
        request: &LinkRequest<'_>,
    ) -> Result<wire::LinkToken, Error> {
        let mut body = json!({
            "client_name": request.client_name,
            "language": "en",
            "country_codes": COUNTRY_CODES,
            "user": { "client_user_id": request.client_user_id },
            "hosted_link": { "url_lifetime_seconds": request.lifetime.as_secs() },
        });
        if let Some(webhook) = request.webhook {
            body["webhook"] = json!(webhook);
        }
        match request.update {
            Some(_) => {
                body["update"] = json!({ "account_selection_enabled": true });
                if !request.products_if_offered.is_empty() {
                    body["additional_consented_products"] = json!(request.products_if_offered);
                }
            }
            None => {
                body["products"] = json!(request.products);
                if !request.products_if_offered.is_empty() {
                    body["required_if_supported_products"] = json!(request.products_if_offered);
                }
                body["transactions"] = json!({ "days_requested": DAYS_REQUESTED });
            }
        }
        self.call(&limits::LINK_TOKEN_CREATE, body, request.update).await
    }

    /// What became of a page of Link.
    pub async fn link_token_get(&self, link_token: &str) -> Result<wire::LinkTokenState, Error> {
        self.call(&limits::LINK_TOKEN_GET, json!({ "link_token": link_token }), None).await
    }

    /// The public half of a webhook key. Plaid's error for an unknown id also proves that the
    /// credentials are good.
    pub async fn webhook_key(&self, key_id: &str) -> Result<wire::Jwk, Error> {
        let body = json!({ "key_id": key_id });
        let answer: wire::VerificationKey =
            self.call(&limits::WEBHOOK_VERIFICATION_KEY_GET, body, None).await?;
        Ok(answer.key)
    }

    /// Makes an Item of a sandbox user without Link.
    pub async fn sandbox_public_token(&self, user: &SandboxUser<'_>) -> Result<String, Error> {
        let mut options = json!({
            "override_username": user.username,
            "transactions": { "days_requested": DAYS_REQUESTED },
        });
        if let Some(webhook) = user.webhook {
            options["webhook"] = json!(webhook);
        }
        let body = json!({
            "institution_id": user.institution_id,
            "initial_products": user.products,
            "options": options,
        });
        let made: wire::PublicToken =
            self.call(&limits::SANDBOX_PUBLIC_TOKEN_CREATE, body, None).await?;
        Ok(made.public_token)
    }

    /// Exchanges a public token for the Item's access token.
    pub async fn exchange(&self, public_token: &str) -> Result<wire::Exchanged, Error> {
        let body = json!({ "public_token": public_token });
        self.call(&limits::ITEM_PUBLIC_TOKEN_EXCHANGE, body, None).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        endpoint: &'static Endpoint,
        mut body: Value,
        token: Option<&AccessToken>,
    ) -> Result<T, Error> {
        if let Some(token) = token {
            body["access_token"] = json!(token.expose());
        }
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(ATTEMPTS - 1)
            .with_jitter();
        let attempt = || async {
            self.limits
                .wait(endpoint, &self.credentials.client_id, token.map(AccessToken::expose))
                .await;
            let path = endpoint.path;
            self.circuit.permit().map_err(|failures| Error::Resting { path, failures })?;
            let answer = self.send(endpoint, &body).await;
            let answer = match (answer, token) {
                (Err(Error::Plaid(mut error)), Some(token)) if trial::has_bug("token_in_error") => {
                    error.error_message.push_str(token.expose());
                    Err(Error::Plaid(error))
                }
                (answer, _) => answer,
            };
            let failure = answer.as_ref().err();
            self.circuit.note(failure.is_some_and(Error::is_outage));
            if let Some((meter, whose)) = &self.metered {
                meter.count(whose, path, failure.is_some());
            }
            answer
        };
        attempt
            .retry(pauses)
            .when(|error: &Error| endpoint.repeatable && error.reaction() == Reaction::Retry)
            .adjust(|error, pause| match error.retry_after() {
                Some(wish) => pause.map(|pause| pause.max(wish.min(LONGEST_PAUSE))),
                None => pause,
            })
            .notify(|error, pause| {
                tracing::warn!(path = endpoint.path, %error, ?pause, "a call to Plaid is repeated");
            })
            .await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        endpoint: &'static Endpoint,
        body: &Value,
    ) -> Result<T, Error> {
        let path = endpoint.path;
        let transport =
            |source: reqwest::Error| Error::Transport { path, source: source.without_url() };
        let answer = self
            .http
            .post(format!("{}{path}", self.base_url))
            .header("plaid-client-id", sensitive(&self.credentials.client_id))
            .header("plaid-secret", sensitive(self.credentials.secret.expose_secret()))
            .header("plaid-version", PLAID_VERSION)
            .timeout(endpoint.timeout)
            .json(body)
            .send()
            .await
            .map_err(transport)?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(seconds);
        let bytes = read_bounded(path, answer).await?;
        if status == 200 {
            serde_json::from_slice(&bytes).map_err(|error| malformed(path, status, &bytes, &error))
        } else {
            Err(match serde_json::from_slice(&bytes) {
                Ok(body) => Error::Plaid(PlaidError::new(status, body, retry_after)),
                Err(error) => malformed(path, status, &bytes, &error),
            })
        }
    }
}

fn institution_request(institution_id: &str) -> Value {
    json!({ "institution_id": institution_id, "country_codes": COUNTRY_CODES })
}

/// Header values never contain line breaks; a credential that does is refused by Plaid instead.
fn sensitive(text: &str) -> HeaderValue {
    let mut value =
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unprintable"));
    value.set_sensitive(true);
    value
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

async fn read_bounded(path: &'static str, mut answer: reqwest::Response) -> Result<Vec<u8>, Error> {
    let status = answer.status().as_u16();
    let mut bytes = Vec::new();
    loop {
        let chunk = answer.chunk().await;
        let chunk =
            chunk.map_err(|source| Error::Transport { path, source: source.without_url() })?;
        let Some(chunk) = chunk else { return Ok(bytes) };
        if bytes.len() + chunk.len() > ANSWER_LIMIT_BYTES {
            let reason = format!("it is larger than {ANSWER_LIMIT_BYTES} bytes");
            return Err(Error::Malformed { path, status, reason, request_id: None });
        }
        bytes.extend_from_slice(&chunk);
    }
}

fn malformed(path: &'static str, status: u16, bytes: &[u8], error: &serde_json::Error) -> Error {
    #[derive(Deserialize)]
    struct Identified {
        request_id: String,
    }
    let request_id = serde_json::from_slice::<Identified>(bytes).ok().map(|body| body.request_id);
    let reason =
        format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column());
    Error::Malformed { path, status, reason, request_id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_environment() {
        let parse = |text| AccessToken::parse(text, Environment::Sandbox).map(|_| ());
        assert_eq!(parse("access-sandbox-1234"), Ok(()));
        assert_eq!(parse("public-sandbox-1234"), Err(TokenMismatch::Form));
        assert_eq!(parse("access-sandbox-"), Err(TokenMismatch::Form));
        assert_eq!(parse("access-sandbox-a\nb"), Err(TokenMismatch::Form));
        assert!(matches!(parse("access-production-1"), Err(TokenMismatch::Environment { .. })));
    }

    #[test]
    fn a_token_cannot_be_printed() {
        let token = AccessToken::parse("access-sandbox-canary", Environment::Sandbox);
        assert!(!format!("{token:?}").contains("canary"));
    }
}
