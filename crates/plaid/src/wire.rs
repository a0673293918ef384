//! Shapes exactly as Plaid sends them. Every optional field survives an unexpected type, every
//! enum is text, arrays tolerate null, and elements of lists stay raw until each is read alone.
//! Fields bear Plaid's names and mean what Plaid documents.
#![expect(missing_docs, reason = "the fields are Plaid's and documented there")]

use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// An array of elements that are read one by one.
pub type Elements = Vec<Box<RawValue>>;

/// `/transactions/sync`.
#[derive(Debug, Deserialize)]
pub struct SyncPage {
    /// How much history has been delivered.
    #[serde(default, deserialize_with = "lenient")]
    pub transactions_update_status: Option<String>,
    /// Accounts with transactions in this page.
    #[serde(default, deserialize_with = "nullable")]
    pub accounts: Elements,
    /// New transactions.
    #[serde(default, deserialize_with = "nullable")]
    pub added: Elements,
    /// Transactions with new content.
    #[serde(default, deserialize_with = "nullable")]
    pub modified: Elements,
    /// Transactions that are gone.
    #[serde(default, deserialize_with = "nullable")]
    pub removed: Elements,
    /// Where the next page starts; empty while nothing is available.
    #[serde(default, deserialize_with = "nullable")]
    pub next_cursor: String,
    /// Whether there is a next page.
    pub has_more: bool,
    #[serde(default, deserialize_with = "lenient")]
    pub request_id: Option<String>,
}

/// One transaction.
#[derive(Debug, Deserialize)]
pub struct Transaction {
    /// Plaid's id.
    pub transaction_id: String,
    /// Plaid's account id.
    pub account_id: String,
    /// The number's own text.
    pub amount: Box<RawValue>,
    /// Calendar date.
    pub date: String,
    #[serde(default, deserialize_with = "lenient")]
    pub iso_currency_code: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub unofficial_currency_code: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub authorized_date: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub merchant_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub merchant_entity_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub website: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub counterparties: Option<Vec<Counterparty>>,
    #[serde(default, deserialize_with = "lenient")]
    pub original_description: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub payment_channel: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub check_number: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub pending: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub pending_transaction_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub personal_finance_category: Option<Category>,
}

/// An element of `counterparties`.
#[derive(Debug, Deserialize)]
pub struct Counterparty {
    pub name: String,
    #[serde(rename = "type", default, deserialize_with = "lenient")]
    pub kind: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub entity_id: Option<String>,
}

/// `personal_finance_category`.
#[derive(Debug, Deserialize)]
pub struct Category {
    pub primary: String,
    pub detailed: String,
    #[serde(default, deserialize_with = "lenient")]
    pub confidence_level: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub version: Option<String>,
}

/// An element of `removed`.
#[derive(Debug, Deserialize)]
pub struct Removed {
    pub transaction_id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub account_id: Option<String>,
}

/// One account.
#[derive(Debug, Deserialize)]
pub struct Account {
    pub account_id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub official_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub mask: Option<String>,
    #[serde(default, rename = "type", deserialize_with = "lenient")]
    pub account_type: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub subtype: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub persistent_account_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub holder_category: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub balances: Option<Balances>,
}

/// `balances` of an account; numbers as their own text.
#[derive(Debug, Default, Deserialize)]
pub struct Balances {
    #[serde(default)]
    pub available: Option<Box<RawValue>>,
    #[serde(default)]
    pub current: Option<Box<RawValue>>,
    #[serde(default)]
    pub limit: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "lenient")]
    pub iso_currency_code: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub unofficial_currency_code: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub last_updated_datetime: Option<String>,
}

/// `/accounts/get` and `/accounts/balance/get`.
#[derive(Debug, Deserialize)]
pub struct Accounts {
    #[serde(default, deserialize_with = "nullable")]
    pub accounts: Elements,
    pub item: Item,
    #[serde(default, deserialize_with = "lenient")]
    pub request_id: Option<String>,
}

/// The Item object, as far as we read it.
#[derive(Debug, Clone, Deserialize)]
pub struct Item {
    pub item_id: String,
    #[serde(default, deserialize_with = "lenient")]
    pub institution_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub institution_name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub webhook: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub billed_products: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub products: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub available_products: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub consented_products: Vec<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub consent_expiration_time: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub error: Option<ErrorBody>,
}

/// `/item/get` and `/item/webhook/update`.
#[derive(Debug, Deserialize)]
pub struct ItemEnvelope {
    pub item: Item,
}

/// `/institutions/get_by_id`.
#[derive(Debug, Deserialize)]
pub struct InstitutionEnvelope {
    pub institution: Institution,
}

/// An institution, as far as we read it.
#[derive(Debug, Clone, Deserialize)]
pub struct Institution {
    pub institution_id: String,
    pub name: String,
}

/// `/sandbox/public_token/create`.
#[derive(Debug, Deserialize)]
pub struct PublicToken {
    pub public_token: String,
}

/// `/item/public_token/exchange`.
#[derive(Debug, Deserialize)]
pub struct Exchanged {
    pub access_token: String,
    pub item_id: String,
}

/// `/link/token/create`.
#[derive(Debug, Deserialize)]
pub struct LinkToken {
    pub link_token: String,
    pub expiration: String,
    #[serde(default, deserialize_with = "lenient")]
    pub hosted_link_url: Option<String>,
}

/// `/link/token/get`, as far as we read it.
#[derive(Debug, Deserialize)]
pub struct LinkTokenState {
    #[serde(default, deserialize_with = "nullable")]
    pub link_sessions: Vec<LinkSession>,
}

/// One visit to Link.
#[derive(Debug, Deserialize)]
pub struct LinkSession {
    #[serde(default, deserialize_with = "lenient")]
    pub finished_at: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub results: Option<LinkResults>,
    #[serde(default, deserialize_with = "lenient")]
    pub on_success: Option<LinkSuccess>,
    #[serde(default, deserialize_with = "lenient")]
    pub exit: Option<serde::de::IgnoredAny>,
}

/// What a visit brought.
#[derive(Debug, Deserialize)]
pub struct LinkResults {
    #[serde(default, deserialize_with = "nullable")]
    pub item_add_results: Vec<ItemAdded>,
}

/// An Item that a visit brought.
#[derive(Debug, Deserialize)]
pub struct ItemAdded {
    pub public_token: String,
    #[serde(default, deserialize_with = "nullable")]
    pub accounts: Vec<LinkedAccount>,
    #[serde(default, deserialize_with = "lenient")]
    pub institution: Option<LinkedInstitution>,
}

impl ItemAdded {
    /// Where it is.
    pub fn institution_id(&self) -> Option<&str> {
        self.institution.as_ref()?.institution_id.as_deref()
    }
}

/// An account as a visit tells of it.
#[derive(Debug, Deserialize)]
pub struct LinkedAccount {
    #[serde(default, deserialize_with = "lenient")]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub mask: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub subtype: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub persistent_account_id: Option<String>,
}

/// An institution as a visit tells of it.
#[derive(Debug, Deserialize)]
pub struct LinkedInstitution {
    #[serde(default, deserialize_with = "lenient")]
    pub institution_id: Option<String>,
}

/// The older form of a success; in update mode there is no public token in it that matters.
#[derive(Debug, Deserialize)]
pub struct LinkSuccess {
    #[serde(default, deserialize_with = "lenient")]
    pub public_token: Option<String>,
}

/// An answer of which only the status matters.
#[derive(Debug, Deserialize)]
pub struct Done {}

/// Plaid's error object.
#[derive(Debug, Clone, Deserialize)]
pub struct ErrorBody {
    pub error_type: String,
    pub error_code: String,
    #[serde(default, deserialize_with = "nullable")]
    pub error_message: String,
    #[serde(default, deserialize_with = "lenient")]
    pub display_message: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub request_id: Option<String>,
}

/// `/webhook_verification_key/get`.
#[derive(Debug, Deserialize)]
pub struct VerificationKey {
    pub key: Jwk,
}

/// The public half of a webhook key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    pub alg: String,
    pub crv: String,
    pub kid: String,
    pub kty: String,
    #[serde(rename = "use")]
    pub usage: String,
    pub x: String,
    pub y: String,
    #[serde(default, deserialize_with = "lenient")]
    pub expired_at: Option<i64>,
}

/// What every webhook says, whatever its code.
#[derive(Debug, Clone, Deserialize)]
pub struct Webhook {
    #[serde(default, deserialize_with = "nullable")]
    pub webhook_type: String,
    #[serde(default, deserialize_with = "nullable")]
    pub webhook_code: String,
    #[serde(default, deserialize_with = "lenient")]
    pub item_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub environment: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub error: Option<ErrorBody>,
    #[serde(default, deserialize_with = "lenient")]
    pub account_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub disconnect_time: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub consent_expiration_time: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub link_token: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub public_token: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub public_tokens: Vec<String>,
}

/// A value of the expected type, or nothing.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    input: D,
) -> Result<Option<T>, D::Error> {
    let raw = Option::<Box<RawValue>>::deserialize(input)?;
    Ok(raw.and_then(|raw| serde_json::from_str(raw.get()).ok()))
}

/// Null means empty.
fn nullable<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(input)?.unwrap_or_default())
}
