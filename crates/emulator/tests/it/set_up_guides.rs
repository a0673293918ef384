//! The two calls printed in every Plaid set-up guide, and the errors those guides lead into.

use serde_json::{Value, json};

use crate::bank::{Bank, text};

const GUIDE_TYPE: &str = "application/json;charset=UTF-16";

async fn post(bank: &Bank, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let url = format!("{}{path}", bank.emulator.url());
    let request = bank.http.post(url).header("content-type", GUIDE_TYPE).body(body.into());
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn the_two_calls_work_as_printed() {
    let bank = Bank::start(1, None).await;
    let create = r#"{"client_id":"emulator","secret":"sandbox-secret",
        "institution_id":"ins_43","initial_products":["auth","transactions"]}"#;
    let (status, made) = post(&bank, "/sandbox/public_token/create", create).await;
    assert_eq!(status, 200, "{made}");
    assert!(text(&made["public_token"]).starts_with("public-sandbox-"));

    let exchange = format!(
        r#"{{"client_id":"emulator","secret":"sandbox-secret","public_token":"{}"}}"#,
        text(&made["public_token"])
    );
    let wide: Vec<u8> = exchange.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for body in [exchange.into_bytes(), wide] {
        let (status, linked) = post(&bank, "/item/public_token/exchange", body).await;
        assert_eq!(status, 200, "{linked}");
        assert!(text(&linked["access_token"]).starts_with("access-sandbox-"));
        assert_eq!(text(&linked["item_id"]).len(), 37);
    }
}

#[tokio::test]
async fn errors_have_the_keys_codes_and_order_of_plaid() {
    let bank = Bank::start(1, None).await;
    let (status, error) = post(&bank, "/item/get", "not json").await;
    assert_eq!((status, text(&error["error_code"]).as_str()), (400, "INVALID_BODY"));
    let keys: Vec<&String> = error.as_object().unwrap().keys().collect();
    let expected = [
        "display_message",
        "documentation_url",
        "error_code",
        "error_message",
        "error_type",
        "request_id",
        "suggested_action",
    ];
    assert_eq!(keys, expected);
    assert_eq!(text(&error["request_id"]).len(), 15);

    let (_, error) = post(&bank, "/item/get", "{}").await;
    assert_eq!(text(&error["error_code"]), "MISSING_FIELDS");
    let wrong = r#"{"client_id":"emulator","secret":"wrong","access_token":"x"}"#;
    let (status, error) = post(&bank, "/item/get", wrong).await;
    assert_eq!((status, text(&error["error_code"]).as_str()), (400, "INVALID_API_KEYS"));

    for (token, fragment) in [
        ("x", "access-<environment>-<identifier>"),
        ("access-production-1", "wrong Plaid environment"),
        ("access-sandbox-1", "could not find matching access token"),
    ] {
        let (_, error) = bank.call("/item/get", json!({ "access_token": token })).await;
        assert_eq!(text(&error["error_code"]), "INVALID_ACCESS_TOKEN");
        assert!(text(&error["error_message"]).contains(fragment), "{error}");
    }

    let (token, _) = bank.link("user_good", "pass_good").await;
    for (count, code) in [(0, "INVALID_FIELD"), (501, "INVALID_FIELD")] {
        let body = json!({ "access_token": token, "count": count });
        assert_eq!(text(&bank.call("/transactions/sync", body).await.1["error_code"]), code);
    }
    bank.ok("/item/remove", json!({ "access_token": token })).await;
    let (_, error) = bank.call("/item/remove", json!({ "access_token": token })).await;
    assert_eq!(text(&error["error_code"]), "ITEM_NOT_FOUND");
}
