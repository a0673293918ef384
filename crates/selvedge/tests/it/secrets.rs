//! Canary secrets are in no log line, no API answer and no byte of the database, whatever happened.

use std::fs;

use serde_json::{Value, json};
use testkit::http_client;

use crate::process::{Running, output_of, selvedge};

const SECRET: &str = "canary-plaid-secret-0123456789";
const PASSWORD: &str = "canary password of an operator";

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story in which every secret is used once")]
async fn canaries_are_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let log = folder.path().join("log");
    let bank = Running::start(
        selvedge(&["emulator", "--listen", "127.0.0.1:0", "--secret", SECRET]),
        None,
    );
    let made = output_of(&["keys", "--data-dir", path, "create", "--name", "test"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    let key = made["key"].as_str().unwrap().to_owned();
    let mut command = selvedge(&["serve", "--listen", "127.0.0.1:0", "--data-dir", path]);
    command.env("SELVEDGE_LOG", "trace");
    let server = Running::start(command, Some(&log));
    let http = http_client();
    let mut answers = Vec::new();

    let post = async |url: String, key: Option<&str>, body: Value| {
        let request = http.post(url).json(&body);
        let request = match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        request.send().await.unwrap().text().await.unwrap()
    };
    let plaid = async |path: &str, mut body: Value| -> Value {
        body["client_id"] = json!("emulator");
        body["secret"] = json!(SECRET);
        serde_json::from_str(&post(format!("{}{path}", bank.url), None, body).await).unwrap()
    };
    let integration = json!({
        "name": "Bank", "environment": "sandbox", "client_id": "emulator", "secret": SECRET,
        "base_url": bank.url,
    });
    let text = post(format!("{}/v1/integrations", server.url), Some(&key), integration).await;
    let integration: Value = serde_json::from_str(&text).unwrap();
    answers.push(text);
    let create = json!({
        "institution_id": "ins_109508", "initial_products": ["transactions"],
        "options": { "webhook": integration["webhook_url"] },
    });
    let public = plaid("/sandbox/public_token/create", create).await;
    let linked =
        plaid("/item/public_token/exchange", json!({ "public_token": public["public_token"] }))
            .await;
    let token = linked["access_token"].as_str().unwrap().to_owned();
    let link_url = integration["link_url"].as_str().unwrap().to_owned();
    for end_user in ["alice", "bob"] {
        let link = json!({
            "item_id": linked["item_id"], "access_token": token, "end_user_id": end_user,
        });
        answers.push(post(link_url.clone(), Some(&key), link).await);
    }
    // Wrong places for secrets, and refusals that quote nothing.
    for body in [
        json!({ "item_id": token, "access_token": [token], "end_user_id": "x" }),
        json!({ "secret": SECRET, "access_token": token }),
        json!({ "item_id": "x", "access_token": format!("{token}x"), "end_user_id": "x" }),
    ] {
        answers.push(post(link_url.clone(), Some(&key), body).await);
    }
    let id = integration["id"].as_str().unwrap();
    answers.push(
        post(format!("{}/v1/integrations/{id}/check", server.url), Some(&key), json!({})).await,
    );
    plaid("/sandbox/item/reset_login", json!({ "access_token": token })).await;
    let form = format!("token=wrong&name=ann&password={}", PASSWORD.replace(' ', "+"));
    let page = http
        .post(format!("{}/set-up", server.url))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    answers.push(page.text().await.unwrap());
    for path in [
        "v1/integrations",
        "v1/end_users",
        "v1/transactions",
        "v1/changes?wait=2&limit=5000",
        "openapi.json",
    ] {
        let request = http.get(format!("{}/{path}", server.url)).bearer_auth(&key);
        answers.push(request.send().await.unwrap().text().await.unwrap());
    }
    let items = format!("{}/v1/items/{}", server.url, linked["item_id"].as_str().unwrap());
    for _ in 0..100 {
        let item = http.get(&items).bearer_auth(&key).send().await.unwrap().text().await.unwrap();
        let done = item.contains("login_required");
        answers.push(item);
        if done {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(answers.last().unwrap().contains("login_required"), "the story ran to its end");
    server.kill();

    let logged = fs::read(&log).unwrap();
    assert!(logged.len() > 10_000, "the log was written");
    let canaries = [SECRET, PASSWORD, token.as_str(), key.as_str()];
    let contains = |bytes: &[u8], canary: &str| {
        bytes.windows(canary.len()).any(|window| window == canary.as_bytes())
    };
    for canary in canaries {
        assert!(!contains(&logged, canary), "the log holds {canary}");
        assert!(answers.iter().all(|answer| !answer.contains(canary)), "an answer holds {canary}");
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap().path();
            let bytes = fs::read(&file).unwrap();
            assert!(!contains(&bytes, canary), "{} holds {canary}", file.display());
        }
    }
}
