//! Verifies the tokens that our own authorization server stored, for one resource.

use std::sync::Arc;

use async_trait::async_trait;
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::ResourceUri;

use super::{TokenVerifier, VerifyError};
use crate::clock::Clock;
use crate::principal::Principal;
use crate::store::{AccessToken, Store};

/// Looks a token up by its hash and holds it against one resource. With a
/// [`crate::store::CachedStore`] the look-up is in memory.
#[derive(Debug)]
pub struct OwnTokens {
    store: Arc<dyn Store>,
    resource: ResourceUri,
    clock: Arc<dyn Clock>,
}

impl OwnTokens {
    /// A verifier for the server whose canonical URI is `resource`.
    pub fn new(store: Arc<dyn Store>, resource: ResourceUri, clock: Arc<dyn Clock>) -> Self {
        Self { store, resource, clock }
    }

    /// Bound to this resource and not over. Unknown, foreign and expired are one answer.
    fn opens(&self, token: &AccessToken) -> bool {
        token.resource == self.resource && !token.principal.expires_at.is_over(self.clock.now())
    }
}

#[async_trait]
impl TokenVerifier for OwnTokens {
    async fn verify(&self, token: &Secret) -> Result<Arc<Principal>, VerifyError> {
        match self.store.find_access_token(&token.hash()).await {
            Ok(Some(found)) if self.opens(&found) => Ok(Arc::clone(&found.principal)),
            Ok(Some(_) | None) => Err(VerifyError::Invalid),
            Err(reason) => Err(VerifyError::Unavailable(Box::new(reason))),
        }
    }

    fn verify_from_memory(&self, token: &Secret) -> Option<Arc<Principal>> {
        let found = self.store.access_token_in_memory(&token.hash())?;
        self.opens(&found).then(|| Arc::clone(&found.principal))
    }

    async fn is_live(&self, principal: &Principal) -> bool {
        match self.store.find_access_token(&principal.token).await {
            Ok(Some(found)) => self.opens(&found),
            Ok(None) => false,
            // An outage revokes nothing: the stream lives on until the store answers again, or
            // until its token's own end.
            Err(_) => !principal.expires_at.is_over(self.clock.now()),
        }
    }
}
