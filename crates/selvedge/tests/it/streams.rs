//! Every stream from its declaration: read where the Item has the product, a stated fact where it
//! lacks it, sealed where it must be, and in the feed like everything else.

use model::{STREAMS, Stream};
use serde_json::{Value, json};
use testkit::{Bank, Linked, World};

const PRODUCTS: [&str; 5] = ["transactions", "auth", "identity", "liabilities", "investments"];

async fn world() -> (World, Linked) {
    let bank = Bank::open(81).await;
    let url = bank.url();
    let all: Vec<Stream> = Stream::all().collect();
    let world = World::reading(bank, &url, &all).await;
    let webhook = world.webhook_url();
    let item = world.bank.link_at("ins_109508", "user_good", &PRODUCTS, Some(&webhook)).await;
    world.link("alice", &item).await;
    world.agree().await;
    (world, item)
}

async fn states(world: &World, item: &Linked) -> Vec<Value> {
    let path = format!("/v1/items/{}/streams", item.item_id);
    let (status, answer) = world.call("GET", &path, None).await;
    assert_eq!(status, 200);
    answer["data"].as_array().unwrap().clone()
}

async fn records(world: &World, item: &Linked, stream: Stream) -> Vec<Value> {
    let path = format!("/v1/items/{}/streams/{}?limit=5000", item.item_id, stream.as_str());
    let (status, answer) = world.call("GET", &path, None).await;
    assert_eq!(status, 200, "{answer}");
    answer["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_is_read_declared_and_in_the_feed() {
    let (world, item) = world().await;
    world
        .until("every stream to be read", async || {
            states(&world, &item).await.iter().all(|state| state["state"] == "available")
        })
        .await;
    let (_, declared) = world.call("GET", "/v1/streams", None).await;
    assert_eq!(declared["data"].as_array().unwrap().len(), STREAMS.len());
    while world.store.number_changes().await.unwrap() > 0 {}
    for declaration in STREAMS.iter().filter(|d| d.stream != Stream::Transactions) {
        let rows = records(&world, &item, declaration.stream).await;
        assert!(!rows.is_empty(), "{} is empty", declaration.name);
        for row in &rows {
            let names: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
            for name in &names {
                let known = declaration.fields.iter().any(|field| field.name == *name);
                assert!(known, "{}: {name} is not declared", declaration.name);
            }
            for key in declaration.key {
                assert!(row[*key].is_string(), "{}: {row}", declaration.name);
            }
            assert!(!row.to_string().contains("null,\"amount\""), "{row}");
        }
        let path = format!("/v1/changes?limit=5000&stream={}", declaration.name);
        let (_, feed) = world.call("GET", &path, None).await;
        assert_eq!(feed["changes"].as_array().unwrap().len(), rows.len(), "{}", declaration.name);
        let mut told: Vec<String> = feed["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| change["record"].to_string())
            .collect();
        let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
        told.sort();
        rows.sort();
        assert_eq!(told, rows, "{}", declaration.name);
    }
    let (_, transactions) = world.call("GET", "/v1/transactions?limit=1", None).await;
    let fields = Stream::Transactions.declaration().fields;
    for name in transactions["data"][0].as_object().unwrap().keys() {
        assert!(fields.iter().any(|field| field.name == name), "{name} is not declared");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_owners_are_sealed_at_rest() {
    let (world, item) = world().await;
    let auth = records(&world, &item, Stream::Auth).await;
    let identity = records(&world, &item, Stream::Identity).await;
    let account = auth[0]["account"].as_str().unwrap().to_owned();
    let name = identity[0]["owners"][0]["names"][0].as_str().unwrap().to_owned();
    assert!(account.len() > 8 && name.len() > 5, "{account} {name}");
    let folder = world.folder().to_owned();
    for file in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for canary in [&account, &name] {
            let held = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
            assert!(!held, "the database holds {canary}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_an_item_lacks_is_a_fact_and_not_asked_for_again() {
    let bank = Bank::open(82).await;
    let url = bank.url();
    let streams = [Stream::Accounts, Stream::Transactions, Stream::Holdings, Stream::Liabilities];
    let world = World::reading(bank, &url, &streams).await;
    for path in ["/investments/holdings/get", "/liabilities/get"] {
        let fault = json!({
            "kind": "item_error", "error_code": "PRODUCTS_NOT_SUPPORTED", "path": path, "times": 99,
        });
        world.bank.fault(&fault).await;
    }
    let item = world.customer("alice", "user_good").await;
    world.agree().await;
    let lacking = async || {
        let states = states(&world, &item).await;
        states.iter().filter(|state| state["state"] == "lacking").count()
    };
    world.until("the fact to be known", async || lacking().await == 2).await;
    let asked = async || {
        let calls = world.bank.calls().await;
        let of = |path: &str| calls.get(path).copied().unwrap_or(0);
        of("/investments/holdings/get") + of("/liabilities/get")
    };
    let before = asked().await;
    let sync = format!("/v1/items/{}/sync", item.item_id);
    for _ in 0..3 {
        let (_, syncs) =
            world.call("GET", &format!("/v1/items/{}/syncs", item.item_id), None).await;
        let count = syncs["data"].as_array().unwrap().len();
        world.call("POST", &sync, None).await;
        world
            .until("a sync", async || {
                let path = format!("/v1/items/{}/syncs", item.item_id);
                world.call("GET", &path, None).await.1["data"].as_array().unwrap().len() > count
            })
            .await;
    }
    assert_eq!(asked().await, before, "it is not asked for in a loop");
    let (_, told) = world.call("GET", &format!("/v1/items/{}", item.item_id), None).await;
    assert_eq!(told["status"], "healthy");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_a_page_does_not_tell_of_are_not_missing() {
    let world = World::start(83).await;
    let item = world.customer("alice", "user_transactions_dynamic").await;
    world.agree().await;
    for _ in 0..3 {
        world.bank.refresh(&item).await;
        world.agree().await;
    }
    let (_, accounts) = world.call("GET", "/v1/end_users/alice/accounts", None).await;
    for account in accounts["data"].as_array().unwrap() {
        assert_eq!(account["status"], "active", "{account}");
    }
    let (_, feed) = world.call("GET", "/v1/changes?limit=5000&stream=accounts", None).await;
    for change in feed["changes"].as_array().unwrap() {
        assert_eq!(change["record"]["status"], "active", "{change}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_balance_that_was_read_is_kept_and_calls_are_counted_for_the_bill() {
    let world = World::start(84).await;
    let item = world.customer("alice", "user_transactions_dynamic").await;
    world.agree().await;
    let (_, accounts) = world.call("GET", "/v1/end_users/alice/accounts", None).await;
    let account = accounts["data"][0]["account_id"].as_str().unwrap();
    let path = format!("/v1/items/{}/balance_readings?account_id={account}", item.item_id);
    let (status, readings) = world.call("GET", &path, None).await;
    assert_eq!(status, 200);
    let first = &readings["data"][0];
    assert_eq!(first["source"], "cached", "{readings}");
    assert!(first["fetched_at"].is_string() && first["confirmed_at"].is_string());
    let refresh = format!("/v1/items/{}/refresh", item.item_id);
    assert_eq!(world.call("POST", &refresh, None).await.0, 202);
    let path = format!("/v1/integrations/{}/usage", world.integration.id);
    world
        .until("the calls to be counted", async || {
            let (_, usage) = world.call("GET", &path, None).await;
            let rows = usage["data"].as_array().unwrap();
            rows.iter().any(|row| {
                row["path"] == "/transactions/refresh"
                    && row["made"] == 1
                    && row["cost"] == "per_call"
            })
        })
        .await;
    let calls = world.bank.calls().await;
    assert_eq!(calls.get("/accounts/balance/get"), None, "no billed call that nobody asked for");
    world.stop().await;
}
