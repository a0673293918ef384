//! One Item at its bank, as a sync sees it. A trait, so that a simulation can stand in for Plaid.

use std::time::Duration;

use jiff::Timestamp;
use model::{BalanceSource, Stream};
use serde_json::value::RawValue;

use crate::client::{AccessToken, Client};
use crate::error::{Error, Reaction};
use crate::wire;

/// Which part of a stream to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// First and last date, for streams that are read by dates.
    pub dates: Option<(jiff::civil::Date, jiff::civil::Date)>,
    /// How many records to pass over.
    pub offset: usize,
    /// The Item's institution, for streams about it.
    pub institution_id: Option<String>,
}

/// What a sync asks of Plaid about one Item.
pub trait Bank: Send + Sync {
    /// One page of transactions after the cursor; `''` starts from the beginning.
    fn transactions_sync(
        &self,
        cursor: &str,
    ) -> impl Future<Output = Result<wire::SyncPage, Error>> + Send;

    /// Accounts with cached balances; free.
    fn accounts_get(&self) -> impl Future<Output = Result<wire::Accounts, Error>> + Send;

    /// Accounts with balances asked of the bank, none older than `oldest`; billed by Plaid.
    fn accounts_balance_get(
        &self,
        oldest: Option<Timestamp>,
    ) -> impl Future<Output = Result<wire::Accounts, Error>> + Send;

    /// One answer of the endpoint that has a stream, as text.
    fn read(
        &self,
        stream: Stream,
        part: &Part,
    ) -> impl Future<Output = Result<Box<RawValue>, Error>> + Send;

    /// Ends the Item, for good.
    fn remove(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// An Item behind Plaid's API.
#[derive(Debug, Clone)]
pub struct ItemBank {
    /// The credentials' client.
    pub client: Client,
    /// The Item's token.
    pub token: AccessToken,
}

impl Bank for ItemBank {
    async fn transactions_sync(&self, cursor: &str) -> Result<wire::SyncPage, Error> {
        self.client.transactions_sync(&self.token, cursor).await
    }

    async fn accounts_get(&self) -> Result<wire::Accounts, Error> {
        self.client.accounts_get(&self.token).await
    }

    async fn accounts_balance_get(
        &self,
        oldest: Option<Timestamp>,
    ) -> Result<wire::Accounts, Error> {
        self.client.accounts_balance_get(&self.token, oldest).await
    }

    async fn read(&self, stream: Stream, part: &Part) -> Result<Box<RawValue>, Error> {
        self.client.read_stream(&self.token, stream, part).await
    }

    async fn remove(&self) -> Result<(), Error> {
        self.client.item_remove(&self.token).await
    }
}

/// A bank that was asked has this long; Plaid speaks of 30 s and sometimes more.
const DEADLINE: Duration = Duration::from_secs(120);

/// Accounts with balances asked of the bank. Where it has none newer than `oldest`, is down or does not
/// answer in time, the cached ones stand in and say so.
pub async fn current_accounts(
    bank: &impl Bank,
    oldest: Option<Timestamp>,
) -> Result<(wire::Accounts, BalanceSource), Error> {
    match tokio::time::timeout(DEADLINE, bank.accounts_balance_get(oldest)).await {
        Ok(Ok(answer)) => Ok((answer, BalanceSource::RealTime)),
        Err(_) => Ok((bank.accounts_get().await?, BalanceSource::Cached)),
        Ok(Err(error)) if matches!(error.reaction(), Reaction::UseCached | Reaction::Later) => {
            Ok((bank.accounts_get().await?, BalanceSource::Cached))
        }
        Ok(Err(error)) => Err(error),
    }
}
