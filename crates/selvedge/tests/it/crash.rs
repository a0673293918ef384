//! kill -9 at random moments: no cursor is ever ahead of its rows, and after the last restart the
//! store agrees with the bank's ledger and the feed replays to the same.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Environment;
use plaid::{AccessToken, Connector, Credentials, ItemBank, Owner, Plan, Stage, pull_update};
use secrecy::SecretString;
use serde_json::{Value, json};
use store::{ItemFilter, LinkOutcome, NewIntegration, NewLink, Store};
use testkit::{Bank, CLIENT_ID, Linked, SECRET, World, ambient, http_client, open_store};

use crate::process::{Running, selvedge};

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
        if kill % 5 == 0 {
            assert_no_cursor_is_ahead(&folder, &bank, kill).await;
        }
    }
    let server = start(&folder);
    let store = open_store(folder.path(), false).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    loop {
        let (stored, ledger) = (World::stored(&store).await, bank.ledger().await);
        if stored == ledger {
            break;
        }
        let missing = ledger.keys().filter(|id| !stored.contains_key(*id)).count();
        assert!(tokio::time::Instant::now() < deadline, "seed {SEED}: {missing} rows are missing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    while store.number_changes().await.unwrap_or(1) > 0 {}
    assert_eq!(World::replay(&store).await, World::stored(&store).await, "seed {SEED}");
    let changes = store.changes(0, &store::ChangeFilter::default(), i64::MAX).await.unwrap();
    let head = store.feed_head().await.unwrap();
    assert_eq!(i64::try_from(changes.len()).unwrap(), head, "the feed starts at 1 and has no hole");
    for item in store.items(&ItemFilter::default(), None, 10).await.unwrap() {
        let of_item = |change: &&model::Change| match &change.record {
            model::Record::Transaction(row) => row.item_id == item.item_id,
            model::Record::Tombstone(gone) => gone.item_id == item.item_id,
            model::Record::Account(account) => account.item_id == item.item_id,
            model::Record::Balance(balance) => balance.item_id == item.item_id,
            model::Record::Other(record) => {
                let record: Value = serde_json::from_str(record.as_str()).unwrap();
                record["item_id"] == item.item_id.as_str()
            }
        };
        let numbers: Vec<i64> = changes.iter().filter(of_item).map(|c| c.item_seq).collect();
        let expected: Vec<i64> = (1..=item.item_seq).collect();
        assert_eq!(numbers, expected, "item_seq proves completeness");
    }
    server.kill();
    bank.close().await;
}

fn start(folder: &tempfile::TempDir) -> Running {
    let mut command =
        selvedge(&["serve", "--listen", "127.0.0.1:0", "--poll-seconds", "1", "--data-dir"]);
    command.arg(folder.path());
    Running::start(command, None)
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

/// Pulls what the bank has after each stored cursor and applies it to the stored rows by the
/// simplest means: the result must be the ledger. A cursor ahead of its rows would lose some.
async fn assert_no_cursor_is_ahead(folder: &tempfile::TempDir, bank: &Bank, kill: usize) {
    let store = open_store(folder.path(), false).await;
    let mut rows = World::stored(&store).await;
    let connector = Connector::new(http_client());
    for item in store.items(&ItemFilter::default(), None, 10).await.unwrap() {
        let token = store.access_token(&item.key).await.unwrap().unwrap();
        let credentials =
            Credentials { client_id: CLIENT_ID.into(), secret: SecretString::from(SECRET) };
        let client =
            connector.client(Environment::Sandbox, bank.url().parse().unwrap(), credentials);
        let owner = Owner { item_id: item.item_id.clone(), end_user_id: item.end_user_id.clone() };
        let mut applied = Applied { rows: &mut rows };
        let bank = ItemBank { client, token: AccessToken::stored(token) };
        let plan = Plan { owner: &owner, cursor: &item.cursor };
        pull_update(&bank, plan, &ambient(), &mut applied).await.unwrap();
    }
    let ledger = bank.ledger().await;
    assert_eq!(rows.len(), ledger.len(), "after kill {kill}, seed {SEED}");
    assert!(rows == ledger, "after kill {kill}, seed {SEED}");
}

struct Applied<'a> {
    rows: &'a mut BTreeMap<String, Value>,
}

impl Stage for Applied<'_> {
    type Error = std::convert::Infallible;

    async fn stage(&mut self, _: u32, _: u32, page: model::Page) -> Result<(), Self::Error> {
        for staged in page.added.iter().chain(&page.modified) {
            let row = &staged.record;
            let currency = model::Currency::iso(&row.currency);
            let minor = model::Money::parse(&row.amount, currency).unwrap().0.minor();
            let facts = json!([
                row.account_id,
                row.pending_transaction_id,
                row.pending,
                minor,
                row.currency,
                row.date.to_string(),
                row.name,
            ]);
            self.rows.insert(row.transaction_id.clone(), facts);
            row.pending_transaction_id.as_ref().map(|id| self.rows.remove(id));
        }
        for gone in &page.removed {
            self.rows.remove(&gone.transaction_id);
        }
        Ok(())
    }
}
