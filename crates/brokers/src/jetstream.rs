//! NATS JetStream: a message for each change, on a subject for each table, and behind every batch a
//! message with its mark.
//!
//! Guarantee: every change is in the stream exactly once. What a crash left behind the last mark is
//! looked up and not sent again; the server drops what is sent twice besides.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, LastRawMessageErrorKind, StorageType, Stream};
use async_nats::jetstream::{self, Context};
use async_trait::async_trait;
use destinations::{
    Batch, Destination, DestinationError, Load, MissingColumn, fingerprint, messages_of, plain_name,
};
use futures_util::StreamExt;
use model::DestinationSettings;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

/// Within this time the server itself drops what is sent twice.
const DUPLICATES: Duration = Duration::from_secs(600);
/// Messages on their way whose acknowledgement is awaited.
const IN_FLIGHT: usize = 1_000;
/// How long the server may take to answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// The header that names a message for good, and the one that names its load.
const MESSAGE_ID: &str = "Nats-Msg-Id";
const LOAD: &str = "Selvedge-Load";

/// A stream.
pub struct JetStream {
    url: SecretString,
    name: String,
    place: String,
    connected: Option<(Context, Stream)>,
    /// Where the last mark of each load stands, from which the names of its messages are made.
    marks: HashMap<String, u64>,
    /// Messages of each load behind its last mark that are there already.
    there: HashMap<String, HashSet<String>>,
}

impl JetStream {
    /// Connects when it is first used.
    pub fn new(settings: &DestinationSettings) -> Result<Self, DestinationError> {
        let place = settings.to_string();
        let DestinationSettings::Nats { url, stream } = settings else {
            return Err(DestinationError::settings(place, "it is no NATS server", "Name its url"));
        };
        let name = plain_name(stream);
        let (marks, there) = (HashMap::new(), HashMap::new());
        Ok(Self { url: url.clone(), name, place, connected: None, marks, there })
    }

    async fn connected(&mut self) -> Result<(Context, Stream), DestinationError> {
        if let Some(connected) = &self.connected {
            return Ok(connected.clone());
        }
        let options =
            async_nats::ConnectOptions::new().name("selvedge").request_timeout(Some(DEADLINE));
        let client = options.connect(self.url.expose_secret()).await.map_err(|error| {
            let said = error.kind().to_string();
            let refused = matches!(
                error.kind(),
                async_nats::ConnectErrorKind::Authentication
                    | async_nats::ConnectErrorKind::AuthorizationViolation
            );
            match refused {
                true => {
                    let fix = "Check user, password or token in the url";
                    DestinationError::settings(&self.place, said, fix)
                }
                false => DestinationError::passing(&self.place, said),
            }
        })?;
        let context = jetstream::new(client);
        let config = Config {
            name: self.name.clone(),
            subjects: vec![format!("{}.>", self.name)],
            storage: StorageType::File,
            duplicate_window: DUPLICATES,
            ..Config::default()
        };
        let stream = context.get_or_create_stream(config).await.map_err(|error| {
            let fix = "Let the user make streams, or make the stream with the subjects <stream>.>; \
                       the server needs JetStream (nats-server -js)";
            DestinationError::settings(&self.place, error.to_string(), fix)
        })?;
        self.connected = Some((context.clone(), stream.clone()));
        Ok((context, stream))
    }

    fn failed(&self, error: &impl std::fmt::Display) -> DestinationError {
        DestinationError::passing(&self.place, error.to_string())
    }

    fn marks_subject(&self, load: &str) -> String {
        format!("{}._marks.{}", self.name, plain_name(load))
    }

    /// The last mark of a load, and its place in the stream. An empty one was left when it was cleared.
    async fn last_mark(&mut self, load: &str) -> Result<Option<(String, u64)>, DestinationError> {
        let subject = self.marks_subject(load);
        let (_, stream) = self.connected().await?;
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => {
                let text = String::from_utf8_lossy(&message.payload).into_owned();
                Ok(Some((text, message.sequence)))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Notes which messages of a load are behind its mark, because a crash came before the next one.
    async fn look_behind(&mut self, load: &str, mark: u64) -> Result<(), DestinationError> {
        let (_, mut stream) = self.connected().await?;
        let info = stream.info().await.map_err(|error| self.failed(&error))?;
        let last = info.state.last_sequence;
        if last <= mark {
            return Ok(());
        }
        let config = pull::OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: mark + 1 },
            headers_only: true,
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| self.failed(&error))?;
        let mut messages = consumer.messages().await.map_err(|error| self.failed(&error))?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| self.failed(&error))?;
            let header = |name: &str| {
                let headers = message.headers.as_ref()?;
                Some(headers.get(name)?.as_str().to_owned())
            };
            if header(LOAD).as_deref() == Some(load) {
                self.there.entry(load.to_owned()).or_default().extend(header(MESSAGE_ID));
            }
            let at = message.info().map_err(|error| self.failed(&error))?.stream_sequence;
            if at >= last {
                break;
            }
        }
        Ok(())
    }

    /// Publishes messages and waits until the server has all of them; gives the place of the last.
    async fn publish(
        &mut self,
        load: &str,
        messages: Vec<(String, String, String)>,
    ) -> Result<u64, DestinationError> {
        let (context, _) = self.connected().await?;
        let (mut waiting, mut last) = (Vec::with_capacity(IN_FLIGHT), 0);
        for (subject, id, text) in messages {
            if self.there.get(load).is_some_and(|there| there.contains(&id)) {
                continue;
            }
            let mut headers = HeaderMap::new();
            headers.insert(MESSAGE_ID, id.as_str());
            headers.insert(LOAD, load);
            let sent = context.publish_with_headers(subject, headers, text.into()).await;
            waiting.push(sent.map_err(|error| self.failed(&error))?);
            if waiting.len() == IN_FLIGHT {
                for sent in waiting.drain(..) {
                    sent.await.map_err(|error| self.failed(&error))?;
                }
            }
        }
        for sent in waiting {
            last = sent.await.map_err(|error| self.failed(&error))?.sequence;
        }
        Ok(last)
    }

    /// What the names of a load's next messages begin with: they follow its last mark.
    async fn behind(&mut self, load: &str) -> Result<String, DestinationError> {
        let sequence = match self.marks.get(load) {
            Some(sequence) => *sequence,
            None => self.last_mark(load).await?.map_or(0, |(_, sequence)| sequence),
        };
        self.marks.insert(load.to_owned(), sequence);
        Ok(format!("{load}:{sequence}"))
    }

    async fn set_mark(&mut self, load: &str, mark: &str) -> Result<(), DestinationError> {
        let id = format!("{}:mark:{:x}", self.behind(load).await?, fingerprint([mark]));
        let subject = self.marks_subject(load);
        let sequence = self.publish(load, vec![(subject, id, mark.to_owned())]).await?;
        self.marks.insert(load.to_owned(), sequence);
        self.there.remove(load);
        Ok(())
    }

    async fn tell(&mut self, load: &Load, kind: &str) -> Result<(), DestinationError> {
        let id = format!("{}:{kind}:{}", self.behind(&load.id).await?, load.generation);
        let text = json!({ "kind": kind, "stream": load.stream, "generation": load.generation });
        let subject = format!("{}._refreshes.{}", self.name, plain_name(&load.stream));
        self.publish(&load.id, vec![(subject, id, text.to_string())]).await.map(|_| ())
    }
}

#[async_trait]
impl Destination for JetStream {
    async fn check(&mut self) -> Result<(), DestinationError> {
        self.connected().await.map(|_| ())
    }

    async fn prepare(
        &mut self,
        loads: &[Load],
        _add_columns: bool,
    ) -> Result<Vec<MissingColumn>, DestinationError> {
        for load in loads {
            let mark = self.last_mark(&load.id).await?;
            let sequence = mark.as_ref().map_or(0, |(_, sequence)| *sequence);
            self.look_behind(&load.id, sequence).await?;
            self.marks.insert(load.id.clone(), sequence);
        }
        Ok(Vec::new())
    }

    async fn mark(&mut self, load: &str) -> Result<Option<String>, DestinationError> {
        Ok(self.last_mark(load).await?.map(|(mark, _)| mark).filter(|mark| !mark.is_empty()))
    }

    async fn begin_aside(&mut self, load: &Load, mark: &str) -> Result<(), DestinationError> {
        self.tell(load, "refresh_begun").await?;
        self.set_mark(&load.id, mark).await
    }

    fn resumes_aside(&self) -> bool {
        true
    }

    async fn write(&mut self, batch: Batch<'_>) -> Result<(), DestinationError> {
        let load = batch.load;
        let behind = self.behind(&load.id).await?;
        let messages = messages_of(&batch).map(|message| {
            let table: Vec<String> = message.table.split('.').map(plain_name).collect();
            let subject = format!("{}.{}", self.name, table.join("."));
            // What is sent again says the same behind the same mark; what says something else is new.
            let id = format!("{behind}:{:x}", message.fingerprint);
            (subject, id, message.text)
        });
        let messages: Vec<_> = messages.collect();
        self.publish(&load.id, messages).await?;
        self.set_mark(&load.id, &batch.mark).await
    }

    async fn settle(&mut self, _load: &Load) -> Result<(), DestinationError> {
        Ok(())
    }

    /// Readers are told that records of older generations are void.
    async fn swap(&mut self, load: &Load, mark: &str) -> Result<(), DestinationError> {
        self.tell(load, "refresh_done").await?;
        self.set_mark(&load.id, mark).await
    }

    async fn clear(&mut self, load: &Load) -> Result<(), DestinationError> {
        self.tell(load, "cleared").await?;
        // An empty mark is none.
        self.set_mark(&load.id, "").await
    }
}
