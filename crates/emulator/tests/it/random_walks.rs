//! Random sequences of calls, time steps and faults: what a caller folds from cursors equals the
//! ledger at the end, and the same seed gives the same bytes.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::bank::{Bank, Rows, apply, http, text};

/// How many sequences are walked; each twice.
const SEQUENCES: u64 = 2_000;
/// Sequences walked at the same time.
const LANES: u64 = 12;
/// A caller gives up after so many failures in one update.
const FAILURES: usize = 60;
const USERS: [&str; 4] =
    ["user_good", "user_transactions_dynamic", "user_small_business", "user_ewa_user"];
/// Faults that a caller repeats its call after.
const PASSING: [&str; 7] = [
    "rate_limit",
    "internal_server_error",
    "bad_gateway",
    "refuse",
    "truncated",
    "invalid_json",
    "html_error",
];

/// A caller that follows one Item.
struct Caller {
    bank: Bank,
    token: String,
    item_id: String,
    cursor: String,
    rows: Rows,
    /// Every answer, byte for byte.
    heard: Vec<String>,
}

impl Caller {
    async fn start(http: reqwest::Client, seed: u64, random: &mut ChaCha8Rng) -> Self {
        let bank = Bank::start_for(http, |options| {
            options.seed = seed;
            options.freeze = Some("2026-03-10T12:00:00Z".parse().unwrap());
        })
        .await;
        let username = USERS[random.random_range(0..USERS.len())];
        let days = random.random_range(1..=60);
        let (token, item_id) = bank.link_for(username, "pass_good", days).await;
        let (cursor, rows) = (String::new(), Rows::new());
        Self { bank, token, item_id, cursor, rows, heard: Vec::new() }
    }

    /// A call as it comes; nothing if there was no whole answer.
    async fn call(&mut self, path: &str, mut body: Value) -> Option<(u16, Value)> {
        body["client_id"] = json!("emulator");
        body["secret"] = json!("sandbox-secret");
        let url = format!("{}{path}", self.bank.emulator.url());
        let answer = self.bank.http.post(url).json(&body).send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        self.heard.push(format!("{status} {text}"));
        Some((status, serde_json::from_str(&text).ok()?))
    }

    /// Follows to the end as Plaid's guide says: an update counts as a whole or not at all.
    async fn follow(&mut self, count: u32) {
        let (mut rows, mut cursor) = (self.rows.clone(), self.cursor.clone());
        let mut failures = 0;
        while failures < FAILURES {
            failures += 1;
            let body = json!({ "access_token": self.token, "cursor": cursor, "count": count });
            let Some((status, page)) = self.call("/transactions/sync", body).await else {
                continue;
            };
            match text(&page["error_code"]).as_str() {
                "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION" => {
                    (rows, cursor) = (self.rows.clone(), self.cursor.clone());
                    continue;
                }
                "ITEM_LOGIN_REQUIRED" => return,
                _ if status != 200 => continue,
                _ => {}
            }
            failures -= 1;
            apply(&page, &mut rows);
            cursor = text(&page["next_cursor"]);
            if page["has_more"] == json!(false) {
                (self.rows, self.cursor) = (rows, cursor);
                return;
            }
        }
        panic!("an update of {} failed {FAILURES} times", self.item_id);
    }

    async fn step(&mut self, random: &mut ChaCha8Rng) {
        match random.random_range(0..14) {
            0..=3 => self.follow([3, 7, 50, 500][random.random_range(0..4)]).await,
            4 | 5 => self.bank.advance(random.random_range(0..40)).await,
            6 => {
                let body = json!({ "access_token": self.token });
                let _refreshed = self.call("/transactions/refresh", body).await;
            }
            7 => {
                let row = json!({
                    "amount": random.random_range(-500..500), "date_transacted": "2026-03-09",
                    "date_posted": "2026-03-10", "description": "STARBUCKS STORE 00001",
                });
                let body = json!({ "access_token": self.token, "transactions": [row] });
                let _inserted = self.call("/sandbox/transactions/create", body).await;
            }
            8 | 9 => {
                let fault = json!({
                    "kind": "mutation_during_pagination", "page": random.random_range(1..4),
                });
                self.bank.fault(&fault).await;
            }
            10 | 11 => {
                let kind = PASSING[random.random_range(0..PASSING.len())];
                let path = "/transactions/sync";
                let times = random.random_range(1..4);
                self.bank.fault(&json!({ "kind": kind, "path": path, "times": times })).await;
            }
            12 => {
                let actions = [
                    "purchase",
                    "reset_login",
                    "repair",
                    "repair_elsewhere",
                    "open_account",
                    "revoke_account",
                    "end_consent",
                    "create_transaction",
                ];
                let action = actions[random.random_range(0..actions.len())];
                self.bank.try_act(&self.item_id, action).await;
            }
            _ => {
                let body = json!({ "access_token": self.token });
                if let Some((200, rotated)) = self.call("/item/access_token/invalidate", body).await
                {
                    self.token = text(&rotated["new_access_token"]);
                }
            }
        }
    }
}

/// Walks the sequence of a seed. Everything that was heard.
async fn walk(http: &reqwest::Client, seed: u64) -> Vec<String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut caller = Caller::start(http.clone(), seed, &mut random).await;
    for _ in 0..random.random_range(4..16) {
        caller.step(&mut random).await;
    }
    caller.bank.act(&caller.item_id, "repair").await;
    caller.follow(100).await;
    caller.bank.assert_agrees(&caller.item_id, &caller.rows).await;
    caller.bank.emulator.stop().await;
    caller.heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_caller_folds_equals_the_ledger_and_the_same_seed_says_the_same() {
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let http = http();
            tokio::spawn(async move {
                for seed in (lane..SEQUENCES).step_by(usize::try_from(LANES).unwrap()) {
                    let first = walk(&http, seed).await;
                    assert_eq!(walk(&http, seed).await, first, "seed {seed}");
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
}
