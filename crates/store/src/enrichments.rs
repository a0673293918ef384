//! What processing says of an end user's transactions: reading what it needs, and writing what it found,
//! with the feed's entries and the end of the work. Only what differs is written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{ChangeKind, EndUserId, EndUserSeries, IntegrationId, Stream, Transaction};
use serde_json::json;
use sqlx::Row;

use crate::Store;
use crate::db::{Connected, dialect};
use crate::error::Error;
use crate::feed_writer::FeedWriter;
use crate::outbox::{self, Notice};
use crate::statement::declare;
use crate::work::{self, Lease, WorkKind, instant};

declare! {
    ROWS =
        "SELECT id, item, version, body FROM transactions \
         WHERE end_user_key = $1 AND removed = 0 AND id > $2 ORDER BY id LIMIT $3";
    BODY =
        "SELECT body FROM transactions WHERE id = $1 AND version = $2 AND removed = 0 /* lock */";
    WRITE = "UPDATE transactions SET version = $2, updated_at = $3, body = $4 WHERE id = $1";
    KEEP_SERIES =
        "INSERT INTO end_user_series (end_user_key, body, tables, processed_at) \
         VALUES ($1, $2, $3, $4) ON CONFLICT (end_user_key) DO UPDATE SET body = excluded.body, \
            tables = excluded.tables, processed_at = excluded.processed_at";
    SERIES = "SELECT body, tables, processed_at FROM end_user_series WHERE end_user_key = $1";
    FORGET_SERIES = "DELETE FROM end_user_series WHERE end_user_key = $1";
    OWNER = "SELECT integration_id, end_user_id FROM end_users WHERE id = $1";
    UNPROCESSED =
        "SELECT COUNT(*) FROM work w JOIN end_users e ON e.id = w.subject \
         WHERE w.kind = 'enrich' AND w.wanted_seq > w.done_seq AND w.attempts = 0 \
            AND (CAST($1 AS TEXT) IS NULL OR e.integration_id = $1)";
    WAITS =
        "SELECT 1 FROM work WHERE kind = 'enrich' AND subject = $1 AND wanted_seq > done_seq";
    WANT_ALL =
        "INSERT INTO work (kind, subject, due_at, not_before, wanted_seq, claimed_seq, done_seq, \
            lease_until, fence, attempts) \
         SELECT 'enrich', id, CAST($2 AS BIGINT), 0, 1, 0, 0, 0, 0, 0 FROM end_users \
         WHERE (CAST($1 AS TEXT) IS NULL OR integration_id = $1) \
         ON CONFLICT (kind, subject) DO UPDATE SET wanted_seq = work.wanted_seq + 1, \
            due_at = excluded.due_at, not_before = 0, attempts = 0";
}

/// Rows read in one go: a reader is not held for long.
const ROWS_AT_ONCE: i64 = 2_000;
/// Rows written in one go: the writer is not held for long, and a crash repeats no more.
const WRITTEN_AT_ONCE: usize = 1_000;

/// A live transaction, and where it stands.
#[derive(Debug, Clone)]
pub struct Enrichable {
    /// The record.
    pub record: Transaction,
    /// Our key of its Item.
    pub item: String,
    /// The version that was read.
    pub version: i64,
}

/// What an end user's transactions say together, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSeries {
    /// What they say.
    pub series: EndUserSeries,
    /// Version of the tables that decided.
    pub tables: String,
    /// When they were last processed.
    pub processed_at: Timestamp,
}

impl Store {
    /// The integration of an end user, by the end user's id.
    pub async fn integration_of(&self, end_user: &str) -> Result<Option<IntegrationId>, Error> {
        let find = sqlx::query(OWNER).bind(end_user.to_owned());
        let Some(row) = self.db.fetch_optional(find).await? else { return Ok(None) };
        let id: String = row.try_get("integration_id")?;
        id.parse().map(Some).map_err(|_| Error::corrupt("the id of an integration"))
    }

    /// Every live transaction of an end user, by id.
    pub async fn enrichable(&self, end_user: &EndUserId) -> Result<Vec<Enrichable>, Error> {
        let mut all: Vec<Enrichable> = Vec::new();
        loop {
            let after = all.last().map(|row| row.record.id.clone()).unwrap_or_default();
            let read = sqlx::query(ROWS).bind(end_user.to_string()).bind(after).bind(ROWS_AT_ONCE);
            let rows = self.db.fetch_all(read).await?;
            for row in &rows {
                let body: String = row.try_get("body")?;
                all.push(Enrichable {
                    record: serde_json::from_str(&body)
                        .map_err(|_| Error::corrupt("a transaction"))?,
                    item: row.try_get("item")?,
                    version: row.try_get("version")?,
                });
            }
            if rows.len() < usize::try_from(ROWS_AT_ONCE).unwrap_or(usize::MAX) {
                return Ok(all);
            }
        }
    }

    /// Writes what processing found, and ends its work. Rows that changed since they were read are left
    /// out: whoever changed them has asked for processing again.
    pub async fn settle_enrichments(
        &self,
        lease: &Lease,
        changed: Vec<Enrichable>,
        series: &EndUserSeries,
        tables: &str,
    ) -> Result<usize, Error> {
        let mut written = 0;
        let mut rest = changed.into_iter().peekable();
        while rest.peek().is_some() {
            let some: Vec<Enrichable> = rest.by_ref().take(WRITTEN_AT_ONCE).collect();
            let (lease, now) = (lease.clone(), self.ambient.now());
            written += self
                .db
                .write(move |connection| {
                    Box::pin(async move {
                        // Items first, work last, as everybody does: two who hold what the other
                        // wants would wait for ever.
                        let written = write(connection, some, now).await?;
                        work::hold(connection, &lease).await?;
                        Ok(written)
                    })
                })
                .await?;
            trial::crash_point("enrichments.some_written");
        }
        let body = serde_json::to_string(series).map_err(|_| Error::corrupt("series"))?;
        let (lease, tables, ambient) = (lease.clone(), tables.to_owned(), self.ambient.clone());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let (key, now) = (lease.subject.clone(), ambient.now());
                    let find = sqlx::query(OWNER).bind(key.clone());
                    if let Some(row) = find.fetch_optional(&mut *connection).await? {
                        let integration: String = row.try_get("integration_id")?;
                        let end_user_id: String = row.try_get("end_user_id")?;
                        let keep = sqlx::query(KEEP_SERIES).bind(key).bind(body).bind(tables);
                        keep.bind(now.as_microsecond()).execute(&mut *connection).await?;
                        let data = json!({
                            "end_user_id": end_user_id, "integration_id": integration,
                            "changed": written,
                        });
                        let notice = Notice::EndUserProcessed;
                        outbox::announce(connection, &integration, notice, &data, &ambient).await?;
                    }
                    work::finish(connection, &lease, now, Timestamp::MAX).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(written)
    }

    /// What an end user's transactions say together, once they were processed.
    pub async fn series(&self, end_user: &EndUserId) -> Result<Option<StoredSeries>, Error> {
        let find = sqlx::query(SERIES).bind(end_user.to_string());
        let Some(row) = self.db.fetch_optional(find).await? else { return Ok(None) };
        let body: String = row.try_get("body")?;
        Ok(Some(StoredSeries {
            series: serde_json::from_str(&body).map_err(|_| Error::corrupt("series"))?,
            tables: row.try_get("tables")?,
            processed_at: instant(row.try_get("processed_at")?)?,
        }))
    }

    /// How many end users wait for processing that has not failed.
    pub async fn unprocessed_end_users(
        &self,
        integration: Option<&IntegrationId>,
    ) -> Result<i64, Error> {
        let count = sqlx::query(UNPROCESSED).bind(integration.map(ToString::to_string));
        Ok(self.db.fetch_one(count).await?.try_get(0)?)
    }

    /// Whether nothing of an end user waits for processing.
    pub async fn is_processed(&self, end_user: &EndUserId) -> Result<bool, Error> {
        let find = sqlx::query(WAITS).bind(end_user.to_string());
        Ok(self.db.fetch_optional(find).await?.is_none())
    }

    /// Asks for processing of every end user, of one integration or of all.
    pub async fn want_processing(&self, integration: Option<&IntegrationId>) -> Result<(), Error> {
        let (integration, now) = (integration.map(ToString::to_string), self.ambient.now());
        self.db
            .write(move |connection| {
                Box::pin(async move { want_all(connection, integration, now).await })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }
}

async fn write(
    connection: &mut Connected,
    changed: Vec<Enrichable>,
    now: Timestamp,
) -> Result<usize, Error> {
    let mut items: BTreeMap<String, Vec<Enrichable>> = BTreeMap::new();
    for row in changed {
        items.entry(row.item.clone()).or_default().push(row);
    }
    let mut written = 0;
    for (item, rows) in items {
        let mut feed = FeedWriter::open(connection, &item).await?;
        for Enrichable { record, version, .. } in rows {
            let find =
                sqlx::query(dialect::text(connection, BODY)).bind(record.id.clone()).bind(version);
            let Some(row) = find.fetch_optional(&mut *connection).await? else { continue };
            feed.supersede(Stream::Transactions, &record.id, version, row.try_get("body")?);
            feed.change(Stream::Transactions, &record.id, version + 1, ChangeKind::Modified);
            sqlx::query(WRITE)
                .bind(record.id.clone())
                .bind(version + 1)
                .bind(now.as_microsecond())
                .bind(crate::records::json(&record)?)
                .execute(&mut *connection)
                .await?;
            written += 1;
        }
        feed.close(connection).await?;
    }
    Ok(written)
}

/// Asks for processing of an end user within the write that it is for.
pub(crate) async fn want(
    connection: &mut Connected,
    end_user: &str,
    now: Timestamp,
) -> Result<(), Error> {
    work::poke(connection, WorkKind::Enrich, end_user, now).await
}

/// The same for a person, who waits: before all that waits for a new rule, and whatever failed before.
pub(crate) async fn want_by_person(
    connection: &mut Connected,
    end_user: &str,
) -> Result<(), Error> {
    let before_all = Timestamp::UNIX_EPOCH;
    work::poke_by_person(connection, WorkKind::Enrich, end_user, before_all).await
}

/// Asks for processing of all end users within a larger write.
pub(crate) async fn want_all(
    connection: &mut Connected,
    integration: Option<String>,
    now: Timestamp,
) -> Result<(), Error> {
    let want = sqlx::query(WANT_ALL).bind(integration).bind(now.as_microsecond());
    want.execute(connection).await?;
    Ok(())
}

/// Forgets what an end user's transactions said together, and asks for what those that are left say.
pub(crate) async fn forget_series(
    connection: &mut Connected,
    end_user: &str,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(FORGET_SERIES).bind(end_user.to_owned()).execute(&mut *connection).await?;
    want(connection, end_user, now).await
}
