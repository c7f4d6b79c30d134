//! The two documents by which clients find everything (RFC 8414 §2, RFC 9728 §2).

use serde::Serialize;

use super::token_request::JWT_BEARER_GRANT;
use super::{Issuer, ProtectedResource, ProtectedResources, ResourceUri, ScopeSet};

/// Whether clients can register themselves, and so whether the endpoint is advertised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationEndpoint {
    /// `registration_endpoint` is there.
    Advertised,
    /// It is not.
    Absent,
}

/// Whether the id of a client may be the URL of a document about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMetadataDocuments {
    /// `client_id_metadata_document_supported` is true.
    Supported,
    /// It is not there.
    Absent,
}

/// What an assertion of a client may be signed with (RFC 8725 §3.1: public keys alone).
pub const CLIENT_ASSERTION_ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// Authorization server metadata (RFC 8414). No `openid-configuration`: we issue no ID tokens.
#[derive(Debug, Clone, Serialize)]
pub struct AuthorizationServerMetadata {
    issuer: Issuer,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<String>,
    revocation_endpoint: String,
    introspection_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<String>,
    scopes_supported: Vec<String>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_grant_profiles_supported: Option<[&'static str; 1]>,
    token_endpoint_auth_methods_supported: [&'static str; 4],
    token_endpoint_auth_signing_alg_values_supported: [&'static str; 9],
    revocation_endpoint_auth_methods_supported: [&'static str; 4],
    revocation_endpoint_auth_signing_alg_values_supported: [&'static str; 9],
    introspection_endpoint_auth_methods_supported: [&'static str; 3],
    introspection_endpoint_auth_signing_alg_values_supported: [&'static str; 9],
    code_challenge_methods_supported: [&'static str; 1],
    authorization_response_iss_parameter_supported: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    client_id_metadata_document_supported: bool,
    protected_resources: Vec<ResourceUri>,
}

impl AuthorizationServerMetadata {
    /// The same, with keys that verify what we sign for servers behind us.
    #[must_use]
    pub fn publishing_keys(self) -> Self {
        Self { jwks_uri: Some(self.issuer.endpoint("/jwks.json")), ..self }
    }

    /// The same, where somebody is trusted to vouch for people (ID-JAG §7). It does not say who.
    #[must_use]
    pub fn taking_id_jags(mut self) -> Self {
        self.grant_types_supported.push(JWT_BEARER_GRANT);
        self.authorization_grant_profiles_supported =
            Some(["urn:ietf:params:oauth:grant-profile:id-jag"]);
        self
    }

    /// What this instance can do.
    pub fn new(
        issuer: &Issuer,
        servers: &ProtectedResources,
        registration: RegistrationEndpoint,
        documents: ClientMetadataDocuments,
    ) -> Self {
        let registration_endpoint = match registration {
            RegistrationEndpoint::Advertised => Some(issuer.endpoint("/register")),
            RegistrationEndpoint::Absent => None,
        };
        let auth_methods = ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"];
        Self {
            issuer: issuer.clone(),
            authorization_endpoint: issuer.endpoint("/authorize"),
            token_endpoint: issuer.endpoint("/token"),
            registration_endpoint,
            revocation_endpoint: issuer.endpoint("/revoke"),
            introspection_endpoint: issuer.endpoint("/introspect"),
            jwks_uri: None,
            scopes_supported: tokens(&servers.scopes()),
            response_types_supported: ["code"],
            response_modes_supported: ["query"],
            grant_types_supported: vec![
                "authorization_code",
                "refresh_token",
                "client_credentials",
            ],
            authorization_grant_profiles_supported: None,
            token_endpoint_auth_methods_supported: auth_methods,
            token_endpoint_auth_signing_alg_values_supported: CLIENT_ASSERTION_ALGORITHMS,
            revocation_endpoint_auth_methods_supported: auth_methods,
            revocation_endpoint_auth_signing_alg_values_supported: CLIENT_ASSERTION_ALGORITHMS,
            // Not `none`: whoever asks must prove who it is (RFC 7662 §2.1).
            introspection_endpoint_auth_methods_supported: [
                "client_secret_basic",
                "client_secret_post",
                "private_key_jwt",
            ],
            introspection_endpoint_auth_signing_alg_values_supported: CLIENT_ASSERTION_ALGORITHMS,
            code_challenge_methods_supported: ["S256"],
            authorization_response_iss_parameter_supported: true,
            client_id_metadata_document_supported: documents == ClientMetadataDocuments::Supported,
            protected_resources: servers.iter().map(|server| server.resource.clone()).collect(),
        }
    }
}

/// Protected resource metadata (RFC 9728).
#[derive(Debug, Clone, Serialize)]
pub struct ProtectedResourceMetadata {
    resource: ResourceUri,
    authorization_servers: [String; 1],
    scopes_supported: Vec<String>,
    bearer_methods_supported: [&'static str; 1],
    resource_name: String,
}

impl ProtectedResourceMetadata {
    /// The document of `server` under the name it was asked by, which RFC 9728 §3.3 wants echoed.
    pub fn new(
        server: &ProtectedResource,
        asked_as: &ResourceUri,
        authorization_server: &str,
    ) -> Self {
        Self {
            resource: asked_as.clone(),
            authorization_servers: [authorization_server.to_owned()],
            scopes_supported: tokens(&server.scopes),
            bearer_methods_supported: ["header"],
            resource_name: server.name.clone(),
        }
    }
}

fn tokens(scopes: &ScopeSet) -> Vec<String> {
    scopes.iter().map(str::to_owned).collect()
}
