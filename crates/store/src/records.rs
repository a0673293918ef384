//! Records of every stream but transactions: current version here, older ones in `superseded`.
//! Streams with account numbers or identity are sealed in both.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use model::{
    Account, AccountStatus, Arrival, Balance, BalanceSource, ChangeKind, EndUserId, ItemKey, Page,
    RawRecord, Snapshot, Staged, Stream,
};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Store;
use crate::balance_readings;
use crate::db::Connected;
use crate::error::Error;
use crate::feed_writer::FeedWriter;
use crate::integrations::parsed;
use crate::seal::{DataKey, Place};
use crate::statement::declare;

declare! {
    INSERT =
        "INSERT INTO records (item, stream, record_id, integration_id, end_user_key, removed, \
            version, updated_at, body, raw) VALUES ($1, $2, $3, $4, $5, 0, 1, $6, $7, $8)";
    UPDATE =
        "UPDATE records SET removed = $4, version = $5, updated_at = $6, body = $7, raw = $8 \
         WHERE item = $1 AND stream = $2 AND record_id = $3";
    OF_ITEM_AND_STREAM =
        "SELECT record_id, version, removed, updated_at, body FROM records \
         WHERE item = $1 AND stream = $2";
    ONE =
        "SELECT record_id, version, removed, updated_at, body FROM records \
         WHERE item = $1 AND stream = $2 AND record_id = $3";
    LIVE_OF_ITEM =
        "SELECT stream, record_id, version, updated_at, body FROM records \
         WHERE item = $1 AND removed = 0";
    OF_END_USER =
        "SELECT body FROM records WHERE end_user_key = $1 AND stream = $2 AND removed = 0 \
         AND (CAST($3 AS TEXT) IS NULL OR record_id > $3) ORDER BY record_id LIMIT $4";
    LIST_OF_ITEM =
        "SELECT item, integration_id, record_id, version, body FROM records \
         WHERE item = $1 AND stream = $2 AND removed = 0 \
         AND (CAST($3 AS TEXT) IS NULL OR record_id > $3) ORDER BY record_id LIMIT $4";
}

/// A record as stored, opened.
struct Known {
    version: i64,
    removed: bool,
    /// Microseconds of the Unix epoch.
    updated_at: i64,
    body: String,
    /// The text in the row: sealed where the stream is.
    stored: String,
}

/// Seals and opens records of sealed streams; passes the others through.
pub(crate) struct RecordSeal<'a> {
    pub(crate) key: Option<&'a DataKey>,
    pub(crate) integration: &'a str,
}

/// Which version of which record.
#[derive(Clone, Copy)]
pub(crate) struct Version<'a> {
    pub(crate) item: &'a str,
    pub(crate) stream: Stream,
    pub(crate) record_id: &'a str,
    pub(crate) number: i64,
}

impl RecordSeal<'_> {
    fn seal(&self, text: &str, of: Version<'_>, column: &'static str) -> Result<String, Error> {
        if !of.stream.declaration().sealed {
            return Ok(text.to_owned());
        }
        let key = self.key.ok_or(Error::corrupt("the data key of a sealed stream"))?;
        Ok(key.seal_text(text, self.place(&of.row(), column))?)
    }

    /// Reads the text of a version that is not a tombstone.
    pub(crate) fn open(&self, text: &str, of: Version<'_>) -> Result<String, Error> {
        if !of.stream.declaration().sealed {
            return Ok(text.to_owned());
        }
        let key = self.key.ok_or(Error::corrupt("the data key of a sealed stream"))?;
        let opened = key.open_text(text, self.place(&of.row(), "body"))?;
        Ok(opened.expose_secret().to_owned())
    }

    fn place<'b>(&'b self, row: &'b str, column: &'static str) -> Place<'b> {
        Place { owner: self.integration, table: "records", row, column }
    }
}

impl Version<'_> {
    fn row(&self) -> String {
        format!("{}/{}/{}/{}", self.item, self.stream.as_str(), self.record_id, self.number)
    }
}

/// Writes the accounts and balances of a page that differ from what is stored. A page that has all
/// accounts of the Item also proves which are missing. Plaid was asked for it after `began`.
pub(crate) async fn apply(
    connection: &mut Connected,
    feed: &mut FeedWriter,
    page: &Page,
    has_all_accounts: bool,
    (began, now): (Timestamp, Timestamp),
) -> Result<(), Error> {
    if page.accounts.is_empty() {
        return Ok(());
    }
    let seal = RecordSeal { key: None, integration: "" };
    let accounts = known(connection, &feed.item, Stream::Accounts, &seal).await?;
    let mut told = HashSet::new();
    for Staged { record, raw } in &page.accounts {
        // A page that tells of an account twice says it once.
        if !told.insert(record.account_id.as_str()) {
            continue;
        }
        if let Some(known) = accounts.get(&record.account_id)
            && !known.removed
            && known.updated_at >= began.as_microsecond()
            && read::<Account>(&known.body)?.status == AccountStatus::Revoked
        {
            // The end user withdrew it while the bank was being read.
            continue;
        }
        let arrival =
            Arrival { record_id: record.account_id.clone(), body: json(record)?, raw: raw.clone() };
        upsert(connection, feed, Stream::Accounts, &accounts, arrival, &seal, now).await?;
    }
    if has_all_accounts && page.quarantined.is_empty() {
        let untold =
            accounts.iter().filter(|(id, known)| !told.contains(id.as_str()) && !known.removed);
        for (id, known) in untold {
            let account: Account = read(&known.body)?;
            if account.status == AccountStatus::Active {
                let gone = Account { status: AccountStatus::Missing, ..account };
                rewrite_account(connection, feed, (id, known), &gone, now).await?;
            }
        }
    }
    let balances = known(connection, &feed.item, Stream::Balances, &seal).await?;
    let mut seen = HashSet::new();
    for balance in page.balances.iter().filter(|b| seen.insert(b.account_id.clone())) {
        balance_readings::keep(connection, &feed.item, balance).await?;
        let before = balances.get(&balance.account_id);
        if before.is_none_or(|known| known.removed || reads_differently(&known.body, balance)) {
            let arrival = Arrival {
                record_id: balance.account_id.clone(),
                body: json(balance)?,
                raw: String::new(),
            };
            upsert(connection, feed, Stream::Balances, &balances, arrival, &seal, now).await?;
        }
    }
    Ok(())
}

/// Writes what a reading of a stream changed, and what its absence proves gone.
pub(crate) async fn apply_snapshot(
    connection: &mut Connected,
    feed: &mut FeedWriter,
    snapshot: Snapshot,
    seal: &RecordSeal<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let stream = snapshot.stream;
    let before = known(connection, &feed.item, stream, seal).await?;
    let mut told = HashSet::new();
    for arrival in snapshot.records.into_iter().filter(|r| told.insert(r.record_id.clone())) {
        upsert(connection, feed, stream, &before, arrival, seal, now).await?;
    }
    if !snapshot.quarantined.is_empty() {
        return Ok(());
    }
    for (record_id, known) in
        before.iter().filter(|(id, known)| !told.contains(*id) && !known.removed)
    {
        if snapshot.since.is_some_and(|since| date_of(&known.body, stream) < Some(since)) {
            continue;
        }
        remove(connection, feed, stream, (record_id, known), now).await?;
    }
    Ok(())
}

fn date_of(body: &str, stream: Stream) -> Option<jiff::civil::Date> {
    let body: Json = serde_json::from_str(body).ok()?;
    body.get(stream.declaration().cursor_field?)?.as_str()?.parse().ok()
}

/// Marks an account as withdrawn by the end user.
pub(crate) async fn revoke_account(
    connection: &mut Connected,
    item: &str,
    account_id: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let find = sqlx::query(ONE).bind(item.to_owned()).bind(Stream::Accounts.as_str());
    let Some(row) = find.bind(account_id.to_owned()).fetch_optional(&mut *connection).await? else {
        return Ok(());
    };
    let seal = RecordSeal { key: None, integration: "" };
    let (id, known) = known_row(&row, item, Stream::Accounts, &seal)?;
    let account: Account = read(&known.body)?;
    let mut feed = FeedWriter::open(connection, item).await?;
    let revoked = Account { status: AccountStatus::Revoked, ..account };
    rewrite_account(connection, &mut feed, (&id, &known), &revoked, now).await?;
    feed.close(connection).await
}

/// Removes every record of an item that another one replaces.
pub(crate) async fn remove_all(
    connection: &mut Connected,
    item: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let mut feed = FeedWriter::open(connection, item).await?;
    let rows = sqlx::query(LIVE_OF_ITEM).bind(item.to_owned()).fetch_all(&mut *connection).await?;
    for row in rows {
        let (name, id): (String, String) = (row.try_get("stream")?, row.try_get("record_id")?);
        let stream = Stream::from_name(&name).ok_or(Error::corrupt("a stream"))?;
        let stored: String = row.try_get("body")?;
        let (version, updated_at) = (row.try_get("version")?, row.try_get("updated_at")?);
        // What is only put aside need not be opened.
        let known = Known { version, removed: false, updated_at, body: String::new(), stored };
        remove(connection, &mut feed, stream, (&id, &known), now).await?;
    }
    feed.close(connection).await
}

async fn rewrite_account(
    connection: &mut Connected,
    feed: &mut FeedWriter,
    (id, known): (&str, &Known),
    account: &Account,
    now: Timestamp,
) -> Result<(), Error> {
    let body = json(account)?;
    if known.body == body {
        return Ok(());
    }
    let change = Change { stream: Stream::Accounts, record_id: id, kind: ChangeKind::Modified };
    write(connection, feed, change, Some(known), (body, String::new()), now).await
}

/// A reading that says the same as the last one is no change, but for one that somebody asked the bank
/// for: that it was true then is the news.
fn reads_differently(known: &str, new: &Balance) -> bool {
    let differs = |known: Balance| !known.same_reading(new);
    new.source == BalanceSource::RealTime
        || serde_json::from_str::<Balance>(known).map_or(true, differs)
}

async fn upsert(
    connection: &mut Connected,
    feed: &mut FeedWriter,
    stream: Stream,
    before: &HashMap<String, Known>,
    arrival: Arrival,
    seal: &RecordSeal<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let known = before.get(&arrival.record_id);
    if known.is_some_and(|known| !known.removed && known.body == arrival.body) {
        return Ok(());
    }
    let kind = match known {
        Some(known) if !known.removed => ChangeKind::Modified,
        _ => ChangeKind::Added,
    };
    let item = feed.item.clone();
    let record_id = arrival.record_id.as_str();
    let number = known.map_or(1, |known| known.version + 1);
    let version = Version { item: &item, stream, record_id, number };
    let body = seal.seal(&arrival.body, version, "body")?;
    let raw = seal.seal(&arrival.raw, version, "raw")?;
    let change = Change { stream, record_id, kind };
    write(connection, feed, change, known, (body, raw), now).await
}

async fn remove(
    connection: &mut Connected,
    feed: &mut FeedWriter,
    stream: Stream,
    (record_id, known): (&str, &Known),
    now: Timestamp,
) -> Result<(), Error> {
    let tombstone = key_of(stream, &feed.item_id, record_id).to_string();
    let change = Change { stream, record_id, kind: ChangeKind::Removed };
    write(connection, feed, change, Some(known), (tombstone, String::new()), now).await
}

/// What happens to one record.
#[derive(Clone, Copy)]
struct Change<'a> {
    stream: Stream,
    record_id: &'a str,
    kind: ChangeKind,
}

async fn write(
    connection: &mut Connected,
    feed: &mut FeedWriter,
    Change { stream, record_id, kind }: Change<'_>,
    before: Option<&Known>,
    (body, raw): (String, String),
    now: Timestamp,
) -> Result<(), Error> {
    let version = before.map_or(1, |known| known.version + 1);
    let query = match before {
        None => sqlx::query(INSERT)
            .bind(feed.item.clone())
            .bind(stream.as_str())
            .bind(record_id.to_owned())
            .bind(feed.integration_id.clone())
            .bind(feed.end_user_key.clone()),
        Some(known) => {
            feed.supersede(stream, record_id, known.version, known.stored.clone());
            sqlx::query(UPDATE)
                .bind(feed.item.clone())
                .bind(stream.as_str())
                .bind(record_id.to_owned())
                .bind(i64::from(kind == ChangeKind::Removed))
                .bind(version)
        }
    };
    query.bind(now.as_microsecond()).bind(body).bind(raw).execute(&mut *connection).await?;
    feed.change(stream, record_id, version, kind);
    Ok(())
}

async fn known(
    connection: &mut Connected,
    item: &str,
    stream: Stream,
    seal: &RecordSeal<'_>,
) -> Result<HashMap<String, Known>, Error> {
    let rows = sqlx::query(OF_ITEM_AND_STREAM).bind(item.to_owned()).bind(stream.as_str());
    let rows = rows.fetch_all(connection).await?;
    rows.iter().map(|row| known_row(row, item, stream, seal)).collect()
}

fn known_row(
    row: &AnyRow,
    item: &str,
    stream: Stream,
    seal: &RecordSeal<'_>,
) -> Result<(String, Known), Error> {
    let record_id: String = row.try_get("record_id")?;
    let (removed, version): (i64, i64) = (row.try_get("removed")?, row.try_get("version")?);
    let stored: String = row.try_get("body")?;
    let removed = removed != 0;
    let body = if removed {
        stored.clone()
    } else {
        let of = Version { item, stream, record_id: &record_id, number: version };
        seal.open(&stored, of)?
    };
    let updated_at = row.try_get("updated_at")?;
    Ok((record_id, Known { version, removed, updated_at, body, stored }))
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
        let rows = self.db.fetch_all(list).await?;
        rows.iter().map(|row| read(&row.try_get::<String, _>("body")?)).collect()
    }

    /// Records of a stream of an Item with their ids, by id, after the given one. Transactions have
    /// their own lists.
    pub async fn records_of_item(
        &self,
        item: &ItemKey,
        stream: Stream,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<(String, RawRecord)>, Error> {
        let list = sqlx::query(LIST_OF_ITEM)
            .bind(item.to_string())
            .bind(stream.as_str())
            .bind(after.map(str::to_owned))
            .bind(limit);
        let rows = self.db.fetch_all(list).await?;
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let integration = parsed(first, "integration_id")?;
        let key = match stream.declaration().sealed {
            true => self.data_key(&integration).await?,
            false => None,
        };
        let seal = RecordSeal { key: key.as_ref(), integration: integration.as_str() };
        rows.iter()
            .map(|row| {
                let record_id: String = row.try_get("record_id")?;
                let (number, body): (i64, String) = (row.try_get("version")?, row.try_get("body")?);
                let of = Version { item: item.as_str(), stream, record_id: &record_id, number };
                let body = seal.open(&body, of)?;
                Ok((record_id, RawRecord::new(body).ok_or(Error::corrupt("a record"))?))
            })
            .collect()
    }
}

fn read<T: DeserializeOwned>(body: &str) -> Result<T, Error> {
    serde_json::from_str(body).map_err(|_| Error::corrupt("a record"))
}

/// A record as stored.
pub(crate) fn json(record: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(record).map_err(|_| Error::corrupt("a record"))
}

/// The ids that remain of a removed transaction.
pub(crate) fn remains(body: &str) -> Result<Json, Error> {
    let body: Json = read(body)?;
    let keys = ["id", "transaction_id", "item_id", "account_id"];
    Ok(keys.iter().filter_map(|key| Some(((*key).to_owned(), body.get(*key)?.clone()))).collect())
}

/// The key that remains of any other removed record.
pub(crate) fn key_of(stream: Stream, item_id: &str, record_id: &str) -> Json {
    let names = stream.declaration().key.iter().filter(|name| **name != "item_id");
    let values = record_id.split('/').map(|value| Json::String(value.to_owned()));
    let members = names.map(|name| (*name).to_owned()).zip(values);
    std::iter::once(("item_id".to_owned(), Json::String(item_id.to_owned())))
        .chain(members)
        .collect()
}
