//! What people note about transactions. A note stands in the record of the economic event, so it goes
//! where the event goes: through posting, a full re-walk, a re-link.

use model::{Annotation, ChangeKind, Enrichment, Stream, Transaction};
use sqlx::Row;

use crate::Store;
use crate::db::{Connected, dialect};
use crate::enrichments;
use crate::error::Error;
use crate::feed_writer::FeedWriter;
use crate::records::json;
use crate::statement::declare;

declare! {
    FIND = "SELECT item, version, removed, body FROM transactions WHERE id = $1 /* lock */";
    WRITE = "UPDATE transactions SET version = $2, updated_at = $3, body = $4 WHERE id = $1";
}

/// What a person's word makes of a transaction: the note, and what it means where the note alone decides
/// that.
pub type Word = (Annotation, Option<Enrichment>);

impl Store {
    /// Changes what is noted about a transaction, by our id, as it is at the moment of writing, so that
    /// two who write at once both stand. Nothing if there is no such transaction.
    pub async fn annotate(
        &self,
        id: &str,
        word: impl FnOnce(&Transaction) -> Word + Clone + Send + 'static,
    ) -> Result<Option<Transaction>, Error> {
        let (id, ambient) = (id.to_owned(), self.ambient.clone());
        let annotated = self
            .db
            .write(move |connection| {
                Box::pin(async move { annotate(connection, &id, word, ambient.now()).await })
            })
            .await?;
        self.news.announce_work();
        Ok(annotated)
    }
}

/// Changes what is noted about a transaction within a larger write.
async fn annotate(
    connection: &mut Connected,
    id: &str,
    word: impl FnOnce(&Transaction) -> Word,
    now: jiff::Timestamp,
) -> Result<Option<Transaction>, Error> {
    let find = sqlx::query(dialect::text(connection, FIND)).bind(id.to_owned());
    let Some(row) = find.fetch_optional(&mut *connection).await? else { return Ok(None) };
    let (item, before): (String, String) = (row.try_get("item")?, row.try_get("body")?);
    let (version, removed): (i64, i64) = (row.try_get("version")?, row.try_get("removed")?);
    if removed != 0 {
        return Ok(None);
    }
    let mut record: Transaction =
        serde_json::from_str(&before).map_err(|_| Error::corrupt("a transaction"))?;
    let (annotation, enrichment) = word(&record);
    record.annotation = (!annotation.is_empty()).then_some(annotation);
    record.enrichment = enrichment.or(record.enrichment);
    let body = json(&record)?;
    if body == before {
        return Ok(Some(record));
    }
    let mut feed = FeedWriter::open(connection, &item).await?;
    feed.supersede(Stream::Transactions, id, version, before);
    feed.change(Stream::Transactions, id, version + 1, ChangeKind::Modified);
    sqlx::query(WRITE)
        .bind(id.to_owned())
        .bind(version + 1)
        .bind(now.as_microsecond())
        .bind(body)
        .execute(&mut *connection)
        .await?;
    let end_user = feed.end_user_key.clone();
    feed.close(connection).await?;
    enrichments::want_by_person(connection, &end_user).await?;
    Ok(Some(record))
}
