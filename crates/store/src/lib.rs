//! The memory: the schema, the only SQL, and the sealing of secrets.
//!
//! Reading order: `db` opens a database and is the one way to write to it; `seal` keeps secrets;
//! then each table's file has its statements at the top and the methods of [`Store`] that use them.
//! What must be true together is written in one call of [`Db::write`].

mod annotations;
mod api_keys;
mod balance_readings;
mod batch;
mod changes;
mod connections;
mod db;
mod duplicates;
mod enrichment_rules;
mod enrichments;
mod erasure;
mod error;
mod extract;
mod feed_writer;
mod integrations;
mod item_streams;
mod items;
mod life;
mod link_sessions;
mod operators;
mod outbox;
mod processes;
mod records;
mod relocation;
mod runs;
mod seal;
mod staging;
mod statement;
mod suggestions;
mod syncs;
mod takeover;
mod transactions;
mod update;
mod usage;
mod visits;
mod webhook_events;
mod work;

use std::sync::Arc;

use model::{Ambient, IntegrationId};

pub use annotations::Word;
pub use api_keys::{ApiKey, Scope};
pub use balance_readings::BalanceReading;
pub use changes::{ChangeFilter, ChangeWatch, Hint, LogEntry};
pub use connections::{
    Connection, ConnectionSecrets, NewConnection, NewDestination, StreamProgress,
};
pub use db::{Database, Migration, OpenError, PostgresUrl, Worry};
pub use duplicates::AccountTraits;
pub use enrichments::{Enrichable, StoredSeries};
pub use error::Error;
pub use extract::{Extract, Extracted, Place};
pub use integrations::{Integration, NewIntegration};
pub use item_streams::{Reading, StreamState};
pub use items::{FailedSync, ItemFilter, LinkOutcome, NewLink, Summary};
pub use link_sessions::{Exchange, LinkSecrets, LinkSession, NewLinkSession, VisitEnded};
pub use operators::Session;
pub use outbox::{Attempt, Delivery, Notice, Subscription};
pub use relocation::{MoveError, Moved, move_installation};
pub use runs::{LogLine, Run, RunBody, RunKind, RunState, StreamRun};
pub use seal::{MasterKey, SealError};
pub use statement::{statements, statements_for_postgres};
pub use suggestions::{Settled, Suggestion};
pub use syncs::SyncRecord;
pub use transactions::{TransactionFilter, TransactionPlace};
pub use update::{Applied, Update};
pub use usage::Usage;
pub use webhook_events::{Received, WebhookKey};
pub use work::{Lease, WorkKind};

/// Everything the program remembers. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: db::Db,
    master_key: Arc<MasterKey>,
    ambient: Ambient,
    news: ChangeWatch,
}

impl Store {
    /// Opens the database, brings its schema up to date and proves the master key.
    pub async fn open(
        database: &Database,
        master_key: MasterKey,
        ambient: Ambient,
    ) -> Result<Self, OpenError> {
        let db = db::Db::open(database).await?;
        let store =
            Self { db, master_key: Arc::new(master_key), ambient, news: ChangeWatch::default() };
        store.prove_master_key().await?;
        Ok(store)
    }

    /// The same store, as one integration sees it: on PostgreSQL nothing else is there, whatever a
    /// statement asks for. SQLite has no such wall.
    pub fn within(&self, integration: &IntegrationId) -> Self {
        Self { db: self.db.within(integration), ..self.clone() }
    }

    /// The same store, to which nothing is written any more once a lease is lost ([`Error::Stale`]).
    pub fn under(&self, lease: &Lease) -> Self {
        Self { db: self.db.under(lease), ..self.clone() }
    }

    /// Whether other processes may work on the same database.
    pub fn is_shared(&self) -> bool {
        self.db.is_shared()
    }

    /// What an operator should know of the database; nothing when all is well.
    pub fn worries(&self) -> &[Worry] {
        self.db.worries()
    }

    /// Proves that the writer lives, by a write of nothing.
    pub async fn reach_writer(&self) -> Result<(), Error> {
        self.db.write(|_| Box::pin(async { Ok(()) })).await
    }

    /// Time and randomness as this store was given them.
    pub fn ambient(&self) -> &Ambient {
        &self.ambient
    }
}
