//! Applies a whole update: its staged pages, the other streams that were read, the cursor, the feed
//! entries, the log and the end of the work, in one database transaction that a stale worker cannot
//! commit.

use std::collections::HashSet;

use jiff::Timestamp;
use jiff::civil::Date;
use model::{
    Ambient, History, ItemEvent, ItemKey, Page, Quarantined, Removal, Transaction, Trouble,
};

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::feed_writer::FeedWriter;
use crate::item_streams::Reading;
use crate::items::Progress;
use crate::records::RecordSeal;
use crate::seal::DataKey;
use crate::syncs::{self, SyncRecord};
use crate::transactions::Outcome;
use crate::work::{self, Lease};
use crate::{
    duplicates, enrichments, item_streams, items, life, outbox, records, staging, suggestions,
    transactions,
};

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
    /// The resting cursor, as stored before.
    pub from_cursor: String,
    /// The resting cursor behind the update.
    pub cursor: String,
    /// Whether what the pages lack is gone.
    pub full_walk: bool,
    /// How much history has arrived.
    pub history: History,
    /// All accounts of the Item with cached balances, where they were asked for.
    pub accounts: Page,
    /// Whether the bank was asked for those balances because somebody wished it.
    pub asked_for_balances: bool,
    /// Other streams that were due.
    pub readings: Vec<Reading>,
    /// Trouble with the Item that one of those readings met.
    pub trouble: Option<(Trouble, String)>,
    /// When the bank was last read by Plaid, and when that last failed, where Plaid said so.
    pub bank_times: Option<(Option<Timestamp>, Option<Timestamp>)>,
    /// Plaid's ids of its requests.
    pub request_ids: Vec<String>,
    /// When the Item is to be looked at again without being asked.
    pub next_due: Timestamp,
}

impl Update {
    /// An update in which nothing is new yet.
    pub fn new(item: ItemKey, lease: Lease, started_at: Timestamp, cursor: &str) -> Self {
        Self {
            item,
            lease,
            started_at,
            attempt: 1,
            pages: 0,
            from_cursor: cursor.to_owned(),
            cursor: cursor.to_owned(),
            full_walk: false,
            history: History::Complete,
            accounts: Page::default(),
            asked_for_balances: false,
            readings: Vec::new(),
            trouble: None,
            bank_times: None,
            request_ids: Vec::new(),
            next_due: started_at,
        }
    }
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
        let sealed = update.readings.iter().any(|r| r.stream().declaration().sealed);
        let item = self.item(update.item.as_str()).await?.ok_or(Error::Stale)?;
        let data_key = if sealed { self.data_key(&item.integration_id).await? } else { None };
        let mut update = update;
        if trial::has_bug("cursor_before_rows") {
            let (item, from) = (update.item.to_string(), update.from_cursor.clone());
            let to = update.cursor.clone();
            update.from_cursor.clone_from(&to);
            self.db
                .write(move |connection| {
                    Box::pin(
                        async move { items::advance_cursor(connection, &item, &from, &to).await },
                    )
                })
                .await?;
        }
        let applied = self
            .db
            .write(move |connection| {
                Box::pin(async move {
                    let mut application = Application {
                        // First of all the Item is held; what is read after that stays true.
                        feed: FeedWriter::open(connection, update.item.as_str()).await?,
                        before: items::progress(connection, update.item.as_str()).await?,
                        began: update.started_at,
                        proof: Proof::Nothing,
                        data_key: data_key.as_ref(),
                        ambient: &ambient,
                        applied: Applied::default(),
                        unlinked: Vec::new(),
                        oldest: None,
                        again_at: None,
                    };
                    application.pages(connection, &update).await?;
                    application.readings(connection, &update).await?;
                    application.finish(connection, update).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(applied)
    }
}

/// An update on its way into the tables.
struct Application<'a> {
    feed: FeedWriter,
    /// What the Item had before.
    before: Progress,
    /// When Plaid was first asked.
    began: Timestamp,
    /// What the pages prove.
    proof: Proof,
    data_key: Option<&'a DataKey>,
    ambient: &'a Ambient,
    applied: Applied,
    /// Posted rows without a link, among which a pending twin may be found.
    unlinked: Vec<Transaction>,
    oldest: Option<Date>,
    /// When a stream must be tried again.
    again_at: Option<Timestamp>,
}

impl Application<'_> {
    /// The staged pages in order, then what a full walk proves absent, then the accounts.
    async fn pages(&mut self, connection: &mut Connected, update: &Update) -> Result<(), Error> {
        let item = update.item.as_str();
        items::advance_cursor(connection, item, &update.from_cursor, &update.cursor).await?;
        trial::crash_point("update.cursor_written");
        // A walk over less history than is known here proves nothing about the rest.
        let reconciles = update.full_walk && update.history >= self.before.history;
        let mut absent: HashSet<String> = match reconciles {
            true => transactions::live_ids(connection, item).await?.into_iter().collect(),
            false => HashSet::new(),
        };
        // What could not be read is not gone: such a walk proves no absence.
        let mut whole = true;
        for number in 0..update.pages {
            if trial::has_bug("delta_overwritten") && number + 1 < update.pages {
                continue;
            }
            let page = staging::read(connection, &update.lease, update.attempt, number).await?;
            whole &= page.quarantined.is_empty();
            for staged in page.added.iter().chain(&page.modified) {
                absent.remove(&staged.record.transaction_id);
                staged.record.pending_transaction_id.as_ref().map(|id| absent.remove(id));
            }
            self.page(connection, page, trial::has_bug("absent_is_closed")).await?;
        }
        if !whole || trial::has_bug("absences_not_reconciled") {
            absent.clear();
        }
        self.proof = match (reconciles, whole) {
            (true, true) => Proof::Absences,
            (true, false) => Proof::Presence,
            (false, _) => Proof::Nothing,
        };
        let gone = Page { removed: absent.into_iter().map(removal).collect(), ..Page::default() };
        self.page(connection, gone, false).await?;
        self.page(connection, update.accounts.clone(), true).await?;
        // The first load has no pending row that anybody knew before.
        if !update.from_cursor.is_empty() {
            suggestions::suggest_postings(connection, item, &self.unlinked, self.ambient).await?;
        }
        Ok(())
    }

    async fn page(
        &mut self,
        connection: &mut Connected,
        mut page: Page,
        has_all_accounts: bool,
    ) -> Result<(), Error> {
        let now = self.ambient.now();
        quarantine(
            connection,
            &self.feed.item,
            std::mem::take(&mut page.quarantined),
            self.ambient,
        )
        .await?;
        let times = (self.began, now);
        records::apply(connection, &mut self.feed, &page, has_all_accounts, times).await?;
        let Outcome { counts, unlinked, oldest } =
            transactions::apply(connection, &mut self.feed, page, self.ambient).await?;
        self.applied.added += counts.added;
        self.applied.modified += counts.modified;
        self.applied.removed += counts.removed;
        self.unlinked.extend(unlinked);
        self.oldest = self.oldest.into_iter().chain(oldest).min();
        Ok(())
    }

    /// Streams that are read on their own.
    async fn readings(&mut self, connection: &mut Connected, update: &Update) -> Result<(), Error> {
        let now = self.ambient.now();
        for reading in &update.readings {
            let again = item_streams::note(connection, &self.feed.item, reading, now).await?;
            self.again_at = self.again_at.into_iter().chain(again).min();
            let Reading::Read(snapshot) = reading else { continue };
            let set_aside = snapshot.quarantined.clone();
            quarantine(connection, &self.feed.item, set_aside, self.ambient).await?;
            let integration = self.feed.integration_id.clone();
            let seal = RecordSeal { key: self.data_key, integration: &integration };
            let snapshot = snapshot.clone();
            records::apply_snapshot(connection, &mut self.feed, snapshot, &seal, now).await?;
        }
        Ok(())
    }

    /// The numbers, the state, the log, and the end of the work.
    async fn finish(
        mut self,
        connection: &mut Connected,
        update: Update,
    ) -> Result<Applied, Error> {
        trial::crash_point("update.rows_written");
        let (item, now) = (update.item.to_string(), self.ambient.now());
        if update.history == History::Complete {
            if self.before.never_synced {
                duplicates::mark(connection, &item).await?;
            }
            duplicates::replace(connection, &mut self.feed, self.ambient).await?;
        }
        let (integration, end_user) =
            (self.feed.integration_id.clone(), self.feed.end_user_key.clone());
        self.feed.close(connection).await?;
        staging::discard_earlier(connection, &update.lease, u32::MAX).await?;
        let since = match update.full_walk {
            true => transactions::oldest(connection, &item).await?,
            false => {
                let oldest = self.oldest.map(|date| date.to_string());
                self.before.history_since.into_iter().chain(oldest).min()
            }
        };
        let event = match &update.trouble {
            Some((trouble, _)) => ItemEvent::Troubled { trouble: *trouble },
            None => ItemEvent::Synced,
        };
        let detail = update.trouble.as_ref().map(|(_, detail)| detail.as_str());
        life::happen(connection, &item, &event, detail, self.ambient).await?;
        items::note_success(connection, &item, &update, self.proof != Proof::Nothing, since, now)
            .await?;
        if self.applied != Applied::default() {
            outbox::gather(connection, &integration, &end_user, now).await?;
            enrichments::want(connection, &end_user, now).await?;
        }
        trial::crash_point("update.notices_written");
        let log = log(&update, self.applied, self.proof, now);
        syncs::add(connection, &item, &log, self.ambient).await?;
        let next_due = update.next_due.min(self.again_at.unwrap_or(Timestamp::MAX));
        work::finish(connection, &update.lease, now, next_due).await?;
        Ok(self.applied)
    }
}

/// What a walk over everything proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// Nothing about what it lacks: there is more history here than at Plaid.
    Nothing,
    /// What is there; an element that could not be read may be any of the absent ones.
    Presence,
    /// Also what is gone.
    Absences,
}

fn log(update: &Update, applied: Applied, proof: Proof, now: Timestamp) -> SyncRecord {
    let failing = update.readings.iter().filter(|r| matches!(r, Reading::Failed { .. })).count();
    let first = update.from_cursor.is_empty();
    let mut outcome = match (applied == Applied::default(), update.full_walk, proof) {
        _ if update.pages == 0 => "Read the streams that are chosen; transactions are not.",
        (_, true, _) if first => "First load: everything Plaid has so far is here.",
        (_, true, Proof::Absences) => "Everything was read again and reconciled; nothing is missing.",
        (_, true, Proof::Nothing) => {
            "Everything was read again; Plaid has less history than is here, so nothing was removed."
        }
        (_, true, Proof::Presence) => {
            "Everything was read again; an element could not be read, so nothing was removed."
        }
        (true, false, _) => "Up to date: nothing was new at Plaid.",
        (false, false, _) => "Caught up: nothing is missing up to Plaid's cursor.",
    }
    .to_owned();
    if failing > 0 {
        outcome.push_str(&format!(" {failing} other streams could not be read."));
    }
    SyncRecord {
        started_at: update.started_at,
        ended_at: now,
        succeeded: true,
        outcome,
        pages: update.pages,
        restarts: update.attempt.saturating_sub(1),
        full_walk: update.full_walk,
        added: applied.added,
        modified: applied.modified,
        removed: applied.removed,
        request_ids: update.request_ids.clone(),
    }
}

async fn quarantine(
    connection: &mut Connected,
    item: &str,
    elements: Vec<Quarantined>,
    ambient: &Ambient,
) -> Result<(), Error> {
    for element in elements {
        let (part, reason) = (&element.part, &element.reason);
        tracing::warn!(item, part, reason, "an element was set aside");
        items::quarantine(connection, item, element, ambient).await?;
    }
    Ok(())
}

fn removal(transaction_id: String) -> Removal {
    Removal { transaction_id, account_id: None }
}
