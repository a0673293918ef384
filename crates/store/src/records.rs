//! Records of every stream but transactions: current version here, older ones in `superseded`.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use model::{Account, Balance, ChangeKind, EndUserId, Page, Staged, Stream};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use sqlx::Row;

use crate::Store;
use crate::batch::LookUp;
use crate::db::Connected;
use crate::error::Error;
use crate::feed_writer::FeedWriter;
use crate::statement::declare;

declare! {
    INSERT =
        "INSERT INTO records (item, stream, record_id, integration_id, end_user_key, removed, \
            version, updated_at, body, raw) VALUES ($1, $2, $3, $4, $5, 0, 1, $6, $7, $8)";
    UPDATE =
        "UPDATE records SET removed = 0, version = $4, updated_at = $5, body = $6, raw = $7 \
         WHERE item = $1 AND stream = $2 AND record_id = $3";
    OF_END_USER =
        "SELECT body FROM records WHERE end_user_key = $1 AND stream = $2 AND removed = 0 \
         AND (CAST($3 AS TEXT) IS NULL OR record_id > $3) ORDER BY record_id LIMIT $4";
}

pub(crate) static FIND_ACCOUNTS: LazyLock<LookUp> = LazyLock::new(|| {
    LookUp::new(
        "SELECT record_id, version, removed, body FROM records \
         WHERE stream = 'accounts' AND item = $1 AND record_id",
    )
});

pub(crate) static FIND_BALANCES: LazyLock<LookUp> = LazyLock::new(|| {
    LookUp::new(
        "SELECT record_id, version, removed, body FROM records \
         WHERE stream = 'balances' AND item = $1 AND record_id",
    )
});

struct Known {
    version: i64,
    removed: bool,
    body: String,
}

/// A record that arrived.
struct Arrival<'a> {
    stream: Stream,
    record_id: &'a str,
    body: String,
    raw: &'a str,
}

/// Writes the accounts and balances of a page that differ from what is stored.
pub(crate) async fn apply(
    connection: &mut Connected,
    feed: &mut FeedWriter,
    page: &Page,
    now: Timestamp,
) -> Result<(), Error> {
    if page.accounts.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = page.accounts.iter().map(|a| a.record.account_id.as_str()).collect();
    let accounts = known(FIND_ACCOUNTS.run(connection, &feed.item, &ids).await?)?;
    for Staged { record, raw } in &page.accounts {
        let body = json(record)?;
        let before = accounts.get(&record.account_id);
        if before.is_none_or(|known| known.removed || known.body != body) {
            let stream = Stream::Accounts;
            let arrival = Arrival { stream, record_id: &record.account_id, body, raw };
            write(connection, feed, before, arrival, now).await?;
        }
    }
    let balances = known(FIND_BALANCES.run(connection, &feed.item, &ids).await?)?;
    for balance in &page.balances {
        let before = balances.get(&balance.account_id);
        if before.is_none_or(|known| known.removed || reads_differently(&known.body, balance)) {
            let (stream, body) = (Stream::Balances, json(balance)?);
            let arrival = Arrival { stream, record_id: &balance.account_id, body, raw: "" };
            write(connection, feed, before, arrival, now).await?;
        }
    }
    Ok(())
}

/// A reading that says the same as the last one is no change.
fn reads_differently(known: &str, new: &Balance) -> bool {
    serde_json::from_str::<Balance>(known).map_or(true, |known| !known.same_reading(new))
}

async fn write(
    connection: &mut Connected,
    feed: &mut FeedWriter,
    before: Option<&Known>,
    arrival: Arrival<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let Arrival { stream, record_id, body, raw } = arrival;
    let query = match before {
        None => sqlx::query(INSERT)
            .bind(feed.item.clone())
            .bind(stream.as_str())
            .bind(record_id.to_owned())
            .bind(feed.integration_id.clone())
            .bind(feed.end_user_key.clone())
            .bind(now.as_microsecond()),
        Some(known) => sqlx::query(UPDATE)
            .bind(feed.item.clone())
            .bind(stream.as_str())
            .bind(record_id.to_owned())
            .bind(known.version + 1)
            .bind(now.as_microsecond()),
    };
    query.bind(body).bind(raw.to_owned()).execute(&mut *connection).await?;
    let kind = match before {
        Some(known) if !known.removed => ChangeKind::Modified,
        _ => ChangeKind::Added,
    };
    if let Some(known) = before {
        feed.supersede(stream, record_id, known.version, known.body.clone());
    }
    feed.change(stream, record_id, before.map_or(1, |known| known.version + 1), kind);
    Ok(())
}

fn known(rows: Vec<sqlx::any::AnyRow>) -> Result<HashMap<String, Known>, Error> {
    let entry = |row: sqlx::any::AnyRow| {
        let removed: i64 = row.try_get("removed")?;
        let known = Known {
            version: row.try_get("version")?,
            removed: removed != 0,
            body: row.try_get("body")?,
        };
        Ok((row.try_get("record_id")?, known))
    };
    rows.into_iter().map(entry).collect()
}

impl Store {
    /// Accounts of an end user, by account id, after the given one.
    pub async fn accounts(
        &self,
        end_user: &EndUserId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Account>, Error> {
        self.records(Stream::Accounts, end_user, after, limit).await
    }

    /// Latest balances of an end user's accounts, by account id, after the given one.
    pub async fn balances(
        &self,
        end_user: &EndUserId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Balance>, Error> {
        self.records(Stream::Balances, end_user, after, limit).await
    }

    async fn records<T: DeserializeOwned>(
        &self,
        stream: Stream,
        end_user: &EndUserId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<T>, Error> {
        let list = sqlx::query(OF_END_USER)
            .bind(end_user.to_string())
            .bind(stream.as_str())
            .bind(after.map(str::to_owned))
            .bind(limit);
        let rows = list.fetch_all(self.db.readers()).await?;
        rows.iter()
            .map(|row| {
                let body: String = row.try_get("body")?;
                serde_json::from_str(&body).map_err(|_| Error::corrupt("a record"))
            })
            .collect()
    }
}

/// A record as stored.
pub(crate) fn json(record: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(record).map_err(|_| Error::corrupt("a record"))
}

/// The ids that remain of a removed record.
pub(crate) fn remains(body: &str, keys: &[&str]) -> Result<Json, Error> {
    let body: Json = serde_json::from_str(body).map_err(|_| Error::corrupt("a record"))?;
    Ok(keys.iter().filter_map(|key| Some(((*key).to_owned(), body.get(*key)?.clone()))).collect())
}
