//! Verifies the tokens that our own authorization server stored, for one resource.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::ResourceUri;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::{TokenVerifier, VerifyError};
use crate::clock::{Clock, Timestamp};
use crate::grant::TokenKey;
use crate::principal::{Identity, Principal};
use crate::store::{AccessToken, Judge, Store};

/// Last uses that are being written down at once. Beyond it a use goes unnoted until the next one.
const NOTES_AT_ONCE_MAX: usize = 64;

/// Looks a token up by its hash and holds it against one resource. With a
/// [`crate::store::CachedStore`] the look-up is in memory.
#[derive(Debug)]
pub struct OwnTokens {
    store: Arc<dyn Store>,
    resource: ResourceUri,
    clock: Arc<dyn Clock>,
    notes: Arc<Semaphore>,
    admitting: Option<Admitting>,
}

/// Who of those that tokens were given to may be here now. Asked once for each token and description of
/// its person.
#[derive(Clone)]
pub struct Admitting {
    judge: Judge,
    admits: Arc<dyn Fn(&Identity) -> bool + Send + Sync>,
}

impl Admitting {
    /// Those for whom this holds.
    pub fn those(admits: impl Fn(&Identity) -> bool + Send + Sync + 'static) -> Self {
        Self { judge: Judge::new(), admits: Arc::new(admits) }
    }
}

impl fmt::Debug for Admitting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitting").field("judge", &self.judge).finish_non_exhaustive()
    }
}

impl OwnTokens {
    /// A verifier for the server whose canonical URI is `resource`.
    pub fn new(store: Arc<dyn Store>, resource: ResourceUri, clock: Arc<dyn Clock>) -> Self {
        let notes = Arc::new(Semaphore::new(NOTES_AT_ONCE_MAX));
        Self { store, resource, clock, notes, admitting: None }
    }

    /// Refuses the tokens of everybody else, whatever they were given before.
    #[must_use]
    pub fn admitting(mut self, those: Admitting) -> Self {
        self.admitting = Some(those);
        self
    }

    /// Bound to this resource, not over, and of somebody who may be here. Unknown, foreign and expired
    /// are one answer.
    fn opens(&self, token: &AccessToken, now: Timestamp) -> bool {
        token.resource == self.resource
            && !token.principal.expires_at.is_over(now)
            && self.admitting.as_ref().is_none_or(|Admitting { judge, admits }| {
                token.admitted.by(*judge, || admits(&token.principal.identity))
            })
    }

    /// Has the use of a grant written down, at most once an hour and beside the request: who calls
    /// does not wait for it, and a store that cannot keep up loses notes, not calls.
    fn note_use(&self, token: &AccessToken, now: Timestamp) {
        if !token.last_noted.is_due(now) {
            return;
        }
        let (Ok(runtime), Ok(turn)) =
            (Handle::try_current(), Arc::clone(&self.notes).try_acquire_owned())
        else {
            return;
        };
        if !token.last_noted.claim(now) {
            return;
        }
        let store = Arc::clone(&self.store);
        let grant = token.principal.grant_id.clone();
        runtime.spawn(async move {
            let _turn = turn;
            if let Err(reason) = store.note_use(&grant, now).await {
                let error = &reason as &dyn std::error::Error;
                tracing::debug!(error, "a last use could not be written down");
            }
        });
    }
}

#[async_trait]
impl TokenVerifier for OwnTokens {
    async fn verify(&self, token: &Secret) -> Result<Arc<Principal>, VerifyError> {
        let found = self.store.find_access_token(&TokenKey::shown(token)).await;
        let now = self.clock.now();
        match found {
            Ok(Some(found)) if self.opens(&found, now) => {
                self.note_use(&found, now);
                Ok(Arc::clone(&found.principal))
            }
            Ok(Some(_) | None) => Err(VerifyError::Invalid),
            Err(reason) => Err(VerifyError::Unavailable(Box::new(reason))),
        }
    }

    fn verify_from_memory(&self, token: &Secret) -> Option<Arc<Principal>> {
        let found = self.store.access_token_in_memory(&token.hash())?;
        let now = self.clock.now();
        if !self.opens(&found, now) {
            return None;
        }
        self.note_use(&found, now);
        Some(Arc::clone(&found.principal))
    }

    async fn is_live(&self, principal: &Principal) -> bool {
        let now = self.clock.now();
        let key = TokenKey::of(&principal.grant_id, None, principal.token);
        match self.store.find_access_token(&key).await {
            Ok(Some(found)) => self.opens(&found, now),
            Ok(None) => false,
            // An outage revokes nothing: the stream lives on until the store answers again, or
            // until its token's own end.
            Err(_) => !principal.expires_at.is_over(now),
        }
    }
}
