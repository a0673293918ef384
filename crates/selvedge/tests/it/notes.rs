//! What people note stays with the economic event: through posting, a full re-walk and a re-link;
//! pairs without a link are suggested, never joined; the history of a row can be told.

use std::fs;

use serde_json::{Value, json};
use testkit::{Linked, World};

use crate::process::selvedge;

async fn transactions(world: &World, query: &str) -> Vec<Value> {
    let path = format!("/v1/end_users/alice/transactions?limit=5000{query}");
    world.call("GET", &path, None).await.1["data"].as_array().unwrap().clone()
}

async fn note(world: &World, id: &str, body: Value) -> Value {
    let (status, row) = world.call("PATCH", &format!("/v1/transactions/{id}"), Some(body)).await;
    assert_eq!(status, 200, "{row}");
    row
}

async fn walks(world: &World, item: &Linked) -> usize {
    let (_, syncs) = world.call("GET", &format!("/v1/items/{}/syncs", item.item_id), None).await;
    let syncs = syncs["data"].as_array().unwrap().clone();
    syncs.iter().filter(|sync| sync["full_walk"] == true).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_outlive_posting_and_a_full_walk() {
    let world = World::start(101).await;
    let item = world.customer("alice", "user_transactions_dynamic").await;
    world.agree().await;
    let mut noted = Vec::new();
    for row in transactions(&world, "&pending=true").await {
        let id = row["id"].as_str().unwrap().to_owned();
        let body = json!({ "category": "TRAVEL", "note": "with Ann", "tags": ["b", "a", "b"] });
        let now = note(&world, &id, body).await;
        assert_eq!(now["annotation"]["tags"], json!(["a", "b"]));
        noted.push(id);
    }
    assert!(!noted.is_empty(), "there are pending rows");
    for _ in 0..4 {
        world.bank.refresh(&item).await;
        world.bank.advance(3).await;
        world.agree().await;
    }
    let path = format!("/v1/items/{}/sync?full=true", item.item_id);
    let before = walks(&world, &item).await;
    assert_eq!(world.call("POST", &path, None).await.0, 202);
    world.until("a full walk", async || walks(&world, &item).await > before).await;
    let rows = transactions(&world, "").await;
    let posted: Vec<&Value> = rows
        .iter()
        .filter(|row| noted.iter().any(|id| row["id"] == id.as_str()) && row["pending"] == false)
        .collect();
    assert!(!posted.is_empty(), "some have posted");
    for row in &posted {
        assert_eq!(row["annotation"]["note"], "with Ann", "{row}");
        let path = format!("/v1/transactions/{}/history", row["id"].as_str().unwrap());
        let (_, history) = world.call("GET", &path, None).await;
        let history = history["data"].as_array().unwrap();
        assert!(history.len() >= 3, "added, noted, posted: {history:?}");
        assert_eq!(history[0]["record"]["pending"], true);
        assert_eq!(history.last().unwrap()["record"]["pending"], false);
    }
    let cleared = note(&world, posted[0]["id"].as_str().unwrap(), json!({ "note": null })).await;
    assert_eq!(cleared["annotation"]["category"], "TRAVEL");
    assert!(cleared["annotation"].get("note").is_none());
    let all = transactions(&world, "&view=history").await;
    assert!(all.iter().any(|row| row["removed"] == true) || all.len() == rows.len());
    assert!(transactions(&world, "&view=posted").await.iter().all(|row| row["pending"] == false));
    world.assert_sound().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_linked_anew_goes_on_under_the_same_ids_with_every_note() {
    let world = World::start(102).await;
    let old = world.customer("alice", "user_good").await;
    world.agree().await;
    let before = transactions(&world, "").await;
    for row in before.iter().step_by(7) {
        note(&world, row["id"].as_str().unwrap(), json!({ "note": "kept" })).await;
    }
    let new = world.bank.link("user_good", Some(&world.webhook_url())).await;
    let body = json!({
        "item_id": new.item_id, "access_token": new.access_token, "end_user_id": "alice",
        "replaces": old.item_id,
    });
    let path = format!("/v1/integrations/{}/links", world.integration.id);
    assert_eq!(world.call("POST", &path, Some(body)).await.0, 201);
    let status = async |item: &Linked| {
        world.call("GET", &format!("/v1/items/{}", item.item_id), None).await.1["status"].clone()
    };
    world.until("the old item to end", async || status(&old).await == "removed").await;
    let after = transactions(&world, "").await;
    let ids = |rows: &[Value]| -> std::collections::BTreeMap<String, Value> {
        let id = |row: &Value| (row["id"].as_str().unwrap().to_owned(), row.clone());
        rows.iter().map(id).collect()
    };
    let (before, after) = (ids(&before), ids(&after));
    assert!(before.keys().eq(after.keys()), "{} rows, {} before", after.len(), before.len());
    let mut kept = 0;
    for (id, row) in &after {
        assert_eq!(row["item_id"], new.item_id.as_str(), "{row}");
        assert_ne!(row["transaction_id"], before[id]["transaction_id"]);
        kept += usize::from(row["annotation"]["note"] == "kept");
    }
    assert_eq!(kept, before.len().div_ceil(7), "every note is kept");
    assert_eq!(World::stored(&world.store).await, world.replayed().await);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bank_linked_twice_is_marked_and_another_login_is_not() {
    let world = World::start(103).await;
    let first = world.customer("alice", "user_good").await;
    world.agree().await;
    let twin = world.customer("alice", "user_good").await;
    let other = world.customer("alice", "user_small_business").await;
    world.agree().await;
    let of = async |item: &Linked| {
        let (_, view) = world.call("GET", &format!("/v1/items/{}", item.item_id), None).await;
        view["duplicate_of"].clone()
    };
    world.until("the duplicate to be marked", async || of(&twin).await.is_string()).await;
    assert_eq!(of(&other).await, Value::Null);

    // What the guide says to do about it: the better one takes the other's place.
    let rows = transactions(&world, "").await.len();
    let path = format!("/v1/integrations/{}/links", world.integration.id);
    let body = |replaces: &str| {
        json!({
            "item_id": twin.item_id, "access_token": twin.access_token, "end_user_id": "alice",
            "replaces": replaces,
        })
    };
    assert_eq!(world.call("POST", &path, Some(body(&twin.item_id))).await.0, 422, "not itself");
    let (status, answer) = world.call("POST", &path, Some(body(&first.item_id))).await;
    assert_eq!(status, 200, "{answer}");
    world.until("the duplicate to be over", async || of(&twin).await.is_null()).await;
    let of_first = rows - transactions(&world, "").await.len();
    assert!(of_first > 0, "each transaction is there once");
    let (_, accounts) = world.call("GET", "/v1/end_users/alice/accounts?limit=1000", None).await;
    for account in accounts["data"].as_array().unwrap() {
        assert_ne!(account["item_id"], first.item_id.as_str(), "accounts live once, too");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estate_of_items_is_brought_in_by_file_and_the_run_can_be_repeated() {
    let world = World::start(104).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("items.csv");
    let mut lines = "item_id,access_token,end_user_id,end_user_name\n".to_owned();
    for number in 0..30 {
        let item = world.bank.link("user_good", None).await;
        lines += &format!("{},{},user-{number},\n", item.item_id, item.access_token);
    }
    lines += "item-of-nobody,access-sandbox-wrong,user-x,\n";
    fs::write(&file, &lines).unwrap();
    let run = async || {
        let mut command = selvedge(&["link", "--file"]);
        command.arg(&file).args(["--integration", world.integration.id.as_str()]);
        command.args(["--server", &world.url]).env("SELVEDGE_API_KEY", &world.key);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let sum: Value = serde_json::from_str(text.trim())
            .unwrap_or_else(|_| panic!("{text} {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.success(), sum)
    };
    let (clean, sum) = run().await;
    assert_eq!((clean, &sum["linked"], &sum["refused"]), (false, &json!(30), &json!(1)), "{sum}");
    let results = fs::read_to_string(folder.path().join("items.csv.results.csv")).unwrap();
    assert!(results.contains("token_rejected") && !results.contains("access-sandbox"));
    let (_, sum) = run().await;
    assert_eq!(
        (&sum["linked"], &sum["refused"], &sum["done_before"]),
        (&json!(0), &json!(1), &json!(30))
    );
    world.agree().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_beside_a_running_server_reads_an_item_again() {
    let world = World::start(105).await;
    let item = world.customer("alice", "user_good").await;
    world.agree().await;
    let before = walks(&world, &item).await;
    let folder = world.folder().to_owned();
    fs::write(folder.join("master.key"), "c2VsdmVkZ2Ugc2VsdmVkZ2Ugc2VsdmVkZ2Ugc2VsdmU=").unwrap();
    let resync = async |id: &str| {
        let mut command = selvedge(&["resync", "--item", id, "--data-dir"]);
        command.arg(&folder);
        testkit::settle(&mut command, &folder);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let asked = resync(&item.item_id).await;
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    // Another process wrote the wish; the workers here find it when they next look, or are poked.
    world.store.poke(store::WorkKind::Sync, "nothing", false).await.unwrap();
    world.until("a full walk", async || walks(&world, &item).await > before).await;
    let unknown = resync("nobody").await;
    assert!(!unknown.status.success());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no item nobody"));
    world.assert_sound().await;
    world.stop().await;
}
