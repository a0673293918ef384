//! What subscribers are to be told: notices are written in the transaction of what they tell of, one
//! delivery for each subscription, and sent afterwards at least once.

use jiff::{SignedDuration, Timestamp};
use model::{Ambient, DeliveryId, IntegrationId, SubscriptionId};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::integrations::parsed;
use crate::seal::Place;
use crate::statement::declare;
use crate::work::{self, Lease, WorkKind, instant, optional_instant};

declare! {
    SUBSCRIBE =
        "INSERT INTO subscriptions (id, integration_id, url, events, secret, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)";
    LIST =
        "SELECT id, integration_id, url, events, created_at FROM subscriptions \
         WHERE integration_id = $1 AND (CAST($2 AS TEXT) IS NULL OR id > $2) ORDER BY id LIMIT $3";
    GET =
        "SELECT id, integration_id, url, events, secret, created_at FROM subscriptions \
         WHERE id = $1";
    OF_INTEGRATION = "SELECT id, events FROM subscriptions WHERE integration_id = $1";
    UNSUBSCRIBE = "DELETE FROM subscriptions WHERE id = $1";
    DELETE_DELIVERIES = "DELETE FROM deliveries WHERE subscription = $1";
    DELETE_WORK =
        "DELETE FROM work WHERE kind = 'deliver' AND subject IN \
            (SELECT id FROM deliveries WHERE subscription = $1)";
    ADD_DELIVERY =
        "INSERT INTO deliveries (id, subscription, event, payload, state, attempts, created_at) \
         VALUES ($1, $2, $3, $4, 'pending', 0, $5)";
    DELIVERY = "SELECT id, subscription, event, payload, state, attempts, created_at, \
            last_attempt_at, last_status, last_error FROM deliveries WHERE id = $1";
    DELIVERIES =
        "SELECT id, subscription, event, payload, state, attempts, created_at, last_attempt_at, \
            last_status, last_error FROM deliveries \
         WHERE subscription = $1 AND (CAST($2 AS TEXT) IS NULL OR id < $2) \
         ORDER BY id DESC LIMIT $3";
    NOTE_ATTEMPT =
        "UPDATE deliveries SET state = $2, attempts = attempts + 1, last_attempt_at = $3, \
            last_status = $4, last_error = $5 WHERE id = $1";
    REVIVE = "UPDATE deliveries SET state = 'pending' WHERE id = $1";
    FORGET = "DELETE FROM deliveries WHERE created_at < $1 AND state <> 'pending'";
    END_USER = "SELECT integration_id, end_user_id FROM end_users WHERE id = $1";
}

/// How long news of an end user's transactions are gathered before one notice tells of them.
const GATHER: SignedDuration = SignedDuration::from_secs(2);

/// What subscribers are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// An end user has new, changed or removed transactions: read the feed.
    TransactionsChanged,
    /// What an end user's transactions mean is known: records, series and feed are up to date.
    EndUserProcessed,
    /// An Item is in another state.
    ItemStateChanged,
    /// A person has to act for an Item.
    ItemRepairNeeded,
}

impl Notice {
    /// Every notice.
    pub const ALL: [Self; 4] = [
        Self::TransactionsChanged,
        Self::EndUserProcessed,
        Self::ItemStateChanged,
        Self::ItemRepairNeeded,
    ];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TransactionsChanged => "transactions.changed",
            Self::EndUserProcessed => "end_user.processed",
            Self::ItemStateChanged => "item.state_changed",
            Self::ItemRepairNeeded => "item.repair_needed",
        }
    }

    /// The notice of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|notice| notice.as_str() == name)
    }
}

/// An endpoint that is told of things, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Our id.
    pub id: SubscriptionId,
    /// Whose Items it is about.
    pub integration_id: IntegrationId,
    /// Where notices go.
    pub url: String,
    /// Which ones.
    pub events: Vec<Notice>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// One message to one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Our id; the receiver's means to recognise a repeat.
    pub id: DeliveryId,
    /// To whom.
    pub subscription: SubscriptionId,
    /// What about.
    pub event: String,
    /// The body, byte for byte.
    pub payload: String,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// Attempts so far.
    pub attempts: i64,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was last tried.
    pub last_attempt_at: Option<Timestamp>,
    /// HTTP status of the last answer.
    pub last_status: Option<i64>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
}

/// How an attempt to deliver went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The receiver took it.
    Delivered {
        /// HTTP status.
        status: u16,
    },
    /// It did not; to be tried again at a time, or given up.
    Failed {
        /// HTTP status, if there was an answer.
        status: Option<u16>,
        /// Why, in words.
        error: String,
        /// When to try again.
        again_at: Option<Timestamp>,
    },
}

/// Writes a notice for every subscription that wants it, within the write of what it tells of.
pub(crate) async fn announce(
    connection: &mut Connected,
    integration: &str,
    notice: Notice,
    data: &Value,
    ambient: &Ambient,
) -> Result<(), Error> {
    let now = ambient.now();
    let rows = sqlx::query(OF_INTEGRATION).bind(integration.to_owned());
    for row in rows.fetch_all(&mut *connection).await? {
        let (id, events): (String, String) = (row.try_get("id")?, row.try_get("events")?);
        if !events.split(',').any(|event| event == notice.as_str()) {
            continue;
        }
        let delivery = DeliveryId::generate(ambient).to_string();
        let payload = json!({ "type": notice.as_str(), "timestamp": now, "data": data });
        sqlx::query(ADD_DELIVERY)
            .bind(delivery.clone())
            .bind(id)
            .bind(notice.as_str())
            .bind(payload.to_string())
            .bind(now.as_microsecond())
            .execute(&mut *connection)
            .await?;
        work::poke(connection, WorkKind::Deliver, &delivery, now).await?;
    }
    Ok(())
}

/// Asks for a notice of an end user's transactions, after a moment in which more may come, if
/// anybody listens.
pub(crate) async fn gather(
    connection: &mut Connected,
    integration: &str,
    end_user: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let listeners = sqlx::query(OF_INTEGRATION).bind(integration.to_owned());
    if listeners.fetch_optional(&mut *connection).await?.is_none() {
        return Ok(());
    }
    let due = now.saturating_add(GATHER).unwrap_or(now);
    work::poke(connection, WorkKind::Notify, end_user, due).await
}

impl Store {
    /// Adds a subscription, its secret sealed.
    pub async fn subscribe(
        &self,
        integration: &IntegrationId,
        url: &str,
        events: &[Notice],
        secret: &SecretString,
    ) -> Result<Subscription, Error> {
        let data_key = self.data_key(integration).await?.ok_or(Error::corrupt("an integration"))?;
        let id = SubscriptionId::generate(&self.ambient);
        let place = secret_place(integration.as_str(), id.as_str());
        let sealed = data_key.seal(secret.expose_secret(), place)?;
        let subscription = Subscription {
            id,
            integration_id: integration.clone(),
            url: url.to_owned(),
            events: events.to_vec(),
            created_at: self.ambient.now(),
        };
        let row = subscription.clone();
        let names: Vec<&str> = events.iter().map(|event| event.as_str()).collect();
        let names = names.join(",");
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(SUBSCRIBE)
                        .bind(row.id.to_string())
                        .bind(row.integration_id.to_string())
                        .bind(row.url)
                        .bind(names)
                        .bind(sealed)
                        .bind(row.created_at.as_microsecond())
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await?;
        Ok(subscription)
    }

    /// Subscriptions of an integration, in the order they were made, behind one.
    pub async fn subscriptions(
        &self,
        integration: &IntegrationId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Subscription>, Error> {
        let list = sqlx::query(LIST)
            .bind(integration.to_string())
            .bind(after.map(str::to_owned))
            .bind(limit);
        self.db.fetch_all(list).await?.iter().map(subscription).collect()
    }

    /// A subscription with its secret.
    pub async fn subscription(
        &self,
        id: &str,
    ) -> Result<Option<(Subscription, SecretString)>, Error> {
        let get = sqlx::query(GET).bind(id.to_owned());
        let Some(row) = self.db.fetch_optional(get).await? else { return Ok(None) };
        let found = subscription(&row)?;
        let data_key = self.data_key(&found.integration_id).await?;
        let data_key = data_key.ok_or(Error::corrupt("an integration"))?;
        let sealed: Vec<u8> = row.try_get("secret")?;
        let place = secret_place(found.integration_id.as_str(), found.id.as_str());
        let secret = data_key.open(&sealed, place)?;
        Ok(Some((found, secret)))
    }

    /// Ends a subscription with what it has not been sent yet.
    pub async fn unsubscribe(&self, id: &SubscriptionId) -> Result<(), Error> {
        let id = id.to_string();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    for statement in [DELETE_WORK, DELETE_DELIVERIES, UNSUBSCRIBE] {
                        sqlx::query(statement).bind(id.clone()).execute(&mut *connection).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// One delivery.
    pub async fn delivery(&self, id: &str) -> Result<Option<Delivery>, Error> {
        let get = sqlx::query(DELIVERY).bind(id.to_owned());
        self.db.fetch_optional(get).await?.as_ref().map(delivery).transpose()
    }

    /// Deliveries of a subscription, newest first, behind one.
    pub async fn deliveries(
        &self,
        subscription: &SubscriptionId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Delivery>, Error> {
        let list = sqlx::query(DELIVERIES)
            .bind(subscription.to_string())
            .bind(after.map(str::to_owned))
            .bind(limit);
        self.db.fetch_all(list).await?.iter().map(delivery).collect()
    }

    /// Notes how an attempt went, and ends or puts off the work of it.
    pub async fn note_delivery(&self, lease: &Lease, attempt: Attempt) -> Result<(), Error> {
        let (lease, now) = (lease.clone(), self.ambient.now());
        self.db
            .write(move |connection| {
                Box::pin(async move { note(connection, &lease, attempt, now).await })
            })
            .await
    }

    /// Sends a delivery again, whatever became of it.
    pub async fn send_again(&self, id: &DeliveryId) -> Result<(), Error> {
        let (id, now) = (id.to_string(), self.ambient.now());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(REVIVE).bind(id.clone()).execute(&mut *connection).await?;
                    work::poke_by_person(connection, WorkKind::Deliver, &id, now).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Turns the gathered news of an end user into notices.
    pub async fn notify(&self, lease: &Lease) -> Result<(), Error> {
        let (lease, ambient) = (lease.clone(), self.ambient.clone());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let find = sqlx::query(END_USER).bind(lease.subject.clone());
                    if let Some(row) = find.fetch_optional(&mut *connection).await? {
                        let integration: String = row.try_get("integration_id")?;
                        let end_user_id: String = row.try_get("end_user_id")?;
                        let data =
                            json!({ "end_user_id": end_user_id, "integration_id": integration });
                        let notice = Notice::TransactionsChanged;
                        announce(connection, &integration, notice, &data, &ambient).await?;
                    }
                    work::finish(connection, &lease, ambient.now(), Timestamp::MAX).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Forgets deliveries of before a time that are not to be sent any more.
    pub async fn forget_deliveries(&self, before: Timestamp) -> Result<(), Error> {
        self.db.forget(FORGET, before).await?;
        Ok(())
    }
}

async fn note(
    connection: &mut Connected,
    lease: &Lease,
    attempt: Attempt,
    now: Timestamp,
) -> Result<(), Error> {
    let (state, status, error) = match &attempt {
        Attempt::Delivered { status } => ("delivered", Some(*status), None),
        Attempt::Failed { status, error, again_at: Some(_) } => {
            ("pending", *status, Some(error.clone()))
        }
        Attempt::Failed { status, error, again_at: None } => {
            ("failed", *status, Some(error.clone()))
        }
    };
    match attempt {
        Attempt::Failed { again_at: Some(at), error, .. } => {
            work::fail(connection, lease, at, &error).await?;
        }
        _ => work::stop_leased(connection, lease).await?,
    }
    sqlx::query(NOTE_ATTEMPT)
        .bind(lease.subject.clone())
        .bind(state)
        .bind(now.as_microsecond())
        .bind(status.map(i64::from))
        .bind(error)
        .execute(connection)
        .await?;
    Ok(())
}

fn secret_place<'a>(integration: &'a str, id: &'a str) -> Place<'a> {
    Place { owner: integration, table: "subscriptions", row: id, column: "secret" }
}

fn subscription(row: &AnyRow) -> Result<Subscription, Error> {
    let events: String = row.try_get("events")?;
    Ok(Subscription {
        id: parsed(row, "id")?,
        integration_id: parsed(row, "integration_id")?,
        url: row.try_get("url")?,
        events: events.split(',').filter_map(Notice::from_name).collect(),
        created_at: instant(row.try_get("created_at")?)?,
    })
}

fn delivery(row: &AnyRow) -> Result<Delivery, Error> {
    Ok(Delivery {
        id: parsed(row, "id")?,
        subscription: parsed(row, "subscription")?,
        event: row.try_get("event")?,
        payload: row.try_get("payload")?,
        state: row.try_get("state")?,
        attempts: row.try_get("attempts")?,
        created_at: instant(row.try_get("created_at")?)?,
        last_attempt_at: optional_instant(row.try_get("last_attempt_at")?)?,
        last_status: row.try_get("last_status")?,
        last_error: row.try_get("last_error")?,
    })
}
