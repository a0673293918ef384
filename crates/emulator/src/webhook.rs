//! Signs webhooks as Plaid does and delivers them with Plaid's retries.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::draw;
use crate::engine::Engine;
use crate::fault::{Case, Fault, FaultKind};
use crate::world::{Command, Notice};

/// The id of the first key: the one that Plaid's client suites look up.
const KEY_ID: &str = "6c5516e1-92dc-479e-a8ff-5a51992e0001";
/// Plaid waits this long for an answer.
const ANSWER_SECONDS: u64 = 10;
/// Pauses between attempts: 30 seconds, then four times longer each time, within a day.
const RETRY_SECONDS: [u64; 6] = [30, 120, 480, 1_920, 7_680, 30_720];
/// How late a late webhook is when the fault does not say; also how long one that waits to be
/// overtaken waits at most.
const LATE_SECONDS: u64 = 5;
/// Deliveries kept for the log.
const LOG_LIMIT: usize = 10_000;
const KEYS_FILE: &str = "webhook-keys.json";

/// Sends one webhook, unless a fault has other plans.
pub(crate) fn send(engine: &Arc<Engine>, notice: Notice) {
    if let Some(report) = &engine.contract {
        report.webhook(&notice.body);
    }
    let item_id = notice.body["item_id"].as_str();
    let case =
        Case { item_id, webhook_code: notice.body["webhook_code"].as_str(), ..Case::default() };
    let fault = engine.strike(FaultKind::is_of_webhooks, case);
    if fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::WebhookRotatedKey) {
        engine.signer.rotate(engine.real().as_second());
    }
    let number = log(engine).add(&notice, engine.real(), fault.as_ref());
    let engine = Arc::clone(engine);
    tokio::spawn(async move { send_with(&engine, notice, number, fault).await });
}

async fn send_with(engine: &Arc<Engine>, notice: Notice, number: u64, fault: Option<Fault>) {
    let seconds = fault.as_ref().and_then(|fault| fault.seconds).unwrap_or(LATE_SECONDS);
    let mut key = Which::Current;
    match fault.map(|fault| fault.kind) {
        Some(FaultKind::WebhookLost) => {
            log(engine).close(number, Fate::Failed);
            return;
        }
        Some(FaultKind::WebhookLate) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        Some(FaultKind::WebhookOutOfOrder) => {
            let overtaken = engine.tried.notified();
            let _in_time = tokio::time::timeout(Duration::from_secs(seconds), overtaken).await;
        }
        Some(FaultKind::WebhookTwice) => {
            engine.attempt(&notice, number, Which::Current).await;
        }
        Some(FaultKind::WebhookForged) => key = Which::Forged,
        Some(FaultKind::WebhookExpiredKey) => key = Which::Expired,
        _ => {}
    }
    for attempt in 1.. {
        if engine.attempt(&notice, number, key).await == Some(200) {
            log(engine).close(number, Fate::Delivered);
            let code = notice.body["webhook_code"].as_str().unwrap_or_default().to_owned();
            if let Some(item) = notice.item {
                let _noted = engine.run(&Command::NoteWebhook { item, code });
            }
            return;
        }
        let Some(pause) = pause_after(attempt) else { break };
        tokio::time::sleep(pause).await;
    }
    log(engine).close(number, Fate::Failed);
}

/// How long to wait after the given number of failed attempts; `None` when Plaid gives up.
fn pause_after(attempts: usize) -> Option<Duration> {
    RETRY_SECONDS.get(attempts.checked_sub(1)?).copied().map(Duration::from_secs)
}

fn log(engine: &Engine) -> MutexGuard<'_, Deliveries> {
    engine.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    async fn attempt(&self, notice: &Notice, number: u64, key: Which) -> Option<u16> {
        // Plaid's bodies have two spaces of indentation; the hash covers the exact bytes.
        let body = format!("{:#}", notice.body).into_bytes();
        // Webhooks carry real time even where the world's time was stepped.
        let at = self.real();
        let signed = self.signer.sign(&body, at.as_second(), key);
        let result = match signed {
            Ok(signature) => post(&self.options.http, &notice.url, body, &signature).await,
            Err(error) => Err(error.to_string()),
        };
        log(self).tried(number, at, &result);
        self.tried.notify_waiters();
        result.ok()
    }

    /// Webhooks sent so far, oldest first.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        log(self).entries.iter().cloned().collect()
    }
}

/// Posts one webhook once. The answer's status, or why there was none.
async fn post(
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

/// What became of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Fate {
    Pending,
    Delivered,
    Failed,
}

/// A webhook and what became of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Delivery {
    #[serde(skip)]
    number: u64,
    pub(crate) id: String,
    pub(crate) at: Timestamp,
    pub(crate) url: String,
    pub(crate) body: Value,
    pub(crate) fate: Fate,
    /// The last answer's status.
    pub(crate) status: Option<u16>,
    /// Why the last attempt had no answer.
    pub(crate) error: Option<String>,
    pub(crate) attempts: u64,
    pub(crate) last_attempt_at: Option<Timestamp>,
    pub(crate) fault: Option<FaultKind>,
}

/// The webhooks sent so far.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    next: u64,
    entries: VecDeque<Delivery>,
}

impl Deliveries {
    fn add(&mut self, notice: &Notice, at: Timestamp, fault: Option<&Fault>) -> u64 {
        self.next += 1;
        if self.entries.len() == LOG_LIMIT {
            self.entries.pop_front();
        }
        self.entries.push_back(Delivery {
            number: self.next,
            id: draw::label_uuid(&format!("delivery/{}", self.next)),
            at,
            url: notice.url.clone(),
            body: notice.body.clone(),
            fate: Fate::Pending,
            status: None,
            error: None,
            attempts: 0,
            last_attempt_at: None,
            fault: fault.map(|fault| fault.kind),
        });
        self.next
    }

    fn entry(&mut self, number: u64) -> Option<&mut Delivery> {
        self.entries.iter_mut().rev().find(|delivery| delivery.number == number)
    }

    fn tried(&mut self, number: u64, at: Timestamp, result: &Result<u16, String>) {
        if let Some(delivery) = self.entry(number) {
            delivery.attempts += 1;
            delivery.last_attempt_at = Some(at);
            delivery.status = result.as_ref().ok().copied();
            delivery.error = result.as_ref().err().cloned();
        }
    }

    fn close(&mut self, number: u64, fate: Fate) {
        if let Some(delivery) = self.entry(number) {
            delivery.fate = fate;
        }
    }
}

/// Which key signs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    Current,
    /// A key that has expired.
    Expired,
    /// A key that nobody published, under the name of the current one.
    Forged,
}

/// The keys that sign this world's webhooks; the last one is the current one.
pub(crate) struct Signer {
    keys: Mutex<Vec<Key>>,
    file: Option<PathBuf>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Key {
    kid: String,
    /// PKCS #8, base64url.
    private: String,
    created_at: i64,
    expired_at: Option<i64>,
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
    /// The keys kept in the folder, or a new one.
    pub(crate) fn open(folder: Option<&Path>, now: i64) -> Result<Self, KeyError> {
        let file = folder.map(|folder| folder.join(KEYS_FILE));
        let kept = file.as_ref().and_then(|path| fs::read(path).ok());
        let keys = match kept {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|_| KeyError::Key)?,
            None => vec![Key::new(KEY_ID.to_owned(), now)?],
        };
        keys.iter().try_for_each(|key: &Key| key.pair().map(drop))?;
        let signer = Self { keys: Mutex::new(keys), file };
        signer.save()?;
        Ok(signer)
    }

    fn keys(&self) -> MutexGuard<'_, Vec<Key>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self) -> Result<(), KeyError> {
        if let Some(file) = &self.file {
            let text = serde_json::to_vec(&*self.keys()).map_err(|_| KeyError::Key)?;
            // Whole or not at all.
            let next = file.with_extension("next");
            fs::write(&next, text)?;
            fs::rename(next, file)?;
        }
        Ok(())
    }

    /// Expires the current key and makes a new one.
    pub(crate) fn rotate(&self, now: i64) {
        {
            let mut keys = self.keys();
            let kid = draw::label_uuid(&format!("webhook key/{}", keys.len()));
            let Ok(key) = Key::new(kid, now) else { return };
            if let Some(current) = keys.last_mut() {
                current.expired_at = Some(now);
            }
            keys.push(key);
        }
        if let Err(error) = self.save() {
            tracing::error!(%error, "a new webhook key could not be kept");
        }
    }

    /// The public half of a key as Plaid's JWK.
    pub(crate) fn jwk(&self, key_id: &str) -> Option<Value> {
        self.keys().iter().find(|key| key.kid == key_id)?.jwk()
    }

    /// The id of the current key.
    pub(crate) fn current(&self) -> String {
        self.keys().last().map_or_else(String::new, |key| key.kid.clone())
    }

    /// The `Plaid-Verification` header for a body at a Unix second.
    fn sign(&self, body: &[u8], issued_at: i64, which: Which) -> Result<String, KeyError> {
        if matches!(which, Which::Expired) && self.keys().len() < 2 {
            self.rotate(issued_at);
        }
        let current = self.keys().last().cloned().ok_or(KeyError::Key)?;
        let key = match which {
            Which::Current => current,
            Which::Expired => self.keys().first().cloned().ok_or(KeyError::Key)?,
            Which::Forged => Key::new(current.kid, issued_at)?,
        };
        let hash = digest(&SHA256, body);
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let header = json!({ "alg": "ES256", "kid": key.kid, "typ": "JWT" }).to_string();
        let claims = json!({ "iat": issued_at, "request_body_sha256": hex }).to_string();
        let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let signature =
            key.pair()?.sign(&unpredictable(), signed.as_bytes()).map_err(|_| KeyError::Key)?;
        Ok(format!("{signed}.{}", BASE64URL.encode(signature.as_ref())))
    }
}

impl Key {
    fn new(kid: String, created_at: i64) -> Result<Self, KeyError> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &unpredictable());
        let private = BASE64URL.encode(made.map_err(|_| KeyError::Key)?.as_ref());
        Ok(Self { kid, private, created_at, expired_at: None })
    }

    fn pair(&self) -> Result<EcdsaKeyPair, KeyError> {
        let private = BASE64URL.decode(&self.private).map_err(|_| KeyError::Key)?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &private)
            .map_err(|_| KeyError::Key)
    }

    fn jwk(&self) -> Option<Value> {
        let pair = self.pair().ok()?;
        // An uncompressed point: a marker byte, then 32 bytes each of x and y.
        let (x, y) = pair.public_key().as_ref().get(1..)?.split_at_checked(32)?;
        Some(json!({
            "alg": "ES256",
            "created_at": self.created_at,
            "crv": "P-256",
            "expired_at": self.expired_at,
            "kid": self.kid,
            "kty": "EC",
            "use": "sig",
            "x": BASE64URL.encode(x),
            "y": BASE64URL.encode(y),
        }))
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
