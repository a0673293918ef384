//! Plaid's webhook keys: fetched by id, kept, refetched daily, and not at an attacker's beck.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use jiff::{SignedDuration, Timestamp};
use model::BaseUrl;

use crate::client::Client;
use crate::error::Error;
use crate::wire::Jwk;

/// A key is asked for again after this long, so that a rotation is noticed.
const REFETCH_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// An id that Plaid did not know is not asked for again for this long.
const UNKNOWN_FOR: SignedDuration = SignedDuration::from_mins(5);
/// Lookups a minute at one Plaid, however many ids callers make up.
const LOOKUPS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");
/// Ids remembered; unknown ones go first, then the oldest.
const REMEMBERED: usize = 1_000;

/// A key with where it came from, to be kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The Plaid it belongs to.
    pub base_url: BaseUrl,
    /// The key.
    pub key: Jwk,
    /// When Plaid last confirmed it.
    pub fetched_at: Timestamp,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Plaid does not know the id: the webhook is forged.
    #[error("Plaid does not know this key")]
    Unknown,
    /// Plaid cannot be asked now: the webhook may be genuine and should be sent again.
    #[error("the key cannot be fetched now")]
    Unavailable(#[source] Option<Error>),
}

type Id = (BaseUrl, String);

/// Keys in memory.
pub struct KeyCache {
    entries: Mutex<HashMap<Id, (Option<Jwk>, Timestamp)>>,
    lookups: DefaultKeyedRateLimiter<BaseUrl>,
}

impl KeyCache {
    /// A cache that starts with the keys kept from before.
    pub fn new(kept: impl IntoIterator<Item = KeyRecord>) -> Self {
        let entry = |record: KeyRecord| {
            let id = (record.base_url, record.key.kid.clone());
            (id, (Some(record.key), record.fetched_at))
        };
        Self {
            entries: Mutex::new(kept.into_iter().map(entry).collect()),
            lookups: RateLimiter::keyed(Quota::per_minute(LOOKUPS_PER_MINUTE)),
        }
    }

    /// A key that is known and recent: what all webhooks but the first of a day need.
    pub fn known(&self, base_url: &BaseUrl, key_id: &str, now: Timestamp) -> Option<Jwk> {
        let id = (base_url.clone(), key_id.to_owned());
        let entries = self.lock();
        let (key, at) = entries.get(&id)?;
        key.clone().filter(|_| now.duration_since(*at) < REFETCH_AFTER)
    }

    /// The key of this id. The second part is a record to keep, if Plaid was asked.
    pub async fn key(
        &self,
        client: &Client,
        key_id: &str,
        now: Timestamp,
    ) -> Result<(Jwk, Option<KeyRecord>), KeyError> {
        let id = (client.base_url().clone(), key_id.to_owned());
        let known = self.lock().get(&id).cloned();
        let age = known.as_ref().map(|(_, at)| now.duration_since(*at));
        match (&known, age) {
            (Some((Some(key), _)), Some(age)) if age < REFETCH_AFTER => Ok((key.clone(), None)),
            (Some((None, _)), Some(age)) if age < UNKNOWN_FOR => Err(KeyError::Unknown),
            _ => self.fetch(client, id, now, known.and_then(|(key, _)| key)).await,
        }
    }

    async fn fetch(
        &self,
        client: &Client,
        id: Id,
        now: Timestamp,
        stale: Option<Jwk>,
    ) -> Result<(Jwk, Option<KeyRecord>), KeyError> {
        // A key that was good before is asked for once a day, whatever forgers do meanwhile.
        let may_ask = stale.is_some() || self.lookups.check_key(&id.0).is_ok();
        let failure = if may_ask {
            match client.webhook_key(&id.1).await {
                Ok(key) if key.kid == id.1 => {
                    self.remember(id.clone(), Some(key.clone()), now);
                    let record = KeyRecord { base_url: id.0, key: key.clone(), fetched_at: now };
                    return Ok((key, Some(record)));
                }
                Ok(_) => return Err(KeyError::Unknown),
                Err(error) if error.code() == Some("INVALID_WEBHOOK_VERIFICATION_KEY_ID") => {
                    self.remember(id, None, now);
                    return Err(KeyError::Unknown);
                }
                Err(error) => Some(error),
            }
        } else {
            None
        };
        // A key that was good yesterday still proves more than no key at all.
        stale.map(|key| (key, None)).ok_or(KeyError::Unavailable(failure))
    }

    fn remember(&self, id: Id, key: Option<Jwk>, now: Timestamp) {
        let mut entries = self.lock();
        if entries.len() >= REMEMBERED {
            // Made-up ids go before genuine keys, however old those are.
            let first = entries.iter().min_by_key(|(_, (key, at))| (key.is_some(), *at));
            let first = first.map(|(id, _)| id.clone());
            first.and_then(|id| entries.remove(&id));
        }
        entries.insert(id, (key, now));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, (Option<Jwk>, Timestamp)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
