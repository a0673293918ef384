//! The vocabulary: what every other crate talks about. No input or output, no clock, no driver.
//!
//! Reading order: who asks (`integration`), what is linked (`item`), what arrives (`account`,
//! `transaction`, and every other `stream`), how it is told onward (`change`), where it goes
//! (`connection`), what processing adds (`enrichment`, `series`, and what people say of it, `enrichment_rule`), and the values they are made of.

mod account;
mod airbyte_columns;
mod ambient;
mod change;
mod connection;
mod enrichment;
mod enrichment_rule;
mod id;
mod integration;
mod item;
mod item_life;
mod money;
mod outbound;
mod raw_record;
mod series;
mod stream;
mod stream_fields;
mod transaction;
mod update;

pub use account::{Account, AccountStatus, Balance, BalanceSource};
pub use airbyte_columns::{AIRBYTE_BALANCE, AIRBYTE_TRANSACTION};
pub use ambient::{Ambient, Clock, Entropy};
pub use change::{Change, ChangeKind, Record, Tombstone};
pub use connection::{
    Compat, ConnectionSettings, DestinationSettings, FilesSettings, LocalDestinations, Namespacing,
    Protocol, SHORTEST_INTERVAL_MINUTES, Schedule, SchemaChanges, SettingsFault, StreamChoice,
    SyncMode, USUAL_TABLE_LIMIT,
};
pub use enrichment::{Confidence, Counterparty, EnrichedCategory, Enrichment, Merchant, RunnerUp};
pub use enrichment_rule::{EnrichmentRule, RuleCondition, RuleDecision};
pub use id::{
    ApiKeyId, ConnectionId, DeliveryId, EndUserId, EnrichmentRuleId, IntegrationId, InvalidId,
    ItemKey, LinkSessionId, RunId, SubscriptionId, SuggestionId, TransactionKey,
};
pub use integration::{BaseUrl, Environment, InvalidBaseUrl, InvalidEnvironment};
pub use item::{EndUser, History, Item};
pub use item_life::{Ending, ItemEvent, ItemLife, ItemStatus, News, Standing, Trouble};
pub use money::{Currency, Money, MoneyError, UNOFFICIAL_EXPONENT, minor_units, plain_decimal};
pub use outbound::{check_outbound_url, is_public};
pub use raw_record::RawRecord;
pub use series::{
    AmountChange, BalanceHistory, Basis, Cadence, DayBalance, DebtPosition, Drift, EndUserSeries,
    IncomeSource, Membership, NextDate, Recurring, RecurringKind, RecurringState, Tie, Transfer,
};
pub use stream::{Cost, Declaration, Field, FieldKind, STREAMS, Stream};
pub use transaction::{Annotation, Category, Direction, PlaidCounterparty, Split, Transaction};
pub use update::{Arrival, Page, Quarantined, Removal, Snapshot, Staged};
