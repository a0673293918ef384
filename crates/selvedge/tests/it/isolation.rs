//! One dead Item never delays another: in simulated time, where every moment counts exactly, and by the
//! clock, side by side.

use std::time::Duration;

use serde_json::json;
use store::{ItemFilter, WorkKind};
use testkit::{Linked, World, freshness};
use tokio::time::Instant;

/// Items in the ordinary run; `SELVEDGE_ISOLATION` asks for the full 1,000.
const ITEMS: usize = 60;
/// Runs of each kind by the clock, of which the median counts; one in the ordinary run.
const RUNS: usize = 5;
/// Enough Items for the bars to mean something.
const FULL: usize = 1_000;

fn count() -> usize {
    std::env::var("SELVEDGE_ISOLATION").ok().and_then(|text| text.parse().ok()).unwrap_or(ITEMS)
}

#[tokio::test]
async fn in_simulated_time_a_dead_item_delays_the_others_by_less_than_five_percent() {
    let p99 = async |one_is_dead: bool| {
        let waits = freshness(count(), one_is_dead).await;
        waits[waits.len() * 99 / 100]
    };
    let (without, with) = (p99(false).await, p99(true).await);
    println!("{} Items, p99 freshness: {without} ms without, {with} ms with a dead one", count());
    assert!(with * 100 <= without * 105, "{with} ms with a dead Item, {without} ms without");
}

/// The slowest but one hundredth of the Items, from the moment all were asked for.
async fn p99_by_the_clock(world: &World, items: &[Linked]) -> Duration {
    let began = Instant::now();
    let asked = testkit::now();
    let filter = ItemFilter::default();
    for item in world.store.items(&filter, None, i64::MAX).await.unwrap() {
        world.store.poke(WorkKind::Sync, item.key.as_str(), false).await.unwrap();
    }
    let mut done = 0;
    while done < items.len() * 99 / 100 {
        let all = world.store.items(&filter, None, i64::MAX).await.unwrap();
        done = all.iter().filter(|i| i.last_success_at.is_some_and(|at| at > asked)).count();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(began.elapsed() < Duration::from_secs(120), "{done} of {} Items", items.len());
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_clock_the_others_are_done_while_the_dead_one_hangs() {
    let world = World::start(401).await;
    let mut items = Vec::new();
    for number in 0..count() {
        let item = world.bank.link("user_good", None).await;
        world.link(&format!("user-{number}"), &item).await;
        items.push(item);
    }
    world.agree().await;
    let runs = if count() >= FULL { RUNS } else { 1 };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        without.push(p99_by_the_clock(&world, &items).await);
        let fault = json!({
            "kind": "timeout_before", "item_id": items[0].item_id, "seconds": 20, "times": 1,
        });
        world.bank.fault(&fault).await;
        with.push(p99_by_the_clock(&world, &items[1..]).await);
        let dead = world.store.item(&items[0].item_id).await.unwrap().unwrap();
        let hangs = world.store.is_at_work(WorkKind::Sync, dead.key.as_str()).await.unwrap();
        assert!(hangs, "the dead one still hangs");
        world
            .until("the dead one to be over", async || {
                let at_work = world.store.is_at_work(WorkKind::Sync, dead.key.as_str());
                !at_work.await.unwrap()
            })
            .await;
    }
    without.sort();
    with.sort();
    let (without, with) = (without[runs / 2], with[runs / 2]);
    println!("{} Items by the clock, median p99: {without:?} without, {with:?} with", items.len());
    if items.len() >= FULL {
        assert!(with * 100 <= without * 125, "{with:?} with a dead Item, {without:?} without");
    }
    world.stop().await;
}
