//! Serves a world over HTTP: one door for all of Plaid's paths, one for the emulator's own, one for
//! its pages.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Request, Response};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::book::USUAL_MIB;
use crate::connection::{self, Cut, Line};
use crate::distort::{self, Body, Instead, json_body};
use crate::engine::Engine;
use crate::error::PlaidError;
use crate::fault::{Case, FaultKind};
use crate::pages;
use crate::routes::{self, Answer};
use crate::webhook::KeyError;

/// Largest request body read; Plaid's largest documented input is a custom user of about 55 kB.
const BODY_LIMIT_BYTES: usize = 1024 * 1024;

/// Environment variable that names the folder for reports on Plaid's contract; test runs set it.
pub const CONTRACT_REPORT: &str = "SELVEDGE_CONTRACT_REPORT";

/// What an emulator is started with.
pub struct Options {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Same seed, same world.
    pub seed: u64,
    /// Folder that keeps the world over a restart.
    pub data: Option<PathBuf>,
    /// The only accepted `client_id`.
    pub client_id: String,
    /// The only accepted `secret`.
    pub secret: String,
    /// How long the first thirty days of an Item take to load.
    pub initial_delay: Duration,
    /// How long the rest of the history takes after that.
    pub history_delay: Duration,
    /// Where this world's time stands still from the start.
    pub freeze: Option<Timestamp>,
    /// Memory for the histories of Items that were read, in MiB; the others are written anew when they
    /// are read again.
    pub books_mib: usize,
    /// Whether Plaid's rate limits for the sandbox hold.
    pub rate_limits: bool,
    /// Whether logins end thirty days after they were made, as in Plaid's sandbox.
    pub expire_logins: bool,
    /// A file to which every call and its answer is added.
    pub record: Option<PathBuf>,
    /// A folder for a report on whether every answer and webhook keeps to Plaid's contract.
    pub contract_report: Option<PathBuf>,
    /// Tells real time.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Delivers webhooks.
    pub http: reqwest::Client,
}

impl Options {
    /// An emulator on a free port of this machine, in memory, with the usual credentials and
    /// nothing switched on.
    pub fn new(now: Arc<dyn Fn() -> Timestamp + Send + Sync>, http: reqwest::Client) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 1,
            data: None,
            client_id: "emulator".to_owned(),
            secret: "sandbox-secret".to_owned(),
            initial_delay: Duration::ZERO,
            history_delay: Duration::ZERO,
            freeze: None,
            books_mib: USUAL_MIB,
            rate_limits: false,
            expire_logins: false,
            record: None,
            contract_report: None,
            now,
            http,
        }
    }
}

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or folder cannot be used.
    #[error("cannot use {}: {source}", folder.display())]
    Data {
        /// The file or folder asked for.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The signing key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A running emulator. Dropping it lets it run on; `stop` ends it.
pub struct Emulator {
    url: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Emulator {
    /// Starts listening; requests are answered from the moment this returns.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let url = format!("http://{address}");
        let engine = Arc::new(Engine::open(options, url.clone())?);
        engine.begin();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(connection::serve(listener, engine, stopped));
        Ok(Self { url, stop, serving })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Ends it after the answers under way.
    pub async fn stop(self) {
        let _gone = self.stop.send(());
        let _ended = self.serving.await;
    }
}

/// Answers one request.
pub(crate) async fn answer(
    engine: Arc<Engine>,
    line: Arc<Line>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Cut> {
    let (head, body) = request.into_parts();
    let read = Limited::new(body, BODY_LIMIT_BYTES).collect().await;
    let Ok(body) = read.map(http_body_util::Collected::to_bytes) else {
        let error = PlaidError::new("INVALID_REQUEST", "INVALID_BODY", "body is too large");
        return Ok(json_body(error.status, &error.body(&engine.next_request_id())));
    };
    engine.settle_today();
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    if let Some(own) = path.strip_prefix("/_emulator/") {
        if let Some(page) = pages::own(&engine, &head.method, own, &head.headers, &body) {
            return Ok(page);
        }
        return Ok(match pages::is_foreign(&head.headers) {
            true => pages::foreign(),
            false => routes::control(&engine, &head.method, own, query, &body),
        });
    }
    if let Some(page) = pages::answer(&engine, &head.method, path, query, &head.headers, &body) {
        return Ok(page);
    }
    plaid(&engine, &line, &head.method, path, &head.headers, &body).await
}

/// Answers one of Plaid's paths, with the faults that were asked for.
async fn plaid(
    engine: &Arc<Engine>,
    line: &Line,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response<Body>, Cut> {
    let request_id = engine.next_request_id();
    let fault = {
        let item_id = routes::item_id_of(engine, body);
        let case = Case { path: Some(path), item_id: item_id.as_deref(), ..Case::default() };
        engine.strike(|kind| !kind.is_of_webhooks() && !kind.is_of_pages(), case)
    };
    let kind: Option<FaultKind> = fault.as_ref().map(|fault| fault.kind);
    let mut retry_after = None;
    let result = match fault.as_ref().and_then(|fault| distort::instead(fault, line, path)) {
        Some(Instead::Foreign(response)) => {
            engine.note_call(path, &request_id, (response.status().as_u16(), None), kind);
            engine.record(path, body, response.status().as_u16(), &[], kind);
            return Ok(response);
        }
        Some(Instead::Cut(seconds)) => {
            engine.note_call(path, &request_id, (0, None), kind);
            engine.record(path, body, 0, &[], kind);
            distort::pause(seconds).await;
            return Err(Cut);
        }
        Some(Instead::Error(error, seconds)) => {
            retry_after = seconds;
            Err(error)
        }
        None => answer_of(engine, method, path, headers, body, &request_id),
    };
    let error_code = result.as_ref().err().map(|error| error.error_code.clone());
    let status = result.as_ref().err().map_or(200, |error| error.status);
    engine.note_call(path, &request_id, (status, error_code), kind);
    let (content_type, hash, answer) = whole(result, &request_id);
    if let Some(report) = &engine.contract {
        match hash {
            Some(_) => report.file(path),
            None => report.answer(path, status, &answer),
        }
    }
    engine.record(path, body, status, &answer, kind);
    let mut response = match fault {
        Some(fault) => distort::afterwards(&fault, status, content_type, answer).await?,
        None => distort::bytes(status, content_type, answer),
    };
    let mut header = |name: &'static str, value: Option<String>| {
        let value = value.and_then(|value| HeaderValue::from_str(&value).ok());
        value.map(|value| response.headers_mut().insert(name, value));
    };
    header("retry-after", retry_after.map(|seconds| seconds.to_string()));
    header("plaid-request-id", hash.as_ref().map(|_| request_id));
    header("plaid-content-hash", hash);
    Ok(response)
}

/// The endpoint's answer; a mistake of ours is Plaid's internal error and ends nobody's connection.
fn answer_of(
    engine: &Arc<Engine>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &Bytes,
    request_id: &str,
) -> Result<Answer, PlaidError> {
    let answer = || routes::plaid(engine, method, path, headers, body, request_id);
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(answer));
    answer.unwrap_or_else(|_| Err(PlaidError::internal("the emulator made a mistake")))
}

/// The content type, the hash if it is a file, and the bytes of an answer.
fn whole(
    result: Result<Answer, PlaidError>,
    request_id: &str,
) -> (&'static str, Option<String>, Vec<u8>) {
    const JSON: &str = "application/json";
    match result {
        Ok(Answer::File { content_type, hash, bytes }) => (content_type, Some(hash), bytes),
        Ok(Answer::Bytes(bytes)) => (JSON, None, bytes),
        Ok(Answer::Json(mut value)) => {
            value["request_id"] = serde_json::Value::String(request_id.to_owned());
            (JSON, None, value.to_string().into_bytes())
        }
        Err(error) => (JSON, None, error.body(request_id).to_string().into_bytes()),
    }
}
