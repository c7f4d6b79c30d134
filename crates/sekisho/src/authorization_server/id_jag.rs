//! `grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer` with an ID-JAG (RFC 7523 §2.1; MCP extension
//! `io.modelcontextprotocol/enterprise-managed-authorization`): a company's identity provider said for
//! whom and for what a client gets a token, so that nobody is asked here.
//!
//! Only for clients that prove themselves, and only for the one that is named. There is no refresh
//! token: whoever decided may decide anew each time, and a client that asked once can ask again.

use axum::response::Response;
use sekisho_protocol::oauth::{
    AssertionRequest, OAuthError, OAuthErrorCode, ProtectedResource, ScopeSet,
    TokenEndpointAuthMethod,
};

use super::AuthorizationServer;
use super::client_assertion::MISSING_KEY_COOL_DOWN;
use super::refusal::Refusal;
use super::token::{Alone, of_client};
use crate::audit::{self, Event, Refused};
use crate::grant::{Grant, GrantId};
use crate::identity_provider::id_jag::{IdJag, IdJagError};
use crate::mint;
use crate::principal::Identity;
use crate::store::{AssertionShare, AssertionUse, Client, ClientOrigin, UsedAssertion};

/// Why a verified assertion gives no token. On the wire they share a word, since they are shaped like
/// theft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum IdJagRefusal {
    #[error("the assertion is for another client")]
    OtherClient,
    #[error(
        "the assertion is for a resource that is not one here, or names none where there are several"
    )]
    Resource,
    #[error("the assertion was used before")]
    Replayed,
    #[error("identity.allow does not let this person in")]
    NotAdmitted,
}

impl AuthorizationServer {
    pub(super) async fn serve_id_jag(
        &self,
        client: &Client,
        request: &AssertionRequest,
    ) -> Result<Response, Refusal> {
        if self.id_jag.is_empty() {
            let reason = "no identity provider is trusted to vouch for people here";
            return Err(OAuthError::new(OAuthErrorCode::UnsupportedGrantType, reason).into());
        }
        if client.metadata.token_endpoint_auth_method == TokenEndpointAuthMethod::None {
            let reason = "only a client that authenticates may use an assertion";
            return Err(OAuthError::new(OAuthErrorCode::UnauthorizedClient, reason).into());
        }
        self.assertions.count(&client.id).map_err(Refusal::TooMany)?;
        let jag = self.verified(client, request).await?;
        let refuse = |reason: IdJagRefusal| refuse(reason, client);
        if jag.client_id != client.id.as_str() {
            return Err(refuse(IdJagRefusal::OtherClient));
        }
        let server = self.server_of(&jag).ok_or_else(|| refuse(IdJagRefusal::Resource))?;
        if !self.is_for(&server.resource, &request.resources) {
            let reason = "the assertion is for another resource";
            return Err(OAuthError::new(OAuthErrorCode::InvalidTarget, reason).into());
        }
        let scope = granted(client, server, &jag, request.scope.as_deref())?;
        if !self.lets_in(&jag.identity) {
            return Err(refuse(IdJagRefusal::NotAdmitted));
        }
        let share = AssertionShare::of_issuer(&jag.identity.issuer);
        let used = UsedAssertion { id: jag.id, share, expires_at: jag.ends_at };
        match self.store.use_assertion(&used).await? {
            AssertionUse::Fresh => {}
            AssertionUse::Replayed => return Err(refuse(IdJagRefusal::Replayed)),
            AssertionUse::Full => return Err(Refusal::TooMany(MISSING_KEY_COOL_DOWN)),
        }
        self.issue_by_id_jag(client, server, jag.identity, scope).await
    }

    async fn verified(
        &self,
        client: &Client,
        request: &AssertionRequest,
    ) -> Result<IdJag, Refusal> {
        let issuer = self.settings.issuer.as_str();
        self.id_jag.verify(&request.assertion, issuer).await.map_err(|error| match error {
            IdJagError::Unacceptable(_) => {
                audit::note(Event::Refused(Refused::Code), &of_client(client, &error));
                invalid()
            }
            IdJagError::Unavailable(_) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an assertion cannot be judged"
                );
                Refusal::ProviderUnavailable
            }
        })
    }

    /// What an assertion is for belongs to whom it is for. One that says nothing of it is for the only
    /// server, if there is only one.
    fn server_of(&self, jag: &IdJag) -> Option<&ProtectedResource> {
        let servers = &self.settings.servers;
        if jag.resources.is_empty() && servers.iter().nth(1).is_some() {
            return None;
        }
        servers.find(&jag.resources).ok()
    }

    /// The condition of the provider that they also log in at, if it is one.
    fn lets_in(&self, identity: &Identity) -> bool {
        let provider = self.providers.of_issuer(&identity.issuer);
        provider.is_none_or(|provider| provider.admission.admits(identity))
    }

    async fn issue_by_id_jag(
        &self,
        client: &Client,
        server: &ProtectedResource,
        identity: Identity,
        scope: ScopeSet,
    ) -> Result<Response, Refusal> {
        let grant = Grant {
            id: GrantId::new(mint::id()),
            client_id: client.id.clone(),
            identity,
            scope: scope.clone(),
            resource: server.resource.clone(),
            created_at: self.clock.now(),
        };
        self.issue_alone(&grant, scope, Alone::Vouched).await
    }
}

/// What the assertion allows, the client asks for, and there is here; and no more than the operator wrote
/// down for the client.
fn granted(
    client: &Client,
    server: &ProtectedResource,
    jag: &IdJag,
    asked: Option<&str>,
) -> Result<ScopeSet, OAuthError> {
    let invalid = |reason: &str| OAuthError::new(OAuthErrorCode::InvalidScope, reason);
    let read = |text: Option<&str>| {
        let set = ScopeSet::parse(text.unwrap_or_default());
        set.map_err(|reason| invalid(&reason.to_string()))
    };
    let (asked, allowed) = (read(asked)?, read(jag.scope.as_deref())?);
    // Whoever vouches and says nothing of scopes leaves them to us.
    let mut scope = match (allowed.is_empty(), asked.is_empty()) {
        (true, true) => server.scopes.clone(),
        (true, false) => asked,
        (false, true) => allowed,
        (false, false) => allowed.restricted_to(&asked),
    };
    scope = scope.restricted_to(&server.all_scopes());
    let has_limit =
        client.origin == ClientOrigin::Preregistered && !client.metadata.scope.is_empty();
    if has_limit {
        scope = scope.restricted_to(&client.metadata.scope);
    }
    if scope.is_empty() {
        return Err(invalid(
            "nothing is left of the scopes that the assertion and the request name",
        ));
    }
    Ok(scope)
}

fn refuse(reason: IdJagRefusal, client: &Client) -> Refusal {
    let event = match reason {
        IdJagRefusal::Replayed => Event::Replay,
        IdJagRefusal::OtherClient | IdJagRefusal::Resource => Event::Refused(Refused::Code),
        IdJagRefusal::NotAdmitted => Event::Refused(Refused::Person),
    };
    audit::note(event, &of_client(client, &reason));
    invalid()
}

fn invalid() -> Refusal {
    OAuthError::new(OAuthErrorCode::InvalidGrant, "the assertion is not valid for this request")
        .into()
}
