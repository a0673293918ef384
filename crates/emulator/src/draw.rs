//! Everything random in a world, derived from its seed and a label, so that the order of calls
//! changes nothing and the same seed gives the same world.

use std::fmt::Display;

use aws_lc_rs::digest::{SHA256, digest};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;

/// Length of Plaid's item, account, transaction and entity ids.
const ID_LENGTH: usize = 37;
/// Length of Plaid's request ids.
const REQUEST_ID_LENGTH: usize = 15;
/// Length of Plaid's newer user ids after their prefix.
const USER_ID_LENGTH: usize = 14;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A generator for one purpose.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    /// The generator of this label in the world of this seed.
    pub(crate) fn new(seed: u64, label: &str) -> Self {
        let hash = digest(&SHA256, format!("{seed}/{label}").as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(hash.as_ref());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A whole number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0.random_range(low..=high.max(low))
    }

    /// True in `percent` of a hundred cases.
    pub(crate) fn chance(&mut self, percent: i64) -> bool {
        self.between(1, 100) <= percent
    }

    /// One of the choices, or `None` of an empty list.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let last = i64::try_from(choices.len()).ok()?.checked_sub(1).filter(|last| *last >= 0)?;
        choices.get(usize::try_from(self.between(0, last)).ok()?)
    }

    /// An amount between two numbers of cents.
    pub(crate) fn cents(&mut self, low: i64, high: i64) -> Decimal {
        Decimal::new(self.between(low, high), 2)
    }

    fn text(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(ALPHABET[self.0.random_range(0..ALPHABET.len())])).collect()
    }

    fn uuid(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.0.random()).into_uuid().to_string()
    }
}

/// An id in Plaid's form: 37 letters and digits, case-sensitive.
pub(crate) fn plaid_id(seed: u64, label: &str) -> String {
    Draw::new(seed, label).text(ID_LENGTH)
}

/// A request id in Plaid's form.
pub(crate) fn request_id(seed: u64, number: u64) -> String {
    Draw::new(seed, &format!("request/{number}")).text(REQUEST_ID_LENGTH)
}

/// A short id, drawn from its label alone.
pub(crate) fn short_id(label: &str) -> String {
    Draw::new(0, label).text(REQUEST_ID_LENGTH)
}

/// A UUID, drawn from its label alone.
pub(crate) fn label_uuid(label: &str) -> String {
    Draw::new(0, label).uuid()
}

/// A user id in Plaid's newer form.
pub(crate) fn user_id(seed: u64, number: u64) -> String {
    format!("usr_{}", Draw::new(seed, &format!("user/{number}")).text(USER_ID_LENGTH))
}

/// A token in Plaid's form, such as `access-sandbox-` and a UUID.
pub(crate) fn token(seed: u64, kind: &str, label: impl Display) -> String {
    format!("{kind}-sandbox-{}", Draw::new(seed, &format!("token/{kind}/{label}")).uuid())
}
