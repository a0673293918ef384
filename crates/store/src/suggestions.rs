//! Pairs that may be one economic event where Plaid names no link. They are suggested with a reason
//! and never joined without a person.

use jiff::{Timestamp, ToSpan};
use model::{Ambient, ItemKey, SuggestionId, Transaction, minor_units};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Store;
use crate::db::{Connected, dialect};
use crate::enrichments;
use crate::error::Error;
use crate::feed_writer::FeedWriter;
use crate::integrations::parsed;
use crate::statement::declare;
use crate::takeover::take_over;
use crate::work::{instant, optional_instant};

declare! {
    PENDING_NEAR =
        "SELECT id, body FROM transactions WHERE item = $1 AND account_id = $2 AND pending = 1 \
         AND date >= $3 AND date <= $4 ORDER BY date, id LIMIT 200";
    ADD =
        "INSERT INTO suggestions (id, item, kind, from_id, to_id, reason, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (from_id, to_id) DO NOTHING";
    LIST =
        "SELECT id, item, kind, from_id, to_id, reason, created_at, resolution, resolved_at \
         FROM suggestions WHERE (CAST($1 AS TEXT) IS NULL OR item = $1) \
         AND (CAST($2 AS TEXT) IS NULL OR id > $2) \
         AND (CAST($3 AS BIGINT) = 1 OR resolution IS NULL) ORDER BY id LIMIT $4";
    GET =
        "SELECT id, item, kind, from_id, to_id, reason, created_at, resolution, resolved_at \
         FROM suggestions WHERE id = $1 /* lock */";
    RESOLVE =
        "UPDATE suggestions SET resolution = $2, resolved_at = $3 \
         WHERE id = $1 AND resolution IS NULL";
    /// Others that speak of an event that has found its pair.
    MOOT =
        "UPDATE suggestions SET resolution = 'moot', resolved_at = $3 \
         WHERE resolution IS NULL AND (from_id = $1 OR to_id = $2)";
}

/// A pending row is rarely older than this when it posts: Plaid speaks of up to 14 days.
const LONGEST_PENDING_DAYS: i64 = 14;
/// A tip or a final bill differs from the authorised amount by up to this many hundredths.
const AMOUNT_DIFFERENCE_PERCENT: i64 = 40;

/// Two events that may be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// Our id.
    pub id: SuggestionId,
    /// The Item it is about.
    pub item: ItemKey,
    /// `posting`: a pending row and the posted one; `relink`: a row known from before and one of the
    /// bank linked anew.
    pub kind: String,
    /// Our id of the earlier event.
    pub from_id: String,
    /// Our id of the later one.
    pub to_id: String,
    /// Why they may be one.
    pub reason: String,
    /// When it was found.
    pub created_at: Timestamp,
    /// `accepted`, `dismissed`, or `moot` when another one settled it.
    pub resolution: Option<String>,
    /// When it was settled.
    pub resolved_at: Option<Timestamp>,
}

/// What became of a wish to settle a suggestion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Done.
    Yes,
    /// It was settled before.
    Before,
    /// The events have changed so that they cannot be joined any more.
    Outdated,
    /// There is no such suggestion.
    Unknown,
}

/// Looks for the pending twin of a posted row that Plaid names none for, within a larger write.
pub(crate) async fn suggest_postings(
    connection: &mut Connected,
    item: &str,
    posted: &[Transaction],
    ambient: &Ambient,
) -> Result<(), Error> {
    for row in posted {
        let earliest = row.date.saturating_sub(LONGEST_PENDING_DAYS.days()).to_string();
        let near = sqlx::query(PENDING_NEAR)
            .bind(item.to_owned())
            .bind(row.account_id.clone())
            .bind(earliest)
            .bind(row.date.saturating_add(1.day()).to_string());
        for found in near.fetch_all(&mut *connection).await? {
            let (id, body): (String, String) = (found.try_get("id")?, found.try_get("body")?);
            let pending: Transaction =
                serde_json::from_str(&body).map_err(|_| Error::corrupt("a transaction"))?;
            if let Some(reason) = likeness(&pending, row) {
                if trial::has_bug("silent_merge") {
                    let mut feed = FeedWriter::open(connection, item).await?;
                    take_over(connection, &mut feed, &id, &row.id, ambient.now()).await?;
                    feed.close(connection).await?;
                    break;
                }
                add(connection, item, ("posting", &id, &row.id), &reason, ambient).await?;
            }
        }
    }
    Ok(())
}

/// Adds a suggestion within a larger write; one that is known is left as it is.
pub(crate) async fn add(
    connection: &mut Connected,
    item: &str,
    (kind, from, to): (&'static str, &str, &str),
    reason: &str,
    ambient: &Ambient,
) -> Result<(), Error> {
    sqlx::query(ADD)
        .bind(SuggestionId::generate(ambient).to_string())
        .bind(item.to_owned())
        .bind(kind)
        .bind(from.to_owned())
        .bind(to.to_owned())
        .bind(reason.to_owned())
        .bind(ambient.now().as_microsecond())
        .execute(connection)
        .await?;
    Ok(())
}

/// Why a pending row may have become a posted one, if it may.
fn likeness(pending: &Transaction, posted: &Transaction) -> Option<String> {
    if pending.currency != posted.currency || pending.direction != posted.direction {
        return None;
    }
    let (before, after) = (minor_units(&pending.amount), minor_units(&posted.amount));
    let same_name = plain_name(pending) == plain_name(posted);
    let near = before.abs_diff(after).saturating_mul(100)
        <= before.unsigned_abs().saturating_mul(AMOUNT_DIFFERENCE_PERCENT.unsigned_abs());
    let days = posted.date.since(pending.date).map_or(0, |span| span.get_days());
    match (before == after, same_name) {
        (true, true) => Some(format!("same amount and name, {days} days apart")),
        (true, false) => Some(format!("same amount, other name, {days} days apart")),
        (false, true) if near => {
            let (from, to) = (&pending.amount, &posted.amount);
            Some(format!("same name, {from} became {to}, {days} days apart"))
        }
        _ => None,
    }
}

/// The merchant or the bank's text, without what banks vary.
pub(crate) fn plain_name(row: &Transaction) -> String {
    let name = row.merchant_name.as_ref().unwrap_or(&row.name);
    name.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect()
}

impl Store {
    /// Suggestions in the order they were found, behind one; settled ones only if wanted.
    pub async fn suggestions(
        &self,
        item: Option<&ItemKey>,
        with_settled: bool,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Suggestion>, Error> {
        let list = sqlx::query(LIST)
            .bind(item.map(ToString::to_string))
            .bind(after.map(str::to_owned))
            .bind(i64::from(with_settled))
            .bind(limit);
        self.db.fetch_all(list).await?.iter().map(read).collect()
    }

    /// One suggestion.
    pub async fn suggestion(&self, id: &str) -> Result<Option<Suggestion>, Error> {
        let get = sqlx::query(GET).bind(id.to_owned());
        self.db.fetch_optional(get).await?.as_ref().map(read).transpose()
    }

    /// Joins the two events, or leaves them as they are, for good.
    pub async fn settle_suggestion(&self, id: &str, accept: bool) -> Result<Settled, Error> {
        let (id, ambient) = (id.to_owned(), self.ambient.clone());
        let settled = self
            .db
            .write(move |connection| {
                Box::pin(async move { settle(connection, &id, accept, &ambient).await })
            })
            .await?;
        self.news.announce_work();
        Ok(settled)
    }
}

async fn settle(
    connection: &mut Connected,
    id: &str,
    accept: bool,
    ambient: &Ambient,
) -> Result<Settled, Error> {
    let get = sqlx::query(dialect::text(connection, GET)).bind(id.to_owned());
    let Some(row) = get.fetch_optional(&mut *connection).await? else {
        return Ok(Settled::Unknown);
    };
    let suggestion = read(&row)?;
    if suggestion.resolution.is_some() {
        return Ok(Settled::Before);
    }
    let now = ambient.now();
    if accept {
        let mut feed = FeedWriter::open(connection, suggestion.item.as_str()).await?;
        let (from, to) = (&suggestion.from_id, &suggestion.to_id);
        if !take_over(connection, &mut feed, from, to, now).await? {
            let moot = sqlx::query(RESOLVE).bind(id.to_owned()).bind("moot");
            moot.bind(now.as_microsecond()).execute(&mut *connection).await?;
            return Ok(Settled::Outdated);
        }
        let end_user = feed.end_user_key.clone();
        feed.close(connection).await?;
        enrichments::want_by_person(connection, &end_user).await?;
    }
    let resolution = if accept { "accepted" } else { "dismissed" };
    let resolve = sqlx::query(RESOLVE).bind(id.to_owned()).bind(resolution);
    resolve.bind(now.as_microsecond()).execute(&mut *connection).await?;
    if accept {
        let moot = sqlx::query(MOOT).bind(suggestion.from_id).bind(suggestion.to_id);
        moot.bind(now.as_microsecond()).execute(connection).await?;
    }
    Ok(Settled::Yes)
}

fn read(row: &AnyRow) -> Result<Suggestion, Error> {
    Ok(Suggestion {
        id: parsed(row, "id")?,
        item: parsed(row, "item")?,
        kind: row.try_get("kind")?,
        from_id: row.try_get("from_id")?,
        to_id: row.try_get("to_id")?,
        reason: row.try_get("reason")?,
        created_at: instant(row.try_get("created_at")?)?,
        resolution: row.try_get("resolution")?,
        resolved_at: optional_instant(row.try_get("resolved_at")?)?,
    })
}
