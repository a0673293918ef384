//! Calls to Plaid by day and endpoint, for the bill.

use jiff::civil::Date;
use model::IntegrationId;
use sqlx::Row;

use crate::Store;
use crate::error::Error;
use crate::statement::declare;

declare! {
    ADD =
        "INSERT INTO plaid_usage (integration_id, day, path, made, failed) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (integration_id, day, path) DO UPDATE SET \
            made = plaid_usage.made + excluded.made, failed = plaid_usage.failed + excluded.failed";
    OF_INTEGRATION =
        "SELECT day, path, made, failed FROM plaid_usage \
         WHERE integration_id = $1 AND day >= $2 AND day <= $3 ORDER BY day, path";
}

/// Calls of one endpoint on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The day, in UTC.
    pub day: Date,
    /// The endpoint.
    pub path: String,
    /// Calls made.
    pub made: i64,
    /// Those among them that failed.
    pub failed: i64,
}

impl Store {
    /// Adds calls that were made today.
    pub async fn add_usage(
        &self,
        integration: &str,
        path: &str,
        made: i64,
        failed: i64,
    ) -> Result<(), Error> {
        let day = self.ambient.now().to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
        let (integration, path) = (integration.to_owned(), path.to_owned());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(ADD)
                        .bind(integration)
                        .bind(day)
                        .bind(path)
                        .bind(made)
                        .bind(failed)
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Calls of an integration from one day to another, both included.
    pub async fn usage(
        &self,
        integration: &IntegrationId,
        (from, to): (Date, Date),
    ) -> Result<Vec<Usage>, Error> {
        let list = sqlx::query(OF_INTEGRATION)
            .bind(integration.to_string())
            .bind(from.to_string())
            .bind(to.to_string());
        let rows = self.db.fetch_all(list).await?;
        rows.iter()
            .map(|row| {
                let day: String = row.try_get("day")?;
                Ok(Usage {
                    day: day.parse().map_err(|_| Error::corrupt("a date"))?,
                    path: row.try_get("path")?,
                    made: row.try_get("made")?,
                    failed: row.try_get("failed")?,
                })
            })
            .collect()
    }
}
