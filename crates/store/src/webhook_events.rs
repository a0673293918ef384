//! Webhooks that were believed, and Plaid's keys that proved them.

use jiff::Timestamp;
use model::{Ambient, ItemEvent, News};
use sqlx::Row;

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::link_sessions::{self, SealedVisit, VisitEnded};
use crate::records::json;
use crate::statement::declare;
use crate::work::{self, WorkKind, instant};
use crate::{item_streams, items, life};

declare! {
    RECORD =
        "INSERT INTO webhook_events (integration_id, body_hash, issued_at, received_at, \
            webhook_type, webhook_code, item_id, news) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (integration_id, body_hash, issued_at) DO NOTHING";
    /// Finds the Item and notes the time of the webhook in one.
    NOTE_ITEM =
        "UPDATE items SET last_webhook_at = $3 WHERE item_id = $1 AND integration_id = $2 \
         AND status <> 'removing' AND status <> 'removed' RETURNING id";
    EARLY =
        "SELECT news FROM webhook_events WHERE item_id = $1 AND integration_id = $2 \
         ORDER BY issued_at, received_at";
    /// The same, of an Item whose last sync began before a webhook of that second could count on it.
    NOTE_ITEM_NOT_SYNCED_SINCE =
        "UPDATE items SET last_webhook_at = $3 WHERE item_id = $1 AND integration_id = $2 \
         AND status <> 'removing' AND status <> 'removed' \
         AND (last_attempt_at IS NULL OR last_attempt_at < $4) RETURNING id";
    OWNER = "SELECT integration_id FROM items WHERE item_id = $1";
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
    /// What it means for the Item.
    pub news: News,
    /// The end of a visit to Link, if it tells of one.
    pub link: Option<VisitEnded>,
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
        let ambient = self.ambient.clone();
        let visit = match &event.link {
            Some(visit) => self.seal_visit(visit).await?,
            None => None,
        };
        let only_a_hint = event.news.event.is_none() && event.link.is_none();
        let is_new = self
            .db
            .write(move |connection| {
                Box::pin(async move { record(connection, event, visit, &ambient).await })
            })
            .await?;
        if only_a_hint {
            self.news.announce(WorkKind::Sync);
        } else {
            self.news.announce_work();
        }
        Ok(is_new)
    }

    /// Forgets webhooks received before a time.
    pub async fn forget_webhooks(&self, before: Timestamp) -> Result<u64, Error> {
        self.db.forget(FORGET, before).await
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
        let rows = self.db.fetch_all(sqlx::query(KEYS)).await?;
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
    visit: Option<SealedVisit>,
    ambient: &Ambient,
) -> Result<bool, Error> {
    let now = ambient.now();
    let inserted = sqlx::query(RECORD)
        .bind(event.integration_id.clone())
        .bind(event.body_hash)
        .bind(event.issued_at)
        .bind(now.as_microsecond())
        .bind(event.webhook_type)
        .bind(event.webhook_code)
        .bind(event.item_id.clone())
        .bind(json(&event.news)?)
        .execute(&mut *connection)
        .await?;
    let is_new = inserted.rows_affected() == 1;
    if let Some(visit) = visit.filter(|_| is_new) {
        link_sessions::visit_ended(connection, visit, now).await?;
    }
    let Some(item_id) = event.item_id else { return Ok(is_new) };
    let named = match trial::has_bug("webhook_id_is_not_local_id") {
        true => format!("itm_{item_id}"),
        false => item_id.clone(),
    };
    let owner = match trial::has_bug("tenant_filter_dropped") {
        true => owner_of(connection, &item_id).await?.unwrap_or_default(),
        false => event.integration_id.clone(),
    };
    let about = |sql| {
        let query = sqlx::query(sql).bind(named.clone()).bind(owner.clone());
        query.bind(now.as_microsecond())
    };
    let note = || match is_new {
        true => about(NOTE_ITEM),
        false => {
            let next_second = event.issued_at.saturating_add(1).saturating_mul(1_000_000);
            about(NOTE_ITEM_NOT_SYNCED_SINCE).bind(next_second)
        }
    };
    let mut item = note().fetch_optional(&mut *connection).await?;
    if item.is_none() && is_new {
        // It may be being linked in this moment; whoever links holds the integration.
        items::hold_integration(connection, &event.integration_id).await?;
        item = note().fetch_optional(&mut *connection).await?;
    }
    match item {
        Some(row) => {
            let item: String = row.try_get(0)?;
            take(connection, &item, &event.news, is_new, ambient).await?;
        }
        None if is_new => {
            link_sessions::name_orphan(connection, &event.integration_id, &item_id, now).await?;
        }
        None => {}
    }
    Ok(is_new)
}

/// The integration of an Item, whoever asks.
async fn owner_of(connection: &mut Connected, item_id: &str) -> Result<Option<String>, Error> {
    let find = sqlx::query(OWNER).bind(item_id.to_owned());
    let row = find.fetch_optional(connection).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// What a webhook does to an Item that is linked. A repeat does no more than ask for a sync.
async fn take(
    connection: &mut Connected,
    item: &str,
    news: &News,
    is_new: bool,
    ambient: &Ambient,
) -> Result<(), Error> {
    let now = ambient.now();
    item_streams::make_due(connection, item, &news.streams).await?;
    let event = news.event.as_ref().filter(|_| is_new && !trial::has_bug("repair_not_heard"));
    if let Some(event) = event {
        let told = news.detail.as_deref().or(Some("Plaid told of it by webhook."));
        life::happen(connection, item, event, told, ambient).await?;
        if life::wakes(event) {
            item_streams::make_all_due(connection, item).await?;
            return work::poke_by_person(connection, WorkKind::Sync, item, now).await;
        }
    }
    work::poke(connection, WorkKind::Sync, item, now).await
}

/// What webhooks told of an Item before it was linked.
pub(crate) async fn early(
    connection: &mut Connected,
    item_id: &str,
    integration: &str,
) -> Result<Vec<ItemEvent>, Error> {
    let rows = sqlx::query(EARLY).bind(item_id.to_owned()).bind(integration.to_owned());
    let rows = rows.fetch_all(connection).await?;
    let news = |row: &sqlx::any::AnyRow| {
        let text: String = row.try_get("news")?;
        serde_json::from_str::<News>(&text).map_err(|_| Error::corrupt("news"))
    };
    let news = rows.iter().map(news).collect::<Result<Vec<_>, _>>()?;
    Ok(news.into_iter().filter_map(|news| news.event).collect())
}
