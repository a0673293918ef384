//! People who use the dashboard: one-time set-up links, password hashes, sessions.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jiff::SignedDuration;
use sqlx::Row;
use zeroize::Zeroizing;

use crate::Store;
use crate::api_keys::hash;
use crate::error::Error;
use crate::statement::declare;
use crate::work::instant;

declare! {
    COUNT = "SELECT COUNT(*) FROM operators";
    PASSWORD = "SELECT password_hash FROM operators WHERE name = $1";
    ADD_LINK = "INSERT INTO setup_links (token_hash, expires_at) VALUES ($1, $2)";
    TAKE_LINK = "DELETE FROM setup_links WHERE token_hash = $1 AND expires_at > $2";
    LINK_IS_GOOD = "SELECT COUNT(*) FROM setup_links WHERE token_hash = $1 AND expires_at > $2";
    ADD_OPERATOR =
        "INSERT INTO operators (name, password_hash, created_at) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET password_hash = excluded.password_hash";
    END_SESSIONS_OF = "DELETE FROM sessions WHERE operator = $1";
    START_SESSION =
        "INSERT INTO sessions (token_hash, operator, csrf_token, created_at, used_at) \
         VALUES ($1, $2, $3, $4, $4)";
    FIND_SESSION =
        "SELECT operator, csrf_token, used_at FROM sessions WHERE token_hash = $1 \
         AND used_at > $2 AND created_at > $3";
    USE_SESSION = "UPDATE sessions SET used_at = $2 WHERE token_hash = $1";
    FORGET_LINKS = "DELETE FROM setup_links";
    END_SESSION = "DELETE FROM sessions WHERE token_hash = $1";
    FORGET_SESSIONS = "DELETE FROM sessions WHERE used_at <= $1 OR created_at <= $2";
}

/// A set-up link can be used for this long.
const LINK_LASTS: SignedDuration = SignedDuration::from_hours(24);
/// A session ends after this long without use, and after this long in any case.
const SESSION_IDLE: SignedDuration = SignedDuration::from_hours(8);
/// `used_at` is written at most this often.
const USE_NOTED_EVERY: SignedDuration = SignedDuration::from_mins(1);
const SESSION_LASTS: SignedDuration = SignedDuration::from_hours(24);

/// A signed-in person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Their name.
    pub operator: String,
    /// What forms must carry.
    pub csrf_token: String,
}

impl Store {
    /// Whether anybody can sign in yet.
    pub async fn has_operators(&self) -> Result<bool, Error> {
        let count: i64 = self.db.fetch_one(sqlx::query(COUNT)).await?.try_get(0)?;
        Ok(count > 0)
    }

    /// The token of a new one-time set-up link; earlier ones end.
    pub async fn create_setup_link(&self) -> Result<Zeroizing<String>, Error> {
        let token = self.random_token();
        let hashed = hash(&token);
        let expires = self.ambient.now().saturating_add(LINK_LASTS).unwrap_or_default();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(FORGET_LINKS).execute(&mut *connection).await?;
                    let add = sqlx::query(ADD_LINK).bind(hashed).bind(expires.as_microsecond());
                    add.execute(connection).await?;
                    Ok(())
                })
            })
            .await?;
        Ok(token)
    }

    /// Whether a set-up link can still be used.
    pub async fn is_setup_link(&self, token: &str) -> Result<bool, Error> {
        let now = self.ambient.now().as_microsecond();
        let find = sqlx::query(LINK_IS_GOOD).bind(hash(token)).bind(now);
        let count: i64 = self.db.fetch_one(find).await?.try_get(0)?;
        Ok(count > 0)
    }

    /// Uses a set-up link up: the person may sign in with this password. False if it was used or
    /// has expired.
    pub async fn add_operator(
        &self,
        token: &str,
        name: &str,
        password_hash: String,
    ) -> Result<bool, Error> {
        let (hashed, name) = (hash(token), name.to_owned());
        let now = self.ambient.now().as_microsecond();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let take = sqlx::query(TAKE_LINK).bind(hashed).bind(now);
                    if take.execute(&mut *connection).await?.rows_affected() != 1 {
                        return Ok(false);
                    }
                    let end = sqlx::query(END_SESSIONS_OF).bind(name.clone());
                    end.execute(&mut *connection).await?;
                    let add = sqlx::query(ADD_OPERATOR).bind(name).bind(password_hash).bind(now);
                    add.execute(connection).await?;
                    Ok(true)
                })
            })
            .await
    }

    /// The password hash of a person.
    pub async fn password_hash(&self, name: &str) -> Result<Option<String>, Error> {
        let find = sqlx::query(PASSWORD).bind(name.to_owned());
        let row = self.db.fetch_optional(find).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Starts a session; its token goes into the cookie and nowhere else.
    pub async fn start_session(&self, operator: &str) -> Result<Zeroizing<String>, Error> {
        let (token, csrf) = (self.random_token(), self.random_token());
        let (hashed, operator) = (hash(&token), operator.to_owned());
        let now = self.ambient.now();
        let (idle, oldest) = self.session_limits();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let forget = sqlx::query(FORGET_SESSIONS).bind(idle).bind(oldest);
                    forget.execute(&mut *connection).await?;
                    sqlx::query(START_SESSION)
                        .bind(hashed)
                        .bind(operator)
                        .bind((*csrf).clone())
                        .bind(now.as_microsecond())
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await?;
        Ok(token)
    }

    /// The session of a token, which counts as used now.
    pub async fn session(&self, token: &str) -> Result<Option<Session>, Error> {
        let (idle, oldest) = self.session_limits();
        let find = sqlx::query(FIND_SESSION).bind(hash(token)).bind(idle).bind(oldest);
        let Some(row) = self.db.fetch_optional(find).await? else { return Ok(None) };
        let used_at = instant(row.try_get("used_at")?)?;
        if self.ambient.now().duration_since(used_at) > USE_NOTED_EVERY {
            self.note_session_use(token).await;
        }
        let session =
            Session { operator: row.try_get("operator")?, csrf_token: row.try_get("csrf_token")? };
        Ok(Some(session))
    }

    /// Reading goes on when the disk is full, so a use that cannot be noted is only logged.
    async fn note_session_use(&self, token: &str) {
        let (hashed, now) = (hash(token), self.ambient.now().as_microsecond());
        let noted = self.db.write(move |connection| {
            Box::pin(async move {
                let note = sqlx::query(USE_SESSION).bind(hashed).bind(now);
                note.execute(connection).await?;
                Ok(())
            })
        });
        if let Err(error) = noted.await {
            tracing::warn!(%error, "the use of a session could not be noted");
        }
    }

    /// Ends a session.
    pub async fn end_session(&self, token: &str) -> Result<(), Error> {
        let hashed = hash(token);
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(END_SESSION).bind(hashed).execute(connection).await?;
                    Ok(())
                })
            })
            .await
    }

    /// Sessions not used since the first instant, or older than the second, are over.
    fn session_limits(&self) -> (i64, i64) {
        let now = self.ambient.now();
        let before = |span| now.saturating_sub(span).unwrap_or_default().as_microsecond();
        (before(SESSION_IDLE), before(SESSION_LASTS))
    }

    fn random_token(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64URL.encode(self.ambient.random::<32>()))
    }
}
