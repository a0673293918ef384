//! The main job: link, first history, webhooks, timers, reading back by API and feed.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Bank, World};

#[tokio::test(flavor = "multi_thread")]
async fn linked_items_arrive_whole_and_keep_changing() {
    let world = World::start(11).await;
    let good = world.customer("alice", "user_good").await;
    let lively = world.customer("bob", "user_transactions_dynamic").await;
    world.agree().await;
    for _ in 0..3 {
        world.bank.refresh(&lively).await;
        world.bank.advance(2).await;
        world.agree().await;
    }
    world.assert_sound().await;

    let (_, item) = world.call("GET", &format!("/v1/items/{}", good.item_id), None).await;
    assert_eq!((&item["status"], &item["history"]), (&json!("healthy"), &json!("complete")));
    assert!(!item["last_webhook_at"].is_null(), "signed webhooks were accepted");
    assert_eq!(item["institution_name"], "First Platypus Bank");

    let (_, accounts) = world.call("GET", "/v1/end_users/alice/accounts", None).await;
    assert_eq!(accounts["data"].as_array().unwrap().len(), 12);
    let (_, balances) = world.call("GET", "/v1/end_users/alice/balances", None).await;
    let checking = |row: &&Value| row["current"] == "110.00" && row["available"] == "100.00";
    assert!(balances["data"].as_array().unwrap().iter().any(|row| checking(&row)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_arrives_in_stages_and_nothing_is_called_complete_early() {
    let world = World::with_bank(Bank::open_with(4, Duration::from_millis(400)).await).await;
    let item = world.bank.link("user_good", Some(&world.webhook_url())).await;
    let linked = world.link("alice", &item).await;
    assert_eq!(linked["history"], "not_ready");
    let history = async |wanted: &str| {
        let (_, item) = world.call("GET", &format!("/v1/items/{}", item.item_id), None).await;
        item["history"] == wanted
    };
    world.until("all of the history", async || history("complete").await).await;
    world.agree().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_during_pagination_is_never_seen_by_a_reader() {
    let world = World::start(5).await;
    let item = world.bank.link("user_yuppie", Some(&world.webhook_url())).await;
    for page in [2, 3, 1] {
        let fault = json!({
            "kind": "mutation_during_pagination", "item_id": item.item_id, "page": page, "times": 2,
        });
        world.bank.fault(&fault).await;
    }
    world.link("alice", &item).await;
    world.agree().await;
    let rows = World::stored(&world.store).await.len();
    assert!(rows > 1_500, "{rows} rows in several pages");
    world.assert_sound().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_page_without_loss_and_filters_narrow() {
    let world = World::start(6).await;
    world.customer("alice", "user_good").await;
    world.agree().await;
    let expected = World::stored(&world.store).await.len();
    let mut seen = std::collections::BTreeSet::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/end_users/alice/transactions?limit=97{after}");
        let (status, page) = world.call("GET", &path, None).await;
        assert_eq!(status, 200, "{page}");
        for row in page["data"].as_array().unwrap() {
            assert!(seen.insert(row["id"].as_str().unwrap().to_owned()), "no row twice");
        }
        if page["has_more"] == false {
            assert!(page["next_cursor"].is_null());
            break;
        }
        after = format!("&after={}", page["next_cursor"].as_str().unwrap());
    }
    assert_eq!(seen.len(), expected);

    let count = async |query: &str| {
        let (status, page) =
            world.call("GET", &format!("/v1/transactions?limit=5000&{query}"), None).await;
        assert_eq!(status, 200, "{query}: {page}");
        page["data"].as_array().unwrap().len()
    };
    assert_eq!(count("pending=true").await, 0);
    assert_eq!(count("end_user_id=alice").await, expected);
    let of_500 = world.bank.ledger().await.values().filter(|row| row[3] == 50_000).count();
    assert_eq!(count("amount_min=500&amount_max=500&currency=USD").await, of_500);
    assert_eq!(count("from=2099-01-01").await, 0);
    assert_eq!(count("updated_since=2099-01-01T00:00:00Z").await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_waits_and_its_cursor_is_never_null() {
    let world = World::start(7).await;
    let (_, empty) = world.call("GET", "/v1/changes", None).await;
    assert_eq!(empty, json!({ "changes": [], "next_cursor": "0", "has_more": false }));
    let waiting = world.call("GET", "/v1/changes?wait=30&limit=5000&stream=transactions", None);
    let linking = world.customer("alice", "user_good");
    let ((status, page), _) = tokio::join!(waiting, linking);
    assert_eq!(status, 200);
    let first = &page["changes"][0];
    assert_eq!((&first["kind"], &first["stream"]), (&json!("added"), &json!("transactions")));
    for field in [
        "id",
        "transaction_id",
        "item_id",
        "account_id",
        "end_user_id",
        "date",
        "amount",
        "currency",
        "pending",
        "pending_transaction_id",
        "name",
    ] {
        assert!(first["record"].get(field).is_some(), "{field}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_ends_the_item_at_the_bank_and_erases_by_choice() {
    let world = World::start(8).await;
    let item = world.customer("alice", "user_good").await;
    world.agree().await;
    let path = format!("/v1/items/{}", item.item_id);
    let (status, _) = world.call("DELETE", &path, None).await;
    assert_eq!(status, 400, "the choice must be made");
    let (status, asked) =
        world.call("DELETE", &format!("{path}?data=erase&dry_run=true"), None).await;
    assert_eq!(status, 200);
    let live = World::stored(&world.store).await.len();
    assert_eq!(asked["erases_transactions"], live);
    let (status, _) = world.call("DELETE", &format!("{path}?data=erase"), None).await;
    assert_eq!(status, 202);
    let removed = async || {
        let (_, item) = world.call("GET", &path, None).await;
        item["status"] == "removed"
    };
    world.until("the removal", removed).await;
    assert_eq!(world.bank.calls().await["/item/remove"], 1);
    assert!(World::stored(&world.store).await.is_empty());
    // Erasure leaves tombstones only, so this feed no longer starts at 1.
    while world.store.number_changes().await.unwrap() > 0 {}
    let (_, changes) = world.call("GET", "/v1/changes?limit=5000", None).await;
    let gone = changes["changes"].as_array().unwrap();
    assert!(!gone.is_empty() && gone.iter().all(|change| change["kind"] == "removed"));
    let integration = format!("/v1/integrations/{}", world.integration.id);
    assert_eq!(world.call("DELETE", &integration, None).await.0, 204);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_login_is_said_and_what_was_there_stays() {
    let world = World::start(9).await;
    let item = world.customer("alice", "user_good").await;
    world.agree().await;
    let reset = json!({ "access_token": item.access_token });
    world.bank.call("/sandbox/item/reset_login", reset).await;
    let path = format!("/v1/items/{}", item.item_id);
    let said = async || {
        let (_, item) = world.call("GET", &path, None).await;
        item["status"] == "login_required"
    };
    world.until("the broken login", said).await;
    let (_, item) = world.call("GET", &path, None).await;
    let detail = item["status_detail"].as_str().unwrap();
    assert!(detail.contains("ITEM_LOGIN_REQUIRED"), "the webhook says as much: {detail}");
    world
        .until("the sync that follows to name Plaid's request", async || {
            let (_, item) = world.call("GET", &path, None).await;
            item["status_detail"].as_str().is_some_and(|detail| detail.contains("request_id"))
        })
        .await;
    let rows = World::stored(&world.store).await.len();
    assert!(rows > 300, "what was there stays");
    world.stop().await;
}
