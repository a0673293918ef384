//! Applies a whole update: its staged pages, the cursor, the feed entries and the end of the work,
//! in one database transaction that a stale worker cannot commit.

use std::collections::HashSet;

use jiff::Timestamp;
use model::{Ambient, History, ItemKey, ItemStatus, Page, Quarantined, Removal};

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::feed_writer::FeedWriter;
use crate::transactions::Counts;
use crate::work::{self, Lease};
use crate::{items, records, staging, transactions};

/// An update that was pulled and staged.
#[derive(Debug, Clone)]
pub struct Update {
    /// The Item.
    pub item: ItemKey,
    /// The right to write it.
    pub lease: Lease,
    /// When Plaid was first asked for it.
    pub started_at: Timestamp,
    /// The attempt whose pages hold.
    pub attempt: u32,
    /// How many pages it has.
    pub pages: u32,
    /// The cursor the update started from, as stored.
    pub from_cursor: String,
    /// The resting cursor behind it.
    pub cursor: String,
    /// Whether what the pages lack is gone.
    pub full_walk: bool,
    /// How much history has arrived.
    pub history: History,
    /// All accounts of the Item with cached balances, where they were asked for.
    pub accounts: Page,
    /// When the Item is to be looked at again without being asked.
    pub next_due: Timestamp,
}

/// What an update changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Transactions that appeared.
    pub added: u64,
    /// Transactions with new content.
    pub modified: u64,
    /// Transactions that went.
    pub removed: u64,
}

impl Store {
    /// Applies the update. [`Error::Stale`] if another worker was faster; nothing is changed then.
    pub async fn apply_update(&self, update: Update) -> Result<Applied, Error> {
        let ambient = self.ambient.clone();
        let applied = self
            .db
            .write(move |connection| {
                Box::pin(async move { apply(connection, update, &ambient).await })
            })
            .await?;
        self.news.announce_work();
        Ok(applied)
    }
}

async fn apply(
    connection: &mut Connected,
    update: Update,
    ambient: &Ambient,
) -> Result<Applied, Error> {
    let now = ambient.now();
    let item = update.item.to_string();
    items::advance_cursor(connection, &item, &update.from_cursor, &update.cursor).await?;
    let mut feed = FeedWriter::open(connection, &item).await?;
    let reconciles = update.full_walk && update.history == History::Complete;
    let mut absent: HashSet<String> = match reconciles {
        true => transactions::live_ids(connection, &item).await?.into_iter().collect(),
        false => HashSet::new(),
    };
    let mut applied = Applied::default();
    // What could not be read is not gone: such a walk proves no absence.
    let mut whole = true;
    for number in 0..update.pages {
        let page = staging::read(connection, &update.lease, update.attempt, number).await?;
        whole &= page.quarantined.is_empty();
        for staged in page.added.iter().chain(&page.modified) {
            absent.remove(&staged.record.transaction_id);
            staged.record.pending_transaction_id.as_ref().map(|id| absent.remove(id));
        }
        applied.add(apply_page(connection, &mut feed, page, ambient).await?);
    }
    if !whole {
        absent.clear();
    }
    let gone = Page { removed: absent.into_iter().map(removal).collect(), ..Page::default() };
    applied.add(apply_page(connection, &mut feed, gone, ambient).await?);
    applied.add(apply_page(connection, &mut feed, update.accounts, ambient).await?);
    feed.close(connection).await?;
    staging::discard_earlier(connection, &update.lease, u32::MAX).await?;
    let since = transactions::oldest(connection, &item).await?;
    let times = (update.started_at, now);
    items::note_success(connection, &item, ItemStatus::Healthy, update.history, since, times)
        .await?;
    work::finish(connection, &update.lease, now, update.next_due).await?;
    Ok(applied)
}

async fn apply_page(
    connection: &mut Connected,
    feed: &mut FeedWriter,
    mut page: Page,
    ambient: &Ambient,
) -> Result<Counts, Error> {
    quarantine(connection, &feed.item, std::mem::take(&mut page.quarantined), ambient).await?;
    records::apply(connection, feed, &page, ambient.now()).await?;
    transactions::apply(connection, feed, page, ambient).await
}

async fn quarantine(
    connection: &mut Connected,
    item: &str,
    elements: Vec<Quarantined>,
    ambient: &Ambient,
) -> Result<(), Error> {
    for element in elements {
        tracing::warn!(
            item,
            part = element.part,
            reason = element.reason,
            "an element was set aside"
        );
        items::quarantine(connection, item, element, ambient).await?;
    }
    Ok(())
}

fn removal(transaction_id: String) -> Removal {
    Removal { transaction_id, account_id: None }
}

impl Applied {
    fn add(&mut self, counts: Counts) {
        self.added += counts.added;
        self.modified += counts.modified;
        self.removed += counts.removed;
    }
}
