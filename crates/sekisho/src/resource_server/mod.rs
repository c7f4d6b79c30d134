//! Who may come in: a bearer token becomes a [`Principal`], or the client hears what to do.
//!
//! Works without our authorization server: whoever can verify a token implements [`TokenVerifier`].

mod guard;
mod metadata;
mod own_tokens;
mod refused_tokens;

pub use guard::{Guard, GuardLayer};
pub use metadata::metadata_routes;
pub use own_tokens::OwnTokens;
pub use refused_tokens::RefusedTokens;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_protocol::Secret;

use crate::principal::Principal;

/// Why a token does not open the door.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Unknown, revoked, expired, or for another resource: 401 `invalid_token`.
    #[error("the access token is not valid here")]
    Invalid,
    /// It cannot be said at this moment: 503.
    #[error("tokens cannot be checked at this moment")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Turns a bearer token into a principal, for one resource.
#[async_trait]
pub trait TokenVerifier: fmt::Debug + Send + Sync {
    /// Checks a token as it came in the `Authorization` header.
    async fn verify(&self, token: &Secret) -> Result<Arc<Principal>, VerifyError>;

    /// The same without a wait, for a token that is in memory and opens the door. `None` says
    /// nothing: [`TokenVerifier::verify`] is asked then.
    fn verify_from_memory(&self, _token: &Secret) -> Option<Arc<Principal>> {
        None
    }

    /// Whether the token behind `principal` is still neither expired nor revoked. Asked about
    /// twice a second for each open stream, so it answers from memory.
    async fn is_live(&self, principal: &Principal) -> bool;
}
