//! Ways out into message brokers: NATS JetStream and Kafka.
