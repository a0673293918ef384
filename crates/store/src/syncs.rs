//! The log of syncs: what each attempt did, in words that a person understands.

use jiff::Timestamp;
use model::{Ambient, ItemKey};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::records::json;
use crate::statement::declare;

declare! {
    ADD =
        "INSERT INTO syncs (id, item, started_at, ended_at, succeeded, body) \
         VALUES ($1, $2, $3, $4, $5, $6)";
    OF_ITEM =
        "SELECT id, body FROM syncs WHERE item = $1 AND (CAST($2 AS TEXT) IS NULL OR id < $2) \
         ORDER BY id DESC LIMIT $3";
    FORGET = "DELETE FROM syncs WHERE ended_at < $1";
}

/// One sync: an attempt to bring an Item up to date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRecord {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Whether Plaid's cursor was reached.
    pub succeeded: bool,
    /// What came of it, in words.
    pub outcome: String,
    /// Pages of transactions.
    pub pages: u32,
    /// Times the update was started again because data changed.
    pub restarts: u32,
    /// Whether everything was read again from the empty cursor.
    pub full_walk: bool,
    /// Transactions that appeared.
    pub added: u64,
    /// Transactions with new content.
    pub modified: u64,
    /// Transactions that went.
    pub removed: u64,
    /// Plaid's ids of the requests, for their support.
    pub request_ids: Vec<String>,
}

/// Keeps a sync within the write that it ends with.
pub(crate) async fn add(
    connection: &mut Connected,
    item: &str,
    sync: &SyncRecord,
    ambient: &Ambient,
) -> Result<(), Error> {
    sqlx::query(ADD)
        .bind(ambient.uuid().simple().to_string())
        .bind(item.to_owned())
        .bind(sync.started_at.as_microsecond())
        .bind(sync.ended_at.as_microsecond())
        .bind(i64::from(sync.succeeded))
        .bind(json(sync)?)
        .execute(connection)
        .await?;
    Ok(())
}

impl Store {
    /// Syncs of an Item with their ids, newest first, behind one.
    pub async fn syncs(
        &self,
        item: &ItemKey,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<(String, SyncRecord)>, Error> {
        let list =
            sqlx::query(OF_ITEM).bind(item.to_string()).bind(after.map(str::to_owned)).bind(limit);
        let rows = self.db.fetch_all(list).await?;
        rows.iter()
            .map(|row| {
                let body: String = row.try_get("body")?;
                let sync = serde_json::from_str(&body).map_err(|_| Error::corrupt("a sync"))?;
                Ok((row.try_get("id")?, sync))
            })
            .collect()
    }

    /// Forgets syncs that ended before a time.
    pub async fn forget_syncs(&self, before: Timestamp) -> Result<(), Error> {
        self.db.forget(FORGET, before).await?;
        Ok(())
    }
}
