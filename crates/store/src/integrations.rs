//! Integrations: Plaid credentials in one environment, the secret sealed.

use jiff::Timestamp;
use jiff::civil::Date;
use model::{BaseUrl, Environment, IntegrationId, Stream};
use secrecy::{ExposeSecret, SecretString};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Store;
use crate::connections;
use crate::db::Connected;
use crate::erasure::erase_data;
use crate::error::Error;
use crate::items;
use crate::seal::{DataKey, Place};
use crate::statement::declare;
use crate::work::instant;

declare! {
    CREATE =
        "INSERT INTO integrations (id, name, environment, base_url, client_id, secret, data_key, \
            streams, created_at, is_source, start_date) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    LIST =
        "SELECT id, name, environment, base_url, client_id, streams, created_at, is_source, \
            start_date FROM integrations WHERE (CAST($1 AS TEXT) IS NULL OR id > $1) \
            AND (CAST($2 AS BIGINT) IS NULL OR is_source = $2) ORDER BY id LIMIT $3";
    GET =
        "SELECT id, name, environment, base_url, client_id, streams, created_at, is_source, \
            start_date FROM integrations WHERE id = $1";
    CHANGE_SECRET = "UPDATE integrations SET secret = $2 WHERE id = $1";
    SECRETS = "SELECT secret, data_key FROM integrations WHERE id = $1";
    CHOOSE_STREAMS = "UPDATE integrations SET streams = $2 WHERE id = $1";
    POKE_ITEMS =
        "UPDATE work SET wanted_seq = wanted_seq + 1, \
            due_at = CASE WHEN due_at < $2 THEN due_at ELSE $2 END \
         WHERE kind = 'sync' AND subject IN (SELECT id FROM items WHERE integration_id = $1 \
            AND status NOT IN ('removing', 'removed', 'revoked', 'disabled'))";
    DELETE_SUBSCRIPTIONS = "DELETE FROM subscriptions WHERE integration_id = $1";
    DELETE_DELIVERIES =
        "DELETE FROM deliveries WHERE subscription IN \
            (SELECT id FROM subscriptions WHERE integration_id = $1)";
    DELETE_LINK_SESSIONS = "DELETE FROM link_sessions WHERE integration_id = $1";
    DELETE_RULES = "DELETE FROM enrichment_rules WHERE integration_id = $1";
    DELETE_SERIES =
        "DELETE FROM end_user_series WHERE end_user_key IN \
            (SELECT id FROM end_users WHERE integration_id = $1)";
    DELETE_VISITS =
        "DELETE FROM visits WHERE end_user_key IN \
            (SELECT id FROM end_users WHERE integration_id = $1)";
    DELETE_USAGE = "DELETE FROM plaid_usage WHERE integration_id = $1";
    DELETE = "DELETE FROM integrations WHERE id = $1";
    DELETE_END_USERS = "DELETE FROM end_users WHERE integration_id = $1";
    DELETE_WEBHOOK_EVENTS = "DELETE FROM webhook_events WHERE integration_id = $1";
    /// Deleting a source forgets its Items here and leaves them alone at Plaid.
    LIVE_ITEMS =
        "SELECT COUNT(*) FROM items i JOIN integrations n ON n.id = i.integration_id \
         WHERE i.integration_id = $1 AND i.status <> 'removed' AND n.is_source = 0";
    ITEM_KEYS = "SELECT id FROM items WHERE integration_id = $1";
    DELETE_WORK =
        "DELETE FROM work WHERE subject IN (SELECT id FROM items WHERE integration_id = $1 \
            UNION ALL SELECT id FROM end_users WHERE integration_id = $1 \
            UNION ALL SELECT id FROM link_sessions WHERE integration_id = $1 \
            UNION ALL SELECT d.id FROM deliveries d JOIN subscriptions s ON s.id = d.subscription \
                WHERE s.integration_id = $1)";
    DELETE_ITEMS = "DELETE FROM items WHERE integration_id = $1";
}

/// An integration without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integration {
    /// Our id.
    pub id: IntegrationId,
    /// A name for people.
    pub name: String,
    /// Plaid's environment.
    pub environment: Environment,
    /// Where Plaid is called.
    pub base_url: BaseUrl,
    /// Plaid's `client_id`.
    pub client_id: String,
    /// What is read of its Items.
    pub streams: Vec<Stream>,
    /// Whether it was made as a source: for tokens that are read into destinations.
    pub is_source: bool,
    /// Oldest acceptable balance, where a bank needs one.
    pub start_date: Option<Date>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What an integration is made of.
#[derive(Clone)]
pub struct NewIntegration {
    /// A name for people.
    pub name: String,
    /// Plaid's environment.
    pub environment: Environment,
    /// Where Plaid is called.
    pub base_url: BaseUrl,
    /// Plaid's `client_id`.
    pub client_id: String,
    /// Plaid's `secret`.
    pub secret: SecretString,
    /// What is read of its Items.
    pub streams: Vec<Stream>,
    /// Whether it is made as a source.
    pub is_source: bool,
    /// Oldest acceptable balance, where a bank needs one.
    pub start_date: Option<Date>,
}

impl Store {
    /// Keeps a new integration, its secret sealed with a data key of its own.
    pub async fn create_integration(&self, new: NewIntegration) -> Result<Integration, Error> {
        let id = IntegrationId::generate(&self.ambient);
        let data_key = DataKey::generate(&self.ambient);
        let secret = data_key.seal(new.secret.expose_secret(), secret_place(id.as_str()))?;
        let wrapped = data_key.wrap(&self.master_key, id.as_str())?;
        let integration = Integration {
            id,
            name: new.name,
            environment: new.environment,
            base_url: new.base_url,
            client_id: new.client_id,
            streams: new.streams,
            is_source: new.is_source,
            start_date: new.start_date,
            created_at: self.ambient.now(),
        };
        let row = integration.clone();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(CREATE)
                        .bind(row.id.to_string())
                        .bind(row.name)
                        .bind(row.environment.as_str())
                        .bind(row.base_url.to_string())
                        .bind(row.client_id)
                        .bind(secret)
                        .bind(wrapped)
                        .bind(names(&row.streams))
                        .bind(row.created_at.as_microsecond())
                        .bind(i64::from(row.is_source))
                        .bind(row.start_date.map(|date| date.to_string()))
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await?;
        Ok(integration)
    }

    /// Integrations in the order they were made, after the given one; all, or only those that were
    /// made as sources, or only the others.
    pub async fn integrations(
        &self,
        are_sources: Option<bool>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Integration>, Error> {
        let list = sqlx::query(LIST).bind(after.map(str::to_owned));
        let list = list.bind(are_sources.map(i64::from)).bind(limit);
        self.db.fetch_all(list).await?.iter().map(read).collect()
    }

    /// One integration.
    pub async fn integration(&self, id: &IntegrationId) -> Result<Option<Integration>, Error> {
        let get = sqlx::query(GET).bind(id.to_string());
        self.db.fetch_optional(get).await?.as_ref().map(read).transpose()
    }

    /// Chooses what is read of an integration's Items from now on, and asks for it.
    pub async fn choose_streams(
        &self,
        id: &IntegrationId,
        streams: &[Stream],
    ) -> Result<(), Error> {
        let (id, names, now) = (id.to_string(), names(streams), self.ambient.now());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let choose = sqlx::query(CHOOSE_STREAMS).bind(id.clone()).bind(names);
                    choose.execute(&mut *connection).await?;
                    let poke = sqlx::query(POKE_ITEMS).bind(id).bind(now.as_microsecond());
                    poke.execute(connection).await?;
                    Ok(())
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Replaces the secret of an integration.
    pub async fn replace_secret(
        &self,
        id: &IntegrationId,
        secret: &SecretString,
    ) -> Result<(), Error> {
        let key = self.data_key(id).await?.ok_or(Error::corrupt("an integration"))?;
        let sealed = key.seal(secret.expose_secret(), secret_place(id.as_str()))?;
        let id = id.to_string();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let change = sqlx::query(CHANGE_SECRET).bind(id).bind(sealed);
                    change.execute(connection).await?;
                    Ok(())
                })
            })
            .await
    }

    /// The secret of an integration.
    pub async fn integration_secret(
        &self,
        id: &IntegrationId,
    ) -> Result<Option<SecretString>, Error> {
        let get = sqlx::query(SECRETS).bind(id.to_string());
        let Some(row) = self.db.fetch_optional(get).await? else { return Ok(None) };
        let data_key = self.unwrap_data_key(&row, id.as_str())?;
        let sealed: Vec<u8> = row.try_get("secret")?;
        Ok(Some(data_key.open(&sealed, secret_place(id.as_str()))?))
    }

    /// The data key of an integration, for sealing within it.
    pub(crate) async fn data_key(&self, id: &IntegrationId) -> Result<Option<DataKey>, Error> {
        let get = sqlx::query(SECRETS).bind(id.to_string());
        let row = self.db.fetch_optional(get).await?;
        row.map(|row| self.unwrap_data_key(&row, id.as_str())).transpose()
    }

    pub(crate) fn unwrap_data_key(&self, row: &AnyRow, owner: &str) -> Result<DataKey, Error> {
        let wrapped: Vec<u8> = row.try_get("data_key")?;
        Ok(DataKey::unwrap(&wrapped, &self.master_key, owner)?)
    }

    /// Deletes an integration with everything in it; in the feed tombstones stay, so that readers
    /// forget it too. False, and nothing done, while an Item has not ended at Plaid.
    pub async fn delete_integration(&self, id: &IntegrationId) -> Result<bool, Error> {
        let (id, now) = (id.to_string(), self.ambient.now());
        let deleted = self
            .db
            .write(move |connection| Box::pin(async move { delete(connection, &id, now).await }))
            .await?;
        self.news.announce_work();
        Ok(deleted)
    }
}

async fn delete(connection: &mut Connected, id: &str, now: Timestamp) -> Result<bool, Error> {
    items::hold_integration(connection, id).await?;
    let live = sqlx::query(LIVE_ITEMS).bind(id.to_owned()).fetch_one(&mut *connection).await?;
    if live.try_get::<i64, _>(0)? > 0 {
        return Ok(false);
    }
    let items = sqlx::query(ITEM_KEYS).bind(id.to_owned()).fetch_all(&mut *connection).await?;
    for row in items {
        let key: String = row.try_get(0)?;
        erase_data(connection, &key, now).await?;
    }
    let statements = [
        DELETE_WORK,
        DELETE_WEBHOOK_EVENTS,
        DELETE_DELIVERIES,
        DELETE_SUBSCRIPTIONS,
        DELETE_LINK_SESSIONS,
        DELETE_USAGE,
        DELETE_RULES,
        DELETE_SERIES,
        DELETE_VISITS,
        DELETE_ITEMS,
        DELETE_END_USERS,
        DELETE,
    ];
    connections::delete_all(connection, id).await?;
    for statement in statements {
        sqlx::query(statement).bind(id.to_owned()).execute(&mut *connection).await?;
    }
    Ok(true)
}

fn names(streams: &[Stream]) -> String {
    streams.iter().map(|stream| stream.as_str()).collect::<Vec<_>>().join(",")
}

fn streams(names: &str) -> Vec<Stream> {
    names.split(',').filter_map(Stream::from_name).collect()
}

fn secret_place(id: &str) -> Place<'_> {
    Place { owner: id, table: "integrations", row: id, column: "secret" }
}

fn read(row: &AnyRow) -> Result<Integration, Error> {
    let start_date: Option<String> = row.try_get("start_date")?;
    let start_date = start_date.map(|date| date.parse()).transpose();
    Ok(Integration {
        id: parsed(row, "id")?,
        name: row.try_get("name")?,
        environment: parsed(row, "environment")?,
        base_url: parsed(row, "base_url")?,
        client_id: row.try_get("client_id")?,
        streams: streams(&row.try_get::<String, _>("streams")?),
        is_source: row.try_get::<i64, _>("is_source")? != 0,
        start_date: start_date.map_err(|_| Error::corrupt("a date"))?,
        created_at: instant(row.try_get("created_at")?)?,
    })
}

/// A value that was stored as text.
pub(crate) fn parsed<T: std::str::FromStr>(row: &AnyRow, column: &'static str) -> Result<T, Error> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| Error::corrupt(column))
}
