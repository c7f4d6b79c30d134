//! Verifies access tokens that another authorization server signed (RFC 9068), for one resource.
//!
//! A token that was verified is remembered until its end, or until the issuer's keys change: a call
//! costs no signature, and a key that was withdrawn opens nothing for longer than
//! [`KEYS_FRESH_FOR`](super::KEYS_FRESH_FOR).

use std::sync::Arc;

use async_trait::async_trait;
use quick_cache::sync::Cache;
use sekisho_protocol::oauth::ProtectedResource;
use sekisho_protocol::{Secret, SecretHash};

use super::claims::{AccessClaims, Flaw, Shown, Wanted};
use super::issuer::ExternalIssuer;
use super::{TokenVerifier, VerifyError};
use crate::jwks::{Edition, KeySet};
use crate::principal::{Principal, WantedClaims};
use crate::trusted::{self, Unverified, says_access_token};

/// Verified tokens that are remembered for one resource; the least used go first.
pub const VERIFIED_TOKENS_MAX: usize = 10_000;

/// Holds a token against the issuer's keys and one resource.
#[derive(Debug)]
pub struct SignedTokens {
    issuer: Arc<ExternalIssuer>,
    wanted: Wanted,
    verified: Cache<SecretHash, Verified>,
}

/// A caller, and the keys that vouch for them.
#[derive(Debug, Clone)]
struct Verified {
    principal: Arc<Principal>,
    keys: Edition,
}

impl SignedTokens {
    /// A verifier of tokens for `resource`, by any of its names.
    pub fn new(issuer: Arc<ExternalIssuer>, resource: &ProtectedResource) -> Self {
        Self { issuer, wanted: Wanted::for_resource(resource), verified: remembered() }
    }

    /// Takes tokens whose `aud` has one of these texts instead. Never the same for two resources: each
    /// would take the other's.
    #[must_use]
    pub fn for_audience(self, audience: Vec<String>) -> Self {
        Self { wanted: self.wanted.for_written(audience), ..self }
    }

    /// Keeps these claims of a person, beside who they are.
    #[must_use]
    pub fn keeping(self, claims: WantedClaims) -> Self {
        Self { wanted: self.wanted.keeping(claims), ..self }
    }

    /// Verified before, by these very keys, and not over.
    fn remembered(&self, token: &SecretHash, keys: &KeySet) -> Option<Arc<Principal>> {
        let known = self.verified.get(token)?;
        let is_good =
            known.keys == keys.edition() && !known.principal.expires_at.is_over(self.issuer.now());
        is_good.then_some(known.principal)
    }

    async fn check(&self, token: &Secret, keys: Arc<KeySet>) -> Result<Verified, Unfit> {
        let (claims, keys) = self.issuer.verify::<AccessClaims>(keys, token).await?;
        if !claims.names_issuer() {
            return Err(Flaw::from(trusted::Flaw::Issuer).into());
        }
        let shown = if says_access_token(token) { Shown::Clearly } else { Shown::ByClaims };
        let (issuer, now) = (self.issuer.as_str(), self.issuer.now());
        let principal = Arc::new(claims.judge(&self.wanted, issuer, shown, token, now)?);
        Ok(Verified { principal, keys: keys.edition() })
    }
}

/// Why a token does not open the door.
enum Unfit {
    Flaw(Flaw),
    Fault(trusted::Fault),
}

impl From<Flaw> for Unfit {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

impl From<Unverified> for Unfit {
    fn from(unverified: Unverified) -> Self {
        match unverified {
            Unverified::Flaw(flaw) => Self::Flaw(flaw.into()),
            Unverified::Fault(fault) => Self::Fault(fault),
        }
    }
}

fn remembered() -> Cache<SecretHash, Verified> {
    Cache::new(VERIFIED_TOKENS_MAX)
}

#[async_trait]
impl TokenVerifier for SignedTokens {
    async fn verify(&self, token: &Secret) -> Result<Arc<Principal>, VerifyError> {
        let unavailable =
            |fault| VerifyError::Unavailable(Box::new(self.issuer.unavailable(fault)));
        let keys = self.issuer.keys().await.map_err(unavailable)?;
        let hash = token.hash();
        if let Some(principal) = self.remembered(&hash, &keys) {
            return Ok(principal);
        }
        match self.check(token, keys).await {
            Ok(verified) => {
                let principal = Arc::clone(&verified.principal);
                self.verified.insert(hash, verified);
                Ok(principal)
            }
            Err(Unfit::Flaw(flaw)) => Err(VerifyError::Refused(Box::new(flaw))),
            Err(Unfit::Fault(fault)) => Err(unavailable(fault)),
        }
    }

    fn verify_from_memory(&self, token: &Secret) -> Option<Arc<Principal>> {
        self.remembered(&token.hash(), &*self.issuer.fresh_keys()?)
    }

    /// Nobody tells us when such a token is taken back: it lives until its end.
    async fn is_live(&self, principal: &Principal) -> bool {
        !principal.expires_at.is_over(self.issuer.now())
    }
}
