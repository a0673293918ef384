//! Forgets what nobody needs any more.

use std::time::Duration;

use jiff::SignedDuration;
use store::Store;

/// What is forgotten after how long: webhooks far later than their signatures are accepted.
const WEBHOOKS_KEPT: SignedDuration = SignedDuration::from_hours(24);
const SYNCS_KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);
const RUNS_KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);
const DELIVERIES_KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

/// Forgets for as long as the process lives.
pub(crate) async fn tidy(store: Store) {
    loop {
        let before = |kept| store.ambient().now().saturating_sub(kept).unwrap_or_default();
        let forgotten = async {
            store.forget_webhooks(before(WEBHOOKS_KEPT)).await?;
            store.forget_syncs(before(SYNCS_KEPT)).await?;
            store.forget_runs(before(RUNS_KEPT)).await?;
            store.forget_deliveries(before(DELIVERIES_KEPT)).await
        };
        if let Err(error) = forgotten.await {
            tracing::warn!(%error, "what is old could not be forgotten");
        }
        tokio::time::sleep(TIDY_EVERY).await;
    }
}
