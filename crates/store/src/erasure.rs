//! Erasure: of an Item's data only tombstones stay, in the feed, so that every reader forgets it too.

use jiff::Timestamp;
use model::{ChangeKind, Stream};
use sqlx::Row;

use crate::balance_readings;
use crate::db::Connected;
use crate::enrichments;
use crate::error::Error;
use crate::feed_writer::FeedWriter;
use crate::records::{key_of, remains};
use crate::statement::declare;

declare! {
    TRANSACTIONS_OF = "SELECT id, version, body FROM transactions WHERE item = $1";
    RECORDS_OF = "SELECT stream, record_id, version FROM records WHERE item = $1";
    ERASE_TRANSACTION =
        "UPDATE transactions SET removed = 1, version = $2, updated_at = $3, body = $4, raw = '', \
            amount_minor = 0, date = '', pending_transaction_id = NULL WHERE id = $1";
    ERASE_RECORD =
        "UPDATE records SET removed = 1, version = $4, updated_at = $5, body = $6, raw = '' \
         WHERE item = $1 AND stream = $2 AND record_id = $3";
    ERASE_SUPERSEDED = "DELETE FROM superseded WHERE item = $1";
    ERASE_CHANGES = "DELETE FROM changes WHERE item = $1";
    ERASE_QUARANTINE = "DELETE FROM quarantine WHERE item = $1";
    ERASE_STAGED = "DELETE FROM staged_pages WHERE item = $1";
    ERASE_SUGGESTIONS = "DELETE FROM suggestions WHERE item = $1";
    ERASE_SYNCS = "DELETE FROM syncs WHERE item = $1";
    ERASE_STREAMS = "DELETE FROM item_streams WHERE item = $1";
}

/// Erases an Item's data within a larger write.
pub(crate) async fn erase_data(
    connection: &mut Connected,
    item: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let statements = [
        ERASE_SUPERSEDED,
        ERASE_CHANGES,
        ERASE_QUARANTINE,
        ERASE_STAGED,
        ERASE_SUGGESTIONS,
        ERASE_SYNCS,
        ERASE_STREAMS,
    ];
    let mut feed = FeedWriter::open(connection, item).await?;
    balance_readings::forget(connection, item).await?;
    for statement in statements {
        sqlx::query(statement).bind(item.to_owned()).execute(&mut *connection).await?;
    }
    let of_item = sqlx::query(TRANSACTIONS_OF).bind(item.to_owned());
    for row in of_item.fetch_all(&mut *connection).await? {
        let (id, version, body): (String, i64, String) =
            (row.try_get("id")?, row.try_get("version")?, row.try_get("body")?);
        let ids = remains(&body)?;
        sqlx::query(ERASE_TRANSACTION)
            .bind(id.clone())
            .bind(version + 1)
            .bind(now.as_microsecond())
            .bind(ids.to_string())
            .execute(&mut *connection)
            .await?;
        feed.change(Stream::Transactions, &id, version + 1, ChangeKind::Removed);
    }
    let of_item = sqlx::query(RECORDS_OF).bind(item.to_owned());
    for row in of_item.fetch_all(&mut *connection).await? {
        let (name, id): (String, String) = (row.try_get("stream")?, row.try_get("record_id")?);
        let version: i64 = row.try_get("version")?;
        let stream = Stream::from_name(&name).ok_or(Error::corrupt("a stream"))?;
        let ids = key_of(stream, &feed.item_id, &id);
        sqlx::query(ERASE_RECORD)
            .bind(item.to_owned())
            .bind(name.clone())
            .bind(id.clone())
            .bind(version + 1)
            .bind(now.as_microsecond())
            .bind(ids.to_string())
            .execute(&mut *connection)
            .await?;
        feed.change(stream, &id, version + 1, ChangeKind::Removed);
    }
    let end_user = feed.end_user_key.clone();
    feed.close(connection).await?;
    enrichments::forget_series(connection, &end_user, now).await
}
