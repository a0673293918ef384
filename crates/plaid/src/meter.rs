//! Counts calls to Plaid, for the bill: for each integration and endpoint, until somebody takes the
//! counts away to keep them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Calls of one endpoint for one integration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls that reached Plaid or may have.
    pub made: i64,
    /// Those among them that failed.
    pub failed: i64,
}

/// Counts of many integrations. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Mutex<BTreeMap<(String, &'static str), Calls>>>);

impl Meter {
    pub(crate) fn count(&self, whose: &str, path: &'static str, failed: bool) {
        let Ok(mut counts) = self.0.lock() else { return };
        let calls = counts.entry((whose.to_owned(), path)).or_default();
        calls.made += 1;
        calls.failed += i64::from(failed);
    }

    /// Takes the counts away: `(integration, path, calls)`.
    pub fn take(&self) -> Vec<(String, &'static str, Calls)> {
        let Ok(mut counts) = self.0.lock() else { return Vec::new() };
        let taken = std::mem::take(&mut *counts);
        taken.into_iter().map(|((whose, path), calls)| (whose, path, calls)).collect()
    }

    /// Puts counts back that could not be kept.
    pub fn put_back(&self, whose: &str, path: &'static str, calls: Calls) {
        let Ok(mut counts) = self.0.lock() else { return };
        let kept = counts.entry((whose.to_owned(), path)).or_default();
        kept.made += calls.made;
        kept.failed += calls.failed;
    }
}
