//! The source half from the command line: the Airbyte protocol, with its states, and the Singer tap.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::{Bank, CLIENT_ID, SECRET};

use crate::process::{output_of, run};

struct Setting {
    folder: tempfile::TempDir,
    bank: Bank,
    token: String,
}

impl Setting {
    async fn make() -> Self {
        let bank = Bank::open(2).await;
        let token = bank.link("user_good", None).await.access_token;
        Self { folder: tempfile::tempdir().unwrap(), bank, token }
    }

    fn config(&self, change: impl FnOnce(&mut Value)) -> PathBuf {
        let mut config = json!({
            "client_id": CLIENT_ID, "api_key": SECRET, "plaid_env": "sandbox",
            "access_token": self.token, "base_url": self.bank.url(),
        });
        change(&mut config);
        self.file("config.json", &config.to_string())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

fn messages(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

fn check(config: &Path) -> Value {
    let text = output_of(&["source", "check", "--config", config.to_str().unwrap()]);
    let [message] = &messages(&text)[..] else { panic!("exactly one message: {text}") };
    message["connectionStatus"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_the_field_that_is_wrong() {
    let setting = Setting::make().await;
    assert_eq!(check(&setting.config(|_| {}))["status"], "SUCCEEDED");
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 7] = [
        (|config| config["api_key"] = json!("wrong"), "Client ID and API key"),
        (|config| config["client_id"] = json!("wrong"), "INVALID_API_KEYS"),
        (|config| config["access_token"] = json!("access-sandbox-wrong"), "Access token"),
        (|config| config["access_token"] = json!("access-production-1"), "production"),
        (|config| config["plaid_env"] = json!("staging"), "plaid_env must be"),
        (|config| config["base_url"] = json!("http://127.0.0.1:1"), "Base URL"),
        (|config| config["api_key"] = json!(["canary"]), "wrong kind"),
    ];
    for (change, expected) in cases {
        let status = check(&setting.config(change));
        let message = status["message"].as_str().unwrap_or_default();
        assert_eq!(status["status"], "FAILED");
        assert!(message.contains(expected) && !message.contains("canary"), "{expected}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_speaks_the_protocol_and_keeps_every_digit() {
    let setting = Setting::make().await;
    let config = setting.config(|config| config["start_date"] = json!("2026-01-01"));
    let config = config.to_str().unwrap();
    let discovered = messages(&output_of(&["source", "discover", "--config", config]));
    let stream = discovered[0]["catalog"]["streams"][0].clone();
    assert_eq!(stream["name"], "balances");
    let configured = json!({ "streams": [{
        "stream": stream, "sync_mode": "incremental", "destination_sync_mode": "overwrite",
    }]});
    let catalog = setting.file("catalog.json", &configured.to_string());
    let arguments = ["source", "read", "--config", config, "--catalog", catalog.to_str().unwrap()];
    let text = output_of(&arguments);
    assert!(text.contains("\"current\":110.00,"), "digits as the bank has them");
    let read = messages(&text);
    let kinds: Vec<&str> = read.iter().map(|message| message["type"].as_str().unwrap()).collect();
    let records = kinds.iter().filter(|kind| **kind == "RECORD").count();
    assert_eq!(records, 12);
    let traces: Vec<&str> =
        read[..3].iter().map(|message| message["trace"]["type"].as_str().unwrap()).collect();
    assert_eq!(traces, ["STREAM_STATUS", "ESTIMATE", "STREAM_STATUS"]);
    assert_eq!(read[1]["trace"]["estimate"]["row_estimate"], 12);
    let [.., state, complete] = &read[..] else { panic!("messages") };
    assert_eq!(state["state"]["sourceStats"]["recordCount"].to_string(), "12.0");
    assert_eq!(complete["trace"]["stream_status"]["status"], "COMPLETE");

    let other = json!({ "streams": [{ "stream": { "name": "nope" } }] });
    let catalog = setting.file("other.json", &other.to_string());
    let output =
        run(&["source", "read", "--config", config, "--catalog", catalog.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("this source has no stream nope"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_date_reaches_the_banks_that_ask_for_one() {
    let setting = Setting::make().await;
    let create = json!({ "institution_id": "ins_136439", "initial_products": ["auth"] });
    let made = setting.bank.call("/sandbox/public_token/create", create).await;
    let exchange = json!({ "public_token": made["public_token"] });
    let linked = setting.bank.call("/item/public_token/exchange", exchange).await;
    let catalog = setting.file("catalog.json", r#"{"streams":[{"stream":{"name":"balances"}}]}"#);
    for (start_date, code) in [(json!(null), 1), (json!("2026-01-01"), 0)] {
        let config = setting.config(|config| {
            config["access_token"] = linked["access_token"].clone();
            config["start_date"] = start_date;
        });
        let (config, catalog) = (config.to_str().unwrap(), catalog.to_str().unwrap());
        let output = run(&["source", "read", "--config", config, "--catalog", catalog]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert_eq!(text.contains("min_last_updated_datetime is required"), code == 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_token_does_not_stop_the_others() {
    let setting = Setting::make().await;
    let config = setting.config(|config| {
        config["access_tokens"] = json!(["access-sandbox-unknown", config["access_token"]]);
    });
    let catalog = setting.file("catalog.json", r#"{"streams":[{"stream":{"name":"balances"}}]}"#);
    let arguments = [
        "source",
        "read",
        "--config",
        config.to_str().unwrap(),
        "--catalog",
        catalog.to_str().unwrap(),
    ];
    let output = run(&arguments);
    let read = messages(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(read.iter().filter(|message| message["type"] == "RECORD").count(), 12);
    let incomplete = |message: &&Value| message["trace"]["stream_status"]["status"] == "INCOMPLETE";
    assert_eq!(read.iter().filter(incomplete).count(), 1);
}

/// The current rows that a reader of messages ends up with, by stream and key; a later word holds.
#[derive(Default)]
struct Table(BTreeMap<(String, String), Value>);

impl Table {
    fn of(&self, stream: &str) -> BTreeMap<&str, &Value> {
        let name = format!("{stream:?}");
        let of = self.0.iter().filter(|((stream, _), _)| *stream == name);
        of.map(|((_, key), value)| (key.as_str(), value)).collect()
    }

    fn take(&mut self, messages: &[Value]) {
        for message in messages.iter().filter(|message| message["type"] == "RECORD") {
            let (stream, data) = (&message["record"]["stream"], &message["record"]["data"]);
            let key =
                ["transaction_id", "account_id", "stream_id", "security_id", "kind", "item_id"];
            let key: Vec<String> = key.iter().map(|name| data[name].to_string()).collect();
            let key = (stream.to_string(), key.join("/"));
            match data["_ab_cdc_deleted_at"].is_null() {
                true => drop(self.0.insert(key, data.clone())),
                false => self.0.retain(|(_, known), _| {
                    !known.starts_with(&data["transaction_id"].to_string())
                }),
            }
        }
    }
}

/// Every stream, as a platform asks for them: incremental whatever they can do.
fn whole_catalog(setting: &Setting, config: &str) -> PathBuf {
    let discovered = messages(&output_of(&["source", "discover", "--config", config]));
    let streams = discovered[0]["catalog"]["streams"].as_array().unwrap();
    assert_eq!(streams.len(), 12);
    let configured: Vec<Value> = streams
        .iter()
        .map(|stream| {
            json!({
                "stream": stream, "sync_mode": "incremental",
                "destination_sync_mode": "append_dedup", "generation_id": 1,
                "minimum_generation_id": 1, "sync_id": 1,
            })
        })
        .collect();
    setting.file("catalog.json", &json!({ "streams": configured }).to_string())
}

/// The states of some messages, in the odd form in which PyAirbyte hands them back.
fn states(messages: &[Value]) -> Value {
    let mut last: BTreeMap<String, Value> = BTreeMap::new();
    for message in messages.iter().filter(|message| message["type"] == "STATE") {
        let state = &message["state"];
        let name = state["stream"]["stream_descriptor"]["name"].to_string();
        last.insert(
            name,
            json!({
                "type": "STREAM", "data": null, "global_": null, "destinationStats": null,
                "stream": {
                    "stream_descriptor": {
                        "name": state["stream"]["stream_descriptor"]["name"], "namespace": null,
                    },
                    "stream_state": state["stream"]["stream_state"],
                },
            }),
        );
    }
    last.into_values().collect()
}

/// What every platform checks of a read: statuses around each stream, counts that add up.
fn assert_protocol(read: &[Value]) {
    let mut counted: BTreeMap<String, i64> = BTreeMap::new();
    let mut status: BTreeMap<String, String> = BTreeMap::new();
    for message in read {
        match message["type"].as_str().unwrap() {
            "RECORD" => {
                let stream = message["record"]["stream"].as_str().unwrap();
                assert_eq!(status[stream], "RUNNING", "{stream}");
                *counted.entry(stream.to_owned()).or_default() += 1;
                assert!(message["record"]["emitted_at"].is_i64());
            }
            "STATE" => {
                let stream = &message["state"]["stream"]["stream_descriptor"]["name"];
                let count = &message["state"]["sourceStats"]["recordCount"];
                assert!(count.to_string().contains('.'), "{count}");
                let seen = counted.remove(stream.as_str().unwrap()).unwrap_or(0);
                assert_eq!(count.as_f64().unwrap() as i64, seen, "{stream}");
            }
            "TRACE" if message["trace"]["type"] == "STREAM_STATUS" => {
                let of = &message["trace"]["stream_status"];
                let stream = of["stream_descriptor"]["name"].as_str().unwrap();
                status.insert(stream.to_owned(), of["status"].as_str().unwrap().to_owned());
            }
            _ => {}
        }
    }
    assert_eq!(counted, BTreeMap::new(), "every record is behind a state");
    assert!(status.values().all(|status| status == "COMPLETE"), "{status:?}");
}

impl Setting {
    /// A source of three Items with all products.
    async fn wide(&self) -> PathBuf {
        let mut tokens = vec![self.token.clone()];
        for user in ["user_good", "user_transactions_dynamic"] {
            tokens.push(self.bank.link(user, None).await.access_token);
        }
        self.config(|config| config["access_tokens"] = json!(tokens))
    }

    fn read(&self, config: &str, catalog: &Path, state: &Value) -> Vec<Value> {
        let state = self.file("state.json", &state.to_string());
        let text = output_of(&[
            "source",
            "read",
            "--config",
            config,
            "--catalog",
            catalog.to_str().unwrap(),
            "--state",
            state.to_str().unwrap(),
        ]);
        assert!(!text.contains(&self.token) && !text.contains(SECRET), "no secret in any message");
        messages(&text)
    }
}

/// A state goes round, changes and removals come once, and a kill at any message costs only what was
/// behind the last state.
#[tokio::test(flavor = "multi_thread")]
async fn reading_goes_on_from_every_state_and_loses_nothing() {
    let setting = Setting::make().await;
    let config = setting.wide().await;
    let config = config.to_str().unwrap();
    let catalog = whole_catalog(&setting, config);
    let whole = setting.read(config, &catalog, &json!([]));
    assert_protocol(&whole);
    let mut expected = Table::default();
    expected.take(&whole);

    // Nothing new: a platform that hands the state back gets no transaction twice.
    let again = setting.read(config, &catalog, &states(&whole));
    assert_protocol(&again);
    let of = |messages: &[Value], stream: &str| {
        messages.iter().filter(|message| message["record"]["stream"] == stream).count()
    };
    assert_eq!(of(&again, "transactions"), 0);
    assert_eq!(of(&again, "accounts"), of(&whole, "accounts"), "full refresh every time");

    // Killed behind each state, and within the records before it.
    let places = whole.iter().enumerate().filter(|(_, message)| message["type"] == "STATE");
    let mut cuts: Vec<usize> = places.flat_map(|(place, _)| [place, place + 1]).collect();
    cuts.extend((0..whole.len()).step_by(whole.len() / 7));
    for cut in cuts {
        let seen = &whole[..cut];
        let rest = setting.read(config, &catalog, &states(seen));
        let mut table = Table::default();
        table.take(seen);
        table.take(&rest);
        assert_eq!(table.of("transactions"), expected.of("transactions"), "killed behind {cut}");
        let keys = |table: &Table| table.0.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&table), keys(&expected), "killed behind message {cut}");
        // Of a stream whose Items were acknowledged, those do not come again.
        let acknowledged: Vec<&str> = seen
            .iter()
            .filter(|message| message["type"] == "STATE")
            .filter_map(|m| m["state"]["stream"]["stream_state"]["items"].as_object())
            .flat_map(|items| items.keys().map(String::as_str))
            .collect();
        let repeated = rest.iter().filter(|message| {
            let data = &message["record"]["data"];
            message["record"]["stream"] == "transactions"
                && acknowledged.contains(&data["item_id"].as_str().unwrap_or_default())
        });
        assert_eq!(repeated.count(), 0, "killed behind message {cut}");
    }

    // Changes, removals, and what is new.
    setting.bank.advance(30).await;
    let later = setting.read(config, &catalog, &states(&whole));
    assert_protocol(&later);
    expected.take(&later);
    let mut fresh = Table::default();
    fresh.take(&setting.read(config, &catalog, &json!([])));
    assert_eq!(expected.of("transactions"), fresh.of("transactions"));
    assert!(of(&later, "transactions") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_lacks_a_product_is_skipped_and_said() {
    let setting = Setting::make().await;
    // This user has one account, and no investments.
    let linked = setting.bank.link("user_transactions_dynamic", None).await;
    let config = setting.config(|config| {
        config["access_tokens"] = json!([config["access_token"].clone()]);
        config["access_token"] = json!(linked.access_token);
    });
    let text = r#"{"streams":[{"stream":{"name":"holdings"}},{"stream":{"name":"transactions"}}]}"#;
    let catalog = setting.file("catalog.json", text);
    let read = setting.read(config.to_str().unwrap(), &catalog, &json!([]));
    let skipped = read.iter().filter(|message| {
        let said = message["log"]["message"].as_str().unwrap_or_default();
        said.contains("holdings") && said.contains(&linked.item_id) && said.contains("skipped")
    });
    let of = |stream: &str| read.iter().filter(|m| m["record"]["stream"] == stream).count();
    assert_eq!(skipped.count(), 1);
    assert!(of("transactions") > 0 && of("holdings") > 0, "the other Item's are there");
    assert_protocol(&read);
}

#[tokio::test(flavor = "multi_thread")]
async fn compat_has_the_names_and_columns_of_the_known_connector() {
    let setting = Setting::make().await;
    let config = setting.config(|config| config["compat"] = json!("airbyte"));
    let config = config.to_str().unwrap();
    let discovered = messages(&output_of(&["source", "discover", "--config", config]));
    let streams = discovered[0]["catalog"]["streams"].as_array().unwrap();
    let names: Vec<&str> = streams.iter().map(|stream| stream["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["balance", "transaction"]);
    let configured: Vec<Value> = streams.iter().map(|stream| json!({ "stream": stream })).collect();
    let catalog = setting.file("c.json", &json!({ "streams": configured }).to_string());
    let read = setting.read(config, &catalog, &json!([]));
    assert_protocol(&read);
    let first = |name: &str| {
        let record = read.iter().find(|message| message["record"]["stream"] == name).unwrap();
        record["record"]["data"].clone()
    };
    let columns =
        |record: Value| -> Vec<String> { record.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(columns(first("balance")).len(), 6);
    let transaction = first("transaction");
    assert!(transaction["personal_finance_category"].is_object());
    assert!(transaction["transaction_type"].is_string());
    assert_eq!(columns(transaction).len(), 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tap_tells_the_same_and_goes_on_from_its_bookmarks() {
    let setting = Setting::make().await;
    let config = setting.wide().await;
    let config = config.to_str().unwrap();
    let catalog: Value =
        serde_json::from_str(&output_of(&["tap", "--config", config, "--discover"])).unwrap();
    assert_eq!(catalog["streams"].as_array().unwrap().len(), 12);
    let first = messages(&output_of(&["tap", "--config", config]));
    let of = |read: &[Value], kind: &str, stream: &str| {
        read.iter().filter(|m| m["type"] == kind && m["stream"] == stream).count()
    };
    assert_eq!(of(&first, "SCHEMA", "transactions"), 1);
    assert!(of(&first, "RECORD", "transactions") > 500);
    let last = first.iter().rfind(|message| message["type"] == "STATE").unwrap();
    let state = setting.file("state.json", &last["value"].to_string());
    let mut chosen = catalog.clone();
    for stream in chosen["streams"].as_array_mut().unwrap() {
        let is_chosen = stream["tap_stream_id"] == "transactions";
        stream["metadata"][0]["metadata"]["selected"] = json!(is_chosen);
    }
    let chosen = setting.file("chosen.json", &chosen.to_string());
    let again = messages(&output_of(&[
        "tap",
        "--config",
        config,
        "--state",
        state.to_str().unwrap(),
        "--catalog",
        chosen.to_str().unwrap(),
    ]));
    assert_eq!(of(&again, "RECORD", "transactions"), 0);
    assert_eq!(of(&again, "SCHEMA", "accounts"), 0, "it was not chosen");
}
