//! Ways out into message brokers: every change is a message, and the mark is one, too.

mod jetstream;
#[cfg(feature = "kafka")]
mod kafka;

pub use jetstream::JetStream;
#[cfg(feature = "kafka")]
pub use kafka::Kafka;
