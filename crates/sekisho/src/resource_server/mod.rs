//! Who may come in: a bearer token becomes a [`Principal`], or the client hears what to do.
//!
//! Works without our authorization server: tokens of another one are verified by
//! [`SignedTokens`] or [`IntrospectedTokens`], and whoever can verify a token in another way implements
//! [`TokenVerifier`].

mod claims;
mod guard;
mod introspected_tokens;
mod issuer;
mod metadata;
mod own_tokens;
mod refused_tokens;
mod signed_tokens;

pub use guard::{Guard, GuardLayer};
pub use introspected_tokens::{INTROSPECTED_TOKENS_MAX, IntrospectedTokens};
pub use issuer::{
    ExternalIssuer, ExternalIssuerError, ISSUER_PATIENCE, IntrospectionClient, IssuerUnavailable,
    KEYS_FRESH_FOR, KEYS_KEPT_FOR,
};
pub use metadata::{metadata_documents, metadata_routes};
pub use own_tokens::{Admitting, OwnTokens};
pub use refused_tokens::RefusedTokens;
pub use signed_tokens::{SignedTokens, VERIFIED_TOKENS_MAX};

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::ScopeSet;

use crate::principal::Principal;

/// What a valid token lacks for one request, beside what it needs for all. Whoever stands behind the
/// [`Guard`] and refuses a request puts this into the extensions of the response, and the guard adds
/// the challenge (`insufficient_scope`, RFC 6750 §3.1).
#[derive(Debug, Clone)]
pub struct MissingScopes(pub ScopeSet);

/// Why a token does not open the door.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Unknown, revoked, expired, or for another resource: 401 `invalid_token`.
    #[error("the access token is not valid here")]
    Invalid,
    /// The same, and the log says why.
    #[error("the access token is not valid here")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
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

    /// Whether the token was good once, or can be judged without asking another server. What is neither
    /// is refused unheard where it comes from an address that showed too many wrong tokens.
    fn is_known(&self, _token: &Secret) -> bool {
        true
    }

    /// Whether the token behind `principal` is still neither expired nor revoked. Asked about
    /// twice a second for each open stream, so it answers from memory.
    async fn is_live(&self, principal: &Principal) -> bool;
}
