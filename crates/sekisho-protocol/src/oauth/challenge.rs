//! The `WWW-Authenticate` header of a resource (RFC 6750 §3, RFC 9728 §5.1).

use super::{OAuthErrorCode, ScopeSet};

/// Why the door is closed, as far as the client should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeReason {
    /// No token came: no `error` (RFC 6750 §3.1).
    NoToken,
    /// A token came that is not valid here.
    InvalidToken,
    /// A valid token that may not do this.
    InsufficientScope,
}

/// The header's value: where to learn how to get a token, and which scopes to ask for.
///
/// All parts are ours or checked (scope tokens have no quotes), so quoting needs no escapes.
pub fn challenge(reason: ChallengeReason, resource_metadata: &str, scope: &ScopeSet) -> String {
    let mut parameters = Vec::with_capacity(4);
    let error = match reason {
        ChallengeReason::NoToken => None,
        ChallengeReason::InvalidToken => {
            Some((OAuthErrorCode::InvalidToken, "the access token is not valid here"))
        }
        ChallengeReason::InsufficientScope => {
            Some((OAuthErrorCode::InsufficientScope, "the access token lacks a scope"))
        }
    };
    if let Some((error, description)) = error {
        parameters.push(format!("error=\"{error}\", error_description=\"{description}\""));
    }
    parameters.push(format!("resource_metadata=\"{resource_metadata}\""));
    if !scope.is_empty() {
        parameters.push(format!("scope=\"{scope}\""));
    }
    format!("Bearer {}", parameters.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_an_error_only_if_a_token_came() {
        let metadata = "http://localhost:8000/.well-known/oauth-protected-resource/mcp";
        let scope = ScopeSet::of(["fortune", "admin"]);
        assert_eq!(
            challenge(ChallengeReason::NoToken, metadata, &scope),
            format!("Bearer resource_metadata=\"{metadata}\", scope=\"fortune admin\"")
        );
        assert!(
            challenge(ChallengeReason::InvalidToken, metadata, &scope)
                .starts_with("Bearer error=\"invalid_token\", ")
        );
        let narrow = challenge(ChallengeReason::InsufficientScope, metadata, &ScopeSet::default());
        assert!(narrow.contains("error=\"insufficient_scope\"") && !narrow.contains("scope=\"\""));
    }
}
