//! Pages of an update that is not complete: kept so that a crash costs nothing but time, seen by
//! nobody.

use model::{ItemKey, Page};
use sqlx::Row;

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::statement::declare;

declare! {
    STAGE =
        "INSERT INTO staged_pages (item, attempt, page, body) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (item, attempt, page) DO UPDATE SET body = excluded.body";
    READ = "SELECT body FROM staged_pages WHERE item = $1 AND attempt = $2 AND page = $3";
    DISCARD = "DELETE FROM staged_pages WHERE item = $1";
}

impl Store {
    /// Keeps one page of an attempt at an update.
    pub async fn stage_page(
        &self,
        item: &ItemKey,
        attempt: u32,
        number: u32,
        page: &Page,
    ) -> Result<(), Error> {
        let body = serde_json::to_string(page).map_err(|_| Error::corrupt("a page"))?;
        let item = item.to_string();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(STAGE)
                        .bind(item)
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

    /// Drops whatever an earlier attempt left.
    pub async fn discard_staged(&self, item: &ItemKey) -> Result<(), Error> {
        let item = item.to_string();
        self.db
            .write(move |connection| Box::pin(async move { discard(connection, &item).await }))
            .await
    }
}

/// Reads a staged page within the write that applies it.
pub(crate) async fn read(
    connection: &mut Connected,
    item: &str,
    attempt: u32,
    number: u32,
) -> Result<Page, Error> {
    let read =
        sqlx::query(READ).bind(item.to_owned()).bind(i64::from(attempt)).bind(i64::from(number));
    let body: String = read.fetch_one(connection).await?.try_get(0)?;
    serde_json::from_str(&body).map_err(|_| Error::corrupt("a staged page"))
}

/// Drops all staged pages of an item within a larger write.
pub(crate) async fn discard(connection: &mut Connected, item: &str) -> Result<(), Error> {
    sqlx::query(DISCARD).bind(item.to_owned()).execute(connection).await?;
    Ok(())
}
