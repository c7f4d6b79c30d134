//! `POST /token` (OAuth 2.1 §3.2): trades a code or a refresh token for tokens. Never talks to an
//! identity provider, but for the keys of one that vouches for people (`id_jag`).

use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use http::{Extensions, HeaderMap};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{
    CodeRequest, OAuthError, OAuthErrorCode, Parameters, ResourceUri, ScopeSet, TokenRequest,
};
use serde::Serialize;

use super::AuthorizationServer;
use super::clients::caller;
use super::flows::{self, Known, Step};
use super::refusal::Refusal;
use crate::audit::{self, Details, Event, Refused};
use crate::clock::Timestamp;
use crate::grant::{Grant, GrantId, IssuedTokens, Turn};
use crate::mint;
use crate::store::{Client, CodeRecord, CodeRedemption};

/// RFC 6749 §5.1.
#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    scope: &'a ScopeSet,
}

/// Why a code is not redeemed. On the wire most share one word, since they are shaped like theft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum CodeRefusal {
    #[error("no such code")]
    Unknown,
    #[error("the code belongs to another client")]
    OtherClient,
    #[error("redirect_uri differs from the authorization request's")]
    OtherRedirectUri,
    #[error("the code is for another resource")]
    OtherResource,
    #[error("the verifier does not match the challenge")]
    WrongVerifier,
    #[error("the code was redeemed before: its grant is revoked")]
    Replayed,
    #[error("the code has expired")]
    Expired,
}

pub(super) async fn token(
    State(server): State<Arc<AuthorizationServer>>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    let address = caller(&extensions);
    let form = read_form(&headers, body)?;
    let answer = server.trade(&headers, &extensions, &form).await;
    answer.map_err(|refusal| server.failures.instead_of(refusal, address))
}

/// The form of a request, which must be one: nothing is ever read from the query.
pub(super) fn read_form(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Parameters, Refusal> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|text| text.split(';').next()).map(str::trim);
    if !media_type
        .is_some_and(|text| text.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
    {
        return Err(OAuthError::new(
            OAuthErrorCode::InvalidRequest,
            "the body must be application/x-www-form-urlencoded",
        )
        .into());
    }
    Ok(Parameters::parse(&body?))
}

impl AuthorizationServer {
    async fn trade(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
        form: &Parameters,
    ) -> Result<Response, Refusal> {
        let request = TokenRequest::parse(form)?;
        let client = self.authenticate(headers, extensions, form).await?;
        let answer = match request {
            TokenRequest::Code(request) => self.redeem(&client, &request).await,
            TokenRequest::Refresh(request) => self.refresh(&client, &request).await,
            TokenRequest::Machine(request) => self.serve_machine(&client, &request).await,
            TokenRequest::Assertion(request) => self.serve_id_jag(&client, &request).await,
        }?;
        self.note_use(&client).await;
        Ok(answer)
    }

    async fn redeem(&self, client: &Client, request: &CodeRequest) -> Result<Response, Refusal> {
        let hash = request.code.hash();
        let Some(code) = self.store.find_code(&hash).await? else {
            return Err(refuse_code(CodeRefusal::Unknown, client));
        };
        flows::resume_by_grant(&code.grant.grant_id);
        self.check_code(client, &code, request).map_err(|reason| refuse_code(reason, client))?;
        // Whoever got here holds the code, its verifier and, where there is one, the client's
        // secret: a second time is a leak, and what the first time bought must end.
        if code.is_redeemed {
            return self.replayed(client, &code.grant.grant_id).await;
        }
        let now = self.clock.now();
        if code.expires_at.is_over(now) {
            return Err(refuse_code(CodeRefusal::Expired, client));
        }
        let grant = code.grant.redeemed(now);
        let minted = self.mint(client, &grant, now);
        match self.store.redeem_code(&hash, &grant, &minted.stored).await? {
            CodeRedemption::Fresh => {
                let details = Details {
                    client: Some(&client.id),
                    user: Some(&grant.identity),
                    grant: Some(&grant.id),
                    ..Details::default()
                };
                audit::note(Event::Token, &details);
                flows::note(Step::TokenGiven, &Known::default());
                tracing::debug!(client.id = %client.id, grant.id = grant.id.as_str(), "tokens issued");
                Ok(minted.answer(now))
            }
            CodeRedemption::Replayed => self.replayed(client, &grant.id).await,
            CodeRedemption::Unknown => Err(refuse_code(CodeRefusal::Unknown, client)),
        }
    }

    /// Everything a stranger who merely found the code would get wrong. None of it uses the code
    /// up: a stranger's guess must not end a person's login.
    fn check_code(
        &self,
        client: &Client,
        code: &CodeRecord,
        request: &CodeRequest,
    ) -> Result<(), CodeRefusal> {
        let asked = &code.grant.request;
        if asked.client_id != client.id {
            return Err(CodeRefusal::OtherClient);
        }
        if request.redirect_uri.as_deref().is_some_and(|uri| uri != asked.redirect_uri.as_str()) {
            return Err(CodeRefusal::OtherRedirectUri);
        }
        let verifier = request.code_verifier.as_ref().ok_or(CodeRefusal::WrongVerifier)?;
        if !asked.code_challenge.is_met_by(verifier) {
            return Err(CodeRefusal::WrongVerifier);
        }
        if !self.is_for(&asked.resource, &request.resources) {
            return Err(CodeRefusal::OtherResource);
        }
        Ok(())
    }

    async fn replayed(&self, client: &Client, grant: &GrantId) -> Result<Response, Refusal> {
        self.store.revoke_grant(grant, self.clock.now()).await?;
        Err(refuse_code(CodeRefusal::Replayed, client))
    }

    /// Whether every `resource` a request names is the granted one; naming none is fine.
    pub(super) fn is_for(&self, granted: &ResourceUri, asked: &[String]) -> bool {
        asked.is_empty()
            || self.settings.servers.find(asked).is_ok_and(|server| server.resource == *granted)
    }

    fn mint(&self, client: &Client, grant: &Grant, now: Timestamp) -> Minted {
        let turn = Turn::default();
        let place = grant.id.place(turn);
        let refresh = client.metadata.refreshes.then(|| mint::refresh_token(&place));
        self.minted(mint::access_token(&place), refresh, grant.scope.clone(), turn, now)
    }

    /// A pair with its ends, however it was made.
    pub(super) fn minted(
        &self,
        access: Secret,
        refresh: Option<Secret>,
        scope: ScopeSet,
        turn: Turn,
        now: Timestamp,
    ) -> Minted {
        let stored = IssuedTokens {
            access: access.hash(),
            access_expires_at: now.plus(self.settings.access_token_ttl),
            refresh: refresh
                .as_ref()
                .map(|token| (token.hash(), now.plus(self.settings.refresh_token_ttl))),
            scope,
            turn,
        };
        Minted { access, refresh, stored }
    }
}

impl AuthorizationServer {
    /// Issues the one token of a grant that is begun by it. There is none to renew it: whoever could prove
    /// its right once can do so again.
    pub(super) async fn issue_alone(
        &self,
        grant: &Grant,
        scope: ScopeSet,
        by: Alone,
    ) -> Result<Response, Refusal> {
        let now = grant.created_at;
        let turn = Turn::default();
        let access = mint::access_token(&grant.id.place(turn));
        let stored = IssuedTokens {
            access: access.hash(),
            access_expires_at: now.plus(self.settings.access_token_ttl),
            refresh: None,
            scope,
            turn,
        };
        let how = match by {
            Alone::Machine => {
                self.store.issue_to_machine(grant, &stored).await?;
                "a machine"
            }
            Alone::Vouched => {
                self.store.issue_vouched(grant, &stored).await?;
                "by the word of an identity provider (ID-JAG)"
            }
        };
        let details = Details {
            client: Some(&grant.client_id),
            user: Some(&grant.identity),
            grant: Some(&grant.id),
            detail: Some(&how),
            ..Details::default()
        };
        audit::note(Event::Token, &details);
        Ok(Minted { access, refresh: None, stored }.answer(now))
    }
}

/// By what a token is given that no code stands behind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Alone {
    /// A client's own right.
    Machine,
    /// Somebody's word for a person.
    Vouched,
}

/// Tokens in both forms: as the client gets them, and as the store keeps them.
pub(super) struct Minted {
    pub(super) access: Secret,
    pub(super) refresh: Option<Secret>,
    pub(super) stored: IssuedTokens,
}

impl Minted {
    pub(super) fn answer(&self, now: Timestamp) -> Response {
        let answer = TokenAnswer {
            access_token: self.access.reveal(),
            token_type: "Bearer",
            expires_in: self.stored.access_expires_at.left(now).as_secs(),
            refresh_token: self.refresh.as_ref().map(Secret::reveal),
            scope: &self.stored.scope,
        };
        ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response()
    }
}

fn refuse_code(reason: CodeRefusal, client: &Client) -> Refusal {
    let event = match reason {
        CodeRefusal::Replayed => Event::Replay,
        CodeRefusal::Unknown
        | CodeRefusal::OtherClient
        | CodeRefusal::OtherRedirectUri
        | CodeRefusal::OtherResource
        | CodeRefusal::WrongVerifier
        | CodeRefusal::Expired => Event::Refused(Refused::Code),
    };
    audit::note(event, &of_client(client, &reason));
    flows::note(Step::Refused, &Known { detail: Some(&reason), ..Known::default() });
    OAuthError::new(OAuthErrorCode::InvalidGrant, "the code is not valid for this request").into()
}

pub(super) fn of_client<'a>(
    client: &'a Client,
    reason: &'a (dyn fmt::Display + Sync),
) -> Details<'a> {
    Details { client: Some(&client.id), detail: Some(reason), ..Details::default() }
}
