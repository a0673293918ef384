//! The Items of a source, read a few at a time in their order, for whoever writes messages.

use std::sync::Arc;

use futures_util::StreamExt;
use jiff::Timestamp;
use model::Ambient;
use pipeline::{ItemRead, ReadPlan, SourceStream, read_item, source_streams};
use plaid::{ItemBank, wire};
use serde_json::Value;
use tokio::sync::mpsc;

use super::source_config::SourceConfig;

/// Items read at a time: the answers wait while those before them are written.
const AT_A_TIME: usize = 4;
/// Events that wait to be written.
const WAITING_EVENTS: usize = 16;

/// What came of reading.
pub(super) enum Event {
    /// A limit of Plaid's is waited for.
    Waiting(Timestamp),
    /// An Item's records.
    Read {
        /// Plaid's id of the Item.
        item_id: String,
        /// The records.
        read: ItemRead,
    },
    /// An Item could not be read.
    Failed {
        /// Whether the same may succeed later.
        may_pass: bool,
        /// Which Item, why, and Plaid's code.
        message: String,
    },
}

/// An Item that Plaid told of.
struct Opened {
    bank: ItemBank,
    item: wire::Item,
}

/// Why Plaid did not tell of an Item.
#[derive(Clone)]
struct Refused {
    may_pass: bool,
    message: String,
}

/// The Items of a source, each with its client.
pub(super) struct Items {
    items: Arc<Vec<Result<Opened, Refused>>>,
    oldest: Option<Timestamp>,
    compat: Option<model::Compat>,
}

impl Items {
    /// Asks Plaid for the Item behind each token; one that fails does so in every stream.
    pub(super) async fn open(config: &SourceConfig) -> anyhow::Result<Self> {
        let client = config.client()?;
        let ask = config.access_tokens()?.into_iter().map(|token| {
            let client = client.clone();
            async move {
                match client.item_get(&token).await {
                    Ok(item) => Ok(Opened { bank: ItemBank { client, token }, item }),
                    Err(error) => {
                        let may_pass = matches!(
                            error.reaction(),
                            plaid::Reaction::Retry | plaid::Reaction::Later
                        );
                        Err(Refused { may_pass, message: error.to_string() })
                    }
                }
            }
        });
        let items = futures_util::stream::iter(ask).buffered(AT_A_TIME).collect().await;
        Ok(Self { items: Arc::new(items), oldest: config.oldest(), compat: config.compat })
    }

    /// Reads a stream of every Item behind its part of the state.
    pub(super) fn read(
        &self,
        stream: &SourceStream,
        state: Option<&Value>,
        ambient: &Ambient,
    ) -> mpsc::Receiver<Event> {
        let (sender, events) = mpsc::channel(WAITING_EVENTS);
        let (items, oldest, compat) = (Arc::clone(&self.items), self.oldest, self.compat);
        let (wanted, ambient) = (stream.stream, ambient.clone());
        let state = state.map(|state| state["items"].clone());
        tokio::spawn(async move {
            let stream = source_streams(compat).into_iter().find(|s| s.stream == wanted);
            let Some(stream) = stream else { return };
            let places = 0..items.len();
            let reads = places.map(|place| {
                let (items, stream, state, ambient, sender) =
                    (&items, &stream, &state, &ambient, sender.clone());
                async move {
                    let Opened { bank, item } = match &items[place] {
                        Ok(opened) => opened,
                        Err(refused) => {
                            let Refused { may_pass, message } = refused.clone();
                            return Event::Failed { may_pass, message };
                        }
                    };
                    let own = state.as_ref().map(|state| &state[&item.item_id]);
                    let plan = ReadPlan { item, state: own, oldest };
                    // Nobody waits for a note that finds no room.
                    let on_wait = |until| drop(sender.try_send(Event::Waiting(until)));
                    match read_item(bank, stream, &plan, ambient, &on_wait).await {
                        Ok(read) => Event::Read { item_id: item.item_id.clone(), read },
                        Err(error) => Event::Failed {
                            may_pass: error.may_pass(),
                            message: format!(
                                "{} of Item {}: {error}",
                                stream.stream.as_str(),
                                item.item_id
                            ),
                        },
                    }
                }
            });
            let mut reads = futures_util::stream::iter(reads).buffered(AT_A_TIME);
            while let Some(event) = reads.next().await {
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        });
        events
    }
}
