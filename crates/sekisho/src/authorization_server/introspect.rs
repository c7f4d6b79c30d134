//! `POST /introspect` (RFC 7662): a confidential client asks what a token of its own is worth now.
//!
//! Who asks must prove who it is, so a public client cannot. It learns only of tokens that belong to
//! its own grants; whatever is unknown, over, spent, revoked or somebody else's gets one answer,
//! `{"active":false}`, and nothing tells them apart. Never changes anything.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL};
use axum::response::{IntoResponse, Response};
use http::{Extensions, HeaderMap};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{
    ClientId, Issuer, OAuthError, OAuthErrorCode, ResourceUri, ScopeSet, TokenEndpointAuthMethod,
};
use serde::Serialize;

use super::AuthorizationServer;
use super::refusal::Refusal;
use super::revoke::token_in;
use crate::clock::Timestamp;
use crate::grant::TokenKey;
use crate::principal::Identity;
use crate::store::{Client, StoreError};

/// RFC 7662 §2.2. There is no `iat`: the moment of issue is not kept, and none is made up.
#[derive(Serialize)]
struct Introspection {
    active: bool,
    #[serde(flatten)]
    token: Option<ActiveToken>,
}

#[derive(Serialize)]
struct ActiveToken {
    scope: ScopeSet,
    client_id: ClientId,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// Of an access token only: a refresh token is shown to nobody but us.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    exp: Timestamp,
    sub: String,
    aud: ResourceUri,
    iss: Issuer,
}

pub(super) async fn introspect(
    State(server): State<Arc<AuthorizationServer>>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let (client, form) = server.identified(&headers, &extensions, body).await?;
    if client.metadata.token_endpoint_auth_method == TokenEndpointAuthMethod::None {
        // RFC 7662 §2.1: the endpoint must not be scanned for tokens, and a public client is anybody.
        let error = OAuthError::new(
            OAuthErrorCode::InvalidClient,
            "introspection needs a client that authenticates",
        );
        return Err(Refusal::Client { error, used_basic: headers.contains_key(AUTHORIZATION) });
    }
    let token = server.look_at(&client, &token_in(&form)?).await?;
    let answer = Introspection { active: token.is_some(), token };
    Ok(([(CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

impl AuthorizationServer {
    /// Both kinds are looked up, so a wrong `token_type_hint` cannot mislead.
    async fn look_at(
        &self,
        client: &Client,
        token: &Secret,
    ) -> Result<Option<ActiveToken>, StoreError> {
        let key = TokenKey::shown(token);
        let now = self.clock.now();
        let described = |identity: &Identity| (identity.subject.clone(), identity.name.clone());
        if let Some(found) = self.store.find_access_token(&key).await? {
            let principal = &found.principal;
            let is_theirs = principal.client_id == client.id;
            let (sub, username) = described(&principal.identity);
            let active = ActiveToken {
                scope: principal.scopes.clone(),
                client_id: principal.client_id.clone(),
                username,
                token_type: Some("Bearer"),
                exp: principal.expires_at,
                sub,
                aud: found.resource.clone(),
                iss: self.settings.issuer.clone(),
            };
            return Ok((is_theirs && !principal.expires_at.is_over(now)).then_some(active));
        }
        let Some(found) = self.store.find_refresh_token(&key).await? else { return Ok(None) };
        let is_good =
            found.grant.client_id == client.id && !found.is_spent && !found.expires_at.is_over(now);
        let (sub, username) = described(&found.grant.identity);
        let active = ActiveToken {
            scope: found.grant.scope,
            client_id: found.grant.client_id,
            username,
            token_type: None,
            exp: found.expires_at,
            sub,
            aud: found.grant.resource,
            iss: self.settings.issuer.clone(),
        };
        Ok(is_good.then_some(active))
    }
}
