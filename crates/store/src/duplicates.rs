//! The same bank linked twice: found by institution and accounts, and on replacement the history that
//! is known goes on under its own ids.

use std::collections::HashMap;

use model::{Account, Ambient, ItemEvent, ItemKey};
use sqlx::Row;

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::feed_writer::FeedWriter;
use crate::integrations::parsed;
use crate::statement::declare;
use crate::takeover::take_over;
use crate::work::{self, WorkKind};
use crate::{items, life, records, suggestions};

declare! {
    SIBLINGS =
        "SELECT o.id FROM items i JOIN items o ON o.end_user_key = i.end_user_key \
            AND o.institution_id = i.institution_id AND o.id <> i.id \
         WHERE i.id = $1 AND o.status <> 'removed' AND o.status <> 'removing' ORDER BY o.id";
    SIBLINGS_OF_END_USER =
        "SELECT o.id, o.item_id FROM items o JOIN end_users e ON e.id = o.end_user_key \
         WHERE e.integration_id = $1 AND e.end_user_id = $2 AND o.institution_id = $3 \
            AND o.status <> 'removed' AND o.status <> 'removing' ORDER BY o.id";
    ACCOUNTS =
        "SELECT body FROM records WHERE item = $1 AND stream = 'accounts' AND removed = 0";
    MARK = "UPDATE items SET duplicate_of = $2 WHERE id = $1";
    REPLACES = "SELECT replaces FROM items WHERE id = $1 AND replaces IS NOT NULL";
    REPLACED = "UPDATE items SET replaces = NULL WHERE id = $1";
    LIVE_ROWS =
        "SELECT id, account_id, date, amount_minor, body FROM transactions \
         WHERE item = $1 AND removed = 0 ORDER BY date, id";
}

/// What two logins can be compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountTraits {
    /// Stable across Items, at some banks.
    pub persistent_account_id: Option<String>,
    /// Last digits.
    pub mask: Option<String>,
    /// Its name.
    pub name: String,
    /// Its subtype.
    pub subtype: Option<String>,
}

impl AccountTraits {
    fn of(account: &Account) -> Self {
        Self {
            persistent_account_id: account.persistent_account_id.clone(),
            mask: account.mask.clone(),
            name: account.name.clone(),
            subtype: account.subtype.clone(),
        }
    }

    /// Whether both look like one account. A persistent id decides where both have one.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.persistent_account_id, &other.persistent_account_id) {
            (Some(own), Some(others)) => own == others,
            _ => {
                self.mask.is_some()
                    && (&self.mask, &self.name, &self.subtype)
                        == (&other.mask, &other.name, &other.subtype)
            }
        }
    }
}

/// Marks an item whose accounts another live item of the same end user and bank has, too, within a
/// larger write.
pub(crate) async fn mark(connection: &mut Connected, item: &str) -> Result<(), Error> {
    let own = accounts(connection, item).await?;
    let siblings = sqlx::query(SIBLINGS).bind(item.to_owned());
    for row in siblings.fetch_all(&mut *connection).await? {
        let sibling: ItemKey = parsed(&row, "id")?;
        let theirs = accounts(connection, sibling.as_str()).await?;
        if overlap(&own, &theirs) {
            let mark = sqlx::query(MARK).bind(item.to_owned()).bind(sibling.to_string());
            mark.execute(connection).await?;
            return Ok(());
        }
    }
    Ok(())
}

fn overlap(own: &[Account], theirs: &[Account]) -> bool {
    let traits = |account: &Account| AccountTraits::of(account);
    own.iter().any(|one| theirs.iter().any(|other| traits(one).same(&traits(other))))
}

async fn accounts(connection: &mut Connected, item: &str) -> Result<Vec<Account>, Error> {
    let rows = sqlx::query(ACCOUNTS).bind(item.to_owned()).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let body: String = row.try_get("body")?;
            serde_json::from_str(&body).map_err(|_| Error::corrupt("an account"))
        })
        .collect()
}

/// What rows that say the same agree in.
#[derive(PartialEq, Eq, Hash)]
struct Likeness {
    date: String,
    amount_minor: i64,
    currency: String,
    name: String,
}

/// One transaction as it is compared.
struct Candidate {
    id: String,
    account_id: String,
    likeness: Likeness,
}

/// If an item replaces another, lets the events known from the other go on here, and begins to
/// remove the other at Plaid. Called once its history is complete, within that write.
pub(crate) async fn replace(
    connection: &mut Connected,
    feed: &mut FeedWriter,
    ambient: &Ambient,
) -> Result<(), Error> {
    let find = sqlx::query(REPLACES).bind(feed.item.clone());
    let Some(row) = find.fetch_optional(&mut *connection).await? else { return Ok(()) };
    let old: ItemKey = parsed(&row, "replaces")?;
    items::hold(connection, old.as_str()).await?;
    feed.flush(connection).await?;
    let (theirs, own) =
        (accounts(connection, old.as_str()).await?, accounts(connection, &feed.item).await?);
    let mapping = one_to_one(&theirs, &own);
    let before = candidates(connection, old.as_str()).await?;
    let after = candidates(connection, &feed.item).await?;
    let mut new_by_likeness: HashMap<_, Vec<&Candidate>> = HashMap::new();
    for candidate in &after {
        let key = (candidate.account_id.clone(), &candidate.likeness);
        new_by_likeness.entry(key).or_default().push(candidate);
    }
    let mut old_by_likeness: HashMap<_, Vec<&Candidate>> = HashMap::new();
    for candidate in &before {
        if let Some(account_id) = mapping.get(&candidate.account_id) {
            let key = (account_id.clone(), &candidate.likeness);
            old_by_likeness.entry(key).or_default().push(candidate);
        }
    }
    for (key, known) in old_by_likeness {
        let new = new_by_likeness.get(&key).map(Vec::as_slice).unwrap_or_default();
        if known.len() == new.len() {
            // Rows that say the same are interchangeable, so any pairing in order is right.
            for (known, new) in known.iter().zip(new) {
                take_over(connection, feed, &known.id, &new.id, ambient.now()).await?;
            }
            continue;
        }
        let reason = format!(
            "{} rows of {} that say the same were known, {} came with the new login",
            known.len(),
            known[0].likeness.date,
            new.len()
        );
        for (known, new) in known.iter().zip(new) {
            let pair = ("relink", known.id.as_str(), new.id.as_str());
            suggestions::add(connection, &feed.item, pair, &reason, ambient).await?;
        }
    }
    sqlx::query(REPLACED).bind(feed.item.clone()).execute(&mut *connection).await?;
    records::remove_all(connection, old.as_str(), ambient.now()).await?;
    end_at_plaid(connection, old.as_str(), ambient).await
}

/// Accounts of one login by those of another, where each fits exactly one.
fn one_to_one(from: &[Account], to: &[Account]) -> HashMap<String, String> {
    let same =
        |one: &Account, other: &Account| AccountTraits::of(one).same(&AccountTraits::of(other));
    let only = |account: &Account| {
        let mut fits = to.iter().filter(|other| same(account, other));
        let first = fits.next().filter(|_| fits.next().is_none())?;
        let back = from.iter().filter(|other| same(other, first)).count();
        (back == 1).then(|| (account.account_id.clone(), first.account_id.clone()))
    };
    from.iter().filter_map(only).collect()
}

async fn candidates(connection: &mut Connected, item: &str) -> Result<Vec<Candidate>, Error> {
    let rows = sqlx::query(LIVE_ROWS).bind(item.to_owned()).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let body: String = row.try_get("body")?;
            let record: model::Transaction =
                serde_json::from_str(&body).map_err(|_| Error::corrupt("a transaction"))?;
            let name = suggestions::plain_name(&record);
            Ok(Candidate {
                id: row.try_get("id")?,
                account_id: row.try_get("account_id")?,
                likeness: Likeness {
                    date: row.try_get("date")?,
                    amount_minor: row.try_get("amount_minor")?,
                    currency: record.currency,
                    name,
                },
            })
        })
        .collect()
}

/// What is left of the old item stays readable; Plaid is told to end it, so that it stops costing.
async fn end_at_plaid(
    connection: &mut Connected,
    item: &str,
    ambient: &Ambient,
) -> Result<(), Error> {
    let told = Some("Another Item replaces it.");
    life::happen(connection, item, &ItemEvent::RemovalBegun, told, ambient).await?;
    work::poke_by_person(connection, WorkKind::Sync, item, ambient.now()).await
}

impl Store {
    /// Plaid's id of a live Item of an end user at a bank that has one of these accounts already.
    pub async fn find_duplicate(
        &self,
        integration: &str,
        end_user_id: &str,
        institution_id: &str,
        accounts: &[AccountTraits],
    ) -> Result<Option<String>, Error> {
        let siblings = sqlx::query(SIBLINGS_OF_END_USER)
            .bind(integration.to_owned())
            .bind(end_user_id.to_owned())
            .bind(institution_id.to_owned());
        for row in self.db.fetch_all(siblings).await? {
            let key: String = row.try_get("id")?;
            let known = self.db.fetch_all(sqlx::query(ACCOUNTS).bind(key)).await?;
            for account in &known {
                let body: String = account.try_get("body")?;
                let account: Account =
                    serde_json::from_str(&body).map_err(|_| Error::corrupt("an account"))?;
                let own = AccountTraits::of(&account);
                if accounts.iter().any(|other| own.same(other)) {
                    return Ok(Some(row.try_get("item_id")?));
                }
            }
        }
        Ok(None)
    }
}
