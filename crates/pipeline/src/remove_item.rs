//! Ends an Item at Plaid and keeps at it until Plaid confirms, then lets the data go by choice. The
//! token stays sealed until then, because without it nobody could end the billing.

use model::Item;
use plaid::{AccessToken, Client};
use store::Lease;

use crate::runner::Failure;
use store::Store;

/// Removes one Item. A failure is tried again.
pub(crate) async fn remove_item(
    store: &Store,
    client: &Client,
    item: &Item,
    token: Option<&AccessToken>,
    lease: &Lease,
) -> Result<(), Failure> {
    if let Some(token) = token {
        client.item_remove(token).await?;
    }
    store.end_removal(&item.key, lease).await?;
    tracing::info!(item_id = item.item_id, "the item was removed at Plaid");
    Ok(())
}
