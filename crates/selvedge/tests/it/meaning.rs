//! What transactions mean together and what people say of it, through the whole system: series, balances,
//! corrections, rules, and that going on from what is stored equals beginning anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::{Ambient, Clock, EndUserId, Entropy};
use pipeline::judge_end_user;
use serde_json::{Value, json};
use store::{Database, Store};
use testkit::{Bank, PEOPLE, SeriesScore, Subscriber, World};

use crate::process::selvedge;

/// A correction is everywhere within this time.
const AT_ONCE_MILLIS: u128 = 1_000;

async fn get(world: &World, path: &str) -> Value {
    let (status, answer) = world.call("GET", path, None).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

async fn transactions(world: &World, end_user: &str) -> Vec<Value> {
    let path = format!("/v1/end_users/{end_user}/transactions?limit=5000");
    get(world, &path).await["data"].as_array().unwrap().clone()
}

async fn correct(world: &World, row: &Value, body: Value) -> Value {
    let path = format!("/v1/transactions/{}", row["id"].as_str().unwrap());
    let (status, answer) = world.call("PATCH", &path, Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn processed(world: &World) {
    world
        .until("everything to be processed", async || {
            world.store.unprocessed_end_users(None).await.unwrap() == 0
        })
        .await;
}

fn flagged<'a>(rows: &'a [Value], flag: &str) -> Vec<&'a Value> {
    let has = |row: &&Value| {
        row["enrichment"]["flags"].as_array().is_some_and(|flags| flags.iter().any(|f| f == flag))
    };
    rows.iter().filter(has).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_found_told_and_the_same_however_they_were_come_by() {
    let world = World::start(171).await;
    let subscriber = Subscriber::start().await;
    let path = format!("/v1/integrations/{}/subscriptions", world.integration.id);
    let body = json!({ "url": subscriber.url, "events": ["end_user.processed"] });
    let (_, made) = world.call("POST", &path, Some(body)).await;
    subscriber.trust(made["secret"].as_str().unwrap());
    let item = world.customer("alice", "user_household").await;
    world.agree().await;
    world
        .until("the notice", async || {
            let notices = subscriber.notices();
            notices.iter().any(|it| it.proven && it.body["data"]["end_user_id"] == "alice")
        })
        .await;

    let rows = transactions(&world, "alice").await;
    let transfers = flagged(&rows, "transfer");
    assert!(transfers.len() > 80, "{}", transfers.len());
    for half in transfers.iter().filter(|row| row["enrichment"]["transfer"]["other"].is_string()) {
        let other = &half["enrichment"]["transfer"]["other"];
        let other = rows.iter().find(|row| row["id"] == *other).unwrap();
        assert_eq!(other["enrichment"]["transfer"]["other"], half["id"]);
        assert_eq!(other["enrichment"]["transfer"]["pair"], half["enrichment"]["transfer"]["pair"]);
    }
    assert!(flagged(&rows, "recurring").len() > 150);
    let ties = ["transfer", "refund", "duplicate", "recurring", "category", "merchant"];
    let unexplained = rows.iter().flat_map(|row| ties.map(|tie| &row["enrichment"][tie]));
    let mut unexplained =
        unexplained.filter(|it| it.is_object() && it["reason"].as_str().is_none_or(str::is_empty));
    assert_eq!(unexplained.next(), None, "every decision says why");
    let series = get(&world, "/v1/end_users/alice/series").await;
    let income = series["income"].as_array().unwrap();
    assert!(income.iter().any(|it| it["kind"] == "salary" && it["cadence"] == "biweekly"));
    assert!(income.iter().any(|it| it["kind"] == "interest"), "{income:?}");
    let debts = series["debts"].as_array().unwrap();
    assert!(debts.iter().any(|it| it["kind"] == "student" && it["cadence"] == "monthly"));
    let contracts = |series: &Value| {
        let all = series["recurring"].as_array().unwrap().clone();
        all.into_iter().filter(|it| it["kind"] == "contract").count()
    };
    assert!(contracts(&series) >= 10, "{}", contracts(&series));

    // Day by day, then all at once: the same, to the last byte.
    for _ in 0..6 {
        world.bank.advance(4).await;
        world.bank.refresh(&item).await;
        world.agree().await;
    }
    let end_user = world.store.find_end_users("alice").await.unwrap().remove(0).id;
    let stored = world.store.series(&end_user).await.unwrap().unwrap().series;
    let anew = judge_end_user(&world.store, &end_user).await.unwrap();
    assert_eq!(anew.rows.len(), 0, "{:?}", anew.rows.first());
    assert_eq!(anew.series, stored);
    let head = world.store.feed_head().await.unwrap();
    world.store.want_processing(None).await.unwrap();
    processed(&world).await;
    while world.store.number_changes().await.unwrap() > 0 {}
    assert_eq!(world.store.feed_head().await.unwrap(), head, "nothing new is no news");
    world.assert_sound().await;
    world.stop().await;
}

/// Rows at the coffee shop that both customers go to.
fn starbucks(rows: &[Value]) -> Vec<Value> {
    let is = |row: &&Value| row["enrichment"]["merchant"]["key"] == "starbucks";
    rows.iter().filter(is).cloned().collect()
}

/// Says that a row was music in a concert hall.
async fn correct_to_a_concert(world: &World, row: &Value) -> Value {
    let body = json!({ "category": "ENTERTAINMENT_MUSIC_AND_AUDIO", "merchant": "Concert hall" });
    correct(world, row, body).await
}

fn is_a_concert(row: &Value) -> bool {
    row["enrichment"]["category"]["leaf"] == "entertainment_music_and_audio"
        && row["enrichment"]["category"]["source"] == "person"
        && row["enrichment"]["merchant"]["name"] == "Concert hall"
}

fn path_of(row: &Value) -> String {
    format!("/v1/transactions/{}", row["id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_is_everywhere_at_once_and_can_be_taken_back() {
    let world = World::start(172).await;
    let item = world.customer("alice", "user_household").await;
    world.agree().await;
    let rows = starbucks(&transactions(&world, "alice").await);
    assert!(rows.len() > 10);
    let head = world.store.feed_head().await.unwrap();
    let began = Instant::now();
    let answer = correct_to_a_concert(&world, &rows[0]).await;
    assert!(is_a_concert(&answer), "{answer}");
    assert_eq!(answer["enrichment"]["merchant"]["judged_key"], "starbucks");
    let feed = format!("/v1/changes?after={head}&limit=100");
    world
        .until("the feed", async || {
            let changes = get(&world, &feed).await["changes"].as_array().unwrap().clone();
            changes.iter().any(|change| is_a_concert(&change["record"]))
        })
        .await;
    let took = began.elapsed().as_millis();
    assert!(took < AT_ONCE_MILLIS, "{took} ms");

    // Two who write at once both stand.
    let (note, tags) = (json!({ "note": "late" }), json!({ "tags": ["a"] }));
    tokio::join!(correct(&world, &rows[1], note), correct(&world, &rows[1], tags));
    let both = get(&world, &path_of(&rows[1])).await["annotation"].clone();
    assert_eq!(both, json!({ "note": "late", "tags": ["a"] }));

    // Neither new rows nor a full walk take anything of it away.
    world.bank.advance(5).await;
    world.agree().await;
    let walks = async || {
        let syncs = get(&world, &format!("/v1/items/{}/syncs", item.item_id)).await;
        let syncs = syncs["data"].as_array().unwrap().clone();
        syncs.iter().filter(|sync| sync["full_walk"] == true).count()
    };
    let before = walks().await;
    let resync = format!("/v1/items/{}/sync?full=true", item.item_id);
    assert_eq!(world.call("POST", &resync, None).await.0, 202);
    world.until("a full walk", async || walks().await > before).await;
    processed(&world).await;
    assert!(is_a_concert(&get(&world, &path_of(&rows[0])).await));

    let back = correct(&world, &rows[0], json!({ "category": null, "merchant": null })).await;
    assert_eq!(back["enrichment"]["category"], rows[0]["enrichment"]["category"]);
    assert_eq!(back["enrichment"]["merchant"], rows[0]["enrichment"]["merchant"]);
    world.assert_sound().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_tried_before_it_holds_for_what_is_here_and_what_comes() {
    let world = World::start(176).await;
    world.customer("alice", "user_household").await;
    world.customer("bob", "user_gig_worker").await;
    world.agree().await;
    let rows = starbucks(&transactions(&world, "alice").await);
    let others = starbucks(&transactions(&world, "bob").await).len();
    assert!(rows.len() > 10 && others > 10);
    correct_to_a_concert(&world, &rows[0]).await;

    let rules = format!("/v1/integrations/{}/enrichment_rules", world.integration.id);
    let rule = |category: &str| {
        let when = json!({ "merchant_key": "starbucks", "direction": "out" });
        Some(json!({ "when": when, "then": { "category": category } }))
    };
    let (status, refused) = world.call("POST", &rules, rule("meals_client")).await;
    assert_eq!((status, &refused["errors"][0]["pointer"]), (422, &json!("/then/category")));
    let dry = format!("{rules}?dry_run=true");
    let (status, trial) = world.call("POST", &dry, rule("FOOD_AND_DRINK_RESTAURANT")).await;
    assert_eq!(status, 200, "{trial}");
    let told = trial["would_change"].as_u64().unwrap();
    assert_eq!(told, (rows.len() - 1 + others) as u64, "all but the row that a person corrected");
    assert_eq!(get(&world, &rules).await["data"], json!([]), "a trial makes nothing");

    // The same rule from a correction that holds for all like it.
    let body = json!({ "category": "FOOD_AND_DRINK_RESTAURANT", "for_all_like_it": true });
    correct(&world, &rows[1], body).await;
    processed(&world).await;
    let now = starbucks(&transactions(&world, "alice").await);
    assert_eq!(now.len(), rows.len() - 1, "the corrected row has another merchant");
    for row in &now {
        let category = &row["enrichment"]["category"];
        assert_eq!(category["detailed"], "FOOD_AND_DRINK_RESTAURANT", "{row}");
        let source = if row["id"] == rows[1]["id"] { "person" } else { "integration_rule" };
        assert_eq!(category["source"], source);
    }
    assert!(is_a_concert(&get(&world, &path_of(&rows[0])).await), "a person stands above a rule");
    for _ in 0..3 {
        world.bank.advance(5).await;
        world.agree().await;
    }
    let later = starbucks(&transactions(&world, "bob").await);
    assert!(later.len() > others);
    let holds =
        |row: &Value| row["enrichment"]["category"]["detailed"] == "FOOD_AND_DRINK_RESTAURANT";
    assert!(later.iter().all(holds));

    // Without the rule they mean what they meant.
    let made = get(&world, &rules).await["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(world.call("DELETE", &format!("{rules}/{made}"), None).await.0, 204);
    assert_eq!(world.call("DELETE", &format!("{rules}/{made}"), None).await.0, 404);
    processed(&world).await;
    assert!(!starbucks(&transactions(&world, "bob").await).iter().any(holds));

    // A rule from a row that has another name by now is still about those it is like; said twice, it is
    // one rule.
    for _ in 0..2 {
        let body = json!({ "category": "TRAVEL_FLIGHTS", "for_all_like_it": true });
        correct(&world, &rows[0], body).await;
    }
    let all = get(&world, &rules).await["data"].as_array().unwrap().clone();
    let keys: Vec<&Value> = all.iter().map(|rule| &rule["when"]["merchant_key"]).collect();
    assert_eq!(keys, ["starbucks"]);
    processed(&world).await;
    world.assert_sound().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_and_parts_are_a_persons_to_say() {
    let world = World::start(173).await;
    world.customer("alice", "user_household").await;
    world.agree().await;
    let rows = transactions(&world, "alice").await;
    let paired = |row: &&Value| row["enrichment"]["transfer"]["other"].is_string();
    let half = rows.iter().find(paired).unwrap();
    let other = half["enrichment"]["transfer"]["other"].as_str().unwrap();
    correct(&world, half, json!({ "transfer_with": "none" })).await;
    processed(&world).await;
    let other = get(&world, &format!("/v1/transactions/{other}")).await;
    assert!(other["enrichment"]["transfer"]["other"].is_null(), "{other}");
    let apart = get(&world, &path_of(half)).await["enrichment"].clone();
    assert_eq!(apart["category"]["source"], "person");
    assert!(!apart["flags"].to_string().contains("transfer"), "{apart}");
    correct(&world, half, json!({ "transfer_with": other["id"] })).await;
    processed(&world).await;
    let path = format!("/v1/transactions/{}", half["id"].as_str().unwrap());
    let again = get(&world, &path).await;
    assert_eq!(again["enrichment"]["transfer"]["reason"], "a person paired them");

    // What is paired by a person is not paired again behind their back.
    let third = rows.iter().find(|row| row["amount"] == half["amount"] && row["id"] != half["id"]);
    let path = path_of(third.unwrap());
    let body = json!({ "transfer_with": other["id"] });
    let (status, refused) = world.call("PATCH", &path, Some(body)).await;
    assert_eq!(status, 422, "{refused}");
    assert!(refused["errors"][0]["detail"].as_str().unwrap().contains("take that back first"));

    let bought = rows.iter().find(|row| row["amount"] == "79.99").unwrap();
    let path = format!("/v1/transactions/{}", bought["id"].as_str().unwrap());
    let split = |amount: &str, category: &str| json!({ "amount": amount, "category": category });
    let refused = [
        (json!({ "splits": [split("50.00", "RENT_AND_UTILITIES")] }), "/splits"),
        (json!({ "splits": [split("79.99", "CLIENT_A")] }), "/splits"),
        (json!({ "splits": [split("79.999", "TRAVEL")] }), "/splits"),
        (json!({ "transfer_with": bought["id"] }), "/transfer_with"),
        (json!({ "category": "GROCERIES" }), "/category"),
        (json!({ "for_all_like_it": true }), "/for_all_like_it"),
    ];
    for (body, pointer) in refused {
        let (status, answer) = world.call("PATCH", &path, Some(body.clone())).await;
        assert_eq!((status, &answer["errors"][0]["pointer"]), (422, &json!(pointer)), "{body}");
    }
    let parts =
        json!([split("50.00", "RENT_AND_UTILITIES_INTERNET_AND_CABLE"), split("29.99", "TRAVEL")]);
    let row = correct(&world, bought, json!({ "splits": parts })).await;
    assert_eq!(row["annotation"]["splits"][1]["category"], "TRAVEL");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn balances_go_back_to_the_first_day_and_end_where_the_bank_says() {
    let world = World::start(174).await;
    world.customer("alice", "user_household").await;
    world.agree().await;
    let history = get(&world, "/v1/end_users/alice/balance_history").await;
    let accounts = history["data"].as_array().unwrap();
    assert_eq!(accounts.len(), 3);
    let balances = get(&world, "/v1/end_users/alice/balances").await;
    for account in accounts {
        let days = account["days"].as_array().unwrap();
        assert!(days.len() > 600, "{} days", days.len());
        assert_eq!(account["drifts"], json!([]));
        let read = days.iter().find(|day| day["basis"] == "read").unwrap();
        let all = balances["data"].as_array().unwrap();
        let now = all.iter().find(|it| it["account_id"] == account["account_id"]).unwrap();
        assert_eq!(read["balance"], now["current"]);
    }
    let one = accounts[0]["account_id"].as_str().unwrap();
    let path = format!(
        "/v1/end_users/alice/balance_history?account_id={one}&from=2026-01-01&to=2026-01-31"
    );
    let days = get(&world, &path).await["data"][0]["days"].as_array().unwrap().len();
    assert!((1..=31).contains(&days), "{days}");
    let path = "/v1/end_users/alice/balance_history?account_id=unknown";
    assert_eq!(world.call("GET", path, None).await.0, 404);
    world.stop().await;
}

/// Time that a test steps.
struct SteppedClock(AtomicI64);

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

impl Entropy for SteppedClock {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}

#[tokio::test]
async fn looks_within_half_an_hour_are_one_visit() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SteppedClock(AtomicI64::new(1_800_000_000)));
    let ambient = Ambient::new(clock.clone(), clock.clone());
    let url = format!("sqlite:{}", folder.path().join("visits.db").display());
    let database = Database::parse(&url, true).unwrap();
    let store = Store::open(&database, testkit::master_key(), ambient.clone()).await.unwrap();
    let end_user = EndUserId::generate(&ambient);
    let first = clock.now();
    let look = async |minutes: i64| {
        clock.0.fetch_add(minutes * 60, Ordering::SeqCst);
        store.visit("ann", &end_user).await.unwrap()
    };
    assert_eq!(look(0).await, None, "nobody was here before");
    assert_eq!(look(10).await, None, "still the first visit");
    let last = clock.now();
    assert_eq!(look(60).await, Some(last), "since the end of the first");
    assert_eq!(look(5).await, Some(last), "the same visit, the same news");
    assert!(last > first && store.visit("bob", &end_user).await.unwrap().is_none());
}

/// A file of an end user's rows gives what the pipeline has found.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_series_says_what_the_pipeline_says() {
    let world = World::start(177).await;
    world.customer("alice", "user_household").await;
    world.agree().await;
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("rows.jsonl"), folder.path().join("out.csv"));
    let kinds = get(&world, "/v1/end_users/alice/accounts").await["data"].clone();
    let kind = |id: &Value| {
        let all = kinds.as_array().unwrap();
        all.iter().find(|it| it["account_id"] == *id).unwrap()["type"].clone()
    };
    let mut rows = transactions(&world, "alice").await;
    rows.retain(|row| row["pending"] == false);
    let line = |row: &Value| {
        let text = row["original_description"].as_str().or(row["name"].as_str()).unwrap();
        json!({
            "id": row["id"], "date": row["date"], "amount": row["amount"], "description": text,
            "currency": row["currency"], "account_id": row["account_id"],
            "account_type": kind(&row["account_id"]), "merchant_name": row["merchant_name"],
            "pfc_primary": row["category"]["primary"], "pfc_detailed": row["category"]["detailed"],
            "pfc_confidence": row["category"]["confidence"], "end_user_id": "alice",
        })
    };
    let lines: Vec<String> = rows.iter().map(|row| line(row).to_string()).collect();
    std::fs::write(&input, lines.join("\n")).unwrap();
    let series = folder.path().join("series.jsonl");
    let mut command = selvedge(&["enrich", "--series", "--input"]);
    command.arg(&input).arg("--output").arg(&output).arg("--series-output").arg(&series);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut found = csv::Reader::from_path(&output).unwrap();
    let found: Vec<BTreeMap<String, String>> =
        found.deserialize().map(|row| row.unwrap()).collect();
    assert_eq!(found.len(), rows.len());
    for (row, found) in rows.iter().zip(&found) {
        let said = &row["enrichment"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let expected = [
            ("source", text(&said["category"]["source"])),
            ("reason", text(&said["category"]["reason"])),
            ("pfc_detailed", text(&said["category"]["detailed"])),
            ("transfer_other", text(&said["transfer"]["other"])),
            ("refund_of", text(&said["refund"]["of"])),
            ("duplicate_of", text(&said["duplicate"]["of"])),
            ("recurring_id", text(&said["recurring"]["id"])),
        ];
        for (column, expected) in expected {
            assert_eq!(found[column], expected, "{column} of {row}");
        }
    }
    let series: Value = serde_json::from_str(&std::fs::read_to_string(&series).unwrap()).unwrap();
    let stored = get(&world, "/v1/end_users/alice/series").await;
    assert_eq!(series["series"]["recurring"], stored["recurring"]);
    assert_eq!(series["series"]["income"], stored["income"]);

    // End users stand together, or it is said what to do.
    let apart = format!("{}\n{}\n{}", lines[0], lines[1].replace("alice", "bob"), lines[2]);
    std::fs::write(&input, apart).unwrap();
    let mut command = selvedge(&["enrich", "--series", "--input"]);
    let done = command.arg(&input).arg("--output").arg(&output).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && said.contains("sort the input by end_user_id"), "{said}");
    world.stop().await;
}

/// The bars of the series, on a few people; `make eval` has hundreds.
#[tokio::test(flavor = "multi_thread")]
async fn series_are_right_by_the_banks_own_ledger() {
    let bank = Bank::open(175).await;
    let today = testkit::now().to_zoned(TimeZone::UTC).date();
    let mut score = SeriesScore::default();
    for who in PEOPLE {
        score += bank.household(who).await.score(today);
    }
    let share = |part: usize, of: usize| part * 1_000 / of.max(1);
    let [there, said, right] = score.transfers;
    assert!(share(right, said) >= 990 && share(right, there) >= 950, "{score:?}");
    let [there, found] = score.duplicates;
    assert!(there > 5 && share(found, there) >= 980, "{score:?}");
    assert!(score.false_marks * 1_000 <= score.rows, "{score:?}");
    let [there, found] = score.rhythms;
    let [said, right, days] = score.dates;
    assert!(there > 100 && share(found, there) >= 700, "{score:?}");
    assert!(share(right, said) >= 800 && days < said * 5, "{score:?}");
    let [there, found] = score.refunds;
    assert!(share(found, there) >= 950, "{score:?}");
    bank.close().await;
}
