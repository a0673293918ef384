//! The source half from the command line: protocol messages, and balances into files.

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
    assert_eq!(kinds[..2], ["TRACE", "TRACE"]);
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

#[tokio::test(flavor = "multi_thread")]
async fn sync_writes_csv_and_sqlite_whole_or_not_at_all() {
    let setting = Setting::make().await;
    let write = |kind: &str, path: &Path, token: &str| {
        let text = format!(
            "[source]\nclient_id = \"{CLIENT_ID}\"\napi_key = \"{SECRET}\"\nplaid_env = \"sandbox\"\n\
             base_url = \"{}\"\naccess_token = \"{token}\"\n\n[destination]\ntype = \"{kind}\"\n\
             path = \"{}\"\n",
            setting.bank.url(),
            path.display()
        );
        setting.file("sync.toml", &text)
    };
    let folder = setting.folder.path().join("csv");
    let config = write("csv", &folder, &setting.token);
    for _ in 0..2 {
        let text = output_of(&["sync", "--config", config.to_str().unwrap()]);
        assert_eq!(text, "balances  12 rows  full refresh, overwrite\n");
    }
    let csv = fs::read_to_string(folder.join("balances.csv")).unwrap();
    assert_eq!(csv.lines().count(), 13);
    assert!(csv.starts_with("item_id,account_id,name,"));
    assert!(csv.contains("Plaid Checking") && csv.contains(",100.00,110.00,"));

    let database = setting.folder.path().join("out.db");
    let config = write("sqlite", &database, &setting.token);
    output_of(&["sync", "--config", config.to_str().unwrap()]);
    let broken = write("sqlite", &database, "access-sandbox-unknown");
    let output = run(&["sync", "--config", broken.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("Access token") && !errors.contains(SECRET), "{errors}");
    use sqlx::{Connection, Row};
    let url = format!("sqlite://{}", database.display());
    let mut rows = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let row = sqlx::query("SELECT count(*), max(current) FROM balances")
        .fetch_one(&mut rows)
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), 12, "the failed run left the table whole");
}
