//! How SQLite carries statements out: none that a sync, a webhook or a reader of the feed needs scans
//! a table.

use std::collections::BTreeSet;

use sqlx::Row;
use testkit::open_store;

/// Statements that go through a whole table, and why they may.
const MAY_SCAN: [(&str, &str, &str); 23] = [
    ("api_keys", "LIST", "keys are few"),
    ("connections", "LIST", "connections are few"),
    ("enrichments", "WANT_ALL", "when a rule comes or goes, or a person asks for all"),
    ("integrations", "LIST", "integrations are few"),
    ("items", "COUNT_ALL_LIVE", "once a minute"),
    ("items", "END_USERS", "a list of everything, by page"),
    ("items", "ITEMS", "a list of everything, by page"),
    ("items", "SUMMARY_COUNTS", "the overview page"),
    ("items", "SUMMARY_ITEMS", "the overview page"),
    ("link_sessions", "UNKNOWN_ITEM", "when the answer of an exchange was lost"),
    ("operators", "COUNT", "operators are few"),
    ("operators", "END_SESSIONS_OF", "sessions are few"),
    ("operators", "FORGET_SESSIONS", "sessions are few"),
    ("suggestions", "LIST", "a list of everything, by page"),
    ("suggestions", "MOOT", "when a person accepts a pair"),
    ("webhook_events", "KEYS", "once at the start"),
    ("relocation", "BEGUN", "one row for each table"),
    ("relocation", "IN_USE", "once, when an installation is moved"),
    ("processes", "FORGET_OLDER", "processes are few"),
    ("processes", "COUNT", "processes are few"),
    ("integrations", "DELETE_VISITS", "when an integration is deleted"),
    ("integrations", "DELETE_WORK", "when an integration is deleted"),
    ("items", "FIND_END_USER", "by either of two ids, when a caller names one"),
];

#[tokio::test]
async fn no_statement_on_the_path_of_a_sync_scans_a_table() {
    let folder = tempfile::tempdir().unwrap();
    drop(open_store(folder.path(), true).await);
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("selvedge.db"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let mut scans = Vec::new();
    let mut met: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (file, name, sql) in store::statements() {
        let plan = format!("EXPLAIN QUERY PLAN {sql}");
        let plan = sqlx::query(sqlx::AssertSqlSafe(plan)).fetch_all(&pool).await.unwrap();
        for row in plan {
            let step: String = row.get("detail");
            // A scan of what a subquery has found, or of constants, is no scan of a table.
            let own = [
                "SCAN (",
                "SCAN CONSTANT",
                "SCAN next",
                "SCAN coming",
                "SCAN numbered",
                "SCAN kinds",
            ];
            let of_values = step.contains("VALUES CLAUSE") || step.contains("CONSTANT ROW");
            if !step.starts_with("SCAN") || of_values || own.iter().any(|o| step.starts_with(o)) {
                continue;
            }
            if MAY_SCAN.iter().any(|(f, n, _)| (*f, *n) == (file, name)) {
                met.insert((file, name));
            } else {
                scans.push(format!("{file}::{name}: {step}"));
            }
        }
    }
    assert!(scans.is_empty(), "{scans:#?}");
    let stale = MAY_SCAN.iter().filter(|(file, name, _)| !met.contains(&(*file, *name)));
    assert_eq!(stale.collect::<Vec<_>>(), Vec::<&(&str, &str, &str)>::new(), "scans no more");
}
