//! The rows a caller ends up with equal the hidden ledger, whatever happened in between.

use serde_json::json;

use crate::bank::{Bank, Rows, text};

#[tokio::test]
async fn rows_agree_with_the_ledger_through_days_refreshes_and_page_sizes() {
    let bank = Bank::start(7, None).await;
    for username in ["user_good", "user_transactions_dynamic", "user_small_business"] {
        let (token, item_id) = bank.link(username, "pass_good").await;
        let mut rows = Rows::new();
        let mut cursor = bank.pull(&token, "", 500, &mut rows).await;
        bank.assert_agrees(&item_id, &rows).await;
        for (days, count) in [(1, 1), (0, 500), (3, 7), (14, 100), (70, 500)] {
            bank.advance(days).await;
            bank.ok("/transactions/refresh", json!({ "access_token": token })).await;
            cursor = bank.pull(&token, &cursor, count, &mut rows).await;
            bank.assert_agrees(&item_id, &rows).await;
        }
        let mut afresh = Rows::new();
        bank.pull(&token, "", 500, &mut afresh).await;
        assert_eq!(afresh, rows, "a walk from the empty cursor sees the same");
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_world_and_a_folder_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let bank = Bank::start(42, Some(folder.path())).await;
    let (token, item_id) = bank.link("user_yuppie", "x").await;
    bank.advance(5).await;
    bank.ok("/transactions/refresh", json!({ "access_token": token })).await;
    let before = bank.ledger(&item_id).await;
    assert!(before.len() > 1_200, "24 months of a household: {}", before.len());
    bank.emulator.stop().await;

    let again = Bank::start(1, Some(folder.path())).await;
    assert_eq!(again.ledger(&item_id).await, before, "the folder's seed and journal win");

    let twin = Bank::start(42, None).await;
    let (twin_token, twin_id) = twin.link("user_yuppie", "x").await;
    assert_eq!((twin_token, twin_id), (token, item_id));
}

#[tokio::test]
async fn a_journal_torn_by_a_crash_keeps_what_was_answered_and_what_comes_after() {
    let folder = tempfile::tempdir().unwrap();
    let bank = Bank::start(9, Some(folder.path())).await;
    let (first, _) = bank.link("user_good", "pass_good").await;
    bank.emulator.stop().await;
    let journal = folder.path().join("journal.ndjson");
    let mut text = std::fs::read_to_string(&journal).unwrap();
    text.push_str(r#"{"at":"2026-"#);
    std::fs::write(&journal, text).unwrap();

    let bank = Bank::start(9, Some(folder.path())).await;
    let (second, _) = bank.link("user_good", "pass_good").await;
    bank.emulator.stop().await;
    let bank = Bank::start(9, Some(folder.path())).await;
    for token in [first, second] {
        bank.ok("/item/get", json!({ "access_token": token })).await;
    }
}

#[tokio::test]
async fn a_mutation_fault_strikes_its_page_and_a_restart_succeeds() {
    let bank = Bank::start(3, None).await;
    let (token, item_id) = bank.link("user_good", "pass_good").await;
    let fault = json!({ "kind": "mutation_during_pagination", "item_id": item_id, "page": 2 });
    let url = format!("{}/_emulator/faults", bank.emulator.url());
    assert_eq!(bank.http.post(url).json(&fault).send().await.unwrap().status(), 200);
    let page = json!({ "access_token": token, "count": 50 });
    let first = bank.ok("/transactions/sync", page).await;
    let next = json!({ "access_token": token, "count": 50, "cursor": first["next_cursor"] });
    let (status, error) = bank.call("/transactions/sync", next).await;
    assert_eq!(status, 400);
    assert_eq!(text(&error["error_code"]), "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION");
    let mut rows = Rows::new();
    bank.pull(&token, "", 50, &mut rows).await;
    bank.assert_agrees(&item_id, &rows).await;
}

#[tokio::test]
async fn every_custom_user_of_plaid_loads_as_it_is() {
    let bank = Bank::start(5, None).await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/data/sandbox_users");
    let mut loaded = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let config = std::fs::read_to_string(&path).unwrap();
        let (token, item_id) = bank.link("user_custom", &config).await;
        let mut rows = Rows::new();
        bank.pull(&token, "", 100, &mut rows).await;
        bank.assert_agrees(&item_id, &rows).await;
        loaded += 1;
    }
    assert_eq!(loaded, 19);
}
