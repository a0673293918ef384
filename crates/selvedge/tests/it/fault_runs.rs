//! Faults of a whole installation, one after another while its bank goes on: processes killed and paused,
//! leases taken away, the database and the broker gone for a while, webhooks lost and doubled. Whatever
//! comes, in the end the store is the ledger, and each Item's changes are 1 to n. In the mode that was
//! chosen: what a mode does not have cannot fail there.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures_util::StreamExt;
use serde_json::{Value, json};
use store::ChangeFilter;
use testkit::{Bank, Chance, Evidence, Linked, Mode, NatsCluster, Postgres, send_signal};

use crate::installation::Installation;

/// Rounds of every fault of the mode; `SELVEDGE_FAULT_ROUNDS` asks for more.
const ROUNDS: usize = 1;
/// Customers whose banks go on.
const ITEMS: usize = 6;
/// How long something may take that must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than any lease.
const PAST_THE_LEASE: Duration = Duration::from_secs(17);
/// How long the database is gone: in the ordinary run, and when more rounds are asked for.
const GONE: Duration = Duration::from_secs(3);
const GONE_LONG: Duration = Duration::from_secs(20);

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A process ends in the middle of a page.
    KillInPage,
    /// Webhooks are lost, and others come twice.
    Webhooks,
    /// A worker sleeps past its lease and wakes up believing that it still has it.
    PauseWorker,
    /// Every lease is taken away under those who hold it.
    ExpireLeases,
    /// The database ends without warning and comes back.
    StopDatabase,
    /// The server that leads the streams ends without warning and comes back.
    KillLeader,
}

impl Fault {
    fn of(mode: Mode) -> Vec<Self> {
        use Fault::{ExpireLeases, KillInPage, KillLeader, PauseWorker, StopDatabase, Webhooks};
        let mut faults = vec![KillInPage, Webhooks, PauseWorker, ExpireLeases];
        if mode != Mode::Sqlite {
            faults.push(StopDatabase);
        }
        if mode == Mode::Nats {
            faults.push(KillLeader);
        }
        faults
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_the_store_is_the_ledger_again() {
    let asked = std::env::var("SELVEDGE_FAULT_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds = asked.unwrap_or(ROUNDS);
    let gone = if asked.is_some() { GONE_LONG } else { GONE };
    let mut installation =
        Installation::start(&["--poll-seconds", "2", "--private-subscribers"]).await;
    let bank = Bank::open(81).await;
    let mut items = Vec::new();
    for number in 0..ITEMS {
        items.push(installation.link(&bank, &format!("user-{number}")).await);
    }
    installation.agree(&bank).await;
    let faults = Fault::of(Mode::chosen());
    let mut chance = Chance::new(81);
    for round in 0..rounds {
        for fault in &faults {
            println!("round {round}: {fault:?}");
            news(&bank, &items).await;
            strike(*fault, &mut installation, &bank, &items, &mut chance, gone).await;
            news(&bank, &items).await;
            installation.agree(&bank).await;
            let violations = Evidence::of(installation.store(), &bank).violations().await;
            assert!(violations.is_empty(), "round {round}, {fault:?}: {violations:#?}");
        }
    }
    let head = installation.store().feed_head().await.unwrap();
    if Mode::chosen() == Mode::Nats {
        the_log_is_the_feed(&installation).await;
    }
    println!(
        "{} faults of {} kinds in mode {:?}: 0 violations over {head} changes",
        rounds * faults.len(),
        faults.len(),
        Mode::chosen()
    );
    bank.close().await;
}

/// Something happens at every bank.
async fn news(bank: &Bank, items: &[Linked]) {
    bank.advance(1).await;
    for item in items {
        bank.refresh(item).await;
    }
}

/// The same, in pages that take a while, so that what comes then comes in their middle.
async fn slow_news(bank: &Bank, items: &[Linked]) {
    for item in items {
        let slow = json!({
            "kind": "slow", "item_id": item.item_id, "path": "/transactions/sync",
            "seconds": 2, "times": 1,
        });
        bank.fault(&slow).await;
    }
    news(bank, items).await;
}

async fn strike(
    fault: Fault,
    installation: &mut Installation,
    bank: &Bank,
    items: &[Linked],
    chance: &mut Chance,
    gone: Duration,
) {
    match fault {
        Fault::KillInPage => {
            slow_news(bank, items).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            installation.kill_one_that_works(chance);
        }
        Fault::Webhooks => {
            for item in items {
                for kind in ["webhook_lost", "webhook_twice", "webhook_out_of_order"] {
                    let fault = json!({ "kind": kind, "item_id": item.item_id, "times": 1 });
                    bank.fault(&fault).await;
                }
            }
            news(bank, items).await;
            news(bank, items).await;
        }
        Fault::PauseWorker => {
            let worker = installation.one_that_works(chance);
            slow_news(bank, items).await;
            send_signal(worker, "STOP");
            tokio::time::sleep(PAST_THE_LEASE).await;
            send_signal(worker, "CONT");
        }
        Fault::ExpireLeases => {
            for _ in 0..10 {
                slow_news(bank, items).await;
                let expired = async {
                    while installation.expire_leases().await == 0 {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                };
                tokio::time::timeout(PATIENCE, expired).await.expect("somebody holds a lease");
            }
        }
        Fault::StopDatabase => {
            let server = Postgres::shared();
            server.stop();
            tokio::time::sleep(gone).await;
            server.start_again();
        }
        Fault::KillLeader => {
            let cluster = NatsCluster::shared();
            let leader = leader(installation).await;
            cluster.kill(leader);
            news(bank, items).await;
            tokio::time::sleep(gone).await;
            cluster.start_again(leader);
        }
    }
}

/// What a durable consumer reads from the first message on is the feed, and from any other on its rest.
async fn the_log_is_the_feed(installation: &Installation) {
    let store = installation.store();
    while store.number_changes().await.unwrap() > 0 {}
    let feed = store.changes(0, &ChangeFilter::default(), i64::MAX).await.unwrap();
    let client = async_nats::connect(NatsCluster::shared().server_url(0)).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let name = format!("{}_changes", installation.prefix());
    let middle = feed.len() / 2;
    for first in [0, middle] {
        let mut stream = context.get_stream(&name).await.unwrap();
        let brought = async {
            while stream.info().await.unwrap().state.last_sequence < feed.len() as u64 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), brought).await.expect("all is brought");
        let start_sequence = first as u64 + 1;
        let durable = pull::Config {
            durable_name: Some(format!("reader-{first}")),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(durable).await.unwrap();
        let mut messages = consumer.messages().await.unwrap();
        for change in &feed[first..] {
            let message = messages.next().await.unwrap().unwrap();
            let told: Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(told, serde_json::to_value(change).unwrap());
            assert_eq!(message.info().unwrap().stream_sequence, change.seq.unsigned_abs());
            let id = message.headers.as_ref().unwrap().get("Nats-Msg-Id").unwrap().as_str();
            assert_eq!(id, change.seq.to_string());
            let subject: Vec<&str> = message.subject.split('.').collect();
            assert!(
                subject[2].starts_with("itg_") && subject[3].starts_with("eus_"),
                "{subject:?}"
            );
            message.ack().await.unwrap();
        }
    }
    println!("the log has all {} changes of the feed", feed.len());
}

/// The number of the server that leads the log of an installation.
async fn leader(installation: &Installation) -> usize {
    let cluster = NatsCluster::shared();
    let client = async_nats::connect(cluster.server_url(0)).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let name = format!("{}_changes", installation.prefix());
    let mut stream = context.get_stream(name).await.unwrap();
    let info = stream.info().await.unwrap();
    let leader = info.cluster.as_ref().and_then(|cluster| cluster.leader.clone());
    NatsCluster::number_of(&leader.unwrap()).unwrap()
}
