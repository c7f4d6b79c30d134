//! OAuth 2.1 as MCP uses it: a file is a rule, and its type is what was proven.

mod authorization_request;
mod challenge;
mod client_metadata;
mod error;
mod issuer;
mod metadata;
mod parameters;
mod pkce;
mod protected_resource;
mod redirect_uri;
mod registration;
mod resource;
mod scope;
mod token_request;

pub use authorization_request::{
    AuthorizationRequest, NoReturnAddress, ReturnAddress, named_client,
};
pub use challenge::{ChallengeReason, challenge};
pub use client_metadata::{ClientId, ClientMetadata, TokenEndpointAuthMethod};
pub use error::{OAuthError, OAuthErrorCode};
pub use issuer::{Issuer, IssuerError, is_loopback};
pub use metadata::{AuthorizationServerMetadata, ProtectedResourceMetadata, RegistrationEndpoint};
pub use parameters::Parameters;
pub use pkce::{CodeChallenge, CodeVerifier, PkceError};
pub use protected_resource::{InvalidTarget, ProtectedResource, ProtectedResources};
pub use redirect_uri::{
    REDIRECT_URI_BYTES_MAX, RedirectUri, RedirectUriError, RegisteredRedirectUri,
};
pub use registration::parse_registration;
pub use resource::ResourceUri;
pub use scope::{MalformedScope, SCOPE_BYTES_MAX, ScopeSet};
pub use token_request::{
    ClientCredentials, CodeRequest, CredentialsError, RefreshRequest, TokenRequest,
};
