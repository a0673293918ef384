//! Message brokers. As ways out: every change is a message, and the mark is one, too (`jetstream`,
//! `kafka`). Between the processes of one installation: wake-ups and the feed as a log (`nats`,
//! `wake_ups`, `event_log`).

mod event_log;
mod jetstream;
#[cfg(feature = "kafka")]
mod kafka;
mod nats;
mod wake_ups;

pub use event_log::{EventLog, LogMessage, LogState};
pub use jetstream::JetStream;
#[cfg(feature = "kafka")]
pub use kafka::Kafka;
pub use nats::{Nats, NatsError};
pub use wake_ups::WakeUps;
