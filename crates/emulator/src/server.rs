//! Serves a world over HTTP: one door for all of Plaid's paths, one for the emulator's own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::draw;
use crate::error::PlaidError;
use crate::item::{Stage, day};
use crate::journal::Journal;
use crate::routes;
use crate::webhook::{self, KeyError, Signer};
use crate::world::{Command, Notice, Outcome, World};

/// Largest request body read; Plaid's largest documented input is a custom user of about 55 kB.
const BODY_LIMIT_BYTES: usize = 1024 * 1024;
/// Calls and webhooks kept for `GET /_emulator/calls` and `/_emulator/webhooks`.
const LOG_LIMIT: usize = 10_000;

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
    /// Tells real time.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Delivers webhooks.
    pub http: reqwest::Client,
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
    /// The data folder cannot be used.
    #[error("cannot use the data folder {}: {source}", folder.display())]
    Data {
        /// The folder asked for.
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
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Emulator {
    /// Starts listening; requests are answered from the moment this returns.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(|source| StartError::Listen { address: options.listen, source })?;
        let address = listener
            .local_addr()
            .map_err(|source| StartError::Listen { address: options.listen, source })?;
        let engine = Arc::new(Engine::open(options)?);
        engine.resume_loading();
        let router = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
            .with_state(engine);
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let shutdown = async {
                let _ended = stopped.await;
            };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(shutdown).await
            {
                tracing::error!(%error, "the emulator stopped");
            }
        });
        Ok(Self { address, stop, serving })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it after the answers under way.
    pub async fn stop(self) {
        let _gone = self.stop.send(());
        let _ended = self.serving.await;
    }
}

/// A call as noted for tests.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Call {
    at: Timestamp,
    path: String,
    status: u16,
    request_id: String,
    error_code: Option<String>,
}

/// An attempt to deliver a webhook, as noted for tests.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attempt {
    at: Timestamp,
    url: String,
    body: Value,
    status: Option<u16>,
    error: Option<String>,
    attempt: usize,
}

struct Inner {
    world: World,
    journal: Option<Journal>,
    requests: u64,
    calls: VecDeque<Call>,
    attempts: VecDeque<Attempt>,
    settled: Option<jiff::civil::Date>,
}

/// The world with everything around it.
pub(crate) struct Engine {
    inner: Mutex<Inner>,
    signer: Signer,
    options: Options,
}

impl Engine {
    fn open(options: Options) -> Result<Self, StartError> {
        let (journal, world) = match &options.data {
            Some(folder) => {
                let opened = Journal::open(folder, options.seed);
                let (journal, world) =
                    opened.map_err(|source| StartError::Data { folder: folder.clone(), source })?;
                (Some(journal), world)
            }
            None => (None, World::new(options.seed)),
        };
        let signer = Signer::open(options.data.as_deref(), (options.now)().as_second())?;
        let inner = Inner {
            world,
            journal,
            requests: 0,
            calls: VecDeque::new(),
            attempts: VecDeque::new(),
            settled: None,
        };
        Ok(Self { inner: Mutex::new(inner), signer, options })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the world.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&World) -> T) -> T {
        read(&self.lock().world)
    }

    /// Carries out a command, notes it and sends the webhooks that follow from it.
    pub(crate) fn run(self: &Arc<Self>, command: &Command) -> Result<Outcome, PlaidError> {
        let mut outcome = {
            let mut inner = self.lock();
            let at = self.world_time(&inner.world);
            let outcome = inner.world.apply(at, command)?;
            if let Some(Err(error)) = inner.journal.as_mut().map(|j| j.note(at, command)) {
                tracing::error!(%error, "the emulator's journal could not be written");
            }
            outcome
        };
        for notice in std::mem::take(&mut outcome.notices) {
            self.send(notice);
        }
        Ok(outcome)
    }

    fn world_time(&self, world: &World) -> Timestamp {
        let now = (self.options.now)();
        now.saturating_add(world.ahead).unwrap_or(now)
    }

    /// Loads the history of an Item in its two stages, at once or after the configured delays.
    pub(crate) fn load_history(self: &Arc<Self>, item: u64) -> Result<(), PlaidError> {
        let stages = [
            (self.options.initial_delay, Stage::Initial),
            (self.options.history_delay, Stage::Historical),
        ];
        if stages.iter().all(|(delay, _)| delay.is_zero()) {
            for (_, stage) in stages {
                self.run(&Command::Load { item, stage })?;
            }
            return Ok(());
        }
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            for (delay, stage) in stages {
                tokio::time::sleep(delay).await;
                let _loaded = engine.run(&Command::Load { item, stage });
            }
        });
        Ok(())
    }

    fn resume_loading(self: &Arc<Self>) {
        let unfinished: Vec<u64> = self.read(|world| {
            let loading = |stage| matches!(stage, Stage::NotReady | Stage::Initial);
            world.items.iter().filter(|(_, i)| loading(i.stage)).map(|(n, _)| *n).collect()
        });
        for item in unfinished {
            let _resumed = self.load_history(item);
        }
    }

    /// Lets a new day happen before it is asked about.
    fn settle_today(self: &Arc<Self>) {
        let today = {
            let mut inner = self.lock();
            let today = day(self.world_time(&inner.world));
            if inner.settled.replace(today) == Some(today) {
                return;
            }
            today
        };
        tracing::debug!(%today, "a new day");
        let _settled = self.run(&Command::Advance { days: 0 });
    }

    /// The public half of the signing key.
    pub(crate) fn jwk(&self, key_id: &str) -> Option<Value> {
        self.signer.jwk(key_id)
    }

    /// Sends one webhook with Plaid's retries, each attempt signed anew.
    pub(crate) fn send(self: &Arc<Self>, notice: Notice) {
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let body = format!("{:#}", notice.body).into_bytes();
            let mut attempt = 1;
            loop {
                let status = engine.attempt(&notice, body.clone(), attempt).await;
                if status == Some(200) {
                    let code = notice.body["webhook_code"].as_str().unwrap_or_default().to_owned();
                    let _noted = engine.run(&Command::NoteWebhook { item: notice.item, code });
                    return;
                }
                let Some(pause) = webhook::pause_after(attempt) else { return };
                tokio::time::sleep(pause).await;
                attempt += 1;
            }
        });
    }

    async fn attempt(&self, notice: &Notice, body: Vec<u8>, attempt: usize) -> Option<u16> {
        // Webhooks carry real time even where the world's time was stepped.
        let now = (self.options.now)();
        let result = match self.signer.sign(&body, now.as_second()) {
            Ok(signature) => webhook::post(&self.options.http, &notice.url, body, &signature).await,
            Err(error) => Err(error.to_string()),
        };
        let noted = Attempt {
            at: now,
            url: notice.url.clone(),
            body: notice.body.clone(),
            status: result.as_ref().ok().copied(),
            error: result.as_ref().err().cloned(),
            attempt,
        };
        push_bounded(&mut self.lock().attempts, noted);
        result.ok()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.lock().calls.iter().cloned().collect()
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.lock().attempts.iter().cloned().collect()
    }

    /// The credentials that open this Plaid.
    pub(crate) fn credentials(&self) -> (&str, &str) {
        (&self.options.client_id, &self.options.secret)
    }

    /// How far this world's time is ahead of real time.
    pub(crate) fn ahead(&self) -> SignedDuration {
        self.read(|world| world.ahead)
    }

    fn next_request_id(&self) -> String {
        let mut inner = self.lock();
        inner.requests += 1;
        draw::request_id(inner.world.seed, inner.requests)
    }

    fn note_call(&self, path: &str, request_id: &str, result: Result<(), &PlaidError>) {
        let call = Call {
            at: (self.options.now)(),
            path: path.to_owned(),
            status: result.err().map_or(200, |error| error.status),
            request_id: request_id.to_owned(),
            error_code: result.err().map(|error| error.error_code.clone()),
        };
        push_bounded(&mut self.lock().calls, call);
    }
}

fn push_bounded<T>(log: &mut VecDeque<T>, entry: T) {
    if log.len() == LOG_LIMIT {
        log.pop_front();
    }
    log.push_back(entry);
}

async fn answer(
    State(engine): State<Arc<Engine>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    engine.settle_today();
    if let Some(own) = uri.path().strip_prefix("/_emulator/") {
        return routes::control(&engine, &method, own, uri.query().unwrap_or_default(), &body);
    }
    let request_id = engine.next_request_id();
    let result = routes::plaid(&engine, &method, uri.path(), &headers, &body);
    engine.note_call(uri.path(), &request_id, result.as_ref().map(|_| ()));
    match result {
        Ok(mut value) => {
            value["request_id"] = Value::String(request_id);
            json(StatusCode::OK, &value)
        }
        Err(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
            json(status, &error.body(&request_id))
        }
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).unwrap_or_default();
    (status, [("content-type", "application/json")], body).into_response()
}
