//! What strangers' bytes are read by and no caller of the library may use: for the targets in `fuzz/` alone,
//! and there only with the feature of this name.

use sekisho_protocol::Secret;

pub use crate::gateway::events_in;
use crate::jwks::KeySet;
use crate::trusted::{TokenKind, verify_signature};

/// Whether a token is signed, as a token of any kind, by one of these keys (a JWK set).
pub fn is_signed(token: &str, keys: &str) -> bool {
    let Some(keys) = KeySet::parse(keys.as_bytes()) else { return false };
    let token = Secret::new(token);
    [TokenKind::Id, TokenKind::Logout, TokenKind::Access]
        .into_iter()
        .any(|kind| verify_signature::<serde_json::Value>(&token, kind, &keys).is_ok())
}
