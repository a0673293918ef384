//! One economic event takes over what another one is: how a posted row without Plaid's link, or a row
//! of a bank that was linked anew, becomes the event that people already know.

use jiff::Timestamp;
use model::{ChangeKind, Stream, Transaction};
use sqlx::Row;

use crate::db::{Connected, dialect};
use crate::error::Error;
use crate::feed_writer::FeedWriter;
use crate::items;
use crate::records::json;
use crate::statement::declare;

declare! {
    ROW =
        "SELECT item, account_id, transaction_id, date, amount_minor, currency, pending, removed, \
            version, body, raw FROM transactions WHERE id = $1 /* lock */";
    /// Frees Plaid's id for the event that takes it over; our own id cannot collide with one.
    GIVE_UP =
        "UPDATE transactions SET transaction_id = id, pending_transaction_id = NULL, pending = 0, \
            removed = 1, version = version + 1, updated_at = $2 WHERE id = $1";
    BECOME =
        "UPDATE transactions SET item = $2, transaction_id = $3, account_id = $4, \
            pending_transaction_id = $5, date = $6, amount_minor = $7, currency = $8, \
            pending = $9, removed = 0, version = $10, updated_at = $11, body = $12, raw = $13 \
         WHERE id = $1";
}

struct Event {
    item: String,
    version: i64,
    removed: bool,
    amount_minor: i64,
    record: Transaction,
    body: String,
    raw: String,
}

/// Lets `survivor` become what `other` is, in the item of `other`, whose feed is open. False, and
/// nothing done, if `other` is not live or `survivor` has become something else meanwhile.
pub(crate) async fn take_over(
    connection: &mut Connected,
    feed: &mut FeedWriter,
    survivor: &str,
    other: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    let (old, new) = (event(connection, survivor).await?, event(connection, other).await?);
    let (Some(old), Some(new)) = (old, new) else { return Ok(false) };
    // An event that has posted as something else, or a row that is gone, is nobody's other half.
    let open = old.record.pending || old.removed || old.item != new.item;
    if new.removed || new.item != feed.item || !open {
        return Ok(false);
    }
    if old.item != feed.item {
        items::hold(connection, &old.item).await?;
    }
    feed.supersede_of(new.item.clone(), Stream::Transactions, other, new.version, new.body);
    feed.change(Stream::Transactions, other, new.version + 1, ChangeKind::Removed);
    let give_up = sqlx::query(GIVE_UP).bind(other.to_owned()).bind(now.as_microsecond());
    give_up.execute(&mut *connection).await?;

    let mut record = new.record;
    survivor.clone_into(&mut record.id);
    record.annotation = merged(old.record.annotation, record.annotation);
    if old.record.pending && record.pending_transaction_id.is_none() && !record.pending {
        record.pending_transaction_id = Some(old.record.transaction_id);
    }
    feed.supersede_of(old.item, Stream::Transactions, survivor, old.version, old.body);
    let kind = if old.removed { ChangeKind::Added } else { ChangeKind::Modified };
    feed.change(Stream::Transactions, survivor, old.version + 1, kind);
    sqlx::query(BECOME)
        .bind(survivor.to_owned())
        .bind(new.item)
        .bind(record.transaction_id.clone())
        .bind(record.account_id.clone())
        .bind(record.pending_transaction_id.clone())
        .bind(record.date.to_string())
        .bind(new.amount_minor)
        .bind(record.currency.clone())
        .bind(i64::from(record.pending))
        .bind(old.version + 1)
        .bind(now.as_microsecond())
        .bind(json(&record)?)
        .bind(new.raw)
        .execute(connection)
        .await?;
    Ok(true)
}

/// The older note stands; what only the newer one says is added.
fn merged(
    old: Option<model::Annotation>,
    new: Option<model::Annotation>,
) -> Option<model::Annotation> {
    let (mut old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (one, other) => return one.or(other),
    };
    old.category = old.category.or(new.category);
    old.merchant = old.merchant.or(new.merchant);
    old.transfer_with = old.transfer_with.or(new.transfer_with);
    if old.splits.is_empty() {
        old.splits = new.splits;
    }
    old.note = old.note.or(new.note);
    old.tags.extend(new.tags);
    Some(old)
}

async fn event(connection: &mut Connected, id: &str) -> Result<Option<Event>, Error> {
    let find = sqlx::query(dialect::text(connection, ROW)).bind(id.to_owned());
    let Some(row) = find.fetch_optional(connection).await? else { return Ok(None) };
    let body: String = row.try_get("body")?;
    let removed: i64 = row.try_get("removed")?;
    Ok(Some(Event {
        item: row.try_get("item")?,
        version: row.try_get("version")?,
        removed: removed != 0,
        amount_minor: row.try_get("amount_minor")?,
        record: serde_json::from_str(&body).map_err(|_| Error::corrupt("a transaction"))?,
        body,
        raw: row.try_get("raw")?,
    }))
}
