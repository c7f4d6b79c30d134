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
    AuthorizationRequest, ClientIdUrl, ClientMetadata, NoReturnAddress, OAuthError, OAuthErrorCode,
    Parameters, ReturnAddress, ScopeSet, named_client,
};
use sekisho_protocol::{Secret, SecretHash};

use super::browser::is_own_navigation;
use super::clients::{caller, no_client};
use super::flows::{self, Known, Step};
use super::refusal::{Visitor, refuse_by_redirect};
use super::{AuthorizationServer, ConsentRule, LOGIN_TTL, Provider};
use crate::grant::PendingConsent;
use crate::pages::{ConsentPage, Problem};
use crate::principal::Identity;
use crate::seal::Purpose;
use crate::store::{Client, ClientOrigin, GrantsOf, RememberedConsent, StoreError};

pub(super) async fn authorize(
    State(server): State<Arc<AuthorizationServer>>,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
) -> Response {
    flows::begin();
    let visitor = Visitor::of(&headers, &extensions);
    let parameters = Parameters::parse(uri.query().unwrap_or_default().as_bytes());
    let client_id = match named_client(&parameters) {
        Ok(client_id) => client_id,
        Err(reason) => return no_return_address(&visitor, &parameters, &reason),
    };
    flows::note(Step::Asked, &Known { client: Some(&client_id), ..Known::default() });
    let client = match server.client_today(&client_id, caller(&extensions)).await {
        Ok(client) => client,
        Err(reason) => return no_client(&visitor, &client_id, &reason),
    };
    let address = match ReturnAddress::find(&parameters, &client.metadata) {
        Ok(address) => address,
        Err(reason) => return no_return_address(&visitor, &parameters, &reason),
    };
    let settings = &server.settings;
    let request = AuthorizationRequest::prove(&parameters, client_id, &address, &settings.servers)
        .and_then(|request| within_registration(request, &client));
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

/// What a client's document says, for a client that has one.
fn document_of(client: &Client) -> Option<ClientMetadata> {
    match client.origin {
        ClientOrigin::Document => Some(client.metadata.clone()),
        ClientOrigin::Dynamic | ClientOrigin::Preregistered => None,
    }
}

/// What the operator wrote down for a client is a limit; what a client wrote down for itself is
/// none, since it would be its own choice.
fn within_registration(
    mut request: AuthorizationRequest,
    client: &Client,
) -> Result<AuthorizationRequest, OAuthError> {
    match client.origin {
        ClientOrigin::Dynamic | ClientOrigin::Document => return Ok(request),
        ClientOrigin::Preregistered if client.metadata.scope.is_empty() => return Ok(request),
        ClientOrigin::Preregistered => {}
    }
    request.scope = request.scope.restricted_to(&client.metadata.scope);
    if request.scope.is_empty() {
        let reason = "none of these scopes is allowed to this client";
        return Err(OAuthError::new(OAuthErrorCode::InvalidScope, reason));
    }
    Ok(request)
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
        client: &Client,
    ) -> Response {
        match self.remembered_person(headers, &request, client).await {
            Ok(Some(person)) => {
                tracing::info!(client.id = %request.client_id, "consent is remembered");
                let document = document_of(client);
                let (person, provider) = person;
                let expected = Some(person);
                self.begin_login(visitor, extensions, provider, request, document, expected).await
            }
            Ok(None) => self.ask(visitor, headers, request, client).await,
            Err(reason) => visitor.store_failed(&reason),
        }
    }

    /// The person of this browser, if they need not be asked again, and where they logged in.
    async fn remembered_person(
        &self,
        headers: &HeaderMap,
        request: &AuthorizationRequest,
        client: &Client,
    ) -> Result<Option<(Identity, &Provider)>, StoreError> {
        if self.settings.consent != ConsentRule::Remember || !is_own_navigation(headers) {
            return Ok(None);
        }
        let Some(session) = self.cookies.session(headers) else { return Ok(None) };
        let now = self.clock.now();
        let Some(identity) = self.store.find_browser_session(&session.hash(), now).await? else {
            return Ok(None);
        };
        let Some(provider) = self.providers.of_issuer(&identity.issuer) else { return Ok(None) };
        let consent = remembered(identity, request, client);
        let is_remembered = self.store.is_consent_remembered(&consent, now).await?;
        Ok(is_remembered.then_some((consent.identity, provider)))
    }

    /// The consent page, with the request sealed into its form and bound to this browser.
    pub(super) async fn ask(
        &self,
        visitor: &Visitor,
        headers: &HeaderMap,
        request: AuthorizationRequest,
        client: &Client,
    ) -> Response {
        let (csrf, set_cookie) = self.cookies.csrf(headers);
        let document = document_of(client);
        let host = document.as_ref().and_then(|_| ClientIdUrl::parse(client.id.as_str()).ok());
        let expires_at = self.clock.now().plus(LOGIN_TTL);
        let flow = flows::current();
        let pending = PendingConsent { request, document, expires_at, flow };
        let sealed = self.sealer.seal_value(Purpose::Consent, csrf.hash().as_bytes(), &pending);
        let request = &pending.request;
        let held = match self.held(headers, request).await {
            Ok(held) => held,
            Err(reason) => return visitor.store_failed(&reason),
        };
        let mut response = ConsentPage {
            client_name: client.metadata.client_name.as_deref(),
            client_id: request.client_id.as_str(),
            client_host: host.as_ref().map(ClientIdUrl::host),
            redirect_host: &request.redirect_uri.shown_host(),
            redirect_uri: request.redirect_uri.as_str(),
            is_loopback_only: client.metadata.is_loopback_only(),
            scopes: request.scope.iter().collect(),
            held: held.iter().collect(),
            resource: request.resource.as_str(),
            consent: &sealed.to_text(),
        }
        .respond(visitor.language());
        response.headers_mut().append(SET_COOKIE, set_cookie);
        flows::note(Step::ConsentShown, &Known::default());
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
/// which changes each time), scopes, resource; and what a document says of its client, which its
/// owner may change at any time.
pub(super) fn remembered(
    identity: Identity,
    request: &AuthorizationRequest,
    client: &Client,
) -> RememberedConsent {
    let document = match client.origin {
        ClientOrigin::Document => format!("{:?}", client.metadata),
        ClientOrigin::Dynamic | ClientOrigin::Preregistered => String::new(),
    };
    let parts = [
        request.client_id.as_str(),
        &request.redirect_uri.without_loopback_port(),
        &request.scope.to_string(),
        request.resource.as_str(),
        &document,
    ];
    // No part but the last can hold a line break, so joining is unambiguous.
    let tuple: SecretHash = Secret::new(parts.join("\n")).hash();
    RememberedConsent { identity, tuple }
}
