//! The feed: numbering changes after they are written, reading them as they were, and waking those
//! who wait for more.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use model::{Change, ChangeKind, EndUserId, IntegrationId, RawRecord, Record, Stream};
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::any::AnyRow;
use tokio::sync::{Notify, mpsc, watch};

use crate::Store;
use crate::connections;
use crate::db::dialect;
use crate::error::Error;
use crate::integrations::parsed;
use crate::records::{RecordSeal, Version, remains};
use crate::seal::DataKey;
use crate::statement::declare;
use crate::work::WorkKind;

declare! {
    HEAD = "SELECT last_seq FROM feed_head WHERE id = 1 /* lock */";
    MOVE_HEAD = "UPDATE feed_head SET last_seq = $2 WHERE id = 1 AND last_seq = $1";
    UNNUMBERED = "SELECT item_seq FROM changes WHERE seq IS NULL LIMIT 1";
    LAST_NUMBER =
        "SELECT seq FROM changes WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1";
    /// In the order of each item; items follow one another, so no reader sees a gap.
    NUMBER =
        "UPDATE changes SET seq = numbered.place + $1 FROM \
            (SELECT item AS of_item, item_seq AS of_seq, \
                ROW_NUMBER() OVER (ORDER BY item, item_seq) AS place \
             FROM changes WHERE seq IS NULL ORDER BY item, item_seq LIMIT $2) AS numbered \
         WHERE changes.item = numbered.of_item AND changes.item_seq = numbered.of_seq";
    READ =
        "SELECT c.seq, c.item, c.item_seq, c.integration_id, c.record_id, c.version, c.kind, \
            c.stream, c.end_user_key, COALESCE(s.body, t.body, r.body) AS body \
         FROM changes c \
         LEFT JOIN superseded s ON s.item = c.item AND s.stream = c.stream \
            AND s.record_id = c.record_id AND s.version = c.version \
         LEFT JOIN transactions t ON c.stream = 'transactions' AND t.id = c.record_id \
         LEFT JOIN records r ON r.item = c.item AND r.stream = c.stream \
            AND r.record_id = c.record_id \
         WHERE c.seq > $1 AND (CAST($2 AS TEXT) IS NULL OR c.integration_id = $2) \
            AND (CAST($3 AS TEXT) IS NULL OR c.end_user_key = $3) AND (CAST($4 AS TEXT) IS NULL OR c.stream = $4) \
         ORDER BY c.seq LIMIT $5";
    /// A transaction may have moved from one item to another of the same end user.
    HISTORY =
        "SELECT COALESCE(c.seq, 0) AS seq, c.item, c.item_seq, c.integration_id, c.record_id, \
            c.version, c.kind, c.stream, COALESCE(s.body, t.body) AS body \
         FROM transactions t \
         JOIN changes c ON c.end_user_key = t.end_user_key AND c.stream = 'transactions' \
            AND c.record_id = t.id \
         LEFT JOIN superseded s ON s.item = c.item AND s.stream = c.stream \
            AND s.record_id = c.record_id AND s.version = c.version \
         WHERE t.id = $1 ORDER BY c.version";
}

/// Changes numbered in one go, so that a large first load does not hold the writer long.
const NUMBERED_AT_ONCE: i64 = 5_000;

/// What one process may tell the others, so that they look sooner than they would by themselves. The
/// database decides; a hint that is lost costs time only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// A row of this kind may be claimed.
    Work(WorkKind),
    /// Changes were written that may have no place in the feed yet.
    Written,
    /// The feed has reached this number.
    Head(i64),
}

/// Wakes those who wait: for work, or for changes.
#[derive(Clone)]
pub struct ChangeWatch {
    /// One for each kind of work, so that a storm of webhooks wakes nobody else.
    work: Arc<[Notify; WorkKind::ALL.len()]>,
    written: Arc<Notify>,
    head: watch::Sender<i64>,
    /// Where hints for other processes go, once somebody carries them.
    outward: Arc<OnceLock<mpsc::Sender<Hint>>>,
}

/// Hints that may wait to be carried; more would say nothing new.
const WAITING_HINTS: usize = 1_024;

impl Default for ChangeWatch {
    fn default() -> Self {
        Self {
            work: Arc::new(WorkKind::ALL.map(|_| Notify::new())),
            written: Arc::default(),
            head: watch::Sender::new(0),
            outward: Arc::default(),
        }
    }
}

impl ChangeWatch {
    /// Work of any kind, or changes.
    pub(crate) fn announce_work(&self) {
        for kind in WorkKind::POKED {
            self.announce(kind);
        }
        self.tell(Hint::Written);
    }

    /// One piece of work of a kind: one worker wakes for it, or the next one does not wait.
    pub fn announce(&self, kind: WorkKind) {
        self.tell(Hint::Work(kind));
    }

    fn announce_head(&self, head: i64) {
        self.tell(Hint::Head(head));
    }

    /// Wakes those here, and has those elsewhere woken.
    fn tell(&self, hint: Hint) {
        self.hear(hint);
        if let Some(outward) = self.outward.get() {
            // When so many wait, everybody elsewhere is about to look anyway.
            let _full = outward.try_send(hint);
        }
    }

    /// Wakes those here.
    pub fn hear(&self, hint: Hint) {
        match hint {
            Hint::Work(kind) => self.work[kind as usize].notify_one(),
            Hint::Written => self.written.notify_one(),
            Hint::Head(head) => {
                self.head.send_if_modified(|known| {
                    let news = head > *known;
                    *known = head.max(*known);
                    news
                });
            }
        }
    }

    /// Hints for other processes from now on; nothing if somebody carries them already.
    pub fn outward(&self) -> Option<mpsc::Receiver<Hint>> {
        let (sender, hints) = mpsc::channel(WAITING_HINTS);
        self.outward.set(sender).ok().map(|()| hints)
    }

    /// The last number given out, to be waited on.
    pub fn head(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }

    /// Returns when something of a kind may have to be done.
    pub async fn work(&self, kind: WorkKind) {
        self.work[kind as usize].notified().await;
    }

    /// Returns when changes may have been written that have no number yet.
    pub async fn written(&self) {
        self.written.notified().await;
    }
}

/// Which part of the feed to read; an absent part does not narrow.
#[derive(Debug, Clone, Default)]
pub struct ChangeFilter {
    /// Of one integration.
    pub integration: Option<IntegrationId>,
    /// Of one end user.
    pub end_user: Option<EndUserId>,
    /// Of one stream.
    pub stream: Option<Stream>,
}

/// A change, and whose it is.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// The integration.
    pub integration: String,
    /// Our id of the end user.
    pub end_user: String,
    /// The change.
    pub change: Change,
}

impl Store {
    /// Wakes those who wait for work or changes in this process.
    pub fn news(&self) -> &ChangeWatch {
        &self.news
    }

    /// Gives the changes written so far their place in the feed. Returns how many there were.
    pub async fn number_changes(&self) -> Result<u64, Error> {
        if !self.has_unnumbered().await? {
            return Ok(0);
        }
        let now = self.ambient.now();
        let (numbered, head) = self
            .db
            .write(move |connection| {
                Box::pin(async move {
                    let head = sqlx::query(dialect::text(connection, HEAD));
                    let head: i64 = head.fetch_one(&mut *connection).await?.try_get(0)?;
                    let gap = i64::from(trial::has_bug("feed_gap"));
                    let number = sqlx::query(NUMBER).bind(head + gap).bind(NUMBERED_AT_ONCE);
                    let numbered = number.execute(&mut *connection).await?.rows_affected();
                    // Entries that were erased in this moment leave numbers that nothing has.
                    let last = sqlx::query(LAST_NUMBER);
                    let last = last.fetch_optional(&mut *connection).await?;
                    let last: Option<i64> = last.map(|row| row.try_get(0)).transpose()?;
                    let new_head = last.unwrap_or(head).max(head);
                    let moved = sqlx::query(MOVE_HEAD).bind(head).bind(new_head);
                    if moved.execute(&mut *connection).await?.rows_affected() != 1 {
                        return Err(Error::Stale);
                    }
                    connections::poke_on_change(connection, head, now).await?;
                    trial::crash_point("feed.numbered");
                    Ok((numbered, new_head))
                })
            })
            .await?;
        self.news.announce_head(head);
        self.news.announce(WorkKind::Run);
        Ok(numbered)
    }

    /// Whether changes wait for their place in the feed.
    pub async fn has_unnumbered(&self) -> Result<bool, Error> {
        Ok(self.db.fetch_optional(sqlx::query(UNNUMBERED)).await?.is_some())
    }

    /// The last number given out.
    pub async fn feed_head(&self) -> Result<i64, Error> {
        Ok(self.db.fetch_one(sqlx::query(HEAD)).await?.try_get(0)?)
    }

    /// Changes behind a number, in order, each with the record as it was then.
    pub async fn changes(
        &self,
        after: i64,
        filter: &ChangeFilter,
        limit: i64,
    ) -> Result<Vec<Change>, Error> {
        let read = sqlx::query(READ)
            .bind(after)
            .bind(filter.integration.as_ref().map(ToString::to_string))
            .bind(filter.end_user.as_ref().map(ToString::to_string))
            .bind(filter.stream.map(Stream::as_str))
            .bind(limit);
        self.read_changes(&self.db.fetch_all(read).await?).await
    }

    /// Changes behind a number, in order, each with whose it is.
    pub async fn log_entries(&self, after: i64, limit: i64) -> Result<Vec<LogEntry>, Error> {
        let none: Option<String> = None;
        let read = sqlx::query(READ).bind(after).bind(none.clone()).bind(none.clone());
        let rows = self.db.fetch_all(read.bind(none).bind(limit)).await?;
        let changes = self.read_changes(&rows).await?;
        let entry = |(row, change): (&AnyRow, Change)| {
            Ok(LogEntry {
                integration: row.try_get("integration_id")?,
                end_user: row.try_get("end_user_key")?,
                change,
            })
        };
        rows.iter().zip(changes).map(entry).collect()
    }

    /// Every version of one transaction in the order they came, for "what happened to it?".
    pub async fn history_of(&self, id: &str) -> Result<Vec<Change>, Error> {
        let read = sqlx::query(HISTORY).bind(id.to_owned());
        self.read_changes(&self.db.fetch_all(read).await?).await
    }

    async fn read_changes(&self, rows: &[AnyRow]) -> Result<Vec<Change>, Error> {
        let mut keys: HashMap<IntegrationId, Option<DataKey>> = HashMap::new();
        let mut changes = Vec::with_capacity(rows.len());
        for row in rows {
            let stream: String = row.try_get("stream")?;
            let stream = Stream::from_name(&stream).ok_or(Error::corrupt("a stream"))?;
            let integration: IntegrationId = parsed(row, "integration_id")?;
            if stream.declaration().sealed && !keys.contains_key(&integration) {
                keys.insert(integration.clone(), self.data_key(&integration).await?);
            }
            let key = keys.get(&integration).and_then(Option::as_ref);
            let seal = RecordSeal { key, integration: integration.as_str() };
            changes.push(change(row, stream, &seal)?);
        }
        Ok(changes)
    }
}

fn change(row: &AnyRow, stream: Stream, seal: &RecordSeal<'_>) -> Result<Change, Error> {
    let (kind, body): (String, String) = (row.try_get("kind")?, row.try_get("body")?);
    let kind = ChangeKind::from_name(&kind).ok_or(Error::corrupt("a kind of change"))?;
    let (item, record_id): (String, String) = (row.try_get("item")?, row.try_get("record_id")?);
    let number = row.try_get("version")?;
    let of = Version { item: &item, stream, record_id: &record_id, number };
    let body = if kind == ChangeKind::Removed { body } else { seal.open(&body, of)? };
    Ok(Change {
        seq: row.try_get("seq")?,
        item_seq: row.try_get("item_seq")?,
        kind,
        stream,
        record: record(kind, stream, body)?,
    })
}

fn record(kind: ChangeKind, stream: Stream, body: String) -> Result<Record, Error> {
    fn read<T: DeserializeOwned>(body: &str) -> Result<T, Error> {
        serde_json::from_str(body).map_err(|_| Error::corrupt("a record"))
    }
    Ok(match (kind, stream) {
        (ChangeKind::Removed, Stream::Transactions) => {
            let ids = remains(&body)?;
            Record::Tombstone(
                serde_json::from_value(ids).map_err(|_| Error::corrupt("a tombstone"))?,
            )
        }
        (ChangeKind::Removed, _) => Record::Tombstone(read(&body)?),
        (_, Stream::Transactions) => Record::Transaction(Box::new(read(&body)?)),
        (_, Stream::Accounts) => Record::Account(read(&body)?),
        (_, Stream::Balances) => Record::Balance(read(&body)?),
        _ => Record::Other(RawRecord::new(body).ok_or(Error::corrupt("a record"))?),
    })
}
