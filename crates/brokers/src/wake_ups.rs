//! Wake-ups between processes. Work is told to one of them: a hint for each kind of work waits in a
//! stream until somebody takes it, and a second one of its kind is refused because it would say the same.
//! How far the feed is, is told to all who listen. A hint that is lost costs time only.

use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::{Client, jetstream::Context};
use futures_util::StreamExt;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::nats::{Nats, NatsError};

/// A hint that was taken and not confirmed is given to another process after this long.
const TAKEN_FOR: Duration = Duration::from_secs(5);
/// Pause after the cluster could not be used.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Hints that may wait to be heard.
const WAITING: usize = 256;

/// Carries hints, which are plain words here.
pub struct WakeUps {
    client: Client,
    prefix: String,
    heard: Mutex<mpsc::Receiver<String>>,
    _listening: JoinSet<()>,
}

impl WakeUps {
    /// Begins to listen; `takes_work` also for hints that only one process is told.
    pub async fn start(nats: &Nats, takes_work: bool) -> Result<Self, NatsError> {
        let (client, context) = nats.connect().await?;
        let (hear, heard) = mpsc::channel(WAITING);
        let mut listening = JoinSet::new();
        listening.spawn(listen_for_all(client.clone(), nats.clone(), hear.clone()));
        if takes_work {
            listening.spawn(listen_for_one(context, nats.clone(), hear));
        }
        let prefix = nats.prefix.clone();
        Ok(Self { client, prefix, heard: Mutex::new(heard), _listening: listening })
    }

    /// Tells one process that takes work.
    pub async fn tell_one(&self, hint: &str) {
        self.send(format!("{}.wake.{hint}", self.prefix), hint).await;
    }

    /// Tells all processes.
    pub async fn tell_all(&self, hint: &str) {
        self.send(format!("{}.hints", self.prefix), hint).await;
    }

    async fn send(&self, subject: String, hint: &str) {
        // Nobody waits for an answer: a hint that is refused or lost is one that others make up for.
        if let Err(error) = self.client.publish(subject, hint.to_owned().into()).await {
            tracing::debug!(%error, "a hint was not sent");
        }
    }

    /// The next hint from another process. Whoever stops waiting loses none.
    pub async fn next(&self) -> String {
        match self.heard.lock().await.recv().await {
            Some(hint) => hint,
            None => std::future::pending().await,
        }
    }
}

async fn listen_for_all(client: Client, nats: Nats, hear: mpsc::Sender<String>) {
    loop {
        match client.subscribe(format!("{}.hints", nats.prefix)).await {
            Ok(mut hints) => {
                while let Some(hint) = hints.next().await {
                    pass_on(&hear, &hint.payload);
                }
            }
            Err(error) => tracing::warn!(%error, "hints cannot be heard; the database is asked"),
        }
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

async fn listen_for_one(context: Context, nats: Nats, hear: mpsc::Sender<String>) {
    loop {
        if let Err(error) = take_hints(&context, &nats, &hear).await {
            tracing::warn!(%error, "hints cannot be taken; the database is asked instead");
        }
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

async fn take_hints(
    context: &Context,
    nats: &Nats,
    hear: &mpsc::Sender<String>,
) -> Result<(), NatsError> {
    let config = Config {
        name: format!("{}_wake", nats.prefix),
        subjects: vec![format!("{}.wake.*", nats.prefix)],
        storage: StorageType::Memory,
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        max_messages_per_subject: 1,
        num_replicas: nats.replicas,
        ..Config::default()
    };
    let name = config.name.clone();
    context.create_or_update_stream(config).await.map_err(|error| nats.refused(&error))?;
    let stream = context.get_stream(name).await.map_err(|error| nats.refused(&error))?;
    let config = pull::Config {
        durable_name: Some("processes".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: TAKEN_FOR,
        ..pull::Config::default()
    };
    let consumer = stream.get_or_create_consumer("processes", config).await;
    let consumer = consumer.map_err(|error| nats.refused(&error))?;
    // One at a time, so that the others get theirs.
    let messages = consumer.stream().max_messages_per_batch(1).messages().await;
    let mut messages = messages.map_err(|error| nats.refused(&error))?;
    while let Some(message) = messages.next().await {
        let message = message.map_err(|error| nats.refused(&error))?;
        pass_on(hear, &message.payload);
        message.ack_with(AckKind::Ack).await.map_err(|error| nats.refused(&error))?;
    }
    Ok(())
}

/// When so many wait to be heard, everybody is about to look anyway.
fn pass_on(hear: &mpsc::Sender<String>, payload: &[u8]) {
    let _full = hear.try_send(String::from_utf8_lossy(payload).into_owned());
}
