//! The vocabulary: what every other crate talks about. No input or output, no clock, no driver.
//!
//! Reading order: who asks (`integration`), what is linked (`item`), what arrives (`account`,
//! `transaction`), how it is told onward (`change`), and the values they are made of.

mod account;
mod ambient;
mod change;
mod id;
mod integration;
mod item;
mod money;
mod transaction;
mod update;

pub use account::{Account, Balance, BalanceSource};
pub use ambient::{Ambient, Clock, Entropy};
pub use change::{Change, ChangeKind, Record, Stream, Tombstone};
pub use id::{ApiKeyId, EndUserId, IntegrationId, InvalidId, ItemKey, SourceId, TransactionKey};
pub use integration::{BaseUrl, Environment, InvalidBaseUrl, InvalidEnvironment};
pub use item::{EndUser, History, Item, ItemStatus};
pub use money::{Currency, Money, MoneyError, UNOFFICIAL_EXPONENT};
pub use transaction::{Category, Direction, Transaction};
pub use update::{Page, Quarantined, Removal, Staged};
