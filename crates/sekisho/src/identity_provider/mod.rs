//! Who logs people in: a seam with one implementation for `OpenID` providers and one for local accounts.
//!
//! A provider is asked twice: where to send the browser, and who came back. It never sees the MCP
//! client, and the client never sees the provider's code or tokens.

pub mod local;
pub mod oidc;

use std::fmt;

use async_trait::async_trait;
use sekisho_protocol::Secret;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::principal::Identity;

/// What binds one trip to the provider: made after approval, kept sealed, used once.
#[derive(Debug, Clone)]
pub struct LoginAttempt {
    /// Our `state`; random, says nothing.
    pub login_state: Secret,
    /// Goes into the ID token.
    pub nonce: Secret,
    /// Our PKCE verifier (64 hex digits).
    pub code_verifier: Secret,
}

/// Tokens of the identity provider. They never leave the server side, and are stored sealed.
#[derive(Debug, Clone)]
pub struct ProviderTokens {
    /// Opens the provider's own endpoints.
    pub access_token: Secret,
    /// Renews it, if the provider gave one.
    pub refresh_token: Option<Secret>,
    /// The proof of login, needed as a hint when logging out.
    pub id_token: Option<Secret>,
    /// When the access token ends, if the provider said so.
    pub expires_at: Option<Timestamp>,
}

/// A person who came back from the provider, fully checked.
#[derive(Debug, Clone)]
pub struct LoggedIn {
    /// Who it is.
    pub identity: Identity,
    /// What the provider gave us for later.
    pub tokens: Option<ProviderTokens>,
}

/// Why a login could not be finished, sorted by what the client must hear.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The provider does not answer or says it cannot: `temporarily_unavailable`.
    #[error("the identity provider is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The provider answered something that must not be believed, or refuses our credentials:
    /// `server_error`.
    #[error("the identity provider's answer is not acceptable: {reason}")]
    Unacceptable {
        /// For the log; never shown to a browser or client.
        reason: String,
    },
    /// The provider refuses this code, or the person: `access_denied`.
    #[error("the identity provider refused the login: {reason}")]
    Refused {
        /// For the log.
        reason: String,
    },
}

/// Someone who can log people in.
#[async_trait]
pub trait IdentityProvider: fmt::Debug + Send + Sync {
    /// The URL to send the browser to.
    async fn authorization_url(&self, attempt: &LoginAttempt) -> Result<String, ProviderError>;

    /// Whether a callback with this `iss` parameter (RFC 9207) can be this provider's answer:
    /// the right one, or absent where the provider does not advertise it.
    async fn is_answer_from_us(&self, iss: Option<&str>) -> Result<bool, ProviderError>;

    /// Trades the provider's code for a checked identity.
    async fn redeem(
        &self,
        code: &Secret,
        attempt: &LoginAttempt,
    ) -> Result<LoggedIn, ProviderError>;

    /// Whether logins can work at this moment, for `/readyz`; cheap, may answer from memory.
    async fn check(&self) -> Result<(), ProviderError>;
}

/// [`ProviderTokens`] in the form that is sealed.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredProviderTokens {
    access_token: String,
    refresh_token: Option<String>,
    id_token: Option<String>,
    expires_at: Option<Timestamp>,
}

impl From<&ProviderTokens> for StoredProviderTokens {
    fn from(tokens: &ProviderTokens) -> Self {
        let text = |secret: &Secret| secret.reveal().to_owned();
        Self {
            access_token: text(&tokens.access_token),
            refresh_token: tokens.refresh_token.as_ref().map(text),
            id_token: tokens.id_token.as_ref().map(text),
            expires_at: tokens.expires_at,
        }
    }
}
