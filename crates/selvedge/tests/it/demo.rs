//! The demo that ends by itself: store and ledger agree.

use serde_json::Value;

use crate::process::output_of;

#[test]
fn the_demo_ends_without_a_difference() {
    let line = output_of(&["demo", "--once", "--seed", "3"]);
    let summary: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(summary["difference"], serde_json::json!([]));
    assert_eq!(summary["items"], 8);
    assert!(summary["transactions"].as_i64().unwrap() > 10_000, "{summary}");
    assert!(summary["feed_length"].as_i64() >= summary["transactions"].as_i64());
}
