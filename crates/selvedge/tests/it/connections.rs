//! Sources and connections of a server: made by API, run on request, by schedule and on every change,
//! paused, verified, reset; and what may not be set up.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Bank, CLIENT_ID, Linked, SECRET, http_client};

use crate::process::{Running, output_in};

struct Scene {
    folder: tempfile::TempDir,
    bank: Bank,
    server: Running,
    key: String,
    http: reqwest::Client,
}

impl Scene {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = output_in(folder.path(), &["keys", "create", "--name", "test"]);
        let made: Value = serde_json::from_str(&made).unwrap();
        let server = Running::serve(folder.path(), &[], None);
        let key = made["key"].as_str().unwrap().to_owned();
        Self { folder, bank: Bank::open(11).await, server, key, http: http_client() }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}{path}", self.server.url));
        let request = request.bearer_auth(&self.key).json(&body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call("POST", path, body).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    fn source_body(&self, token: &str) -> Value {
        json!({
            "name": "Warehouse", "api_key": SECRET, "client_id": CLIENT_ID,
            "environment": "sandbox", "access_token": token, "base_url": self.bank.url(),
        })
    }

    async fn source(&self) -> (String, Linked) {
        let item = self.bank.link("user_good", None).await;
        let made = self.post("/v1/sources", self.source_body(&item.access_token)).await;
        assert_eq!(made["item_id"], item.item_id);
        assert!(!made.to_string().contains(&item.access_token), "no secret is returned");
        (made["id"].as_str().unwrap().to_owned(), item)
    }

    async fn connection(&self, source: &str, settings: Value) -> String {
        let body = json!({
            "integration_id": source, "name": "Out",
            "destination": { "type": "sqlite", "path": "out.db" }, "settings": settings,
        });
        self.post("/v1/connections", body).await["id"].as_str().unwrap().to_owned()
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("exports/out.db")
    }

    /// Asks for a run and waits for its end.
    async fn run(&self, connection: &str, body: Value) -> Value {
        let run = self.post(&format!("/v1/connections/{connection}/runs"), body).await;
        self.ended(run["id"].as_str().unwrap()).await
    }

    async fn ended(&self, run: &str) -> Value {
        self.until("the run to end", async || {
            let run = self.get(&format!("/v1/runs/{run}")).await;
            (!run["ended_at"].is_null()).then_some(run)
        })
        .await
    }

    async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "waited for {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn count(&self, table: &str) -> i64 {
        self.rows(table).await.unwrap()
    }

    /// Rows of a table; the file is there before its tables are.
    async fn rows(&self, table: &str) -> Result<i64, sqlx::Error> {
        use sqlx::{Connection, Row};
        let url = format!("sqlite://{}?mode=ro", self.out().display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await?;
        let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        Ok(sqlx::query(sql).fetch_one(&mut connection).await?.get(0))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_tested_before_it_is_kept_and_names_the_field() {
    let scene = Scene::open().await;
    let item = scene.bank.link("user_good", None).await;
    let good = scene.source_body(&item.access_token);
    let cases = [
        ("api_key", json!("wrong"), 422, "/api_key"),
        ("access_token", json!("access-sandbox-unknown"), 422, "/access_token"),
        ("access_token", json!("access-production-1"), 422, "/access_token"),
        ("environment", json!("staging"), 422, "/environment"),
        ("name", json!(""), 422, "/name"),
        ("base_url", json!("http://127.0.0.1:1"), 422, "/base_url"),
    ];
    for (field, value, status, pointer) in cases {
        let mut body = good.clone();
        body[field] = value;
        let (found, answer) = scene.call("POST", "/v1/sources", body).await;
        assert_eq!(found, status, "{answer}");
        assert!(answer["errors"].to_string().contains(pointer), "{field}: {answer}");
    }
    let (id, _) = scene.source().await;
    let (status, answer) = scene.call("POST", "/v1/sources", good.clone()).await;
    assert_eq!(status, 201, "another Item is another source: {answer}");
    let (status, _) = scene.call("POST", "/v1/sources", good).await;
    assert_eq!(status, 409, "an Item is read through one source");
    let checked = scene.post(&format!("/v1/sources/{id}/check"), json!({})).await;
    assert_eq!(checked["ok"], true, "{checked}");
    let (status, _) = scene.call("DELETE", &format!("/v1/sources/{id}"), Value::Null).await;
    assert_eq!(status, 204);
    assert_eq!(scene.get("/v1/sources").await["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_runs_when_asked_and_keeps_exact_counts() {
    let scene = Scene::open().await;
    let (source, item) = scene.source().await;
    let streams = json!(["balances", "transactions", "holdings", "auth"]);
    let connection = scene.connection(&source, json!({ "streams": streams })).await;
    let check = scene.run(&connection, json!({ "kind": "check" })).await;
    assert_eq!(check["state"], "succeeded", "{check}");
    let first = scene.run(&connection, json!({})).await;
    assert_eq!(first["state"], "succeeded", "{first}");
    for stream in first["streams"].as_array().unwrap() {
        let table = stream["stream"].as_str().unwrap();
        assert_eq!(scene.count(table).await, stream["written"].as_i64().unwrap(), "{table}");
        assert!(stream["bytes"].as_i64().unwrap() > 0);
    }
    let verified = scene.run(&connection, json!({ "kind": "verify" })).await;
    assert_eq!(verified["outcome"], "Source and destination are equal.");
    scene.bank.advance(10).await;
    let second = scene.run(&connection, json!({})).await;
    assert_eq!(second["state"], "succeeded", "{second}");
    let ledger = scene.bank.ledger().await.len();
    assert_eq!(scene.count("transactions").await, i64::try_from(ledger).unwrap());
    let refreshed = scene.run(&connection, json!({ "refresh": ["transactions"] })).await;
    assert_eq!(refreshed["streams"][1]["written"], ledger, "{refreshed}");
    let listed = scene.get(&format!("/v1/connections/{connection}/runs")).await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 5);
    let view = scene.get(&format!("/v1/connections/{connection}")).await;
    assert_eq!(
        (view["tables"].clone(), view["destination"].clone()),
        (json!(4), json!("sqlite out.db"))
    );
    assert!(!view.to_string().contains(&item.access_token));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_change_means_without_being_asked_and_pausing_means_not() {
    let scene = Scene::open().await;
    let (source, item) = scene.source().await;
    let settings = json!({ "streams": ["transactions"], "schedule": { "kind": "on_change" } });
    let connection = scene.connection(&source, settings).await;
    let written = async |expected: i64| {
        scene
            .until("the rows", async || {
                let rows = scene.rows("transactions").await;
                rows.is_ok_and(|rows| rows == expected).then_some(())
            })
            .await;
    };
    let ledger = async || i64::try_from(scene.bank.ledger().await.len()).unwrap();
    written(ledger().await).await;
    let sync = format!("/v1/items/{}/sync", item.item_id);
    scene.bank.advance(10).await;
    scene.post(&sync, json!({})).await;
    written(ledger().await).await;
    scene.post(&format!("/v1/connections/{connection}/pause"), json!({})).await;
    let before = ledger().await;
    scene.bank.advance(20).await;
    scene.post(&sync, json!({})).await;
    let runs = format!("/v1/connections/{connection}/runs");
    let (status, _) = scene.call("POST", &runs, json!({})).await;
    assert_eq!(status, 422, "it is paused");
    assert_eq!(scene.count("transactions").await, before);
    let resumed = scene.post(&format!("/v1/connections/{connection}/resume"), json!({})).await;
    assert_eq!(resumed["paused"], Value::Null);
    written(ledger().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_changed_by_hand_pauses_the_connection_until_somebody_decides() {
    use sqlx::{Connection, Executor};
    let scene = Scene::open().await;
    let (source, _) = scene.source().await;
    let connection = scene.connection(&source, json!({ "streams": ["transactions"] })).await;
    scene.run(&connection, json!({})).await;
    let url = format!("sqlite://{}", scene.out().display());
    let mut by_hand = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let change = "ALTER TABLE transactions RENAME COLUMN id TO other";
    by_hand.execute(change).await.unwrap();
    by_hand.close().await.unwrap();
    let failed = scene.run(&connection, json!({})).await;
    assert_eq!(failed["state"], "failed");
    let said = failed["outcome"].as_str().unwrap();
    assert!(said.contains("table transactions") && said.contains("refresh the stream"), "{said}");
    let paused = scene.get(&format!("/v1/connections/{connection}")).await;
    assert_eq!(paused["paused"].as_str().unwrap(), said);
    let reset = scene.run(&connection, json!({ "kind": "reset" })).await;
    assert_eq!(reset["state"], "succeeded", "{reset}");
    scene.post(&format!("/v1/connections/{connection}/resume"), json!({})).await;
    let again = scene.run(&connection, json!({})).await;
    assert_eq!(again["state"], "succeeded", "{again}");
    let verified = scene.run(&connection, json!({ "kind": "verify" })).await;
    assert_eq!(verified["state"], "succeeded", "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_set_up_is_refused_beside_the_field() {
    let scene = Scene::open().await;
    let (source, _) = scene.source().await;
    let sqlite = json!({ "type": "sqlite", "path": "out.db" });
    let cases = [
        (json!({ "type": "sqlite", "path": "/etc/passwd" }), json!({}), "/destination/path"),
        (json!({ "type": "csv", "path": "../up" }), json!({}), "/destination/path"),
        (
            json!({ "type": "process", "protocol": "singer", "command": ["sh"] }),
            json!({}),
            "/destination/type",
        ),
        (json!({ "type": "http", "url": "http://127.0.0.1/in" }), json!({}), "/destination/url"),
        (json!({ "type": "excel" }), json!({}), "/destination"),
        (sqlite.clone(), json!({ "streams": [] }), "/settings/streams"),
        (sqlite.clone(), json!({ "prefix": "a b" }), "/settings/prefix"),
        (
            sqlite.clone(),
            json!({ "schedule": { "kind": "cron", "expression": "never" } }),
            "/settings/schedule/expression",
        ),
        (sqlite, json!({ "compat": "airbyte", "streams": ["auth"] }), "/settings/streams/0"),
    ];
    for (destination, settings, pointer) in cases {
        let body = json!({
            "integration_id": source, "name": "Out", "destination": destination, "settings": settings,
        });
        let (status, answer) = scene.call("POST", "/v1/connections", body).await;
        assert_eq!(status, 422, "{answer}");
        assert!(answer["errors"].to_string().contains(pointer), "{pointer}: {answer}");
    }
    let nobody = json!({
        "integration_id": "itg_0190a6d5c0de7000800000000000beef", "name": "Out",
        "destination": { "type": "sqlite", "path": "out.db" },
    });
    assert_eq!(scene.call("POST", "/v1/connections", nobody).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_can_be_cancelled_and_a_connection_changed_and_forgotten() {
    let scene = Scene::open().await;
    let (source, _) = scene.source().await;
    let connection = scene.connection(&source, json!({ "streams": ["transactions"] })).await;
    let runs = format!("/v1/connections/{connection}/runs");
    let run = scene.post(&runs, json!({})).await;
    let id = run["id"].as_str().unwrap();
    scene.post(&format!("/v1/runs/{id}/cancel"), json!({})).await;
    let ended = scene.ended(id).await;
    assert!(matches!(ended["state"].as_str(), Some("cancelled" | "succeeded")), "{ended}");
    let after = scene.run(&connection, json!({})).await;
    assert_eq!(after["state"], "succeeded", "{after}");
    // Another choice of columns builds the table anew.
    let settings = json!({
        "streams": [{ "stream": "transactions", "mode": "incremental_deduplicated",
            "hash": ["name"], "drop": [] }],
    });
    let path = format!("/v1/connections/{connection}");
    let (status, changed) = scene.call("PATCH", &path, json!({ "settings": settings })).await;
    assert_eq!((status, &changed["name"]), (200, &json!("Out")), "{changed}");
    let again = scene.run(&connection, json!({})).await;
    let rows = scene.count("transactions").await;
    assert_eq!(again["streams"][0]["written"], rows, "{again}");
    assert_eq!(scene.call("DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(scene.call("GET", &path, Value::Null).await.0, 404);
    assert_eq!(scene.count("transactions").await, rows, "what stands there stays");
}
