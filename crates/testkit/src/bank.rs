//! An emulated bank and what a test asks of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use emulator::{Emulator, Options};
use serde_json::{Value, json};

use crate::surroundings::{http_client, now};

/// The credentials of every test bank.
pub const CLIENT_ID: &str = "emulator";
/// The secret of every test bank.
pub const SECRET: &str = "sandbox-secret";

/// A running emulator.
pub struct Bank {
    emulator: Emulator,
    http: reqwest::Client,
}

/// An Item at the bank.
#[derive(Debug, Clone)]
pub struct Linked {
    /// Plaid's Item id.
    pub item_id: String,
    /// Its token.
    pub access_token: String,
}

impl Bank {
    /// A bank whose history is there at once.
    pub async fn open(seed: u64) -> Self {
        Self::open_with(seed, Duration::ZERO).await
    }

    /// A bank whose history takes a while, in two stages.
    pub async fn open_with(seed: u64, stage_delay: Duration) -> Self {
        let http = http_client();
        let options = Options {
            seed,
            initial_delay: stage_delay,
            history_delay: stage_delay,
            contract_report: std::env::var_os(emulator::CONTRACT_REPORT).map(PathBuf::from),
            ..Options::new(Arc::new(now), http.clone())
        };
        Self { emulator: Emulator::start(options).await.expect("an emulator"), http }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        self.emulator.url()
    }

    /// Calls an endpoint of Plaid's; panics on an error.
    pub async fn call(&self, path: &str, mut body: Value) -> Value {
        body["client_id"] = json!(CLIENT_ID);
        body["secret"] = json!(SECRET);
        let url = format!("{}{path}", self.url());
        let answer = self.http.post(url).json(&body).send().await.expect("an answer");
        let status = answer.status();
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Makes an Item of a sandbox user with transactions.
    pub async fn link(&self, username: &str, webhook: Option<&str>) -> Linked {
        self.link_at("ins_109508", username, &["transactions"], webhook).await
    }

    /// Makes an Item of a sandbox user at an institution, with these products.
    pub async fn link_at(
        &self,
        institution_id: &str,
        username: &str,
        products: &[&str],
        webhook: Option<&str>,
    ) -> Linked {
        let mut options = json!({
            "override_username": username, "transactions": { "days_requested": 730 },
        });
        if let Some(webhook) = webhook {
            options["webhook"] = json!(webhook);
        }
        let create = json!({
            "institution_id": institution_id, "initial_products": products,
            "options": options,
        });
        let made = self.call("/sandbox/public_token/create", create).await;
        let exchange = json!({ "public_token": made["public_token"] });
        let linked = self.call("/item/public_token/exchange", exchange).await;
        let text = |key: &str| linked[key].as_str().expect("text").to_owned();
        Linked { item_id: text("item_id"), access_token: text("access_token") }
    }

    /// Asks the bank for news.
    pub async fn refresh(&self, item: &Linked) {
        self.call("/transactions/refresh", json!({ "access_token": item.access_token })).await;
    }

    /// Steps the bank's time.
    pub async fn advance(&self, days: i64) {
        self.control("advance", &json!({ "days": days })).await;
    }

    /// Does something to an Item, as a person at the bank or at Plaid would.
    pub async fn act(&self, item: &Linked, action: &str, account_id: Option<&str>) {
        let mut act = json!({ "action": action, "item_id": item.item_id });
        if let Some(account_id) = account_id {
            act["account_id"] = json!(account_id);
        }
        self.control("act", &act).await;
    }

    /// Goes through a hosted page of Link as an end user would, to the end.
    pub async fn visit(&self, url: &str, institution_id: &str, username: &str) {
        let step = async |fields: &[(&str, &str)]| {
            let answer = self.http.post(url).form(fields).send().await.expect("an answer");
            answer.text().await.expect("a page")
        };
        self.http.get(url).send().await.expect("the page opens");
        step(&[("step", "pick"), ("institution_id", institution_id)]).await;
        let sign_in = [("step", "sign_in"), ("username", username), ("password", "pass_good")];
        let page = step(&sign_in).await;
        let indices: Vec<&str> = page
            .split("name=\"account\"")
            .skip(1)
            .filter_map(|part| part.split("value=\"").nth(1)?.split('"').next())
            .collect();
        let mut choice = vec![("step", "choose")];
        choice.extend(indices.into_iter().map(|index| ("account", index)));
        step(&choice).await;
    }

    /// Adds a fault.
    pub async fn fault(&self, fault: &Value) {
        self.control("faults", fault).await;
    }

    /// The faults asked for, with how often each struck.
    pub async fn faults(&self) -> Vec<Value> {
        let url = format!("{}/_emulator/faults", self.url());
        let answer = self.http.get(url).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        answer["faults"].as_array().expect("faults").clone()
    }

    async fn control(&self, path: &str, body: &Value) {
        let url = format!("{}/_emulator/{path}", self.url());
        let answer = self.http.post(url).json(body).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
    }

    /// How often each endpoint was called.
    pub async fn calls(&self) -> BTreeMap<String, usize> {
        let url = format!("{}/_emulator/calls", self.url());
        let answer = self.http.get(url).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        let mut counts = BTreeMap::new();
        for call in answer["calls"].as_array().expect("calls") {
            let path = call["path"].as_str().expect("a path");
            *counts.entry(path.to_owned()).or_default() += 1;
        }
        counts
    }

    /// Live transactions of the ledger, by Plaid's id: `[account_id, pending_transaction_id,
    /// pending, amount_minor, currency, date, name]`.
    pub async fn ledger(&self) -> BTreeMap<String, Value> {
        let events = self.live_events().await.into_iter();
        let facts = |event: Value| {
            let facts = json!([
                event["account_id"],
                event["pending_transaction_id"],
                event["state"] == "pending",
                event["amount_minor"],
                event["currency"],
                event["date"],
                event["name"],
            ]);
            (event["transaction_id"].as_str().expect("an id").to_owned(), facts)
        };
        events.map(facts).collect()
    }

    /// What live transactions of the ledger are about, by Plaid's id: what Plaid does not tell.
    pub async fn truth(&self) -> BTreeMap<String, Value> {
        let events = self.live_events().await.into_iter();
        let truth = |mut event: Value| {
            let truth = event["truth"].take();
            (event["transaction_id"].as_str().expect("an id").to_owned(), truth)
        };
        events.map(truth).collect()
    }

    async fn live_events(&self) -> Vec<Value> {
        let url = format!("{}/_emulator/ledger", self.url());
        let lines = self.http.get(url).send().await.expect("an answer").text().await.expect("text");
        let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        events.filter(|event| event["state"] != "removed").collect()
    }

    /// The ledger of an Item with what is still to come, line by line.
    pub(crate) async fn whole_ledger(&self, item: &Linked) -> Vec<Value> {
        let url = format!("{}/_emulator/ledger?item_id={}&future=1", self.url(), item.item_id);
        let lines = self.http.get(url).send().await.expect("an answer").text().await.expect("text");
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Ends it.
    pub async fn close(self) {
        self.emulator.stop().await;
    }
}
