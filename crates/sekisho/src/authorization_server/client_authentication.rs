//! Who is calling `/token` and `/revoke` (OAuth 2.1 §2.4): a registered client with its secret, or a
//! public one without.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sekisho_protocol::oauth::{
    ClientCredentials, CredentialsError, OAuthError, OAuthErrorCode, Parameters,
};

use super::AuthorizationServer;
use super::refusal::Refusal;
use crate::audit::{self, Details, Event};
use crate::store::Client;

/// Why a client is not believed. All but the first share one word, so that nobody learns which
/// clients exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Disbelief {
    #[error("no such client")]
    UnknownClient,
    #[error("a confidential client showed no secret")]
    MissingSecret,
    #[error("a public client showed a secret")]
    UnexpectedSecret,
    #[error("the secret is wrong")]
    WrongSecret,
    #[error("the secret has expired")]
    ExpiredSecret,
}

impl AuthorizationServer {
    /// The client behind a request to `/token` or `/revoke`.
    ///
    /// Basic and post are both accepted from a client that has a secret, whichever it registered:
    /// they prove the same, and client libraries pick either.
    pub(super) async fn authenticate(
        &self,
        headers: &HeaderMap,
        parameters: &Parameters,
    ) -> Result<Client, Refusal> {
        let authorization = headers.get(AUTHORIZATION);
        let used_basic = authorization.is_some();
        let refused = |error| Refusal::Client { error, used_basic };
        let authorization = authorization.map(|value| value.to_str().unwrap_or_default());
        let credentials = ClientCredentials::parse(authorization, parameters)
            .map_err(|reason| credentials_refusal(&reason, used_basic))?;
        let client = self.store.find_client(&credentials.client_id).await?;
        self.believe(client, &credentials).map_err(|reason| {
            let client = Some(&credentials.client_id);
            let details = Details { client, detail: Some(&reason), ..Details::default() };
            audit::note(Event::Refused, &details);
            refused(OAuthError::new(
                OAuthErrorCode::InvalidClient,
                "the client is not known here or its secret is not valid: register again",
            ))
        })
    }

    fn believe(
        &self,
        client: Option<Client>,
        credentials: &ClientCredentials,
    ) -> Result<Client, Disbelief> {
        let client = client.ok_or(Disbelief::UnknownClient)?;
        match (&client.secret, &credentials.secret) {
            (None, None) => return Ok(client),
            (None, Some(_)) => return Err(Disbelief::UnexpectedSecret),
            (Some(_), None) => return Err(Disbelief::MissingSecret),
            (Some(hash), Some(secret)) if !secret.matches(hash) => {
                return Err(Disbelief::WrongSecret);
            }
            (Some(_), Some(_)) => {}
        }
        match client.secret_expires_at {
            Some(end) if end.is_over(self.clock.now()) => Err(Disbelief::ExpiredSecret),
            Some(_) | None => Ok(client),
        }
    }
}

fn credentials_refusal(reason: &CredentialsError, used_basic: bool) -> Refusal {
    match reason {
        CredentialsError::TwoMethods => {
            OAuthError::new(OAuthErrorCode::InvalidRequest, &reason.to_string()).into()
        }
        CredentialsError::Missing | CredentialsError::MalformedBasic => Refusal::Client {
            error: OAuthError::new(OAuthErrorCode::InvalidClient, &reason.to_string()),
            used_basic,
        },
    }
}
