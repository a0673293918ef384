//! Records on their way to destinations, as stored text that nobody parses here: everything there is,
//! end user by end user, or every change in the order of the feed.

use std::collections::HashMap;

use jiff::civil::Date;
use model::{ChangeKind, EndUserId, IntegrationId, Stream};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Store;
use crate::error::Error;
use crate::records::{RecordSeal, Version};
use crate::seal::DataKey;
use crate::statement::declare;

declare! {
    TRANSACTIONS =
        "SELECT id AS record_id, item, version, body, id AS first, '' AS second, \
            CAST(NULL AS TEXT) AS account, CASE WHEN $6 = 1 THEN raw END AS raw FROM transactions \
         WHERE end_user_key = $1 AND removed = 0 AND date >= $2 AND id > $3 AND $4 = '' \
         ORDER BY id LIMIT $5";
    RECORDS =
        "SELECT r.record_id, r.item, r.version, r.body, r.record_id AS first, r.item AS second, \
            a.body AS account, CAST(NULL AS TEXT) AS raw FROM records r \
         LEFT JOIN records a ON r.stream = 'balances' AND a.item = r.item \
            AND a.stream = 'accounts' AND a.record_id = r.record_id \
         WHERE r.end_user_key = $1 AND r.stream = $2 AND r.removed = 0 \
            AND (r.record_id, r.item) > ($3, $4) ORDER BY r.record_id, r.item LIMIT $5";
    CHANGES =
        "SELECT c.seq, c.kind, c.record_id, c.item, c.version, c.end_user_key, \
            COALESCE(s.body, t.body, r.body) AS body, a.body AS account \
         FROM changes c \
         LEFT JOIN superseded s ON s.item = c.item AND s.stream = c.stream \
            AND s.record_id = c.record_id AND s.version = c.version \
         LEFT JOIN transactions t ON c.stream = 'transactions' AND t.id = c.record_id \
         LEFT JOIN records r ON r.item = c.item AND r.stream = c.stream \
            AND r.record_id = c.record_id \
         LEFT JOIN records a ON c.stream = 'balances' AND a.item = c.item \
            AND a.stream = 'accounts' AND a.record_id = c.record_id \
         WHERE c.seq > $1 AND c.seq <= $2 AND c.integration_id = $3 AND c.stream = $4 \
         ORDER BY c.seq LIMIT $5";
    COUNT_END_USERS = "SELECT COUNT(*) FROM end_users WHERE integration_id = $1";
    COUNT_TRANSACTIONS =
        "SELECT COUNT(*) FROM transactions WHERE removed = 0 AND end_user_key IN \
            (SELECT id FROM end_users WHERE integration_id = $1)";
    COUNT_RECORDS =
        "SELECT COUNT(*) FROM records WHERE stream = $2 AND removed = 0 AND end_user_key IN \
            (SELECT id FROM end_users WHERE integration_id = $1)";
}

/// A record as stored.
#[derive(Debug, Clone)]
pub struct Extracted {
    /// Our id of its end user.
    pub end_user_key: String,
    /// What happened; of a record that is simply there, that it was added.
    pub kind: ChangeKind,
    /// Place in the feed; 0 of a record that is simply there.
    pub seq: i64,
    /// The record as JSON; of a removed one at least its key.
    pub body: String,
    /// Of a balance, its account.
    pub account: Option<String>,
    /// Plaid's bytes, where they were asked for.
    pub raw: Option<String>,
    /// Where the reading goes on.
    pub place: Place,
}

/// Where the reading of an end user's records goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Record.
    pub first: String,
    /// Item, where Items may have a record of the same name.
    pub second: String,
}

/// What to read of everything there is.
#[derive(Debug, Clone, Copy)]
pub struct Extract<'a> {
    /// Whose.
    pub integration: &'a IntegrationId,
    /// Of which end user.
    pub end_user: &'a EndUserId,
    /// Which stream.
    pub stream: Stream,
    /// Only transactions from this date on.
    pub since: Option<Date>,
    /// Whether Plaid's bytes of transactions come along.
    pub with_raw: bool,
}

impl Store {
    /// Records that are there, behind a place, in a fixed order.
    pub async fn extract(
        &self,
        what: &Extract<'_>,
        after: &Place,
        limit: i64,
    ) -> Result<Vec<Extracted>, Error> {
        let second = match what.stream {
            Stream::Transactions => what.since.map_or(String::new(), |date| date.to_string()),
            stream => stream.as_str().to_owned(),
        };
        let sql = match what.stream {
            Stream::Transactions => TRANSACTIONS,
            _ => RECORDS,
        };
        let mut query = sqlx::query(sql)
            .bind(what.end_user.to_string())
            .bind(second)
            .bind(after.first.clone())
            .bind(after.second.clone())
            .bind(limit);
        if what.stream == Stream::Transactions {
            query = query.bind(i64::from(what.with_raw));
        }
        let rows = self.db.fetch_all(query).await?;
        let key = self.stream_key(what.integration, what.stream).await?;
        let seal = RecordSeal { key: key.as_ref(), integration: what.integration.as_str() };
        rows.iter()
            .map(|row| {
                Ok(Extracted {
                    end_user_key: what.end_user.to_string(),
                    kind: ChangeKind::Added,
                    seq: 0,
                    body: opened(row, what.stream, ChangeKind::Added, &seal)?,
                    account: row.try_get("account")?,
                    raw: row.try_get("raw")?,
                    place: Place { first: row.try_get("first")?, second: row.try_get("second")? },
                })
            })
            .collect()
    }

    /// Changes of one stream with a number above `after` and up to `last`, in order.
    pub async fn extract_changes(
        &self,
        integration: &IntegrationId,
        stream: Stream,
        (after, last): (i64, i64),
        limit: i64,
    ) -> Result<Vec<Extracted>, Error> {
        let query = sqlx::query(CHANGES)
            .bind(after)
            .bind(last)
            .bind(integration.to_string())
            .bind(stream.as_str())
            .bind(limit);
        let rows = self.db.fetch_all(query).await?;
        let key = self.stream_key(integration, stream).await?;
        let seal = RecordSeal { key: key.as_ref(), integration: integration.as_str() };
        rows.iter()
            .map(|row| {
                let kind: String = row.try_get("kind")?;
                let kind = ChangeKind::from_name(&kind).ok_or(Error::corrupt("a change"))?;
                Ok(Extracted {
                    end_user_key: row.try_get("end_user_key")?,
                    kind,
                    seq: row.try_get("seq")?,
                    body: opened(row, stream, kind, &seal)?,
                    account: row.try_get("account")?,
                    raw: None,
                    place: Place::default(),
                })
            })
            .collect()
    }

    /// How many records of a stream an integration has.
    pub async fn count_records(
        &self,
        integration: &IntegrationId,
        stream: Stream,
    ) -> Result<i64, Error> {
        let query = match stream {
            Stream::Transactions => sqlx::query(COUNT_TRANSACTIONS).bind(integration.to_string()),
            _ => sqlx::query(COUNT_RECORDS).bind(integration.to_string()).bind(stream.as_str()),
        };
        Ok(self.db.fetch_one(query).await?.try_get(0)?)
    }

    /// How many end users an integration has.
    pub async fn count_end_users(&self, integration: &IntegrationId) -> Result<i64, Error> {
        let count = sqlx::query(COUNT_END_USERS).bind(integration.to_string());
        Ok(self.db.fetch_one(count).await?.try_get(0)?)
    }

    /// The callers' ids of an integration's end users, by ours.
    pub async fn end_user_ids(
        &self,
        integration: &IntegrationId,
    ) -> Result<HashMap<String, String>, Error> {
        let everybody = self.end_users(Some(integration), None, i64::MAX).await?;
        Ok(everybody.into_iter().map(|user| (user.id.into(), user.end_user_id)).collect())
    }

    async fn stream_key(
        &self,
        integration: &IntegrationId,
        stream: Stream,
    ) -> Result<Option<DataKey>, Error> {
        match stream.declaration().sealed {
            true => self.data_key(integration).await,
            false => Ok(None),
        }
    }
}

fn opened(
    row: &AnyRow,
    stream: Stream,
    kind: ChangeKind,
    seal: &RecordSeal<'_>,
) -> Result<String, Error> {
    let body: String = row.try_get("body")?;
    if kind == ChangeKind::Removed {
        return Ok(body);
    }
    let (item, record_id): (String, String) = (row.try_get("item")?, row.try_get("record_id")?);
    let number = row.try_get("version")?;
    seal.open(&body, Version { item: &item, stream, record_id: &record_id, number })
}
