//! An installation as processes, in the mode that was chosen: one server on a SQLite file; or on
//! PostgreSQL two servers without workers and four worker processes, with NATS between them on request.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use store::Store;
use tempfile::TempDir;
use testkit::{
    Bank, CLIENT_ID, Chance, Linked, MASTER_KEY, Mode, SECRET, WORKER_PROCESSES, WorkerProcess,
    World, database_url, http_client, open_store, settle,
};
use trial::CRASH_AT;

use crate::process::{Running, output_in, selvedge};

/// How long something may take that must come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Servers and workers.
pub(crate) struct Processes {
    servers: Vec<Running>,
    pub(crate) workers: Vec<WorkerProcess>,
}

impl Processes {
    /// Where they all log, in the folder.
    pub(crate) const LOG: &str = "log";

    /// Starts them; the arguments are for those that have workers. Nothing if one of them ends before it
    /// is ready, as those do that are told to crash.
    pub(crate) fn start(folder: &Path, arguments: &[&str], crash_at: Option<&str>) -> Option<Self> {
        let (log, shared) = (folder.join(Self::LOG), Mode::chosen() != Mode::Sqlite);
        let environment: Vec<(&str, &str)> =
            crash_at.map(|at| (CRASH_AT, at)).into_iter().collect();
        let serve = || {
            let mut command = selvedge(&["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
            let without: &[&str] = &["--no-workers", "--private-subscribers"];
            command.arg(folder).args(if shared { without } else { arguments });
            command.envs(environment.iter().copied());
            settle(&mut command, folder);
            Running::try_start(command, Some(&log))
        };
        let work = |_| WorkerProcess::try_start(folder, arguments, &environment, &log);
        let servers = if shared { vec![serve()?, serve()?] } else { vec![serve()?] };
        let workers = if shared { WORKER_PROCESSES } else { 0 };
        // A worker may meet its moment before it is ready; the others go on.
        Some(Self { servers, workers: (0..workers).filter_map(work).collect() })
    }

    /// The first server.
    pub(crate) fn url(&self) -> &str {
        &self.servers[0].url
    }

    /// Ends all of them without warning.
    pub(crate) fn kill(self) {
        for mut worker in self.workers {
            worker.kill();
        }
        for server in self.servers {
            server.kill();
        }
    }
}

/// Servers, workers, and a key that may do everything.
pub(crate) struct Installation {
    folder: TempDir,
    processes: Processes,
    arguments: Vec<String>,
    pub(crate) key: String,
    store: Store,
    http: reqwest::Client,
}

impl Installation {
    /// Starts its processes; the arguments are for those that have workers.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("master.key"), MASTER_KEY).unwrap();
        let store = open_store(folder.path(), false).await;
        let made = output_in(folder.path(), &["keys", "create", "--name", "test"]);
        let made: Value = serde_json::from_str(&made).unwrap();
        let processes = Processes::start(folder.path(), arguments, None).expect("it starts");
        let key = made["key"].as_str().unwrap().to_owned();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { folder, processes, arguments, key, store, http: http_client() }
    }

    /// The folder that names its database.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id of one of those that work: of a worker, or of the server that is all there is.
    pub(crate) fn one_that_works(&self, chance: &mut Chance) -> u32 {
        let Processes { servers, workers } = &self.processes;
        if workers.is_empty() { servers[0].id() } else { workers[chance.below(workers.len())].id() }
    }

    /// Takes the leases on Items away from who holds them, and says how many; on PostgreSQL, who is just
    /// changing a row of work keeps that one.
    pub(crate) async fn expire_leases(&self) -> u64 {
        use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
        let held = "SELECT kind, subject FROM work WHERE lease_owner IS NOT NULL AND kind = 'sync'";
        let expire =
            |held| format!("UPDATE work SET lease_until = 0 WHERE (kind, subject) IN ({held})");
        let url = database_url(self.folder.path());
        if Mode::chosen() == Mode::Sqlite {
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            let expired = connection.execute(AssertSqlSafe(expire(held.to_owned()))).await;
            expired.unwrap().rows_affected()
        } else {
            let held = format!("{held} FOR UPDATE SKIP LOCKED");
            let whole = "SET selvedge.integration = '*'";
            let mut connection = PgConnection::connect(&url).await.unwrap();
            connection.execute(whole).await.unwrap();
            connection.execute(AssertSqlSafe(expire(held))).await.unwrap().rows_affected()
        }
    }

    /// Kills one of those that work, and starts another in its place.
    pub(crate) fn kill_one_that_works(&mut self, chance: &mut Chance) {
        let (folder, workers) = (self.folder.path(), &mut self.processes.workers);
        if workers.is_empty() {
            let servers = std::mem::take(&mut self.processes.servers);
            servers.into_iter().for_each(Running::kill);
            let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
            self.processes = Processes::start(folder, &arguments, None).expect("it starts again");
            return;
        }
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let one = chance.below(workers.len());
        workers[one].kill();
        workers[one] = WorkerProcess::start(folder, &arguments);
    }

    /// What its streams begin with.
    pub(crate) fn prefix(&self) -> String {
        testkit::prefix(self.folder.path())
    }

    /// Its database.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// One of its servers.
    pub(crate) fn url(&self, number: usize) -> &str {
        let servers = &self.processes.servers;
        &servers[number % servers.len()].url
    }

    /// Reads from one of its servers.
    pub(crate) async fn get(&self, server: usize, path: &str) -> Value {
        let request = self.http.get(format!("{}{path}", self.url(server))).bearer_auth(&self.key);
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.http.post(format!("{}{path}", self.url(0))).bearer_auth(&self.key);
        let answer = request.json(body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// An Item of its own integration, with webhooks to one of the servers.
    pub(crate) async fn link(&self, bank: &Bank, end_user_id: &str) -> Linked {
        let integration = json!({
            "name": end_user_id, "environment": "sandbox", "client_id": CLIENT_ID,
            "secret": SECRET, "base_url": bank.url(),
        });
        let made = self.post("/v1/integrations", &integration).await;
        let id = made["id"].as_str().unwrap();
        let webhook = format!("{}/webhooks/plaid/{id}", self.url(1));
        let item = bank.link("user_transactions_dynamic", Some(&webhook)).await;
        let link = json!({
            "item_id": item.item_id, "access_token": item.access_token, "end_user_id": end_user_id,
        });
        self.post(&format!("/v1/integrations/{id}/links"), &link).await;
        item
    }

    /// Waits until the store has what the bank has, and all of it is processed.
    pub(crate) async fn agree(&self, bank: &Bank) {
        let agree = async {
            while World::stored(&self.store).await != bank.ledger().await
                || self.store.unprocessed_end_users(None).await.unwrap() > 0
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let agreed = tokio::time::timeout(PATIENCE, agree).await;
        if agreed.is_err() {
            let log = std::fs::read_to_string(self.folder.path().join(Processes::LOG));
            let log = log.unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            let (rows, ledger) = (World::stored(&self.store).await, bank.ledger().await);
            let missing = ledger.keys().filter(|id| !rows.contains_key(*id)).count();
            panic!("store and ledger do not agree, {missing} rows are missing:\n{end}");
        }
    }
}
