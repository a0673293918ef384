//! Crashes at every named moment, each proven reached: whatever was under way is done again, and
//! nothing is lost, doubled or hidden.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    Bank, Evidence, Linked, Mode, Subscriber, World, cursors_ahead, http_client, open_store,
};
use trial::CRASH_POINTS;

use crate::installation::Processes;
use crate::process::output_in;

/// Rounds at each point in the ordinary run; `SELVEDGE_CRASH_ROUNDS` asks for more.
const ROUNDS: usize = 1;
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a folder that is started again and again, and a bank that lives on.
struct Scene {
    folder: tempfile::TempDir,
    bank: Bank,
    subscriber: Subscriber,
    key: String,
    integration: String,
    items: Vec<Linked>,
    http: reqwest::Client,
}

impl Scene {
    async fn open(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = "c2VsdmVkZ2Ugc2VsdmVkZ2Ugc2VsdmVkZ2Ugc2VsdmU=";
        std::fs::write(folder.path().join("master.key"), key).unwrap();
        let made = output_in(folder.path(), &["keys", "create", "--name", "test"]);
        let made: Value = serde_json::from_str(&made).unwrap();
        let mut scene = Self {
            folder,
            bank: Bank::open(seed).await,
            subscriber: Subscriber::start().await,
            key: made["key"].as_str().unwrap().to_owned(),
            integration: String::new(),
            items: Vec::new(),
            http: http_client(),
        };
        let server = scene.start(None);
        let body = json!({
            "name": "Bank", "environment": "sandbox", "client_id": testkit::CLIENT_ID,
            "secret": testkit::SECRET, "base_url": scene.bank.url(),
        });
        let (_, made) = scene.call(&server, "POST", "/v1/integrations", Some(body)).await;
        scene.integration = made["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/integrations/{}/subscriptions", scene.integration);
        let body = json!({ "url": scene.subscriber.url });
        let (status, made) = scene.call(&server, "POST", &path, Some(body)).await;
        assert_eq!(status, 201, "{made}");
        scene.subscriber.trust(made["secret"].as_str().unwrap());
        scene
    }

    fn start(&self, crash_at: Option<&str>) -> Option<Processes> {
        let arguments = ["--poll-seconds", "1", "--private-subscribers"];
        Processes::start(self.folder.path(), &arguments, crash_at)
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join(Processes::LOG)
    }

    /// Status 0 when the server went away before it answered.
    async fn call(
        &self,
        server: &Option<Processes>,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let Some(server) = server else { return (0, Value::Null) };
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", server.url()));
        let request = request.bearer_auth(&self.key);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        match request.send().await {
            Ok(answer) => (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null)),
            Err(_) => (0, Value::Null),
        }
    }

    async fn link(&mut self, server: &Option<Processes>) -> u16 {
        let number = self.items.len();
        let item = self.bank.link("user_transactions_dynamic", None).await;
        let body = json!({
            "item_id": item.item_id, "access_token": item.access_token,
            "end_user_id": format!("user-{number}"),
        });
        let path = format!("/v1/integrations/{}/links", self.integration);
        let (status, _) = self.call(server, "POST", &path, Some(body)).await;
        if status == 0 {
            // The caller does not know and sends it again after the restart.
            let server = self.start(None);
            let body = json!({
                "item_id": item.item_id, "access_token": item.access_token,
                "end_user_id": format!("user-{number}"),
            });
            let (again, told) = self.call(&server, "POST", &path, Some(body)).await;
            assert!(matches!(again, 200 | 201), "{again} {told}");
        }
        self.items.push(item);
        status
    }

    /// Does everything a point can lie on, with the server told to crash there.
    async fn provoke(&mut self, point: &str) {
        let mut server = self.start(Some(point));
        let base = self.items.len();
        if point.starts_with("link.") || point.starts_with("exchange.") || base == 0 {
            self.link(&server).await;
        }
        if point.starts_with("exchange.") {
            let path = format!("/v1/integrations/{}/link_tokens", self.integration);
            let body = json!({ "end_user_id": format!("visitor-{base}") });
            let (_, session) = self.call(&server, "POST", &path, Some(body)).await;
            if let Some(url) = session["hosted_link_url"].as_str() {
                self.bank.visit(url, "ins_109509", "user_transactions_dynamic").await;
            }
        }
        for item in self.items.clone() {
            if let Some(running) = &server {
                let webhook = format!("{}/webhooks/plaid/{}", running.url(), self.integration);
                let body = json!({ "access_token": item.access_token, "webhook": webhook });
                self.bank.call("/item/webhook/update", body).await;
            }
            self.bank.refresh(&item).await;
            let path = format!("/v1/items/{}/sync", item.item_id);
            self.call(&server, "POST", &path, None).await;
        }
        if point == "removal.confirmed" {
            let item = self.items.remove(0);
            let path = format!("/v1/items/{}?data=erase", item.item_id);
            self.call(&server, "DELETE", &path, None).await;
        }
        let reached = async {
            while !self.crashed_at(point) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "the crash point {point} was not reached");
        if let Some(running) = server.take() {
            running.kill();
        }
    }

    async fn is_removed(&self, server: &Option<Processes>) -> bool {
        let (_, items) = self.call(server, "GET", "/v1/items?status=removed", None).await;
        items["data"].as_array().is_some_and(|items| !items.is_empty())
    }

    /// The ledger of the Items that are still linked.
    async fn ledger(&self) -> BTreeMap<String, Value> {
        if self.items.is_empty() { BTreeMap::new() } else { self.bank.ledger().await }
    }

    fn crashed_at(&self, point: &str) -> bool {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().any(|line| line == format!("crash point {point}"))
    }

    /// After a restart without trouble everything comes to rest and every promise holds.
    async fn recover(&self, point: &str) {
        let store = open_store(self.folder.path(), false).await;
        let ahead = cursors_ahead(&store, &self.bank).await;
        // Rows of an Item that is not linked yet, or not any more, are nobody's loss.
        let rows = World::stored(&store).await.len();
        let whole = rows > 0 && rows == self.ledger().await.len();
        assert!(ahead.is_none() || !whole, "{point}: {ahead:?}");
        let server = self.start(None);
        let linked = async || {
            let items = self.call(&server, "GET", "/v1/items?limit=1000", None).await.1;
            items["data"].as_array().map_or(0, Vec::len)
        };
        let rest = async {
            while self.items.is_empty() && !self.is_removed(&server).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            while World::stored(&store).await != self.ledger().await
                || store.unprocessed_end_users(None).await.unwrap() > 0
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let rest = tokio::time::timeout(PATIENCE, rest).await;
        assert!(rest.is_ok(), "{point}: store and ledger do not agree; {} items", linked().await);
        // An Item that was removed has left its rows in the bank's own book.
        if !self.items.is_empty() {
            let violations = Evidence::of(&store, &self.bank).violations().await;
            assert!(violations.is_empty(), "{point}: {violations:#?}");
        }
        if let Some(running) = server {
            running.kill();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_named_crash_is_reached_and_survived() {
    let rounds = std::env::var("SELVEDGE_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS);
    let mut reached = 0;
    // A shared database is migrated by a command of its own, which has a test of its own.
    let shared = Mode::chosen() != Mode::Sqlite;
    let points = CRASH_POINTS.iter().filter(|point| !shared || **point != "migration.done");
    let points: Vec<&str> = points.copied().collect();
    for point in &points {
        let mut scene = Scene::open(200 + u64::try_from(reached).unwrap()).await;
        for round in 0..rounds {
            let _cleared = std::fs::remove_file(scene.log());
            scene.provoke(point).await;
            scene.recover(&format!("{point}, round {round}")).await;
            reached += 1;
        }
        scene.bank.close().await;
    }
    println!("{reached} crashes at {} named moments", points.len());
    assert_eq!(reached, rounds * points.len());
}
