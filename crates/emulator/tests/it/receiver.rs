//! A webhook receiver: keeps what it got and checks the signature with the bank's published key.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::bank::{Bank, text};

const PATIENCE: Duration = Duration::from_secs(20);

/// A webhook as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) body: Value,
    bytes: Vec<u8>,
    signature: String,
}

/// A listening receiver.
pub(crate) struct Receiver {
    pub(crate) url: String,
    got: Arc<Mutex<Vec<Received>>>,
    news: Arc<Notify>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (got, news) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (keep, tell) = (Arc::clone(&got), Arc::clone(&news));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (keep, tell) = (Arc::clone(&keep), Arc::clone(&tell));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (keep, tell) = (Arc::clone(&keep), Arc::clone(&tell));
                    async move {
                        let signature = request.headers()["plaid-verification"].to_str().unwrap();
                        let signature = signature.to_owned();
                        let bytes = request.into_body().collect().await?.to_bytes().to_vec();
                        let body = serde_json::from_slice(&bytes).unwrap();
                        keep.lock().unwrap().push(Received { body, bytes, signature });
                        tell.notify_waiters();
                        Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::new())))
                    }
                });
                let io = TokioIo::new(stream);
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service),
                );
            }
        });
        Self { url, got, news }
    }

    /// What came so far.
    pub(crate) fn got(&self) -> Vec<Received> {
        self.got.lock().unwrap().clone()
    }

    /// Codes of what came so far.
    pub(crate) fn codes(&self) -> Vec<String> {
        self.got().iter().map(|received| text(&received.body["webhook_code"])).collect()
    }

    /// Waits until so many have come.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        let enough = async {
            loop {
                let news = self.news.notified();
                if self.got().len() >= count {
                    return self.got();
                }
                news.await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, enough).await;
        waited.unwrap_or_else(|_| panic!("{count} webhooks, but there are {:?}", self.codes()))
    }
}

impl Received {
    /// Whether a careful receiver believes it: the key is published and live, the signature and the
    /// hash of the body are right.
    pub(crate) async fn is_believed(&self, bank: &Bank) -> bool {
        let parts: Vec<&str> = self.signature.split('.').collect();
        let decode = |part: &str| BASE64URL.decode(part).unwrap();
        let header: Value = serde_json::from_slice(&decode(parts[0])).unwrap();
        let claims: Value = serde_json::from_slice(&decode(parts[1])).unwrap();
        let asked = json!({ "key_id": header["kid"] });
        let (status, key) = bank.call("/webhook_verification_key/get", asked).await;
        if status != 200 || !key["key"]["expired_at"].is_null() {
            return false;
        }
        let point = [vec![4], decode(&text(&key["key"]["x"])), decode(&text(&key["key"]["y"]))];
        let signed = format!("{}.{}", parts[0], parts[1]);
        let hash: String = digest(&SHA256, &self.bytes)
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.concat())
            .verify(signed.as_bytes(), &decode(parts[2]))
            .is_ok()
            && claims["request_body_sha256"] == hash.as_str()
    }
}
