//! The one place that touches the real clock, the system's randomness, the network and the log.

use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::Context;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use jiff::Timestamp;
use model::{Ambient, Clock, Entropy};
use pipeline::PublicAddresses;
use tracing_subscriber::EnvFilter;

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        now()
    }
}

struct SystemEntropy(SystemRandom);

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.fill(buffer).expect("the operating system gives random bytes or cannot run us");
    }
}

/// The real present.
#[expect(clippy::disallowed_methods, reason = "this is where real time comes in")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Real time and real randomness.
#[expect(clippy::disallowed_methods, reason = "this is where real randomness comes in")]
pub(crate) fn ambient() -> Ambient {
    Ambient::new(Arc::new(SystemClock), Arc::new(SystemEntropy(SystemRandom::new())))
}

/// The client that everything shares. It checks certificates and follows no redirects.
#[expect(clippy::disallowed_methods, reason = "this is where the network comes in")]
pub(crate) fn http_client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("selvedge/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("the HTTP client could not be made")
}

/// The client that tells subscribers: it reaches public addresses only, unless private ones are
/// allowed, and follows no redirects.
#[expect(clippy::disallowed_methods, reason = "this is where the network comes in")]
pub(crate) fn outbound_client(private_addresses: bool) -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("selvedge/", env!("CARGO_PKG_VERSION")));
    let client = match private_addresses {
        true => client,
        false => client.dns_resolver(Arc::new(PublicAddresses)),
    };
    client.build().context("the HTTP client for subscribers could not be made")
}

/// Chooses the one cryptography that TLS uses here; some ways out bring another one along.
pub(crate) fn choose_cryptography() {
    // The first choice stands, and it is the same one.
    let _chosen = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Logs to standard error: lines for people at a terminal, JSON otherwise. `SELVEDGE_LOG` overrides
/// what is usual for the command.
pub(crate) fn start_logging(usual: &str) {
    let filter = EnvFilter::try_from_env("SELVEDGE_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.with_target(false).init();
    } else {
        log.json().init();
    }
}

/// Returns when the process is asked to stop.
pub(crate) async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
