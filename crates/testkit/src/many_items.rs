//! Many Items in simulated time: the real store's work rows, the real step, workers in their lanes,
//! and a clock that is only a number. Tells how long each Item waits from its webhook to its data.

use std::collections::BTreeMap;

use model::{ItemKey, Stream};
use pipeline::{Rules, WORKERS, step};
use plaid::{Bank, Error, Part, wire};
use serde_json::value::RawValue;
use store::WorkKind;

use crate::chance::Chance;
use crate::simulated_bank::SimulatedBank;
use crate::simulation::{LEASE, Simulation};

/// What a sync takes, in milliseconds, at a healthy bank and at a dead one, whose calls each run
/// into their time-out.
const SYNC_MS: i64 = 250;
const DEAD_MS: i64 = 125_000;
/// Webhooks come evenly over this time for each Item: a load of one worker in eight.
const MS_PER_WEBHOOK: i64 = 250;

/// A bank that never answers.
struct DeadBank;

fn no_answer() -> Error {
    Error::Resting { path: "/transactions/sync", failures: 1 }
}

impl Bank for DeadBank {
    async fn transactions_sync(&self, _: &str) -> Result<wire::SyncPage, Error> {
        Err(no_answer())
    }

    async fn accounts_balance_get(
        &self,
        _oldest: Option<jiff::Timestamp>,
    ) -> Result<wire::Accounts, Error> {
        self.accounts_get().await
    }

    async fn accounts_get(&self) -> Result<wire::Accounts, Error> {
        Err(no_answer())
    }

    async fn read(&self, _: Stream, _: &Part) -> Result<Box<RawValue>, Error> {
        Err(no_answer())
    }

    async fn remove(&self) -> Result<(), Error> {
        Err(no_answer())
    }
}

/// Milliseconds from webhook to data of each healthy Item, sorted.
pub async fn freshness(items: usize, one_is_dead: bool) -> Vec<i64> {
    let simulation = Simulation::open().await;
    let mut banks: BTreeMap<String, SimulatedBank> = BTreeMap::new();
    let mut keys: Vec<ItemKey> = Vec::new();
    for number in 0..items {
        let key = simulation.link(&format!("item-{number}"), u64::MAX - 1).await;
        let bank = SimulatedBank::new(&format!("item-{number}"), 0);
        while !bank.is_complete() {
            bank.deliver_history();
        }
        banks.insert(key.to_string(), bank);
        keys.push(key);
    }
    let dead = one_is_dead.then(|| keys[0].to_string());
    let mut chance = Chance::new(11);
    let mut webhooks: Vec<(i64, &ItemKey)> = Vec::new();
    for (place, key) in (0_i64..).zip(&keys) {
        let jitter = i64::try_from(chance.below(2_000)).expect("small");
        webhooks.push((place * MS_PER_WEBHOOK + jitter, key));
    }
    webhooks.sort();
    // Each worker: how often its Items may have failed, and until when it is busy.
    let lanes = WORKERS.iter().filter(|(kind, ..)| *kind == WorkKind::Sync);
    let mut workers: Vec<(i64, i64)> = lanes
        .flat_map(|(_, most_attempts, count)| std::iter::repeat_n((*most_attempts, 0), *count))
        .collect();
    let (mut now, mut next_webhook) = (0, 0);
    let mut told: BTreeMap<String, i64> = BTreeMap::new();
    let mut waits = Vec::new();
    // The links themselves ask for a first sync; only webhooks are measured.
    simulation.forget_work().await;
    while waits.len() < items - usize::from(one_is_dead) {
        simulation.set_millis(now);
        while let Some((at, key)) = webhooks.get(next_webhook).filter(|(at, _)| *at <= now) {
            simulation.poke(key).await;
            told.insert(key.to_string(), *at);
            next_webhook += 1;
        }
        for worker in &mut workers {
            if worker.1 > now {
                continue;
            }
            simulation.set_millis(now);
            let Some(lease) = simulation.claim(worker.0).await else { continue };
            let item = simulation.item(&lease.subject).await;
            let rules = Rules { poll_every: LEASE * 10_000, ..Simulation::rules() };
            let store = simulation.store();
            let is_dead = dead.as_ref() == Some(&lease.subject);
            worker.1 = now + if is_dead { DEAD_MS } else { SYNC_MS };
            simulation.set_millis(worker.1);
            if is_dead {
                step(store, Some(&DeadBank), &item, &lease, &rules).await;
            } else {
                step(store, Some(&banks[&lease.subject]), &item, &lease, &rules).await;
                waits.extend(told.get(&lease.subject).map(|at| worker.1 - at));
            }
        }
        let free = workers.iter().map(|(_, until)| *until).filter(|until| *until > now).min();
        let coming = webhooks.get(next_webhook).map(|(at, _)| *at);
        now = free.into_iter().chain(coming).min().unwrap_or(now + SYNC_MS).max(now + 1);
    }
    waits.sort_unstable();
    waits
}
