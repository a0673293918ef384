//! Transactions: how a page changes the rows, and how rows are read.
//!
//! Identity: `id` names the economic event. A posted row that names its pending twin takes over the
//! twin's row; if the twin was removed first, the posted row revives it; if the posted row came
//! first, the later removal of the twin finds nothing and is absorbed.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::Date;
use model::{
    Ambient, ChangeKind, Currency, EndUserId, IntegrationId, ItemKey, Money, Page, Staged, Stream,
    Transaction, TransactionKey, minor_units,
};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Store;
use crate::batch::{Insert, LookUp, Value};
use crate::db::Connected;
use crate::error::Error;
use crate::feed_writer::FeedWriter;
use crate::statement::declare;

/// Transactions newest first, of the end users that the condition lets through. Absent filters are
/// null; `$13` asks for removed rows, too; `$11` and `$12` are the place to go on from.
macro_rules! newest_first {
    ($end_users:literal) => {
        concat!(
            "SELECT body, removed FROM transactions WHERE ",
            $end_users,
            " AND (removed = 0 OR CAST($13 AS BIGINT) = 1) \
             AND (CAST($2 AS TEXT) IS NULL OR integration_id = $2) \
             AND (CAST($3 AS TEXT) IS NULL OR account_id = $3) \
             AND (CAST($4 AS TEXT) IS NULL OR date >= $4) \
             AND (CAST($5 AS TEXT) IS NULL OR date <= $5) \
             AND (CAST($6 AS TEXT) IS NULL OR currency = $6) \
             AND (CAST($7 AS BIGINT) IS NULL OR amount_minor >= $7) \
             AND (CAST($8 AS BIGINT) IS NULL OR amount_minor <= $8) \
             AND (CAST($9 AS BIGINT) IS NULL OR pending = $9) \
             AND (CAST($10 AS BIGINT) IS NULL OR updated_at >= $10) \
             AND date <= $11 AND (date < $11 OR id < $12) \
             ORDER BY date DESC, id DESC LIMIT $14"
        )
    };
}

declare! {
    UPDATE =
        "UPDATE transactions SET transaction_id = $2, account_id = $3, \
            pending_transaction_id = $4, date = $5, amount_minor = $6, currency = $7, \
            pending = $8, removed = $9, version = $10, updated_at = $11, body = $12, raw = $13 \
         WHERE id = $1";
    LIVE_IDS = "SELECT transaction_id FROM transactions WHERE item = $1 AND removed = 0";
    COUNT_OF_ITEM = "SELECT COUNT(*) FROM transactions WHERE item = $1 AND removed = 0";
    OLDEST = "SELECT MIN(date) FROM transactions WHERE item = $1 AND removed = 0";
    GET = "SELECT body, removed FROM transactions WHERE id = $1";
    LIST = newest_first!("(CAST($1 AS TEXT) IS NULL OR end_user_key = $1)");
    /// The same for one end user, in the order of that end user's index.
    LIST_OF_END_USER = newest_first!("end_user_key = $1");
}

pub(crate) static INSERT: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "INSERT INTO transactions (id, item, integration_id, end_user_key, transaction_id, \
         account_id, pending_transaction_id, date, amount_minor, currency, pending, removed, \
         version, updated_at, body, raw)",
        16,
    )
});

pub(crate) static FIND: LazyLock<LookUp> = LazyLock::new(|| {
    LookUp::new(
        "SELECT id, transaction_id, pending_transaction_id, removed, version, body, raw \
         FROM transactions WHERE item = $1 AND transaction_id",
    )
});

pub(crate) static FIND_POSTED: LazyLock<LookUp> = LazyLock::new(|| {
    LookUp::new(
        "SELECT id, transaction_id, pending_transaction_id, removed, version, body, raw \
         FROM transactions WHERE item = $1 AND pending_transaction_id",
    )
});

/// Behind every date there is: where a list starts. A bound keeps the index in use.
const END_OF_TIME: &str = "9999-12-31";

/// How many transactions a page changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) added: u64,
    pub(crate) modified: u64,
    pub(crate) removed: u64,
}

/// What a page did.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    /// Posted rows that are new and name no pending twin.
    pub(crate) unlinked: Vec<Transaction>,
    /// Oldest date among its rows.
    pub(crate) oldest: Option<Date>,
}

/// A row as it was before the page.
#[derive(Clone)]
struct Before {
    version: i64,
    removed: bool,
    body: String,
    raw: String,
}

/// A row as the page leaves it.
struct Draft {
    before: Option<Before>,
    record: Transaction,
    raw: String,
    removed: bool,
    touched: bool,
}

/// The rows that a page may concern, by our id and by Plaid's.
#[derive(Default)]
struct Drafts {
    rows: Vec<Draft>,
    by_transaction_id: HashMap<String, usize>,
    /// Pending ids whose posted row is here already.
    posted_of: HashMap<String, usize>,
}

/// Applies a page's transactions: added, then modified, then removed.
pub(crate) async fn apply(
    connection: &mut Connected,
    feed: &mut FeedWriter,
    page: Page,
    ambient: &Ambient,
) -> Result<Outcome, Error> {
    let mut drafts = load(connection, &feed.item, &page).await?;
    for Staged { record, raw } in page.added.into_iter().chain(page.modified) {
        drafts.upsert(record, raw, ambient);
    }
    for removal in &page.removed {
        drafts.remove(&removal.transaction_id);
    }
    write(connection, feed, drafts, ambient.now()).await
}

async fn load(connection: &mut Connected, item: &str, page: &Page) -> Result<Drafts, Error> {
    let upserts = || page.added.iter().chain(&page.modified).map(|staged| &staged.record);
    let own = upserts().map(|record| record.transaction_id.as_str());
    let twins = upserts().filter_map(|record| record.pending_transaction_id.as_deref());
    let removed = page.removed.iter().map(|removal| removal.transaction_id.as_str());
    let ids: Vec<&str> = own.chain(twins).chain(removed).collect();
    let pending: Vec<&str> = upserts()
        .filter(|record| record.pending)
        .map(|record| record.transaction_id.as_str())
        .collect();
    let mut drafts = Drafts::default();
    for row in FIND.run(connection, item, &ids).await? {
        drafts.add_stored(&row)?;
    }
    for row in FIND_POSTED.run(connection, item, &pending).await? {
        drafts.add_stored(&row)?;
    }
    Ok(drafts)
}

impl Drafts {
    fn add_stored(&mut self, row: &AnyRow) -> Result<(), Error> {
        let transaction_id: String = row.try_get("transaction_id")?;
        if self.by_transaction_id.contains_key(&transaction_id) {
            return Ok(());
        }
        let (removed, body): (i64, String) = (row.try_get("removed")?, row.try_get("body")?);
        let record: Transaction =
            serde_json::from_str(&body).map_err(|_| Error::corrupt("a transaction"))?;
        let raw: String = row.try_get("raw")?;
        let version = row.try_get("version")?;
        let before = Before { version, removed: removed != 0, body, raw: raw.clone() };
        self.rows.push(Draft {
            removed: before.removed,
            before: Some(before),
            record,
            raw,
            touched: false,
        });
        self.index(self.rows.len() - 1);
        Ok(())
    }

    fn index(&mut self, place: usize) {
        let record = &self.rows[place].record;
        self.by_transaction_id.insert(record.transaction_id.clone(), place);
        if let Some(pending) = &record.pending_transaction_id {
            self.posted_of.insert(pending.clone(), place);
        }
    }

    fn upsert(&mut self, mut record: Transaction, raw: String, ambient: &Ambient) {
        let mut own = self.by_transaction_id.get(&record.transaction_id).copied();
        let posted = self.posted_of.get(&record.transaction_id).copied();
        if let (None, true, Some(posted)) = (own, record.pending, posted) {
            if !self.rows[posted].removed {
                // The posted row came first: its pending twin is old news.
                return;
            }
            // The posting was taken back: the same event is pending again.
            own = Some(posted);
        }
        let twin = record.pending_transaction_id.as_ref();
        let twin = twin.filter(|_| !trial::has_bug("pending_link_ignored"));
        let twin = twin.filter(|id| {
            let gone = |place: &usize| self.rows[*place].removed;
            !trial::has_bug("removal_forgets_event")
                || !self.by_transaction_id.get(*id).is_some_and(gone)
        });
        let place = own.or_else(|| twin.and_then(|id| self.by_transaction_id.remove(id)));
        let place = match place {
            Some(place) => {
                let draft = &mut self.rows[place];
                record.id.clone_from(&draft.record.id);
                record.annotation = draft.record.annotation.take();
                // What is known stands until processing, which is asked for with this, says otherwise: a
                // person's word and a transfer's other half do not blink.
                record.enrichment = draft.record.enrichment.take().or(record.enrichment);
                if trial::has_bug("note_lost") {
                    record.annotation = None;
                }
                if record.pending_transaction_id.is_none() && !record.pending {
                    // A link that is known stands, also one that a person made.
                    record.pending_transaction_id = draft.record.pending_transaction_id.take();
                }
                (draft.record, draft.raw, draft.removed) = (record, raw, false);
                place
            }
            None => {
                record.id = TransactionKey::generate(ambient).into();
                self.rows.push(Draft { before: None, record, raw, removed: false, touched: false });
                self.rows.len() - 1
            }
        };
        self.rows[place].touched = true;
        self.index(place);
        self.absorb_twin(place);
    }

    /// A row that names its pending twin only now: the twin has posted, too, and its note goes on.
    fn absorb_twin(&mut self, place: usize) {
        let twin = self.rows[place].record.pending_transaction_id.as_ref();
        let twin = twin.and_then(|id| self.by_transaction_id.get(id)).copied();
        let Some(twin) = twin.filter(|twin| *twin != place && !self.rows[*twin].removed) else {
            return;
        };
        let note = self.rows[twin].record.annotation.clone();
        let own = &mut self.rows[place].record.annotation;
        *own = own.take().or(note);
        (self.rows[twin].removed, self.rows[twin].touched) = (true, true);
    }

    /// An id that is not known, or was taken over by a posted row, is ignored.
    fn remove(&mut self, transaction_id: &str) {
        if let Some(place) = self.by_transaction_id.get(transaction_id) {
            let place = if trial::has_bug("deleted_by_wrong_key") { &0 } else { place };
            let draft = &mut self.rows[*place];
            (draft.removed, draft.touched) = (true, true);
        }
    }
}

async fn write(
    connection: &mut Connected,
    feed: &mut FeedWriter,
    drafts: Drafts,
    now: Timestamp,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    let mut inserts = Vec::new();
    for draft in drafts.rows.into_iter().filter(|draft| draft.touched) {
        let body = crate::records::json(&draft.record)?;
        let Some(kind) = draft.kind(&body) else {
            let refreshed =
                !draft.removed && draft.before.as_ref().is_some_and(|b| b.raw != draft.raw);
            if refreshed {
                update(connection, &draft, body, draft.version(), now).await?;
            }
            continue;
        };
        let version = draft.version() + 1;
        feed.change(Stream::Transactions, &draft.record.id, version, kind);
        outcome.note(kind, &draft.record);
        match &draft.before {
            None => inserts.push(draft.insert_row(feed, body, now)),
            Some(before) => {
                let id = &draft.record.id;
                feed.supersede(Stream::Transactions, id, before.version, before.body.clone());
                update(connection, &draft, body, version, now).await?;
            }
        }
    }
    INSERT.run(connection, inserts).await?;
    feed.flush(connection).await?;
    Ok(outcome)
}

impl Outcome {
    fn note(&mut self, kind: ChangeKind, record: &Transaction) {
        match kind {
            ChangeKind::Added => self.counts.added += 1,
            ChangeKind::Modified => self.counts.modified += 1,
            ChangeKind::Removed => {
                self.counts.removed += 1;
                return;
            }
        }
        self.oldest = Some(self.oldest.map_or(record.date, |oldest| oldest.min(record.date)));
        let unlinked = !record.pending && record.pending_transaction_id.is_none();
        if kind == ChangeKind::Added && unlinked {
            self.unlinked.push(record.clone());
        }
    }
}

impl Draft {
    /// What happened to the row, if anything did.
    fn kind(&self, body: &str) -> Option<ChangeKind> {
        match (&self.before, self.removed) {
            (None, false) => Some(ChangeKind::Added),
            (Some(before), false) if before.removed => Some(ChangeKind::Added),
            (Some(before), false) => (before.body != body).then_some(ChangeKind::Modified),
            (Some(before), true) => (!before.removed).then_some(ChangeKind::Removed),
            (None, true) => None,
        }
    }

    fn version(&self) -> i64 {
        self.before.as_ref().map_or(0, |before| before.version)
    }

    fn insert_row(&self, feed: &FeedWriter, body: String, now: Timestamp) -> Vec<Value> {
        let record = &self.record;
        vec![
            Value::Text(record.id.clone()),
            Value::Text(feed.item.clone()),
            Value::Text(feed.integration_id.clone()),
            Value::Text(feed.end_user_key.clone()),
            Value::Text(record.transaction_id.clone()),
            Value::Text(record.account_id.clone()),
            Value::MaybeText(record.pending_transaction_id.clone()),
            Value::Text(record.date.to_string()),
            Value::Integer(minor_units(&record.amount)),
            Value::Text(record.currency.clone()),
            Value::Integer(i64::from(record.pending)),
            Value::Integer(0),
            Value::Integer(1),
            Value::Integer(now.as_microsecond()),
            Value::Text(body),
            Value::Text(self.raw.clone()),
        ]
    }
}

async fn update(
    connection: &mut Connected,
    draft: &Draft,
    body: String,
    version: i64,
    now: Timestamp,
) -> Result<(), Error> {
    let record = &draft.record;
    sqlx::query(UPDATE)
        .bind(record.id.clone())
        .bind(record.transaction_id.clone())
        .bind(record.account_id.clone())
        .bind(record.pending_transaction_id.clone())
        .bind(record.date.to_string())
        .bind(minor_units(&draft.record.amount))
        .bind(record.currency.clone())
        .bind(i64::from(record.pending))
        .bind(i64::from(draft.removed))
        .bind(version)
        .bind(now.as_microsecond())
        .bind(body)
        .bind(draft.raw.clone())
        .execute(connection)
        .await?;
    Ok(())
}

/// Plaid's ids of all live rows of an item.
pub(crate) async fn live_ids(connection: &mut Connected, item: &str) -> Result<Vec<String>, Error> {
    let rows = sqlx::query(LIVE_IDS).bind(item.to_owned()).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Date of the oldest live row of an item.
pub(crate) async fn oldest(
    connection: &mut Connected,
    item: &str,
) -> Result<Option<String>, Error> {
    Ok(sqlx::query(OLDEST).bind(item.to_owned()).fetch_one(connection).await?.try_get(0)?)
}

/// Which transactions to list; an absent part does not narrow.
#[derive(Debug, Clone, Default)]
pub struct TransactionFilter {
    /// Of one integration.
    pub integration: Option<IntegrationId>,
    /// Of one end user.
    pub end_user: Option<EndUserId>,
    /// Of one account.
    pub account_id: Option<String>,
    /// First date.
    pub from: Option<Date>,
    /// Last date.
    pub to: Option<Date>,
    /// In this currency; needed with amounts.
    pub currency: Option<Currency>,
    /// Smallest amount, Plaid's sign.
    pub least: Option<Money>,
    /// Largest amount, Plaid's sign.
    pub most: Option<Money>,
    /// Only pending, or only posted.
    pub pending: Option<bool>,
    /// Changed at or after.
    pub updated_since: Option<Timestamp>,
    /// Also rows that Plaid took back: the full history.
    pub with_removed: bool,
}

/// A place in the list: behind the row of this date and id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionPlace {
    /// Date of the row.
    pub date: Date,
    /// Our id of the row.
    pub id: String,
}

impl Store {
    /// How many live transactions an Item has.
    pub async fn count_transactions(&self, item: &ItemKey) -> Result<i64, Error> {
        let count = sqlx::query(COUNT_OF_ITEM).bind(item.to_string());
        Ok(self.db.fetch_one(count).await?.try_get(0)?)
    }

    /// A transaction by our id, live or removed.
    pub async fn transaction(&self, id: &str) -> Result<Option<Transaction>, Error> {
        let get = sqlx::query(GET).bind(id.to_owned());
        self.db.fetch_optional(get).await?.as_ref().map(read).transpose()
    }

    /// Transactions, newest first, behind a place.
    pub async fn transactions(
        &self,
        filter: &TransactionFilter,
        after: Option<&TransactionPlace>,
        limit: i64,
    ) -> Result<Vec<Transaction>, Error> {
        let sql = if filter.end_user.is_some() { LIST_OF_END_USER } else { LIST };
        let list = sqlx::query(sql)
            .bind(filter.end_user.as_ref().map(ToString::to_string))
            .bind(filter.integration.as_ref().map(ToString::to_string))
            .bind(filter.account_id.clone())
            .bind(filter.from.map(|date| date.to_string()))
            .bind(filter.to.map(|date| date.to_string()))
            .bind(filter.currency.as_ref().map(|currency| currency.code().to_owned()))
            .bind(filter.least.as_ref().map(Money::minor))
            .bind(filter.most.as_ref().map(Money::minor))
            .bind(filter.pending.map(i64::from))
            .bind(filter.updated_since.map(Timestamp::as_microsecond))
            .bind(after.map_or_else(|| END_OF_TIME.to_owned(), |place| place.date.to_string()))
            .bind(after.map(|place| place.id.clone()).unwrap_or_default())
            .bind(i64::from(filter.with_removed))
            .bind(limit);
        self.db.fetch_all(list).await?.iter().map(read).collect()
    }
}

fn read(row: &AnyRow) -> Result<Transaction, Error> {
    let (body, removed): (String, i64) = (row.try_get("body")?, row.try_get("removed")?);
    let record: Transaction =
        serde_json::from_str(&body).map_err(|_| Error::corrupt("a transaction"))?;
    Ok(Transaction { removed: removed != 0, ..record })
}
