//! The commands of the README and the source guide, run as they are printed: only addresses and
//! tokens are put in.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::process::{BINARY, Running, root, selvedge};

/// The address that the documents print for the emulator.
const PRINTED: &str = "http://127.0.0.1:8081";

/// The code blocks of a language in a document.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Runs a shell text with the program on the path; gives its output.
fn shell(text: &str, folder: &Path) -> String {
    let programs = Path::new(BINARY).parent().unwrap().display();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-e", "-c", text]).current_dir(folder).env("PATH", path);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The two calls of a document, one after the other; gives the access token.
fn link(document: &str, emulator: &str, folder: &Path) -> String {
    let calls = blocks(document, "sh");
    let calls = calls.iter().find(|block| block.contains("/sandbox/public_token/create")).unwrap();
    let calls = calls.replace(PRINTED, emulator).replace("curl ", "curl -sS ");
    let (create, exchange) = calls.split_once("\n\n").unwrap();
    let made: Value = serde_json::from_str(&shell(create, folder)).unwrap();
    let exchange = exchange.replace("public-sandbox-…", made["public_token"].as_str().unwrap());
    let linked: Value = serde_json::from_str(&shell(&exchange, folder)).unwrap();
    linked["access_token"].as_str().unwrap().to_owned()
}

#[test]
fn the_calls_in_the_readme_work_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Running::start(selvedge(&["emulator", "--listen", "127.0.0.1:0"]), None);
    let token = link("README.md", &emulator.url, folder.path());
    assert!(token.starts_with("access-sandbox-"));
}

#[test]
fn the_source_guide_works_from_the_first_call_to_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let guide = "docs/guides/source.md";
    let emulator = Running::start(selvedge(&["emulator", "--listen", "127.0.0.1:0"]), None);
    let token = link(guide, &emulator.url, folder.path());
    let put_in =
        |text: &str| text.replace(PRINTED, &emulator.url).replace("access-sandbox-…", &token);
    fs::write(folder.path().join("source.json"), put_in(&blocks(guide, "json")[0])).unwrap();
    fs::write(folder.path().join("sync.toml"), put_in(&blocks(guide, "toml")[0])).unwrap();
    let commands = blocks(guide, "sh");
    let run = |with: &str| {
        shell(commands.iter().find(|block| block.contains(with)).unwrap(), folder.path())
    };
    let checked = run("selvedge source check");
    assert!(checked.contains("SUCCEEDED") && checked.contains("CATALOG"), "{checked}");
    assert!(run("selvedge sync").starts_with("balances  12 rows"));
    let table = fs::read_to_string(folder.path().join("balances/balances.csv")).unwrap();
    assert_eq!(table.lines().count(), 13);
    run("ln -s");
    assert!(shell("./source-selvedge spec", folder.path()).contains("connectionSpecification"));
}
