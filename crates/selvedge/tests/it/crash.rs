//! kill -9 at random moments: no cursor is ever ahead of its rows, and after the last restart the
//! store agrees with the bank's ledger and the feed replays to the same.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Annotation, Environment};
use secrecy::SecretString;
use store::{LinkOutcome, NewIntegration, NewLink, Store};
use testkit::{Bank, CLIENT_ID, Evidence, Linked, SECRET, World, cursors_ahead, open_store};

use crate::installation::Processes;

/// Kills in the ordinary run; `SELVEDGE_KILLS` asks for more.
const KILLS: usize = 60;
/// Longest life of a process, in milliseconds after it is ready.
const LONGEST_LIFE_MS: u64 = 350;
const SEED: u64 = 2_026;

#[tokio::test(flavor = "multi_thread")]
async fn sixty_kills_lose_nothing_and_double_nothing() {
    let kills = std::env::var("SELVEDGE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("master.key"),
        "c2VsdmVkZ2Ugc2VsdmVkZ2Ugc2VsdmVkZ2Ugc2VsdmU=",
    )
    .unwrap();
    let bank = Bank::open(SEED).await;
    let store = open_store(folder.path(), false).await;
    let items = customers(&bank, &store).await;
    drop(store);
    let mut notes = BTreeMap::new();
    let mut chance = SEED;
    for kill in 0..kills {
        let server = start(&folder);
        if kill % 3 == 0 {
            bank.advance(1).await;
        }
        for item in &items[1..] {
            bank.refresh(item).await;
        }
        // A linear congruential step: the moments differ and repeat with the seed.
        chance =
            chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_millis((chance >> 33) % LONGEST_LIFE_MS)).await;
        server.kill();
        // On a busy machine no life may be long enough for the first load; one is given time then.
        if notes.is_empty() && kill == kills / 2 {
            let server = start(&folder);
            let store = open_store(folder.path(), false).await;
            while World::stored(&store).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            server.kill();
        }
        if notes.is_empty() {
            annotate(&folder, &mut notes).await;
        }
        if kill % 5 == 0 {
            let store = open_store(folder.path(), false).await;
            let ahead = cursors_ahead(&store, &bank).await;
            assert_eq!(ahead, None, "after kill {kill}, seed {SEED}");
        }
    }
    let server = start(&folder);
    let store = open_store(folder.path(), false).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    loop {
        let (stored, ledger) = (World::stored(&store).await, bank.ledger().await);
        let unprocessed = store.unprocessed_end_users(None).await.unwrap();
        if stored == ledger && unprocessed == 0 {
            break;
        }
        let missing = ledger.keys().filter(|id| !stored.contains_key(*id)).count();
        assert!(tokio::time::Instant::now() < deadline, "seed {SEED}: {missing} rows are missing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let canaries: Vec<String> = items.iter().map(|item| item.access_token.clone()).collect();
    let evidence = Evidence {
        folder: Some(folder.path()),
        canaries: &canaries,
        notes: &notes,
        ..Evidence::of(&store, &bank)
    };
    assert!(!notes.is_empty(), "something was noted on the way");
    let violations = evidence.violations().await;
    assert!(violations.is_empty(), "seed {SEED}: {violations:#?}");
    println!("{kills} kills, seed {SEED}: every promise holds");
    server.kill();
    bank.close().await;
}

/// Notes something about one row in ten, once there are rows.
async fn annotate(folder: &tempfile::TempDir, notes: &mut BTreeMap<String, Annotation>) {
    let store = open_store(folder.path(), false).await;
    let filter = store::TransactionFilter::default();
    for row in store.transactions(&filter, None, i64::MAX).await.unwrap().iter().step_by(10) {
        let note =
            Annotation { note: Some(format!("note on {}", row.id)), ..Annotation::default() };
        let word = note.clone();
        store.annotate(&row.id, move |_| (word, None)).await.unwrap();
        notes.insert(row.id.clone(), note);
    }
}

fn start(folder: &tempfile::TempDir) -> Processes {
    Processes::start(folder.path(), &["--poll-seconds", "1"], None).expect("it starts")
}

async fn customers(bank: &Bank, store: &Store) -> Vec<Linked> {
    let integration = store
        .create_integration(NewIntegration {
            name: "Bank".into(),
            environment: Environment::Sandbox,
            base_url: bank.url().parse().unwrap(),
            client_id: CLIENT_ID.into(),
            secret: SecretString::from(SECRET),
            streams: model::Stream::USUAL.to_vec(),
            is_source: false,
            start_date: None,
        })
        .await
        .unwrap();
    let mut items = Vec::new();
    for username in ["user_good", "user_transactions_dynamic", "user_small_business"] {
        let item = bank.link(username, None).await;
        let token = SecretString::from(item.access_token.as_str());
        let link = NewLink::new(integration.id.clone(), &item.item_id, token, username);
        assert!(matches!(store.link(link).await.unwrap(), LinkOutcome::Created(_)));
        items.push(item);
    }
    items
}
