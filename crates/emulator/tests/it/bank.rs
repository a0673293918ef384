//! A running emulator and the calls the tests make of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use emulator::{Emulator, Options};
use serde_json::{Value, json};

pub(crate) struct Bank {
    pub(crate) emulator: Emulator,
    pub(crate) http: reqwest::Client,
}

/// Rows of an item by transaction id, as a caller has them after applying every page.
pub(crate) type Rows = BTreeMap<String, Value>;

impl Bank {
    pub(crate) async fn start(seed: u64, data: Option<&Path>) -> Self {
        Self::start_with(|options| {
            options.seed = seed;
            options.data = data.map(Path::to_path_buf);
        })
        .await
    }

    /// A bank that is not as usual in some way.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        Self::start_for(http(), change).await
    }

    /// The same for a caller that has its client already; making one takes a while.
    pub(crate) async fn start_for(
        http: reqwest::Client,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let mut options = Options::new(Arc::new(now), http.clone());
        options.contract_report = std::env::var_os(emulator::CONTRACT_REPORT).map(PathBuf::from);
        change(&mut options);
        Self { emulator: Emulator::start(options).await.unwrap(), http }
    }

    pub(crate) async fn call(&self, path: &str, mut body: Value) -> (u16, Value) {
        body["client_id"] = json!("emulator");
        body["secret"] = json!("sandbox-secret");
        let url = format!("{}{path}", self.emulator.url());
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    pub(crate) async fn ok(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// A linked item of a sandbox user: access token and item id.
    pub(crate) async fn link(&self, username: &str, password: &str) -> (String, String) {
        self.link_for(username, password, 730).await
    }

    /// The same with so many days of history.
    pub(crate) async fn link_for(
        &self,
        username: &str,
        password: &str,
        days: i64,
    ) -> (String, String) {
        let options = json!({
            "override_username": username,
            "override_password": password,
            "transactions": { "days_requested": days },
        });
        let made = json!({
            "institution_id": "ins_109508", "initial_products": ["transactions"], "options": options,
        });
        let made = self.ok("/sandbox/public_token/create", made).await;
        let exchange = json!({ "public_token": made["public_token"] });
        let linked = self.ok("/item/public_token/exchange", exchange).await;
        (text(&linked["access_token"]), text(&linked["item_id"]))
    }

    /// A linked item of the default user whose webhooks go to a URL.
    pub(crate) async fn link_to(&self, webhook: &str) -> (String, String) {
        self.link_at("ins_109508", "user_good", webhook).await
    }

    /// A linked item at an institution.
    pub(crate) async fn link_at(
        &self,
        institution_id: &str,
        username: &str,
        webhook: &str,
    ) -> (String, String) {
        let options = json!({ "override_username": username, "webhook": webhook });
        let made = json!({
            "institution_id": institution_id, "initial_products": ["transactions"],
            "options": options,
        });
        let made = self.ok("/sandbox/public_token/create", made).await;
        let exchange = json!({ "public_token": made["public_token"] });
        let linked = self.ok("/item/public_token/exchange", exchange).await;
        (text(&linked["access_token"]), text(&linked["item_id"]))
    }

    /// Applies everything after the cursor to the rows and gives the resting cursor.
    pub(crate) async fn pull(
        &self,
        token: &str,
        cursor: &str,
        count: u32,
        rows: &mut Rows,
    ) -> String {
        let mut cursor = cursor.to_owned();
        loop {
            let body = json!({ "access_token": token, "cursor": cursor, "count": count });
            let page = self.ok("/transactions/sync", body).await;
            apply(&page, rows);
            cursor = text(&page["next_cursor"]);
            if page["has_more"] == json!(false) {
                return cursor;
            }
        }
    }

    pub(crate) async fn ledger(&self, item_id: &str) -> Vec<Value> {
        let url = format!("{}/_emulator/ledger?item_id={item_id}", self.emulator.url());
        let lines = self.http.get(url).send().await.unwrap().text().await.unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) async fn advance(&self, days: i64) {
        self.control("advance", &json!({ "days": days })).await;
    }

    /// Does something to an Item as its person would.
    pub(crate) async fn act(&self, item_id: &str, action: &str) {
        self.control("act", &json!({ "action": action, "item_id": item_id })).await;
    }

    /// The same, where it may make no sense any more.
    pub(crate) async fn try_act(&self, item_id: &str, action: &str) {
        let url = format!("{}/_emulator/act", self.emulator.url());
        let act = json!({ "action": action, "item_id": item_id });
        let answer = self.http.post(url).json(&act).send().await.unwrap();
        assert!(matches!(answer.status().as_u16(), 200 | 400));
    }

    /// Reads one of the emulator's own paths.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let url = format!("{}/_emulator/{path}", self.emulator.url());
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn fault(&self, fault: &Value) {
        self.control("faults", fault).await;
    }

    pub(crate) async fn control(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}/_emulator/{path}", self.emulator.url());
        let answer = self.http.post(url).json(body).send().await.unwrap();
        let (status, answer) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Asserts that the rows a caller has are exactly the live events of the ledger.
    pub(crate) async fn assert_agrees(&self, item_id: &str, rows: &Rows) {
        let ledger = self.ledger(item_id).await;
        let live: Vec<&Value> = ledger.iter().filter(|event| event["state"] != "removed").collect();
        assert_eq!(live.len(), rows.len(), "as many live events as rows");
        for event in live {
            let row = rows.get(event["transaction_id"].as_str().unwrap()).expect("a row");
            for field in ["account_id", "date", "name", "pending_transaction_id"] {
                assert_eq!(event[field], row[field], "{field} of {event}");
            }
            assert_eq!(event["state"] == "pending", row["pending"] == json!(true));
            let cents: f64 = row["amount"].as_f64().unwrap();
            assert_eq!(event["amount_minor"].as_i64().unwrap(), cents_of(cents), "{event}");
        }
    }
}

/// Applies a page of changes to the rows a caller has.
pub(crate) fn apply(page: &Value, rows: &mut Rows) {
    let changed = [&page["added"], &page["modified"]];
    for row in changed.into_iter().flat_map(|part| part.as_array().unwrap()) {
        rows.insert(text(&row["transaction_id"]), row.clone());
    }
    for row in page["removed"].as_array().unwrap() {
        rows.remove(&text(&row["transaction_id"]));
    }
}

/// Options of an emulator that is to be started by hand.
pub(crate) fn options(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::new(Arc::new(now), http());
    change(&mut options);
    options
}

#[expect(clippy::float_arithmetic, reason = "a second opinion on the ledger's minor units")]
fn cents_of(amount: f64) -> i64 {
    (amount * 100.0).round() as i64
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn today() -> jiff::civil::Date {
    now().to_zoned(jiff::tz::TimeZone::UTC).date()
}

#[expect(clippy::disallowed_methods, reason = "this test world runs on real time")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[expect(clippy::disallowed_methods, reason = "this is where the test's client is made")]
pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}
