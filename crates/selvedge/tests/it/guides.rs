//! The commands of the READMEs and of the guides, run as they are printed: only addresses and
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
    let put_in =
        |text: &str| text.replace(PRINTED, &emulator.url).replace("access-sandbox-…", &token);
    let settings = put_in(&blocks("README.md", "toml")[0]);
    fs::write(folder.path().join("sync.toml"), &settings).unwrap();
    let commands = blocks("README.md", "sh");
    let commands = commands.iter().find(|block| block.contains("selvedge sync")).unwrap();
    let synced = shell(commands, folder.path());
    assert!(synced.contains("Source and destination are equal."), "{synced}");
    assert!(folder.path().join("warehouse/transactions.parquet").exists());
    // The same words for a database.
    let server = testkit::Postgres::start();
    let settings = settings.replace("type = \"parquet\"", "type = \"postgres\"");
    let url = format!("url = {:?}", server.url());
    fs::write(folder.path().join("sync.toml"), settings.replace("path = \"warehouse\"", &url))
        .unwrap();
    let synced = shell(commands, folder.path());
    assert!(synced.contains("Source and destination are equal."), "{synced}");
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
    let synced = run("selvedge sync");
    assert!(synced.contains("csv warehouse can be written"), "{synced}");
    assert!(synced.contains("12 written") && synced.contains("checksums equal"), "{synced}");
    let table = fs::read_to_string(folder.path().join("warehouse/plaid_balances.csv")).unwrap();
    assert_eq!(table.lines().count(), 13);
    run("selvedge tap");
    let records = fs::read_to_string(folder.path().join("records.jsonl")).unwrap();
    assert!(records.contains("\"stream\":\"transactions\""), "the tap told of transactions");
    run("ln -s");
    assert!(shell("./source-selvedge spec", folder.path()).contains("connectionSpecification"));
}

#[test]
fn the_emulators_own_readme_ends_in_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let readme = "crates/emulator/README.md";
    let emulator = Running::start(selvedge(&["emulator", "--listen", "127.0.0.1:0"]), None);
    let calls = blocks(readme, "sh").into_iter().find(|block| block.contains("plaid()")).unwrap();
    let page = shell(&calls.replace(PRINTED, &emulator.url), folder.path());
    let page: Value = serde_json::from_str(&page).unwrap();
    assert!(page["added"].as_array().unwrap().len() > 40, "{page}");

    let program = folder.path().join("first.py");
    let text = blocks(readme, "python").remove(0).replace(PRINTED, &emulator.url);
    fs::write(&program, text).unwrap();
    let python = root().join(".venv/bin/python");
    let printed = shell(&format!("{} {}", python.display(), program.display()), folder.path());
    assert!(printed.contains(" transactions, "), "{printed}");
}

#[test]
fn the_emulator_guide_works_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    let guide = "docs/guides/emulator.md";
    let emulator = Running::start(selvedge(&["emulator", "--listen", "127.0.0.1:0"]), None);
    let run = |with: &str| {
        let all = blocks(guide, "sh");
        let block = all.iter().find(|block| block.contains(with)).unwrap();
        shell(&block.replace(PRINTED, &emulator.url), folder.path())
    };
    assert!(run("hosted_link").contains("hosted_link_url"));
    let clock = run("_emulator/advance");
    assert_eq!(clock.matches(r#""now""#).count(), 3, "{clock}");
    let all = blocks(guide, "sh");
    let faults = all.iter().find(|block| block.contains("emulator faults")).unwrap();
    let faults = faults.replace("faults add", &format!("faults --url {} add", emulator.url));
    let faults = faults.replace("faults clear", &format!("faults --url {} clear", emulator.url));
    let told = shell(&faults, folder.path());
    for (kind, ..) in emulator::KINDS.map(|(_, name, what)| (name, what)) {
        assert!(told.contains(kind), "{kind}");
    }
    assert_eq!(told.matches(r#"{"added":true}"#).count(), 4, "{told}");
    assert!(told.ends_with("{\"cleared\":true}\n"), "{told}");

    let populate = all.iter().find(|block| block.contains("populate")).unwrap();
    let populate = populate.lines().next().unwrap().replace("--items 505", "--items 4");
    let summary: Value = serde_json::from_str(&shell(&populate, folder.path())).unwrap();
    let list = fs::read_to_string(folder.path().join("plaid-data/items.ndjson")).unwrap();
    let lines: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sum: u64 = lines.iter().map(|line| line["transactions"].as_u64().unwrap()).sum();
    assert_eq!((lines.len(), summary["transactions"].as_u64()), (4, Some(sum)));
    let data = folder.path().join("plaid-data");
    let serve = ["emulator", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let populated = Running::start(selvedge(&serve), None);
    let ledger = shell(&format!("curl -sS {}/_emulator/ledger", populated.url), folder.path());
    let live = ledger.lines().filter(|line| !line.contains(r#""state":"removed""#)).count();
    assert_eq!(u64::try_from(live).unwrap(), sum, "what was counted is what is served");
}

#[test]
fn verify_finds_no_difference_between_twins_and_every_one_it_should() {
    let other = Running::start(selvedge(&["emulator", "--listen", "127.0.0.1:0"]), None);
    let verify = || {
        let keys = ["--client-id", "emulator", "--secret", "sandbox-secret"];
        selvedge(&["emulator", "verify", "--against", &other.url]).args(keys).output().unwrap()
    };
    let twins = verify();
    let report = String::from_utf8(twins.stdout).unwrap();
    assert_eq!(twins.status.code(), Some(0), "{report}");
    assert!(report.contains(" 0 differences"), "{report}");

    for (kind, path) in [
        ("unknown_field", "/item/get"),
        ("internal_server_error", "/categories/get"),
        ("unknown_field", "/auth/get"),
    ] {
        let url = ["emulator", "faults", "--url", &other.url, "add", kind, "--path", path];
        assert!(selvedge(&url).status().unwrap().success());
    }
    let different = verify();
    let report = String::from_utf8(different.stdout).unwrap();
    assert_eq!(different.status.code(), Some(3), "{report}");
    for found in [
        "/item/something_new only there",
        "(/categories/get): status 200 here, 500 there",
        "no error here, API_ERROR / INTERNAL_SERVER_ERROR there",
        "/numbers/ach/*/something_new only there",
    ] {
        assert!(report.contains(found), "{found}\n{report}");
    }
}
