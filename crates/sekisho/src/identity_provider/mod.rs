//! Who logs people in: a seam with implementations for `OpenID` providers, for GitHub, and for local
//! accounts.
//!
//! A provider is asked twice: where to send the browser, and who came back. It never sees the MCP
//! client, and the client never sees the provider's code or tokens.

pub mod github;
pub mod id_jag;
pub mod local;
pub mod oidc;
pub mod preset;

use std::fmt;

use async_trait::async_trait;
use sekisho_protocol::oauth::{CodeChallenge, CodeVerifier};
use sekisho_protocol::{Secret, SecretHash};
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

impl LoginAttempt {
    /// What the provider hears of the verifier (RFC 7636 §4.2).
    fn code_challenge(&self) -> Result<CodeChallenge, ProviderError> {
        let verifier = CodeVerifier::parse(self.code_verifier.reveal());
        verifier.map(|verifier| CodeChallenge::of(&verifier)).ok_or_else(|| {
            ProviderError::Unacceptable { reason: "our own code_verifier is malformed".into() }
        })
    }
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
    /// Whether they outlive the browser's session at the provider (`offline_access`).
    pub is_offline: bool,
}

/// A person who came back from the provider, fully checked.
#[derive(Debug, Clone)]
pub struct LoggedIn {
    /// Who it is.
    pub identity: Identity,
    /// What the provider gave us for later.
    pub tokens: Option<ProviderTokens>,
    /// The provider's own name for the session (`sid`), if it told one.
    pub sid: Option<String>,
}

/// An access token of the provider's, for its own endpoints or for somebody else.
#[derive(Debug, Clone)]
pub struct ProviderToken {
    /// Its text.
    pub token: Secret,
    /// When it ends, if the provider said so.
    pub ends_at: Option<Timestamp>,
}

/// For whom a token is traded (RFC 8693 §2.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ExchangeWish {
    /// Who is to take the new token, as the provider calls them.
    pub audience: Vec<String>,
    /// What it is to be good for; whatever the provider gives, if it is empty.
    pub scopes: Vec<String>,
}

/// What a checked logout token says (`OpenID` Connect Back-Channel Logout 1.0 §2.4): whom, or which
/// of their sessions, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutToken {
    /// The provider that sent it.
    pub issuer: String,
    /// Whose sessions are over.
    pub subject: Option<String>,
    /// Which session is over, if not all of them.
    pub sid: Option<String>,
    /// Hash of the token's own id (`jti`), by which a replay is known.
    pub id: SecretHash,
    /// From when on the token is refused for its age, so that its id may be forgotten.
    pub ends_at: Timestamp,
}

/// Why a step with the provider could not be done, sorted by what the client must hear.
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
    /// What the people it logs in have as [`Identity::issuer`], all of them.
    fn issuer(&self) -> &str;

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

    /// Asks whether a session lives on, by trading its refresh token. A provider may have made the
    /// old one worthless by answering: keep the new tokens before anything else is tried. The ID
    /// token among them is not checked yet.
    ///
    /// # Errors
    /// [`ProviderError::Refused`] alone says that the session is over. All else, our own wrong
    /// settings included, says nothing of it.
    async fn renew(&self, refresh_token: &Secret) -> Result<ProviderTokens, ProviderError> {
        let _ = refresh_token;
        Err(ProviderError::Unacceptable { reason: "it has no sessions to renew".into() })
    }

    /// Checks the ID token that came of [`IdentityProvider::renew`], if there is one, and gives the
    /// person as it describes them.
    ///
    /// # Errors
    /// [`ProviderError::Refused`] if it is about somebody else (`OpenID` Connect Core §12.2).
    async fn confirm(
        &self,
        tokens: &ProviderTokens,
        subject: &str,
    ) -> Result<Option<Identity>, ProviderError> {
        let _ = (tokens, subject);
        Ok(None)
    }

    /// Tells the provider that a refresh token is not needed any more (RFC 7009), if it has a place
    /// for that. It may end every session of that person's with us.
    ///
    /// # Errors
    /// When it could not be told; it may be tried again.
    async fn revoke(&self, refresh_token: &Secret) -> Result<(), ProviderError> {
        let _ = refresh_token;
        Ok(())
    }

    /// Trades an access token of the provider's for one that somebody else takes (RFC 8693).
    ///
    /// # Errors
    /// [`ProviderError::Refused`] if it refuses this token or person; if it refuses us, or what is
    /// wished, its answer is not acceptable.
    async fn exchange(
        &self,
        access_token: &Secret,
        wish: &ExchangeWish,
    ) -> Result<ProviderToken, ProviderError> {
        let _ = (access_token, wish);
        Err(ProviderError::Unacceptable { reason: "it trades no tokens".into() })
    }

    /// Whether it ends tokens of this kind for the sake of newer ones of the same person, so that its no
    /// about one says nothing of the person while another is good. Renewing one leaves it as it is.
    fn drops_older_tokens(&self, refresh_token: &Secret) -> bool {
        let _ = refresh_token;
        false
    }

    /// Whether the provider may post logout tokens to `/auth/logout`.
    fn sends_logouts(&self) -> bool {
        false
    }

    /// Checks a logout token whole.
    ///
    /// # Errors
    /// [`ProviderError::Unavailable`] if the provider's keys cannot be had; else the token is not
    /// to be believed.
    async fn read_logout(&self, token: &Secret) -> Result<LogoutToken, ProviderError> {
        let _ = token;
        Err(ProviderError::Unacceptable { reason: "it sends no logout tokens".into() })
    }

    /// Where a browser logs out at the provider (`OpenID` Connect RP-Initiated Logout 1.0 §2), to
    /// come back to `return_to` with `state`; `None` if there is no such place.
    async fn end_session_url(
        &self,
        id_token_hint: Option<&Secret>,
        return_to: &str,
        state: &str,
    ) -> Result<Option<String>, ProviderError> {
        let _ = (id_token_hint, return_to, state);
        Ok(None)
    }

    /// Whether logins can work at this moment, for `/readyz`; cheap, may answer from memory.
    async fn check(&self) -> Result<(), ProviderError>;
}

/// [`ProviderTokens`] in the form that is sealed.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredProviderTokens {
    access_token: String,
    pub(crate) refresh_token: Option<String>,
    pub(crate) id_token: Option<String>,
    expires_at: Option<Timestamp>,
}

impl StoredProviderTokens {
    /// The access token alone.
    pub(crate) fn access_token(&self) -> ProviderToken {
        ProviderToken { token: Secret::new(self.access_token.clone()), ends_at: self.expires_at }
    }
}

impl StoredProviderTokens {
    /// These tokens, with what a renewal did not bring anew kept from before (RFC 6749 §6).
    pub(crate) fn renewed(self, tokens: &ProviderTokens) -> Self {
        let new = Self::from(tokens);
        Self {
            refresh_token: new.refresh_token.or(self.refresh_token),
            id_token: new.id_token.or(self.id_token),
            ..new
        }
    }
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
