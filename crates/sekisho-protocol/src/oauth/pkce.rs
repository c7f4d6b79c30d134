//! Proof key for code exchange (RFC 7636), with S256 as the only method.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Secret;

/// The commitment a client makes at `/authorize`: base64url of a SHA-256, 43 characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeChallenge(String);

/// Why a challenge was refused; every reason is `invalid_request` on the wire (RFC 7636 §4.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PkceError {
    /// OAuth 2.1 §4.1.1: a challenge is required of every client.
    #[error("code_challenge is required")]
    MissingChallenge,
    /// RFC 7636 §4.3: an absent method means `plain`, which shows the verifier to whoever sees the URL.
    #[error("code_challenge_method must be S256")]
    MethodNotS256,
    /// Not the 43 characters that S256 gives.
    #[error("code_challenge is not a base64url SHA-256")]
    MalformedChallenge,
}

impl CodeChallenge {
    /// Takes `code_challenge` and `code_challenge_method` as they came.
    ///
    /// # Errors
    /// When the challenge is absent or malformed, or the method is anything but `S256`.
    pub fn parse(challenge: Option<&str>, method: Option<&str>) -> Result<Self, PkceError> {
        let text = challenge.ok_or(PkceError::MissingChallenge)?;
        if method != Some("S256") {
            return Err(PkceError::MethodNotS256);
        }
        match URL_SAFE_NO_PAD.decode(text) {
            Ok(digest) if digest.len() == 32 => Ok(Self(text.to_owned())),
            Ok(_) | Err(_) => Err(PkceError::MalformedChallenge),
        }
    }

    /// The challenge for a verifier: what a client sends, and what we send as a client ourselves.
    pub fn of(verifier: &CodeVerifier) -> Self {
        Self(URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.0.reveal())))
    }

    /// Whether `verifier` is what this challenge commits to, compared in constant time.
    pub fn is_met_by(&self, verifier: &CodeVerifier) -> bool {
        self.0.as_bytes().ct_eq(Self::of(verifier).0.as_bytes()).into()
    }

    /// The text as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The proof a client brings to `/token`: 43 to 128 unreserved characters (RFC 7636 §4.1).
#[derive(Debug, Clone)]
pub struct CodeVerifier(Secret);

impl CodeVerifier {
    /// Accepts only the grammar of RFC 7636 §4.1.
    pub fn parse(text: &str) -> Option<Self> {
        let is_unreserved =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        ((43..=128).contains(&text.len()) && text.bytes().all(is_unreserved))
            .then(|| Self(Secret::new(text)))
    }

    /// The text, for the one request that carries it.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    /// RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_the_rfc_holds() {
        let challenge = CodeChallenge::parse(Some(CHALLENGE), Some("S256")).unwrap();
        assert!(challenge.is_met_by(&CodeVerifier::parse(VERIFIER).unwrap()));
        let other = VERIFIER.replace('d', "e");
        assert!(!challenge.is_met_by(&CodeVerifier::parse(&other).unwrap()));
    }

    #[test]
    fn only_s256_is_accepted() {
        let rows = [
            (None, Some("S256"), PkceError::MissingChallenge, "no challenge"),
            (None, None, PkceError::MissingChallenge, "nothing at all"),
            (Some(CHALLENGE), None, PkceError::MethodNotS256, "absent means plain"),
            (Some(CHALLENGE), Some("plain"), PkceError::MethodNotS256, "plain"),
            (Some(CHALLENGE), Some("s256"), PkceError::MethodNotS256, "case matters"),
            (Some(CHALLENGE), Some("S512"), PkceError::MethodNotS256, "unknown"),
            (Some(""), Some("S256"), PkceError::MalformedChallenge, "empty"),
            (Some("short"), Some("S256"), PkceError::MalformedChallenge, "not 32 bytes"),
            (Some(&CHALLENGE[1..]), Some("S256"), PkceError::MalformedChallenge, "42 characters"),
            (
                Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM="),
                Some("S256"),
                PkceError::MalformedChallenge,
                "padding",
            ),
        ];
        for (challenge, method, expected, reason) in rows {
            assert_eq!(CodeChallenge::parse(challenge, method), Err(expected), "{reason}");
        }
    }

    #[test]
    fn a_verifier_has_43_to_128_unreserved_characters() {
        let rows = [
            ("a".repeat(42), false, "too short"),
            ("a".repeat(43), true, "shortest"),
            ("a".repeat(128), true, "longest"),
            ("a".repeat(129), false, "too long"),
            (format!("{}+", "a".repeat(43)), false, "a plus sign"),
            (format!("{}é", "a".repeat(43)), false, "not ASCII"),
            (String::new(), false, "empty"),
        ];
        for (text, accepted, reason) in rows {
            assert_eq!(CodeVerifier::parse(&text).is_some(), accepted, "{reason}");
        }
    }
}
