//! Ways out into message brokers: every change is a message, and the mark is one, too.

mod jetstream;
#[cfg(feature = "kafka")]
mod kafka;

pub use jetstream::JetStream;
#[cfg(feature = "kafka")]
pub use kafka::Kafka;

/// A number made of a text, the same on every machine.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
