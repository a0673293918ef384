//! Plaid's rate limits, kept before Plaid has to refuse: calls a minute for each Item and for the
//! whole client. Figures: Plaid's rate-limit page of March 2026.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Jitter, Quota, RateLimiter};
use model::{Cost, Environment};

/// Keys of idle Items are dropped when a limiter holds more than this.
const IDLE_KEYS: usize = 10_000;
/// Spreads out callers that waited for the same slot.
const JITTER: Duration = Duration::from_millis(50);

/// One endpoint: its path, how long an answer may take, and its limits.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) path: &'static str,
    pub(crate) timeout: Duration,
    /// Whether a call whose answer was lost may be sent again.
    pub(crate) repeatable: bool,
    /// What Plaid charges for it.
    cost: Cost,
    /// Calls a minute in production: for an Item, for the client.
    production: (Option<u32>, Option<u32>),
    /// Calls a minute in the sandbox: for an Item, for the client.
    sandbox: (Option<u32>, Option<u32>),
}

const USUAL: Duration = Duration::from_secs(30);
/// A real-time balance takes up to 30 s and sometimes more.
const BALANCE: Duration = Duration::from_secs(90);

macro_rules! endpoints {
    ($($name:ident = $path:literal, $timeout:expr, $repeatable:literal, $cost:ident,
        production $production:expr, sandbox $sandbox:expr;)*) => {
        $(pub(crate) static $name: Endpoint = Endpoint {
            path: $path,
            timeout: $timeout,
            repeatable: $repeatable,
            cost: Cost::$cost,
            production: $production,
            sandbox: $sandbox,
        };)*
        static ALL: &[&Endpoint] = &[$(&$name),*];
    };
}

endpoints! {
    TRANSACTIONS_SYNC = "/transactions/sync", USUAL, true, PerItemAndMonth,
        production (Some(50), Some(2_500)), sandbox (Some(50), Some(1_000));
    ACCOUNTS_GET = "/accounts/get", USUAL, true, Free,
        production (Some(15), Some(15_000)), sandbox (Some(100), Some(5_000));
    ACCOUNTS_BALANCE_GET = "/accounts/balance/get", BALANCE, true, PerCall,
        production (Some(5), Some(1_200)), sandbox (Some(25), Some(100));
    ITEM_GET = "/item/get", USUAL, true, Free,
        production (Some(15), Some(5_000)), sandbox (Some(40), Some(5_000));
    ITEM_REMOVE = "/item/remove", USUAL, true, Free,
        production (Some(20), Some(2_000)), sandbox (Some(100), Some(500));
    ITEM_WEBHOOK_UPDATE = "/item/webhook/update", USUAL, true, Free,
        production (None, None), sandbox (None, None);
    ITEM_PUBLIC_TOKEN_EXCHANGE = "/item/public_token/exchange", USUAL, false, Free,
        production (None, Some(12_000)), sandbox (None, Some(12_000));
    TRANSACTIONS_REFRESH = "/transactions/refresh", BALANCE, false, PerCall,
        production (Some(2), Some(100)), sandbox (Some(2), Some(100));
    TRANSACTIONS_RECURRING_GET = "/transactions/recurring/get", USUAL, true, PerItemAndMonth,
        production (Some(20), Some(1_000)), sandbox (Some(20), Some(1_000));
    LIABILITIES_GET = "/liabilities/get", USUAL, true, PerItemAndMonth,
        production (Some(15), Some(1_000)), sandbox (Some(10), Some(1_000));
    INVESTMENTS_HOLDINGS_GET = "/investments/holdings/get", BALANCE, true, PerItemAndMonth,
        production (Some(15), Some(2_000)), sandbox (Some(100), Some(1_000));
    INVESTMENTS_TRANSACTIONS_GET = "/investments/transactions/get", BALANCE, true, PerItemAndMonth,
        production (Some(30), Some(20_000)), sandbox (Some(100), Some(1_000));
    IDENTITY_GET = "/identity/get", USUAL, true, PerItem,
        production (Some(15), Some(2_000)), sandbox (Some(100), Some(1_000));
    AUTH_GET = "/auth/get", USUAL, true, PerItem,
        production (Some(15), Some(12_000)), sandbox (Some(100), Some(500));
    LINK_TOKEN_CREATE = "/link/token/create", USUAL, true, Free,
        production (None, Some(20_000)), sandbox (None, Some(20_000));
    LINK_TOKEN_GET = "/link/token/get", USUAL, true, Free,
        production (None, None), sandbox (None, None);
    INSTITUTIONS_GET_BY_ID = "/institutions/get_by_id", USUAL, true, Free,
        production (None, Some(400)), sandbox (None, Some(400));
    WEBHOOK_VERIFICATION_KEY_GET = "/webhook_verification_key/get", USUAL, true, Free,
        production (None, None), sandbox (None, None);
    SANDBOX_PUBLIC_TOKEN_CREATE = "/sandbox/public_token/create", USUAL, false, Free,
        production (None, None), sandbox (None, None);
}

/// What Plaid charges for a call of this path; nothing for one that this program never makes.
pub fn cost_of(path: &str) -> Cost {
    ALL.iter().find(|endpoint| endpoint.path == path).map_or(Cost::Free, |endpoint| endpoint.cost)
}

/// Calls of `/transactions/sync` a minute that Plaid allows a whole client.
pub fn syncs_a_minute(environment: Environment) -> u32 {
    TRANSACTIONS_SYNC.of(environment).1.unwrap_or(u32::MAX)
}

impl Endpoint {
    fn of(&self, environment: Environment) -> (Option<u32>, Option<u32>) {
        match environment {
            Environment::Production => self.production,
            Environment::Sandbox | Environment::Development => self.sandbox,
        }
    }
}

type Buckets = DefaultKeyedRateLimiter<u64>;

/// The buckets of one process, shared by everything that calls Plaid.
pub(crate) struct Limits {
    endpoints: Vec<(&'static str, Option<Buckets>, Option<Buckets>)>,
    /// Processes that share a client's limits. An Item is synced by one of them at a time.
    shared_by: AtomicU32,
}

impl Limits {
    /// The limits Plaid has in an environment.
    pub(crate) fn of(environment: Environment) -> Self {
        let limits = |endpoint: &&'static Endpoint| {
            let (item, client) = endpoint.of(environment);
            (endpoint.path, item.and_then(bucket), client.and_then(bucket))
        };
        Self { endpoints: ALL.iter().map(limits).collect(), shared_by: AtomicU32::new(1) }
    }

    /// No limits, for an emulator on this machine.
    pub(crate) fn none() -> Self {
        Self { endpoints: Vec::new(), shared_by: AtomicU32::new(1) }
    }

    /// Lets so many processes share the limits of a client.
    pub(crate) fn share_among(&self, processes: u32) {
        self.shared_by.store(processes.max(1), Ordering::Relaxed);
    }

    /// Waits until a call of this endpoint may be made.
    pub(crate) async fn wait(&self, endpoint: &Endpoint, client: &str, item: Option<&str>) {
        let known = self.endpoints.iter().find(|(path, ..)| *path == endpoint.path);
        let Some((_, of_item, of_client)) = known else {
            return;
        };
        let shared_by = self.shared_by.load(Ordering::Relaxed);
        for (buckets, key, counts_for) in [(of_item, item, 1), (of_client, Some(client), shared_by)]
        {
            if let (Some(buckets), Some(key)) = (buckets, key) {
                if buckets.len() > IDLE_KEYS {
                    buckets.retain_recent();
                }
                // With so many processes a call of each counts for all of them. More processes than
                // calls a minute cannot each have one; the bucket then counts what it can.
                let mut counts_for = NonZeroU32::new(counts_for).unwrap_or(NonZeroU32::MIN);
                let (key, jitter) = (fingerprint(key), Jitter::up_to(JITTER));
                while let Err(at_most) =
                    buckets.until_key_n_ready_with_jitter(&key, counts_for, jitter).await
                {
                    counts_for = NonZeroU32::new(at_most.0).unwrap_or(NonZeroU32::MIN);
                }
            }
        }
    }
}

fn bucket(per_minute: u32) -> Option<Buckets> {
    NonZeroU32::new(per_minute).map(|count| RateLimiter::keyed(Quota::per_minute(count)))
}

/// Tokens are not kept as keys.
fn fingerprint(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
