//! `selvedge sync` from outside: every mode, what can be set about it, and what goes wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::{Bank, CLIENT_ID, Linked, SECRET};
use trial::{CONNECTION_CRASH_AT_ALL, CRASH_AT};

use crate::conformance::{duckdb_library, files_in};
use crate::process::{output_of, run, selvedge};

pub(crate) struct Scene {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) bank: Bank,
    pub(crate) items: Vec<Linked>,
}

impl Scene {
    pub(crate) async fn make(users: &[&str]) -> Self {
        let bank = Bank::open(7).await;
        let mut items = Vec::new();
        for user in users {
            items.push(bank.link(user, None).await);
        }
        Self { folder: tempfile::tempdir().unwrap(), bank, items }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Settings with this destination and connection, under a name.
    pub(crate) fn config(&self, name: &str, destination: &str, connection: &str) -> String {
        let tokens: Vec<&str> = self.items.iter().map(|item| item.access_token.as_str()).collect();
        let text = format!(
            "[source]\nclient_id = \"{CLIENT_ID}\"\napi_key = \"{SECRET}\"\nplaid_env = \"sandbox\"\n\
             base_url = \"{}\"\naccess_tokens = {tokens:?}\n\n[destination]\n{destination}\n\n\
             [connection]\n{connection}\n",
            self.bank.url(),
        );
        let path = self.path(&format!("{name}.toml"));
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn csv(&self, connection: &str) -> String {
        let path = self.path("out");
        self.config("csv", &format!("type = \"csv\"\npath = {path:?}"), connection)
    }

    fn rows(&self, name: &str) -> Vec<BTreeMap<String, String>> {
        rows_of(&self.path("out").join(name))
    }
}

fn rows_of(path: &Path) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(|row| row.unwrap()).collect()
}

pub(crate) fn sync(config: &str, more: &[&str]) -> Value {
    let mut arguments = vec!["sync", "--config", config, "--json"];
    arguments.extend(more);
    let output = run(&arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{errors}"))
}

fn refused(config: &str) -> String {
    let output = run(&["sync", "--config", config]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!errors.contains(SECRET), "{errors}");
    errors
}

/// What a ledger says of transactions, by Plaid's id: the amount as written.
pub(crate) async fn ledger(bank: &Bank) -> BTreeMap<String, (String, String)> {
    let rows = bank.ledger().await;
    rows.into_iter().map(|(id, facts)| (id, (facts[5].to_string(), facts[6].to_string()))).collect()
}

fn written(rows: &[BTreeMap<String, String>]) -> BTreeMap<String, (String, String)> {
    let facts = |row: &BTreeMap<String, String>| {
        (json!(row["date"]).to_string(), json!(row["name"]).to_string())
    };
    rows.iter().map(|row| (row["transaction_id"].clone(), facts(row))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn balances_are_written_whole_without_a_word_about_the_connection() {
    let scene = Scene::make(&["user_good"]).await;
    let config = scene.csv("");
    for _ in 0..2 {
        let text = output_of(&["sync", "--config", &config]);
        assert!(text.contains("balances") && text.contains("12 written"), "{text}");
    }
    let rows = scene.rows("balances.csv");
    assert_eq!(rows.len(), 12);
    let checking = rows.iter().find(|row| row["name"] == "Plaid Checking").unwrap();
    assert_eq!(
        (checking["available"].as_str(), checking["current"].as_str()),
        ("100.00", "110.00")
    );
    assert_eq!(checking["source"], "real_time", "a source asks the bank");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_is_what_it_says() {
    let scene = Scene::make(&["user_good", "user_transactions_dynamic"]).await;
    let modes = [
        ("overwrite_", "full_refresh_overwrite"),
        ("all_", "full_refresh_append"),
        ("log_", "incremental_append"),
        ("now_", "incremental_deduplicated"),
    ];
    let configs: Vec<String> = modes
        .iter()
        .map(|(prefix, mode)| {
            let path = scene.path("out");
            scene.config(
                prefix,
                &format!("type = \"csv\"\npath = {path:?}"),
                &format!(
                    "prefix = \"{prefix}\"\nstreams = [{{ stream = \"transactions\", mode = \"{mode}\" }}]"
                ),
            )
        })
        .collect();
    let first: Vec<Value> = configs.iter().map(|config| sync(config, &[])).collect();
    let before = ledger(&scene.bank).await.len();
    for (run, (_, mode)) in first.iter().zip(modes) {
        assert_eq!(run["state"], "succeeded", "{run}");
        let written = usize::try_from(run["run"]["streams"][0]["written"].as_u64().unwrap());
        // A log has every change: rows appear, and change once more where they are tied to others.
        match mode {
            "incremental_append" => assert!((before..2 * before).contains(&written.unwrap())),
            _ => assert_eq!(written.unwrap(), before),
        }
    }
    scene.bank.advance(20).await;
    let second: Vec<Value> = configs.iter().map(|config| sync(config, &[])).collect();
    let now = ledger(&scene.bank).await;
    let count = |run: &Value, what: &str| run["run"]["streams"][0][what].as_u64().unwrap();
    for name in ["overwrite_transactions.csv", "now_transactions.csv"] {
        assert_eq!(written(&scene.rows(name)), now, "{name}");
    }
    assert_eq!(count(&second[0], "written"), now.len() as u64);
    assert!(count(&second[3], "written") < 200, "only what changed");
    let numbered = |prefix: &str| -> usize {
        let folder = scene.path("out").join(format!("{prefix}transactions"));
        files_in(&folder).keys().map(|name| rows_of(&folder.join(name)).len()).sum()
    };
    assert_eq!(numbered("all_"), before + now.len(), "all of both times");
    let log = numbered("log_");
    assert_eq!(log as u64, count(&first[2], "written") + count(&second[2], "written"));
    assert!(log > now.len());
    let verified = sync(&configs[3], &["--verify"]);
    let said = verified["run"]["streams"][0]["verified"].as_str().unwrap();
    assert!(said.contains(&format!("{} rows, checksums equal", now.len())), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_hashed_or_left_out_and_old_records_too() {
    let scene = Scene::make(&["user_good"]).await;
    let config = scene.csv(
        "since = \"2025-06-01\"\n[[connection.streams]]\nstream = \"transactions\"\n\
         hash = [\"name\"]\ndrop = [\"merchant_name\", \"category\"]",
    );
    sync(&config, &[]);
    let rows = scene.rows("transactions.csv");
    assert!(!rows.is_empty());
    for row in &rows {
        assert!(!row.contains_key("merchant_name") && !row.contains_key("category"));
        assert!(row["name"].len() == 64 && row["name"].bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(row["date"].as_str() >= "2025-06-01");
    }
    let names: std::collections::BTreeSet<&String> = rows.iter().map(|row| &row["name"]).collect();
    assert!(names.len() > 1 && names.len() < rows.len(), "equal names stay equal");
    // Another choice builds the table anew.
    let config = scene.csv("streams = [\"transactions\"]");
    sync(&config, &[]);
    let rows = scene.rows("transactions.csv");
    assert!(rows[0].contains_key("merchant_name") && rows[0]["name"].len() < 64);
    assert_eq!(written(&rows), ledger(&scene.bank).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_for_each_end_user_and_a_limit_that_says_how_to_narrow() {
    let scene = Scene::make(&["user_good", "user_transactions_dynamic"]).await;
    let config = scene.csv(
        "namespace = \"end_user\"\nprefix = \"p_\"\nstreams = [\"accounts\", \"transactions\"]",
    );
    let run = sync(&config, &[]);
    assert_eq!(run["state"], "succeeded", "{run}");
    assert!(run["run"]["log"].to_string().contains("4 tables: 2 streams for each end user"));
    let files = files_in(&scene.path("out"));
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(files.keys().all(|name| name.contains("/p_")), "{files:?}");
    let mut all = BTreeMap::new();
    for name in files.keys().filter(|name| name.contains("transactions")) {
        all.extend(written(&scene.rows(name)));
    }
    assert_eq!(all, ledger(&scene.bank).await);
    let config = scene.csv(
        "namespace = \"end_user\"\ntable_limit = 3\nstreams = [\"accounts\", \"transactions\"]",
    );
    let said = refused(&config);
    let expected = "the connection has 4 tables, and its limit is 3. Choose fewer streams";
    assert!(said.contains(expected), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_swaps_and_can_be_rolled_back_and_a_reset_begins_anew() {
    let scene = Scene::make(&["user_good"]).await;
    let path = scene.path("out.db");
    let config = scene.config(
        "sqlite",
        &format!("type = \"sqlite\"\npath = {path:?}"),
        "streams = [\"transactions\", \"accounts\"]",
    );
    assert_eq!(sync(&config, &[])["state"], "succeeded");
    assert_eq!(sync(&config, &["--refresh"])["run"]["streams"][1]["written"], 12);
    assert_eq!(sync(&config, &["--roll-back"])["state"], "succeeded");
    assert_eq!(sync(&config, &["--roll-back"])["state"], "failed", "it is brought back once");
    assert_eq!(sync(&config, &[])["run"]["outcome"], "Up to date: nothing was to be written.");
    assert_eq!(sync(&config, &["--verify"])["state"], "succeeded");
    assert_eq!(sync(&config, &["--reset"])["state"], "succeeded");
    assert_eq!(sync(&config, &[])["run"]["streams"][1]["written"], 12);
    assert_eq!(sync(&config, &["--verify"])["state"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_said_with_the_next_step() {
    let scene = Scene::make(&["user_good"]).await;
    let folder = "type = \"csv\"\npath = \"/proc/nothing\"";
    let csv = "type = \"csv\"\npath = \"out\"";
    let cases = [
        (scene.config("a", folder, ""), "/proc/nothing"),
        (scene.config("g", csv, "streams = [\"nothing\"]"), "[connection]"),
        (
            scene.config("h", csv, "streams = [{ stream = \"auth\", hash = [\"nope\"] }]"),
            "auth has no field nope",
        ),
        (
            scene.config("i", csv, "streams = [{ stream = \"auth\", drop = [\"account_id\"] }]"),
            "cannot be left out",
        ),
        (
            scene.config("j", csv, "schedule = { kind = \"cron\", expression = \"never\" }"),
            "cron expression",
        ),
        (scene.config("b", "type = \"excel\"", ""), "[destination]: unknown variant"),
        (scene.config("c", "type = \"csv\"", ""), "[destination]: missing field `path`"),
        (scene.config("d", "type = \"sqlite\"\npath = \"/nothing/out.db\"", ""), "Make the folder"),
        (
            scene.config(
                "e",
                "type = \"postgres\"\nurl = \"postgres://joe:canary@127.0.0.1:1/x\"",
                "",
            ),
            "postgres 127.0.0.1",
        ),
    ];
    for (config, expected) in cases {
        let mut command = selvedge(&["check", "--config", &config]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected) && !said.contains("canary"), "{expected}: {said}");
    }
    let said =
        refused(&scene.config("f", "type = \"csv\"\npath = \"out\"", "").replace(".toml", ""));
    assert!(said.contains("cannot read the settings"), "{said}");
    let wrong = scene.csv("");
    let text = fs::read_to_string(&wrong).unwrap().replace(SECRET, "wrong-canary");
    fs::write(&wrong, text).unwrap();
    let said = refused(&wrong);
    assert!(said.contains("INVALID_API_KEYS") && !said.contains("canary"), "{said}");
    let known = output_of(&["discover", "--config", &scene.csv("")]);
    assert!(known.contains("investment_transactions"), "{known}");
}

/// A process that ends without warning, at every moment of a load: the next one goes on, and what is
/// there is what the ledger says.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_killed_goes_on_where_it_stood() {
    let scene = Scene::make(&["user_good", "user_transactions_dynamic"]).await;
    let path = scene.path("out.db");
    let destinations = [
        format!("type = \"sqlite\"\npath = {path:?}"),
        format!("type = \"jsonl\"\npath = {:?}", scene.path("out")),
    ];
    for (number, destination) in destinations.iter().enumerate() {
        let streams = "streams = [\"transactions\", \"accounts\", \"balances\"]";
        let config = scene.config(&format!("killed-{number}"), destination, streams);
        let mut crashes = 0;
        for point in CONNECTION_CRASH_AT_ALL.iter().cycle().take(12) {
            let mut command = selvedge(&["sync", "--config", &config]);
            let output = command.env(CRASH_AT, point).output().unwrap();
            crashes += usize::from(output.status.code() != Some(0));
            scene.bank.advance(1).await;
        }
        assert!(crashes >= 4, "{crashes} crashes");
        let done = sync(&config, &[]);
        assert_eq!(done["state"], "succeeded", "{done}");
        let verified = sync(&config, &["--verify"]);
        assert_eq!(verified["state"], "succeeded", "{verified}");
    }
}

/// A destination that is away costs time and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stops_is_written_on_when_it_is_back() {
    let scene = Scene::make(&["user_good"]).await;
    let server = testkit::Postgres::start();
    let destination = format!("type = \"postgres\"\nurl = {:?}\nschema = \"bank\"", server.url());
    let config = scene.config("postgres", &destination, "streams = [\"transactions\"]");
    assert_eq!(sync(&config, &[])["state"], "succeeded");
    scene.bank.advance(10).await;
    server.stop();
    let failed = sync(&config, &["--tries", "1"]);
    assert_eq!(failed["state"], "failed");
    let said = failed["run"]["outcome"].as_str().unwrap();
    assert!(said.contains("postgres") && said.contains("goes on from its last mark"), "{said}");
    server.start_again();
    assert_eq!(sync(&config, &[])["state"], "succeeded");
    let verified = sync(&config, &["--verify"]);
    assert_eq!(verified["state"], "succeeded", "{verified}");
}

/// A disk that fills up in the middle of a refresh: what readers saw stays whole, the message says what
/// to do, and with more space the same run is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_the_old_tables_whole() {
    const SCRIPT: &str = r#"
        mount -t tmpfs -o size=64m none "$DISK"
        "$SELVEDGE" sync --config "$CONFIG" --json
        used=$(df --output=used -k "$DISK" | tail -n 1)
        mount -o remount,size=$((used + 48))k "$DISK"
        "$SELVEDGE" sync --config "$CONFIG" --json --refresh --tries 1 || true
        "$SELVEDGE" sync --config "$CONFIG" --json --verify
        mount -o remount,size=64m "$DISK"
        "$SELVEDGE" sync --config "$CONFIG" --json
        "$SELVEDGE" sync --config "$CONFIG" --json --verify
    "#;
    let scene = Scene::make(&["user_good", "user_transactions_dynamic"]).await;
    let disk = scene.path("disk");
    fs::create_dir(&disk).unwrap();
    let duckdb = (disk.join("bank.duckdb"), duckdb_library());
    let destinations = [
        ("csv", format!("path = {:?}", disk.join("csv"))),
        ("jsonl", format!("path = {:?}", disk.join("jsonl"))),
        ("sqlite", format!("path = {:?}", disk.join("bank.db"))),
        ("parquet", format!("path = {:?}", disk.join("parquet"))),
        ("duckdb", format!("path = {:?}\nlibrary = {:?}", duckdb.0, duckdb.1)),
    ];
    for (kind, settings) in destinations {
        let destination = format!("type = \"{kind}\"\n{settings}");
        let config = scene.config(kind, &destination, "streams = [\"transactions\"]");
        let output = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT])
            .env("DISK", &disk)
            .env("CONFIG", config)
            .env("SELVEDGE", env!("CARGO_BIN_EXE_selvedge"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let runs: Vec<Value> =
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let states: Vec<&str> = runs.iter().map(|run| run["state"].as_str().unwrap()).collect();
        let errors = String::from_utf8_lossy(&output.stderr);
        let expected = ["succeeded", "failed", "succeeded", "succeeded", "succeeded"];
        assert_eq!(states, expected, "{kind}: {said}{errors}");
        let outcome = runs[1]["run"]["outcome"].as_str().unwrap();
        assert!(outcome.contains("Free space"), "{kind}: {outcome}");
    }
}
