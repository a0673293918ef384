//! The sync core under a clock that jumps, a bank that misbehaves, writes that fail, crashes and rival
//! workers, from seeds: thousands of lives, and each of them twice the same.

use std::ops::Range;

use testkit::{Life, Simulation};

/// Seeds in the ordinary run; `SELVEDGE_SEEDS=a..b` asks for others.
const SEEDS: Range<u64> = 0..2_000;
/// Lives in one store, before it is thrown away.
const LIVES: usize = 250;

fn seeds() -> Range<u64> {
    let asked = std::env::var("SELVEDGE_SEEDS").ok();
    let range = asked.as_deref().and_then(|text| text.split_once(".."));
    let range = range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or(SEEDS)
}

/// What many lives were like together.
#[derive(Default)]
struct Sum {
    steps: usize,
    syncs: usize,
    failures: usize,
    crashes: usize,
    rivals: usize,
}

impl Sum {
    fn add(&mut self, life: &Life) {
        self.steps += life.story.len();
        self.syncs += life.syncs;
        self.failures += life.failures;
        self.crashes += life.crashes;
        self.rivals += life.rivals;
    }
}

/// Runs a future on a thread's own runtime: nothing else is there to disturb the order of things.
fn alone<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn live(seeds: &[u64]) -> Sum {
    let mut sum = Sum::default();
    for chunk in seeds.chunks(LIVES) {
        alone(async {
            let simulation = Simulation::open().await;
            for seed in chunk {
                sum.add(&simulation.live(*seed).await.unwrap_or_else(|why| panic!("{why}")));
            }
        });
    }
    sum
}

#[test]
fn every_simulated_life_keeps_every_promise() {
    let all: Vec<u64> = seeds().collect();
    let half = |half: usize| -> Vec<u64> { all.iter().copied().skip(half).step_by(2).collect() };
    let (first, second) = (half(0), half(1));
    let (mut total, rest) = std::thread::scope(|scope| {
        let other = scope.spawn(|| live(&second));
        (live(&first), other.join().unwrap())
    });
    total.steps += rest.steps;
    total.syncs += rest.syncs;
    total.failures += rest.failures;
    total.crashes += rest.crashes;
    total.rivals += rest.rivals;
    println!(
        "{} lives, {} steps: {} syncs, {} failures, {} crashes, {} rival workers",
        all.len(),
        total.steps,
        total.syncs,
        total.failures,
        total.crashes,
        total.rivals
    );
    let enough = all.len() / 10;
    assert!(total.crashes > enough && total.rivals > enough && total.failures > enough);
}

#[test]
fn a_seed_lives_the_same_life_twice() {
    for seed in [3, 7, 1_000_003] {
        let story = || alone(async { Simulation::open().await.live(seed).await.unwrap().story });
        assert_eq!(story(), story(), "seed {seed}");
    }
}
