//! Transactions keep their identity: pending to posted in any order, late removals, full re-walks.

use jiff::SignedDuration;
use jiff::civil::Date;
use model::{ChangeKind, Direction, ItemKey, Page, Record, Removal, Staged, Stream, Transaction};
use secrecy::SecretString;
use store::{ChangeFilter, LinkOutcome, NewLink, Store, TransactionFilter, Update, WorkKind};
use testkit::open_store;

struct Ledger {
    store: Store,
    key: ItemKey,
    cursor: u32,
    _folder: tempfile::TempDir,
}

impl Ledger {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(folder.path(), true).await;
        let integration = store
            .create_integration(store::NewIntegration {
                name: "Bank".into(),
                environment: model::Environment::Sandbox,
                base_url: model::Environment::Sandbox.base_url(),
                client_id: "client".into(),
                secret: SecretString::from("secret"),
                streams: Stream::USUAL.to_vec(),
                is_source: false,
                start_date: None,
            })
            .await
            .unwrap();
        let token = SecretString::from("access-sandbox-1");
        let link = NewLink::new(integration.id, "item", token, "alice");
        let LinkOutcome::Created(key) = store.link(link).await.unwrap() else { panic!("new") };
        Self { store, key, cursor: 0, _folder: folder }
    }

    /// Applies pages as one update, and gives what the feed says of it: kind and Plaid's id.
    async fn apply(
        &mut self,
        pages: &[Page],
        full_walk: bool,
    ) -> Vec<(ChangeKind, String, String)> {
        while self.store.number_changes().await.unwrap() > 0 {}
        let head = self.store.feed_head().await.unwrap();
        let lease = SignedDuration::from_secs(60);
        self.store.poke(WorkKind::Sync, self.key.as_str(), true).await.unwrap();
        let lease =
            self.store.claim(WorkKind::Sync, i64::MAX, "test", lease).await.unwrap().unwrap();
        for (number, page) in pages.iter().enumerate() {
            self.store.stage_page(&lease, 1, u32::try_from(number).unwrap(), page).await.unwrap();
        }
        let cursor = |number: u32| if number == 0 { String::new() } else { number.to_string() };
        let from = cursor(self.cursor);
        let update = Update {
            pages: u32::try_from(pages.len()).unwrap(),
            cursor: cursor(self.cursor + 1),
            full_walk,
            ..Update::new(self.key.clone(), lease, testkit::now(), &from)
        };
        self.store.apply_update(update).await.unwrap();
        self.cursor += 1;
        while self.store.number_changes().await.unwrap() > 0 {}
        let changes = self.store.changes(head, &ChangeFilter::default(), 1_000).await.unwrap();
        let told = changes.into_iter().map(|change| {
            assert_eq!(change.stream, Stream::Transactions);
            match change.record {
                Record::Transaction(row) => (change.kind, row.transaction_id, row.id),
                Record::Tombstone(gone) => {
                    (change.kind, gone.transaction_id.unwrap(), gone.id.unwrap())
                }
                other => panic!("{other:?}"),
            }
        });
        told.collect()
    }

    async fn live(&self) -> Vec<String> {
        let filter = TransactionFilter::default();
        let rows = self.store.transactions(&filter, None, 1_000).await.unwrap();
        let mut ids: Vec<String> = rows.into_iter().map(|row| row.transaction_id).collect();
        ids.sort();
        ids
    }
}

fn row(transaction_id: &str, pending_of: Option<&str>, amount: &str) -> Staged<Transaction> {
    let record = Transaction {
        id: String::new(),
        transaction_id: transaction_id.into(),
        item_id: "item".into(),
        account_id: "account".into(),
        end_user_id: "alice".into(),
        date: Date::constant(2026, 1, 31),
        authorized_date: None,
        amount: amount.into(),
        amount_exact: None,
        direction: Direction::Out,
        currency: "USD".into(),
        pending: transaction_id.starts_with("pending"),
        pending_transaction_id: pending_of.map(str::to_owned),
        name: "Coffee".into(),
        merchant_name: None,
        merchant_entity_id: None,
        website: None,
        counterparties: Vec::new(),
        original_description: None,
        payment_channel: None,
        check_number: None,
        category: None,
        enrichment: None,
        annotation: None,
        removed: false,
    };
    Staged { record, raw: "{}".into() }
}

fn added(rows: Vec<Staged<Transaction>>) -> Page {
    Page { added: rows, ..Page::default() }
}

fn removed(transaction_id: &str) -> Page {
    let removal = Removal { transaction_id: transaction_id.into(), account_id: None };
    Page { removed: vec![removal], ..Page::default() }
}

#[tokio::test]
async fn posting_is_one_modified_under_the_same_id() {
    let mut ledger = Ledger::open().await;
    let first = ledger.apply(&[added(vec![row("pending", None, "5.00")])], false).await;
    let posting = Page {
        removed: removed("pending").removed,
        ..added(vec![row("posted", Some("pending"), "6.00")])
    };
    let then = ledger.apply(&[posting], false).await;
    assert_eq!(then, [(ChangeKind::Modified, "posted".into(), first[0].2.clone())]);
    assert_eq!(ledger.live().await, ["posted"]);
}

#[tokio::test]
async fn a_late_removal_of_the_pending_twin_is_absorbed() {
    let mut ledger = Ledger::open().await;
    let first = ledger.apply(&[added(vec![row("pending", None, "5.00")])], false).await;
    let then = ledger.apply(&[added(vec![row("posted", Some("pending"), "5.00")])], false).await;
    assert_eq!(then, [(ChangeKind::Modified, "posted".into(), first[0].2.clone())]);
    assert_eq!(ledger.apply(&[removed("pending")], false).await, []);
    assert_eq!(ledger.live().await, ["posted"]);
}

#[tokio::test]
async fn a_removal_that_came_first_leaves_a_tombstone_that_posting_revives() {
    let mut ledger = Ledger::open().await;
    let first = ledger.apply(&[added(vec![row("pending", None, "5.00")])], false).await;
    let id = first[0].2.clone();
    let gone = ledger.apply(&[removed("pending")], false).await;
    assert_eq!(gone, [(ChangeKind::Removed, "pending".into(), id.clone())]);
    assert!(ledger.live().await.is_empty());
    let back = ledger.apply(&[added(vec![row("posted", Some("pending"), "5.00")])], false).await;
    assert_eq!(back, [(ChangeKind::Added, "posted".into(), id)]);
    assert_eq!(ledger.live().await, ["posted"]);
}

#[tokio::test]
async fn twins_split_over_pages_of_one_update_never_live_twice() {
    for pages in [
        vec![removed("pending"), added(vec![row("posted", Some("pending"), "5.00")])],
        vec![added(vec![row("posted", Some("pending"), "5.00")]), removed("pending")],
    ] {
        let mut ledger = Ledger::open().await;
        let first = ledger.apply(&[added(vec![row("pending", None, "5.00")])], false).await;
        let told = ledger.apply(&pages, false).await;
        assert_eq!(told.last().unwrap().2, first[0].2, "the same event");
        assert_eq!(ledger.live().await, ["posted"]);
    }
}

#[tokio::test]
async fn a_pending_row_that_comes_after_its_posted_one_is_old_news() {
    let mut ledger = Ledger::open().await;
    ledger.apply(&[added(vec![row("posted", Some("pending"), "5.00")])], false).await;
    assert_eq!(ledger.apply(&[added(vec![row("pending", None, "5.00")])], false).await, []);
    assert_eq!(ledger.live().await, ["posted"]);
}

#[tokio::test]
async fn what_is_told_twice_changes_nothing_and_unknown_removals_are_ignored() {
    let mut ledger = Ledger::open().await;
    let page = added(vec![row("a", None, "1.00"), row("b", None, "2.00")]);
    assert_eq!(ledger.apply(std::slice::from_ref(&page), false).await.len(), 2);
    assert_eq!(ledger.apply(&[page.clone(), page, removed("nobody")], false).await, []);
    let changed = Page { modified: vec![row("a", None, "1.50")], ..Page::default() };
    assert_eq!(ledger.apply(&[changed], false).await[0].0, ChangeKind::Modified);
}

#[tokio::test]
async fn a_full_walk_reconciles_what_is_absent() {
    let mut ledger = Ledger::open().await;
    let page = added(vec![
        row("a", None, "1.00"),
        row("ghost", None, "2.00"),
        row("pending", None, "3.00"),
    ]);
    ledger.apply(&[page], false).await;
    let walk = added(vec![row("a", None, "1.00"), row("posted", Some("pending"), "3.00")]);
    let told = ledger.apply(&[walk], true).await;
    let kinds: Vec<(ChangeKind, &str)> = told.iter().map(|(k, id, _)| (*k, id.as_str())).collect();
    assert_eq!(kinds, [(ChangeKind::Modified, "posted"), (ChangeKind::Removed, "ghost")]);
    assert_eq!(ledger.live().await, ["a", "posted"]);
}

#[tokio::test]
async fn a_full_walk_with_an_unreadable_element_proves_no_absence() {
    let mut ledger = Ledger::open().await;
    ledger.apply(&[added(vec![row("a", None, "1.00"), row("b", None, "2.00")])], false).await;
    let unreadable = model::Quarantined {
        part: "added".into(),
        reason: "an amount of words".into(),
        raw: r#"{"transaction_id":"b"}"#.into(),
    };
    let walk = Page { quarantined: vec![unreadable], ..added(vec![row("a", None, "1.00")]) };
    assert_eq!(ledger.apply(&[walk], true).await, []);
    assert_eq!(ledger.live().await, ["a", "b"]);
}

#[tokio::test]
async fn a_posting_that_is_taken_back_is_pending_again_under_the_same_id() {
    let mut ledger = Ledger::open().await;
    let first = ledger.apply(&[added(vec![row("pending", None, "5.00")])], false).await;
    ledger.apply(&[added(vec![row("posted", Some("pending"), "5.00")])], false).await;
    ledger.apply(&[removed("posted")], false).await;
    let back = ledger.apply(&[added(vec![row("pending", None, "5.00")])], false).await;
    assert_eq!(back, [(ChangeKind::Added, "pending".into(), first[0].2.clone())]);
    assert_eq!(ledger.live().await, ["pending"]);
}

#[tokio::test]
async fn what_looks_like_a_posting_is_suggested_and_joined_only_by_a_person() {
    let mut ledger = Ledger::open().await;
    let first = ledger.apply(&[added(vec![row("pending", None, "5.00")])], false).await;
    let told = ledger.apply(&[added(vec![row("posted", None, "6.00")])], false).await;
    assert_eq!(told[0].0, ChangeKind::Added, "another event, as far as anybody knows");
    assert_ne!(told[0].2, first[0].2);
    assert_eq!(ledger.live().await, ["pending", "posted"]);
    let found = ledger.store.suggestions(None, false, None, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].reason, "same name, 5.00 became 6.00, 0 days apart");
    let settled = ledger.store.settle_suggestion(found[0].id.as_str(), true).await.unwrap();
    assert_eq!(settled, store::Settled::Yes);
    assert_eq!(ledger.live().await, ["posted"]);
    let joined = ledger.store.transaction(&first[0].2).await.unwrap().unwrap();
    assert_eq!((joined.transaction_id.as_str(), joined.pending), ("posted", false));
    assert_eq!(ledger.apply(&[removed("pending")], false).await, [], "old news");
    assert_eq!(ledger.apply(&[added(vec![row("pending", None, "5.00")])], false).await, []);
    let again = ledger.store.settle_suggestion(found[0].id.as_str(), false).await.unwrap();
    assert_eq!(again, store::Settled::Before);
}

#[tokio::test]
async fn a_pair_whose_pending_half_has_posted_as_another_row_cannot_be_joined_any_more() {
    let mut ledger = Ledger::open().await;
    let first = ledger.apply(&[added(vec![row("pending", None, "5.00")])], false).await;
    ledger.apply(&[added(vec![row("other", None, "5.00")])], false).await;
    let found = ledger.store.suggestions(None, false, None, 10).await.unwrap();
    ledger.apply(&[added(vec![row("posted", Some("pending"), "5.00")])], false).await;
    let settled = ledger.store.settle_suggestion(found[0].id.as_str(), true).await.unwrap();
    assert_eq!(settled, store::Settled::Outdated);
    assert_eq!(ledger.live().await, ["other", "posted"], "nothing is lost");
    let event = ledger.store.transaction(&first[0].2).await.unwrap().unwrap();
    assert_eq!(event.transaction_id, "posted");
    assert!(ledger.store.suggestions(None, false, None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_link_to_the_pending_twin_that_comes_late_ends_the_twin() {
    let mut ledger = Ledger::open().await;
    ledger.apply(&[added(vec![row("pending", None, "5.00")])], false).await;
    ledger.apply(&[added(vec![row("posted", None, "9.99")])], false).await;
    let linked = Page { modified: vec![row("posted", Some("pending"), "9.99")], ..Page::default() };
    ledger.apply(&[linked], false).await;
    assert_eq!(ledger.live().await, ["posted"]);
    assert_eq!(ledger.apply(&[removed("pending")], false).await, []);
}

#[tokio::test]
async fn a_wish_during_a_failing_run_is_not_put_off() {
    let ledger = Ledger::open().await;
    let (store, lease) = (&ledger.store, SignedDuration::from_secs(60));
    let far = testkit::now().saturating_add(SignedDuration::from_hours(6)).unwrap();
    let key = ledger.key.as_str();
    for by_person in [false, true] {
        store.poke(WorkKind::Sync, key, true).await.unwrap();
        let run = store.claim(WorkKind::Sync, i64::MAX, "test", lease).await.unwrap().expect("due");
        store.poke(WorkKind::Sync, key, by_person).await.unwrap();
        store.fail(&run, far, "the bank is down").await.unwrap();
        let again = store.claim(WorkKind::Sync, i64::MAX, "test", lease).await.unwrap();
        assert_eq!(again.is_some(), by_person, "a webhook waits, a person does not");
    }
}

#[tokio::test]
async fn a_replayed_webhook_has_one_effect_and_a_burst_of_one_second_loses_nothing() {
    let mut ledger = Ledger::open().await;
    ledger.apply(&[added(vec![row("a", None, "1.00")])], false).await;
    let (store, lease) = (&ledger.store, SignedDuration::from_secs(60));
    let far = testkit::now().saturating_add(SignedDuration::from_hours(6)).unwrap();
    let integration_id = store.item("item").await.unwrap().unwrap().integration_id.to_string();
    let send = async |issued_at: i64| {
        let received = store::Received {
            integration_id: integration_id.clone(),
            body_hash: "hash".into(),
            issued_at,
            webhook_type: "TRANSACTIONS".into(),
            webhook_code: "SYNC_UPDATES_AVAILABLE".into(),
            item_id: Some("item".into()),
            news: model::News::default(),
            link: None,
        };
        store.record_webhook(received).await.unwrap()
    };
    let syncs = async || {
        let run = store.claim(WorkKind::Sync, i64::MAX, "test", lease).await.unwrap();
        if let Some(run) = &run {
            store.finish(run, far).await.unwrap();
        }
        run.is_some()
    };
    assert!(syncs().await, "whatever the update left due is done");
    let before_the_sync = testkit::now().as_second() - 10;
    assert!(send(before_the_sync).await && syncs().await, "a new event has its effect");
    for _ in 0..100 {
        assert!(!send(before_the_sync).await && !syncs().await, "a replay has none");
    }
    let this_second = testkit::now().as_second() + 5;
    assert!(send(this_second).await && syncs().await);
    assert!(!send(this_second).await && syncs().await, "its twin may carry news of its own");
}

#[tokio::test]
async fn a_stale_worker_cannot_commit() {
    let mut ledger = Ledger::open().await;
    ledger.apply(&[added(vec![row("a", None, "1.00")])], false).await;
    let store = &ledger.store;
    store.poke(WorkKind::Sync, ledger.key.as_str(), true).await.unwrap();
    let no_time = SignedDuration::ZERO;
    let stale = store.claim(WorkKind::Sync, i64::MAX, "slow", no_time).await.unwrap().unwrap();
    let lease = SignedDuration::from_secs(60);
    store.claim(WorkKind::Sync, i64::MAX, "fast", lease).await.unwrap().expect("the lease ran out");
    let staged = store.stage_page(&stale, 1, 0, &added(vec![row("b", None, "1.00")])).await;
    assert!(matches!(staged, Err(store::Error::Stale)), "{staged:?}");
    let update = Update {
        cursor: "2".into(),
        ..Update::new(ledger.key.clone(), stale, testkit::now(), "1")
    };
    let refused = store.apply_update(update).await;
    assert!(matches!(refused, Err(store::Error::Stale)), "{refused:?}");
    assert_eq!(ledger.live().await, ["a"]);
    assert_eq!(ledger.store.item("item").await.unwrap().unwrap().cursor, "1", "nor the cursor");
}
