//! Sends notices to subscribers: signed in the Standard Webhooks format, at least once, with pauses
//! that grow, and never to an address inside.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::{Ambient, check_outbound_url, is_public};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use secrecy::{ExposeSecret, SecretString};
use standardwebhooks::Webhook;
use store::{Attempt, Delivery, Lease, Store};

use crate::retry::jitter;

/// Pauses after each failed attempt; after the last one it is given up: three days in all.
const PAUSES: [SignedDuration; 9] = [
    SignedDuration::from_secs(5),
    SignedDuration::from_mins(5),
    SignedDuration::from_mins(30),
    SignedDuration::from_hours(2),
    SignedDuration::from_hours(5),
    SignedDuration::from_hours(10),
    SignedDuration::from_hours(14),
    SignedDuration::from_hours(20),
    SignedDuration::from_hours(24),
];
/// A receiver has this long to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends to other people's servers.
#[derive(Debug, Clone)]
pub struct Sender {
    http: reqwest::Client,
    private_addresses: bool,
}

impl Sender {
    /// Takes a client that resolves names with [`PublicAddresses`] and follows no redirects; or, for
    /// receivers on one's own network, any client and `private_addresses`.
    pub fn new(http: reqwest::Client, private_addresses: bool) -> Self {
        Self { http, private_addresses }
    }

    /// Sends one delivery and notes how it went.
    pub(crate) async fn deliver(&self, store: &Store, lease: &Lease) -> Result<(), store::Error> {
        let Some(delivery) = store.delivery(&lease.subject).await? else {
            return store.finish(lease, Timestamp::MAX).await;
        };
        let Some((subscription, secret)) =
            store.subscription(delivery.subscription.as_str()).await?
        else {
            return store.finish(lease, Timestamp::MAX).await;
        };
        let store = store.within(&subscription.integration_id);
        trial::crash_point("delivery.begun");
        let ambient = store.ambient();
        let attempt = match self.send(&subscription.url, &secret, &delivery, ambient).await {
            Ok(status) if (200..300).contains(&status) => Attempt::Delivered { status },
            Ok(status) => failed(&delivery, Some(status), format!("it answered {status}"), ambient),
            Err(error) => failed(&delivery, None, error, ambient),
        };
        trial::crash_point("delivery.sent");
        store.note_delivery(lease, attempt).await?;
        trial::crash_point("delivery.confirmed");
        Ok(())
    }

    async fn send(
        &self,
        url: &str,
        secret: &SecretString,
        delivery: &Delivery,
        ambient: &Ambient,
    ) -> Result<u16, String> {
        check_outbound_url(url, self.private_addresses)?;
        let now = ambient.now().as_second();
        let id = delivery.id.as_str();
        let signer = Webhook::new(secret.expose_secret()).map_err(|error| error.to_string())?;
        let signature =
            signer.sign(id, now, delivery.payload.as_bytes()).map_err(|error| error.to_string())?;
        let answer = self
            .http
            .post(url)
            .timeout(PATIENCE)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature)
            .body(delivery.payload.clone())
            .send()
            .await
            .map_err(|error| plaid::cause(&error.without_url()))?;
        Ok(answer.status().as_u16())
    }
}

fn failed(delivery: &Delivery, status: Option<u16>, error: String, ambient: &Ambient) -> Attempt {
    let tries = usize::try_from(delivery.attempts).unwrap_or(usize::MAX);
    let now = ambient.now();
    let again_at = PAUSES
        .get(tries)
        .map(|pause| now.saturating_add(*pause + jitter(*pause, ambient)).unwrap_or(now));
    Attempt::Failed { status, error, again_at }
}

/// Resolves names to public addresses only, at the moment of connecting, so that no answer can
/// change in between.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublicAddresses;

impl Resolve for PublicAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err("the name has no address on the public internet".into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}
