//! `POST /register` (RFC 7591): a client introduces itself. Never believes what it says of itself,
//! beyond where its answers may go.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use http::{Extensions, HeaderMap};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{
    ClientId, ClientKeys, ClientMetadata, RegisteredRedirectUri, ScopeSet, TokenEndpointAuthMethod,
    parse_registration,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::client_authentication::one_authorization;
use super::refusal::Refusal;
use super::{AuthorizationServer, Registration};
use crate::clock::Timestamp;
use crate::mint;
use crate::store::{Client, ClientOrigin};

/// What a client gets back: what was stored, which may be less than it asked (RFC 7591 §3.2.1).
/// There is no `registration_client_uri`, since RFC 7592 is not served.
#[derive(Serialize)]
struct Registered<'a> {
    client_id: &'a ClientId,
    client_id_issued_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    /// Required with a secret; 0 for "never".
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_uri: Option<&'a str>,
    redirect_uris: Vec<&'a str>,
    token_endpoint_auth_method: TokenEndpointAuthMethod,
    grant_types: Vec<&'static str>,
    response_types: [&'static str; 1],
    scope: &'a ScopeSet,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<&'a str>,
}

pub(super) async fn register(
    State(server): State<Arc<AuthorizationServer>>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    // Counted before the token is looked at, so that it cannot be guessed at leisure.
    server.registrations.count_caller(&extensions).map_err(Refusal::TooMany)?;
    server.may_register(&headers)?;
    let body = body?;
    let known = server.settings.servers.scopes();
    let defaults = server.settings.servers.find(&[]).map_or(&known, |server| &server.scopes);
    let metadata = parse_registration(&body, &known, defaults)?;
    let metadata = server.settings.redirects.narrow(metadata)?;
    let (client, secret) = server.new_client(metadata);
    server.store.register_client(&client).await?;
    tracing::info!(client.id = %client.id, "registered");
    let answer = Json(registered(&client, secret.as_ref()));
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], answer).into_response())
}

/// A fresh id and a fresh secret, in the form that clients of ours have, for whoever registers one
/// by hand.
pub fn new_client_credentials() -> (ClientId, Secret) {
    (ClientId::new(mint::id()), mint::client_secret())
}

impl AuthorizationServer {
    /// Under `registration = "token"` the request must show the initial access token (RFC 7591 §3).
    fn may_register(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Registration::Token(expected) = &self.settings.registration else { return Ok(()) };
        let shown = one_authorization(headers)?
            .and_then(|header| header.to_str().ok())
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| Secret::new(token.trim()));
        match shown {
            Some(token) if token.matches(&expected.hash()) => Ok(()),
            Some(_) | None => Err(Refusal::InitialAccessToken),
        }
    }

    fn new_client(&self, metadata: ClientMetadata) -> (Client, Option<Secret>) {
        let now = self.clock.now();
        let secret = match metadata.token_endpoint_auth_method {
            TokenEndpointAuthMethod::None | TokenEndpointAuthMethod::PrivateKeyJwt => None,
            TokenEndpointAuthMethod::ClientSecretBasic
            | TokenEndpointAuthMethod::ClientSecretPost => Some(mint::client_secret()),
        };
        let ttl = self.settings.client_secret_ttl;
        let client = Client {
            id: ClientId::new(mint::id()),
            metadata,
            secret: secret.as_ref().map(Secret::hash),
            secret_expires_at: secret.as_ref().and(ttl).map(|ttl| now.plus(ttl)),
            created_at: now,
            origin: ClientOrigin::Dynamic,
            last_used_at: now,
        };
        (client, secret)
    }
}

fn registered<'a>(client: &'a Client, secret: Option<&'a Secret>) -> Registered<'a> {
    let metadata = &client.metadata;
    let never = 0;
    let (jwks, jwks_uri) = match &metadata.keys {
        Some(ClientKeys::Jwks(text)) => (serde_json::from_str(text).ok(), None),
        Some(ClientKeys::JwksUri(uri)) => (None, Some(uri.as_str())),
        None => (None, None),
    };
    Registered {
        client_id: &client.id,
        client_id_issued_at: client.created_at,
        client_secret: secret.map(Secret::reveal),
        client_secret_expires_at: secret
            .map(|_| client.secret_expires_at.map_or(never, Timestamp::unix_seconds)),
        client_name: metadata.client_name.as_deref(),
        client_uri: metadata.client_uri.as_deref(),
        redirect_uris: metadata.redirect_uris.iter().map(RegisteredRedirectUri::as_str).collect(),
        token_endpoint_auth_method: metadata.token_endpoint_auth_method,
        grant_types: if metadata.refreshes {
            vec!["authorization_code", "refresh_token"]
        } else {
            vec!["authorization_code"]
        },
        response_types: ["code"],
        scope: &metadata.scope,
        jwks,
        jwks_uri,
    }
}
