//! What a caller relies on besides shapes: stages, consent, accounts, duplicates, products.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::bank::{Bank, Rows, text};
use crate::receiver::Receiver;

fn names(accounts: &Value) -> Vec<String> {
    accounts.as_array().unwrap().iter().map(|account| text(&account["name"])).collect()
}

async fn code(bank: &Bank, path: &str, body: Value) -> String {
    let (status, error) = bank.call(path, body).await;
    assert_ne!(status, 200, "{path}: {error}");
    text(&error["error_code"])
}

#[tokio::test]
async fn history_comes_in_two_stages_and_get_says_not_ready_before_the_first() {
    let hour = Duration::from_secs(3_600);
    let bank = Bank::start_with(|options| options.initial_delay = hour).await;
    let (token, _) = bank.link("user_good", "pass_good").await;
    let page = bank.ok("/transactions/sync", json!({ "access_token": token })).await;
    assert_eq!(page["transactions_update_status"], "NOT_READY");
    assert_eq!((&page["next_cursor"], &page["has_more"]), (&json!(""), &json!(false)));
    let list =
        json!({ "access_token": token, "start_date": "2026-01-01", "end_date": "2026-02-01" });
    assert_eq!(code(&bank, "/transactions/get", list).await, "PRODUCT_NOT_READY");
    let recurring = json!({ "access_token": token });
    assert_eq!(code(&bank, "/transactions/recurring/get", recurring).await, "PRODUCT_NOT_READY");
    bank.emulator.stop().await;

    let bank = Bank::start_with(|options| options.history_delay = hour).await;
    let receiver = Receiver::start().await;
    let (token, item_id) = bank.link_to(&receiver.url).await;
    receiver.wait_for(1).await;
    let page = bank.ok("/transactions/sync", json!({ "access_token": token, "count": 500 })).await;
    assert_eq!(page["transactions_update_status"], "INITIAL_UPDATE_COMPLETE");
    assert!((10..40).contains(&page["added"].as_array().unwrap().len()), "thirty days only");
    assert_eq!(receiver.codes(), ["INITIAL_UPDATE"], "nothing of sync before the first call");
    let ledger = bank.ledger(&item_id).await;
    assert_eq!(ledger.len(), page["added"].as_array().unwrap().len());
}

#[tokio::test]
async fn listing_and_following_agree_and_pages_do_not_overlap() {
    let bank = Bank::start(11, None).await;
    let (token, _) = bank.link("user_transactions_dynamic", "x").await;
    let mut rows = Rows::new();
    bank.pull(&token, "", 500, &mut rows).await;
    let (mut listed, mut dates) = (Rows::new(), Vec::new());
    loop {
        let options = json!({ "count": 333, "offset": listed.len() });
        let body = json!({
            "access_token": token, "start_date": "2020-01-01", "end_date": "2099-01-01",
            "options": options,
        });
        let page = bank.ok("/transactions/get", body).await;
        for row in page["transactions"].as_array().unwrap() {
            dates.push(text(&row["date"]));
            assert!(listed.insert(text(&row["transaction_id"]), row.clone()).is_none());
        }
        if listed.len() as u64 >= page["total_transactions"].as_u64().unwrap() {
            break;
        }
    }
    assert_eq!(listed, rows);
    assert!(dates.is_sorted_by(|a, b| a >= b), "newest first");
}

#[tokio::test]
async fn rows_put_in_by_hand_are_recognised_and_shown() {
    let bank = Bank::start(12, None).await;
    let (token, item_id) = bank.link("user_good", "pass_good").await;
    let mut rows = Rows::new();
    let cursor = bank.pull(&token, "", 500, &mut rows).await;
    let today = crate::bank::today().to_string();
    let row = json!({
        "amount": 4.5, "date_transacted": today, "date_posted": today,
        "description": "STARBUCKS STORE 01234",
    });
    let body = json!({ "access_token": token, "transactions": [row] });
    bank.ok("/sandbox/transactions/create", body).await;
    bank.pull(&token, &cursor, 500, &mut rows).await;
    bank.assert_agrees(&item_id, &rows).await;
    let mine = rows.values().find(|row| row["name"] == "STARBUCKS STORE 01234").unwrap();
    assert_eq!(mine["merchant_name"], "Starbucks");
    assert_eq!(mine["personal_finance_category"]["detailed"], "FOOD_AND_DRINK_COFFEE");
    for (field, value) in [("date_posted", "2099-01-01"), ("date_transacted", "2019-01-01")] {
        let mut row = row.clone();
        row[field] = json!(value);
        let body = json!({ "access_token": token, "transactions": [row] });
        assert_eq!(code(&bank, "/sandbox/transactions/create", body).await, "INVALID_FIELD");
    }
    let body = json!({ "access_token": token, "transactions": vec![row; 11] });
    assert_eq!(code(&bank, "/sandbox/transactions/create", body).await, "INVALID_FIELD");
}

#[tokio::test]
async fn accounts_open_are_chosen_withdrawn_and_come_back() {
    let bank = Bank::start(13, None).await;
    let receiver = Receiver::start().await;
    let (token, item_id) = bank.link_to(&receiver.url).await;
    receiver.wait_for(2).await;
    let mut rows = Rows::new();
    let cursor = bank.pull(&token, "", 500, &mut rows).await;
    let accounts = bank.ok("/accounts/get", json!({ "access_token": token })).await;
    let ids: Vec<String> =
        accounts["accounts"].as_array().unwrap().iter().map(|a| text(&a["account_id"])).collect();
    assert_eq!(ids.len(), 12);

    bank.act(&item_id, "open_account").await;
    let accounts = bank.ok("/accounts/get", json!({ "access_token": token })).await;
    assert_eq!(names(&accounts["accounts"]).len(), 12, "not shared yet");

    let revoke = json!({ "action": "revoke_account", "item_id": item_id, "account_id": ids[0] });
    bank.control("act", &revoke).await;
    let accounts = bank.ok("/accounts/get", json!({ "access_token": token })).await;
    assert!(!names(&accounts["accounts"]).contains(&"Plaid Checking".to_owned()));
    let cursor = bank.pull(&token, &cursor, 500, &mut rows).await;
    assert!(rows.values().all(|row| row["account_id"] != ids[0]), "its rows went");
    bank.assert_agrees(&item_id, &rows).await;

    let chosen = json!({ "action": "repair", "item_id": item_id, "account_ids": ids });
    bank.control("act", &chosen).await;
    bank.pull(&token, &cursor, 500, &mut rows).await;
    assert!(rows.values().any(|row| row["account_id"] == ids[0]), "and came back");
    bank.assert_agrees(&item_id, &rows).await;
    let codes = receiver.codes();
    for code in ["NEW_ACCOUNTS_AVAILABLE", "USER_ACCOUNT_REVOKED"] {
        assert!(codes.contains(&code.to_owned()), "{code} in {codes:?}");
    }

    bank.act(&item_id, "revoke").await;
    let of_token = json!({ "access_token": token });
    assert_eq!(code(&bank, "/item/get", of_token.clone()).await, "USER_PERMISSION_REVOKED");
    bank.ok("/item/remove", of_token.clone()).await;
    assert_eq!(code(&bank, "/item/get", of_token).await, "ITEM_NOT_FOUND");
}

#[tokio::test]
async fn consent_ends_with_a_warning_and_a_new_login_renews_it() {
    for (institution, warning) in
        [("ins_117650", "PENDING_EXPIRATION"), ("ins_128026", "PENDING_DISCONNECT")]
    {
        let bank = Bank::start(14, None).await;
        let receiver = Receiver::start().await;
        let (token, item_id) = bank.link_at(institution, "user_good", &receiver.url).await;
        let ends = |item: &Value| text(&item["item"]["consent_expiration_time"]);
        let first = ends(&bank.ok("/item/get", json!({ "access_token": token })).await);
        let days = if warning == "PENDING_EXPIRATION" { 180 } else { 365 };
        bank.advance(days - 8).await;
        assert!(!receiver.codes().contains(&warning.to_owned()));
        bank.advance(2).await;
        bank.advance(1).await;
        bank.advance(7).await;
        let broken = bank.ok("/item/get", json!({ "access_token": token })).await;
        assert_eq!(broken["item"]["error"]["error_code"], "ITEM_LOGIN_REQUIRED");
        let sync = json!({ "access_token": token });
        assert_eq!(code(&bank, "/transactions/sync", sync).await, "ITEM_LOGIN_REQUIRED");
        bank.act(&item_id, "repair").await;
        let repaired = bank.ok("/item/get", json!({ "access_token": token })).await;
        assert!(repaired["item"]["error"].is_null() && ends(&repaired) > first);
        loop {
            let codes = receiver.codes();
            let count = |code: &str| codes.iter().filter(|own| *own == code).count();
            if (count(warning), count("ERROR")) == (1, 1) {
                break;
            }
            receiver.wait_for(codes.len() + 1).await;
        }
    }
}

#[tokio::test]
async fn linking_the_same_login_again_kills_the_older_item_where_the_bank_does_so() {
    let bank = Bank::start(15, None).await;
    for (institution, dies) in [("ins_56", true), ("ins_13", false), ("ins_109508", false)] {
        let (older, _) = bank.link_at(institution, "user_good", "").await;
        let (newer, _) = bank.link_at(institution, "user_good", "").await;
        let item = bank.ok("/item/get", json!({ "access_token": older })).await;
        let broken = item["item"]["error"]["error_code"] == "ITEM_LOGIN_REQUIRED";
        assert_eq!(broken, dies, "{institution}");
        let item = bank.ok("/item/get", json!({ "access_token": newer })).await;
        assert!(item["item"]["error"].is_null(), "{institution}");
    }
}

#[tokio::test]
async fn logins_end_after_thirty_days_if_they_are_asked_to() {
    for (expires, broken) in [(false, false), (true, true)] {
        let bank = Bank::start_with(|options| options.expire_logins = expires).await;
        let (token, _) = bank.link("user_good", "pass_good").await;
        bank.advance(31).await;
        let item = bank.ok("/item/get", json!({ "access_token": token })).await;
        assert_eq!(!item["item"]["error"].is_null(), broken);
    }
}

#[tokio::test]
async fn the_default_user_has_the_products_that_suites_expect() {
    let bank = Bank::start(16, None).await;
    let (token, _) = bank.link("user_good", "pass_good").await;
    let of_token = json!({ "access_token": token });

    let auth = bank.ok("/auth/get", of_token.clone()).await;
    let ach = auth["numbers"]["ach"].as_array().unwrap();
    assert_eq!(ach[0]["account"], "1111222233330000");
    assert_eq!(
        (&ach[0]["routing"], &ach[0]["wire_routing"]),
        (&json!("011401533"), &json!("021000021"))
    );
    assert_eq!(ach.len(), 3, "checking, savings, cash management");

    let identity = bank.ok("/identity/get", of_token.clone()).await;
    let owner = &identity["accounts"][0]["owners"][0];
    assert_eq!(owner["names"], json!(["Alberta Bobbeth Charleson"]));

    let owed = bank.ok("/liabilities/get", of_token.clone()).await;
    let first = |kind: &str| owed["liabilities"][kind][0].clone();
    assert_eq!(first("credit")["last_payment_amount"], 168.25);
    assert_eq!(first("mortgage")["account_number"], "3120194154");
    let student = text(&first("student")["account_id"]);
    let only = json!({ "access_token": token, "options": { "account_ids": [student] } });
    let owed = bank.ok("/liabilities/get", only).await;
    assert_eq!(names(&owed["accounts"]), ["Plaid Student Loan"]);
    assert_eq!(owed["liabilities"]["mortgage"], json!([]));

    let held = bank.ok("/investments/holdings/get", of_token.clone()).await;
    assert_eq!(names(&held["accounts"]), ["Plaid IRA", "Plaid 401k"]);
    let value = |name: &str| {
        let id = held["accounts"].as_array().unwrap().iter().find(|a| a["name"] == name).unwrap();
        let own = held["holdings"].as_array().unwrap().iter();
        let own = own.filter(|holding| holding["account_id"] == id["account_id"]);
        own.map(|holding| holding["institution_value"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(value("Plaid IRA"), [0.01, 110.0]);
    assert_eq!(value("Plaid 401k").len(), 6);

    let recurring = bank.ok("/transactions/recurring/get", of_token.clone()).await;
    let streams = recurring["outflow_streams"].as_array().unwrap();
    assert!(streams.iter().any(|stream| stream["merchant_name"] == "Starbucks"), "{streams:#?}");
    assert!(streams.iter().all(|stream| stream["transaction_ids"].as_array().unwrap().len() >= 3));
    let item = bank.ok("/item/get", of_token).await;
    let products = item["item"]["products"].as_array().unwrap();
    assert!(products.contains(&json!("liabilities")), "added by its first call: {products:?}");
}

#[tokio::test]
async fn statements_are_files_with_their_hash() {
    let bank = Bank::start(17, None).await;
    let create = json!({ "institution_id": "ins_109508", "initial_products": ["statements"] });
    let (_, error) = bank.call("/sandbox/public_token/create", create).await;
    assert_eq!(error["error_code"], "INVALID_FIELD", "statements need their span");
    let (token, _) = bank.link("user_transactions_dynamic", "x").await;
    let list = bank.ok("/statements/list", json!({ "access_token": token })).await;
    let statement = list["accounts"][0]["statements"][0]["statement_id"].clone();
    let body = json!({
        "client_id": "emulator", "secret": "sandbox-secret", "access_token": token,
        "statement_id": statement,
    });
    let url = format!("{}/statements/download", bank.emulator.url());
    let answer = bank.http.post(url).json(&body).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/pdf");
    let told = answer.headers()["plaid-content-hash"].to_str().unwrap().to_owned();
    let file = answer.bytes().await.unwrap();
    let hash = digest(&SHA256, &file);
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(told, hash);
    assert!(file.starts_with(b"%PDF-1.4") && file.len() > 1_000);
}

#[tokio::test]
async fn institutions_have_their_extras_only_when_asked() {
    let bank = Bank::start(18, None).await;
    let countries = json!(["US"]);
    let plain = json!({ "institution_id": "ins_109511", "country_codes": countries });
    let bank_json = bank.ok("/institutions/get_by_id", plain).await["institution"].clone();
    for absent in ["url", "logo", "primary_color", "status", "auth_metadata"] {
        assert!(bank_json.get(absent).is_none(), "{absent} is left out, not null");
    }
    let options = json!({ "include_optional_metadata": true, "include_status": true });
    let body =
        json!({ "institution_id": "ins_109511", "country_codes": countries, "options": options });
    let full = bank.ok("/institutions/get_by_id", body).await["institution"].clone();
    assert_eq!(
        (&full["url"], &full["primary_color"]),
        (&json!("https://www.plaid.com/"), &json!("#174e7c"))
    );
    assert_eq!(full["status"]["item_logins"]["status"], "HEALTHY");
    let abroad = json!({ "institution_id": "ins_109511", "country_codes": ["GB"] });
    assert_eq!(code(&bank, "/institutions/get_by_id", abroad).await, "INVALID_INSTITUTION");

    let body = json!({ "count": 10, "offset": 20, "country_codes": countries });
    let page = bank.ok("/institutions/get", body).await;
    assert!(page["total"].as_u64().unwrap() >= 20);
    assert_eq!(page["institutions"].as_array().unwrap().len(), 10);
    let search = json!({ "query": "ins_109508", "products": null, "country_codes": countries });
    let found = bank.ok("/institutions/search", search).await;
    assert_eq!(names(&found["institutions"]), ["First Platypus Bank"]);
}

#[tokio::test]
async fn a_custom_user_has_what_its_configuration_says() {
    let bank = Bank::start(19, None).await;
    let config = json!({
        "seed": "s",
        "override_accounts": [
            {
                "type": "depository", "subtype": "checking", "starting_balance": 100,
                "numbers": { "account": "1234", "ach_routing": "021000021" },
                "identity": { "names": ["Ada Lovelace"], "emails": [] },
                "transactions": [],
            },
            {
                "type": "credit", "subtype": "credit card", "starting_balance": 10,
                "liability": { "type": "credit", "purchase_apr": 12.9, "minimum_payment_amount": 5 },
                "transactions": [],
            },
            {
                "type": "investment", "subtype": "brokerage", "starting_balance": 5,
                "holdings": [{
                    "institution_price": 10.5, "quantity": 3, "currency": "USD", "cost_basis": 20,
                    "security": { "ticker_symbol": "NFLX180201C00355000", "currency": "USD" },
                }],
                "investment_transactions": [{
                    "date": "2026-01-05", "name": "BUY", "quantity": 3, "price": 10, "type": "buy",
                    "currency": "USD", "security": { "ticker_symbol": "ACHN", "currency": "USD" },
                }],
            },
        ],
    });
    let (token, _) = bank.link("user_custom", &config.to_string()).await;
    let of_token = json!({ "access_token": token });
    let auth = bank.ok("/auth/get", of_token.clone()).await;
    assert_eq!(auth["numbers"]["ach"][0]["account"], "1234");
    let identity = bank.ok("/identity/get", of_token.clone()).await;
    assert_eq!(identity["accounts"][1]["owners"][0]["names"], json!(["Ada Lovelace"]));
    let owed = bank.ok("/liabilities/get", of_token.clone()).await;
    assert_eq!(owed["liabilities"]["credit"][0]["aprs"][0]["apr_percentage"], 12.9);
    let held = bank.ok("/investments/holdings/get", of_token).await;
    assert_eq!(held["holdings"][0]["institution_value"], 31.5);
    assert_eq!(held["securities"][0]["option_contract"]["strike_price"], 355);
    let span =
        json!({ "access_token": token, "start_date": "2026-01-01", "end_date": "2026-01-31" });
    let moved = bank.ok("/investments/transactions/get", span).await;
    assert_eq!(moved["investment_transactions"][0]["amount"], 30);
}

#[tokio::test]
async fn time_stands_still_steps_and_runs_again() {
    let bank = Bank::start(20, None).await;
    let frozen = bank.control("clock", &json!({ "freeze": "2027-05-01T10:00:00Z" })).await;
    assert_eq!((&frozen["frozen"], &frozen["now"]), (&json!(true), &json!("2027-05-01T10:00:00Z")));
    let (token, _) = bank.link("user_good", "pass_good").await;
    let item = bank.ok("/item/get", json!({ "access_token": token })).await;
    assert_eq!(item["item"]["created_at"], "2027-05-01T10:00:00Z");
    let stepped = bank.control("advance", &json!({ "days": 3, "hours": 2 })).await;
    assert_eq!(stepped["now"], "2027-05-04T12:00:00Z");
    let running = bank.control("clock", &json!({ "freeze": null })).await;
    assert!(running["frozen"] == false && text(&running["now"]).starts_with("2027-05-04T12:00"));
}

#[tokio::test]
async fn a_transcript_keeps_calls_and_leaves_secrets_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.ndjson");
    let bank = Bank::start_with(|options| options.record = Some(file.clone())).await;
    let (token, _) = bank.link("user_good", "pass_good").await;
    let (_, _) = bank.call("/item/get", json!({ "access_token": "nonsense" })).await;
    let kept = std::fs::read_to_string(file).unwrap();
    let lines: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let paths: Vec<String> = lines.iter().map(|line| text(&line["path"])).collect();
    let expected = ["/sandbox/public_token/create", "/item/public_token/exchange", "/item/get"];
    assert_eq!(paths, expected);
    assert_eq!(lines[1]["answer"]["access_token"], token.as_str());
    assert_eq!(lines[2]["status"], 400);
    assert!(!kept.contains("sandbox-secret") && !kept.contains("pass_good"));
}
