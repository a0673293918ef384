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

/// Every moment at which a crash can be asked for, in the order data meets them.
pub const CRASH_POINTS: [&str; 20] = [
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
    debug_assert!(CRASH_POINTS.contains(&name), "{name} is not in the list");
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
pub const BUGS: [Bug; 0] = [];
