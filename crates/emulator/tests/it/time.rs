//! What comes of time depends on the time alone: not on who looked, on how it was stepped, or on
//! whether the emulator was ended and started again in between.

use serde_json::{Value, json};

use crate::bank::{Bank, text};
use crate::receiver::Receiver;

/// Items of all kinds of lives, at banks where consent ends and where it does not.
const LOGINS: [(&str, &str); 5] = [
    ("ins_117650", "user_transactions_dynamic"),
    ("ins_128026", "user_small_business"),
    ("ins_109508", "user_good"),
    ("ins_109508", "user_ewa_user"),
    ("ins_56", "user_good"),
];

/// Everything an outsider can tell of a world.
async fn told(bank: &Bank, items: &[(String, String)]) -> Vec<Value> {
    let mut told = Vec::new();
    for (token, item_id) in items {
        told.push(json!(bank.ledger(item_id).await));
        for path in ["/item/get", "/accounts/get", "/transactions/sync"] {
            let (status, mut answer) = bank.call(path, json!({ "access_token": token })).await;
            answer["request_id"] = Value::Null;
            told.push(json!([status, answer]));
        }
    }
    told
}

async fn opened(bank: &Bank) -> Vec<(String, String)> {
    let mut items = Vec::new();
    for (institution, username) in LOGINS {
        items.push(bank.link_at(institution, username, "").await);
    }
    items
}

#[tokio::test]
async fn one_long_step_and_many_looks_in_between_end_in_the_same_world() {
    for days in [40, 190, 400] {
        let mut worlds = Vec::new();
        for step in [days, 7, 1] {
            let bank = Bank::start_with(|options| {
                options.seed = 31;
                options.freeze = Some("2026-03-10T12:00:00Z".parse().unwrap());
                options.expire_logins = days == 40;
            })
            .await;
            let items = opened(&bank).await;
            let mut gone = 0;
            while gone < days {
                let next = step.min(days - gone);
                bank.advance(next).await;
                gone += next;
                if step == 7 {
                    told(&bank, &items).await;
                }
            }
            worlds.push(told(&bank, &items).await);
            bank.emulator.stop().await;
        }
        assert_eq!(worlds[0], worlds[1], "{days} days, looked at every week");
        assert_eq!(worlds[0], worlds[2], "{days} days, one by one");
    }
}

#[tokio::test]
async fn a_folder_gives_back_the_same_world_whatever_happened_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        Bank::start_with(|options| {
            options.seed = 32;
            options.data = Some(folder.path().to_path_buf());
            options.freeze = Some("2026-03-10T12:00:00Z".parse().unwrap());
            options.expire_logins = true;
        })
    };
    let bank = start().await;
    let items = opened(&bank).await;
    let (last, _) = &items[1];
    for action in ["refresh", "purchase", "create_transaction", "reset_login", "purchase", "repair"]
    {
        for (_, item_id) in &items {
            bank.try_act(item_id, action).await;
        }
        told(&bank, &items).await;
        bank.advance(11).await;
    }
    bank.try_act(&items[0].1, "revoke_account").await;
    let rotated = bank.call("/item/access_token/invalidate", json!({ "access_token": last })).await;
    let mut items = items;
    items[1].0 = text(&rotated.1["new_access_token"]);
    let cursors: Vec<String> = cursors(&bank, &items).await;
    let before = told(&bank, &items).await;
    bank.emulator.stop().await;

    let bank = start().await;
    assert_eq!(told(&bank, &items).await, before);
    for ((token, _), cursor) in items.iter().zip(cursors) {
        if cursor.is_empty() {
            continue;
        }
        let body = json!({ "access_token": token, "cursor": cursor });
        let (_, page) = bank.call("/transactions/sync", body).await;
        assert_eq!(page["added"], json!([]), "a cursor of before is a cursor of now");
    }
}

async fn cursors(bank: &Bank, items: &[(String, String)]) -> Vec<String> {
    let mut cursors = Vec::new();
    for (token, _) in items {
        let body = json!({ "access_token": token, "cursor": "now" });
        cursors.push(text(&bank.call("/transactions/sync", body).await.1["next_cursor"]));
    }
    cursors
}

#[tokio::test]
async fn a_warning_is_sent_even_if_time_jumps_over_it() {
    let bank = Bank::start(33, None).await;
    let receiver = Receiver::start().await;
    bank.link_at("ins_117650", "user_good", &receiver.url).await;
    bank.advance(400).await;
    loop {
        let codes = receiver.codes();
        let count = |code: &str| codes.iter().filter(|own| *own == code).count();
        if (count("PENDING_EXPIRATION"), count("ERROR")) == (1, 1) {
            break;
        }
        receiver.wait_for(codes.len() + 1).await;
    }
}

#[tokio::test]
async fn a_broken_login_does_not_stop_a_history_that_was_loading() {
    for repair in ["repair", "repair_elsewhere"] {
        let bank = Bank::start_with(|options| {
            options.initial_delay = std::time::Duration::from_millis(200);
        })
        .await;
        let receiver = Receiver::start().await;
        let (token, item_id) = bank.link("user_good", "pass_good").await;
        bank.act(&item_id, "reset_login").await;
        // A later Item with the same delays is loaded: the first one's stages came and found the
        // login broken.
        bank.link_to(&receiver.url).await;
        receiver.wait_for(2).await;
        bank.act(&item_id, repair).await;
        let webhook = json!({ "access_token": token, "webhook": receiver.url });
        bank.ok("/item/webhook/update", webhook).await;
        receiver.wait_for(5).await;
        let page = bank.ok("/transactions/sync", json!({ "access_token": token })).await;
        assert_eq!(page["transactions_update_status"], "HISTORICAL_UPDATE_COMPLETE", "{repair}");
    }
}

#[tokio::test]
async fn two_emulators_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _bank = Bank::start(34, Some(folder.path())).await;
    let options = crate::bank::options(|options| options.data = Some(folder.path().to_path_buf()));
    let error = emulator::Emulator::start(options).await.err().expect("refused");
    assert!(error.to_string().contains("another emulator is using it"), "{error}");
}
