//! Proves that a webhook is Plaid's before a byte of it is believed: ES256 only, key by id,
//! signature, age, then SHA-256 of the raw bytes in constant time; only then is the body parsed.

use std::fmt::Write as _;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use crate::wire::{Jwk, Webhook};

/// Oldest signature accepted; Plaid's own advice.
pub const MAXIMUM_AGE_SECONDS: i64 = 300;
/// How far a signature may lie in the future before it is a clock that cannot be trusted.
pub const MAXIMUM_SKEW_SECONDS: i64 = 60;
/// Longest header read; Plaid's is under 400 bytes.
const TOKEN_LIMIT_BYTES: usize = 4_096;
/// Longest key id looked up; Plaid's are UUIDs.
const KEY_ID_LIMIT_BYTES: usize = 64;

/// Why a webhook was not believed. The words are safe to show to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No `Plaid-Verification` header, or several.
    #[error("exactly one Plaid-Verification header is needed; forward it unchanged")]
    Header,
    /// Not a compact JWS that Plaid could have made.
    #[error("the Plaid-Verification header is not a token of Plaid's form")]
    Form,
    /// Another algorithm than ES256.
    #[error("the token's algorithm is not ES256")]
    Algorithm,
    /// Plaid does not know the key.
    #[error("the token's key is not one of Plaid's")]
    UnknownKey,
    /// Plaid has rotated the key out.
    #[error("the token's key has expired")]
    ExpiredKey,
    /// The signature does not fit.
    #[error("the token's signature does not verify")]
    Signature,
    /// Signed too long ago.
    #[error("the token is older than 5 minutes")]
    TooOld,
    /// Signed in the future.
    #[error("the token was issued in the future; check the clock of this machine")]
    Future,
    /// The body is not the one that was signed.
    #[error("the body is not the one that was signed; forward the raw bytes unchanged")]
    BodyHash,
    /// Signed by Plaid and yet not a JSON object.
    #[error("the body is not a JSON object")]
    Body,
}

/// A token whose form was checked; nothing in it is believed yet.
#[derive(Debug, Clone)]
pub struct Token<'a> {
    text: &'a str,
    key_id: String,
}

/// A webhook that Plaid sent.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its content.
    pub webhook: Webhook,
    /// Hex SHA-256 of the raw body: with `issued_at` it recognises a repeat.
    pub body_hash: String,
    /// When Plaid signed it, in Unix seconds.
    pub issued_at: i64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    // Extensions that must be understood are not; their presence refuses the token.
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iat: i64,
    request_body_sha256: String,
}

impl<'a> Token<'a> {
    /// Takes the values of all `Plaid-Verification` headers of a request.
    pub fn parse(headers: &[&'a str]) -> Result<Self, Refusal> {
        let [text] = *headers else { return Err(Refusal::Header) };
        if text.len() > TOKEN_LIMIT_BYTES || text.split('.').count() != 3 {
            return Err(Refusal::Form);
        }
        let (header, _) = text.split_once('.').ok_or(Refusal::Form)?;
        let header = BASE64URL.decode(header).map_err(|_| Refusal::Form)?;
        let header: Header = serde_json::from_slice(&header).map_err(|_| Refusal::Form)?;
        if header.alg != "ES256" {
            return Err(Refusal::Algorithm);
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let usable = (1..=KEY_ID_LIMIT_BYTES).contains(&header.kid.len());
        if header.crit.is_some() || !usable || !header.kid.bytes().all(plain) {
            return Err(Refusal::Form);
        }
        Ok(Self { text, key_id: header.kid })
    }

    /// The key that is said to have signed it.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Believes the body or says why not.
    pub fn verify(&self, key: &Jwk, body: &[u8], now: Timestamp) -> Result<Event, Refusal> {
        if key.expired_at.is_some() {
            return Err(Refusal::ExpiredKey);
        }
        if key.kid != self.key_id || key.alg != "ES256" || key.crv != "P-256" {
            return Err(Refusal::UnknownKey);
        }
        let claims = self.claims(key)?;
        let age = now.as_second().saturating_sub(claims.iat);
        if age > MAXIMUM_AGE_SECONDS && !trial::has_bug("age_ignored") {
            return Err(Refusal::TooOld);
        }
        if age < -MAXIMUM_SKEW_SECONDS {
            return Err(Refusal::Future);
        }
        let body_hash = hex(digest(&SHA256, body).as_ref());
        let claimed = claims.request_body_sha256.as_bytes();
        let same = verify_slices_are_equal(body_hash.as_bytes(), claimed).is_ok();
        if !same && !trial::has_bug("body_hash_ignored") {
            return Err(Refusal::BodyHash);
        }
        let webhook = serde_json::from_slice(body).map_err(|_| Refusal::Body)?;
        Ok(Event { webhook, body_hash, issued_at: claims.iat })
    }

    fn claims(&self, key: &Jwk) -> Result<Claims, Refusal> {
        let key =
            DecodingKey::from_ec_components(&key.x, &key.y).map_err(|_| Refusal::UnknownKey)?;
        let mut rules = Validation::new(Algorithm::ES256);
        // Plaid's tokens carry `iat` and the body's hash only; age is checked by our own clock.
        rules.required_spec_claims.clear();
        rules.validate_exp = false;
        rules.validate_aud = false;
        jsonwebtoken::decode::<Claims>(self.text, &key, &rules)
            .map(|decoded| decoded.claims)
            .map_err(|_| Refusal::Signature)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
