//! Connections and how far each of their streams is; what their destinations need is sealed.

use jiff::Timestamp;
use model::{ConnectionId, ConnectionSettings, IntegrationId, Schedule, Stream};
use secrecy::{ExposeSecret, SecretString};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::Store;
use crate::db::Connected;
use crate::error::Error;
use crate::integrations::parsed;
use crate::records::json;
use crate::seal::{DataKey, Place};
use crate::statement::declare;
use crate::work::{self, WorkKind, instant};

declare! {
    CREATE =
        "INSERT INTO connections (id, integration_id, name, settings, destination, \
            destination_kind, place, hash_key, on_change, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    CHANGE =
        "UPDATE connections SET name = $2, settings = $3, on_change = $4, \
            destination = COALESCE($5, destination), \
            destination_kind = COALESCE($6, destination_kind), place = COALESCE($7, place) \
         WHERE id = $1";
    LIST =
        "SELECT id, integration_id, name, settings, destination_kind, place, paused, created_at \
         FROM connections WHERE (CAST($1 AS TEXT) IS NULL OR integration_id = $1) \
            AND (CAST($2 AS TEXT) IS NULL OR id > $2) ORDER BY id LIMIT $3";
    GET =
        "SELECT id, integration_id, name, settings, destination_kind, place, paused, created_at \
         FROM connections WHERE id = $1";
    SECRETS = "SELECT integration_id, destination, hash_key FROM connections WHERE id = $1";
    PAUSE = "UPDATE connections SET paused = $2 WHERE id = $1";
    DELETE = "DELETE FROM connections WHERE id = $1";
    DELETE_STREAMS = "DELETE FROM connection_streams WHERE connection = $1";
    DELETE_RUNS = "DELETE FROM runs WHERE connection = $1";
    DELETE_WORK = "DELETE FROM work WHERE kind = 'run' AND subject = $1";
    OF_INTEGRATION = "SELECT id FROM connections WHERE integration_id = $1";
    STREAMS =
        "SELECT stream, generation, refresh_wanted, mark FROM connection_streams \
         WHERE connection = $1";
    NOTE_STREAM =
        "INSERT INTO connection_streams (connection, stream, generation, refresh_wanted, mark) \
         VALUES ($1, $2, $3, 0, $5) ON CONFLICT (connection, stream) DO UPDATE SET \
            generation = excluded.generation, \
            refresh_wanted = connection_streams.refresh_wanted - CAST($4 AS BIGINT), \
            mark = excluded.mark";
    WANT_REFRESH =
        "INSERT INTO connection_streams (connection, stream, generation, refresh_wanted, mark) \
         VALUES ($1, $2, 0, 1, NULL) ON CONFLICT (connection, stream) DO UPDATE SET \
            refresh_wanted = connection_streams.refresh_wanted + 1";
    /// Those that wait for changes of an integration in the numbers given out last.
    POKE_ON_CHANGE =
        "INSERT INTO work (kind, subject, due_at, not_before, wanted_seq, claimed_seq, done_seq, \
            lease_until, fence, attempts) \
         SELECT 'run', n.id, $1, 0, 1, 0, 0, 0, 0, 0 FROM connections n \
         WHERE n.on_change = 1 AND n.paused IS NULL AND n.integration_id IN \
            (SELECT c.integration_id FROM changes c WHERE c.seq > $2) \
         ON CONFLICT (kind, subject) DO UPDATE SET wanted_seq = work.wanted_seq + 1, \
            due_at = CASE WHEN work.due_at < excluded.due_at THEN work.due_at \
                ELSE excluded.due_at END";
}

/// A connection without what its destination needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Our id.
    pub id: ConnectionId,
    /// Whose streams.
    pub integration_id: IntegrationId,
    /// A name for people.
    pub name: String,
    /// What it does.
    pub settings: ConnectionSettings,
    /// The destination's type.
    pub destination_kind: String,
    /// Where the destination is, for people.
    pub place: String,
    /// Why it does not run, if it is paused.
    pub paused: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a connection is made of.
#[derive(Clone)]
pub struct NewConnection {
    /// Whose streams.
    pub integration_id: IntegrationId,
    /// A name for people.
    pub name: String,
    /// What it does.
    pub settings: ConnectionSettings,
    /// Where to.
    pub destination: NewDestination,
}

/// A destination as it is kept.
#[derive(Clone)]
pub struct NewDestination {
    /// All of its settings as JSON.
    pub settings: SecretString,
    /// Its type.
    pub kind: String,
    /// Where it is, for people.
    pub place: String,
}

/// What a connection needs to write.
#[derive(Clone)]
pub struct ConnectionSecrets {
    /// The destination's settings as JSON.
    pub destination: SecretString,
    /// The key of hashed fields, in hexadecimal.
    pub hash_key: SecretString,
}

/// How far a stream of a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamProgress {
    /// Which.
    pub stream: Stream,
    /// Rises with every refresh.
    pub generation: i64,
    /// How often somebody wished that the next run builds its tables anew; when it is noted, how many
    /// of those wishes are fulfilled.
    pub refresh_wanted: i64,
    /// What the destination acknowledged last.
    pub mark: Option<String>,
}

impl Store {
    /// Keeps a new connection. It runs when its schedule or a person says so.
    pub async fn create_connection(&self, new: NewConnection) -> Result<Connection, Error> {
        let id = ConnectionId::generate(&self.ambient);
        let key = self.key_of(&new.integration_id).await?;
        let bytes: [u8; 32] = self.ambient.random();
        let hash_key: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let at = |column| place(new.integration_id.as_str(), id.as_str(), column);
        let hash_key = key.seal(&hash_key, at("hash_key"))?;
        let sealed = key.seal(new.destination.settings.expose_secret(), at("destination"))?;
        let connection = Connection {
            id,
            integration_id: new.integration_id,
            name: new.name,
            settings: new.settings,
            destination_kind: new.destination.kind,
            place: new.destination.place,
            paused: None,
            created_at: self.ambient.now(),
        };
        let (row, settings) = (connection.clone(), json(&connection.settings)?);
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(CREATE)
                        .bind(row.id.to_string())
                        .bind(row.integration_id.to_string())
                        .bind(row.name)
                        .bind(settings)
                        .bind(sealed)
                        .bind(row.destination_kind)
                        .bind(row.place)
                        .bind(hash_key)
                        .bind(i64::from(row.settings.schedule == Schedule::OnChange))
                        .bind(row.created_at.as_microsecond())
                        .execute(&mut *connection)
                        .await?;
                    if row.settings.schedule != Schedule::Manual {
                        let now = row.created_at;
                        work::poke(connection, WorkKind::Run, row.id.as_str(), now).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.news.announce_work();
        Ok(connection)
    }

    /// Changes what a connection does; without a new destination the old one stays.
    pub async fn change_connection(
        &self,
        connection: &Connection,
        destination: Option<NewDestination>,
    ) -> Result<(), Error> {
        let key = self.key_of(&connection.integration_id).await?;
        let at = place(connection.integration_id.as_str(), connection.id.as_str(), "destination");
        let sealed = destination
            .as_ref()
            .map(|destination| key.seal(destination.settings.expose_secret(), at))
            .transpose()?;
        let (row, settings) = (connection.clone(), json(&connection.settings)?);
        let now = self.ambient.now();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(CHANGE)
                        .bind(row.id.to_string())
                        .bind(row.name)
                        .bind(settings)
                        .bind(i64::from(row.settings.schedule == Schedule::OnChange))
                        .bind(sealed)
                        .bind(destination.as_ref().map(|destination| destination.kind.clone()))
                        .bind(destination.map(|destination| destination.place))
                        .execute(&mut *connection)
                        .await?;
                    if row.settings.schedule != Schedule::Manual && row.paused.is_none() {
                        work::poke(connection, WorkKind::Run, row.id.as_str(), now).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Connections in the order they were made, behind one, of one integration or of all.
    pub async fn connections(
        &self,
        integration: Option<&IntegrationId>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Connection>, Error> {
        let list = sqlx::query(LIST)
            .bind(integration.map(ToString::to_string))
            .bind(after.map(str::to_owned))
            .bind(limit);
        self.db.fetch_all(list).await?.iter().map(read).collect()
    }

    /// One connection.
    pub async fn connection(&self, id: &str) -> Result<Option<Connection>, Error> {
        let get = sqlx::query(GET).bind(id.to_owned());
        self.db.fetch_optional(get).await?.as_ref().map(read).transpose()
    }

    /// What a connection needs to write.
    pub async fn connection_secrets(&self, id: &ConnectionId) -> Result<ConnectionSecrets, Error> {
        let get = sqlx::query(SECRETS).bind(id.to_string());
        let row = self.db.fetch_one(get).await?;
        let integration: IntegrationId = parsed(&row, "integration_id")?;
        let key = self.key_of(&integration).await?;
        let open = |column: &'static str| -> Result<SecretString, Error> {
            let sealed: Vec<u8> = row.try_get(column)?;
            Ok(key.open(&sealed, place(integration.as_str(), id.as_str(), column))?)
        };
        Ok(ConnectionSecrets { destination: open("destination")?, hash_key: open("hash_key")? })
    }

    async fn key_of(&self, integration: &IntegrationId) -> Result<DataKey, Error> {
        self.data_key(integration).await?.ok_or(Error::corrupt("an integration"))
    }

    /// Keeps a connection from running, with the reason; without one it may run again, and does so at
    /// once unless it only runs when asked.
    pub async fn pause_connection(
        &self,
        id: &ConnectionId,
        because: Option<&str>,
    ) -> Result<(), Error> {
        let (id, because, now) = (id.to_string(), because.map(str::to_owned), self.ambient.now());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let pause = sqlx::query(PAUSE).bind(id.clone()).bind(because.clone());
                    pause.execute(&mut *connection).await?;
                    let get = sqlx::query(GET).bind(id.clone());
                    let row = get.fetch_optional(&mut *connection).await?;
                    let settings = row.as_ref().map(read).transpose()?.map(|row| row.settings);
                    let by_itself = settings.is_some_and(|s| s.schedule != Schedule::Manual);
                    if because.is_none() && by_itself {
                        work::poke(connection, WorkKind::Run, &id, now).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        self.news.announce_work();
        Ok(())
    }

    /// Forgets a connection with its runs. What stands at the destination stays there.
    pub async fn delete_connection(&self, id: &ConnectionId) -> Result<(), Error> {
        let id = id.to_string();
        self.db
            .write(move |connection| Box::pin(async move { delete(connection, &id).await }))
            .await
    }

    /// How far the streams of a connection are.
    pub async fn stream_progress(&self, id: &ConnectionId) -> Result<Vec<StreamProgress>, Error> {
        let list = sqlx::query(STREAMS).bind(id.to_string());
        let rows = self.db.fetch_all(list).await?;
        let progress = |row: &AnyRow| {
            let stream: String = row.try_get("stream")?;
            Ok(StreamProgress {
                stream: Stream::from_name(&stream).ok_or(Error::corrupt("a stream"))?,
                generation: row.try_get("generation")?,
                refresh_wanted: row.try_get("refresh_wanted")?,
                mark: row.try_get("mark")?,
            })
        };
        rows.iter().map(progress).collect()
    }

    /// Notes how far a stream is.
    pub async fn note_stream_progress(
        &self,
        id: &ConnectionId,
        progress: StreamProgress,
    ) -> Result<(), Error> {
        let id = id.to_string();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(NOTE_STREAM)
                        .bind(id)
                        .bind(progress.stream.as_str())
                        .bind(progress.generation)
                        .bind(progress.refresh_wanted)
                        .bind(progress.mark)
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Has the next run build the tables of these streams anew.
    pub async fn want_refresh(&self, id: &ConnectionId, streams: &[Stream]) -> Result<(), Error> {
        let (id, streams) = (id.to_string(), streams.to_vec());
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    for stream in streams {
                        let want = sqlx::query(WANT_REFRESH).bind(id.clone()).bind(stream.as_str());
                        want.execute(&mut *connection).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}

/// Asks for a run of every connection that waits for what was numbered last.
pub(crate) async fn poke_on_change(
    connection: &mut Connected,
    behind: i64,
    now: Timestamp,
) -> Result<(), Error> {
    let poke = sqlx::query(POKE_ON_CHANGE).bind(now.as_microsecond()).bind(behind);
    poke.execute(connection).await?;
    Ok(())
}

/// Forgets the connections of an integration.
pub(crate) async fn delete_all(connection: &mut Connected, integration: &str) -> Result<(), Error> {
    let list = sqlx::query(OF_INTEGRATION).bind(integration.to_owned());
    for row in list.fetch_all(&mut *connection).await? {
        let id: String = row.try_get(0)?;
        delete(connection, &id).await?;
    }
    Ok(())
}

async fn delete(connection: &mut Connected, id: &str) -> Result<(), Error> {
    for statement in [DELETE_WORK, DELETE_RUNS, DELETE_STREAMS, DELETE] {
        sqlx::query(statement).bind(id.to_owned()).execute(&mut *connection).await?;
    }
    Ok(())
}

fn place<'a>(integration: &'a str, row: &'a str, column: &'static str) -> Place<'a> {
    Place { owner: integration, table: "connections", row, column }
}

fn read(row: &AnyRow) -> Result<Connection, Error> {
    let settings: String = row.try_get("settings")?;
    Ok(Connection {
        id: parsed(row, "id")?,
        integration_id: parsed(row, "integration_id")?,
        name: row.try_get("name")?,
        settings: serde_json::from_str(&settings)
            .map_err(|_| Error::corrupt("settings of a connection"))?,
        destination_kind: row.try_get("destination_kind")?,
        place: row.try_get("place")?,
        paused: row.try_get("paused")?,
        created_at: instant(row.try_get("created_at")?)?,
    })
}
