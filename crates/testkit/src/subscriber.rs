//! A receiver of our notices: keeps what it gets, proves each signature, and refuses when told to.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A notice as it came.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The id by which a repeat is recognised.
    pub id: String,
    /// Whether the signature is good.
    pub proven: bool,
    /// The body.
    pub body: Value,
}

#[derive(Default)]
struct Inbox {
    secret: String,
    refusals: usize,
    notices: Vec<Notice>,
}

/// The receiver.
pub struct Subscriber {
    /// Where it listens.
    pub url: String,
    inbox: Arc<Mutex<Inbox>>,
    serving: JoinHandle<()>,
}

impl Subscriber {
    /// Starts on a free port.
    pub async fn start() -> Self {
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let router = Router::new().route("/hook", post(receive)).with_state(Arc::clone(&inbox));
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("a server");
        });
        Self { url, inbox, serving }
    }

    /// The secret that signatures are proven with.
    pub fn trust(&self, secret: &str) {
        secret.clone_into(&mut self.inbox.lock().expect("nobody panicked").secret);
    }

    /// Answers so many times with 500 first.
    pub fn refuse(&self, times: usize) {
        self.inbox.lock().expect("nobody panicked").refusals = times;
    }

    /// What came so far.
    pub fn notices(&self) -> Vec<Notice> {
        self.inbox.lock().expect("nobody panicked").notices.clone()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn receive(
    State(inbox): State<Arc<Mutex<Inbox>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut inbox = inbox.lock().expect("nobody panicked");
    if inbox.refusals > 0 {
        inbox.refusals -= 1;
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let proven =
        Webhook::new(&inbox.secret).is_ok_and(|verifier| verifier.verify(&body, &headers).is_ok());
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let notice = Notice {
        id: id.to_owned(),
        proven,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    inbox.notices.push(notice);
    StatusCode::NO_CONTENT
}
