//! OAuth 2.1 as MCP uses it: a file is a rule, and its type is what was proven.

mod client_metadata;
mod issuer;
mod pkce;
mod redirect_uri;
mod resource;
mod scope;

pub use client_metadata::{ClientId, ClientMetadata, TokenEndpointAuthMethod};
pub use issuer::{Issuer, IssuerError, is_loopback};
pub use pkce::{CodeChallenge, CodeVerifier, PkceError};
pub use redirect_uri::{RedirectUri, RedirectUriError, RegisteredRedirectUri};
pub use resource::ResourceUri;
pub use scope::{MalformedScope, SCOPE_BYTES_MAX, ScopeSet};
