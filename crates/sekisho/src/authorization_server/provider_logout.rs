//! `POST /auth/logout` (`OpenID` Connect Back-Channel Logout 1.0 §2.5 to §2.8): the provider says that
//! a person was logged out there, and what they granted here ends at once.
//!
//! A valid message is always taken, whatever else came from the same address: losing one would leave
//! somebody logged in. Only what is not believed is counted. The message's own id is kept until the
//! message is too old, so that it counts once.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use http::{Extensions, HeaderMap};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{OAuthError, OAuthErrorCode};

use super::AuthorizationServer;
use super::refusal::Refusal;
use super::token::read_form;
use crate::audit::{self, Details, Event};
use crate::identity_provider::{IdentityProvider, LogoutToken, ProviderError};
use crate::store::{LoggedOut, ProviderLogout};

/// `provider` is the one that posts to this path.
pub(super) async fn provider_logout(
    provider: Arc<dyn IdentityProvider>,
    State(server): State<Arc<AuthorizationServer>>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let form = read_form(&headers, body)?;
    let told = match form.value("logout_token").filter(|_| !form.is_doubled("logout_token")) {
        Some(token) => provider.read_logout(&Secret::new(token)).await,
        None => Err(ProviderError::Unacceptable { reason: "there is no logout_token".into() }),
    };
    let token = match told {
        Ok(token) => token,
        Err(reason) => return Err(server.not_believed(&extensions, &reason)),
    };
    server.log_out(&extensions, token).await
}

impl AuthorizationServer {
    async fn log_out(
        &self,
        extensions: &Extensions,
        token: LogoutToken,
    ) -> Result<Response, Refusal> {
        let logout = ProviderLogout {
            issuer: token.issuer,
            subject: token.subject,
            sid: token.sid,
            message: token.id,
            message_ends_at: token.ends_at,
        };
        match self.store.log_out_at_provider(&logout, self.clock.now()).await? {
            LoggedOut::Ended(grants) => {
                tracing::info!(
                    subject = logout.subject,
                    sid = logout.sid,
                    grants = grants.len(),
                    "logged out at the identity provider: grants ended"
                );
                for grant in &grants {
                    let details = Details {
                        grant: Some(grant),
                        detail: Some(&"logged out at the identity provider"),
                        ..Details::default()
                    };
                    audit::note(Event::Revoke, &details);
                }
                Ok((StatusCode::OK, [(CACHE_CONTROL, "no-store")]).into_response())
            }
            LoggedOut::Replayed => {
                let reason = ProviderError::Unacceptable { reason: "it came before".into() };
                Err(self.not_believed(extensions, &reason))
            }
        }
    }

    /// Why exactly is for the log alone: a forger learns nothing.
    fn not_believed(&self, extensions: &Extensions, reason: &ProviderError) -> Refusal {
        if let Err(wait) = self.bad_logouts.count_caller(extensions) {
            return Refusal::TooMany(wait);
        }
        tracing::warn!(
            error = reason as &dyn std::error::Error,
            "a logout at the identity provider is not believed"
        );
        if let ProviderError::Unavailable(_) = reason {
            return Refusal::ProviderUnavailable;
        }
        OAuthError::new(OAuthErrorCode::InvalidRequest, "the logout_token is not valid").into()
    }
}
