//! API keys: shown once, kept as a prefix to find them by and a SHA-256 to know them by.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jiff::{SignedDuration, Timestamp};
use model::ApiKeyId;
use sqlx::Row;
use sqlx::any::AnyRow;
use zeroize::Zeroizing;

use crate::Store;
use crate::error::Error;
use crate::integrations::parsed;
use crate::statement::declare;
use crate::work::{instant, optional_instant};

declare! {
    CREATE =
        "INSERT INTO api_keys (id, name, prefix, hash, scopes, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)";
    LIST =
        "SELECT id, name, prefix, hash, scopes, created_at, last_used_at, revoked_at \
         FROM api_keys ORDER BY id LIMIT 1000";
    FIND =
        "SELECT id, name, prefix, hash, scopes, created_at, last_used_at, revoked_at \
         FROM api_keys WHERE prefix = $1 AND revoked_at IS NULL";
    USE = "UPDATE api_keys SET last_used_at = $2 WHERE id = $1";
    REVOKE = "UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
}

/// What every key of this program starts with, so that leak scanners can find it.
const MARK: &str = "selvedge_";
const PREFIX_CHARS: usize = 8;
/// `last_used_at` is written at most this often.
const USE_NOTED_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Read everything but secrets.
    Read,
    /// Create, change and delete.
    Write,
}

impl Scope {
    /// The name as stored and typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// The scope of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Read, Self::Write].into_iter().find(|scope| scope.as_str() == name)
    }
}

/// A key without its secret part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Our id.
    pub id: ApiKeyId,
    /// A name for people.
    pub name: String,
    /// Its first characters after the mark, to recognise it by.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Store {
    /// Makes a key. The text is given out here and never again.
    pub async fn create_api_key(
        &self,
        name: &str,
        scopes: &[Scope],
    ) -> Result<(ApiKey, Zeroizing<String>), Error> {
        let random = Zeroizing::new(BASE64URL.encode(self.ambient.random::<38>()));
        let (prefix, _) = random.split_at(PREFIX_CHARS);
        let key = ApiKey {
            id: ApiKeyId::generate(&self.ambient),
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            scopes: scopes.to_vec(),
            created_at: self.ambient.now(),
            last_used_at: None,
            revoked_at: None,
        };
        let text = Zeroizing::new(format!("{MARK}{}", *random));
        let (row, hash) = (key.clone(), hash(&text));
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let names: Vec<&str> = row.scopes.iter().map(|scope| scope.as_str()).collect();
                    sqlx::query(CREATE)
                        .bind(row.id.to_string())
                        .bind(row.name)
                        .bind(row.prefix)
                        .bind(hash)
                        .bind(names.join(" "))
                        .bind(row.created_at.as_microsecond())
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await?;
        Ok((key, text))
    }

    /// All keys, revoked ones included.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, Error> {
        self.db.fetch_all(sqlx::query(LIST)).await?.iter().map(read).collect()
    }

    /// The live key of this text.
    pub async fn authenticate(&self, text: &str) -> Result<Option<ApiKey>, Error> {
        let prefix = text.strip_prefix(MARK).and_then(|rest| rest.get(..PREFIX_CHARS));
        let Some(prefix) = prefix else { return Ok(None) };
        let find = sqlx::query(FIND).bind(prefix.to_owned());
        let Some(row) = self.db.fetch_optional(find).await? else { return Ok(None) };
        let stored: Vec<u8> = row.try_get("hash")?;
        if verify_slices_are_equal(&stored, &hash(text)).is_err() {
            return Ok(None);
        }
        let key = read(&row)?;
        self.note_use(&key).await;
        Ok(Some(key))
    }

    /// Reading goes on when the disk is full, so a use that cannot be noted is only logged.
    async fn note_use(&self, key: &ApiKey) {
        let now = self.ambient.now();
        let recent = |used: Timestamp| now.duration_since(used) < USE_NOTED_EVERY;
        if key.last_used_at.is_some_and(recent) {
            return;
        }
        if let Err(error) = self.update(USE, key.id.to_string(), now).await {
            tracing::warn!(%error, "the use of an API key could not be noted");
        }
    }

    /// Ends a key at once. False if it was not live.
    pub async fn revoke_api_key(&self, id: &ApiKeyId) -> Result<bool, Error> {
        self.update(REVOKE, id.to_string(), self.ambient.now()).await
    }

    async fn update(&self, sql: &'static str, id: String, at: Timestamp) -> Result<bool, Error> {
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let update = sqlx::query(sql).bind(id).bind(at.as_microsecond());
                    Ok(update.execute(connection).await?.rows_affected() == 1)
                })
            })
            .await
    }
}

/// Keys carry 256 random bits and more, so a fast hash is enough.
pub(crate) fn hash(text: &str) -> Vec<u8> {
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}

fn read(row: &AnyRow) -> Result<ApiKey, Error> {
    let scopes: String = row.try_get("scopes")?;
    Ok(ApiKey {
        id: parsed(row, "id")?,
        name: row.try_get("name")?,
        prefix: row.try_get("prefix")?,
        scopes: scopes.split(' ').filter_map(Scope::from_name).collect(),
        created_at: instant(row.try_get("created_at")?)?,
        last_used_at: optional_instant(row.try_get("last_used_at")?)?,
        revoked_at: optional_instant(row.try_get("revoked_at")?)?,
    })
}
