//! The operator's keys: sealing what must be read back (XChaCha20-Poly1305: pending logins, the
//! provider's tokens), and deriving what must come out the same again (HMAC-SHA-256: the successors
//! of a refresh token, the keys that sign, which counter counts somebody's tries).
//!
//! ```text
//! ring:  newest ── seals, derives, opens, recognises
//!        older  ──────────────────  opens, recognises
//! ```
//!
//! A ring is changed under way with [`Sealer::turn_to`], and all clones of a sealer see it. A key
//! never leaves this module again; it has a name ([`KeyId`]) that gives nothing of it away. Every
//! sealed value is bound to a purpose and to its place, so that a row copied to another
//! place, or a value presented for another purpose, does not open.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::mint;

/// First byte of everything sealed: the format.
const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 24;

/// Seals with the newest of its 256-bit keys, and opens with all of them.
#[derive(Clone)]
pub struct Sealer {
    ring: Arc<RwLock<KeyRing>>,
}

/// Keys, newest first; there is always one.
#[derive(Clone)]
pub struct KeyRing {
    newest: Arc<RingKey>,
    older: Vec<Arc<RingKey>>,
}

/// A key in the two forms it is used in. The halves have nothing to do with each other: what one
/// gives away says nothing of the other.
struct RingKey {
    id: KeyId,
    cipher: XChaCha20Poly1305,
    deriving: Zeroizing<[u8; 32]>,
}

/// The name of a key: 16 hex digits made from it, not secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyId(String);

/// What a derived value is for; the same input gives another value for another purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derived {
    /// The access token that a refresh token is traded for.
    NextAccessToken,
    /// The refresh token that a refresh token is traded for.
    NextRefreshToken,
    /// The private key that signs who calls, for servers behind us.
    SigningKey,
    /// Which counter of tries something belongs to.
    TryCounter,
}

/// One key's way to derive.
pub struct Deriver(Arc<RingKey>);

/// Sealed bytes: format, nonce, ciphertext and tag. Opaque to stores.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

/// The bytes were not sealed by this key for this purpose and place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed with another key, for another purpose, or altered")]
pub struct NotOurs;

/// What a sealed value is for; one purpose's values never open for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The form on the consent page.
    Consent,
    /// A login on its way to the identity provider.
    Login,
    /// The local provider's proof that a person logged in.
    LocalCode,
    /// The identity provider's tokens.
    ProviderTokens,
    /// A login for the account page, on its way to the identity provider.
    AccountLogin,
    /// A form on the account page.
    AccountForm,
    /// What a call of 2026-07-28 goes on with once its client has answered.
    RequestState,
    /// What one instance passes on to another.
    RelayedRequest,
    /// That it is an instance which does so.
    RelayProof,
    /// What that one answers, part by part.
    RelayedAnswer,
}

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Login => "login",
            Self::LocalCode => "local-code",
            Self::ProviderTokens => "provider-tokens",
            Self::AccountLogin => "account-login",
            Self::AccountForm => "account-form",
            Self::RequestState => "request-state",
            Self::RelayedRequest => "relayed-request",
            Self::RelayProof => "relay-proof",
            Self::RelayedAnswer => "relayed-answer",
        }
    }
}

impl Derived {
    const fn label(self) -> &'static str {
        match self {
            Self::NextAccessToken => "next-access-token",
            Self::NextRefreshToken => "next-refresh-token",
            Self::SigningKey => "signing-key",
            Self::TryCounter => "try-counter",
        }
    }
}

impl KeyId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RingKey {
    fn new(key: &[u8; 32]) -> Self {
        let id = keyed_hash(key, &[b"sekisho/key-id"]);
        let [one, two, three, four, five, six, seven, eight, ..] = *id;
        let id = u64::from_be_bytes([one, two, three, four, five, six, seven, eight]);
        Self {
            id: KeyId(format!("{id:016x}")),
            cipher: XChaCha20Poly1305::new(&Key::from(*key)),
            deriving: keyed_hash(key, &[b"sekisho/derive"]),
        }
    }
}

impl KeyRing {
    /// A ring that seals with `newest`, and opens with `older` too.
    pub fn new<'a>(
        newest: &Zeroizing<[u8; 32]>,
        older: impl IntoIterator<Item = &'a Zeroizing<[u8; 32]>>,
    ) -> Self {
        let older = older.into_iter().map(|key| Arc::new(RingKey::new(key))).collect();
        Self { newest: Arc::new(RingKey::new(newest)), older }
    }

    /// The names of the keys, newest first.
    pub fn ids(&self) -> Vec<KeyId> {
        self.keys().map(|key| key.id.clone()).collect()
    }

    fn keys(&self) -> impl Iterator<Item = &Arc<RingKey>> {
        std::iter::once(&self.newest).chain(&self.older)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing").field(&self.ids()).finish()
    }
}

impl Deriver {
    /// The name of the key.
    pub fn key_id(&self) -> &KeyId {
        &self.0.id
    }

    /// The same 32 bytes for the same key, purpose and parts, and for no others. Whoever lacks the
    /// key cannot tell them from random ones, even if they know the parts.
    pub fn derive(&self, purpose: Derived, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut labelled = vec![purpose.label().as_bytes()];
        labelled.extend_from_slice(parts);
        keyed_hash(&self.0.deriving, &labelled)
    }
}

impl fmt::Debug for Deriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deriver({})", self.0.id)
    }
}

/// HMAC-SHA-256 over the parts, each behind its length, so that no two lists read the same.
fn keyed_hash(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("a key of 32 bytes");
    for part in parts {
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

impl Sealer {
    /// A sealer with one key.
    pub fn new(key: &Zeroizing<[u8; 32]>) -> Self {
        Self::with_ring(KeyRing::new(key, []))
    }

    /// A sealer with the operator's keys.
    pub fn with_ring(ring: KeyRing) -> Self {
        Self { ring: Arc::new(RwLock::new(ring)) }
    }

    /// Goes on with another ring, in all clones of this sealer. What was sealed with a key that is
    /// not in it does not open any more.
    pub fn turn_to(&self, ring: KeyRing) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
    }

    /// The names of the keys, newest first.
    pub fn key_ids(&self) -> Vec<KeyId> {
        self.ring().ids()
    }

    /// The way to derive by the newest key: for what is new.
    pub fn deriver(&self) -> Deriver {
        Deriver(self.ring().newest)
    }

    /// The ways to derive by each key, newest first: for recognising what was derived before.
    pub fn derivers(&self) -> impl Iterator<Item = Deriver> {
        let KeyRing { newest, older } = self.ring();
        std::iter::once(newest).chain(older).map(Deriver)
    }

    fn ring(&self) -> KeyRing {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A sealer whose key is forgotten with the process, for stores that are forgotten too.
    pub fn ephemeral() -> Self {
        Self::new(&random_key())
    }

    /// Seals `plain` for `purpose` at `place` (a row's key, or empty where there is none).
    pub fn seal(&self, purpose: Purpose, place: &[u8], plain: &[u8]) -> Sealed {
        let nonce = mint::bytes::<NONCE_BYTES>();
        let bound = bound_to(purpose, place);
        let KeyRing { newest, older: _ } = self.ring();
        let payload = Payload { msg: plain, aad: &bound };
        #[expect(clippy::expect_used, reason = "sealing fails only beyond 256 GiB")]
        let sealed =
            newest.cipher.encrypt(&XNonce::from(nonce), payload).expect("small enough to seal");
        let mut bytes = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        Sealed(bytes)
    }

    /// Opens what [`Sealer::seal`] made for the same purpose and place.
    ///
    /// # Errors
    /// [`NotOurs`], without saying what exactly was wrong.
    pub fn open(
        &self,
        purpose: Purpose,
        place: &[u8],
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, NotOurs> {
        let rest = sealed.0.strip_prefix(&[FORMAT]).ok_or(NotOurs)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(NotOurs)?;
        let place = bound_to(purpose, place);
        let nonce = XNonce::from(*nonce);
        let opened = self.ring().keys().find_map(|key| {
            let payload = Payload { msg: ciphertext, aad: &place };
            key.cipher.decrypt(&nonce, payload).ok()
        });
        opened.map(Zeroizing::new).ok_or(NotOurs)
    }

    /// Seals a value as JSON.
    pub fn seal_value<T: Serialize>(&self, purpose: Purpose, place: &[u8], value: &T) -> Sealed {
        #[expect(
            clippy::expect_used,
            reason = "our own types have string keys and no failing parts"
        )]
        let plain = Zeroizing::new(serde_json::to_vec(value).expect("our own types serialise"));
        self.seal(purpose, place, &plain)
    }

    /// Opens a value sealed by [`Sealer::seal_value`].
    ///
    /// # Errors
    /// [`NotOurs`] also when the value has another shape than expected.
    pub fn open_value<T: for<'de> Deserialize<'de>>(
        &self,
        purpose: Purpose,
        place: &[u8],
        sealed: &Sealed,
    ) -> Result<T, NotOurs> {
        let plain = self.open(purpose, place, sealed)?;
        serde_json::from_slice(&plain).map_err(|_| NotOurs)
    }
}

/// A fresh key, for a key file that is not there yet.
pub fn random_key() -> Zeroizing<[u8; 32]> {
    Zeroizing::new(mint::bytes::<32>())
}

fn bound_to(purpose: Purpose, place: &[u8]) -> Vec<u8> {
    [b"sekisho/", purpose.label().as_bytes(), b"\0", place].concat()
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(***)")
    }
}

impl Sealed {
    /// Bytes read back from a store.
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for a store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As text for a form or a URL (base64url without padding).
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0)
    }

    /// Reads what [`Sealed::to_text`] wrote; other text is not ours.
    pub fn from_text(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok().map(Self)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_text())
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_text(&text).ok_or_else(|| serde::de::Error::custom("not base64url"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_with_its_key_for_its_purpose_at_its_place() {
        let sealer = Sealer::ephemeral();
        let row = sealer.seal(Purpose::Login, b"row 1", b"secret");
        let opened = |sealer: &Sealer, purpose, place: &[u8], row: &Sealed| {
            sealer.open(purpose, place, row).map(|plain| plain.to_vec())
        };
        assert_eq!(opened(&sealer, Purpose::Login, b"row 1", &row), Ok(b"secret".to_vec()));
        assert_eq!(opened(&sealer, Purpose::Login, b"row 2", &row), Err(NotOurs), "moved");
        assert_eq!(opened(&sealer, Purpose::Consent, b"row 1", &row), Err(NotOurs), "misused");
        let other = Sealer::ephemeral();
        assert_eq!(opened(&other, Purpose::Login, b"row 1", &row), Err(NotOurs), "other key");
        for at in 0..row.as_bytes().len() {
            let mut bytes = row.as_bytes().to_vec();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1;
            }
            let altered = Sealed::from_bytes(bytes);
            assert_eq!(opened(&sealer, Purpose::Login, b"row 1", &altered), Err(NotOurs), "{at}");
        }
        assert_eq!(opened(&sealer, Purpose::Login, b"", &Sealed::from_bytes(vec![])), Err(NotOurs));
    }

    #[test]
    fn a_ring_opens_with_every_key_and_seals_with_the_newest() {
        let (old, new) = (random_key(), random_key());
        let before = Sealer::new(&old);
        let sealed = before.seal(Purpose::Login, b"row", b"secret");
        let elsewhere = before.clone();
        before.turn_to(KeyRing::new(&new, [&old]));
        assert!(elsewhere.open(Purpose::Login, b"row", &sealed).is_ok(), "the old key opens");
        let resealed = elsewhere.seal(Purpose::Login, b"row", b"secret");
        assert!(Sealer::new(&new).open(Purpose::Login, b"row", &resealed).is_ok());
        assert!(Sealer::new(&old).open(Purpose::Login, b"row", &resealed).is_err());
        let ids = before.key_ids();
        assert_eq!(ids, [Sealer::new(&new).key_ids(), Sealer::new(&old).key_ids()].concat());
        before.turn_to(KeyRing::new(&new, []));
        assert!(elsewhere.open(Purpose::Login, b"row", &sealed).is_err(), "the old key is gone");
    }

    #[test]
    fn what_is_derived_depends_on_key_purpose_and_every_part() {
        use Derived::{NextAccessToken, NextRefreshToken};
        let (key, other) = (random_key(), random_key());
        let sealer = Sealer::with_ring(KeyRing::new(&key, [&other]));
        let derived =
            |sealer: &Sealer, purpose, parts: &[&[u8]]| *sealer.deriver().derive(purpose, parts);
        let first = derived(&sealer, NextAccessToken, &[b"ab", b"c"]);
        assert_eq!(derived(&Sealer::new(&key), NextAccessToken, &[b"ab", b"c"]), first, "again");
        let rows = [
            (derived(&sealer, NextRefreshToken, &[b"ab", b"c"]), "purpose"),
            (derived(&sealer, NextAccessToken, &[b"a", b"bc"]), "parts of other lengths"),
            (derived(&sealer, NextAccessToken, &[b"ab", b"c", b""]), "an empty part more"),
            (derived(&Sealer::new(&other), NextAccessToken, &[b"ab", b"c"]), "key"),
        ];
        for (other, reason) in rows {
            assert_ne!(other, first, "{reason}");
        }
        let by_each: Vec<_> = sealer
            .derivers()
            .map(|deriver| *deriver.derive(NextAccessToken, &[b"ab", b"c"]))
            .collect();
        let by_other = derived(&Sealer::new(&other), NextAccessToken, &[b"ab", b"c"]);
        assert_eq!(by_each, [first, by_other]);
    }
}
