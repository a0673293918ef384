//! Real time, randomness and network for tests: the one place here that makes them.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use jiff::Timestamp;
use model::{Ambient, Clock, Entropy};

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        now()
    }
}

struct SystemEntropy(SystemRandom);

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.fill(buffer).expect("the system gives random bytes");
    }
}

/// Real time and randomness.
#[expect(clippy::disallowed_methods, reason = "tests of whole systems need real randomness")]
pub fn ambient() -> Ambient {
    Ambient::new(Arc::new(SystemClock), Arc::new(SystemEntropy(SystemRandom::new())))
}

/// Chooses the one cryptography that TLS uses, as the program does.
pub fn choose_cryptography() {
    let _chosen = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The real present.
#[expect(clippy::disallowed_methods, reason = "tests of whole systems run on real time")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// An HTTP client for loopback.
#[expect(clippy::disallowed_methods, reason = "this is where the tests' client is made")]
pub fn http_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}
