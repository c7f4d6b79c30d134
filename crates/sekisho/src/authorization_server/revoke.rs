//! `POST /revoke` (RFC 7009): a client gives back what is its own. Public clients too.
//!
//! An access token ends alone; a refresh token takes its whole grant with it (RFC 7009 §2.1).
//! What is unknown, or somebody else's, is answered the same: 200, and nothing happens.

use std::fmt;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use http::{Extensions, HeaderMap};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{OAuthError, OAuthErrorCode, Parameters};

use super::AuthorizationServer;
use super::refusal::Refusal;
use crate::audit::{self, Details, Event};
use crate::grant::{GrantId, TokenKey};
use crate::principal::{Identity, Principal};
use crate::store::{Client, StoreError};

pub(super) async fn revoke(
    State(server): State<Arc<AuthorizationServer>>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let (client, form) = server.identified(&headers, &extensions, body).await?;
    let token = token_in(&form)?;
    server.give_back(&client, &token).await?;
    Ok((StatusCode::OK, [(CACHE_CONTROL, "no-store")]).into_response())
}

/// The one token that a form is about.
pub(super) fn token_in(form: &Parameters) -> Result<Secret, Refusal> {
    let missing = || OAuthError::new(OAuthErrorCode::InvalidRequest, "token is missing");
    Ok(form.value("token").map(Secret::new).ok_or_else(missing)?)
}

impl AuthorizationServer {
    /// Both kinds are looked up, so a wrong `token_type_hint` cannot mislead.
    async fn give_back(&self, client: &Client, token: &Secret) -> Result<(), StoreError> {
        let key = TokenKey::shown(token);
        let now = self.clock.now();
        if let Some(found) = self.store.find_refresh_token(&key).await? {
            if found.grant.client_id == client.id {
                self.store.revoke_grant(&found.grant.id, now).await?;
                note(client, &found.grant.identity, &found.grant.id, &"grant");
            }
        } else if let Some(found) = self.store.find_access_token(&key).await?
            && found.principal.client_id == client.id
        {
            self.store.revoke_access_token(&found.key(), now).await?;
            let Principal { identity, grant_id, .. } = &*found.principal;
            note(client, identity, grant_id, &"access token");
        }
        Ok(())
    }
}

fn note(client: &Client, user: &Identity, grant: &GrantId, detail: &(dyn fmt::Display + Sync)) {
    let (client, user, grant) = (Some(&client.id), Some(user), Some(grant));
    let details = Details { client, user, grant, detail: Some(detail), ..Details::default() };
    audit::note(Event::Revoke, &details);
}
