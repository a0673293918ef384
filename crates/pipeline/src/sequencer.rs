//! Gives written changes their place in the feed, so that no reader sees *n+1* before *n*.

use std::time::Duration;

use store::Store;

/// How long changes wait at most when the wake-up for them was lost.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);
/// Pause after a failure of the database.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Numbers changes for ever.
pub(crate) async fn number_changes(store: Store) {
    loop {
        match store.number_changes().await {
            Ok(0) => {
                let _woken = tokio::time::timeout(LOOK_ANYWAY, store.news().written()).await;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "changes could not be numbered");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}
