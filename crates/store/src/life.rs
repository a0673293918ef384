//! The stored half of an Item's life: what happens goes through the state machine of `model`, and
//! whoever must know is told in the same transaction.

use jiff::Timestamp;
use model::{Ambient, ItemEvent, ItemKey, ItemLife, ItemStatus};
use serde_json::json;
use sqlx::Row;

use crate::Store;
use crate::db::{Connected, dialect};
use crate::error::Error;
use crate::outbox::{self, Notice};
use crate::records;
use crate::statement::declare;
use crate::work::{self, WorkKind};

declare! {
    READ =
        "SELECT i.life, i.status, i.item_id, i.integration_id, e.end_user_id FROM items i \
         JOIN end_users e ON e.id = i.end_user_key WHERE i.id = $1 /* lock i */";
    /// `$5` keeps the words that explain a state that has not changed.
    WRITE =
        "UPDATE items SET life = $2, status = $3, \
            status_detail = CASE WHEN CAST($5 AS BIGINT) = 1 THEN status_detail ELSE $4 END \
         WHERE id = $1";
}

/// Lets something happen to an Item within a larger write. Gives the status it has now.
pub(crate) async fn happen(
    connection: &mut Connected,
    item: &str,
    event: &ItemEvent,
    detail: Option<&str>,
    ambient: &Ambient,
) -> Result<ItemStatus, Error> {
    let read = sqlx::query(dialect::text(connection, READ)).bind(item.to_owned());
    let row = read.fetch_one(&mut *connection).await?;
    let (life, status): (String, String) = (row.try_get("life")?, row.try_get("status")?);
    let before = ItemStatus::from_name(&status).ok_or(Error::corrupt("a status"))?;
    let life: ItemLife = serde_json::from_str(&life).map_err(|_| Error::corrupt("a life"))?;
    let was = life.standing;
    let life = life.after(event);
    let keeps_words = life.standing == was
        && !matches!(event, ItemEvent::Troubled { .. } | ItemEvent::Synced | ItemEvent::Linked);
    let after = life.status();
    sqlx::query(WRITE)
        .bind(item.to_owned())
        .bind(records::json(&life)?)
        .bind(after.as_str())
        .bind(detail.map(str::to_owned))
        .bind(i64::from(keeps_words))
        .execute(&mut *connection)
        .await?;
    if let ItemEvent::AccountRevoked { account_id } = event {
        records::revoke_account(connection, item, account_id, ambient.now()).await?;
    }
    if before != after {
        let item_id: String = row.try_get("item_id")?;
        let end_user_id: String = row.try_get("end_user_id")?;
        let integration: String = row.try_get("integration_id")?;
        let data = json!({
            "item_id": item_id, "end_user_id": end_user_id, "integration_id": integration,
            "status": after.as_str(), "previous_status": before.as_str(), "detail": detail,
            "what_to_do": after.what_to_do(), "ends_at": life.ends_at,
        });
        outbox::announce(connection, &integration, Notice::ItemStateChanged, &data, ambient)
            .await?;
        if after.needs_repair() || after == ItemStatus::Revoked {
            outbox::announce(connection, &integration, Notice::ItemRepairNeeded, &data, ambient)
                .await?;
        }
    }
    Ok(after)
}

/// Whether an event should be followed by a sync at once: whatever heals is followed by one.
pub(crate) fn wakes(event: &ItemEvent) -> bool {
    matches!(event, ItemEvent::LoginRepaired | ItemEvent::Updated | ItemEvent::Enabled)
}

impl Store {
    /// Lets something happen to an Item, and asks for a sync where that heals it.
    pub async fn item_happens(&self, key: &ItemKey, event: ItemEvent) -> Result<ItemStatus, Error> {
        let (key, ambient) = (key.to_string(), self.ambient.clone());
        let status = self
            .db
            .write(move |connection| {
                Box::pin(async move {
                    let status = happen(connection, &key, &event, None, &ambient).await?;
                    if wakes(&event) && status.is_live() {
                        let now: Timestamp = ambient.now();
                        work::poke_by_person(connection, WorkKind::Sync, &key, now).await?;
                    }
                    Ok(status)
                })
            })
            .await?;
        self.news.announce_work();
        Ok(status)
    }
}
