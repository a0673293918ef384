//! Visits of end users to Link: made with a link token, finished by a webhook or a look, and their
//! public tokens exchanged. The intent to exchange is kept before the call, so that an answer that is
//! lost is never silent: Plaid gives an access token only once.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use model::{Ambient, IntegrationId, ItemEvent, ItemKey, LinkSessionId};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::integrations::parsed;
use crate::outbox::{self, Notice};
use crate::seal::Place;
use crate::statement::declare;
use crate::work::{self, Lease, WorkKind, instant};
use crate::{item_streams, life};

/// Sessions, narrowed by the given text.
macro_rules! sessions_where {
    ($condition:literal) => {
        concat!(
            "SELECT id, integration_id, end_user_id, item, link_token, hosted_link_url, state, \
                public_tokens, exchanging, detail, orphan_item_id, expires_at, created_at, \
                updated_at FROM link_sessions WHERE ",
            $condition
        )
    };
}

declare! {
    ADD =
        "INSERT INTO link_sessions (id, integration_id, end_user_id, item, link_token, \
            link_token_hash, hosted_link_url, state, exchanging, expires_at, created_at, \
            updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 'open', 0, $8, $9, $9)";
    GET = sessions_where!("id = $1");
    LIST =
        sessions_where!(
            "integration_id = $1 AND (CAST($2 AS TEXT) IS NULL OR id < $2) ORDER BY id DESC LIMIT $3"
        );
    NEWEST_OF_ITEM = sessions_where!("item = $1 ORDER BY id DESC LIMIT 1");
    BY_TOKEN = "SELECT id, integration_id, item FROM link_sessions WHERE link_token_hash = $1";
    FINISH =
        "UPDATE link_sessions SET state = $2, public_tokens = $3, updated_at = $4 \
         WHERE id = $1 AND state = 'open'";
    BEGIN_EXCHANGE = "UPDATE link_sessions SET exchanging = 1, updated_at = $2 WHERE id = $1";
    EXCHANGED =
        "UPDATE link_sessions SET exchanging = 0, public_tokens = $2, item = $3, state = $4, \
            updated_at = $5 WHERE id = $1";
    END = "UPDATE link_sessions SET state = $2, detail = $3, exchanging = 0, public_tokens = NULL, \
            orphan_item_id = $4, updated_at = $5 WHERE id = $1";
    NAME_ORPHAN =
        "UPDATE link_sessions SET orphan_item_id = $2, updated_at = $3 WHERE id = \
            (SELECT id FROM link_sessions WHERE integration_id = $1 AND state = 'orphaned' \
                AND orphan_item_id IS NULL ORDER BY id LIMIT 1) AND orphan_item_id IS NULL";
    /// An Item that webhooks have spoken of since the visit began, that is not linked and was not
    /// named for another visit.
    UNKNOWN_ITEM =
        "SELECT w.item_id FROM webhook_events w WHERE w.integration_id = $1 \
         AND w.received_at >= $2 AND w.item_id IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM items i WHERE i.item_id = w.item_id) \
         AND NOT EXISTS (SELECT 1 FROM link_sessions l WHERE l.orphan_item_id = w.item_id) \
         ORDER BY w.received_at LIMIT 1";
}

/// A visit to Link.
#[derive(Debug, Clone)]
pub struct LinkSession {
    /// Our id.
    pub id: LinkSessionId,
    /// With whose credentials.
    pub integration_id: IntegrationId,
    /// The caller's id of the end user.
    pub end_user_id: String,
    /// The Item it repairs, or the one it made.
    pub item: Option<ItemKey>,
    /// Plaid's page.
    pub hosted_link_url: Option<String>,
    /// `open`, `finished` (to be exchanged), `linked`, `repaired`, `duplicate`, `orphaned`,
    /// `abandoned`, `expired` or `failed`.
    pub state: String,
    /// What stands in the way, in words.
    pub detail: Option<String>,
    /// Plaid's id of the Item whose access token was lost.
    pub orphan_item_id: Option<String>,
    /// How long the page can be opened.
    pub expires_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Whether an exchange had begun whose answer is not known.
    pub exchanging: bool,
}

/// The secrets of a visit.
pub struct LinkSecrets {
    /// Plaid's link token.
    pub link_token: SecretString,
    /// Public tokens that are to be exchanged.
    pub public_tokens: Vec<SecretString>,
}

/// A visit to be kept.
#[derive(Clone)]
pub struct NewLinkSession {
    /// With whose credentials.
    pub integration: IntegrationId,
    /// The caller's id of the end user.
    pub end_user_id: String,
    /// The Item to repair; none for a new one.
    pub item: Option<ItemKey>,
    /// Plaid's link token.
    pub link_token: SecretString,
    /// Plaid's page.
    pub hosted_link_url: Option<String>,
    /// How long the page can be opened.
    pub expires_at: Timestamp,
}

/// The end of a visit, as a webhook or a look tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitEnded {
    /// The link token of the visit.
    pub link_token: String,
    /// Public tokens to exchange; none in update mode.
    pub public_tokens: Vec<String>,
    /// Whether the end user went through with it.
    pub succeeded: bool,
}

/// The end of a known visit with its tokens sealed.
#[derive(Clone)]
pub(crate) struct SealedVisit {
    session: String,
    public_tokens: Vec<u8>,
    succeeded: bool,
}

/// Notes the end of a visit within a larger write, and asks for the work that follows.
pub(crate) async fn visit_ended(
    connection: &mut Connected,
    visit: SealedVisit,
    now: Timestamp,
) -> Result<(), Error> {
    let state = if visit.succeeded { "finished" } else { "abandoned" };
    let finish = sqlx::query(FINISH).bind(visit.session.clone()).bind(state);
    finish.bind(visit.public_tokens).bind(now.as_microsecond()).execute(&mut *connection).await?;
    work::poke_by_person(connection, WorkKind::LinkSession, &visit.session, now).await
}

/// Ties a webhook about an Item nobody knows to a visit whose exchange was lost.
pub(crate) async fn name_orphan(
    connection: &mut Connected,
    integration: &str,
    item_id: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let name = sqlx::query(NAME_ORPHAN).bind(integration.to_owned()).bind(item_id.to_owned());
    name.bind(now.as_microsecond()).execute(connection).await?;
    Ok(())
}

/// Notes within the write that links an Item that its public token is spent.
pub(crate) async fn exchanged(
    connection: &mut Connected,
    exchange: &Exchange,
    item: &ItemKey,
    now: Timestamp,
) -> Result<(), Error> {
    let state = if exchange.is_last { "linked" } else { "finished" };
    sqlx::query(EXCHANGED)
        .bind(exchange.session.to_string())
        .bind(exchange.remaining.clone())
        .bind(item.to_string())
        .bind(state)
        .bind(now.as_microsecond())
        .execute(connection)
        .await?;
    Ok(())
}

/// An exchange of the first public token of a visit.
#[derive(Clone)]
pub struct Exchange {
    /// Which visit.
    pub session: LinkSessionId,
    /// The tokens behind it, sealed.
    remaining: Vec<u8>,
    /// Whether there are none.
    is_last: bool,
}

impl Store {
    /// Keeps a visit that can begin, and looks after it from now on.
    pub async fn open_link_session(&self, new: NewLinkSession) -> Result<LinkSession, Error> {
        let data_key =
            self.data_key(&new.integration).await?.ok_or(Error::corrupt("an integration"))?;
        let id = LinkSessionId::generate(&self.ambient);
        let token = new.link_token.expose_secret();
        let place = place(new.integration.as_str(), id.as_str(), "link_token");
        let (sealed, hash) = (data_key.seal(token, place)?, hash(token));
        let now = self.ambient.now();
        let session = LinkSession {
            id,
            integration_id: new.integration,
            end_user_id: new.end_user_id,
            item: new.item,
            hosted_link_url: new.hosted_link_url,
            state: "open".to_owned(),
            detail: None,
            orphan_item_id: None,
            expires_at: new.expires_at,
            created_at: now,
            updated_at: now,
            exchanging: false,
        };
        let row = session.clone();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(ADD)
                        .bind(row.id.to_string())
                        .bind(row.integration_id.to_string())
                        .bind(row.end_user_id)
                        .bind(row.item.map(String::from))
                        .bind(sealed)
                        .bind(hash)
                        .bind(row.hosted_link_url)
                        .bind(row.expires_at.as_microsecond())
                        .bind(now.as_microsecond())
                        .execute(&mut *connection)
                        .await?;
                    work::poke(connection, WorkKind::LinkSession, row.id.as_str(), now).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(session)
    }

    /// A visit of this id with its secrets.
    pub async fn link_session(
        &self,
        id: &str,
    ) -> Result<Option<(LinkSession, LinkSecrets)>, Error> {
        let get = sqlx::query(GET).bind(id.to_owned());
        let Some(row) = self.db.fetch_optional(get).await? else { return Ok(None) };
        let session = read(&row)?;
        let data_key = self.data_key(&session.integration_id).await?;
        let data_key = data_key.ok_or(Error::corrupt("an integration"))?;
        let (integration, id) = (session.integration_id.as_str(), session.id.as_str());
        let sealed: Vec<u8> = row.try_get("link_token")?;
        let link_token = data_key.open(&sealed, place(integration, id, "link_token"))?;
        let sealed: Option<Vec<u8>> = row.try_get("public_tokens")?;
        let public_tokens = match sealed.filter(|sealed| !sealed.is_empty()) {
            None => Vec::new(),
            Some(sealed) => {
                let text = data_key.open(&sealed, place(integration, id, "public_tokens"))?;
                let lines = text.expose_secret().lines();
                lines.map(SecretString::from).collect()
            }
        };
        Ok(Some((session, LinkSecrets { link_token, public_tokens })))
    }

    /// Visits of an integration, newest first, behind one.
    pub async fn link_sessions(
        &self,
        integration: &IntegrationId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<LinkSession>, Error> {
        let list = sqlx::query(LIST)
            .bind(integration.to_string())
            .bind(after.map(str::to_owned))
            .bind(limit);
        self.db.fetch_all(list).await?.iter().map(read).collect()
    }

    /// The newest visit that was to repair an Item.
    pub async fn newest_link_session(&self, item: &ItemKey) -> Result<Option<LinkSession>, Error> {
        let find = sqlx::query(NEWEST_OF_ITEM).bind(item.to_string());
        self.db.fetch_optional(find).await?.as_ref().map(read).transpose()
    }

    /// Seals the tokens of a visit that is ours; nothing, if its link token is not.
    pub(crate) async fn seal_visit(
        &self,
        visit: &VisitEnded,
    ) -> Result<Option<SealedVisit>, Error> {
        let find = sqlx::query(BY_TOKEN).bind(hash(&visit.link_token));
        let Some(row) = self.db.fetch_optional(find).await? else { return Ok(None) };
        let session: String = row.try_get("id")?;
        let integration: IntegrationId = parsed(&row, "integration_id")?;
        let repairs: Option<String> = row.try_get("item")?;
        // In update mode the Item keeps its token, so there is nothing to exchange.
        let tokens = if repairs.is_some() { &[][..] } else { &visit.public_tokens };
        let public_tokens = self.seal_tokens(&integration, &session, tokens).await?;
        Ok(Some(SealedVisit { session, public_tokens, succeeded: visit.succeeded }))
    }

    async fn seal_tokens(
        &self,
        integration: &IntegrationId,
        session: &str,
        tokens: &[String],
    ) -> Result<Vec<u8>, Error> {
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let data_key = self.data_key(integration).await?.ok_or(Error::corrupt("an integration"))?;
        let place = place(integration.as_str(), session, "public_tokens");
        Ok(data_key.seal(&tokens.join("\n"), place)?)
    }

    /// Notes the end of a visit that a look found, and asks for the work that follows.
    pub async fn end_visit(&self, visit: &VisitEnded) -> Result<(), Error> {
        let Some(sealed) = self.seal_visit(visit).await? else { return Ok(()) };
        let now = self.ambient.now();
        self.db
            .write(move |connection| {
                Box::pin(async move { visit_ended(connection, sealed, now).await })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Keeps the intent to exchange the first public token of a visit. Only then may Plaid be asked.
    pub async fn begin_exchange(
        &self,
        session: &LinkSession,
        secrets: &LinkSecrets,
    ) -> Result<Exchange, Error> {
        let rest = secrets.public_tokens.iter().skip(1);
        let rest: Vec<String> = rest.map(|token| token.expose_secret().to_owned()).collect();
        let remaining =
            self.seal_tokens(&session.integration_id, session.id.as_str(), &rest).await?;
        let (id, now) = (session.id.to_string(), self.ambient.now());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let begin = sqlx::query(BEGIN_EXCHANGE).bind(id).bind(now.as_microsecond());
                    begin.execute(connection).await?;
                    Ok(())
                })
            })
            .await?;
        Ok(Exchange { session: session.id.clone(), remaining, is_last: rest.is_empty() })
    }

    /// Ends a visit, and the work on it. One that repaired an Item wakes it; one whose exchange was
    /// lost is told to subscribers, because only the end user can help.
    pub async fn end_link_session(
        &self,
        lease: &Lease,
        session: &LinkSession,
        state: &'static str,
        detail: Option<&str>,
    ) -> Result<(), Error> {
        let (lease, session) = (lease.clone(), session.clone());
        let (detail, ambient) = (detail.map(str::to_owned), self.ambient.clone());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    work::stop_leased(connection, &lease).await?;
                    end(connection, &session, state, detail, &ambient).await
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }
}

async fn end(
    connection: &mut Connected,
    session: &LinkSession,
    state: &'static str,
    detail: Option<String>,
    ambient: &Ambient,
) -> Result<(), Error> {
    let now = ambient.now();
    let integration = session.integration_id.as_str();
    let mut orphan: Option<String> = None;
    if state == "orphaned" {
        let find = sqlx::query(UNKNOWN_ITEM).bind(integration.to_owned());
        let find = find.bind(session.created_at.as_microsecond());
        let row = find.fetch_optional(&mut *connection).await?;
        orphan = row.map(|row| row.try_get(0)).transpose()?;
        let data = json!({
            "item_id": orphan, "end_user_id": session.end_user_id, "integration_id": integration,
            "link_session_id": session.id.as_str(), "status": state, "detail": detail,
            "what_to_do": "Ask the end user to link the bank again.",
        });
        let notice = Notice::ItemRepairNeeded;
        outbox::announce(connection, integration, notice, &data, ambient).await?;
    }
    sqlx::query(END)
        .bind(session.id.to_string())
        .bind(state)
        .bind(detail)
        .bind(orphan)
        .bind(now.as_microsecond())
        .execute(&mut *connection)
        .await?;
    let Some(item) = session.item.as_ref().filter(|_| state == "repaired") else { return Ok(()) };
    let told = Some("The end user went through Link's update mode.");
    life::happen(connection, item.as_str(), &ItemEvent::Updated, told, ambient).await?;
    item_streams::make_all_due(connection, item.as_str()).await?;
    work::poke_by_person(connection, WorkKind::Sync, item.as_str(), now).await
}

fn hash(token: &str) -> String {
    BASE64.encode(digest(&SHA256, token.as_bytes()))
}

fn place<'a>(integration: &'a str, id: &'a str, column: &'static str) -> Place<'a> {
    Place { owner: integration, table: "link_sessions", row: id, column }
}

fn read(row: &AnyRow) -> Result<LinkSession, Error> {
    let item: Option<String> = row.try_get("item")?;
    let exchanging: i64 = row.try_get("exchanging")?;
    Ok(LinkSession {
        id: parsed(row, "id")?,
        integration_id: parsed(row, "integration_id")?,
        end_user_id: row.try_get("end_user_id")?,
        item: item.and_then(|key| key.parse().ok()),
        hosted_link_url: row.try_get("hosted_link_url")?,
        state: row.try_get("state")?,
        detail: row.try_get("detail")?,
        orphan_item_id: row.try_get("orphan_item_id")?,
        expires_at: instant(row.try_get("expires_at")?)?,
        created_at: instant(row.try_get("created_at")?)?,
        updated_at: instant(row.try_get("updated_at")?)?,
        exchanging: exchanging != 0,
    })
}
