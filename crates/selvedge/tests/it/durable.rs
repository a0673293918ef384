//! Durable means durable: every acknowledged write has synced the disk. kill -9 cannot tell, because
//! the system still holds what was written; strace can.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use testkit::http_client;

use crate::process::{Running, output_of};

const WRITES: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_has_synced_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let made = output_of(&["keys", "--data-dir", data, "create", "--name", "test"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    let trace = folder.path().join("trace");
    let server = Running::serve(folder.path(), &[], None);
    let mut strace = attach(server.id(), &trace);
    let http = http_client();
    let write = async || {
        let body = json!({
            "name": "a", "environment": "sandbox", "client_id": "0123456789abcdef01234567",
            "secret": "0123456789abcdef0123456789abcd",
        });
        let request = http.post(format!("{}/v1/integrations", server.url)).json(&body);
        let answer = request.bearer_auth(made["key"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(answer.status(), 201);
    };
    let syncs = || {
        let lines = fs::read_to_string(&trace).unwrap();
        // A call that another thread's interrupted on paper ends as `fdatasync resumed`.
        let ended = |line: &&str| line.contains("sync(") || line.contains("sync resumed");
        lines.lines().filter(|line| ended(line) && line.ends_with("= 0")).count()
    };
    // The first write also notes the use of the key.
    write().await;
    for _ in 0..WRITES {
        let before = syncs();
        write().await;
        assert!(syncs() > before, "an answer came before the disk was synced");
    }
    strace.kill().unwrap();
    strace.wait().unwrap();
}

/// Watches a process; returns once strace says that it does.
fn attach(process: u32, trace: &Path) -> Child {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-e", "trace=fsync,fdatasync", "-p", &process.to_string(), "-o"])
        .arg(trace);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("attached"), "{line}");
    child
}
