//! The Plaid client against a Plaid that behaves badly: what is repeated, what is not, what is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::{BalanceSource, Environment};
use plaid::{AccessToken, Client, Connector, Credentials, Error, Owner, Reaction, SandboxUser};
use secrecy::SecretString;
use serde_json::{Value, json};
use testkit::http_client;

/// Answers in the order they are to be given; the last one stays.
type Script = Arc<Mutex<(VecDeque<(u16, Vec<u8>)>, usize)>>;

struct Plaid {
    client: Client,
    script: Script,
}

impl Plaid {
    async fn answering(answers: Vec<(u16, Vec<u8>)>) -> Self {
        let script: Script = Arc::new(Mutex::new((answers.into(), 0)));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let credentials =
            Credentials { client_id: "client".into(), secret: SecretString::from("canary-secret") };
        let connector = Connector::new(http_client());
        let client = connector.client(Environment::Sandbox, url.parse().unwrap(), credentials);
        Self { client, script }
    }

    async fn item(&self) -> Result<plaid::wire::Item, Error> {
        let token = AccessToken::parse("access-sandbox-canary", Environment::Sandbox).unwrap();
        self.client.item_get(&token).await
    }

    fn calls(&self) -> usize {
        self.script.lock().unwrap().1
    }
}

async fn answer(State(script): State<Script>) -> impl IntoResponse {
    let mut script = script.lock().unwrap();
    script.1 += 1;
    let last = script.0.len() == 1;
    let (status, body) =
        if last { script.0.front().cloned().unwrap() } else { script.0.pop_front().unwrap() };
    (StatusCode::from_u16(status).unwrap(), body)
}

fn good() -> (u16, Vec<u8>) {
    (200, json!({ "item": { "item_id": "an-item" } }).to_string().into_bytes())
}

fn error(status: u16, error_type: &str, code: &str) -> (u16, Vec<u8>) {
    let body = json!({
        "error_type": error_type, "error_code": code, "error_message": "said Plaid",
        "display_message": null, "request_id": "m8MDnv9okwxFNBV",
    });
    (status, body.to_string().into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_repeated_and_what_does_not_is_told_at_once() {
    let limited = error(429, "RATE_LIMIT_EXCEEDED", "ITEM_GET_LIMIT");
    let broken = error(500, "API_ERROR", "INTERNAL_SERVER_ERROR");
    let plaid = Plaid::answering(vec![limited, broken, (502, b"<html>".to_vec()), good()]).await;
    assert_eq!(plaid.item().await.unwrap().item_id, "an-item");
    assert_eq!(plaid.calls(), 4);

    for (answer, reaction) in [
        (error(400, "ITEM_ERROR", "ITEM_LOGIN_REQUIRED"), Reaction::Repair),
        (error(400, "ITEM_ERROR", "ITEM_NOT_FOUND"), Reaction::Relink),
        (error(400, "INVALID_INPUT", "INVALID_API_KEYS"), Reaction::Fix),
        (error(400, "INSTITUTION_ERROR", "INSTITUTION_DOWN"), Reaction::Later),
        (error(429, "RATE_LIMIT_EXCEEDED", "CREDITS_EXHAUSTED"), Reaction::Fix),
    ] {
        let plaid = Plaid::answering(vec![answer]).await;
        let told = plaid.item().await.unwrap_err();
        assert_eq!((told.reaction(), plaid.calls()), (reaction, 1), "{told}");
        assert_eq!(told.request_id(), Some("m8MDnv9okwxFNBV"));
        assert!(told.to_string().contains("m8MDnv9okwxFNBV"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_plaids_are_errors_that_tell_no_secret() {
    let huge = vec![b' '; 33 * 1024 * 1024];
    let secret = br#"{"item": "access-sandbox-canary", "request_id": "m8MDnv9okwxFNBV"}"#.to_vec();
    for (what, body) in [
        ("a page of HTML", b"<html><body>hello</body></html>".to_vec()),
        ("nothing", Vec::new()),
        ("half an object", br#"{"item": {"item_id": "#.to_vec()),
        ("another shape", secret),
        ("too much", huge),
    ] {
        let plaid = Plaid::answering(vec![(200, body)]).await;
        let told = plaid.item().await.unwrap_err();
        assert!(matches!(told, Error::Malformed { .. }), "{what}: {told}");
        let words = format!("{told} {told:?}");
        assert!(!words.contains("canary"), "{what}: {words}");
        assert_eq!(told.request_id().is_some(), what == "another shape", "{what}");
        assert_eq!(plaid.calls(), 1, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_an_error_without_url_or_secret() {
    let connector = Connector::new(http_client());
    let credentials =
        Credentials { client_id: "client".into(), secret: SecretString::from("canary-secret") };
    let nowhere = "http://127.0.0.1:1".parse().unwrap();
    let client = connector.client(Environment::Sandbox, nowhere, credentials);
    let token = AccessToken::parse("access-sandbox-canary", Environment::Sandbox).unwrap();
    let told = client.item_get(&token).await.unwrap_err();
    assert!(matches!(told, Error::Transport { .. }));
    let words = format!("{told} {told:?} {client:?} {token:?}");
    assert!(!words.contains("canary"), "{words}");
}

/// Plaid's own example answers of the endpoints the client calls: path and body.
fn examples() -> Vec<(String, Value)> {
    let path = crate::process::root().join("crates/emulator/data/contract/examples.json");
    let examples: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let of_path = |(path, cases): (&String, &Value)| {
        let cases = cases.as_object().unwrap().iter();
        let good = cases.filter(|(case, _)| case.starts_with("200"));
        good.map(|(_, body)| (path.clone(), body.clone())).collect::<Vec<_>>()
    };
    examples.as_object().unwrap().iter().flat_map(of_path).collect()
}

#[tokio::test]
async fn every_example_of_plaids_is_read_whole() {
    let token = AccessToken::parse("access-sandbox-canary", Environment::Sandbox).unwrap();
    let owner = Owner { item_id: "item".into(), end_user_id: "user".into() };
    let mut read = 0;
    for (path, body) in examples() {
        let plaid = Plaid::answering(vec![(200, body.to_string().into_bytes())]).await;
        let client = &plaid.client;
        let now = testkit::now();
        let count = |list: &str| body[list].as_array().map_or(0, Vec::len);
        match path.as_str() {
            "/transactions/sync" => {
                let wire = client.transactions_sync(&token, "").await.unwrap();
                let page = plaid::page(&wire, &owner, now);
                assert!(page.quarantined.is_empty(), "{:?}", page.quarantined);
                assert_eq!(page.added.len(), count("added"));
                assert_eq!(page.modified.len(), count("modified"));
                assert_eq!(page.removed.len(), count("removed"));
            }
            "/accounts/get" | "/accounts/balance/get" => {
                let wire = match path.as_str() {
                    "/accounts/get" => client.accounts_get(&token).await,
                    _ => client.accounts_balance_get(&token, None).await,
                };
                let accounts = wire.unwrap().accounts;
                let page = plaid::accounts(&accounts, &owner, BalanceSource::RealTime, now);
                assert!(page.quarantined.is_empty(), "{:?}", page.quarantined);
                assert_eq!(page.accounts.len(), count("accounts"));
            }
            "/item/get" => drop(client.item_get(&token).await.unwrap()),
            "/item/remove" => client.item_remove(&token).await.unwrap(),
            "/item/webhook/update" => client.item_webhook_update(&token, "u").await.unwrap(),
            "/transactions/refresh" => client.transactions_refresh(&token).await.unwrap(),
            "/institutions/get_by_id" => drop(client.institution("ins").await.unwrap()),
            "/webhook_verification_key/get" => drop(client.webhook_key("key").await.unwrap()),
            "/item/public_token/exchange" => drop(client.exchange("token").await.unwrap()),
            "/sandbox/public_token/create" => {
                let user = SandboxUser {
                    institution_id: "ins",
                    username: "user_good",
                    products: &["transactions"],
                    webhook: None,
                };
                drop(client.sandbox_public_token(&user).await.unwrap());
            }
            _ => continue,
        }
        read += 1;
    }
    assert_eq!(read, 12);
}

#[test]
fn amounts_are_read_digit_for_digit() {
    for (text, amount) in [
        ("1.005", "1.01"),
        ("-1.005", "-1.01"),
        ("1.115", "1.12"),
        ("90071992547409.93", "90071992547409.93"),
        ("0.1", "0.10"),
    ] {
        let page = format!(
            r#"{{"added":[{{"transaction_id":"t","account_id":"a","amount":{text},
                "date":"2026-01-31","iso_currency_code":"USD"}}],"has_more":false}}"#
        );
        let page = serde_json::from_str(&page).unwrap();
        let owner = plaid::Owner { item_id: "item".into(), end_user_id: "alice".into() };
        let read = plaid::page(&page, &owner, testkit::now());
        assert_eq!(read.added[0].record.amount, amount, "{text}");
    }
}
