//! Every balance that was read, with its source and times: what differs from the reading before it,
//! and the first of each day.

use jiff::civil::Date;
use model::{Balance, ItemKey};
use sqlx::Row;

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::records::json;
use crate::statement::declare;

declare! {
    LAST =
        "SELECT fetched_at, day, body FROM balance_readings WHERE item = $1 AND account_id = $2 \
         ORDER BY fetched_at DESC LIMIT 1";
    ADD =
        "INSERT INTO balance_readings (item, account_id, fetched_at, confirmed_at, day, body) \
         VALUES ($1, $2, $3, $3, $4, $5) ON CONFLICT (item, account_id, fetched_at) DO NOTHING";
    CONFIRM =
        "UPDATE balance_readings SET confirmed_at = $4 \
         WHERE item = $1 AND account_id = $2 AND fetched_at = $3";
    OF_ACCOUNT =
        "SELECT fetched_at, confirmed_at, body FROM balance_readings \
         WHERE item = $1 AND account_id = $2 AND day >= $3 AND day <= $4 \
         ORDER BY fetched_at LIMIT $5";
    FORGET = "DELETE FROM balance_readings WHERE item = $1";
}

/// A balance that was read, once or several times on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceReading {
    /// The reading, as it was the first time.
    pub balance: Balance,
    /// When the same was last read again.
    pub confirmed_at: jiff::Timestamp,
}

/// Keeps a reading within a larger write.
pub(crate) async fn keep(
    connection: &mut Connected,
    item: &str,
    balance: &Balance,
) -> Result<(), Error> {
    let day = balance.fetched_at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
    let at = balance.fetched_at.as_microsecond();
    let account_id = balance.account_id.clone();
    let last = sqlx::query(LAST).bind(item.to_owned()).bind(account_id.clone());
    if let Some(row) = last.fetch_optional(&mut *connection).await? {
        let (last_day, body): (String, String) = (row.try_get("day")?, row.try_get("body")?);
        let known: Balance =
            serde_json::from_str(&body).map_err(|_| Error::corrupt("a balance reading"))?;
        if last_day == day && known.same_reading(balance) && known.source == balance.source {
            let first: i64 = row.try_get("fetched_at")?;
            let confirm = sqlx::query(CONFIRM).bind(item.to_owned()).bind(account_id);
            confirm.bind(first).bind(at).execute(connection).await?;
            return Ok(());
        }
    }
    let add = sqlx::query(ADD).bind(item.to_owned()).bind(account_id).bind(at).bind(day);
    add.bind(json(balance)?).execute(connection).await?;
    Ok(())
}

/// Forgets the readings of an Item.
pub(crate) async fn forget(connection: &mut Connected, item: &str) -> Result<(), Error> {
    sqlx::query(FORGET).bind(item.to_owned()).execute(connection).await?;
    Ok(())
}

impl Store {
    /// Readings of an account from one day to another, both included, oldest first.
    pub async fn balance_readings(
        &self,
        item: &ItemKey,
        account_id: &str,
        (from, to): (Date, Date),
        limit: i64,
    ) -> Result<Vec<BalanceReading>, Error> {
        let list = sqlx::query(OF_ACCOUNT)
            .bind(item.to_string())
            .bind(account_id.to_owned())
            .bind(from.to_string())
            .bind(to.to_string())
            .bind(limit);
        let rows = self.db.fetch_all(list).await?;
        rows.iter()
            .map(|row| {
                let body: String = row.try_get("body")?;
                let balance =
                    serde_json::from_str(&body).map_err(|_| Error::corrupt("a balance reading"))?;
                let confirmed_at = crate::work::instant(row.try_get("confirmed_at")?)?;
                Ok(BalanceReading { balance, confirmed_at })
            })
            .collect()
    }
}
