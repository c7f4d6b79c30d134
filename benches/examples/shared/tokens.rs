//! A bearer check of one SHA-256 and one look-up in a hash map. Knows nothing of expiry, audience or
//! scope.

use std::collections::HashMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

/// The tokens a peer knows, by their SHA-256, each with the name of its holder.
#[derive(Debug)]
pub(crate) struct Tokens(HashMap<[u8; 32], &'static str>);

impl Tokens {
    /// Knows exactly `token`.
    pub(crate) fn only(token: &str) -> Self {
        Self(HashMap::from([(Sha256::digest(token).into(), "bench")]))
    }

    /// Who holds the bearer token in `headers`; `None` for no token or an unknown one.
    pub(crate) fn holder(&self, headers: &HeaderMap) -> Option<&'static str> {
        let token = headers.get(AUTHORIZATION)?.as_bytes().strip_prefix(b"Bearer ")?;
        let hash: [u8; 32] = Sha256::digest(token).into();
        self.0.get(&hash).copied()
    }
}
