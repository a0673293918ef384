//! Signs webhooks as Plaid does and delivers them with Plaid's retries.

use std::fs;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};

/// The key id that Plaid's client suites look up.
const KEY_ID: &str = "6c5516e1-92dc-479e-a8ff-5a51992e0001";
/// Plaid waits this long for an answer.
pub(crate) const ANSWER_SECONDS: u64 = 10;
/// Pauses between attempts: 30 seconds, then four times longer each time, within a day.
const RETRY_SECONDS: [u64; 6] = [30, 120, 480, 1_920, 7_680, 30_720];
const KEY_FILE: &str = "webhook-key.pkcs8";

/// The pair of keys that signs this world's webhooks.
pub(crate) struct Signer {
    pkcs8: Vec<u8>,
    public: Vec<u8>,
    created_at: i64,
}

/// Why no key could be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file cannot be read or written.
    #[error("the webhook key file: {0}")]
    File(#[from] std::io::Error),
    /// Not a P-256 key.
    #[error("the webhook key is not usable")]
    Key,
}

impl Signer {
    /// The key kept in the folder, or a new one.
    pub(crate) fn open(folder: Option<&Path>, now: i64) -> Result<Self, KeyError> {
        let path = folder.map(|folder| folder.join(KEY_FILE));
        let kept = path.as_ref().and_then(|path| fs::read(path).ok());
        let pkcs8 = match kept {
            Some(bytes) => bytes,
            None => {
                let made = EcdsaKeyPair::generate_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    &unpredictable(),
                );
                let bytes = made.map_err(|_| KeyError::Key)?.as_ref().to_vec();
                if let Some(path) = path {
                    fs::write(path, &bytes)?;
                }
                bytes
            }
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
            .map_err(|_| KeyError::Key)?;
        Ok(Self { public: pair.public_key().as_ref().to_vec(), pkcs8, created_at: now })
    }

    /// The public half as Plaid's JWK, if the id is this key's.
    pub(crate) fn jwk(&self, key_id: &str) -> Option<Value> {
        // An uncompressed point: a marker byte, then 32 bytes each of x and y.
        let (x, y) = self.public.get(1..)?.split_at_checked(32)?;
        (key_id == KEY_ID).then(|| {
            json!({
                "alg": "ES256",
                "created_at": self.created_at,
                "crv": "P-256",
                "expired_at": null,
                "kid": KEY_ID,
                "kty": "EC",
                "use": "sig",
                "x": BASE64URL.encode(x),
                "y": BASE64URL.encode(y),
            })
        })
    }

    /// The `Plaid-Verification` header for a body at a Unix second.
    pub(crate) fn sign(&self, body: &[u8], issued_at: i64) -> Result<String, KeyError> {
        let hash = digest(&SHA256, body);
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let header = json!({ "alg": "ES256", "kid": KEY_ID, "typ": "JWT" }).to_string();
        let claims = json!({ "iat": issued_at, "request_body_sha256": hex }).to_string();
        let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pkcs8)
            .map_err(|_| KeyError::Key)?;
        let signature =
            pair.sign(&unpredictable(), signed.as_bytes()).map_err(|_| KeyError::Key)?;
        Ok(format!("{signed}.{}", BASE64URL.encode(signature.as_ref())))
    }
}

/// Keys and signatures are the one thing that two worlds of one seed do not share.
#[expect(
    clippy::disallowed_methods,
    reason = "a signature with predictable randomness gives its key away"
)]
fn unpredictable() -> SystemRandom {
    SystemRandom::new()
}

/// Posts one webhook once. The answer's status, or why there was none.
pub(crate) async fn post(
    client: &reqwest::Client,
    url: &str,
    body: Vec<u8>,
    signature: &str,
) -> Result<u16, String> {
    client
        .post(url)
        .header("content-type", "application/json")
        .header("plaid-verification", signature)
        .timeout(Duration::from_secs(ANSWER_SECONDS))
        .body(body)
        .send()
        .await
        .map(|answer| answer.status().as_u16())
        .map_err(|error| error.without_url().to_string())
}

/// How long to wait after the given number of failed attempts; `None` when Plaid gives up.
pub(crate) fn pause_after(attempts: usize) -> Option<Duration> {
    RETRY_SECONDS.get(attempts.checked_sub(1)?).copied().map(Duration::from_secs)
}
