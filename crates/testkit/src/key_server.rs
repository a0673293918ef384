//! A Plaid that has webhook keys and the means to sign with them, for forging and for storms; whatever
//! else it is asked it passes on to a bank.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::surroundings::http_client;

/// Id of the live key.
const LIVE: &str = "11111111-1111-4111-8111-111111111111";
/// Id of a key that was rotated out.
const EXPIRED: &str = "22222222-2222-4222-8222-222222222222";

/// Serves keys and signs.
pub struct KeyServer {
    /// Its base URL.
    pub url: String,
    pair: EcdsaKeyPair,
    look_ups: Arc<AtomicUsize>,
    bank: Arc<OnceLock<String>>,
}

#[derive(Clone)]
struct Served {
    x: String,
    y: String,
    look_ups: Arc<AtomicUsize>,
    bank: Arc<OnceLock<String>>,
    http: reqwest::Client,
}

impl KeyServer {
    /// Starts with one live and one expired key id, both for the same key.
    pub async fn start() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let look_ups = Arc::new(AtomicUsize::new(0));
        let bank = Arc::new(OnceLock::new());
        let served = Served {
            x: BASE64URL.encode(x),
            y: BASE64URL.encode(y),
            look_ups: Arc::clone(&look_ups),
            bank: Arc::clone(&bank),
            http: http_client(),
        };
        let router =
            Router::new().route("/webhook_verification_key/get", post(key)).fallback(pass_on);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            axum::serve(listener, router.with_state(served)).await.expect("a server");
        });
        Self { url, pair, look_ups, bank }
    }

    /// Passes on to this bank from now on.
    pub fn stand_before(&self, bank_url: &str) {
        self.bank.set(bank_url.to_owned()).expect("one bank");
    }

    /// Id of the live key.
    pub fn live(&self) -> &'static str {
        LIVE
    }

    /// Id of the expired key.
    pub fn expired(&self) -> &'static str {
        EXPIRED
    }

    /// Keys asked for so far.
    pub fn look_ups(&self) -> usize {
        self.look_ups.load(Ordering::Relaxed)
    }

    /// A token as Plaid makes it.
    pub fn token(&self, key_id: &str, body: &[u8], issued_at: i64) -> String {
        let header = json!({ "alg": "ES256", "kid": key_id, "typ": "JWT" });
        let claims = json!({ "iat": issued_at, "request_body_sha256": Self::hash(body) });
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// Any header and claims, signed with the live key.
    #[expect(clippy::disallowed_methods, reason = "signing needs real randomness")]
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
        format!("{signed}.{}", BASE64URL.encode(signature.as_ref()))
    }

    /// Lower-case hex SHA-256.
    pub fn hash(body: &[u8]) -> String {
        digest(&SHA256, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

async fn key(State(served): State<Served>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    served.look_ups.fetch_add(1, Ordering::Relaxed);
    let key_id = body["key_id"].as_str().unwrap_or_default();
    if key_id != LIVE && key_id != EXPIRED {
        let error = json!({
            "error_type": "INVALID_INPUT", "error_code": "INVALID_WEBHOOK_VERIFICATION_KEY_ID",
            "error_message": "invalid", "display_message": null, "request_id": "abcdefghijklmno",
        });
        return (StatusCode::BAD_REQUEST, Json(error));
    }
    let expired_at = (key_id == EXPIRED).then_some(1_700_000_000);
    let key = json!({
        "alg": "ES256", "crv": "P-256", "kid": key_id, "kty": "EC", "use": "sig",
        "x": served.x, "y": served.y, "created_at": 1_600_000_000, "expired_at": expired_at,
    });
    (StatusCode::OK, Json(json!({ "key": key, "request_id": "abcdefghijklmno" })))
}

async fn pass_on(
    State(served): State<Served>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(bank) = served.bank.get() else { return StatusCode::NOT_FOUND.into_response() };
    let request = served.http.post(format!("{bank}{}", uri.path())).body(body);
    let passed = headers.into_iter().filter_map(|(name, value)| Some((name?, value)));
    let passed = passed.filter(|(name, _)| name.as_str().starts_with("plaid-"));
    let request = passed.fold(request, |request, (name, value)| request.header(name, value));
    match request.header("content-type", "application/json").send().await {
        Ok(answer) => {
            let status = answer.status();
            let body = answer.bytes().await.unwrap_or_default();
            (status, body).into_response()
        }
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
