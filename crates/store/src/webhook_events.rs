//! Webhooks that were believed, and Plaid's keys that proved them.

use jiff::Timestamp;
use sqlx::Row;

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::statement::declare;
use crate::work::{self, WorkKind, instant};

declare! {
    RECORD =
        "INSERT INTO webhook_events (integration_id, body_hash, issued_at, received_at, \
            webhook_type, webhook_code, item_id) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (integration_id, body_hash, issued_at) DO NOTHING";
    FIND_ITEM =
        "SELECT id FROM items WHERE item_id = $1 AND integration_id = $2 \
         AND status <> 'removing' AND status <> 'removed'";
    /// An Item whose last sync began before a webhook of that second could count on it.
    FIND_ITEM_NOT_SYNCED_SINCE =
        "SELECT id FROM items WHERE item_id = $1 AND integration_id = $2 \
         AND status <> 'removing' AND status <> 'removed' \
         AND (last_attempt_at IS NULL OR last_attempt_at < $3)";
    NOTE_ITEM = "UPDATE items SET last_webhook_at = $2 WHERE id = $1";
    FORGET = "DELETE FROM webhook_events WHERE received_at < $1";
    KEEP_KEY =
        "INSERT INTO webhook_keys (base_url, key_id, jwk, fetched_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (base_url, key_id) DO UPDATE SET jwk = excluded.jwk, \
            fetched_at = excluded.fetched_at";
    KEYS = "SELECT base_url, key_id, jwk, fetched_at FROM webhook_keys";
}

/// A webhook that was believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Id of the integration it came to.
    pub integration_id: String,
    /// Hex SHA-256 of its raw body.
    pub body_hash: String,
    /// When Plaid signed it, in Unix seconds.
    pub issued_at: i64,
    /// Plaid's type.
    pub webhook_type: String,
    /// Plaid's code.
    pub webhook_code: String,
    /// Plaid's Item id, where the webhook is about one.
    pub item_id: Option<String>,
}

/// A key of Plaid's as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookKey {
    /// The Plaid it belongs to.
    pub base_url: String,
    /// Its id.
    pub key_id: String,
    /// The key as JSON.
    pub jwk: String,
    /// When Plaid last confirmed it.
    pub fetched_at: Timestamp,
}

impl Store {
    /// Records a webhook and pokes its Item, in one transaction. False for a repeat: the same body
    /// issued in the same second. Two events of one second look like a repeat, so one still pokes
    /// an Item that no sync has looked at since that second. An Item that is not linked (yet) is no
    /// error.
    pub async fn record_webhook(&self, event: Received) -> Result<bool, Error> {
        let now = self.ambient.now();
        let is_new = self
            .db
            .write(move |connection| Box::pin(async move { record(connection, event, now).await }))
            .await?;
        self.news.announce_work();
        Ok(is_new)
    }

    /// Forgets webhooks received before a time.
    pub async fn forget_webhooks(&self, before: Timestamp) -> Result<u64, Error> {
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let forget = sqlx::query(FORGET).bind(before.as_microsecond());
                    Ok(forget.execute(connection).await?.rows_affected())
                })
            })
            .await
    }

    /// Keeps a key of Plaid's.
    pub async fn keep_webhook_key(&self, key: WebhookKey) -> Result<(), Error> {
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(KEEP_KEY)
                        .bind(key.base_url)
                        .bind(key.key_id)
                        .bind(key.jwk)
                        .bind(key.fetched_at.as_microsecond())
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// All kept keys.
    pub async fn webhook_keys(&self) -> Result<Vec<WebhookKey>, Error> {
        let rows = sqlx::query(KEYS).fetch_all(self.db.readers()).await?;
        rows.iter()
            .map(|row| {
                Ok(WebhookKey {
                    base_url: row.try_get("base_url")?,
                    key_id: row.try_get("key_id")?,
                    jwk: row.try_get("jwk")?,
                    fetched_at: instant(row.try_get("fetched_at")?)?,
                })
            })
            .collect()
    }
}

async fn record(
    connection: &mut Connected,
    event: Received,
    now: Timestamp,
) -> Result<bool, Error> {
    let inserted = sqlx::query(RECORD)
        .bind(event.integration_id.clone())
        .bind(event.body_hash)
        .bind(event.issued_at)
        .bind(now.as_microsecond())
        .bind(event.webhook_type)
        .bind(event.webhook_code)
        .bind(event.item_id.clone())
        .execute(&mut *connection)
        .await?;
    let is_new = inserted.rows_affected() == 1;
    let Some(item_id) = event.item_id else { return Ok(is_new) };
    let find = if is_new {
        sqlx::query(FIND_ITEM).bind(item_id).bind(event.integration_id)
    } else {
        let next_second = event.issued_at.saturating_add(1).saturating_mul(1_000_000);
        let find = sqlx::query(FIND_ITEM_NOT_SYNCED_SINCE).bind(item_id);
        find.bind(event.integration_id).bind(next_second)
    };
    if let Some(row) = find.fetch_optional(&mut *connection).await? {
        let item: String = row.try_get(0)?;
        let note = sqlx::query(NOTE_ITEM).bind(item.clone()).bind(now.as_microsecond());
        note.execute(&mut *connection).await?;
        work::poke(connection, WorkKind::Sync, &item, now).await?;
    }
    Ok(is_new)
}
