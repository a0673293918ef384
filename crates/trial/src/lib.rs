//! Switches for trials of this program: named moments at which it can be made to crash, and named
//! bugs that can be brought back to see whether the tests catch them. Compiled to nothing but in
//! builds of tests.

/// A bug that others have had, and the test that must catch it here.
#[derive(Debug, Clone, Copy)]
pub struct Bug {
    /// Its name.
    pub name: &'static str,
    /// What goes wrong.
    pub what: &'static str,
    /// The test that fails while it is there.
    pub caught_by: &'static str,
}

/// Moments of a connection's run at which the process can end.
pub const CONNECTION_CRASH_POINTS: [&str; 2] = ["connection.before_write", "connection.written"];

/// The same with how often they are passed before, as [`CRASH_AT`] takes them.
pub const CONNECTION_CRASH_AT_ALL: [&str; 4] = [
    "connection.before_write",
    "connection.written",
    "connection.before_write#2",
    "connection.written#2",
];
/// Moments of a move at which the process can end.
pub const MOVE_CRASH_POINTS: [&str; 2] = ["move.batch_written", "move.compared"];

/// Every moment at which a crash can be asked for, in the order data meets them.
pub const CRASH_POINTS: [&str; 21] = [
    "migration.done",
    "webhook.believed",
    "webhook.recorded",
    "link.checked",
    "link.stored",
    "exchange.intended",
    "exchange.answered",
    "sync.begun",
    "page.fetched",
    "page.staged",
    "update.pulled",
    "update.cursor_written",
    "update.rows_written",
    "update.notices_written",
    "update.committed",
    "enrichments.some_written",
    "feed.numbered",
    "delivery.begun",
    "delivery.sent",
    "delivery.confirmed",
    "removal.confirmed",
];

/// The environment variable that names a crash point, with `#N` for the N-th time it is passed.
pub const CRASH_AT: &str = "SELVEDGE_TRIAL_CRASH_AT";
/// The environment variable that names a bug.
pub const BUG: &str = "SELVEDGE_TRIAL_BUG";

/// Ends the process without warning if this moment was asked for.
#[cfg(feature = "switches")]
pub fn crash_point(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ASKED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let known = CRASH_POINTS.contains(&name)
        || CONNECTION_CRASH_POINTS.contains(&name)
        || MOVE_CRASH_POINTS.contains(&name);
    debug_assert!(known, "{name} is not in a list");
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var(CRASH_AT).ok()?;
        let (name, times) = text.split_once('#').unwrap_or((&text, "1"));
        Some((name.to_owned(), times.parse().unwrap_or(1)))
    });
    if let Some((asked, times)) = asked
        && asked == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *times
    {
        eprintln!("crash point {name}");
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(feature = "switches"))]
#[inline]
pub fn crash_point(_: &'static str) {}

/// Whether a bug was brought back.
#[cfg(feature = "switches")]
pub fn has_bug(name: &'static str) -> bool {
    use std::sync::OnceLock;

    static ASKED: OnceLock<Option<String>> = OnceLock::new();
    debug_assert!(BUGS.iter().any(|bug| bug.name == name), "{name} is not in the list");
    ASKED.get_or_init(|| std::env::var(BUG).ok()).as_deref() == Some(name)
}

/// Never.
#[cfg(not(feature = "switches"))]
#[inline]
pub fn has_bug(_: &'static str) -> bool {
    false
}

/// Every bug that can be brought back.
pub const BUGS: [Bug; 28] = [
    Bug {
        name: "cursor_before_rows",
        what: "the cursor is stored before the rows behind it",
        caught_by: "simulation::every_simulated_life",
    },
    Bug {
        name: "mutation_swallowed",
        what: "data that changes between pages ends the update as if it were whole",
        caught_by: "simulation::every_simulated_life",
    },
    Bug {
        name: "last_page_cap",
        what: "an update stops after some pages and moves the cursor",
        caught_by: "simulation::every_simulated_life",
    },
    Bug {
        name: "delta_overwritten",
        what: "pages overwrite one another before they are processed",
        caught_by: "simulation::every_simulated_life",
    },
    Bug {
        name: "absences_not_reconciled",
        what: "a full walk leaves rows that Plaid no longer has",
        caught_by: "simulation::every_simulated_life",
    },
    Bug {
        name: "cursor_never_given_up",
        what: "a cursor of no use is tried for ever",
        caught_by: "simulation::every_simulated_life",
    },
    Bug {
        name: "pending_link_ignored",
        what: "a posted row stands beside its pending twin",
        caught_by: "simulation::every_simulated_life",
    },
    Bug {
        name: "removal_forgets_event",
        what: "a removal that comes first loses the event",
        caught_by: "simulation::every_simulated_life",
    },
    Bug {
        name: "note_lost",
        what: "a note goes with the row it was made on",
        caught_by: "simulation::every_simulated_life",
    },
    Bug {
        name: "deleted_by_wrong_key",
        what: "a removal takes another row",
        caught_by: "simulation::every_simulated_life",
    },
    Bug {
        name: "lease_not_checked",
        what: "two workers commit the same Item",
        caught_by: "simulation::every_simulated_life",
    },
    Bug {
        name: "utc_shift",
        what: "dates move a day",
        caught_by: "simulation::every_simulated_life",
    },
    Bug {
        name: "sign_flip",
        what: "money in becomes money out",
        caught_by: "simulation::every_simulated_life",
    },
    Bug {
        name: "float_money",
        what: "amounts pass through floats",
        caught_by: "client::amounts_are_read_digit_for_digit",
    },
    Bug {
        name: "unknown_enum_fatal",
        what: "a new value of an enum costs its row",
        caught_by: "fault_matrix::every_fault_of_a_sync",
    },
    Bug {
        name: "absent_is_closed",
        what: "an account that a page does not tell of is taken for gone",
        caught_by: "streams::accounts_that_a_page",
    },
    Bug {
        name: "silent_merge",
        what: "rows that look alike are joined unasked",
        caught_by: "identity::what_looks_like_a_posting",
    },
    Bug {
        name: "feed_gap",
        what: "the feed skips a number",
        caught_by: "story::linked_items_arrive_whole",
    },
    Bug {
        name: "body_reserialised",
        what: "the body is parsed and written again before it is verified",
        caught_by: "story::linked_items_arrive_whole",
    },
    Bug {
        name: "age_ignored",
        what: "old signatures are believed",
        caught_by: "webhooks::the_age_table_is_exact",
    },
    Bug {
        name: "body_hash_ignored",
        what: "another body than the signed one is believed",
        caught_by: "webhooks::forged_webhooks",
    },
    Bug {
        name: "webhook_id_is_not_local_id",
        what: "webhooks look for our id instead of Plaid's",
        caught_by: "story::linked_items_arrive_whole",
    },
    Bug {
        name: "tenant_filter_dropped",
        what: "a tenant's webhook touches another tenant's Item",
        caught_by: "storm::another_tenants_webhook",
    },
    Bug {
        name: "acknowledged_before_recorded",
        what: "a webhook is answered before it is on disk",
        caught_by: "storm::a_burst",
    },
    Bug {
        name: "token_in_error",
        what: "an error carries the access token",
        caught_by: "secrets::canaries_are_nowhere",
    },
    Bug {
        name: "environment_fallback",
        what: "an unknown environment becomes production",
        caught_by: "api::",
    },
    Bug {
        name: "repair_not_heard",
        what: "a login repaired elsewhere changes nothing",
        caught_by: "life::a_login_repaired_elsewhere",
    },
    Bug {
        name: "intent_not_kept",
        what: "an exchange whose answer was lost is silent",
        caught_by: "life::an_exchange_whose_answer",
    },
];
