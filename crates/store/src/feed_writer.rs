//! Writes changes of one item within a larger write: numbers them, keeps the versions they replace.

use std::sync::LazyLock;

use model::{ChangeKind, Stream};
use sqlx::Row;

use crate::batch::{Insert, Value};
use crate::db::{Connected, dialect};
use crate::error::Error;
use crate::statement::declare;

declare! {
    /// Holds the Item's row: whoever changes what belongs to an Item does so one after the other.
    OWNER = "SELECT item_id, integration_id, end_user_key, item_seq FROM items WHERE id = $1 /* lock */";
    SAVE_NUMBER = "UPDATE items SET item_seq = $2 WHERE id = $1";
}

pub(crate) static INSERT_CHANGES: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "INSERT INTO changes (item, item_seq, integration_id, end_user_key, stream, record_id, \
         version, kind)",
        8,
    )
});

pub(crate) static INSERT_SUPERSEDED: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new("INSERT INTO superseded (item, stream, record_id, version, body)", 5)
});

/// Changes of one item on their way into the feed.
pub(crate) struct FeedWriter {
    pub(crate) item: String,
    /// Plaid's own id of it.
    pub(crate) item_id: String,
    pub(crate) integration_id: String,
    pub(crate) end_user_key: String,
    item_seq: i64,
    changes: Vec<Vec<Value>>,
    superseded: Vec<Vec<Value>>,
}

impl FeedWriter {
    /// Starts behind the item's last number, and holds the item until the write ends.
    pub(crate) async fn open(connection: &mut Connected, item: &str) -> Result<Self, Error> {
        let owner = sqlx::query(dialect::text(connection, OWNER)).bind(item.to_owned());
        let row = owner.fetch_one(connection).await?;
        Ok(Self {
            item: item.to_owned(),
            item_id: row.try_get("item_id")?,
            integration_id: row.try_get("integration_id")?,
            end_user_key: row.try_get("end_user_key")?,
            item_seq: row.try_get("item_seq")?,
            changes: Vec::new(),
            superseded: Vec::new(),
        })
    }

    /// Notes that a record reached a version.
    pub(crate) fn change(
        &mut self,
        stream: Stream,
        record_id: &str,
        version: i64,
        kind: ChangeKind,
    ) {
        self.item_seq += 1;
        self.changes.push(vec![
            Value::Text(self.item.clone()),
            Value::Integer(self.item_seq),
            Value::Text(self.integration_id.clone()),
            Value::Text(self.end_user_key.clone()),
            Value::Text(stream.as_str().to_owned()),
            Value::Text(record_id.to_owned()),
            Value::Integer(version),
            Value::Text(kind.as_str().to_owned()),
        ]);
    }

    /// Keeps a version that a newer one replaces.
    pub(crate) fn supersede(
        &mut self,
        stream: Stream,
        record_id: &str,
        version: i64,
        body: String,
    ) {
        let item = self.item.clone();
        self.supersede_of(item, stream, record_id, version, body);
    }

    /// Keeps a version whose change was written for another item, from which the record moved here.
    pub(crate) fn supersede_of(
        &mut self,
        item: String,
        stream: Stream,
        record_id: &str,
        version: i64,
        body: String,
    ) {
        self.superseded.push(vec![
            Value::Text(item),
            Value::Text(stream.as_str().to_owned()),
            Value::Text(record_id.to_owned()),
            Value::Integer(version),
            Value::Text(body),
        ]);
    }

    /// Writes what was noted so far. The item's number is saved by [`Self::close`].
    pub(crate) async fn flush(&mut self, connection: &mut Connected) -> Result<(), Error> {
        INSERT_SUPERSEDED.run(connection, std::mem::take(&mut self.superseded)).await?;
        INSERT_CHANGES.run(connection, std::mem::take(&mut self.changes)).await
    }

    /// Writes the rest and the item's new number.
    pub(crate) async fn close(mut self, connection: &mut Connected) -> Result<(), Error> {
        self.flush(connection).await?;
        let save = sqlx::query(SAVE_NUMBER).bind(self.item).bind(self.item_seq);
        save.execute(connection).await?;
        Ok(())
    }
}
