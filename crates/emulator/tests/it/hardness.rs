//! Input that is malformed, huge, twice or out of order: an answer of Plaid's kind, and nothing lost.

use serde_json::{Value, json};

use crate::bank::{Bank, Rows, text, today};

#[tokio::test]
async fn amounts_beyond_all_bounds_are_refused_before_they_do_harm() {
    let bank = Bank::start(41, None).await;
    let (token, item_id) = bank.link("user_good", "pass_good").await;
    let today = today().to_string();
    for (field, value) in [
        ("amount", json!(7e28)),
        ("amount", json!(-1e20)),
        ("amount", json!(1e300)),
        ("iso_currency_code", json!("")),
        ("iso_currency_code", json!("doge")),
    ] {
        let mut row = json!({
            "amount": 1, "date_transacted": today, "date_posted": today, "description": "x",
        });
        row[field] = value;
        let body = json!({ "access_token": token, "transactions": [row] });
        let (status, error) = bank.call("/sandbox/transactions/create", body).await;
        assert_eq!(
            (status, text(&error["error_code"]).as_str()),
            (400, "INVALID_FIELD"),
            "{field}"
        );
    }
    let mut rows = Rows::new();
    bank.pull(&token, "", 500, &mut rows).await;
    bank.assert_agrees(&item_id, &rows).await;
    for config in [
        json!({ "override_accounts": [{ "type": "depository", "subtype": "checking", "starting_balance": 7.9e28 }] }),
        json!({ "override_accounts": [{ "type": "spaceship", "subtype": "checking" }] }),
        json!({ "override_accounts": [{ "type": "depository", "subtype": "checking", "transactions": [
            { "date_transacted": "2026-01-01", "date_posted": "2026-01-01", "amount": "much", "description": "x" },
        ] }] }),
        json!({ "override_accounts": "none" }),
    ] {
        let create = json!({
            "institution_id": "ins_109508", "initial_products": ["transactions"],
            "options": { "override_username": "user_custom", "override_password": config.to_string() },
        });
        let (status, error) = bank.call("/sandbox/public_token/create", create).await;
        assert_eq!(
            (status, text(&error["error_code"]).as_str()),
            (400, "INVALID_FIELD"),
            "{config}"
        );
    }
}

#[tokio::test]
async fn null_says_no_more_than_leaving_out_but_for_the_options_of_sync() {
    let bank = Bank::start(42, None).await;
    let (token, _) = bank.link("user_good", "pass_good").await;
    let body = json!({ "access_token": token, "cursor": null, "count": null });
    bank.ok("/transactions/sync", body).await;
    let body = json!({ "access_token": token, "options": null });
    bank.ok("/accounts/get", body.clone()).await;
    let (_, error) = bank.call("/transactions/sync", body).await;
    assert_eq!(text(&error["error_code"]), "INVALID_FIELD");
}

#[tokio::test]
async fn every_endpoint_answers_nonsense_with_an_error_of_plaids() {
    let bank = Bank::start(43, None).await;
    let (token, _) = bank.link("user_good", "pass_good").await;
    let tour = include_str!("../../data/tour.json");
    let steps: Vec<Value> = serde_json::from_str(tour).unwrap();
    let nonsense = [
        json!(1),
        json!("\u{0}\u{202e}"),
        json!([]),
        json!({ "a": {} }),
        json!(-1.5e30),
        json!(true),
    ];
    let mut asked = 0;
    for step in steps.iter().filter(|step| step.get("error").is_none()) {
        let path = step["path"].as_str().unwrap();
        if path == "/item/remove" || path == "/item/access_token/invalidate" {
            continue;
        }
        let fields: Vec<String> = step["body"].as_object().unwrap().keys().cloned().collect();
        for field in fields.iter().map(String::as_str).chain(["options"]) {
            for value in &nonsense {
                let mut body = step["body"].clone();
                if body.get("access_token").is_some() {
                    body["access_token"] = json!(token);
                }
                body[field] = value.clone();
                let (status, answer) = bank.call(path, body).await;
                let code = answer["error_code"].as_str();
                assert!(
                    status == 200 || status == 400 && code.is_some(),
                    "{path} {field} {answer}"
                );
                asked += 1;
            }
        }
    }
    assert!(asked > 500, "{asked}");
    for body in ["", "[]", "null", "{", "\u{feff}{}", "{\"a\":1}{\"b\":2}"] {
        let url = format!("{}/item/get", bank.emulator.url());
        let answer = bank.http.post(url).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{body}");
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(text(&answer["error_code"]), "INVALID_BODY", "{body}");
    }
}

#[tokio::test]
async fn a_public_token_ends_with_its_item_and_a_new_one_can_be_had() {
    let bank = Bank::start(44, None).await;
    let (token, item_id) = bank.link("user_good", "pass_good").await;
    bank.advance(2).await;
    let of_token = json!({ "access_token": token });
    let made = bank.ok("/item/public_token/create", of_token.clone()).await;
    let exchange = json!({ "public_token": made["public_token"] });
    let again = bank.ok("/item/public_token/exchange", exchange.clone()).await;
    assert_eq!(text(&again["item_id"]), item_id);
    bank.ok("/item/remove", of_token).await;
    let (_, error) = bank.call("/item/public_token/exchange", exchange).await;
    assert_eq!(text(&error["error_code"]), "ITEM_NOT_FOUND");
}

/// Posts a form of hosted Link.
async fn step(bank: &Bank, link: &Value, form: &str) {
    let url = text(&link["hosted_link_url"]);
    let request = bank.http.post(url).body(form.to_owned());
    let answer = request.header("content-type", "application/x-www-form-urlencoded").send().await;
    assert!(answer.unwrap().status().is_success());
}

async fn link_token(bank: &Bank, more: Value) -> Value {
    let mut body = json!({
        "client_name": "Test", "language": "en", "country_codes": ["US"],
        "user": { "client_user_id": "u" }, "hosted_link": {},
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let link = bank.ok("/link/token/create", body).await;
    bank.http.get(text(&link["hosted_link_url"])).send().await.unwrap();
    link
}

async fn session(bank: &Bank, link: &Value) -> Value {
    let got = bank.ok("/link/token/get", json!({ "link_token": link["link_token"] })).await;
    got["link_sessions"][0].clone()
}

#[tokio::test]
async fn hosted_link_takes_only_what_it_offered() {
    let bank = Bank::start(45, None).await;
    let filters = json!({ "depository": { "account_subtypes": ["checking"] } });
    let more = json!({ "products": ["transactions"], "account_filters": filters });
    let link = link_token(&bank, more).await;
    for bank_id in ["ins_133402", "ins_117650", "ins_0"] {
        step(&bank, &link, &format!("step=pick&institution_id={bank_id}")).await;
    }
    step(&bank, &link, "step=sign_in&username=user_good&password=pass_good").await;
    assert!(session(&bank, &link).await["finished_at"].is_null(), "no bank was picked");
    step(&bank, &link, "step=pick&institution_id=ins_109508").await;
    step(&bank, &link, "step=sign_in&username=user_good&password=pass_good").await;
    for choice in ["step=choose", "step=choose&account=99", "step=choose&account=3"] {
        step(&bank, &link, choice).await;
        assert!(session(&bank, &link).await["finished_at"].is_null(), "{choice}");
    }
    step(&bank, &link, "step=choose&account=0&account=3").await;
    step(&bank, &link, "step=choose&account=0").await;
    let accounts = session(&bank, &link).await["on_success"]["metadata"]["accounts"].clone();
    assert_eq!(accounts.as_array().unwrap().len(), 1, "the credit card was not offered");
}

#[tokio::test]
async fn two_people_who_link_at_once_get_the_accounts_they_saw() {
    let bank = Bank::start(46, None).await;
    let more = json!({ "products": ["transactions"], "institution_id": "ins_109508" });
    let links = [link_token(&bank, more.clone()).await, link_token(&bank, more).await];
    for link in &links {
        step(&bank, link, "step=sign_in&username=user_yuppie&password=x").await;
    }
    let mut seen = Vec::new();
    for link in &links {
        let page = bank.http.get(text(&link["hosted_link_url"])).send().await.unwrap();
        seen.push(page.text().await.unwrap());
    }
    for link in links.iter().rev() {
        step(&bank, link, "step=choose&account=0&account=1&account=2").await;
    }
    for (link, seen) in links.iter().zip(seen) {
        let metadata = session(&bank, link).await["on_success"]["metadata"].clone();
        for account in metadata["accounts"].as_array().unwrap() {
            assert!(seen.contains(&text(&account["mask"])), "{account}");
        }
    }
}

#[tokio::test]
async fn update_mode_of_an_item_that_is_gone_does_not_pretend() {
    let bank = Bank::start(47, None).await;
    let (token, _) = bank.link("user_good", "pass_good").await;
    let link = link_token(&bank, json!({ "access_token": token })).await;
    bank.ok("/item/remove", json!({ "access_token": token })).await;
    step(&bank, &link, "step=sign_in&username=user_good&password=pass_good").await;
    assert!(session(&bank, &link).await["finished_at"].is_null());
    let page = bank.http.get(text(&link["hosted_link_url"])).send().await.unwrap();
    assert!(page.text().await.unwrap().contains("ITEM_NOT_FOUND"));
}

#[tokio::test]
async fn what_a_person_did_not_consent_to_needs_update_mode() {
    let bank = Bank::start(50, None).await;
    let more = json!({
        "products": ["transactions"], "additional_consented_products": ["auth"],
        "institution_id": "ins_109508",
    });
    let link = link_token(&bank, more).await;
    step(&bank, &link, "step=sign_in&username=user_good&password=pass_good").await;
    step(&bank, &link, "step=choose&account=0").await;
    let added = session(&bank, &link).await["on_success"]["public_token"].clone();
    let linked = bank.ok("/item/public_token/exchange", json!({ "public_token": added })).await;
    let of_token = json!({ "access_token": linked["access_token"] });
    bank.ok("/transactions/sync", of_token.clone()).await;
    bank.ok("/auth/get", of_token.clone()).await;
    let (_, error) = bank.call("/identity/get", of_token.clone()).await;
    assert_eq!(text(&error["error_code"]), "ADDITIONAL_CONSENT_REQUIRED");

    let more = json!({
        "access_token": linked["access_token"], "additional_consented_products": ["identity"],
    });
    let link = link_token(&bank, more).await;
    step(&bank, &link, "step=sign_in&username=user_good&password=pass_good").await;
    bank.ok("/identity/get", of_token.clone()).await;
    let item = bank.ok("/item/get", of_token).await;
    let consented = item["item"]["consented_products"].as_array().unwrap();
    assert!(consented.contains(&json!("identity")) && !consented.contains(&json!("assets")));
}

#[tokio::test]
async fn a_challenge_has_its_bounds_whoever_writes_it() {
    let bank = Bank::start(48, None).await;
    let more = json!({ "products": ["transactions"], "institution_id": "ins_109508" });
    let link = link_token(&bank, more).await;
    let config =
        r#"{"mfa":{"type":"questions","questions_per_round":1000000000,"question_rounds":0}}"#;
    let form = [("step", "sign_in"), ("username", "user_custom"), ("password", config)];
    let form = reqwest::Url::parse_with_params("http://x/", form).unwrap();
    step(&bank, &link, form.query().unwrap()).await;
    let page = bank.http.get(text(&link["hosted_link_url"])).send().await.unwrap();
    assert_eq!(page.text().await.unwrap().matches("Sandbox: answer_0_").count(), 9);
}

#[tokio::test]
async fn forms_and_orders_of_other_sites_are_not_taken() {
    let bank = Bank::start(49, None).await;
    for path in ["/_emulator/advance", "/_emulator/pages/advance", "/link/link-sandbox-x"] {
        let request = bank.http.post(format!("{}{path}", bank.emulator.url())).body("{}");
        let answer = request.header("sec-fetch-site", "cross-site").send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
    }
}
