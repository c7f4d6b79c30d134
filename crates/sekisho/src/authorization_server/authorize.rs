//! `GET /authorize` (OAuth 2.1 §4.1.1): shows who asks for what, and where the answer goes.
//!
//! Stores nothing: the request waits sealed in the page, so nobody can fill a table from here. The
//! identity provider is not contacted before a person said yes, unless that person said yes to the
//! very same before, at this browser, and went here themselves.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::Response;
use http::{Extensions, HeaderMap, Uri};
use sekisho_protocol::oauth::{
    AuthorizationRequest, ClientId, ClientMetadata, NoReturnAddress, Parameters, ReturnAddress,
    ScopeSet, named_client,
};
use sekisho_protocol::{Secret, SecretHash};

use super::browser::is_own_navigation;
use super::refusal::{Visitor, refuse_by_redirect};
use super::{AuthorizationServer, ConsentRule, LOGIN_TTL};
use crate::grant::PendingConsent;
use crate::pages::{ConsentPage, Problem};
use crate::principal::Identity;
use crate::seal::Purpose;
use crate::store::{GrantsOf, RememberedConsent, StoreError};

pub(super) async fn authorize(
    State(server): State<Arc<AuthorizationServer>>,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
) -> Response {
    let visitor = Visitor::of(&headers, &extensions);
    let parameters = Parameters::parse(uri.query().unwrap_or_default().as_bytes());
    let client_id = match named_client(&parameters) {
        Ok(client_id) => client_id,
        Err(reason) => return no_return_address(&visitor, &parameters, &reason),
    };
    let client = match server.store.find_client(&client_id).await {
        Ok(Some(client)) => client.metadata,
        Ok(None) => return unknown_client(&visitor, &client_id),
        Err(reason) => return visitor.store_failed(&reason),
    };
    let address = match ReturnAddress::find(&parameters, &client) {
        Ok(address) => address,
        Err(reason) => return no_return_address(&visitor, &parameters, &reason),
    };
    let settings = &server.settings;
    let request = AuthorizationRequest::prove(&parameters, client_id, &address, &settings.servers);
    match request {
        Ok(request) => {
            server.ask_or_remember(&visitor, &headers, &extensions, request, &client).await
        }
        Err(error) => {
            let state = address.state.as_deref();
            refuse_by_redirect(&settings.issuer, &address.redirect_uri, state, &error)
        }
    }
}

pub(super) fn unknown_client(visitor: &Visitor, client_id: &ClientId) -> Response {
    let problem = Problem::UnknownClient { client_id: client_id.as_str() };
    visitor.page(StatusCode::BAD_REQUEST, problem)
}

fn no_return_address(
    visitor: &Visitor,
    parameters: &Parameters,
    reason: &NoReturnAddress,
) -> Response {
    let problem = match reason {
        NoReturnAddress::NoClientId => {
            Problem::BadRequest { what: "client_id is missing or came more than once" }
        }
        NoReturnAddress::DoubledRedirectUri => {
            Problem::BadRequest { what: "redirect_uri came more than once" }
        }
        NoReturnAddress::UnregisteredRedirectUri => Problem::UnknownRedirectUri {
            redirect_uri: parameters.value("redirect_uri").unwrap_or_default(),
        },
    };
    visitor.page(StatusCode::BAD_REQUEST, problem)
}

impl AuthorizationServer {
    async fn ask_or_remember(
        &self,
        visitor: &Visitor,
        headers: &HeaderMap,
        extensions: &Extensions,
        request: AuthorizationRequest,
        client: &ClientMetadata,
    ) -> Response {
        match self.remembered_person(headers, &request).await {
            Ok(Some(person)) => {
                tracing::info!(client.id = %request.client_id, "consent is remembered");
                self.begin_login(visitor, extensions, request, Some(person)).await
            }
            Ok(None) => self.ask(visitor, headers, request, client).await,
            Err(reason) => visitor.store_failed(&reason),
        }
    }

    /// The person of this browser, if they need not be asked again.
    async fn remembered_person(
        &self,
        headers: &HeaderMap,
        request: &AuthorizationRequest,
    ) -> Result<Option<Identity>, StoreError> {
        if self.settings.consent != ConsentRule::Remember || !is_own_navigation(headers) {
            return Ok(None);
        }
        let Some(session) = self.cookies.session(headers) else { return Ok(None) };
        let now = self.clock.now();
        let Some(identity) = self.store.find_browser_session(&session.hash(), now).await? else {
            return Ok(None);
        };
        let consent = remembered(identity, request);
        let is_remembered = self.store.is_consent_remembered(&consent, now).await?;
        Ok(is_remembered.then_some(consent.identity))
    }

    /// The consent page, with the request sealed into its form and bound to this browser.
    pub(super) async fn ask(
        &self,
        visitor: &Visitor,
        headers: &HeaderMap,
        request: AuthorizationRequest,
        client: &ClientMetadata,
    ) -> Response {
        let (csrf, set_cookie) = self.cookies.csrf(headers);
        let pending = PendingConsent { request, expires_at: self.clock.now().plus(LOGIN_TTL) };
        let sealed = self.sealer.seal_value(Purpose::Consent, csrf.hash().as_bytes(), &pending);
        let request = &pending.request;
        let held = match self.held(headers, request).await {
            Ok(held) => held,
            Err(reason) => return visitor.store_failed(&reason),
        };
        let mut response = ConsentPage {
            client_name: client.client_name.as_deref(),
            client_id: request.client_id.as_str(),
            redirect_host: &request.redirect_uri.shown_host(),
            redirect_uri: request.redirect_uri.as_str(),
            is_loopback_only: client.is_loopback_only(),
            scopes: request.scope.iter().collect(),
            held: held.iter().collect(),
            resource: request.resource.as_str(),
            consent: &sealed.to_text(),
        }
        .respond(visitor.language());
        response.headers_mut().append(SET_COOKIE, set_cookie);
        response
    }
}

impl AuthorizationServer {
    /// What the person at this browser, if we know one, allowed this client at this server before. It
    /// is shown, so that what is new stands out; it is never added to what was asked, since a page
    /// must show all that it grants.
    async fn held(
        &self,
        headers: &HeaderMap,
        request: &AuthorizationRequest,
    ) -> Result<ScopeSet, StoreError> {
        let Some(session) = self.cookies.session(headers) else { return Ok(ScopeSet::default()) };
        let now = self.clock.now();
        let Some(identity) = self.store.find_browser_session(&session.hash(), now).await? else {
            return Ok(ScopeSet::default());
        };
        let grants = self.store.list_grants(&GrantsOf::person(&identity), None).await?;
        let same = grants.iter().filter(|grant| {
            grant.client_id == request.client_id && grant.resource == request.resource
        });
        Ok(ScopeSet::of(same.flat_map(|grant| grant.scope.iter())))
    }
}

/// The tuple for which a yes is remembered: client, redirect URI (on loopback without its port,
/// which changes each time), scopes, resource.
pub(super) fn remembered(identity: Identity, request: &AuthorizationRequest) -> RememberedConsent {
    let parts = [
        request.client_id.as_str(),
        &request.redirect_uri.without_loopback_port(),
        &request.scope.to_string(),
        request.resource.as_str(),
    ];
    // None of the parts can hold a line break, so joining is unambiguous.
    let tuple: SecretHash = Secret::new(parts.join("\n")).hash();
    RememberedConsent { identity, tuple }
}
