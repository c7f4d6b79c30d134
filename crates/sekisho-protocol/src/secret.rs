//! Values that must not leak, and the only form of them that may be kept.
//!
//! A [`Secret`] never prints itself and has no `==`; a [`SecretHash`] is what goes to the store.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A token, code, password or key as text: prints as `Secret(***)` and is wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over; whoever made it should not keep a copy.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that puts it on the wire.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the text: what is stored and looked up, never the text.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(self.0.as_bytes())
    }

    /// Whether `hash` is the hash of this secret, compared in constant time.
    pub fn matches(&self, hash: &SecretHash) -> bool {
        self.hash().equals(hash)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// SHA-256 of a [`Secret`]. Safe to keep: our secrets are random and long enough that no table of
/// guesses reaches them. (Passwords are not; they are hashed with argon2id instead.)
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes bytes that are secret as they are.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A hash read back from a store.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, for a store's key column.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Equality that takes as long for a near miss as for a far one.
    pub fn equals(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretHash {
    /// Eight hex digits: enough to join two log lines, useless to anybody else.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third, fourth, ..] = self.0;
        write!(f, "SecretHash({first:02x}{second:02x}{third:02x}{fourth:02x}…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_itself() {
        let secret = Secret::new("mcp_0123");
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        assert!(!format!("{:?}", secret.hash()).contains("mcp_0123"));
    }

    #[test]
    fn only_the_same_text_matches_a_hash() {
        let hash = Secret::new("right").hash();
        assert!(Secret::new("right").matches(&hash));
        assert!(!Secret::new("right ").matches(&hash));
        assert!(!Secret::new("").matches(&hash));
    }
}
