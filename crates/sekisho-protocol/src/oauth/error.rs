//! The error words of OAuth: what is allowed on the wire, and nothing else.

use std::fmt;

use serde::{Serialize, Serializer};

/// An `error` code with the paper that defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OAuthErrorCode {
    /// The person or the provider said no (RFC 6749 §4.1.2.1).
    AccessDenied,
    /// Client authentication failed (RFC 6749 §5.2).
    InvalidClient,
    /// A registration that cannot be kept (RFC 7591 §3.2.2).
    InvalidClientMetadata,
    /// The code or refresh token is not valid for this request (RFC 6749 §5.2).
    InvalidGrant,
    /// A redirect URI that cannot be registered (RFC 7591 §3.2.2).
    InvalidRedirectUri,
    /// A parameter is missing, doubled or malformed (RFC 6749 §4.1.2.1, §5.2).
    InvalidRequest,
    /// No scope that is known (RFC 6749 §4.1.2.1, §5.2).
    InvalidScope,
    /// No such resource here, or not within the grant (RFC 8707 §2).
    InvalidTarget,
    /// The bearer token is not valid (RFC 6750 §3.1).
    InvalidToken,
    /// The token may not do this (RFC 6750 §3.1).
    InsufficientScope,
    /// Request objects are not supported (`OpenID` Connect Core §6).
    RequestNotSupported,
    /// Request objects by reference are not supported (`OpenID` Connect Core §6).
    RequestUriNotSupported,
    /// Something here or at the identity provider is broken (RFC 6749 §4.1.2.1).
    ServerError,
    /// Try again later (RFC 6749 §4.1.2.1).
    TemporarilyUnavailable,
    /// This client may not use this grant type (RFC 6749 §5.2).
    UnauthorizedClient,
    /// No such grant type here (RFC 6749 §5.2).
    UnsupportedGrantType,
    /// Only `code` (RFC 6749 §4.1.2.1).
    UnsupportedResponseType,
}

impl OAuthErrorCode {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::InvalidClient => "invalid_client",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::ServerError => "server_error",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
        }
    }
}

impl fmt::Display for OAuthErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for OAuthErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A code with a sentence for whoever writes the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{error}: {error_description}")]
pub struct OAuthError {
    /// The word.
    pub error: OAuthErrorCode,
    /// The sentence: printable ASCII without quotes or backslashes (RFC 6749 §5.2), no secrets.
    pub error_description: String,
}

impl OAuthError {
    /// Joins a word and a sentence; characters the grammar forbids become `?` or `'`.
    pub fn new(error: OAuthErrorCode, description: &str) -> Self {
        let allowed = |character: char| match character {
            '"' => '\'',
            '\\' => '/',
            ' '..='~' => character,
            _ => '?',
        };
        Self { error, error_description: description.chars().map(allowed).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_keeps_to_the_grammar_of_the_rfc() {
        let error = OAuthError::new(OAuthErrorCode::InvalidScope, "scope \"a\\b\"\r\nis é");
        assert_eq!(error.error_description, "scope 'a/b'??is ?");
    }
}
