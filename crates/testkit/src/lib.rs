//! A whole world in one call, for tests: an emulated bank, a server with its workers, a database in
//! a folder of its own, all on free ports. Helpers panic when the world is not as it should be.

mod bank;
mod chance;
mod faulty_memory;
mod households;
mod key_server;
mod many_items;
mod mode;
mod nats_cluster;
mod oracle;
mod postgres;
mod simulated_bank;
mod simulation;
mod subscriber;
mod surroundings;
mod world;

pub use bank::{Bank, CLIENT_ID, Linked, SECRET};
pub use chance::Chance;
pub use households::{Household, PEOPLE, SeriesScore};
pub use key_server::KeyServer;
pub use many_items::freshness;
pub use mode::{
    Mode, WORKER_PROCESSES, WorkerProcess, database_url, open_store, prefix, program, send_signal,
    settle,
};
pub use nats_cluster::NatsCluster;
pub use oracle::{Evidence, cursors_ahead, secrets_in};
pub use postgres::Postgres;
pub use simulation::{Life, Simulation};
pub use subscriber::{Notice, Subscriber};
pub use surroundings::{ambient, choose_cryptography, http_client, now};
pub use world::{MASTER_KEY, World, master_key};
