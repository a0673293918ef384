//! The source half: the streams of one Item read without a store, for whoever keeps the state
//! elsewhere: Airbyte platforms and Singer targets.

use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::time::Duration;

use destinations::Table;
use jiff::{SignedDuration, Timestamp};
use model::{Ambient, ChangeKind, Compat, Page, Staged, Stream};
use plaid::{
    Bank, Error, ItemBank, Owner, Plan, PullError, Reaction, Stage, current_accounts, pull_update,
    read_stream,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use store::{Extracted, Place};
use tempfile::SpooledTempFile;

use crate::connection::plan::{StreamPlan, now_cell, source_plan};
use crate::enrich_page::enrich_page;

/// Records of an Item that are held in memory; more wait in a file that nobody can open.
const IN_MEMORY_BYTES: usize = 16 * 1024 * 1024;
/// How often a limit of Plaid's is waited for, and how long where Plaid does not say.
const WAITS: u32 = 30;
const USUAL_WAIT: Duration = Duration::from_secs(30);

/// A stream of a source.
pub struct SourceStream {
    /// Which.
    pub stream: Stream,
    /// Whether it can be read from where the last run ended.
    pub incremental: bool,
    plan: StreamPlan,
}

impl SourceStream {
    /// Its name, columns and key.
    pub fn table(&self) -> &Table {
        &self.plan.load.tables[0]
    }
}

/// Every stream of a source.
pub fn source_streams(compat: Option<Compat>) -> Vec<SourceStream> {
    let mut streams: Vec<Stream> = match compat {
        Some(Compat::Airbyte) => vec![Stream::Balances, Stream::Transactions],
        None => Stream::all().collect(),
    };
    // The one that everybody has comes first.
    streams.sort_by_key(|stream| *stream != Stream::Balances);
    let made = |stream: Stream| SourceStream {
        stream,
        incremental: stream.declaration().cursor_field.is_some(),
        plan: source_plan(stream, compat),
    };
    streams.into_iter().map(made).collect()
}

/// What one Item has of a stream.
pub struct ItemRead {
    /// How many records.
    pub count: u64,
    /// From where the next run goes on; none where everything is read every time.
    pub state: Option<Value>,
    /// What a person should know, in words.
    pub told: Vec<String>,
    /// Why there is nothing, where the Item lacks the product.
    pub lacking: Option<String>,
    spool: SpooledTempFile,
}

impl ItemRead {
    fn new() -> Self {
        Self {
            count: 0,
            state: None,
            told: Vec::new(),
            lacking: None,
            spool: SpooledTempFile::new(IN_MEMORY_BYTES),
        }
    }

    /// The records, in order.
    pub fn records(
        &mut self,
    ) -> std::io::Result<impl Iterator<Item = std::io::Result<Box<RawValue>>>> {
        self.spool.seek(SeekFrom::Start(0))?;
        let lines = BufReader::new(&mut self.spool).lines();
        Ok(lines.map(|line| Ok(RawValue::from_string(line?)?)))
    }

    fn clear(&mut self) -> std::io::Result<()> {
        self.count = 0;
        self.spool.set_len(0)?;
        self.spool.seek(SeekFrom::Start(0))?;
        Ok(())
    }

    fn keep(
        &mut self,
        stream: &SourceStream,
        record: &Extracted,
        now: &str,
    ) -> std::io::Result<()> {
        let Some(placed) = stream.plan.place(record, now) else { return Ok(()) };
        let line = placed.table.json_record(&placed.row);
        self.spool.write_all(line.get().as_bytes())?;
        self.count += 1;
        self.spool.write_all(b"\n")
    }
}

/// Why a stream of an Item could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Plaid said no.
    #[error(transparent)]
    Plaid(#[from] Error),
    /// The data changed under every attempt.
    #[error("{0}")]
    Restless(String),
    /// The records could not be put aside.
    #[error("records could not be put aside: {0}")]
    Spool(#[from] std::io::Error),
}

impl ReadError {
    /// Whether the same may succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Plaid(error) => matches!(
                error.reaction(),
                Reaction::Retry | Reaction::Later | Reaction::RestartUpdate | Reaction::Rewalk
            ),
            Self::Restless(_) | Self::Spool(_) => true,
        }
    }
}

/// What to read of an Item.
pub struct ReadPlan<'a> {
    /// The Item.
    pub item: &'a plaid::wire::Item,
    /// Where the last run ended, if it is to go on from there.
    pub state: Option<&'a Value>,
    /// Oldest acceptable balance, and first day of transactions.
    pub oldest: Option<Timestamp>,
}

/// Reads one stream of one Item whole. Waits for Plaid's limits, and tells `on_wait` until when.
pub async fn read_item(
    bank: &ItemBank,
    stream: &SourceStream,
    plan: &ReadPlan<'_>,
    ambient: &Ambient,
    on_wait: &(dyn Fn(Timestamp) + Send + Sync),
) -> Result<ItemRead, ReadError> {
    for _ in 0..WAITS {
        match try_read(bank, stream, plan, ambient).await {
            Err(ReadError::Plaid(error)) if error.is_rate_limit() => {
                let pause = error.retry_after().unwrap_or(USUAL_WAIT);
                let now = ambient.now();
                let pause = SignedDuration::try_from(pause).unwrap_or_default();
                on_wait(now.saturating_add(pause).unwrap_or(now));
                tokio::time::sleep(pause.unsigned_abs()).await;
            }
            Err(ReadError::Plaid(error)) if lacks(&error) => {
                return Ok(ItemRead { lacking: Some(error.to_string()), ..ItemRead::new() });
            }
            other => return other,
        }
    }
    try_read(bank, stream, plan, ambient).await
}

fn lacks(error: &Error) -> bool {
    let consent = ["ADDITIONAL_CONSENT_REQUIRED", "ACCESS_NOT_GRANTED", "NO_ACCOUNTS"];
    error.reaction() == Reaction::Lacking || error.code().is_some_and(|c| consent.contains(&c))
}

async fn try_read(
    bank: &ItemBank,
    stream: &SourceStream,
    plan: &ReadPlan<'_>,
    ambient: &Ambient,
) -> Result<ItemRead, ReadError> {
    let owner = Owner { item_id: plan.item.item_id.clone(), end_user_id: String::new() };
    match stream.stream {
        Stream::Transactions => read_transactions(bank, stream, plan, &owner, ambient).await,
        Stream::Accounts | Stream::Balances => {
            read_accounts(bank, stream, plan, &owner, ambient).await
        }
        _ => read_snapshot(bank, stream, plan, &owner, ambient).await,
    }
}

async fn read_transactions(
    bank: &ItemBank,
    stream: &SourceStream,
    plan: &ReadPlan<'_>,
    owner: &Owner,
    ambient: &Ambient,
) -> Result<ItemRead, ReadError> {
    let cursor = plan.state.and_then(|state| state["cursor"].as_str()).unwrap_or_default();
    let mut stage = Spool {
        read: ItemRead::new(),
        stream,
        item_id: &owner.item_id,
        attempt: 0,
        set_aside: 0,
        since: plan.oldest.map(|at| at.to_zoned(jiff::tz::TimeZone::UTC).date()),
        now: now_cell(ambient.now()),
    };
    let pulled = pull_update(bank, Plan { owner, cursor }, ambient, &mut stage).await;
    let pulled = pulled.map_err(|error| match error {
        PullError::Plaid(error) => ReadError::Plaid(error),
        PullError::Stage(error) => ReadError::Spool(error),
        other => ReadError::Restless(other.to_string()),
    })?;
    let mut read = stage.read;
    read.state = Some(json!({ "cursor": pulled.cursor }));
    if stage.set_aside > 0 {
        read.told.push(format!("{} elements could not be read and are left out", stage.set_aside));
    }
    if pulled.history.is_some_and(|history| history != model::History::Complete) {
        read.told.push("Plaid is still loading the history; the next run goes on".to_owned());
    }
    Ok(read)
}

/// Where the pages of an update go until it is complete.
struct Spool<'a> {
    read: ItemRead,
    stream: &'a SourceStream,
    item_id: &'a str,
    attempt: u32,
    set_aside: usize,
    since: Option<jiff::civil::Date>,
    now: String,
}

impl Stage for Spool<'_> {
    type Error = std::io::Error;

    async fn stage(&mut self, attempt: u32, _: u32, mut page: Page) -> std::io::Result<()> {
        if attempt != self.attempt {
            // What an attempt brought that was given up is void.
            self.read.clear()?;
            (self.attempt, self.set_aside) = (attempt, 0);
        }
        enrich_page(&mut page);
        self.set_aside += page.quarantined.len();
        for Staged { record, raw } in page.added.into_iter().chain(page.modified) {
            if self.since.is_some_and(|since| record.date < since) {
                continue;
            }
            let body = serde_json::to_string(&record)?;
            let record = extracted(body, ChangeKind::Added, None, Some(raw));
            self.read.keep(self.stream, &record, &self.now)?;
        }
        for gone in page.removed {
            // The connector whose names are kept never told of removals.
            if self.stream.plan.needs_raw() {
                continue;
            }
            let (id, account) = (gone.transaction_id, gone.account_id);
            let body =
                json!({ "transaction_id": id, "account_id": account, "item_id": self.item_id });
            let record = extracted(body.to_string(), ChangeKind::Removed, None, None);
            self.read.keep(self.stream, &record, &self.now)?;
        }
        Ok(())
    }
}

async fn read_accounts(
    bank: &ItemBank,
    stream: &SourceStream,
    plan: &ReadPlan<'_>,
    owner: &Owner,
    ambient: &Ambient,
) -> Result<ItemRead, ReadError> {
    let (answer, source) = match stream.stream {
        Stream::Balances => current_accounts(bank, plan.oldest).await?,
        _ => (bank.accounts_get().await?, model::BalanceSource::Cached),
    };
    let page = plaid::accounts(&answer.accounts, owner, source, ambient.now());
    let (mut read, now) = (ItemRead::new(), now_cell(ambient.now()));
    if !page.quarantined.is_empty() {
        let count = page.quarantined.len();
        read.told.push(format!("{count} accounts could not be read and are left out"));
    }
    for (Staged { record: account, .. }, balance) in page.accounts.into_iter().zip(page.balances) {
        let account = serde_json::to_string(&account).map_err(std::io::Error::from)?;
        let record = match stream.stream {
            Stream::Balances => {
                let body = serde_json::to_string(&balance).map_err(std::io::Error::from)?;
                extracted(body, ChangeKind::Added, Some(account), None)
            }
            _ => extracted(account, ChangeKind::Added, None, None),
        };
        read.keep(stream, &record, &now)?;
    }
    Ok(read)
}

async fn read_snapshot(
    bank: &ItemBank,
    stream: &SourceStream,
    plan: &ReadPlan<'_>,
    owner: &Owner,
    ambient: &Ambient,
) -> Result<ItemRead, ReadError> {
    let began = ambient.now();
    let last = plan.state.and_then(|state| state["read_at"].as_str()?.parse().ok());
    let institution = plan.item.institution_id.as_deref();
    let snapshot = read_stream(bank, stream.stream, owner, institution, last, began).await?;
    let (mut read, now) = (ItemRead::new(), now_cell(began));
    if !snapshot.quarantined.is_empty() {
        let count = snapshot.quarantined.len();
        read.told.push(format!("{count} elements could not be read and are left out"));
    }
    for record in snapshot.records {
        let record = extracted(record.body, ChangeKind::Added, None, Some(record.raw));
        read.keep(stream, &record, &now)?;
    }
    if stream.incremental {
        read.state = Some(json!({ "read_at": began.to_string() }));
    }
    Ok(read)
}

fn extracted(
    body: String,
    kind: ChangeKind,
    account: Option<String>,
    raw: Option<String>,
) -> Extracted {
    let (end_user_key, place) = (String::new(), Place::default());
    Extracted { end_user_key, kind, seq: 0, body, account, raw, place }
}
