//! What is known of each stream of an Item that is read on its own: whether it has the product, when
//! it was read, when it is due again.

use jiff::{SignedDuration, Timestamp};
use model::{ItemKey, Snapshot, Stream};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::statement::declare;
use crate::work::{instant, optional_instant};

declare! {
    OF_ITEM =
        "SELECT stream, state, detail, due_at, failures, last_attempt_at, last_success_at \
         FROM item_streams WHERE item = $1 ORDER BY stream";
    NOTE =
        "INSERT INTO item_streams (item, stream, state, detail, due_at, failures, \
            last_attempt_at, last_success_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (item, stream) DO UPDATE SET state = excluded.state, \
            detail = excluded.detail, due_at = excluded.due_at, \
            failures = CASE WHEN excluded.failures = 0 THEN 0 ELSE item_streams.failures + 1 END, \
            last_attempt_at = excluded.last_attempt_at, \
            last_success_at = COALESCE(excluded.last_success_at, item_streams.last_success_at)";
    MAKE_DUE = "UPDATE item_streams SET due_at = 0 WHERE item = $1 AND stream = $2";
    MAKE_ALL_DUE = "UPDATE item_streams SET due_at = 0 WHERE item = $1";
    FORGET = "DELETE FROM item_streams WHERE item = $1";
}

/// A stream that Plaid says an Item lacks is asked for again after this long, in case the product
/// was added elsewhere; an Item that is repaired or linked anew is asked at once.
const ASK_AGAIN: SignedDuration = SignedDuration::from_hours(24 * 30);
/// First and longest pause after a failure.
const RETRY: (SignedDuration, SignedDuration) =
    (SignedDuration::from_mins(5), SignedDuration::from_hours(24));
const MOST_DOUBLINGS: i64 = 10;
/// First and longest pause while Plaid is still preparing a product.
const PREPARING: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(30), SignedDuration::from_hours(6));

/// What is known of one stream of an Item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    /// Which stream.
    pub stream: Stream,
    /// `available`, `waiting` (Plaid prepares it), `lacking` or `failing`.
    pub state: String,
    /// Why, in words.
    pub detail: Option<String>,
    /// When it is read again.
    pub due_at: Timestamp,
    /// Failures in a row.
    pub failures: i64,
    /// When it was last tried.
    pub last_attempt_at: Option<Timestamp>,
    /// When it was last read.
    pub last_success_at: Option<Timestamp>,
}

/// How the reading of a stream went.
#[derive(Debug, Clone)]
pub enum Reading {
    /// Read.
    Read(Snapshot),
    /// The Item has no such product.
    Lacking {
        /// Which stream.
        stream: Stream,
        /// Plaid's words.
        why: String,
    },
    /// Plaid is still preparing it.
    Preparing {
        /// Which stream.
        stream: Stream,
        /// Plaid's words.
        why: String,
        /// Answers of this kind in a row before this one.
        failures: i64,
    },
    /// It failed and will be tried again.
    Failed {
        /// Which stream.
        stream: Stream,
        /// Why.
        why: String,
        /// Failures in a row before this one.
        failures: i64,
    },
}

impl Reading {
    /// Which stream was read.
    pub fn stream(&self) -> Stream {
        match self {
            Self::Read(snapshot) => snapshot.stream,
            Self::Lacking { stream, .. }
            | Self::Preparing { stream, .. }
            | Self::Failed { stream, .. } => *stream,
        }
    }
}

/// Notes how a reading went within the write that applies it. Gives the time of the next try, if it
/// must be tried again.
pub(crate) async fn note(
    connection: &mut Connected,
    item: &str,
    reading: &Reading,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let stream = reading.stream();
    let (state, detail, pause, again) = match reading {
        Reading::Read(_) => ("available", None, stream.declaration().every, false),
        Reading::Lacking { why, .. } => ("lacking", Some(why), ASK_AGAIN, false),
        Reading::Preparing { why, failures, .. } => {
            ("waiting", Some(why), grown(PREPARING, *failures), true)
        }
        Reading::Failed { why, failures, .. } => {
            ("failing", Some(why), grown(RETRY, *failures), true)
        }
    };
    let succeeded = matches!(reading, Reading::Read(_)).then_some(now);
    let due = now.saturating_add(pause).unwrap_or(now);
    sqlx::query(NOTE)
        .bind(item.to_owned())
        .bind(stream.as_str())
        .bind(state)
        .bind(detail.cloned())
        .bind(due.as_microsecond())
        .bind(i64::from(again))
        .bind(now.as_microsecond())
        .bind(succeeded.map(Timestamp::as_microsecond))
        .execute(connection)
        .await?;
    Ok(again.then_some(due))
}

/// A pause that doubles with every failure.
fn grown((first, longest): (SignedDuration, SignedDuration), failures: i64) -> SignedDuration {
    let doublings = failures.clamp(0, MOST_DOUBLINGS);
    first.checked_mul(1 << doublings).unwrap_or(longest).min(longest)
}

/// Makes streams due because a webhook has news of them.
pub(crate) async fn make_due(
    connection: &mut Connected,
    item: &str,
    streams: &[Stream],
) -> Result<(), Error> {
    for stream in streams {
        let due = sqlx::query(MAKE_DUE).bind(item.to_owned()).bind(stream.as_str());
        due.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Makes every stream of an Item due, because it was repaired or a person asks.
pub(crate) async fn make_all_due(connection: &mut Connected, item: &str) -> Result<(), Error> {
    sqlx::query(MAKE_ALL_DUE).bind(item.to_owned()).execute(connection).await?;
    Ok(())
}

impl Store {
    /// What is known of the streams of an Item that were ever read on their own.
    pub async fn stream_states(&self, item: &ItemKey) -> Result<Vec<StreamState>, Error> {
        let list = sqlx::query(OF_ITEM).bind(item.to_string());
        self.db.fetch_all(list).await?.iter().map(read).collect()
    }
}

fn read(row: &AnyRow) -> Result<StreamState, Error> {
    let stream: String = row.try_get("stream")?;
    Ok(StreamState {
        stream: Stream::from_name(&stream).ok_or(Error::corrupt("a stream"))?,
        state: row.try_get("state")?,
        detail: row.try_get("detail")?,
        due_at: instant(row.try_get("due_at")?)?,
        failures: row.try_get("failures")?,
        last_attempt_at: optional_instant(row.try_get("last_attempt_at")?)?,
        last_success_at: optional_instant(row.try_get("last_success_at")?)?,
    })
}
