//! Saved sources: one Plaid token with its credentials, for reading into a destination.

use jiff::Timestamp;
use jiff::civil::Date;
use model::{BaseUrl, Environment, SourceId};
use secrecy::{ExposeSecret, SecretString};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Store;
use crate::error::Error;
use crate::integrations::parsed;
use crate::seal::{DataKey, Place};
use crate::statement::declare;
use crate::work::instant;

declare! {
    CREATE =
        "INSERT INTO sources (id, name, environment, base_url, client_id, secret, access_token, \
            data_key, start_date, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    LIST =
        "SELECT id, name, environment, base_url, client_id, start_date, created_at FROM sources \
         ORDER BY id LIMIT 1000";
    GET =
        "SELECT id, name, environment, base_url, client_id, start_date, created_at FROM sources \
         WHERE id = $1";
    SECRETS = "SELECT secret, access_token, data_key FROM sources WHERE id = $1";
    DELETE = "DELETE FROM sources WHERE id = $1";
}

/// A source without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Our id.
    pub id: SourceId,
    /// A name for people.
    pub name: String,
    /// Plaid's environment.
    pub environment: Environment,
    /// Where Plaid is called.
    pub base_url: BaseUrl,
    /// Plaid's `client_id`.
    pub client_id: String,
    /// Oldest acceptable reading, where a bank needs one.
    pub start_date: Option<Date>,
    /// When it was saved.
    pub created_at: Timestamp,
}

/// What a source is made of.
#[derive(Clone)]
pub struct NewSource {
    /// A name for people.
    pub name: String,
    /// Plaid's environment.
    pub environment: Environment,
    /// Where Plaid is called.
    pub base_url: BaseUrl,
    /// Plaid's `client_id`.
    pub client_id: String,
    /// Plaid's secret and the Item's token.
    pub secrets: SourceSecrets,
    /// Oldest acceptable reading, where a bank needs one.
    pub start_date: Option<Date>,
}

/// The secrets of a source.
#[derive(Clone)]
pub struct SourceSecrets {
    /// Plaid's `secret` (the form calls it API key).
    pub secret: SecretString,
    /// The Item's access token.
    pub access_token: SecretString,
}

impl Store {
    /// Keeps a source, its secrets sealed with a data key of its own.
    pub async fn create_source(&self, new: NewSource) -> Result<Source, Error> {
        let id = SourceId::generate(&self.ambient);
        let data_key = DataKey::generate(&self.ambient);
        let seal = |secret: &SecretString, column| {
            data_key.seal(secret.expose_secret(), place(id.as_str(), column))
        };
        let secret = seal(&new.secrets.secret, "secret")?;
        let token = seal(&new.secrets.access_token, "access_token")?;
        let wrapped = data_key.wrap(&self.master_key, id.as_str())?;
        let source = Source {
            id,
            name: new.name,
            environment: new.environment,
            base_url: new.base_url,
            client_id: new.client_id,
            start_date: new.start_date,
            created_at: self.ambient.now(),
        };
        let row = source.clone();
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
                        .bind(token)
                        .bind(wrapped)
                        .bind(row.start_date.map(|date| date.to_string()))
                        .bind(row.created_at.as_microsecond())
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await?;
        Ok(source)
    }

    /// All sources.
    pub async fn sources(&self) -> Result<Vec<Source>, Error> {
        sqlx::query(LIST).fetch_all(self.db.readers()).await?.iter().map(read).collect()
    }

    /// One source.
    pub async fn source(&self, id: &SourceId) -> Result<Option<Source>, Error> {
        let get = sqlx::query(GET).bind(id.to_string());
        get.fetch_optional(self.db.readers()).await?.as_ref().map(read).transpose()
    }

    /// The secrets of a source.
    pub async fn source_secrets(&self, id: &SourceId) -> Result<Option<SourceSecrets>, Error> {
        let get = sqlx::query(SECRETS).bind(id.to_string());
        let Some(row) = get.fetch_optional(self.db.readers()).await? else { return Ok(None) };
        let data_key = self.unwrap_data_key(&row, id.as_str())?;
        let open = |column: &'static str| -> Result<SecretString, Error> {
            let sealed: Vec<u8> = row.try_get(column)?;
            Ok(data_key.open(&sealed, place(id.as_str(), column))?)
        };
        Ok(Some(SourceSecrets { secret: open("secret")?, access_token: open("access_token")? }))
    }

    /// Deletes a source. The Item at Plaid is left alone.
    pub async fn delete_source(&self, id: &SourceId) -> Result<bool, Error> {
        let id = id.to_string();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let delete = sqlx::query(DELETE).bind(id);
                    Ok(delete.execute(connection).await?.rows_affected() == 1)
                })
            })
            .await
    }
}

fn place<'a>(id: &'a str, column: &'static str) -> Place<'a> {
    Place { owner: id, table: "sources", row: id, column }
}

fn read(row: &AnyRow) -> Result<Source, Error> {
    let start_date: Option<String> = row.try_get("start_date")?;
    let start_date = start_date.map(|date| date.parse()).transpose();
    Ok(Source {
        id: parsed(row, "id")?,
        name: row.try_get("name")?,
        environment: parsed(row, "environment")?,
        base_url: parsed(row, "base_url")?,
        client_id: row.try_get("client_id")?,
        start_date: start_date.map_err(|_| Error::corrupt("a date"))?,
        created_at: instant(row.try_get("created_at")?)?,
    })
}
