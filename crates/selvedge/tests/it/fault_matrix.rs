//! Plaid behaving badly in every way the emulator knows, on every endpoint that a link and a sync
//! call: nothing is lost, doubled or hidden.

use emulator::KINDS;
use serde_json::{Value, json};
use testkit::World;

/// What a sync calls.
const OF_SYNC: [&str; 2] = ["/transactions/sync", "/accounts/get"];
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

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_sync_leaves_the_store_equal_to_the_ledger() {
    let world = World::start(61).await;
    let item = world.customer("harbor", "user_transactions_dynamic").await;
    world.agree().await;
    let mut asked = 0;
    for path in OF_SYNC {
        for (name, fault) in faults(path) {
            world.bank.fault(&fault).await;
            world.bank.refresh(&item).await;
            asked += 1;
            // A person asks, so that no back-off stands in the way.
            let sync = format!("/v1/items/{}/sync", item.item_id);
            world
                .until(&format!("{name} on {path} to be over"), async || {
                    let (status, answer) = world.call("POST", &sync, None).await;
                    assert!(status < 300, "{name} on {path}: {answer}");
                    let met = world.bank.faults().await.iter().all(|fault| fault["struck"] == 1);
                    met && World::stored(&world.store).await == world.bank.ledger().await
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
