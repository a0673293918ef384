//! Kafka: a record for each change, keyed by the record's key, in a topic for each table. A batch and
//! its mark are one transaction.
//!
//! Guarantee: readers with `isolation.level=read_committed` meet every change exactly once.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use destinations::{
    Batch, Destination, DestinationError, Load, MissingColumn, messages_of, plain_name,
};
use model::DestinationSettings;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use secrecy::ExposeSecret;
use serde_json::json;

/// How long brokers may take to answer.
const DEADLINE: Duration = Duration::from_secs(60);
/// Pause while the producer's queue is full.
const FULL: Duration = Duration::from_millis(10);

type Sender = ThreadedProducer<DefaultProducerContext>;

/// Brokers, and how topics are named.
pub struct Kafka {
    config: ClientConfig,
    prefix: String,
    place: String,
    /// One for each load: a transaction belongs to one producer.
    senders: HashMap<String, Sender>,
}

impl Kafka {
    /// Connects when it is first used.
    pub fn new(settings: &DestinationSettings) -> Result<Self, DestinationError> {
        let place = settings.to_string();
        let DestinationSettings::Kafka { brokers, topic_prefix, options } = settings else {
            return Err(DestinationError::settings(place, "it is no Kafka", "Name its brokers"));
        };
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("client.id", "selvedge");
        for (name, value) in options {
            config.set(name, value.expose_secret());
        }
        let prefix = plain_name(topic_prefix);
        Ok(Self { config, prefix, place, senders: HashMap::new() })
    }

    fn failed(&self, error: &KafkaError) -> DestinationError {
        let said = error.to_string();
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed,
            ) => {
                let fix = "Check the options, and let the user write the topics and transactions";
                DestinationError::settings(&self.place, said, fix)
            }
            _ => DestinationError::passing(&self.place, said),
        }
    }

    fn marks_topic(&self) -> String {
        format!("{}._marks", self.prefix)
    }

    /// The producer of a load, which fences one that a crash left behind.
    fn sender(&mut self, load: &str) -> Result<Sender, DestinationError> {
        if let Some(sender) = self.senders.get(load) {
            return Ok(sender.clone());
        }
        let mut config = self.config.clone();
        config.set("transactional.id", format!("selvedge-{}", plain_name(load)));
        let sender: Sender = config.create().map_err(|error| self.failed(&error))?;
        sender.init_transactions(DEADLINE).map_err(|error| self.failed(&error))?;
        self.senders.insert(load.to_owned(), sender.clone());
        Ok(sender)
    }

    /// Sends records and the mark behind them as one transaction.
    fn send(
        &mut self,
        load: &Load,
        records: Vec<(String, String, String)>,
        mark: &str,
    ) -> Result<(), DestinationError> {
        let sender = self.sender(&load.id)?;
        sender.begin_transaction().map_err(|error| self.failed(&error))?;
        let marked = (self.marks_topic(), load.id.clone(), mark.to_owned());
        let sent = records.iter().chain([&marked]).try_for_each(|(topic, key, text)| {
            let mut record = BaseRecord::to(topic).key(key).payload(text);
            loop {
                match sender.send(record) {
                    Ok(()) => return Ok(()),
                    Err((error, back)) => {
                        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                            return Err(error);
                        }
                        record = back;
                        std::thread::sleep(FULL);
                    }
                }
            }
        });
        let done = sent.and_then(|()| sender.commit_transaction(DEADLINE));
        done.map_err(|error| {
            let _aborted = sender.abort_transaction(DEADLINE);
            self.senders.remove(&load.id);
            self.failed(&error)
        })
    }

    /// The last mark of a load: the marks are read through, there are as many as batches.
    fn read_mark(&self, load: &str) -> Result<Option<String>, DestinationError> {
        let topic = self.marks_topic();
        let mut config = self.config.clone();
        config
            .set("group.id", "selvedge-marks")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", "true");
        let reader: BaseConsumer = config.create().map_err(|error| self.failed(&error))?;
        let found = reader.fetch_metadata(Some(&topic), DEADLINE);
        let found = found.map_err(|error| self.failed(&error))?;
        let partitions = found.topics().first().map_or(0, |topic| topic.partitions().len());
        let mut list = TopicPartitionList::new();
        for partition in 0..i32::try_from(partitions).unwrap_or(0) {
            let added = list.add_partition_offset(&topic, partition, Offset::Beginning);
            added.map_err(|error| self.failed(&error))?;
        }
        reader.assign(&list).map_err(|error| self.failed(&error))?;
        let (mut mark, mut ended) = (None, 0);
        while ended < partitions {
            match reader.poll(DEADLINE) {
                Some(Ok(message)) if message.key() == Some(load.as_bytes()) => {
                    let text = message.payload().map(String::from_utf8_lossy);
                    mark = text.map(|text| text.into_owned()).filter(|text| !text.is_empty());
                }
                Some(Ok(_)) => {}
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => return Err(self.failed(&error)),
                None => {
                    let said = "the marks could not be read in time";
                    return Err(DestinationError::passing(&self.place, said));
                }
            }
        }
        Ok(mark)
    }

    fn tell(&mut self, load: &Load, kind: &str, mark: &str) -> Result<(), DestinationError> {
        let text = json!({ "kind": kind, "stream": load.stream, "generation": load.generation });
        let topic = format!("{}._refreshes", self.prefix);
        self.send(load, vec![(topic, load.stream.clone(), text.to_string())], mark)
    }
}

#[async_trait]
impl Destination for Kafka {
    async fn check(&mut self) -> Result<(), DestinationError> {
        tokio::task::block_in_place(|| self.read_mark("check")).map(|_| ())
    }

    async fn prepare(
        &mut self,
        _loads: &[Load],
        _add_columns: bool,
    ) -> Result<Vec<MissingColumn>, DestinationError> {
        Ok(Vec::new())
    }

    async fn mark(&mut self, load: &str) -> Result<Option<String>, DestinationError> {
        tokio::task::block_in_place(|| self.read_mark(load))
    }

    async fn begin_aside(&mut self, load: &Load, mark: &str) -> Result<(), DestinationError> {
        tokio::task::block_in_place(|| self.tell(load, "refresh_begun", mark))
    }

    fn resumes_aside(&self) -> bool {
        true
    }

    async fn write(&mut self, batch: Batch<'_>) -> Result<(), DestinationError> {
        let records = messages_of(&batch).map(|message| {
            let table: Vec<String> = message.table.split('.').map(plain_name).collect();
            (format!("{}.{}", self.prefix, table.join(".")), message.key, message.text)
        });
        let records: Vec<_> = records.collect();
        tokio::task::block_in_place(|| self.send(batch.load, records, &batch.mark))
    }

    async fn settle(&mut self, _load: &Load) -> Result<(), DestinationError> {
        Ok(())
    }

    /// Readers are told that records of older generations are void.
    async fn swap(&mut self, load: &Load, mark: &str) -> Result<(), DestinationError> {
        tokio::task::block_in_place(|| self.tell(load, "refresh_done", mark))
    }

    async fn clear(&mut self, load: &Load) -> Result<(), DestinationError> {
        tokio::task::block_in_place(|| self.tell(load, "cleared", ""))
    }
}
