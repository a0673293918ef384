//! The API's manners: bad input is a clear 4xx, nothing is stored, nothing secret comes back.

use serde_json::{Value, json};
use testkit::{CLIENT_ID, World};

/// A problem document with this status and code; gives its detail and errors as text.
fn problem(what: &str, (status, body): (u16, Value), expected: (u16, &str)) -> String {
    let code = body["code"].as_str().unwrap_or("no code");
    assert_eq!((status, code), expected, "{what}: {body}");
    assert_eq!(body["type"], format!("/docs/errors/{code}"));
    assert_eq!(body["request_id"].as_str().unwrap().len(), 32, "{what}");
    format!("{} {}", body["detail"], body["errors"])
}

#[tokio::test(flavor = "multi_thread")]
async fn integrations_are_checked_field_by_field_and_their_secret_never_returns() {
    let world = World::start(21).await;
    let bad = json!({
        "name": "", "environment": "staging", "client_id": "with space", "secret": "",
        "base_url": "http://example.com", "type": "other",
    });
    let answer = world.call("POST", "/v1/integrations", Some(bad)).await;
    let faults = answer.1["errors"].as_array().unwrap().len();
    let words = problem("all faults at once", answer, (422, "invalid_fields"));
    assert_eq!(faults, 6, "{words}");

    let good = json!({
        "name": "Mine", "type": "plaid", "environment": "sandbox", "client_id": CLIENT_ID,
        "secret": "canary-integration-secret", "base_url": world.bank.url(),
    });
    let (status, made) = world.call("POST", "/v1/integrations", Some(good)).await;
    assert_eq!(status, 201);
    let id = made["id"].as_str().unwrap();
    assert_eq!(made["webhook_url"], format!("{}/webhooks/plaid/{id}", world.url));
    assert_eq!(made["link_url"], format!("{}/v1/integrations/{id}/links", world.url));
    let (_, check) = world.call("POST", &format!("/v1/integrations/{id}/check"), None).await;
    assert_eq!(check["ok"], false);
    let failed = check["checks"].as_array().unwrap().iter().find(|c| c["state"] == "failed");
    let failed = failed.expect("a failed check");
    assert_eq!(failed["plaid_code"], "INVALID_API_KEYS");
    assert_eq!(failed["fields"], json!(["client_id", "secret"]), "Plaid names no single one");
    for answer in [&made, &check, &world.call("GET", "/v1/integrations", None).await.1] {
        assert!(!answer.to_string().contains("canary"), "{answer}");
    }
    let path = format!("/v1/integrations/{}/check", world.integration.id);
    assert_eq!(world.call("POST", &path, None).await.1["ok"], true);

    let retired = json!({
        "name": "Old", "environment": "development", "client_id": "0123456789abcdef01234567",
        "secret": "0123456789abcdef0123456789abcd",
    });
    let (_, made) = world.call("POST", "/v1/integrations", Some(retired)).await;
    assert_eq!(made["base_url"], "https://development.plaid.com");
    assert!(made["notice"].as_str().unwrap().contains("retired"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn linking_is_idempotent_replaces_tokens_and_refuses_what_is_not_ours() {
    let world = World::start(22).await;
    let links = format!("/v1/integrations/{}/links", world.integration.id);
    let item = world.bank.link("user_good", None).await;
    let body = |item_id: &str, token: &str, end_user: &str| {
        Some(json!({ "item_id": item_id, "access_token": token, "end_user_id": end_user }))
    };
    let token = item.access_token.as_str();
    let path = links.as_str();
    let link = async |item_id: &str, token: &str, end_user: &str| {
        world.call("POST", path, body(item_id, token, end_user)).await
    };
    assert_eq!(link(&item.item_id, token, "alice").await.0, 201);
    assert_eq!(link(&item.item_id, token, "alice").await.0, 200);
    let other = link(&item.item_id, token, "bob").await;
    problem("another end user", other, (409, "linked_to_another_end_user"));
    let production = link(&item.item_id, "access-production-1", "alice").await;
    let words = problem("another environment", production, (422, "invalid_fields"));
    assert!(words.contains("production") && words.contains("sandbox"), "{words}");
    let unknown = link(&item.item_id, "access-sandbox-unknown", "alice").await;
    let words = problem("an unknown token", unknown, (422, "token_rejected"));
    assert!(words.contains("INVALID_ACCESS_TOKEN") && words.contains("request_id"), "{words}");
    let mismatch = link("another-item", token, "alice").await;
    problem("another item's token", mismatch, (422, "token_rejected"));
    let (_, listed) = world.call("GET", path, None).await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "nothing else was stored");
    assert_eq!(world.call("GET", "/v1/end_users", None).await.1["data"][0]["end_user_id"], "alice");
    world.agree().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_link_leaves_the_items_webhook_alone() {
    let world = World::start(25).await;
    let item = world.customer("alice", "user_good").await;
    let other = json!({
        "name": "Other", "environment": "sandbox", "client_id": CLIENT_ID,
        "secret": testkit::SECRET, "base_url": world.bank.url(),
    });
    let (_, other) = world.call("POST", "/v1/integrations", Some(other)).await;
    let links = format!("/v1/integrations/{}/links", other["id"].as_str().unwrap());
    let body = json!({
        "item_id": item.item_id, "access_token": item.access_token, "end_user_id": "alice",
        "update_webhook": true,
    });
    let refused = world.call("POST", &links, Some(body)).await;
    problem("linked elsewhere", refused, (409, "linked_through_another_integration"));
    let token = json!({ "access_token": item.access_token });
    let at_bank = world.bank.call("/item/get", token).await;
    assert_eq!(at_bank["item"]["webhook"], world.webhook_url());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_only_asked_about_deletes_nothing() {
    let world = World::start(26).await;
    world.customer("alice", "user_good").await;
    let path = format!("/v1/integrations/{}", world.integration.id);
    let (status, asked) = world.call("DELETE", &format!("{path}?dry_run=true"), None).await;
    assert_eq!((status, &asked["live_items"]), (200, &json!(1)));
    problem("live items", world.call("DELETE", &path, None).await, (409, "integration_in_use"));
    let typo = world.call("DELETE", &format!("{path}?dryrun=true"), None).await;
    problem("an unknown parameter", typo, (400, "invalid_parameter"));
    assert_eq!(world.call("GET", &path, None).await.0, 200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_heals_at_once_however_long_the_back_off() {
    let world = World::start(27).await;
    let item = world.customer("alice", "user_good").await;
    world.agree().await;
    let reset = json!({ "access_token": item.access_token });
    world.bank.call("/sandbox/item/reset_login", reset).await;
    let path = format!("/v1/items/{}", item.item_id);
    let is = async |status: &str| world.call("GET", &path, None).await.1["status"] == status;
    world.until("the broken login", async || is("login_required").await).await;
    let (_, before) = world.call("GET", &path, None).await;
    let links = format!("/v1/integrations/{}/links", world.integration.id);
    let body = json!({
        "item_id": item.item_id, "access_token": item.access_token, "end_user_id": "alice",
    });
    assert_eq!(world.call("POST", &links, Some(body)).await.0, 200);
    let tried = async || {
        let (_, now) = world.call("GET", &path, None).await;
        now["last_attempt_at"] != before["last_attempt_at"] && now["status"] == "login_required"
    };
    world.until("another try", tried).await;
    assert_eq!(world.call("DELETE", &format!("{path}?data=keep"), None).await.0, 202);
    world.until("the removal, at once too", async || is("removed").await).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_have_passwords_hashed() {
    let world = World::start(28).await;
    let post = async |path: &str, form: &str| {
        let request = world.http.post(format!("{}{path}", world.url)).body(form.to_owned());
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("/set-up", "token=x&name=ann&password=a+long+enough+password").await, 422);
    let mut refused = 0;
    for _ in 0..40 {
        refused += u32::from(post("/sign-in", "name=ann&password=guess").await == 429);
    }
    assert!(refused >= 5, "{refused} of 40 attempts were put off");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_a_clear_4xx() {
    let world = World::start(23).await;
    let call = async |method: &str, path: &str, body: Option<&str>| {
        let url = format!("{}{path}", world.url);
        let request = world.http.request(method.parse().unwrap(), url).bearer_auth(&world.key);
        let request = match body {
            Some(text) => request.body(text.to_owned()).header("content-type", "application/json"),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["request_id"], id.as_str());
        (status, body)
    };
    let links = format!("/v1/integrations/{}/links", world.integration.id);
    let unknown = "/v1/integrations/itg_00000000000000000000000000000000";
    let huge = format!("{{\"item_id\":\"{}\"}}", "x".repeat(300 * 1024));
    let deep = "[".repeat(5_000);
    for (what, method, path, body, expected) in [
        ("malformed JSON", "POST", links.as_str(), Some("{"), (400, "invalid_body")),
        ("empty body", "POST", &links, Some(""), (400, "invalid_body")),
        ("an array", "POST", &links, Some("[]"), (400, "invalid_body")),
        ("deep nesting", "POST", &links, Some(deep.as_str()), (400, "invalid_body")),
        ("NUL and friends", "POST", &links, Some("{\"item_id\":\"\u{0}\"}"), (400, "invalid_body")),
        ("a wrong type", "POST", &links, Some("{\"item_id\":7}"), (400, "invalid_body")),
        ("an unknown field", "POST", &links, Some("{\"item\":\"x\"}"), (400, "invalid_body")),
        ("two objects", "POST", "/v1/integrations", Some("{}{}"), (400, "invalid_body")),
        ("too large", "POST", &links, Some(huge.as_str()), (413, "body_too_large")),
        ("unknown integration", "GET", unknown, None, (404, "not_found")),
        ("an id of another kind", "GET", "/v1/integrations/itm_1", None, (404, "not_found")),
        ("unknown item", "GET", "/v1/items/nope", None, (404, "not_found")),
        ("unknown end user", "GET", "/v1/end_users/nope/accounts", None, (404, "not_found")),
        ("unknown path", "GET", "/v1/nope", None, (404, "not_found")),
        ("wrong method", "PATCH", "/v1/integrations", None, (405, "method_not_allowed")),
        (
            "an array of values",
            "POST",
            &links,
            Some("[\"a\",\"b\",\"c\",null,false]"),
            (400, "invalid_body"),
        ),
        (
            "an unknown parameter",
            "GET",
            "/v1/transactions?acount_id=x",
            None,
            (400, "invalid_parameter"),
        ),
        ("limit 0", "GET", "/v1/transactions?limit=0", None, (400, "invalid_parameter")),
        ("limit high", "GET", "/v1/changes?limit=5001", None, (400, "invalid_parameter")),
        ("limit text", "GET", "/v1/changes?limit=x", None, (400, "invalid_parameter")),
        ("bad cursor", "GET", "/v1/transactions?after=%25", None, (400, "invalid_parameter")),
        ("bad place", "GET", "/v1/changes?after=-1", None, (400, "invalid_parameter")),
        ("bad wait", "GET", "/v1/changes?wait=61", None, (400, "invalid_parameter")),
        ("bad date", "GET", "/v1/transactions?from=soon", None, (400, "invalid_parameter")),
        ("no currency", "GET", "/v1/transactions?amount_min=1", None, (400, "invalid_parameter")),
        ("bad stream", "GET", "/v1/changes?stream=secrets", None, (400, "invalid_parameter")),
    ] {
        let answer = call(method, path, body).await;
        problem(what, answer, expected);
    }
    let misplaced = r#"{"item_id":"x","access_token":{"v":"canary-token"},"end_user_id":"a"}"#;
    let words = problem(
        "a secret of the wrong type",
        call("POST", &links, Some(misplaced)).await,
        (400, "invalid_body"),
    );
    assert!(words.contains("/access_token") && !words.contains("canary"), "{words}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_open_what_their_scopes_say_until_they_are_revoked() {
    let world = World::start(24).await;
    let get = async |name: &str, value: &str, method: &str| {
        let url = format!("{}/v1/integrations", world.url);
        let request = world.http.request(method.parse().unwrap(), url).header(name, value);
        let answer = request.json(&json!({})).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (read, text) = world.store.create_api_key("read", &[store::Scope::Read]).await.unwrap();
    assert_eq!(get("x-api-key", &text, "GET").await.0, 200);
    assert_eq!(get("authorization", &format!("Bearer {}", *text), "GET").await.0, 200);
    let answer = get("x-api-key", &text, "POST").await;
    problem("a write with a read key", answer, (403, "insufficient_scope"));
    for wrong in ["", "selvedge_", "selvedge_short", &text.to_uppercase(), &format!("{}x", *text)] {
        problem(wrong, get("x-api-key", wrong, "GET").await, (401, "unauthorized"));
    }
    assert!(world.store.revoke_api_key(&read.id).await.unwrap());
    problem("a revoked key", get("x-api-key", &text, "GET").await, (401, "unauthorized"));
    world.stop().await;
}
