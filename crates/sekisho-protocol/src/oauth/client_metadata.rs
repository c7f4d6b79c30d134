//! What a client says of itself (RFC 7591 §2): parsed once, kept as understood.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ClientKeys, RedirectUri, RegisteredRedirectUri, ScopeSet};

/// A client's identifier: issued by us, written by the operator, or the https URL of a document
/// about the client; compared as text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(String);

impl ClientId {
    /// Takes the text as it came; whether such a client exists is the store's answer.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({})", self.0)
    }
}

/// How a client proves itself at `/token` and `/revoke` (RFC 7591 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenEndpointAuthMethod {
    /// A public client: PKCE alone.
    None,
    /// HTTP Basic with form-encoded id and secret (RFC 6749 §2.3.1).
    ClientSecretBasic,
    /// `client_id` and `client_secret` in the body.
    ClientSecretPost,
    /// A JWT signed with the client's own key (RFC 7523 §2.2).
    PrivateKeyJwt,
}

/// A registration as we keep it: only what is used or shown, already checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientMetadata {
    /// The name the client gave itself: untrusted, cut to a bounded length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// At least one, unless the client acts for itself alone.
    pub redirect_uris: Vec<RegisteredRedirectUri>,
    /// How it proves itself.
    pub token_endpoint_auth_method: TokenEndpointAuthMethod,
    /// Whether it may trade refresh tokens (`refresh_token` among its `grant_types`).
    pub refreshes: bool,
    /// The scopes it may ask for.
    pub scope: ScopeSet,
    /// Its home page, https only; shown as text, never fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// The public keys of a client that proves itself by `private_key_jwt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<ClientKeys>,
    /// Whether it may ask for tokens of its own, without a person (`client_credentials` among its
    /// `grant_types`). Only the operator can say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acts_alone: bool,
}

impl ClientMetadata {
    /// The redirect URI a request asks for, if it is one of this client's. A request that names
    /// none gets the only registered one (RFC 6749 §3.1.2.3), and nothing if there are several.
    pub fn find_redirect_uri(&self, asked: Option<&str>) -> Option<RedirectUri> {
        match (asked, self.redirect_uris.as_slice()) {
            (Some(asked), registered) => registered.iter().find_map(|uri| uri.find(asked)),
            (None, [only]) => Some(only.as_redirect_uri()),
            (None, _) => None,
        }
    }

    /// Whether every registered redirect URI leads to the person's own machine (MCP: such a client
    /// can be impersonated by any local program, so consent says so).
    pub fn is_loopback_only(&self) -> bool {
        self.redirect_uris.iter().all(RegisteredRedirectUri::is_loopback)
    }
}
