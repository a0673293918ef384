//! Items and their end users: linking, reading, the state machine's stored half, and removal.

use jiff::Timestamp;
use jiff::civil::Date;
use model::{
    Ambient, EndUser, EndUserId, History, IntegrationId, Item, ItemEvent, ItemKey, ItemLife,
    ItemStatus, Quarantined, Trouble,
};
use secrecy::{ExposeSecret, SecretString};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Store;
use crate::db::{Connected, dialect};
use crate::erasure::erase_data;
use crate::error::Error;
use crate::integrations::parsed;
use crate::link_sessions::{self, Exchange};
use crate::records::json;
use crate::seal::Place;
use crate::statement::declare;
use crate::syncs::{self, SyncRecord};
use crate::update::Update;
use crate::work::{self, Lease, WorkKind, instant, optional_instant};
use crate::{item_streams, life, webhook_events};

/// History that is asked for at the first sync; Plaid freezes 90 days otherwise.
const DAYS_REQUESTED: i64 = 730;

/// Items with their end users' ids, narrowed by the given text.
macro_rules! items_where {
    ($condition:literal) => {
        concat!(
            "SELECT i.id, i.item_id, i.integration_id, i.end_user_key, i.institution_id, \
                i.institution_name, i.life, i.status_detail, i.history, i.history_since, \
                i.days_requested, i.cursor, i.rewalk, i.balances_wanted, i.item_seq, i.created_at, \
                i.last_attempt_at, i.last_success_at, i.last_webhook_at, i.bank_updated_at, \
                i.bank_failed_at, e.end_user_id, \
                (SELECT o.id FROM items o WHERE o.id = i.duplicate_of \
                    AND o.status NOT IN ('removing', 'removed')) AS duplicate_of \
             FROM items i JOIN end_users e ON e.id = i.end_user_key ",
            $condition
        )
    };
}

declare! {
    ADD_END_USER =
        "INSERT INTO end_users (id, integration_id, end_user_id, name, created_at) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (integration_id, end_user_id) \
         DO UPDATE SET name = COALESCE(excluded.name, end_users.name) RETURNING id";
    END_USERS =
        "SELECT id, integration_id, end_user_id, name, created_at FROM end_users \
         WHERE (CAST($1 AS TEXT) IS NULL OR integration_id = $1) AND (CAST($2 AS TEXT) IS NULL OR id > $2) \
         ORDER BY id LIMIT $3";
    FIND_END_USER =
        "SELECT id, integration_id, end_user_id, name, created_at FROM end_users \
         WHERE id = $1 OR end_user_id = $1 ORDER BY id LIMIT 100";
    HOLD_INTEGRATION = "SELECT id FROM integrations WHERE id = $1 /* lock */";
    HOLD = "SELECT id FROM items WHERE id = $1 /* lock */";
    ADD_ITEM =
        "INSERT INTO items (id, item_id, integration_id, end_user_key, access_token, \
            institution_id, institution_name, status, life, history, days_requested, cursor, \
            rewalk, item_seq, erase, created_at, replaces) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'waiting', $8, 'not_ready', $9, '', 0, 0, 0, $10, $11)";
    REPLACE_TOKEN =
        "UPDATE items SET access_token = $2, erase = 0, replaces = COALESCE($3, replaces) \
         WHERE id = $1";
    ITEM_OWNER =
        "SELECT i.id, i.integration_id, e.end_user_id FROM items i \
         JOIN end_users e ON e.id = i.end_user_key WHERE i.item_id = $1";
    ITEMS =
        items_where!(
            "WHERE (CAST($1 AS TEXT) IS NULL OR i.integration_id = $1) AND (CAST($2 AS TEXT) IS NULL OR i.end_user_key = $2) \
            AND (CAST($3 AS TEXT) IS NULL OR i.id > $3) \
            AND (CAST($4 AS TEXT) IS NULL OR i.status = $4) ORDER BY i.id LIMIT $5"
        );
    COUNT_ALL_LIVE =
        "SELECT COUNT(*) FROM items WHERE status NOT IN ('removed', 'revoked', 'disabled')";
    COUNT_LIVE = "SELECT COUNT(*) FROM items WHERE integration_id = $1 AND status <> 'removed'";
    GET_ITEM =
        items_where!(
            "WHERE i.id = $1 OR i.item_id = $1"
        );
    TOKEN = "SELECT integration_id, access_token FROM items WHERE id = $1";
    ADVANCE_CURSOR = "UPDATE items SET cursor = $3 WHERE id = $1 AND cursor = $2 \
         AND status NOT IN ('removing', 'removed', 'revoked', 'disabled')";
    PROGRESS = "SELECT history, history_since, last_success_at FROM items WHERE id = $1";
    NOTE_SUCCESS =
        "UPDATE items SET history = $2, history_since = $3, last_attempt_at = $4, \
            last_success_at = $5, bank_updated_at = COALESCE($6, bank_updated_at), \
            bank_failed_at = COALESCE($7, bank_failed_at), \
            rewalk = COALESCE($8, rewalk), \
            balances_wanted = balances_wanted - $9 WHERE id = $1";
    NOTE_ATTEMPT =
        "UPDATE items SET last_attempt_at = $2, balances_wanted = 0 WHERE id = $1";
    WANT_BALANCES = "UPDATE items SET balances_wanted = 1 WHERE id = $1";
    LIVE_KEYS =
        "SELECT id FROM items WHERE integration_id = $1 \
            AND status NOT IN ('removing', 'removed', 'revoked', 'disabled')";
    /// Items that have not been tried since, whose balances were not asked for yet, or on request whose
    /// history is still on its way.
    UNSETTLED =
        "SELECT COUNT(*) FROM items WHERE integration_id = $1 \
            AND status NOT IN ('removing', 'removed', 'revoked', 'disabled') \
            AND (last_attempt_at IS NULL OR last_attempt_at < $2 OR balances_wanted = 1 \
                OR ($3 = 1 AND history <> 'complete' \
                    AND status IN ('waiting', 'catching_up', 'healthy')))";
    WANT_REWALK = "UPDATE items SET rewalk = 1 WHERE id = $1";
    BEGIN_REMOVAL = "UPDATE items SET erase = $2 WHERE id = $1";
    FORGET_TOKEN = "UPDATE items SET access_token = NULL WHERE id = $1";
    WISHES_ERASURE = "SELECT erase FROM items WHERE id = $1";
    QUARANTINE =
        "INSERT INTO quarantine (id, item, part, reason, raw, seen_at) \
         VALUES ($1, $2, $3, $4, $5, $6)";
    SUMMARY_ITEMS = "SELECT status, COUNT(*) AS count FROM items GROUP BY status";
    SUMMARY_COUNTS =
        "SELECT (SELECT COUNT(*) FROM transactions WHERE removed = 0) AS transactions, \
            (SELECT COUNT(*) FROM records WHERE stream = 'accounts' AND removed = 0) AS accounts, \
            (SELECT COUNT(*) FROM end_users) AS end_users, \
            (SELECT COUNT(*) FROM integrations) AS integrations, \
            (SELECT COUNT(*) FROM quarantine) AS quarantined";
}

/// An Item to be linked; its token was checked against Plaid.
#[derive(Clone)]
pub struct NewLink {
    /// The integration.
    pub integration: IntegrationId,
    /// Plaid's Item id.
    pub item_id: String,
    /// The Item's access token.
    pub access_token: SecretString,
    /// The caller's id of the end user.
    pub end_user_id: String,
    /// A name for people.
    pub end_user_name: Option<String>,
    /// Plaid's institution id.
    pub institution_id: Option<String>,
    /// The institution's name.
    pub institution_name: Option<String>,
    /// Our key of the Item whose history goes on in this one.
    pub replaces: Option<ItemKey>,
    /// The exchange that gave the token, if it was ours.
    pub exchange: Option<Exchange>,
}

impl NewLink {
    /// An Item of an end user of which nothing else is known.
    pub fn new(
        integration: IntegrationId,
        item_id: &str,
        access_token: SecretString,
        end_user_id: &str,
    ) -> Self {
        Self {
            integration,
            item_id: item_id.to_owned(),
            access_token,
            end_user_id: end_user_id.to_owned(),
            end_user_name: None,
            institution_id: None,
            institution_name: None,
            replaces: None,
            exchange: None,
        }
    }
}

/// A sync that did not reach Plaid's cursor.
#[derive(Debug, Clone)]
pub struct FailedSync {
    /// What that means for the Item.
    pub trouble: Trouble,
    /// Why, in words.
    pub detail: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Plaid's ids of its requests.
    pub request_ids: Vec<String>,
    /// Nobody tries again before.
    pub not_before: Timestamp,
}

/// What linking did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkOutcome {
    /// A new Item; its first sync is on its way.
    Created(ItemKey),
    /// The Item was known; its token was replaced and a sync is on its way.
    Replaced(ItemKey),
    /// The Item belongs to another end user.
    OtherEndUser,
    /// The Item was linked through another integration.
    OtherIntegration,
}

/// Which Items to list; an absent part does not narrow.
#[derive(Debug, Clone, Default)]
pub struct ItemFilter {
    /// Of one integration.
    pub integration: Option<IntegrationId>,
    /// Of one end user.
    pub end_user: Option<EndUserId>,
    /// In one state.
    pub status: Option<ItemStatus>,
}

/// Numbers of the whole installation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Items by status.
    pub items: Vec<(ItemStatus, i64)>,
    /// Live transactions.
    pub transactions: i64,
    /// Accounts.
    pub accounts: i64,
    /// End users.
    pub end_users: i64,
    /// Integrations.
    pub integrations: i64,
    /// Elements that could not be read.
    pub quarantined: i64,
}

impl Store {
    /// Registers an Item and asks for its first sync, or replaces the token of a known one.
    pub async fn link(&self, new: NewLink) -> Result<LinkOutcome, Error> {
        let data_key =
            self.data_key(&new.integration).await?.ok_or(Error::corrupt("an integration"))?;
        let ambient = self.ambient.clone();
        let outcome = self
            .db
            .write(move |connection| {
                Box::pin(async move {
                    // Nobody deletes the integration, and no webhook of it looks for this Item,
                    // until this ends.
                    if !hold_integration(connection, new.integration.as_str()).await? {
                        return Err(Error::corrupt("an integration"));
                    }
                    let find = sqlx::query(ITEM_OWNER).bind(new.item_id.clone());
                    let owner = find.fetch_optional(&mut *connection).await?;
                    let seal = |key: &ItemKey| {
                        let place = token_place(new.integration.as_str(), key.as_str());
                        data_key.seal(new.access_token.expose_secret(), place)
                    };
                    let outcome = match owner {
                        None => {
                            let key = ItemKey::generate(&ambient);
                            let sealed = seal(&key)?;
                            create(connection, &key, &new, sealed, &ambient).await?;
                            LinkOutcome::Created(key)
                        }
                        Some(row) => replace(connection, &row, &new, seal, &ambient).await?,
                    };
                    let exchange = new.exchange.as_ref();
                    if let (
                        Some(exchange),
                        LinkOutcome::Created(key) | LinkOutcome::Replaced(key),
                    ) = (exchange, &outcome)
                    {
                        link_sessions::exchanged(connection, exchange, key, ambient.now()).await?;
                    }
                    Ok(outcome)
                })
            })
            .await?;
        self.news.announce_work();
        Ok(outcome)
    }

    /// End users in the order they came, behind one, of one integration or of all.
    pub async fn end_users(
        &self,
        integration: Option<&IntegrationId>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<EndUser>, Error> {
        let list = sqlx::query(END_USERS)
            .bind(integration.map(ToString::to_string))
            .bind(after.map(str::to_owned))
            .bind(limit);
        self.db.fetch_all(list).await?.iter().map(read_end_user).collect()
    }

    /// The end users of this id, ours or the caller's: two where integrations share a name.
    pub async fn find_end_users(&self, id: &str) -> Result<Vec<EndUser>, Error> {
        let find = sqlx::query(FIND_END_USER).bind(id.to_owned());
        self.db.fetch_all(find).await?.iter().map(read_end_user).collect()
    }

    /// Items in the order they were linked, behind one.
    pub async fn items(
        &self,
        filter: &ItemFilter,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Item>, Error> {
        let list = sqlx::query(ITEMS)
            .bind(filter.integration.as_ref().map(ToString::to_string))
            .bind(filter.end_user.as_ref().map(ToString::to_string))
            .bind(after.map(str::to_owned))
            .bind(filter.status.map(ItemStatus::as_str))
            .bind(limit);
        self.db.fetch_all(list).await?.iter().map(read_item).collect()
    }

    /// How many Items of an integration have not ended at Plaid.
    pub async fn live_items(&self, integration: &IntegrationId) -> Result<i64, Error> {
        let count = sqlx::query(COUNT_LIVE).bind(integration.to_string());
        Ok(self.db.fetch_one(count).await?.try_get(0)?)
    }

    /// How many Items of the whole installation are polled.
    pub async fn polled_items(&self) -> Result<i64, Error> {
        let count = self.db.fetch_one(sqlx::query(COUNT_ALL_LIVE)).await?;
        Ok(count.try_get(0)?)
    }

    /// Asks for everything of an Item to be read again from the empty cursor, and reconciled.
    pub async fn rewalk(&self, key: &ItemKey) -> Result<(), Error> {
        let (key, now) = (key.to_string(), self.ambient.now());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(WANT_REWALK).bind(key.clone()).execute(&mut *connection).await?;
                    item_streams::make_all_due(connection, &key).await?;
                    work::poke_by_person(connection, WorkKind::Sync, &key, now).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Asks for a sync of every live Item of an integration at once, on request with balances asked of
    /// the banks.
    pub async fn ask_for_syncs(
        &self,
        integration: &IntegrationId,
        with_balances: bool,
    ) -> Result<(), Error> {
        let (integration, now) = (integration.to_string(), self.ambient.now());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let live = sqlx::query(LIVE_KEYS).bind(integration);
                    for row in live.fetch_all(&mut *connection).await? {
                        let key: String = row.try_get(0)?;
                        if with_balances {
                            let want = sqlx::query(WANT_BALANCES).bind(key.clone());
                            want.execute(&mut *connection).await?;
                        }
                        item_streams::make_all_due(connection, &key).await?;
                        work::poke_by_person(connection, WorkKind::Sync, &key, now).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// How many live Items of an integration were not tried since a time, or on request wait for their
    /// history.
    pub async fn unsettled_items(
        &self,
        integration: &IntegrationId,
        since: Timestamp,
        with_history: bool,
    ) -> Result<i64, Error> {
        let count = sqlx::query(UNSETTLED)
            .bind(integration.to_string())
            .bind(since.as_microsecond())
            .bind(i64::from(with_history));
        Ok(self.db.fetch_one(count).await?.try_get(0)?)
    }

    /// The Item of this id, ours or Plaid's.
    pub async fn item(&self, id: &str) -> Result<Option<Item>, Error> {
        let get = sqlx::query(GET_ITEM).bind(id.to_owned());
        self.db.fetch_optional(get).await?.as_ref().map(read_item).transpose()
    }

    /// The access token of an Item, while it has one.
    pub async fn access_token(&self, key: &ItemKey) -> Result<Option<SecretString>, Error> {
        let get = sqlx::query(TOKEN).bind(key.to_string());
        let Some(row) = self.db.fetch_optional(get).await? else { return Ok(None) };
        let sealed: Option<Vec<u8>> = row.try_get("access_token")?;
        let integration: IntegrationId = parsed(&row, "integration_id")?;
        let data_key = self.data_key(&integration).await?;
        let (Some(sealed), Some(data_key)) = (sealed, data_key) else { return Ok(None) };
        Ok(Some(data_key.open(&sealed, token_place(integration.as_str(), key.as_str()))?))
    }

    /// Notes why an Item could not be synced, and gives the work back until a time.
    pub async fn fail_item(
        &self,
        key: &ItemKey,
        lease: &Lease,
        failed: FailedSync,
    ) -> Result<(), Error> {
        let (key, lease, ambient) = (key.to_string(), lease.clone(), self.ambient.clone());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let FailedSync { trouble, detail, started_at, request_ids, not_before } =
                        failed;
                    let event = ItemEvent::Troubled { trouble };
                    life::happen(connection, &key, &event, Some(&detail), &ambient).await?;
                    let now = ambient.now();
                    let note = sqlx::query(NOTE_ATTEMPT).bind(key.clone());
                    note.bind(now.as_microsecond()).execute(&mut *connection).await?;
                    let sync = SyncRecord {
                        started_at,
                        ended_at: now,
                        succeeded: false,
                        outcome: detail.clone(),
                        request_ids,
                        pages: 0,
                        restarts: 0,
                        full_walk: false,
                        added: 0,
                        modified: 0,
                        removed: 0,
                    };
                    syncs::add(connection, &key, &sync, &ambient).await?;
                    work::fail(connection, &lease, not_before, &detail).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Marks an Item for removal at Plaid; with `erase`, its data goes once Plaid confirms.
    pub async fn begin_removal(&self, key: &ItemKey, erase: bool) -> Result<(), Error> {
        let (key, ambient) = (key.to_string(), self.ambient.clone());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let begin = sqlx::query(BEGIN_REMOVAL).bind(key.clone()).bind(i64::from(erase));
                    begin.execute(&mut *connection).await?;
                    let event = ItemEvent::RemovalBegun;
                    life::happen(connection, &key, &event, None, &ambient).await?;
                    work::poke_by_person(connection, WorkKind::Sync, &key, ambient.now()).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Ends an Item that Plaid has confirmed as removed: token, work, and by choice the data.
    pub async fn end_removal(&self, key: &ItemKey, lease: &Lease) -> Result<(), Error> {
        let (key, lease, ambient) = (key.to_string(), lease.clone(), self.ambient.clone());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    hold(connection, &key).await?;
                    let wish = sqlx::query(WISHES_ERASURE).bind(key.clone());
                    let erase: i64 = wish.fetch_one(&mut *connection).await?.try_get(0)?;
                    if erase != 0 {
                        erase_data(connection, &key, ambient.now()).await?;
                    }
                    sqlx::query(FORGET_TOKEN).bind(key.clone()).execute(&mut *connection).await?;
                    let event = ItemEvent::RemovalConfirmed;
                    life::happen(connection, &key, &event, None, &ambient).await?;
                    work::stop_leased(connection, &lease).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Numbers for the overview.
    pub async fn summary(&self) -> Result<Summary, Error> {
        let counts = self.db.fetch_one(sqlx::query(SUMMARY_COUNTS)).await?;
        let rows = self.db.fetch_all(sqlx::query(SUMMARY_ITEMS)).await?;
        let status = |row: &AnyRow| {
            let name: String = row.try_get("status")?;
            let status = ItemStatus::from_name(&name).ok_or(Error::corrupt("a status"))?;
            Ok((status, row.try_get("count")?))
        };
        Ok(Summary {
            items: rows.iter().map(status).collect::<Result<_, Error>>()?,
            transactions: counts.try_get("transactions")?,
            accounts: counts.try_get("accounts")?,
            end_users: counts.try_get("end_users")?,
            integrations: counts.try_get("integrations")?,
            quarantined: counts.try_get("quarantined")?,
        })
    }
}

fn token_place<'a>(integration: &'a str, key: &'a str) -> Place<'a> {
    Place { owner: integration, table: "items", row: key, column: "access_token" }
}

async fn create(
    connection: &mut Connected,
    key: &ItemKey,
    new: &NewLink,
    sealed: Vec<u8>,
    ambient: &Ambient,
) -> Result<(), Error> {
    let now = ambient.now();
    let end_user = add_end_user(connection, new, ambient).await?;
    sqlx::query(ADD_ITEM)
        .bind(key.to_string())
        .bind(new.item_id.clone())
        .bind(new.integration.to_string())
        .bind(end_user)
        .bind(sealed)
        .bind(new.institution_id.clone())
        .bind(new.institution_name.clone())
        .bind(json(&ItemLife::NEW)?)
        .bind(DAYS_REQUESTED)
        .bind(now.as_microsecond())
        .bind(new.replaces.as_ref().map(ToString::to_string))
        .execute(&mut *connection)
        .await?;
    work::poke(connection, WorkKind::Sync, key.as_str(), now).await?;
    // What a webhook said of it before it was linked.
    for event in webhook_events::early(connection, &new.item_id, new.integration.as_str()).await? {
        life::happen(connection, key.as_str(), &event, None, ambient).await?;
    }
    Ok(())
}

async fn add_end_user(
    connection: &mut Connected,
    new: &NewLink,
    ambient: &Ambient,
) -> Result<String, Error> {
    let row = sqlx::query(ADD_END_USER)
        .bind(EndUserId::generate(ambient).to_string())
        .bind(new.integration.to_string())
        .bind(new.end_user_id.clone())
        .bind(new.end_user_name.clone())
        .bind(ambient.now().as_microsecond())
        .fetch_one(connection)
        .await?;
    Ok(row.try_get(0)?)
}

async fn replace(
    connection: &mut Connected,
    owner: &AnyRow,
    new: &NewLink,
    seal: impl FnOnce(&ItemKey) -> Result<Vec<u8>, crate::seal::SealError>,
    ambient: &Ambient,
) -> Result<LinkOutcome, Error> {
    let (integration, end_user): (String, String) =
        (owner.try_get("integration_id")?, owner.try_get("end_user_id")?);
    if integration != new.integration.as_str() {
        return Ok(LinkOutcome::OtherIntegration);
    }
    if end_user != new.end_user_id {
        return Ok(LinkOutcome::OtherEndUser);
    }
    let key: ItemKey = parsed(owner, "id")?;
    add_end_user(connection, new, ambient).await?;
    let replaces = new.replaces.as_ref().filter(|old| **old != key).map(ToString::to_string);
    let replace = sqlx::query(REPLACE_TOKEN).bind(key.to_string()).bind(seal(&key)?).bind(replaces);
    replace.execute(&mut *connection).await?;
    life::happen(connection, key.as_str(), &ItemEvent::Linked, None, ambient).await?;
    item_streams::make_all_due(connection, key.as_str()).await?;
    work::poke_by_person(connection, WorkKind::Sync, key.as_str(), ambient.now()).await?;
    Ok(LinkOutcome::Replaced(key))
}

/// Holds an Item until a larger write ends, so that nobody else changes what belongs to it.
pub(crate) async fn hold(connection: &mut Connected, item: &str) -> Result<(), Error> {
    let hold = sqlx::query(dialect::text(connection, HOLD)).bind(item.to_owned());
    hold.fetch_optional(connection).await?;
    Ok(())
}

/// Holds an integration until a larger write ends. False if there is none.
pub(crate) async fn hold_integration(
    connection: &mut Connected,
    integration: &str,
) -> Result<bool, Error> {
    let hold = sqlx::query(dialect::text(connection, HOLD_INTEGRATION));
    Ok(hold.bind(integration.to_owned()).fetch_optional(connection).await?.is_some())
}

/// Moves an Item's cursor, unless somebody else has moved it or the Item is being removed.
pub(crate) async fn advance_cursor(
    connection: &mut Connected,
    item: &str,
    from: &str,
    to: &str,
) -> Result<(), Error> {
    let advance =
        sqlx::query(ADVANCE_CURSOR).bind(item.to_owned()).bind(from.to_owned()).bind(to.to_owned());
    let moved = advance.execute(connection).await?.rows_affected();
    if moved == 1 { Ok(()) } else { Err(Error::Stale) }
}

/// What an Item had before an update.
pub(crate) struct Progress {
    pub(crate) never_synced: bool,
    pub(crate) history: History,
    pub(crate) history_since: Option<String>,
}

/// Reads what an Item had before an update, within the write that applies it.
pub(crate) async fn progress(connection: &mut Connected, item: &str) -> Result<Progress, Error> {
    let row = sqlx::query(PROGRESS).bind(item.to_owned()).fetch_one(connection).await?;
    let last_success: Option<i64> = row.try_get("last_success_at")?;
    let history_since: Option<String> = row.try_get("history_since")?;
    Ok(Progress {
        never_synced: last_success.is_none(),
        history: History::from_name(&row.try_get::<String, _>("history")?),
        history_since: history_since.filter(|date| !date.is_empty()),
    })
}

/// Notes a successful sync within the write that holds its rows.
pub(crate) async fn note_success(
    connection: &mut Connected,
    item: &str,
    update: &Update,
    reconciled: bool,
    since: Option<String>,
    now: Timestamp,
) -> Result<(), Error> {
    // A walk that proved nothing about what is absent is made again once Plaid has more.
    let rewalk = update.full_walk.then_some(i64::from(!reconciled));
    let (updated, failed) = update.bank_times.unwrap_or_default();
    sqlx::query(NOTE_SUCCESS)
        .bind(item.to_owned())
        .bind(update.history.as_str())
        .bind(since)
        .bind(update.started_at.as_microsecond())
        .bind(now.as_microsecond())
        .bind(updated.map(Timestamp::as_microsecond))
        .bind(failed.map(Timestamp::as_microsecond))
        .bind(rewalk)
        .bind(i64::from(update.asked_for_balances))
        .execute(connection)
        .await?;
    Ok(())
}

/// Sets an element aside that could not be read.
pub(crate) async fn quarantine(
    connection: &mut Connected,
    item: &str,
    element: Quarantined,
    ambient: &Ambient,
) -> Result<(), Error> {
    sqlx::query(QUARANTINE)
        .bind(ambient.uuid().to_string())
        .bind(item.to_owned())
        .bind(element.part)
        .bind(element.reason)
        .bind(element.raw)
        .bind(ambient.now().as_microsecond())
        .execute(connection)
        .await?;
    Ok(())
}

fn read_end_user(row: &AnyRow) -> Result<EndUser, Error> {
    Ok(EndUser {
        id: parsed(row, "id")?,
        integration_id: parsed(row, "integration_id")?,
        end_user_id: row.try_get("end_user_id")?,
        name: row.try_get("name")?,
        created_at: instant(row.try_get("created_at")?)?,
    })
}

fn read_item(row: &AnyRow) -> Result<Item, Error> {
    let (life, history): (String, String) = (row.try_get("life")?, row.try_get("history")?);
    let rewalk: i64 = row.try_get("rewalk")?;
    let duplicate_of: Option<String> = row.try_get("duplicate_of")?;
    let since: Option<String> = row.try_get("history_since")?;
    let since = since.filter(|date| !date.is_empty()).map(|date| date.parse::<Date>());
    Ok(Item {
        key: parsed(row, "id")?,
        item_id: row.try_get("item_id")?,
        integration_id: parsed(row, "integration_id")?,
        end_user_key: parsed(row, "end_user_key")?,
        end_user_id: row.try_get("end_user_id")?,
        institution_id: row.try_get("institution_id")?,
        institution_name: row.try_get("institution_name")?,
        life: serde_json::from_str(&life).map_err(|_| Error::corrupt("a life"))?,
        status_detail: row.try_get("status_detail")?,
        history: History::from_name(&history),
        history_since: since.transpose().map_err(|_| Error::corrupt("a date"))?,
        days_requested: row.try_get("days_requested")?,
        rewalk: rewalk != 0,
        balances_wanted: row.try_get::<i64, _>("balances_wanted")? != 0,
        bank_updated_at: optional_instant(row.try_get("bank_updated_at")?)?,
        bank_failed_at: optional_instant(row.try_get("bank_failed_at")?)?,
        duplicate_of: duplicate_of.and_then(|key| key.parse().ok()),
        cursor: row.try_get("cursor")?,
        item_seq: row.try_get("item_seq")?,
        created_at: instant(row.try_get("created_at")?)?,
        last_attempt_at: optional_instant(row.try_get("last_attempt_at")?)?,
        last_success_at: optional_instant(row.try_get("last_success_at")?)?,
        last_webhook_at: optional_instant(row.try_get("last_webhook_at")?)?,
    })
}
