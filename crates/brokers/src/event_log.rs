//! The feed as a stream of JetStream: a subject for each integration and end user, and the place of a
//! message in the stream is the number of its change in the feed.
//!
//! Guarantee: every change is in the stream once, in the order of the feed. Each message is taken only
//! behind the one with the number before it, so of two writers one is refused; what a lost answer left
//! open is seen by looking where the stream ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use tokio::sync::OnceCell;

use crate::nats::{Nats, NatsError};

/// Within this time the server itself drops what is sent twice.
const DUPLICATES: Duration = Duration::from_secs(120);

/// A change on its way into the log.
pub struct LogMessage {
    /// Our id of the integration.
    pub integration: String,
    /// Our id of the end user.
    pub end_user: String,
    /// The change as JSON, in the shape of the feed.
    pub body: String,
}

/// How a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogState {
    /// The number of the last change that is in it.
    pub last: i64,
    /// Servers that hold each message.
    pub replicas: usize,
}

/// The log. Connects when it is first used.
pub struct EventLog {
    nats: Nats,
    connected: OnceCell<Context>,
    is_arranged: AtomicBool,
}

impl EventLog {
    /// The log of an installation.
    pub fn new(nats: Nats) -> Self {
        Self { nats, connected: OnceCell::new(), is_arranged: AtomicBool::new(false) }
    }

    /// The number of the last change that is in it; 0 when it is empty.
    pub async fn last(&self) -> Result<i64, NatsError> {
        Ok(self.describe().await?.last)
    }

    /// How far it is, and how it is kept; made if it is missing.
    pub async fn describe(&self) -> Result<LogState, NatsError> {
        let context = self.context().await?;
        let known = match self.is_arranged.load(Ordering::Relaxed) {
            true => context.get_stream(format!("{}_changes", self.nats.prefix)).await.ok(),
            false => None,
        };
        let info = match known {
            Some(stream) => stream.cached_info().clone(),
            // The settings of today hold for a stream that is there, too.
            None => {
                let arranged = context.create_or_update_stream(self.config()).await;
                self.is_arranged.store(true, Ordering::Relaxed);
                arranged.map_err(|error| self.nats.refused(&error))?
            }
        };
        Ok(LogState {
            last: i64::try_from(info.state.last_sequence).unwrap_or(i64::MAX),
            replicas: info.config.num_replicas,
        })
    }

    /// Adds changes behind the last one; nothing in place of a change keeps its number taken.
    pub async fn append(
        &self,
        first: i64,
        changes: Vec<Option<LogMessage>>,
    ) -> Result<(), NatsError> {
        let context = self.context().await?;
        let mut waiting = Vec::with_capacity(changes.len());
        for (seq, change) in (first..).zip(changes) {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, seq.to_string());
            headers.insert(NATS_EXPECTED_LAST_SEQUENCE, (seq - 1).to_string());
            let subjects = format!("{}.changes", self.nats.prefix);
            let (subject, body) = match change {
                Some(change) => {
                    (format!("{subjects}.{}.{}", change.integration, change.end_user), change.body)
                }
                None => (format!("{subjects}._erased"), format!("{{\"seq\":{seq}}}")),
            };
            let sent = context.publish_with_headers(subject, headers, body.into()).await;
            waiting.push(sent.map_err(|error| self.nats.refused(&error))?);
        }
        for sent in waiting {
            sent.await.map_err(|error| self.nats.refused(&error))?;
        }
        Ok(())
    }

    async fn context(&self) -> Result<&Context, NatsError> {
        self.connected.get_or_try_init(async || Ok(self.nats.connect().await?.1)).await
    }

    fn config(&self) -> Config {
        Config {
            name: format!("{}_changes", self.nats.prefix),
            subjects: vec![format!("{}.changes.>", self.nats.prefix)],
            storage: StorageType::File,
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            num_replicas: self.nats.replicas,
            max_age: self.nats.keep.unwrap_or_default(),
            duplicate_window: DUPLICATES,
            ..Config::default()
        }
    }
}
