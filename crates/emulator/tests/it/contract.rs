//! Every endpoint keeps to Plaid's contract, errors and webhooks included.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::bank::{Bank, http, text, today};

/// What a report says: answers and webhooks by name, and every flaw.
struct Report {
    seen: BTreeMap<String, usize>,
    flaws: BTreeSet<String>,
}

fn report(folder: &Path) -> Report {
    let (mut seen, mut flaws) = (BTreeMap::new(), BTreeSet::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let lines = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            *seen.entry(text(&line["name"])).or_default() += 1;
            for flaw in line["flaws"].as_array().unwrap() {
                flaws.insert(format!("{}: {}", text(&line["name"]), text(flaw)));
            }
        }
    }
    Report { seen, flaws }
}

#[tokio::test]
async fn a_tour_of_every_endpoint_keeps_to_both_versions_of_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let bank = Bank::start_with(|options| {
        options.contract_report = Some(folder.path().to_path_buf());
    })
    .await;
    let keys = ("emulator", "sandbox-secret");
    let seen = emulator::walk(&http(), &bank.emulator.url(), keys, today(), |_| {}).await.unwrap();
    let unexpected: Vec<_> = seen.iter().filter(|observation| !observation.expected).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let report = report(folder.path());
    assert_eq!(report.flaws, BTreeSet::new());
    let endpoints = report.seen.keys().filter(|name| name.starts_with('/')).count();
    assert_eq!(endpoints, 40, "{endpoints}: {:?}", report.seen.keys());
    assert_eq!(emulator::differences(&seen, &seen), Vec::<String>::new());
}

#[tokio::test]
async fn every_webhook_that_can_be_fired_keeps_to_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let bank = Bank::start_with(|options| {
        options.contract_report = Some(folder.path().to_path_buf());
    })
    .await;
    let (token, item_id) = bank.link("user_good", "pass_good").await;
    // Nobody listens: what is sent is checked, not whether it arrives.
    let webhook = json!({ "access_token": token, "webhook": "http://127.0.0.1:9/hook" });
    bank.ok("/item/webhook/update", webhook).await;
    for endpoint in ["/auth/get", "/identity/get", "/liabilities/get", "/investments/holdings/get"]
    {
        bank.ok(endpoint, json!({ "access_token": token })).await;
    }
    for (code, kind) in [
        ("DEFAULT_UPDATE", "AUTH"),
        ("DEFAULT_UPDATE", "HOLDINGS"),
        ("DEFAULT_UPDATE", "IDENTITY"),
        ("DEFAULT_UPDATE", "INVESTMENTS_TRANSACTIONS"),
        ("DEFAULT_UPDATE", "LIABILITIES"),
        ("DEFAULT_UPDATE", "TRANSACTIONS"),
        ("SYNC_UPDATES_AVAILABLE", "TRANSACTIONS"),
        ("RECURRING_TRANSACTIONS_UPDATE", "TRANSACTIONS"),
        ("NEW_ACCOUNTS_AVAILABLE", "ITEM"),
        ("LOGIN_REPAIRED", "ITEM"),
        ("PENDING_DISCONNECT", "ITEM"),
        ("USER_PERMISSION_REVOKED", "ITEM"),
        ("USER_ACCOUNT_REVOKED", "ITEM"),
        ("SMS_MICRODEPOSITS_VERIFICATION", "AUTH"),
    ] {
        let body = json!({ "access_token": token, "webhook_code": code, "webhook_type": kind });
        bank.ok("/sandbox/item/fire_webhook", body).await;
    }
    for action in ["refresh", "reset_login", "repair_elsewhere", "open_account", "end_consent"] {
        bank.act(&item_id, action).await;
    }
    for action in ["repair", "revoke_account", "revoke"] {
        bank.act(&item_id, action).await;
    }
    let report = report(folder.path());
    assert_eq!(report.flaws, BTreeSet::new());
    let webhooks = report.seen.keys().filter(|name| !name.starts_with('/')).count();
    assert!(webhooks >= 16, "{webhooks}: {:?}", report.seen.keys());
}
