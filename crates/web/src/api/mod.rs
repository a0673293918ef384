//! The API under `/v1`: one file for each resource, each endpoint with what it takes, gives and how
//! it fails.

pub(crate) mod changes;
pub(crate) mod connections;
pub(crate) mod corrections;
pub(crate) mod end_users;
pub(crate) mod enrich;
pub(crate) mod enrichment_rules;
pub(crate) mod integrations;
pub(crate) mod item_health;
pub(crate) mod items;
pub(crate) mod link_tokens;
pub(crate) mod links;
mod page;
pub(crate) mod series;
pub(crate) mod sources;
pub(crate) mod streams;
pub(crate) mod subscriptions;
pub(crate) mod suggestions;
pub(crate) mod system;
pub(crate) mod transactions;
