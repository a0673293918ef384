//! Outside programs against ours: Plaid's own client library, PyAirbyte, customers' forwarders, a
//! browser. `make test` installs them into the virtual environment and beside the examples.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use testkit::{Bank, CLIENT_ID, SECRET, World};

use crate::process::{BINARY, Running, output_of, root, selvedge};

pub(crate) fn python() -> Command {
    let python = root().join(".venv/bin/python");
    assert!(python.exists(), "run `make test`, which makes {}", python.display());
    let mut command = Command::new(python);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs to the end; its output is shown when it fails.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    text
}

#[test]
fn plaid_python_drives_the_emulator_and_the_link_url_serves_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Running::start(selvedge(&["emulator", "--listen", "127.0.0.1:0"]), None);
    let server = Running::serve(folder.path(), &[], None);
    let data = folder.path().to_str().unwrap();
    let made = output_of(&["keys", "--data-dir", data, "create", "--name", "python"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let key = made["key"].as_str().unwrap();
    let text = succeed(python().args(["tests/plaid_python.py", &emulator.url, &server.url, key]));
    assert!(text.contains("transactions agree"), "{text}");
}

#[test]
fn plaids_own_clients_walk_the_whole_tour_in_two_major_versions_each() {
    let emulator = Running::start(selvedge(&["emulator", "--listen", "127.0.0.1:0"]), None);
    let older = root().join(".venv/older");
    let mut current = python();
    current.args(["tests/plaid_tour.py", &emulator.url]);
    let mut earlier = python();
    earlier.args(["tests/plaid_tour.py", &emulator.url]).arg(&older);
    let node = |library: &str| {
        let mut command = Command::new("node");
        command.args(["tests/node/plaid_tour.js", &emulator.url, library]).current_dir(root());
        command
    };
    let tours = [
        (current, "Plaid Python v46", r#""answered": 46, "refused as expected": 14"#),
        (earlier, "Plaid Python v28", r#""answered": 44, "refused as expected": 14"#),
        (node("plaid"), "plaid-node 47", r#""answered":46,"refused as expected":17"#),
        (node("plaid-older"), "plaid-node 30", r#""answered":44,"refused as expected":17"#),
    ];
    for (mut command, library, counts) in tours {
        let text = succeed(&mut command);
        assert!(text.contains(library) && text.contains(counts), "{text}");
        print!("{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pyairbyte_reads_every_stream_twice_and_gets_what_was_stated() {
    let folder = tempfile::tempdir().unwrap();
    let bank = Bank::open(2).await;
    let token = bank.link("user_good", None).await.access_token;
    let executable = folder.path().join("source-selvedge");
    std::os::unix::fs::symlink(BINARY, &executable).unwrap();
    let config = json!({
        "client_id": CLIENT_ID, "api_key": SECRET, "plaid_env": "sandbox", "access_token": token,
        "base_url": bank.url(),
    });
    let arguments =
        [root().join("tests/pyairbyte.py"), executable, PathBuf::from(config.to_string())];
    let mut command = python();
    let emulator = bank.url();
    // PyAirbyte makes folders named like the executable.
    let scratch = folder.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    command.args(arguments).arg(emulator).current_dir(&scratch);
    for name in ["AIRBYTE_PROJECT_DIR", "AIRBYTE_CACHE_ROOT", "AIRBYTE_LOGGING_ROOT", "HOME"] {
        command.env(name, &scratch);
    }
    command.env("AIRBYTE_OFFLINE_MODE", "1").env("DO_NOT_TRACK", "1");
    let text = tokio::task::spawn_blocking(move || succeed(&mut command)).await.unwrap();
    assert!(text.contains("in 12 streams"), "{text}");
}

/// A forwarder that printed where it listens.
struct Forwarder(Child, String);

impl Forwarder {
    fn start(mut command: Command, marker: &str) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut outputs: Vec<Box<dyn BufRead + Send>> =
            vec![Box::new(BufReader::new(child.stdout.take().unwrap()))];
        outputs.push(Box::new(BufReader::new(child.stderr.take().unwrap())));
        let (send, receive) = std::sync::mpsc::channel();
        for output in outputs {
            let (send, marker) = (send.clone(), marker.to_owned());
            std::thread::spawn(move || {
                for line in output.lines().map_while(Result::ok) {
                    if let Some((_, rest)) = line.split_once(&marker) {
                        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                        let _heard = send.send(port);
                    }
                }
            });
        }
        let port = receive.recv_timeout(std::time::Duration::from_secs(30)).expect("a port");
        Self(child, format!("http://127.0.0.1:{port}/plaid/webhook"))
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_pass_through_both_forwarders_and_forgeries_do_not() {
    let world = World::start(41).await;
    let target = world.webhook_url();
    let mut flask = python();
    flask.args(["-m", "flask", "--app", "examples/forwarders/flask/app.py", "run", "--port", "0"]);
    flask.env("SELVEDGE_WEBHOOK_URL", &target);
    let mut express = Command::new("node");
    express.arg("server.js").current_dir(root().join("examples/forwarders/express"));
    express.env("SELVEDGE_WEBHOOK_URL", &target).env("PORT", "0");
    for (name, command) in [("flask", flask), ("express", express)] {
        let forwarder = Forwarder::start(command, "http://127.0.0.1:");
        let item = world.bank.link("user_transactions_dynamic", Some(&forwarder.1)).await;
        world.link(name, &item).await;
        world.agree().await;
        world.bank.refresh(&item).await;
        world.agree().await;
        let (_, item) = world.call("GET", &format!("/v1/items/{}", item.item_id), None).await;
        assert!(!item["last_webhook_at"].is_null(), "{name}: the webhook came through");
        let forged = world.http.post(&forwarder.1).body("{}").header("plaid-verification", "a.b.c");
        assert_eq!(forged.send().await.unwrap().status(), 401, "{name}");
    }
    world.stop().await;
}

#[test]
fn a_person_can_walk_through_the_dashboard() {
    let mut demo = selvedge(&["demo", "--listen", "127.0.0.1:0"]);
    let mut child = demo.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut found = |word: &str| {
        let line = lines.find(|line| line.as_ref().unwrap().contains(word)).unwrap().unwrap();
        line.split_whitespace().find(|part| part.starts_with("http://")).unwrap().to_owned()
    };
    let (set_up, bank) = (found("Dashboard"), found("Bank"));
    let drain = std::thread::spawn(move || lines.map_while(Result::ok).count());
    let pictures = root().join("target/pictures");
    let mut walk = python();
    walk.args(["tests/dashboard.py", &set_up, &bank]).arg(&pictures);
    let output = walk.output().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    drain.join().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

#[test]
fn a_person_can_walk_through_hosted_link() {
    let emulator = Running::start(selvedge(&["emulator", "--listen", "127.0.0.1:0"]), None);
    let pictures = root().join("target/pictures/emulator");
    let text = succeed(python().args(["tests/link.py", &emulator.url]).arg(pictures));
    assert!(text.contains("success, questions, failure, abandon, update mode"), "{text}");
}
