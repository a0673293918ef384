//! Gives written changes their place in the feed, so that no reader sees *n+1* before *n*.

use std::time::Duration;

use store::Store;

/// How long changes wait at most when the wake-up for them was lost.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);
/// Pause after a failure of the database.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Numbers changes for as long as the database can be written.
pub(crate) async fn number_changes(store: Store) {
    loop {
        match store.number_changes().await {
            Ok(0) => {
                let _woken = tokio::time::timeout(LOOK_ANYWAY, store.news().written()).await;
            }
            Ok(_) => {}
            // Without its writer the process is of no use; it ends and is started anew.
            Err(store::Error::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "changes could not be numbered");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}
