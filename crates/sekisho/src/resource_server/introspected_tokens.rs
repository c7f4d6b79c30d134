//! Verifies access tokens by asking the authorization server that issued them (RFC 7662), for one
//! resource.
//!
//! An opinion is remembered for a short time and never beyond the token's end, by the token's hash:
//! what is taken back there is refused here within that time. Whatever is no opinion (an error, a
//! silence, another document) makes no token good or bad.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quick_cache::sync::Cache;
use sekisho_protocol::oauth::ProtectedResource;
use sekisho_protocol::{Secret, SecretHash};
use serde::Deserialize as _;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::claims::{AccessClaims, Flaw, Shown, Wanted};
use super::issuer::{ExternalIssuer, ISSUER_PATIENCE, IntrospectionClient, Opinion};
use super::{TokenVerifier, VerifyError};
use crate::clock::Timestamp;
use crate::principal::{Principal, WantedClaims};
use crate::trusted::{self, Fault};

/// Opinions of each kind, good and bad, that are remembered for one resource; the least used go first.
pub const INTROSPECTED_TOKENS_MAX: usize = 10_000;

/// Questions for one resource at one moment, about tokens that were good once, and as many about those
/// that nobody has seen; who comes beyond waits. Apart, so that made-up tokens hold up no others.
const QUESTIONS_AT_ONCE_MAX: usize = 64;

/// Has tokens judged by their issuer, and holds them against one resource.
#[derive(Debug)]
pub struct IntrospectedTokens {
    issuer: Arc<ExternalIssuer>,
    client: IntrospectionClient,
    wanted: Wanted,
    remembered_for: Duration,
    good: Cache<SecretHash, (Arc<Principal>, Timestamp)>,
    /// Apart from the good ones, so that made-up tokens push none of those out.
    bad: Cache<SecretHash, (Bad, Timestamp)>,
    questions: Semaphore,
    questions_about_known: Semaphore,
}

/// Why a token opens nothing.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum Bad {
    #[error("the authorization server says that the token is not active")]
    Inactive,
    #[error(transparent)]
    Flaw(#[from] Flaw),
}

impl IntrospectedTokens {
    /// A verifier of tokens for `resource`, by any of its names, which asks as `client` and remembers
    /// what it heard for `remembered_for`.
    pub fn new(
        issuer: Arc<ExternalIssuer>,
        client: IntrospectionClient,
        resource: &ProtectedResource,
        remembered_for: Duration,
    ) -> Self {
        Self {
            issuer,
            client,
            wanted: Wanted::for_resource(resource),
            remembered_for,
            good: Cache::new(INTROSPECTED_TOKENS_MAX),
            bad: Cache::new(INTROSPECTED_TOKENS_MAX),
            questions: Semaphore::new(QUESTIONS_AT_ONCE_MAX),
            questions_about_known: Semaphore::new(QUESTIONS_AT_ONCE_MAX),
        }
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

    fn remembered(&self, token: &SecretHash) -> Option<Arc<Principal>> {
        let (principal, until) = self.good.get(token)?;
        (!until.is_over(self.issuer.now())).then_some(principal)
    }

    fn remembered_as_bad(&self, token: &SecretHash) -> Option<Bad> {
        let (bad, until) = self.bad.get(token)?;
        (!until.is_over(self.issuer.now())).then_some(bad)
    }

    async fn ask(&self, token: &Secret) -> Result<Opinion, Fault> {
        let seats =
            if self.is_known(token) { &self.questions_about_known } else { &self.questions };
        let turn = timeout(ISSUER_PATIENCE, seats.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(Fault::TooSlow(ISSUER_PATIENCE)) };
        self.issuer.introspect(&self.client, token).await
    }

    fn judge(&self, opinion: Opinion, token: &Secret) -> Result<Principal, Bad> {
        if !opinion.active {
            return Err(Bad::Inactive);
        }
        let claims = AccessClaims::deserialize(Value::Object(opinion.claims))
            .map_err(|_| Flaw::from(trusted::Flaw::Claims))?;
        let (issuer, now) = (self.issuer.as_str(), self.issuer.now());
        Ok(claims.judge(&self.wanted, issuer, Shown::Clearly, token, now)?)
    }
}

#[async_trait]
impl TokenVerifier for IntrospectedTokens {
    async fn verify(&self, token: &Secret) -> Result<Arc<Principal>, VerifyError> {
        let hash = token.hash();
        if let Some(principal) = self.remembered(&hash) {
            return Ok(principal);
        }
        if let Some(bad) = self.remembered_as_bad(&hash) {
            return Err(VerifyError::Refused(Box::new(bad)));
        }
        let opinion = self.ask(token).await;
        let opinion = opinion
            .map_err(|fault| VerifyError::Unavailable(Box::new(self.issuer.unavailable(fault))))?;
        let until = self.issuer.now().plus(self.remembered_for);
        match self.judge(opinion, token) {
            Ok(principal) => {
                let until = until.min(principal.expires_at);
                let principal = Arc::new(principal);
                self.good.insert(hash, (Arc::clone(&principal), until));
                Ok(principal)
            }
            Err(bad) => {
                self.good.remove(&hash);
                self.bad.insert(hash, (bad, until));
                Err(VerifyError::Refused(Box::new(bad)))
            }
        }
    }

    fn verify_from_memory(&self, token: &Secret) -> Option<Arc<Principal>> {
        self.remembered(&token.hash())
    }

    /// What is remembered as good stays known when the opinion is old.
    fn is_known(&self, token: &Secret) -> bool {
        self.good.peek(&token.hash()).is_some()
    }

    /// Until its end, or until somebody shows it again and the server says that it is taken back.
    async fn is_live(&self, principal: &Principal) -> bool {
        !principal.expires_at.is_over(self.issuer.now())
            && self.remembered_as_bad(&principal.token).is_none()
    }
}
