//! Pages of an update that is not complete: kept so that a crash costs nothing but time, seen by
//! nobody.

use model::Page;
use sqlx::Row;

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::statement::declare;
use crate::work::{self, Lease};

declare! {
    STAGE =
        "INSERT INTO staged_pages (item, fence, attempt, page, body) VALUES ($1, $2, $3, $4, $5)";
    READ =
        "SELECT body FROM staged_pages WHERE item = $1 AND fence = $2 AND attempt = $3 AND page = $4";
    /// What this claim's earlier attempts and all earlier claims left.
    DISCARD_EARLIER =
        "DELETE FROM staged_pages WHERE item = $1 \
         AND (fence < $2 OR (fence = $2 AND attempt < $3))";
}

impl Store {
    /// Keeps one page of an attempt under a claim. The first page of an attempt drops whatever
    /// earlier attempts and claims left; a worker whose lease was lost cannot touch a later claim's.
    pub async fn stage_page(
        &self,
        lease: &Lease,
        attempt: u32,
        number: u32,
        page: &Page,
    ) -> Result<(), Error> {
        let body = serde_json::to_string(page).map_err(|_| Error::corrupt("a page"))?;
        let lease = lease.clone();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    if number == 0 {
                        discard_earlier(connection, &lease, attempt).await?;
                    }
                    // Whoever slept past the lease leaves nothing behind.
                    work::hold(connection, &lease).await?;
                    sqlx::query(STAGE)
                        .bind(lease.subject)
                        .bind(lease.fence)
                        .bind(i64::from(attempt))
                        .bind(i64::from(number))
                        .bind(body)
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }
}

/// Reads a staged page within the write that applies it.
pub(crate) async fn read(
    connection: &mut Connected,
    lease: &Lease,
    attempt: u32,
    number: u32,
) -> Result<Page, Error> {
    let read = sqlx::query(READ)
        .bind(lease.subject.clone())
        .bind(lease.fence)
        .bind(i64::from(attempt))
        .bind(i64::from(number));
    let body: String = read.fetch_one(connection).await?.try_get(0)?;
    serde_json::from_str(&body).map_err(|_| Error::corrupt("a staged page"))
}

/// Drops what stands before an attempt of a claim.
pub(crate) async fn discard_earlier(
    connection: &mut Connected,
    lease: &Lease,
    attempt: u32,
) -> Result<(), Error> {
    let discard = sqlx::query(DISCARD_EARLIER).bind(lease.subject.clone()).bind(lease.fence);
    discard.bind(i64::from(attempt)).execute(connection).await?;
    Ok(())
}
