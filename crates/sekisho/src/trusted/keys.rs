//! A server's signing keys, as its `jwks_uri` answers, and what they verify.

use std::sync::Arc;
use std::time::Duration;

use sekisho_protocol::Secret;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::fetched::Fetched;
use super::jwt::{self, Flaw, TokenKind};
use super::wire::{Answer, Endpoint, Fault};
use crate::jwks::KeySet;

/// Why nothing of a token is believed.
#[derive(Debug)]
pub(crate) enum Unverified {
    /// It is not what the server signed.
    Flaw(Flaw),
    /// It cannot be said: the newest keys cannot be had.
    Fault(Fault),
}

impl Unverified {
    /// What comes of `verifying`, if it comes in time.
    pub(crate) async fn within<T>(
        patience: Duration,
        verifying: impl Future<Output = Result<T, Self>>,
    ) -> Result<T, Self> {
        let verified = timeout(patience, verifying).await;
        verified.unwrap_or(Err(Self::Fault(Fault::TooSlow(patience))))
    }
}

/// Reads the answer of `jwks_uri`.
pub(crate) fn read_keys(answer: &Answer) -> Result<KeySet, Fault> {
    let refused = |reason: &str| Fault::Unacceptable(format!("{} {reason}", Endpoint::Keys));
    if answer.status != http::StatusCode::OK {
        return Err(refused(&format!("answered {}", answer.status)));
    }
    KeySet::parse(&answer.body).ok_or_else(|| refused("is not a JSON Web Key Set"))
}

impl Fetched<KeySet> {
    /// Verifies with `keys`, which are at hand; a key that is not among them may have been published
    /// since. Gives the claims, and the keys that verified them.
    pub(crate) async fn verify<C: DeserializeOwned>(
        &self,
        keys: Arc<KeySet>,
        token: &Secret,
        kind: TokenKind,
        fetch: impl Future<Output = Result<KeySet, Fault>> + Send + 'static,
    ) -> Result<(C, Arc<KeySet>), Unverified> {
        let verified = jwt::verify_signature::<C>(token, kind, &keys);
        if !matches!(verified, Err(Flaw::UnknownKey)) {
            return verified.map(|claims| (claims, keys)).map_err(Unverified::Flaw);
        }
        let shown = token.clone();
        let is_known = move |keys: &KeySet| {
            let verified = jwt::verify_signature::<serde_json::Value>(&shown, kind, keys);
            !matches!(verified, Err(Flaw::UnknownKey))
        };
        let newer = self.newer_than(&keys, is_known, fetch).await.map_err(Unverified::Fault)?;
        let newer = newer.ok_or(Unverified::Flaw(Flaw::UnknownKey))?;
        let verified = jwt::verify_signature(token, kind, &newer);
        verified.map(|claims| (claims, newer)).map_err(Unverified::Flaw)
    }
}
