//! Secrets at rest: envelope encryption with AES-256-GCM. Each integration has a data key, wrapped
//! by the master key; each secret is bound to its table, row and column, so that a copied value
//! opens nowhere else.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::Ambient;
use secrecy::SecretString;
use sqlx::Row;
use zeroize::Zeroizing;

use crate::Store;
use crate::db::OpenError;
use crate::statement::declare;

declare! {
    READ_KEY_CHECK = "SELECT key_check FROM installation WHERE id = 1";
    WRITE_KEY_CHECK =
        "INSERT INTO installation (id, key_check, created_at) VALUES (1, $1, $2) \
         ON CONFLICT (id) DO NOTHING";
}

const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
/// First byte of everything sealed: the layout `version, key id, nonce, ciphertext and tag`.
const LAYOUT: u8 = 1;
const KEY_CHECK: &[u8] = b"selvedge";

/// Why a secret could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key text is not 32 bytes in base64.
    #[error("a master key is 32 random bytes in base64")]
    Form,
    /// Sealed with another key.
    #[error("a secret was sealed with another key")]
    OtherKey,
    /// Changed, or moved from where it was sealed.
    #[error("a secret was changed or moved and cannot be opened")]
    Broken,
}

/// A key that seals. It cannot be printed.
#[derive(Clone)]
struct Key {
    id: [u8; KEY_ID_BYTES],
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

/// The key of the installation, from file or environment. It only wraps data keys.
pub struct MasterKey(Key);

/// The key of one integration or source.
#[derive(Clone)]
pub(crate) struct DataKey(Key);

/// Where a secret belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The integration or source that owns it.
    pub(crate) owner: &'a str,
    pub(crate) table: &'static str,
    pub(crate) row: &'a str,
    pub(crate) column: &'static str,
}

impl Key {
    fn new(bytes: [u8; KEY_BYTES]) -> Self {
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&digest(&SHA256, &bytes).as_ref()[..KEY_ID_BYTES]);
        Self { id, bytes: Zeroizing::new(bytes) }
    }

    fn seal(&self, plain: &[u8], place: Place<'_>) -> Result<Vec<u8>, SealError> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .cipher()?
            .seal_in_place_append_tag(Aad::from(place.bytes()), &mut sealed)
            .map_err(|_| SealError::Broken)?;
        Ok([&[LAYOUT][..], &self.id, nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8], place: Place<'_>) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (layout, rest) = sealed.split_first().ok_or(SealError::Broken)?;
        let (id, rest) = rest.split_at_checked(KEY_ID_BYTES).ok_or(SealError::Broken)?;
        let (nonce, rest) = rest.split_at_checked(NONCE_BYTES).ok_or(SealError::Broken)?;
        if *layout != LAYOUT {
            return Err(SealError::Broken);
        }
        if id != self.id {
            return Err(SealError::OtherKey);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
        let mut plain = Zeroizing::new(rest.to_vec());
        let length = self
            .cipher()?
            .open_in_place(nonce, Aad::from(place.bytes()), &mut plain)
            .map_err(|_| SealError::Broken)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }

    fn cipher(&self) -> Result<RandomizedNonceKey, SealError> {
        RandomizedNonceKey::new(&AES_256_GCM, &*self.bytes).map_err(|_| SealError::Form)
    }
}

impl Place<'_> {
    /// Unambiguous: the parts are joined by a byte that stands in none of them.
    fn bytes(&self) -> Vec<u8> {
        [self.owner, self.table, self.row, self.column].join("\0").into_bytes()
    }
}

impl MasterKey {
    /// Reads 32 bytes in base64.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let bytes = Zeroizing::new(BASE64.decode(text.trim()).map_err(|_| SealError::Form)?);
        let bytes: [u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| SealError::Form)?;
        Ok(Self(Key::new(bytes)))
    }

    /// The text of a new key.
    pub fn generate(ambient: &Ambient) -> Zeroizing<String> {
        let bytes = Zeroizing::new(ambient.random::<KEY_BYTES>());
        Zeroizing::new(BASE64.encode(bytes.as_slice()))
    }
}

impl DataKey {
    pub(crate) fn generate(ambient: &Ambient) -> Self {
        Self(Key::new(ambient.random()))
    }

    /// Sealed by the master key, for the row of its owner.
    pub(crate) fn wrap(&self, master: &MasterKey, owner: &str) -> Result<Vec<u8>, SealError> {
        master.0.seal(self.0.bytes.as_slice(), wrapping(owner))
    }

    pub(crate) fn unwrap(
        wrapped: &[u8],
        master: &MasterKey,
        owner: &str,
    ) -> Result<Self, SealError> {
        let bytes = master.0.open(wrapped, wrapping(owner))?;
        let bytes: [u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| SealError::Broken)?;
        Ok(Self(Key::new(bytes)))
    }

    pub(crate) fn seal(&self, secret: &str, place: Place<'_>) -> Result<Vec<u8>, SealError> {
        self.0.seal(secret.as_bytes(), place)
    }

    /// Sealed, as base64 for a column of text.
    pub(crate) fn seal_text(&self, text: &str, place: Place<'_>) -> Result<String, SealError> {
        Ok(BASE64.encode(self.seal(text, place)?))
    }

    /// Opens what [`Self::seal_text`] made.
    pub(crate) fn open_text(
        &self,
        text: &str,
        place: Place<'_>,
    ) -> Result<SecretString, SealError> {
        self.open(&BASE64.decode(text).map_err(|_| SealError::Broken)?, place)
    }

    pub(crate) fn open(&self, sealed: &[u8], place: Place<'_>) -> Result<SecretString, SealError> {
        let plain = self.0.open(sealed, place)?;
        let text = std::str::from_utf8(&plain).map_err(|_| SealError::Broken)?;
        Ok(SecretString::from(text))
    }
}

fn wrapping(owner: &str) -> Place<'_> {
    Place { owner, table: "data_keys", row: owner, column: "data_key" }
}

const CHECK_PLACE: Place<'static> =
    Place { owner: "installation", table: "installation", row: "1", column: "key_check" };

impl Store {
    /// On first use ties the database to the master key; afterwards refuses any other.
    pub(crate) async fn prove_master_key(&self) -> Result<(), OpenError> {
        let check = self.master_key.0.seal(KEY_CHECK, CHECK_PLACE)?;
        let now = self.ambient.now().as_microsecond();
        self.db
            .write(move |connection| {
                Box::pin(async move {
                    let write = sqlx::query(WRITE_KEY_CHECK).bind(check).bind(now);
                    write.execute(connection).await?;
                    Ok(())
                })
            })
            .await?;
        let row = self.db.fetch_one(sqlx::query(READ_KEY_CHECK)).await?;
        let sealed: Vec<u8> = row.try_get(0)?;
        self.master_key.0.open(&sealed, CHECK_PLACE)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> =
        Place { owner: "itg_a", table: "items", row: "itm_1", column: "token" };

    #[test]
    fn a_secret_opens_only_where_it_was_sealed() {
        let key = DataKey(Key::new([7; KEY_BYTES]));
        let sealed = key.seal("access-sandbox-canary", PLACE).unwrap();
        assert!(key.open(&sealed, PLACE).is_ok());
        assert!(!sealed.windows(6).any(|window| window == b"canary"));
        for moved in [
            Place { owner: "itg_b", ..PLACE },
            Place { table: "sources", ..PLACE },
            Place { row: "itm_2", ..PLACE },
            Place { column: "secret", ..PLACE },
        ] {
            assert_eq!(key.open(&sealed, moved).err(), Some(SealError::Broken));
        }
        let other = DataKey(Key::new([8; KEY_BYTES]));
        assert_eq!(other.open(&sealed, PLACE).err(), Some(SealError::OtherKey));
        for index in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[index] ^= 1;
            assert!(key.open(&flipped, PLACE).is_err(), "byte {index}");
        }
        assert!(key.open(&sealed[..5], PLACE).is_err());
    }

    #[test]
    fn a_data_key_is_bound_to_its_owner() {
        let master = MasterKey(Key::new([1; KEY_BYTES]));
        let wrapped = DataKey(Key::new([2; KEY_BYTES])).wrap(&master, "itg_a").unwrap();
        assert!(DataKey::unwrap(&wrapped, &master, "itg_a").is_ok());
        assert!(DataKey::unwrap(&wrapped, &master, "itg_b").is_err());
        assert!(MasterKey::parse("too short").is_err());
    }
}
