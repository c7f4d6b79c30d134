//! Who is calling `/token` and `/revoke` (OAuth 2.1 §2.4): a client with its secret, a client that
//! signs, or a public one without proof. One way a request, and the one it is registered for.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, HeaderValue};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{
    ClientCredentials, ClientProof, CredentialsError, OAuthError, OAuthErrorCode, Parameters,
    TokenEndpointAuthMethod,
};

use super::AuthorizationServer;
use super::client_assertion::AssertionRefusal;
use super::clients::caller;
use super::refusal::Refusal;
use super::token::read_form;
use crate::audit::{self, Details, Event, Refused};
use crate::store::Client;

/// Why a client is not believed. All that is wrong with ids and secrets shares one word, so that
/// nobody learns which clients exist; what is wrong with an assertion helps only who signs it.
#[derive(Debug, thiserror::Error)]
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
    #[error("a client that signs showed no assertion")]
    MissingAssertion,
    #[error("a client that does not sign showed an assertion")]
    UnexpectedAssertion,
    #[error("{0}")]
    Assertion(#[from] AssertionRefusal),
}

/// The `Authorization` header, which must not come twice: two readers might take different ones.
pub(super) fn one_authorization(headers: &HeaderMap) -> Result<Option<&HeaderValue>, OAuthError> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (found, another) = (all.next(), all.next());
    if another.is_some() {
        let doubled = "the Authorization header came more than once";
        return Err(OAuthError::new(OAuthErrorCode::InvalidRequest, doubled));
    }
    Ok(found)
}

impl AuthorizationServer {
    /// The client that sends a form, and the form, in which nothing may stand twice. Wrong proofs
    /// are counted.
    pub(super) async fn identified(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
        body: Result<Bytes, BytesRejection>,
    ) -> Result<(Client, Parameters), Refusal> {
        let form = read_form(headers, body)?;
        if form.has_doubled() {
            let doubled = "a parameter came more than once";
            return Err(OAuthError::new(OAuthErrorCode::InvalidRequest, doubled).into());
        }
        match self.authenticate(headers, extensions, &form).await {
            Ok(client) => Ok((client, form)),
            Err(refusal) => Err(self.failures.instead_of(refusal, caller(extensions))),
        }
    }

    /// The client behind a request to `/token` or `/revoke`.
    ///
    /// Basic and post are both accepted from a client that has a secret, whichever it registered:
    /// they prove the same, and client libraries pick either.
    pub(super) async fn authenticate(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
        parameters: &Parameters,
    ) -> Result<Client, Refusal> {
        let authorization = one_authorization(headers)?;
        let used_basic = authorization.is_some();
        let authorization = authorization.map(|value| value.to_str().unwrap_or_default());
        let credentials = ClientCredentials::parse(authorization, parameters)
            .map_err(|reason| credentials_refusal(&reason, used_basic))?;
        let client = self.known_client(&credentials.client_id).await?;
        let believed = match (client, &credentials.proof) {
            (None, _) => Err(Disbelief::UnknownClient),
            (Some(client), ClientProof::Assertion(assertion)) if signs(&client) => {
                let verified = self.verify_assertion(&client, assertion, caller(extensions)).await;
                verified.map(|()| client).map_err(Disbelief::Assertion)
            }
            (Some(_), ClientProof::Assertion(_)) => Err(Disbelief::UnexpectedAssertion),
            (Some(client), ClientProof::None | ClientProof::Secret(_)) if signs(&client) => {
                Err(Disbelief::MissingAssertion)
            }
            (Some(client), ClientProof::None) => self.believe(client, None),
            (Some(client), ClientProof::Secret(secret)) => self.believe(client, Some(secret)),
        };
        believed.map_err(|reason| {
            let client = Some(&credentials.client_id);
            let details = Details { client, detail: Some(&reason), ..Details::default() };
            audit::note(Event::Refused(Refused::Client), &details);
            refusal(reason, used_basic)
        })
    }

    fn believe(&self, client: Client, secret: Option<&Secret>) -> Result<Client, Disbelief> {
        match (&client.secret, secret) {
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

fn signs(client: &Client) -> bool {
    client.metadata.token_endpoint_auth_method == TokenEndpointAuthMethod::PrivateKeyJwt
}

/// Faults of ours and of others' key servers are told apart from proofs that prove nothing.
fn refusal(reason: Disbelief, used_basic: bool) -> Refusal {
    match reason {
        Disbelief::Assertion(AssertionRefusal::Store(reason)) => Refusal::Store(reason),
        Disbelief::Assertion(AssertionRefusal::TooMany(wait)) => Refusal::TooMany(wait),
        Disbelief::Assertion(AssertionRefusal::KeysUnavailable(_)) => Refusal::KeysUnavailable,
        Disbelief::Assertion(reason) => {
            let words = format!("the client_assertion is not valid: {reason}");
            let error = OAuthError::new(OAuthErrorCode::InvalidClient, &words);
            Refusal::Client { error, used_basic }
        }
        Disbelief::UnknownClient
        | Disbelief::MissingSecret
        | Disbelief::UnexpectedSecret
        | Disbelief::WrongSecret
        | Disbelief::ExpiredSecret
        | Disbelief::MissingAssertion
        | Disbelief::UnexpectedAssertion => {
            let words = "the client is not known here or its secret is not valid: register again";
            let error = OAuthError::new(OAuthErrorCode::InvalidClient, words);
            Refusal::Client { error, used_basic }
        }
    }
}

fn credentials_refusal(reason: &CredentialsError, used_basic: bool) -> Refusal {
    match reason {
        CredentialsError::TwoMethods => {
            OAuthError::new(OAuthErrorCode::InvalidRequest, &reason.to_string()).into()
        }
        CredentialsError::Missing
        | CredentialsError::MalformedBasic
        | CredentialsError::MalformedAssertion => Refusal::Client {
            error: OAuthError::new(OAuthErrorCode::InvalidClient, &reason.to_string()),
            used_basic,
        },
    }
}
