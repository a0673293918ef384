//! Every fault is asked for by name and seen by a caller.

use std::io::Read;
use std::time::{Duration, Instant};

use emulator::KINDS;
use serde_json::{Value, json};

use crate::bank::{Bank, Rows, http, text};
use crate::receiver::Receiver;

/// What a caller of `/item/get` sees.
struct Seen {
    status: Option<u16>,
    headers: reqwest::header::HeaderMap,
    body: Result<Vec<u8>, reqwest::Error>,
    took: Duration,
}

impl Seen {
    fn json(&self) -> Option<Value> {
        serde_json::from_slice(self.body.as_ref().ok()?).ok()
    }

    fn code(&self) -> String {
        self.json().map(|json| text(&json["error_code"])).unwrap_or_default()
    }
}

async fn look(bank: &Bank, token: &str) -> Seen {
    #[expect(clippy::disallowed_methods, reason = "a client that does not unpack by itself")]
    let plain = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
    let body = json!({
        "client_id": "emulator", "secret": "sandbox-secret", "access_token": token,
    });
    let began = Instant::now();
    let url = format!("{}/item/get", bank.emulator.url());
    match plain.post(url).json(&body).send().await {
        Err(error) => Seen {
            status: None,
            headers: reqwest::header::HeaderMap::new(),
            body: Err(error),
            took: began.elapsed(),
        },
        Ok(answer) => {
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let body = answer.bytes().await.map(|bytes| bytes.to_vec());
            Seen { status: Some(status), headers, body, took: began.elapsed() }
        }
    }
}

#[tokio::test]
async fn every_fault_of_answers_is_seen_and_then_gone() {
    let bank = Bank::start(1, None).await;
    let (token, item_id) = bank.link("user_good", "pass_good").await;
    let calm = look(&bank, &token).await.json().unwrap();
    for (kind, name, _) in KINDS {
        let mut fault =
            json!({ "kind": kind, "path": "/item/get", "item_id": item_id, "seconds": 1 });
        if name == "item_error" {
            fault["error_code"] = json!("INSTITUTION_DOWN");
        }
        if name.starts_with("webhook_") || name == "mutation_during_pagination" {
            continue;
        }
        bank.fault(&fault).await;
        let seen = look(&bank, &token).await;
        let (status, code) = (seen.status, seen.code());
        let second = seen.took >= Duration::from_millis(900);
        let ok = match name {
            "rate_limit" => {
                let hint = seen.headers["retry-after"] == "1";
                status == Some(429) && code == "ITEM_GET_LIMIT" && hint
            }
            "internal_server_error" => status == Some(500) && code == "INTERNAL_SERVER_ERROR",
            "bad_gateway" => status == Some(502) && seen.json().is_none(),
            "service_unavailable" => status == Some(503) && code == "PLANNED_MAINTENANCE",
            "html_error" => status == Some(503) && seen.headers["content-type"] == "text/html",
            "item_error" => {
                let kind = text(&seen.json().unwrap()["error_type"]);
                code == "INSTITUTION_DOWN" && kind == "INSTITUTION_ERROR"
            }
            "refuse" | "tls_error" => status.is_none(),
            "timeout_before" | "timeout_after" => status.is_none() && second,
            "truncated" => status == Some(200) && seen.body.is_err(),
            "slow" => status == Some(200) && second && seen.json().is_some(),
            "invalid_json" => status == Some(200) && seen.body.is_ok() && seen.json().is_none(),
            "wrong_shape" => seen.json().unwrap().is_array(),
            "unknown_enum" => seen.json().unwrap()["item"]["update_type"] == "SOMETHING_NEW",
            "unknown_field" => seen.json().unwrap()["item"]["something_new"].is_object(),
            "huge_body" => {
                let packed = seen.body.as_ref().unwrap();
                assert!(packed.len() < 4 * 1024 * 1024, "{} bytes", packed.len());
                let mut unpacked = 0;
                let mut reader = flate2::read::GzDecoder::new(packed.as_slice());
                let mut buffer = vec![0; 1024 * 1024];
                while let count @ 1.. = reader.read(&mut buffer).unwrap() {
                    unpacked += count;
                }
                seen.headers["content-encoding"] == "gzip" && unpacked == 1024 * 1024 * 1024
            }
            other => panic!("no test for {other}"),
        };
        assert!(ok, "{name}: {status:?} {code} after {:?}", seen.took);
        let mut again = look(&bank, &token).await.json().unwrap();
        again["request_id"] = calm["request_id"].clone();
        assert_eq!(again, calm, "{name} struck once");
    }
    let calls = bank.get("calls").await;
    let struck = calls["calls"].as_array().unwrap().iter().filter(|call| !call["fault"].is_null());
    assert_eq!(struck.count(), 17, "and each is noted with its call");
}

#[tokio::test]
async fn a_timeout_before_does_nothing_and_one_after_has_done_it() {
    let bank = Bank::start(2, None).await;
    for (kind, removed) in [("timeout_before", false), ("timeout_after", true)] {
        let (token, _) = bank.link("user_good", "pass_good").await;
        bank.fault(&json!({ "kind": kind, "path": "/item/remove", "seconds": 0 })).await;
        let body = json!({
            "client_id": "emulator", "secret": "sandbox-secret", "access_token": token,
        });
        let url = format!("{}/item/remove", bank.emulator.url());
        assert!(http().post(url).json(&body).send().await.is_err(), "{kind}");
        let (status, _) = bank.call("/item/get", json!({ "access_token": token })).await;
        assert_eq!(status == 400, removed, "{kind}");
    }
}

#[tokio::test]
async fn a_tls_client_is_told_that_there_is_no_tls() {
    let bank = Bank::start(3, None).await;
    let url = bank.emulator.url().replace("http://", "https://");
    let error = http().get(url).send().await.expect_err("no TLS");
    assert!(error.is_connect(), "{error:?}");
}

#[tokio::test]
async fn faults_that_make_no_sense_are_refused_with_a_reason() {
    let bank = Bank::start(4, None).await;
    for (fault, why) in [
        (json!({ "kind": "explode" }), "unknown variant"),
        (json!({ "kind": "slow", "pgae": 1 }), "unknown field"),
        (json!({ "kind": "slow", "page": 1 }), "page belongs to"),
        (json!({ "kind": "webhook_lost", "path": "/item/get" }), "webhook_code"),
        (json!({ "kind": "webhook_lost", "webhook_code": "SYNC_UPDATE" }), "none that is sent"),
        (json!({ "kind": "slow", "path": "/item/gte" }), "none of Plaid's"),
        (json!({ "kind": "slow", "seconds": 1_000_000 }), "at most"),
        (json!({ "kind": "item_error" }), "error_code"),
        (json!({ "kind": "mutation_during_pagination", "path": "/item/get" }), "sync only"),
    ] {
        let url = format!("{}/_emulator/faults", bank.emulator.url());
        let answer = bank.http.post(url).json(&fault).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        let error = text(&answer.json::<Value>().await.unwrap()["error"]);
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_mutation_at_any_page_up_to_the_twentieth_is_plaids_error_and_a_restart_agrees() {
    let bank = Bank::start(5, None).await;
    let (token, item_id) = bank.link("user_good", "pass_good").await;
    for page in 1..=20 {
        let times = 1 + page % 5;
        let fault = json!({
            "kind": "mutation_during_pagination", "item_id": item_id, "page": page, "times": times,
        });
        bank.fault(&fault).await;
        let (mut mutations, mut calls) = (0, 0);
        let rows = 'update: loop {
            let (mut rows, mut cursor) = (Rows::new(), String::new());
            loop {
                calls += 1;
                assert!(calls < 400, "page {page} does not come to an end");
                let body = json!({ "access_token": token, "cursor": cursor, "count": 20 });
                let (status, answer) = bank.call("/transactions/sync", body).await;
                if status == 400 {
                    let code = text(&answer["error_code"]);
                    assert_eq!(code, "TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION");
                    mutations += 1;
                    continue 'update;
                }
                for row in answer["added"].as_array().unwrap() {
                    rows.insert(text(&row["transaction_id"]), row.clone());
                }
                cursor = text(&answer["next_cursor"]);
                if answer["has_more"] == json!(false) {
                    break 'update rows;
                }
            }
        };
        assert_eq!(mutations, times, "page {page}");
        bank.assert_agrees(&item_id, &rows).await;
    }
}

/// The webhooks of one refresh under a fault: an Item whose refresh tells three things.
async fn refreshed_under(fault: Value) -> (Bank, Receiver) {
    let bank = Bank::start(6, None).await;
    let receiver = Receiver::start().await;
    let (token, _) = bank.link("user_transactions_dynamic", "x").await;
    bank.ok("/transactions/sync", json!({ "access_token": token })).await;
    let webhook = json!({ "access_token": token, "webhook": receiver.url });
    bank.ok("/item/webhook/update", webhook).await;
    receiver.wait_for(1).await;
    bank.fault(&fault).await;
    bank.ok("/transactions/refresh", json!({ "access_token": token })).await;
    (bank, receiver)
}

#[tokio::test]
async fn webhooks_are_believed_unless_a_fault_forged_or_aged_them() {
    for (kind, believed) in [
        ("webhook_late", true),
        ("webhook_rotated_key", true),
        ("webhook_forged", false),
        ("webhook_expired_key", false),
    ] {
        let code = "SYNC_UPDATES_AVAILABLE";
        let fault = json!({ "kind": kind, "webhook_code": code, "seconds": 0 });
        let (bank, receiver) = refreshed_under(fault).await;
        let got = receiver.wait_for(4).await;
        let struck = got.iter().find(|received| received.body["webhook_code"] == code).unwrap();
        assert_eq!(struck.is_believed(&bank).await, believed, "{kind}");
        let log = bank.get("webhooks").await;
        let noted = log["webhooks"].as_array().unwrap().iter().find(|entry| entry["fault"] == kind);
        assert_eq!(noted.unwrap()["body"]["webhook_code"], code);
    }
}

#[tokio::test]
async fn a_rotated_key_leaves_the_old_one_published_as_expired() {
    let bank = Bank::start(7, None).await;
    let old = "6c5516e1-92dc-479e-a8ff-5a51992e0001";
    let rotated = bank.control("webhook_key/rotate", &json!({})).await;
    let asked = json!({ "key_id": old });
    let key = bank.ok("/webhook_verification_key/get", asked).await;
    assert!(key["key"]["expired_at"].is_i64(), "{key}");
    let asked = json!({ "key_id": rotated["key_id"] });
    let key = bank.ok("/webhook_verification_key/get", asked).await;
    assert!(key["key"]["expired_at"].is_null(), "{key}");
}

#[tokio::test]
async fn webhooks_come_late_twice_out_of_order_or_never() {
    let code = "TRANSACTIONS_REMOVED";
    let fault = |kind: &str| json!({ "kind": kind, "webhook_code": code, "seconds": 1 });
    let count = |codes: &[String]| codes.iter().filter(|own| *own == code).count();

    let (_bank, receiver) = refreshed_under(fault("webhook_twice")).await;
    receiver.wait_for(5).await;
    assert_eq!(count(&receiver.codes()), 2, "twice");

    let (_bank, receiver) = refreshed_under(fault("webhook_out_of_order")).await;
    receiver.wait_for(4).await;
    let codes = receiver.codes();
    assert_ne!(codes[1], code, "it would have been the first after the acknowledgement: {codes:?}");

    let (_bank, receiver) = refreshed_under(fault("webhook_late")).await;
    receiver.wait_for(4).await;
    assert_eq!(receiver.codes().last().map(String::as_str), Some(code), "late");

    let (bank, receiver) = refreshed_under(fault("webhook_lost")).await;
    receiver.wait_for(3).await;
    let log = bank.get("webhooks").await;
    let lost = log["webhooks"].as_array().unwrap().iter().find(|e| e["fault"] == "webhook_lost");
    assert_eq!((&lost.unwrap()["fate"], &lost.unwrap()["attempts"]), (&json!("FAILED"), &json!(0)));
    assert_eq!(count(&receiver.codes()), 0, "lost");
}

#[tokio::test]
async fn plaids_rate_limits_hold_when_they_are_switched_on() {
    let bank = Bank::start_with(|options| options.rate_limits = true).await;
    let (token, _) = bank.link("user_good", "pass_good").await;
    for _ in 0..2 {
        bank.ok("/transactions/refresh", json!({ "access_token": token })).await;
    }
    let (status, error) =
        bank.call("/transactions/refresh", json!({ "access_token": token })).await;
    assert_eq!((status, text(&error["error_type"]).as_str()), (429, "RATE_LIMIT_EXCEEDED"));
    let (other, _) = bank.link("user_good", "pass_good").await;
    bank.ok("/transactions/refresh", json!({ "access_token": other })).await;
}
