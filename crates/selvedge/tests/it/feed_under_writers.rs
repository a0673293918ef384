//! Many writers and a reader of the feed, each through the API of a server of its own: the reader sees
//! every change once, in order, and how long each took from the writer's request is counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Bank, http_client, open_store};
use tokio::time::Instant;

use crate::installation::Installation;

/// Writers at a time.
const WRITERS: usize = 8;
/// Seconds of it in the ordinary run; `SELVEDGE_FEED_SECONDS` asks for more.
const SECONDS: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_feed_misses_and_repeats_nothing() {
    let seconds = std::env::var("SELVEDGE_FEED_SECONDS").ok().and_then(|text| text.parse().ok());
    let lasts = Duration::from_secs(seconds.unwrap_or(SECONDS));
    let installation = Installation::start(&["--poll-seconds", "3600"]).await;
    let bank = Bank::open(74).await;
    for number in 0..WRITERS {
        installation.link(&bank, &format!("user-{number}")).await;
    }
    installation.agree(&bank).await;
    // The reader is at the head before the writers begin, so that what is counted is their delay.
    let mut read = Read::default();
    let sent: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    loop {
        let path = format!("/v1/changes?limit=5000&after={}", read.last);
        let page = installation.get(WRITERS, &path).await;
        read.take(&page, &sent);
        if page["has_more"] == false {
            break;
        }
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        let path = format!("/v1/end_users/user-{number}/transactions?limit=1000");
        let rows = installation.get(number, &path).await;
        let rows = rows["data"].as_array().unwrap().iter();
        let ids: Vec<String> = rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect();
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        let (url, key) = (installation.url(number).to_owned(), installation.key.clone());
        writers.spawn(async move {
            let http = http_client();
            let mut turn = 0;
            while !stop.load(Ordering::Relaxed) {
                let note = format!("{number}-{turn}");
                let path = format!("{url}/v1/transactions/{}", ids[turn % ids.len()]);
                let request = http.patch(path).bearer_auth(&key).json(&json!({ "note": note }));
                // The reader may see it before the writer has its answer.
                sent.lock().unwrap().insert(note, Instant::now());
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
                turn += 1;
            }
            turn
        });
    }
    let ends = Instant::now() + lasts;
    while Instant::now() < ends {
        let path = format!("/v1/changes?limit=1000&wait=1&after={}", read.last);
        read.take(&installation.get(WRITERS, &path).await, &sent);
    }
    stop.store(true, Ordering::Relaxed);
    let written: usize = writers.join_all().await.into_iter().sum();
    installation.agree(&bank).await;
    let store = open_store(installation.folder(), false).await;
    while store.number_changes().await.unwrap() > 0 {}
    let head = store.feed_head().await.unwrap();
    while read.last < head {
        let path = format!("/v1/changes?limit=5000&after={}", read.last);
        read.take(&installation.get(WRITERS, &path).await, &sent);
    }
    assert_eq!(read.last, head, "the reader has reached the head");
    let missed = sent.lock().unwrap().len();
    assert_eq!(missed, 0, "every note was read");
    read.latencies.sort();
    let at =
        |percent: usize| read.latencies[read.latencies.len() * percent / 100].as_secs_f64() * 1e3;
    println!(
        "{written} writes by {WRITERS} writers in {lasts:?}: {head} changes read in order, none missed, \
         none twice; from request to reader p50 {:.1} ms, p99 {:.1} ms",
        at(50),
        at(99),
    );
    bank.close().await;
}

/// What a reader has seen.
#[derive(Default)]
struct Read {
    last: i64,
    of_item: BTreeMap<String, i64>,
    latencies: Vec<Duration>,
}

impl Read {
    fn take(&mut self, page: &Value, sent: &Mutex<HashMap<String, Instant>>) {
        for change in page["changes"].as_array().unwrap() {
            let seq = change["seq"].as_i64().unwrap();
            assert_eq!(seq, self.last + 1, "the feed has no hole and no repeat");
            self.last = seq;
            let item = change["record"]["item_id"].as_str().unwrap().to_owned();
            let of_item = self.of_item.entry(item).or_default();
            *of_item += 1;
            assert_eq!(change["item_seq"].as_i64(), Some(*of_item), "each Item counts from 1");
            if let Some(note) = change["record"]["annotation"]["note"].as_str()
                && let Some(at) = sent.lock().unwrap().remove(note)
            {
                self.latencies.push(at.elapsed());
            }
        }
    }
}
