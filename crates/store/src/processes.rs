//! Processes that work on this database, so that each knows its share of what Plaid allows.

use jiff::SignedDuration;
use sqlx::Row;

use crate::Store;
use crate::error::Error;
use crate::statement::declare;

declare! {
    SEEN =
        "INSERT INTO processes (id, started_at, seen_at) VALUES ($1, $2, $2) \
         ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at";
    FORGET_OLDER = "DELETE FROM processes WHERE seen_at < $1";
    COUNT = "SELECT COUNT(*) FROM processes WHERE seen_at >= $1";
    GONE = "DELETE FROM processes WHERE id = $1";
}

/// A process that has given no sign for so long is gone: three signs were missed.
const GONE_AFTER: SignedDuration = SignedDuration::from_secs(15);

impl Store {
    /// Gives a sign of life. Returns how many processes live, this one included.
    pub async fn live_processes(&self, own: &str) -> Result<u32, Error> {
        let (own, now) = (own.to_owned(), self.ambient.now());
        let oldest = now.saturating_sub(GONE_AFTER).unwrap_or(now).as_microsecond();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let seen = sqlx::query(SEEN).bind(own).bind(now.as_microsecond());
                    seen.execute(&mut *connection).await?;
                    sqlx::query(FORGET_OLDER).bind(oldest).execute(&mut *connection).await?;
                    let count = sqlx::query(COUNT).bind(oldest).fetch_one(connection).await?;
                    let count: i64 = count.try_get(0)?;
                    Ok(u32::try_from(count).unwrap_or(u32::MAX).max(1))
                })
            })
            .await
    }

    /// A process has ended; its share goes to the others.
    pub async fn process_gone(&self, own: &str) -> Result<(), Error> {
        let own = own.to_owned();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(GONE).bind(own).execute(connection).await?;
                    Ok(())
                })
            })
            .await
    }
}
