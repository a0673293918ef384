//! The `balances` stream of a source: real-time balances with the full account, whole every time.
//! Free of the store, so that it also serves the command line and Airbyte platforms.

use std::time::Duration;

use destinations::{Column, ColumnKind, Row, Table};
use jiff::Timestamp;
use model::{Ambient, Balance, BalanceSource, Staged};
use plaid::{AccessToken, Client, Error, Owner, Reaction};

/// A bank that was asked has this long; Plaid speaks of 30 s and sometimes more.
const DEADLINE: Duration = Duration::from_secs(120);

const fn column(name: &'static str, kind: ColumnKind, meaning: &'static str) -> Column {
    Column { name, kind, meaning }
}

/// The stream as a table.
pub const BALANCES: Table = Table {
    name: "balances",
    key: &["item_id", "account_id"],
    columns: &[
        column("item_id", ColumnKind::Text, "Plaid's item id"),
        column("account_id", ColumnKind::Text, "Plaid's account id"),
        column("name", ColumnKind::Text, "Name given by the bank or the person"),
        column("official_name", ColumnKind::Text, "The bank's official name"),
        column("mask", ColumnKind::Text, "Last two to four characters of the number"),
        column("type", ColumnKind::Text, "Plaid's account type"),
        column("subtype", ColumnKind::Text, "Plaid's account subtype"),
        column("holder_category", ColumnKind::Text, "personal, business or unrecognized"),
        column("persistent_account_id", ColumnKind::Text, "Stable across items at some banks"),
        column("available", ColumnKind::Decimal, "What may be spent"),
        column("current", ColumnKind::Decimal, "What is there, or is owed on credit and loans"),
        column("limit", ColumnKind::Decimal, "Credit or overdraft limit"),
        column("currency", ColumnKind::Text, "ISO 4217 code, or the bank's unofficial code"),
        column("source", ColumnKind::Text, "real_time, or cached where the bank gave no newer one"),
        column("fetched_at", ColumnKind::Instant, "When it was read"),
        column("bank_updated_at", ColumnKind::Instant, "When the bank updated it, if it says so"),
    ],
};

/// Reads one Item's balances. Where the bank has none newer than `oldest`, is down or does not answer
/// in time, the cached ones stand in and say so.
pub async fn read_balances(
    client: &Client,
    token: &AccessToken,
    oldest: Option<Timestamp>,
    ambient: &Ambient,
) -> Result<Vec<Row>, Error> {
    let asked = client.accounts_balance_get(token, oldest);
    let (answer, source) = match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok(answer)) => (answer, BalanceSource::RealTime),
        // The bank is slow or down, or has nothing that new: what Plaid knows stands in.
        Err(_) => (client.accounts_get(token).await?, BalanceSource::Cached),
        Ok(Err(error)) if matches!(error.reaction(), Reaction::UseCached | Reaction::Later) => {
            (client.accounts_get(token).await?, BalanceSource::Cached)
        }
        Ok(Err(error)) => return Err(error),
    };
    let owner = Owner { item_id: answer.item.item_id.clone(), end_user_id: String::new() };
    let page = plaid::accounts(&answer.accounts, &owner, source, ambient.now());
    for element in &page.quarantined {
        tracing::warn!(reason = element.reason, "an account could not be read and is left out");
    }
    let pairs = page.accounts.into_iter().zip(page.balances);
    Ok(pairs.map(|(Staged { record: account, .. }, balance)| row(account, balance)).collect())
}

fn row(account: model::Account, balance: Balance) -> Row {
    let source = match balance.source {
        BalanceSource::RealTime => "real_time",
        BalanceSource::Cached => "cached",
    };
    vec![
        Some(account.item_id),
        Some(account.account_id),
        Some(account.name),
        account.official_name,
        account.mask,
        Some(account.account_type),
        account.subtype,
        account.holder_category,
        account.persistent_account_id,
        balance.available,
        balance.current,
        balance.limit,
        balance.currency,
        Some(source.to_owned()),
        Some(balance.fetched_at.to_string()),
        balance.bank_updated_at.map(|at| at.to_string()),
    ]
}
