//! OAuth 2.1 as MCP uses it: a file is a rule, and its type is what was proven.

mod authorization_request;
mod challenge;
mod client_assertion;
mod client_keys;
mod client_metadata;
mod client_metadata_document;
mod error;
mod issuer;
mod metadata;
mod parameters;
mod pkce;
mod protected_resource;
mod redirect_rule;
mod redirect_uri;
mod registration;
mod resource;
mod scope;
mod token_request;

pub use authorization_request::{
    AuthorizationRequest, NoReturnAddress, ReturnAddress, named_client,
};
pub use challenge::{ChallengeReason, challenge};
pub use client_assertion::{
    ASSERTION_BYTES_MAX, ASSERTION_LIFE_MAX, AssertionClaims, AssertionFlaw, CLIENT_ASSERTION_TYPE,
    ExpectedAssertion,
};
pub use client_keys::{ClientKeys, ClientKeysError, JWKS_BYTES_MAX};
pub use client_metadata::{ClientId, ClientMetadata, TokenEndpointAuthMethod};
pub use client_metadata_document::{
    CLIENT_METADATA_DOCUMENT_BYTES_MAX, ClientIdUrl, ClientIdUrlError, HostList,
    parse_client_metadata_document,
};
pub use error::{OAuthError, OAuthErrorCode};
pub use issuer::{Issuer, IssuerError, is_loopback};
pub use metadata::{
    AuthorizationServerMetadata, CLIENT_ASSERTION_ALGORITHMS, ClientMetadataDocuments,
    ProtectedResourceMetadata, RegistrationEndpoint,
};
pub use parameters::Parameters;
pub use pkce::{CodeChallenge, CodeVerifier, PkceError};
pub use protected_resource::{InvalidTarget, ProtectedResource, ProtectedResources};
pub use redirect_rule::RedirectRule;
pub use redirect_uri::{
    REDIRECT_URI_BYTES_MAX, RedirectUri, RedirectUriError, RegisteredRedirectUri,
};
pub use registration::parse_registration;
pub use resource::ResourceUri;
pub use scope::{MalformedScope, SCOPE_BYTES_MAX, ScopeSet};
pub use token_request::{
    AssertionRequest, ClientCredentials, ClientProof, CodeRequest, CredentialsError,
    JWT_BEARER_GRANT, MachineRequest, RefreshRequest, TokenRequest,
};
