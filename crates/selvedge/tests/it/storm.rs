//! Webhooks in storms: a burst of thousands in one second with a kill in its midst, replays, doubles,
//! disorder and loss, floods of invented keys. Nothing is lost, nothing has its effect twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Row;
use testkit::{
    Bank, Chance, Evidence, KeyServer, Linked, World, http_client, now, open_store, send_signal,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::process::{Running, output_of, selvedge};

/// Webhooks of the burst in the ordinary run; `SELVEDGE_BURST` asks for the full 10,000.
const BURST: usize = 1_000;
/// Connections they come over.
const CONNECTIONS: usize = 100;
const ITEMS: usize = 20;

fn sized(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A server as a process, before it a Plaid that signs, behind that a bank.
struct Storm {
    folder: tempfile::TempDir,
    keys: KeyServer,
    bank: Bank,
    server: Running,
    integration: String,
    items: Vec<Linked>,
    key: String,
}

/// One webhook on its way.
struct Sent {
    hash: String,
    answered: Option<u16>,
    took: Duration,
}

impl Storm {
    async fn open(seed: u64, poll_seconds: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = "c2VsdmVkZ2Ugc2VsdmVkZ2Ugc2VsdmVkZ2Ugc2VsdmU=";
        std::fs::write(folder.path().join("master.key"), key).unwrap();
        let path = folder.path().to_str().unwrap();
        let made = output_of(&["keys", "--data-dir", path, "create", "--name", "test"]);
        let made: Value = serde_json::from_str(&made).unwrap();
        let key = made["key"].as_str().unwrap().to_owned();
        let (keys, bank) = (KeyServer::start().await, Bank::open(seed).await);
        keys.stand_before(&bank.url());
        let server = Self::serve(&folder, poll_seconds);
        let http = http_client();
        let post = async |path: String, body: Value| -> Value {
            let request = http.post(format!("{}{path}", server.url)).bearer_auth(&key);
            let answer = request.json(&body).send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.status());
            answer.json().await.unwrap()
        };
        let made = post(
            "/v1/integrations".to_owned(),
            json!({
                "name": "Bank", "environment": "sandbox", "client_id": testkit::CLIENT_ID,
                "secret": testkit::SECRET, "base_url": keys.url,
            }),
        )
        .await;
        let integration = made["id"].as_str().unwrap().to_owned();
        let mut items = Vec::new();
        for number in 0..ITEMS {
            let item = bank.link("user_good", None).await;
            let link = json!({
                "item_id": item.item_id, "access_token": item.access_token,
                "end_user_id": format!("user-{number}"),
            });
            post(format!("/v1/integrations/{integration}/links"), link).await;
            items.push(item);
        }
        let storm = Self { folder, keys, bank, server, integration, items, key };
        storm.rest().await;
        storm
    }

    fn serve(folder: &tempfile::TempDir, poll_seconds: &str) -> Running {
        let mut command = selvedge(&["serve", "--listen", "127.0.0.1:0", "--poll-seconds"]);
        command.arg(poll_seconds).arg("--data-dir").arg(folder.path());
        Running::start(command, None)
    }

    /// Waits until the store has what the bank has.
    async fn rest(&self) {
        let store = open_store(self.folder.path(), false).await;
        let agree = async {
            while World::stored(&store).await != self.bank.ledger().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), agree).await.expect("store and ledger agree");
    }

    /// A genuine webhook about an Item, unlike any other, as a whole HTTP request.
    fn webhook(&self, item_id: &str, number: usize) -> (String, Vec<u8>) {
        let body = json!({
            "webhook_type": "TRANSACTIONS", "webhook_code": "SYNC_UPDATES_AVAILABLE",
            "item_id": item_id, "environment": "sandbox", "number": number,
        });
        let body = format!("{body:#}").into_bytes();
        let token = self.keys.token(self.keys.live(), &body, now().as_second());
        let host = self.server.url.trim_start_matches("http://");
        let mut request = format!(
            "POST /webhooks/plaid/{} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             plaid-verification: {token}\r\ncontent-length: {}\r\n\r\n",
            self.integration,
            body.len()
        )
        .into_bytes();
        request.extend(&body);
        (KeyServer::hash(&body), request)
    }

    /// Sends each request at its moment within one second; how long each took counts from that
    /// moment, whether or not the line was free.
    async fn send(&self, requests: Vec<(String, Vec<u8>)>) -> Vec<Sent> {
        let address: Arc<str> = self.server.url.trim_start_matches("http://").into();
        let gap = Duration::from_secs(1) / u32::try_from(requests.len()).unwrap();
        let mut lines: Vec<Vec<(Duration, String, Vec<u8>)>> = Vec::new();
        lines.resize_with(CONNECTIONS.min(requests.len()), Vec::new);
        let count = lines.len();
        for (number, (hash, request)) in requests.into_iter().enumerate() {
            lines[number % count].push((gap * u32::try_from(number).unwrap(), hash, request));
        }
        let mut streams = Vec::new();
        for line in lines {
            streams.push((TcpStream::connect(&*address).await.unwrap(), line));
        }
        let begin = Instant::now() + Duration::from_millis(50);
        let tasks: Vec<_> = streams
            .into_iter()
            .map(|(stream, line)| tokio::spawn(send_line(stream, line, begin)))
            .collect();
        let mut sent = Vec::new();
        for task in tasks {
            sent.extend(task.await.unwrap());
        }
        sent
    }

    /// What is recorded, by body hash.
    async fn recorded(&self) -> BTreeMap<String, i64> {
        let rows =
            self.query("SELECT body_hash, COUNT(*) AS n FROM webhook_events GROUP BY body_hash");
        rows.await.iter().map(|row| (row.get("body_hash"), row.get("n"))).collect()
    }

    /// Waits until no sync is wanted or under way.
    async fn quiet(&self) {
        let busy = "SELECT subject FROM work WHERE kind = 'sync' \
            AND (lease_owner IS NOT NULL OR wanted_seq > done_seq)";
        let quiet = async {
            while !self.query(busy).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), quiet).await.expect("all is quiet");
    }

    async fn syncs_of(&self, item_id: &str) -> usize {
        let sql = "SELECT s.id FROM syncs s JOIN items i ON i.id = s.item WHERE i.item_id = ";
        self.query(&format!("{sql}'{item_id}'")).await.len()
    }

    async fn query(&self, sql: &str) -> Vec<sqlx::sqlite::SqliteRow> {
        let path = self.folder.path().join("selvedge.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let pool = sqlx::SqlitePool::connect_with(options.read_only(true)).await.unwrap();
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&pool).await.unwrap();
        pool.close().await;
        rows
    }

    async fn assert_sound(&self) {
        self.rest().await;
        let store = open_store(self.folder.path(), false).await;
        let violations = Evidence::of(&store, &self.bank).violations().await;
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

async fn send_line(
    mut stream: TcpStream,
    line: Vec<(Duration, String, Vec<u8>)>,
    begin: Instant,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    for (at, hash, request) in line {
        tokio::time::sleep_until(begin + at).await;
        let written = stream.write_all(&request).await.is_ok();
        let answered = if written { status(&mut stream).await } else { None };
        sent.push(Sent { hash, answered, took: Instant::now() - (begin + at) });
    }
    sent
}

/// The status of an answer, read to the end of its body.
async fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut seen = Vec::new();
    loop {
        let mut buffer = [0; 2_048];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        seen.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&seen).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1)?.split("\r\n").next()?;
        if body.len() >= length.trim().parse().ok()? {
            return head.split(' ').nth(1)?.parse().ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_answered_in_time_and_survives_a_kill() {
    let count = sized("SELVEDGE_BURST", BURST);
    let mut storm = Storm::open(301, "3600").await;
    let requests = |storm: &Storm, from: usize| -> Vec<(String, Vec<u8>)> {
        let item = |number: usize| &storm.items[number % storm.items.len()].item_id;
        (from..from + count).map(|number| storm.webhook(item(number), number)).collect()
    };
    // The key is fetched before the burst, as it is at any server that runs.
    let first = storm.webhook(&storm.items[0].item_id, usize::MAX);
    assert_eq!(storm.send(vec![first]).await[0].answered, Some(200));
    let sent = storm.send(requests(&storm, 0)).await;
    let mut took: Vec<Duration> = sent.iter().map(|sent| sent.took).collect();
    took.sort();
    let (p50, p99, most) = (took[count / 2], took[count * 99 / 100], took[count - 1]);
    println!("{count} webhooks in one second: p50 {p50:?}, p99 {p99:?}, longest {most:?}");
    assert!(sent.iter().all(|sent| sent.answered == Some(200)), "all were answered with 200");
    let recorded = storm.recorded().await;
    assert!(sent.iter().all(|sent| recorded.get(&sent.hash) == Some(&1)), "each recorded once");
    if count >= 10_000 {
        assert!(
            most <= Duration::from_secs(5) && p99 <= Duration::from_secs(2),
            "{p99:?} {most:?}"
        );
    }

    let requests = requests(&storm, count);
    let process = storm.server.id();
    let killer = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        send_signal(process, "KILL");
    });
    let sent = storm.send(requests).await;
    killer.await.unwrap();
    let acknowledged: Vec<&Sent> = sent.iter().filter(|s| s.answered == Some(200)).collect();
    let recorded = storm.recorded().await;
    let lost = acknowledged.iter().filter(|sent| !recorded.contains_key(&sent.hash)).count();
    println!("killed in the midst: {} were acknowledged, {lost} of them lost", acknowledged.len());
    assert!(!acknowledged.is_empty() && acknowledged.len() < count, "the kill came in the midst");
    assert_eq!(lost, 0);
    let queued =
        storm.query("SELECT subject, COUNT(*) AS n FROM work WHERE kind = 'sync' GROUP BY subject");
    assert!(queued.await.iter().all(|row| row.get::<i64, _>("n") == 1), "one queued sync per Item");
    storm.server = Storm::serve(&storm.folder, "3600");
    for item in &storm.items {
        storm.bank.refresh(item).await;
        let webhook = vec![storm.webhook(&item.item_id, 0)];
        assert_eq!(storm.send(webhook).await[0].answered, Some(200));
    }
    storm.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_webhook_has_one_effect_however_often_it_is_replayed() {
    let count = sized("SELVEDGE_REPLAYS", 500);
    let storm = Storm::open(302, "3600").await;
    let item = &storm.items[0];
    let webhook = storm.webhook(&item.item_id, 1);
    // A replay in the second it was issued may stand for another event of that second.
    let issued = now().as_second();
    assert_eq!(storm.send(vec![webhook.clone()]).await[0].answered, Some(200));
    while now().as_second() <= issued + 1 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(storm.send(vec![webhook.clone()]).await[0].answered, Some(200));
    storm.quiet().await;
    let before = storm.syncs_of(&item.item_id).await;
    let sent = storm.send(vec![webhook.clone(); count]).await;
    assert!(sent.iter().all(|sent| sent.answered == Some(200)));
    storm.quiet().await;
    assert_eq!(storm.syncs_of(&item.item_id).await, before, "{count} replays, no effect");
    assert_eq!(storm.recorded().await.get(&webhook.0), Some(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn doubles_disorder_loss_and_strangers_change_nothing() {
    let rounds = sized("SELVEDGE_STORM_ROUNDS", 3);
    let storm = Storm::open(303, "2").await;
    let mut chance = Chance::new(303);
    let mut sent = 0;
    for round in 0..rounds {
        let mut batch = Vec::new();
        for (number, item) in storm.items.iter().enumerate() {
            storm.bank.refresh(item).await;
            // Three in ten never come; the timer must find what they would have told of.
            if chance.percent(30) {
                continue;
            }
            let webhook = storm.webhook(&item.item_id, round * 1_000 + number);
            batch.extend(std::iter::repeat_n(webhook, 5));
        }
        for stranger in 0..10 {
            batch.push(storm.webhook(&format!("nobody-{stranger}"), round));
        }
        for place in (1..batch.len()).rev() {
            batch.swap(place, chance.below(place + 1));
        }
        sent += batch.len();
        let answers = storm.send(batch).await;
        assert!(answers.iter().all(|sent| sent.answered == Some(200)));
        storm.rest().await;
    }
    println!("{sent} webhooks: doubled, disordered, a third lost, some of strangers");
    storm.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_copies_of_every_webhook_cost_hardly_more_calls_than_one() {
    let calls = async |copies: usize| {
        let storm = Storm::open(305, "3600").await;
        for round in 0..3 {
            let mut batch = Vec::new();
            for (number, item) in storm.items.iter().enumerate() {
                storm.bank.refresh(item).await;
                let webhook = storm.webhook(&item.item_id, round * 1_000 + number);
                batch.extend(std::iter::repeat_n(webhook, copies));
            }
            let answers = storm.send(batch).await;
            assert!(answers.iter().all(|sent| sent.answered == Some(200)));
            storm.rest().await;
        }
        let made: usize = storm.bank.calls().await.values().sum();
        (storm, made)
    };
    let (_, usual) = calls(1).await;
    let (storm, made) = calls(5).await;
    println!("{made} calls to Plaid with five copies of every webhook, {usual} with one");
    let store = open_store(storm.folder.path(), false).await;
    let evidence = Evidence { calls: Some((made, usual)), ..Evidence::of(&store, &storm.bank) };
    let violations = evidence.violations().await;
    assert!(violations.is_empty(), "{violations:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_webhook_does_not_touch_an_item() {
    let storm = Storm::open(304, "3600").await;
    let http = http_client();
    let request = http.post(format!("{}/v1/integrations", storm.server.url));
    let body = json!({
        "name": "Other", "environment": "sandbox", "client_id": testkit::CLIENT_ID,
        "secret": testkit::SECRET, "base_url": storm.keys.url,
    });
    let made = request.bearer_auth(&storm.key).json(&body).send().await.unwrap();
    let made: Value = made.json().await.unwrap();
    let other = made["id"].as_str().unwrap();
    let item = &storm.items[0];
    let body = json!({
        "webhook_type": "ITEM", "webhook_code": "USER_PERMISSION_REVOKED", "item_id": item.item_id,
    });
    let body = body.to_string().into_bytes();
    let token = storm.keys.token(storm.keys.live(), &body, now().as_second());
    let url = format!("{}/webhooks/plaid/{other}", storm.server.url);
    let answer = http.post(url).header("plaid-verification", token).body(body).send().await;
    assert_eq!(answer.unwrap().status(), 200, "it is genuine, and about nobody's Item there");
    let url = format!("{}/v1/items/{}", storm.server.url, item.item_id);
    let item: Value =
        http.get(url).bearer_auth(&storm.key).send().await.unwrap().json().await.unwrap();
    assert_eq!(item["status"], "healthy", "{item}");
}
