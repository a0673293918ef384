//! The API under `/v1`: one file for each resource, each endpoint with what it takes, gives and how
//! it fails.

pub(crate) mod changes;
pub(crate) mod end_users;
pub(crate) mod integrations;
pub(crate) mod items;
pub(crate) mod links;
mod page;
pub(crate) mod system;
pub(crate) mod transactions;
