//! Brings one Item up to date: pull every page from the stored cursor, stage each, then apply them
//! all with the new cursor and the end of the work in one database transaction.

use jiff::{SignedDuration, Timestamp};
use model::{BalanceSource, History, Item, Page};
use plaid::{AccessToken, Client, Owner, Stage, pull_update};
use store::{Applied, Lease, Store, Update};

use crate::runner::{Failure, Settings};

/// How often an Item whose history is still loading is looked at: closely at first, because people
/// wait for it, and seldom later. A webhook makes it sooner.
const LOADING: SignedDuration = SignedDuration::from_secs(5);
const LOADING_LONG: SignedDuration = SignedDuration::from_mins(5);
/// After this long the history of an Item is not "still loading" but slow.
const SLOW_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// Syncs one Item.
pub(crate) async fn sync_item(
    store: &Store,
    client: &Client,
    item: &Item,
    token: &AccessToken,
    lease: &Lease,
    settings: &Settings,
) -> Result<Applied, Failure> {
    let ambient = store.ambient();
    let started_at = ambient.now();
    let owner = Owner { item_id: item.item_id.clone(), end_user_id: item.end_user_id.clone() };
    let mut stage = StagedItem { store, lease };
    let pulled = pull_update(client, token, &owner, &item.cursor, ambient, &mut stage).await?;
    let accounts = accounts(client, token, &owner, ambient.now()).await;
    // A status that Plaid does not tell, or that is new, changes nothing we know.
    let history = pulled.history.unwrap_or(item.history);
    let update = Update {
        item: item.key.clone(),
        lease: lease.clone(),
        started_at,
        attempt: pulled.attempt,
        pages: pulled.pages,
        from_cursor: item.cursor.clone(),
        next_due: next_due(item, history, ambient.now(), settings),
        cursor: pulled.cursor,
        full_walk: pulled.full_walk,
        history,
        accounts,
    };
    Ok(store.apply_update(update).await?)
}

/// The staged pages of one Item.
struct StagedItem<'a> {
    store: &'a Store,
    lease: &'a Lease,
}

impl Stage for StagedItem<'_> {
    type Error = store::Error;

    async fn stage(&mut self, attempt: u32, number: u32, page: Page) -> Result<(), store::Error> {
        self.store.stage_page(self.lease, attempt, number, &page).await
    }
}

/// All accounts with their cached balances. Transactions do not wait for them: without an answer
/// the accounts that came with the pages stand.
async fn accounts(client: &Client, token: &AccessToken, owner: &Owner, now: Timestamp) -> Page {
    match client.accounts_get(token).await {
        Ok(answer) => plaid::accounts(&answer.accounts, owner, BalanceSource::Cached, now),
        Err(error) => {
            tracing::warn!(item_id = owner.item_id, %error, "no accounts with this sync");
            Page::default()
        }
    }
}

fn next_due(item: &Item, history: History, now: Timestamp, settings: &Settings) -> Timestamp {
    let age = now.duration_since(item.created_at);
    let pause = match history {
        History::Complete => settings.poll_every,
        _ if age < SLOW_AFTER => LOADING,
        _ => LOADING_LONG,
    };
    now.saturating_add(pause.min(settings.poll_every)).unwrap_or(now)
}
