//! The world: a bank, a server with its workers, and what a test asks of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use destinations::DestinationError;
use jiff::SignedDuration;
use model::{Currency, Environment, LocalDestinations, Money, Record, Stream};
use pipeline::{Pipeline, Sender, Settings};
use plaid::Connector;
use secrecy::SecretString;
use serde_json::{Value, json};
use store::{
    ChangeFilter, Integration, MasterKey, NewIntegration, Scope, Store, TransactionFilter,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use web::{Web, WebSettings};

use crate::bank::{Bank, CLIENT_ID, Linked, SECRET};
use crate::mode::{Mode, WORKER_PROCESSES, WorkerProcess, open_store};
use crate::oracle::Evidence;
use crate::surroundings::http_client;

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Work under way may take so long when the world ends.
const DRAIN: Duration = Duration::from_secs(5);

/// The master key of every test database, as its file has it.
pub const MASTER_KEY: &str = "c2VsdmVkZ2Ugc2VsdmVkZ2Ugc2VsdmVkZ2Ugc2VsdmU=";

/// The master key of every test database.
pub fn master_key() -> MasterKey {
    MasterKey::parse(MASTER_KEY).expect("a key")
}

/// A bank, a server and a database.
pub struct World {
    /// The bank.
    pub bank: Bank,
    /// The database.
    pub store: Store,
    /// The server's address.
    pub url: String,
    /// A key that may do everything.
    pub key: String,
    /// The integration with the bank.
    pub integration: Integration,
    /// Calls the server.
    pub http: reqwest::Client,
    pipeline: Pipeline,
    /// Processes that do the work, where this one does not.
    pub workers: Vec<WorkerProcess>,
    serving: JoinHandle<()>,
    folder: TempDir,
}

impl World {
    /// A world whose bank has its history at once.
    pub async fn start(seed: u64) -> Self {
        Self::with_bank(Bank::open(seed).await).await
    }

    /// A world with this bank.
    pub async fn with_bank(bank: Bank) -> Self {
        let base_url = bank.url();
        Self::with(bank, &base_url).await
    }

    /// A world whose integration calls another Plaid than the bank.
    pub async fn with(bank: Bank, base_url: &str) -> Self {
        Self::reading(bank, base_url, &Stream::USUAL).await
    }

    /// A world whose integration reads these streams.
    pub async fn reading(bank: Bank, base_url: &str, streams: &[Stream]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open_store(folder.path(), true).await;
        let new = NewIntegration {
            name: "Test bank".to_owned(),
            environment: Environment::Sandbox,
            base_url: base_url.parse().expect("a base URL"),
            client_id: CLIENT_ID.to_owned(),
            secret: SecretString::from(SECRET),
            streams: streams.to_vec(),
            is_source: false,
            start_date: None,
        };
        let integration = store.create_integration(new).await.expect("an integration");
        let scopes = [Scope::Read, Scope::Write];
        let (_, key) = store.create_api_key("test", &scopes).await.expect("a key");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let connector = Connector::new(http_client());
        let settings = WebSettings {
            public_url: url.clone(),
            private_addresses: true,
            local_destinations: LocalDestinations::all(),
        };
        let web = Web::open(store.clone(), connector.clone(), settings).await.expect("the web");
        // Timers stay out of the way unless a test wants them: webhooks and people poke.
        let settings = Settings {
            poll_every: SignedDuration::from_hours(1),
            sender: Sender::new(http_client(), true),
            open: Arc::new(|settings| {
                let (place, said) = (settings.to_string(), "this world has no destinations");
                Err(DestinationError::settings(place, said, "Start the program instead"))
            }),
            watch: None,
            most_tries: 1,
            drain: DRAIN,
            dispatch: None,
            log: None,
        };
        let (pipeline, workers) = match Mode::chosen().has_worker_processes() {
            false => {
                let pipeline = Pipeline::start(store.clone(), connector, settings).await;
                (pipeline.expect("workers"), Vec::new())
            }
            true => {
                let workers = (0..WORKER_PROCESSES)
                    .map(|_| WorkerProcess::start(folder.path(), &["--private-subscribers"]));
                let workers = workers.collect();
                (Pipeline::without_workers(store.clone(), &connector, &settings), workers)
            }
        };
        let serving = tokio::spawn(async move {
            axum::serve(listener, web::router(web)).await.expect("a server");
        });
        let key = (*key).clone();
        let http = http_client();
        Self { bank, store, url, key, integration, http, pipeline, workers, serving, folder }
    }

    /// Where Plaid sends webhooks.
    pub fn webhook_url(&self) -> String {
        format!("{}/webhooks/plaid/{}", self.url, self.integration.id)
    }

    /// The folder with the database.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Calls the API with the key.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("{}{path}", self.url));
        let request = request.bearer_auth(&self.key);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("text");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Links an Item through the API; panics unless it is new.
    pub async fn link(&self, end_user_id: &str, item: &Linked) -> Value {
        let body = json!({
            "item_id": item.item_id, "access_token": item.access_token,
            "end_user_id": end_user_id,
        });
        let path = format!("/v1/integrations/{}/links", self.integration.id);
        let (status, answer) = self.call("POST", &path, Some(body)).await;
        assert_eq!(status, 201, "{answer}");
        answer
    }

    /// Makes an Item of a sandbox user at the bank, with our webhook, and links it.
    pub async fn customer(&self, end_user_id: &str, username: &str) -> Linked {
        let item = self.bank.link(username, Some(&self.webhook_url())).await;
        self.link(end_user_id, &item).await;
        item
    }

    /// Waits until a condition holds, looking whenever the feed moves.
    pub async fn until<F: AsyncFn() -> bool>(&self, what: &str, holds: F) {
        let mut head = self.store.news().head();
        let wait = async {
            while !holds().await {
                // The feed does not move for everything, so a glance now and then must do.
                let _moved = tokio::time::timeout(Duration::from_millis(50), head.changed()).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited for {what}"));
    }

    /// Waits until the store holds exactly what the bank's ledger says.
    pub async fn agree(&self) {
        self.until("store and ledger to agree", async || {
            stored(&self.store).await == self.bank.ledger().await
                && self.store.unprocessed_end_users(None).await.expect("a store") == 0
        })
        .await;
    }

    /// Waits until all is quiet, then lets the oracle judge; panics if a promise is broken.
    pub async fn assert_sound(&self) {
        self.agree().await;
        let violations = Evidence::of(&self.store, &self.bank).violations().await;
        assert!(violations.is_empty(), "{violations:#?}");
    }

    /// The state that replaying the feed from zero gives.
    pub async fn replayed(&self) -> BTreeMap<String, Value> {
        while self.store.number_changes().await.expect("numbers") > 0 {}
        replay(&self.store).await
    }

    /// Ends it.
    pub async fn stop(self) {
        self.serving.abort();
        self.pipeline.stop().await;
        self.bank.close().await;
    }
}

/// What the store holds, in the ledger's form.
pub(crate) async fn stored(store: &Store) -> BTreeMap<String, Value> {
    let filter = TransactionFilter::default();
    let rows = store.transactions(&filter, None, i64::MAX).await.expect("rows");
    rows.iter().map(|row| (row.transaction_id.clone(), facts(row))).collect()
}

/// What the feed says, replayed from zero, in the ledger's form. Panics on a hole or a repeat.
pub(crate) async fn replay(store: &Store) -> BTreeMap<String, Value> {
    let filter = ChangeFilter::default();
    let changes = store.changes(0, &filter, i64::MAX).await.expect("changes");
    let mut by_id = BTreeMap::new();
    for (index, change) in changes.iter().enumerate() {
        let place = i64::try_from(index).expect("small") + 1;
        assert_eq!(change.seq, place, "the feed starts at 1 and has no hole");
        match &change.record {
            Record::Transaction(row) => {
                by_id.insert(row.id.clone(), (row.transaction_id.clone(), facts(row)));
            }
            Record::Tombstone(gone) => {
                gone.id.as_ref().and_then(|id| by_id.remove(id));
            }
            Record::Account(_) | Record::Balance(_) | Record::Other(_) => {}
        }
    }
    by_id.into_values().collect()
}

pub(crate) fn facts(row: &model::Transaction) -> Value {
    let (amount, _) = Money::parse(&row.amount, Currency::iso(&row.currency)).expect("an amount");
    json!([
        row.account_id,
        row.pending_transaction_id,
        row.pending,
        amount.minor(),
        row.currency,
        row.date.to_string(),
        row.name,
    ])
}

impl World {
    /// What a store holds, in the ledger's form.
    pub async fn stored(store: &Store) -> BTreeMap<String, Value> {
        stored(store).await
    }

    /// What a store's feed says, replayed from zero, in the ledger's form.
    pub async fn replay(store: &Store) -> BTreeMap<String, Value> {
        replay(store).await
    }
}
