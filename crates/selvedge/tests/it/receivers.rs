//! Destinations that are told of changes instead of holding tables: JetStream, HTTP, and other people's
//! programs run as children. What they were told, replayed, is what the ledger says.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use serde_json::Value;
use trial::{CONNECTION_CRASH_AT_ALL, CRASH_AT};

use crate::process::{root, selvedge};
use crate::sync::{Scene, ledger, sync};

/// The rows that a reader of lines ends up with, by Plaid's id.
#[derive(Default)]
struct Rows {
    by_key: BTreeMap<String, (i64, Value)>,
}

impl Rows {
    fn take(&mut self, line: &Value) {
        let generation = line["generation"].as_i64().unwrap_or(0);
        let id = line["record"]["id"].as_str().unwrap_or_default().to_owned();
        match line["kind"].as_str().unwrap() {
            "upsert" => drop(self.by_key.insert(id, (generation, line["record"].clone()))),
            "delete" => drop(self.by_key.remove(&id)),
            "refresh_done" => self.by_key.retain(|_, (of, _)| *of >= generation),
            _ => {}
        }
    }

    fn facts(&self) -> BTreeMap<String, (String, String)> {
        let facts = |(_, row): &(i64, Value)| {
            let text = |name: &str| row[name].to_string();
            (row["transaction_id"].as_str().unwrap().to_owned(), (text("date"), text("name")))
        };
        self.by_key.values().map(facts).collect()
    }
}

/// Runs a sync again and again, killed at every moment of a load, while the bank goes on.
async fn killed_often(scene: &Scene, config: &str, times: usize) {
    for point in CONNECTION_CRASH_AT_ALL.iter().cycle().take(times) {
        selvedge(&["sync", "--config", config]).env(CRASH_AT, point).output().unwrap();
        scene.bank.advance(1).await;
    }
    let done = sync(config, &[]);
    assert_eq!(done["state"], "succeeded", "{done}");
}

/// A NATS server of its own on a free port.
struct Nats {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Nats {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The server has no way to tell which free port it took.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("nats-server")
            .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("run `make test`, which installs nats-server");
        Self { child, port, _folder: folder }
    }

    async fn connect(&self) -> async_nats::jetstream::Context {
        let url = format!("nats://127.0.0.1:{}", self.port);
        for _ in 0..200 {
            if let Ok(client) = async_nats::connect(&url).await {
                return async_nats::jetstream::new(client);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the NATS server did not start");
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_has_every_change_once_whatever_is_killed() {
    let nats = Nats::start();
    let context = nats.connect().await;
    let scene = Scene::make(&["user_good", "user_transactions_dynamic"]).await;
    let config = scene.config(
        "nats",
        &format!("type = \"nats\"\nurl = \"nats://127.0.0.1:{}\"", nats.port),
        "streams = [\"transactions\"]",
    );
    killed_often(&scene, &config, 8).await;
    let mut stream = context.get_stream("selvedge").await.unwrap();
    let last = stream.info().await.unwrap().state.last_sequence;
    let consumer = stream
        .create_consumer(async_nats::jetstream::consumer::pull::OrderedConfig::default())
        .await
        .unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let (mut rows, mut ids) = (Rows::default(), BTreeMap::<String, u64>::new());
    while let Some(Ok(message)) = messages.next().await {
        let at = message.info().unwrap().stream_sequence;
        let headers = message.headers.clone().unwrap();
        let id = headers.get("Nats-Msg-Id").unwrap().to_string();
        assert_eq!(ids.insert(id, at), None, "no message is there twice");
        if !message.subject.contains("._marks.") {
            rows.take(&serde_json::from_slice(&message.payload).unwrap());
        }
        if at == last {
            break;
        }
    }
    assert_eq!(rows.facts(), ledger(&scene.bank).await);
}

/// What a receiver of posts was told, each batch once by its key.
#[derive(Default)]
struct Received {
    lines: Vec<String>,
    /// How often each key came.
    times: BTreeMap<String, u32>,
}

#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Received>>);

async fn receive(State(inbox): State<Inbox>, headers: HeaderMap, body: String) -> StatusCode {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    assert_eq!(headers["authorization"], "Bearer canary");
    let mut inbox = inbox.0.lock().unwrap();
    let Received { lines, times } = &mut *inbox;
    let times = times.entry(key).or_default();
    *times += 1;
    match *times {
        // Answers that are lost, or never given, lead to the same post again.
        1 if lines.len() % 3 == 0 => StatusCode::SERVICE_UNAVAILABLE,
        1 | 2 => {
            lines.extend(body.lines().map(str::to_owned));
            StatusCode::OK
        }
        _ => StatusCode::OK,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_posts_every_batch_until_it_is_taken() {
    let inbox = Inbox::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback(receive).with_state(inbox.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let scene = Scene::make(&["user_good"]).await;
    let config = scene.config(
        "http",
        &format!(
            "type = \"http\"\nurl = \"http://{address}/in?token=canary\"\n\
             headers = {{ authorization = \"Bearer canary\" }}"
        ),
        "streams = [\"transactions\"]",
    );
    killed_often(&scene, &config, 4).await;
    let mut rows = Rows::default();
    for line in &inbox.0.lock().unwrap().lines {
        rows.take(&serde_json::from_str(line).unwrap());
    }
    assert_eq!(rows.facts(), ledger(&scene.bank).await);
    serving.abort();
    let shown = format!("{}", sync(&config, &[]));
    assert!(!shown.contains("canary"), "{shown}");
}

fn python() -> PathBuf {
    root().join(".venv/bin/python")
}

/// A small Airbyte destination that keeps rows in a file, and echoes states only when they are.
#[tokio::test(flavor = "multi_thread")]
async fn an_airbyte_destination_as_a_child_loses_nothing_when_it_is_killed() {
    let scene = Scene::make(&["user_good", "user_transactions_dynamic"]).await;
    let kept = scene.path("kept.json");
    let program = root().join("tests/airbyte_destination.py");
    let config = scene.config(
        "child",
        &format!(
            "type = \"process\"\nprotocol = \"airbyte\"\ncommand = [{:?}, {:?}]\n\
             config = '{{\"path\":{kept:?},\"password\":\"canary\"}}'",
            python().display().to_string(),
            program.display().to_string(),
        ),
        "streams = [\"transactions\"]",
    );
    for number in 0..20 {
        // The child ends without warning after so many lines; most runs die, some do not.
        let mut command = selvedge(&["sync", "--config", &config, "--tries", "1"]);
        command.env("DIE_AFTER_LINES", (number * 37 % 500 + 1).to_string());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("canary"), "{said}");
        scene.bank.advance(1).await;
    }
    let done = sync(&config, &[]);
    assert_eq!(done["state"], "succeeded", "{done}");
    assert_eq!(kept_rows(&kept), ledger(&scene.bank).await);
    let refreshed = sync(&config, &["--refresh"]);
    assert_eq!(refreshed["state"], "succeeded", "{refreshed}");
    assert_eq!(kept_rows(&kept), ledger(&scene.bank).await, "older generations are gone");
}

fn kept_rows(path: &Path) -> BTreeMap<String, (String, String)> {
    let kept: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let rows = kept["tables"]["transactions"].as_object().unwrap().values();
    let facts = rows.map(|row| {
        let row = &row["data"];
        let id = row["transaction_id"].as_str().unwrap().to_owned();
        (id, (row["date"].to_string(), row["name"].to_string()))
    });
    facts.collect()
}

/// A Singer target from PyPI, as a child: what it acknowledged is not sent again, what it did not is.
#[tokio::test(flavor = "multi_thread")]
async fn a_singer_target_from_pypi_gets_everything() {
    let scene = Scene::make(&["user_good", "user_transactions_dynamic"]).await;
    let folder = scene.path("singer");
    fs::create_dir(&folder).unwrap();
    let config = scene.config(
        "singer",
        &format!(
            "type = \"process\"\nprotocol = \"singer\"\ncommand = [{:?}]\n\
             config = '{{\"destination_path\":{folder:?},\"do_timestamp_file\":false}}'",
            root().join(".venv/singer/bin/target-jsonl").display().to_string(),
        ),
        "streams = [\"transactions\"]",
    );
    for days in [0, 10, 20] {
        scene.bank.advance(days).await;
        let done = sync(&config, &[]);
        assert_eq!(done["state"], "succeeded", "{done}");
    }
    let text = fs::read_to_string(folder.join("transactions.jsonl")).unwrap();
    let mut rows: BTreeMap<String, Value> = BTreeMap::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let id = row["id"].as_str().unwrap().to_owned();
        match row.get("_sdc_deleted_at").is_some_and(|at| !at.is_null()) {
            true => drop(rows.remove(&id)),
            false => drop(rows.insert(id, row)),
        }
    }
    let facts = rows.values().map(|row| {
        let id = row["transaction_id"].as_str().unwrap().to_owned();
        (id, (row["date"].to_string(), row["name"].to_string()))
    });
    assert_eq!(facts.collect::<BTreeMap<_, _>>(), ledger(&scene.bank).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_or_says_no_is_told_of() {
    let scene = Scene::make(&["user_good"]).await;
    let program = root().join("tests/airbyte_destination.py").display().to_string();
    let python = python().display().to_string();
    let cases = [
        (vec!["/nowhere/destination".to_owned()], "{}", "that is there and can be run"),
        (vec![python, program], "{}", "the path is missing"),
    ];
    for (number, (command, own, expected)) in cases.into_iter().enumerate() {
        let destination = format!(
            "type = \"process\"\nprotocol = \"airbyte\"\ncommand = {command:?}\nconfig = '{own}'"
        );
        let config = scene.config(&format!("bad-{number}"), &destination, "");
        let output = selvedge(&["check", "--config", &config]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(expected), "{said}");
    }
}
