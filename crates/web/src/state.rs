//! What handlers are given.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use model::{Ambient, Item, LocalDestinations};
use plaid::{Client, Connector, Credentials, KeyCache, KeyRecord};
use store::{Integration, Store, WebhookKey};

use crate::dashboard::SignIns;
use crate::problem::Problem;

/// Integrations by id, and when each was read.
type Recent = HashMap<String, (Arc<Integration>, Timestamp)>;

/// How old an integration may be for a webhook.
const RECENT: SignedDuration = SignedDuration::from_secs(1);

/// Settings of the windows.
#[derive(Debug, Clone)]
pub struct WebSettings {
    /// The address others reach this server at, without a trailing slash.
    pub public_url: String,
    /// Whether subscribers may have private addresses and plain HTTP.
    pub private_addresses: bool,
    /// Which destinations on this machine may be set up.
    pub local_destinations: LocalDestinations,
}

/// Shared by all handlers. Cheap to clone.
#[derive(Clone)]
pub struct Web {
    pub(crate) store: Store,
    pub(crate) connector: Connector,
    pub(crate) keys: Arc<KeyCache>,
    pub(crate) settings: Arc<WebSettings>,
    pub(crate) sign_ins: Arc<SignIns>,
    recent: Arc<Mutex<Recent>>,
}

impl Web {
    /// Starts with the webhook keys kept from before.
    pub async fn open(
        store: Store,
        connector: Connector,
        settings: WebSettings,
    ) -> Result<Self, store::Error> {
        let kept = store.webhook_keys().await?;
        let keys = KeyCache::new(kept.iter().filter_map(kept_key));
        Ok(Self {
            store,
            connector,
            keys: Arc::new(keys),
            settings: Arc::new(settings),
            sign_ins: Arc::default(),
            recent: Arc::default(),
        })
    }

    pub(crate) fn ambient(&self) -> &Ambient {
        self.store.ambient()
    }

    /// A client with an integration's credentials.
    pub(crate) async fn client(&self, integration: &Integration) -> Result<Client, Problem> {
        let secret = self.store.integration_secret(&integration.id).await?;
        let secret = secret.ok_or_else(|| Problem::not_found("integration"))?;
        let credentials = Credentials { client_id: integration.client_id.clone(), secret };
        let (environment, base_url) = (integration.environment, integration.base_url.clone());
        let whose = integration.id.as_str();
        Ok(self.connector.metered_client(environment, base_url, credentials, whose))
    }

    /// The integration of this id as it was within the last moment: a burst of webhooks asks for it
    /// thousands of times.
    pub(crate) async fn recent_integration(&self, id: &str) -> Result<Arc<Integration>, Problem> {
        let now = self.ambient().now();
        let known = self.recent.lock().ok().and_then(|recent| recent.get(id).cloned());
        if let Some((integration, at)) = known
            && now.duration_since(at).abs() < RECENT
        {
            return Ok(integration);
        }
        let integration = Arc::new(self.integration(id).await?);
        if let Ok(mut recent) = self.recent.lock() {
            recent.insert(id.to_owned(), (Arc::clone(&integration), now));
        }
        Ok(integration)
    }

    /// Where Plaid sends an integration's webhooks.
    pub(crate) fn webhook_url(&self, integration: &Integration) -> String {
        format!("{}/webhooks/plaid/{}", self.settings.public_url, integration.id)
    }

    /// Where Items are linked to an integration.
    pub(crate) fn link_url(&self, integration: &Integration) -> String {
        format!("{}/v1/integrations/{}/links", self.settings.public_url, integration.id)
    }

    /// The Item of this id, ours or Plaid's.
    pub(crate) async fn item(&self, id: &str) -> Result<Item, Problem> {
        self.store.item(id).await?.ok_or_else(|| Problem::not_found("item"))
    }

    /// The integration of this id.
    pub(crate) async fn integration(&self, id: &str) -> Result<Integration, Problem> {
        let missing = || Problem::not_found("integration");
        let id = id.parse().map_err(|_| missing())?;
        self.store.integration(&id).await?.ok_or_else(missing)
    }
}

/// A kept key that this program can no longer read is simply fetched again.
fn kept_key(kept: &WebhookKey) -> Option<KeyRecord> {
    Some(KeyRecord {
        base_url: kept.base_url.parse().ok()?,
        key: serde_json::from_str(&kept.jwk).ok()?,
        fetched_at: kept.fetched_at,
    })
}
