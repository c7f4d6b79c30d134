//! `grant_type=client_credentials` (OAuth 2.1 §4.2; MCP extension
//! `io.modelcontextprotocol/oauth-client-credentials`): a machine asks for a token of its own.
//!
//! Only for clients that the operator registered for it and that prove themselves. There is no
//! person and no refresh token: a machine that can ask once can ask again.

use axum::response::Response;
use sekisho_protocol::oauth::{
    MachineRequest, OAuthError, OAuthErrorCode, ProtectedResource, ScopeSet,
    TokenEndpointAuthMethod,
};

use super::AuthorizationServer;
use super::refusal::Refusal;
use super::token::Alone;
use crate::grant::{Grant, GrantId};
use crate::principal::Identity;
use crate::store::{Client, ClientOrigin};

impl AuthorizationServer {
    pub(super) async fn serve_machine(
        &self,
        client: &Client,
        request: &MachineRequest,
    ) -> Result<Response, Refusal> {
        if !may_act_alone(client) {
            let reason = "the client was not registered for client_credentials by the operator";
            return Err(OAuthError::new(OAuthErrorCode::UnauthorizedClient, reason).into());
        }
        let server = self.settings.servers.find(&request.resources).map_err(|reason| {
            OAuthError::new(OAuthErrorCode::InvalidTarget, &reason.to_string())
        })?;
        let scope = machine_scope(client, server, request.scope.as_deref())?;
        let grant = Grant {
            id: GrantId::of_machine(&client.id, &server.resource),
            client_id: client.id.clone(),
            identity: Identity::of_machine(&client.id, client.metadata.client_name.as_deref()),
            scope: client.metadata.scope.restricted_to(&server.all_scopes()),
            resource: server.resource.clone(),
            created_at: self.clock.now(),
        };
        self.machine_tokens.count(&grant.id).map_err(Refusal::TooMany)?;
        self.issue_alone(&grant, scope, Alone::Machine).await
    }
}

fn may_act_alone(client: &Client) -> bool {
    client.origin == ClientOrigin::Preregistered
        && client.metadata.acts_alone
        && client.metadata.token_endpoint_auth_method != TokenEndpointAuthMethod::None
}

/// Never more than the operator wrote down for the client. Scopes that nobody has here are dropped,
/// as everywhere; one that others have and this client has not is refused.
fn machine_scope(
    client: &Client,
    server: &ProtectedResource,
    asked: Option<&str>,
) -> Result<ScopeSet, OAuthError> {
    let invalid = |reason: &str| OAuthError::new(OAuthErrorCode::InvalidScope, reason);
    let known = server.all_scopes();
    let allowed = client.metadata.scope.restricted_to(&known);
    let asked = ScopeSet::parse(asked.unwrap_or_default())
        .map_err(|reason| invalid(&reason.to_string()))?;
    let scope = if asked.is_empty() { allowed.clone() } else { asked.restricted_to(&known) };
    if scope.is_empty() {
        return Err(invalid(
            "no scope of this server is left: the operator decides which a client has",
        ));
    }
    if allowed.covers(&scope) {
        Ok(scope)
    } else {
        Err(invalid("a scope was asked for that the client was not registered with"))
    }
}
