//! Plaid behaving badly in every way the emulator knows, on every endpoint that a link and a sync
//! call: nothing is lost, doubled or hidden.

use std::ops::Range;

use emulator::KINDS;
use model::Stream;
use serde_json::{Value, json};
use store::WorkKind;
use testkit::{Bank, World};

/// What a sync calls, with the stream that an endpoint is read for alone.
const OF_SYNC: [(&str, Option<&str>); 10] = [
    ("/transactions/sync", None),
    ("/accounts/get", None),
    ("/transactions/recurring/get", Some("recurring")),
    ("/liabilities/get", Some("liabilities")),
    ("/investments/holdings/get", Some("holdings")),
    ("/investments/transactions/get", Some("investment_transactions")),
    ("/identity/get", Some("identity")),
    ("/auth/get", Some("auth")),
    ("/institutions/get_by_id", Some("institutions")),
    ("/item/get", Some("item")),
];
/// What a link calls.
const OF_LINK: [&str; 2] = ["/item/get", "/item/webhook/update"];

/// The faults that can strike a path, as the emulator takes them.
fn faults(path: &str) -> Vec<(String, Value)> {
    let strikes = |name: &str| match name {
        "item_error" => false,
        "mutation_during_pagination" => path == "/transactions/sync",
        name => !name.starts_with("webhook_"),
    };
    let asked = KINDS.iter().filter(|(_, name, _)| strikes(name));
    asked
        .map(|(kind, name, _)| {
            let fault = json!({ "kind": kind, "path": path, "seconds": 0 });
            ((*name).to_owned(), fault)
        })
        .collect()
}

async fn assert_all_were_met(world: &World, count: usize) {
    let asked = world.bank.faults().await;
    assert_eq!(asked.len(), count);
    let unspent: Vec<&Value> = asked.iter().filter(|fault| fault["struck"] != 1).collect();
    assert!(unspent.is_empty(), "every fault was met: {unspent:#?}");
}

/// Seeds in the ordinary run; `SELVEDGE_FAULT_SEEDS=a..b` asks for others.
fn seeds() -> Range<u64> {
    let asked = std::env::var("SELVEDGE_FAULT_SEEDS").ok();
    let range = asked.as_deref().and_then(|text| text.split_once(".."));
    let range = range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or(61..62)
}

/// Worlds at a time: most of each is waiting for retries.
const AT_A_TIME: usize = 4;

#[test]
fn every_fault_of_a_sync_leaves_the_store_equal_to_the_ledger() {
    let all: Vec<u64> = seeds().collect();
    let mut runs = 0;
    for some in all.chunks(AT_A_TIME) {
        runs += std::thread::scope(|scope| {
            let world = |seed: u64| {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(every_fault(seed))
            };
            let worlds: Vec<_> =
                some.iter().map(|seed| scope.spawn(move || world(*seed))).collect();
            worlds.into_iter().map(|world| world.join().unwrap()).sum::<usize>()
        });
    }
    println!("{runs} faults of a sync, each met: store, ledger and feed agree");
}

async fn every_fault(seed: u64) -> usize {
    let bank = Bank::open(seed).await;
    let url = bank.url();
    let all: Vec<Stream> = Stream::all().collect();
    let world = World::reading(bank, &url, &all).await;
    let products = ["transactions", "auth", "identity", "liabilities", "investments"];
    let webhook = world.webhook_url();
    let user = "user_transactions_dynamic";
    let item = world.bank.link_at("ins_109508", user, &products, Some(&webhook)).await;
    world.link("harbor", &item).await;
    world.agree().await;
    let streams = format!("/v1/items/{}/streams", item.item_id);
    let is_read = async |stream: &str| {
        let (_, states) = world.call("GET", &streams, None).await;
        let states = states["data"].as_array().unwrap().clone();
        // A lack is a fact; whatever else must be read again once the fault is over.
        states.iter().any(|s| {
            s["stream"] == stream && matches!(s["state"].as_str(), Some("available" | "lacking"))
        })
    };
    let mut asked = 0;
    for (path, stream) in OF_SYNC {
        for (name, fault) in faults(path) {
            world.bank.fault(&fault).await;
            if stream.is_none() {
                world.bank.refresh(&item).await;
            }
            asked += 1;
            // A person asks for everything, so that no back-off and no schedule stands in the way.
            let full = if stream.is_some() { "?full=true" } else { "" };
            let sync = format!("/v1/items/{}/sync{full}", item.item_id);
            world
                .until(&format!("{name} on {path}, seed {seed}, to be over"), async || {
                    let met = world.bank.faults().await.iter().all(|fault| fault["struck"] == 1);
                    let read = match stream {
                        Some(stream) => is_read(stream).await,
                        None => true,
                    };
                    let agrees = World::stored(&world.store).await == world.bank.ledger().await;
                    if met && read && agrees {
                        return true;
                    }
                    let item = world.store.item(&item.item_id).await.unwrap().unwrap();
                    let working = world.store.is_at_work(WorkKind::Sync, item.key.as_str());
                    if !working.await.unwrap() {
                        let (status, answer) = world.call("POST", &sync, None).await;
                        assert!(status < 300, "{name} on {path}: {answer}");
                    }
                    false
                })
                .await;
        }
    }
    assert_all_were_met(&world, asked).await;
    world.assert_sound().await;
    let path = format!("/v1/items/{}", item.item_id);
    world
        .until("the item to be healthy", async || {
            world.call("GET", &path, None).await.1["status"] == "healthy"
        })
        .await;
    world.stop().await;
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_under_any_fault_is_refused_or_whole_and_a_second_try_makes_it_whole() {
    let world = World::start(62).await;
    let path = format!("/v1/integrations/{}/links", world.integration.id);
    let mut asked = 0;
    for endpoint in OF_LINK {
        for (name, fault) in faults(endpoint) {
            let item = world.bank.link("user_good", None).await;
            world.bank.fault(&fault).await;
            asked += 1;
            let body = json!({
                "item_id": item.item_id, "access_token": item.access_token,
                "end_user_id": format!("{endpoint}/{name}"), "update_webhook": true,
            });
            let (status, answer) = world.call("POST", &path, Some(body.clone())).await;
            assert!(
                matches!(status, 200 | 201) || answer["code"].is_string(),
                "{name} on {endpoint}: {status} {answer}"
            );
            let (status, answer) = world.call("POST", &path, Some(body)).await;
            assert!(matches!(status, 200 | 201), "{name} on {endpoint}: {status} {answer}");
        }
    }
    assert_all_were_met(&world, asked).await;
    world.agree().await;
    world.assert_sound().await;
    world.stop().await;
}
