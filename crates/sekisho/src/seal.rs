//! Sealing what must be read back (XChaCha20-Poly1305): pending logins, the provider's tokens.
//!
//! Every sealed value is bound to a purpose and to its place, so that a row copied to another
//! place, or a value presented for another purpose, does not open.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::mint;

/// First byte of everything sealed: the format.
const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 24;

/// Seals and opens with one 256-bit key.
#[derive(Clone)]
pub struct Sealer {
    cipher: XChaCha20Poly1305,
}

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
        }
    }
}

impl Sealer {
    /// A sealer with the operator's key.
    pub fn new(key: &Zeroizing<[u8; 32]>) -> Self {
        Self { cipher: XChaCha20Poly1305::new(&Key::from(**key)) }
    }

    /// A sealer whose key is forgotten with the process, for stores that are forgotten too.
    pub fn ephemeral() -> Self {
        Self::new(&random_key())
    }

    /// Seals `plain` for `purpose` at `place` (a row's key, or empty where there is none).
    pub fn seal(&self, purpose: Purpose, place: &[u8], plain: &[u8]) -> Sealed {
        let nonce = mint::bytes::<NONCE_BYTES>();
        let bound = bound_to(purpose, place);
        let payload = Payload { msg: plain, aad: &bound };
        #[expect(clippy::expect_used, reason = "sealing fails only beyond 256 GiB")]
        let sealed =
            self.cipher.encrypt(&XNonce::from(nonce), payload).expect("small enough to seal");
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
        let payload = Payload { msg: ciphertext, aad: &bound_to(purpose, place) };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| NotOurs)
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
}
