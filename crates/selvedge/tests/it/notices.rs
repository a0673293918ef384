//! Notices to subscribers: signed, gathered, retried, logged, and never sent inside.

use serde_json::{Value, json};
use testkit::{Linked, Subscriber, World};

async fn subscribe(world: &World, subscriber: &Subscriber) -> Value {
    let path = format!("/v1/integrations/{}/subscriptions", world.integration.id);
    let (status, made) = world.call("POST", &path, Some(json!({ "url": subscriber.url }))).await;
    assert_eq!(status, 201, "{made}");
    subscriber.trust(made["secret"].as_str().unwrap());
    made
}

fn of_type<'a>(notices: &'a [testkit::Notice], name: &str) -> Vec<&'a Value> {
    notices.iter().filter(|n| n.body["type"] == name).map(|n| &n.body["data"]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_are_told_once_for_many_changes_and_of_every_state() {
    let world = World::start(91).await;
    let subscriber = Subscriber::start().await;
    let made = subscribe(&world, &subscriber).await;
    let item: Linked = world.customer("alice", "user_transactions_dynamic").await;
    world.agree().await;
    world
        .until("the news of transactions", async || {
            !of_type(&subscriber.notices(), "transactions.changed").is_empty()
        })
        .await;
    let first = subscriber.notices();
    assert!(of_type(&first, "transactions.changed").len() <= 2, "gathered: {first:?}");
    assert_eq!(of_type(&first, "transactions.changed")[0]["end_user_id"], "alice");
    assert!(of_type(&first, "item.state_changed").iter().any(|d| d["status"] == "healthy"));

    // The receiver is down for a moment: what it missed comes again, under the same id.
    subscriber.refuse(1);
    world.bank.act(&item, "reset_login", None).await;
    world
        .until("the news of the broken login", async || {
            of_type(&subscriber.notices(), "item.repair_needed").len() == 1
                && of_type(&subscriber.notices(), "item.state_changed")
                    .iter()
                    .any(|data| data["status"] == "login_required")
        })
        .await;
    let notices = subscriber.notices();
    assert!(notices.iter().all(|notice| notice.proven), "every signature holds");
    let ids: std::collections::BTreeSet<&String> = notices.iter().map(|n| &n.id).collect();
    assert_eq!(ids.len(), notices.len(), "none came twice");

    let path = format!("/v1/subscriptions/{}/deliveries", made["id"].as_str().unwrap());
    let (_, log) = world.call("GET", &path, None).await;
    let log = log["data"].as_array().unwrap();
    let retried: Vec<&Value> = log.iter().filter(|d| d["attempts"] == 2).collect();
    assert_eq!(retried.len(), 1, "{log:?}");
    assert_eq!(
        (&retried[0]["state"], &retried[0]["last_status"]),
        (&json!("delivered"), &json!(204))
    );
    let again = format!("/v1/deliveries/{}/send", retried[0]["id"].as_str().unwrap());
    assert_eq!(world.call("POST", &again, None).await.0, 202);
    world.until("the repeat", async || subscriber.notices().len() == notices.len() + 1).await;
    assert_eq!(subscriber.notices().last().unwrap().id, retried[0]["id"].as_str().unwrap());

    let (_, list) = world
        .call("GET", &format!("/v1/integrations/{}/subscriptions", world.integration.id), None)
        .await;
    assert!(list["data"][0].get("secret").is_none(), "the secret is shown once");
    let path = format!("/v1/subscriptions/{}", made["id"].as_str().unwrap());
    assert_eq!(world.call("DELETE", &path, None).await.0, 204);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_with_a_useless_url_or_event_is_refused() {
    let world = World::start(92).await;
    let path = format!("/v1/integrations/{}/subscriptions", world.integration.id);
    for body in [
        json!({ "url": "hook" }),
        json!({ "url": "ftp://example.com" }),
        json!({ "url": "https://user:word@example.com" }),
        json!({ "url": "https://example.com", "events": [] }),
        json!({ "url": "https://example.com", "events": ["something.else"] }),
    ] {
        let (status, problem) = world.call("POST", &path, Some(body.clone())).await;
        assert_eq!((status, &problem["code"]), (422, &json!("invalid_fields")), "{body}");
    }
    world.stop().await;
}
