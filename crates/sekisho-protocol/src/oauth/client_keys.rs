//! The public keys of a client that signs (RFC 7591 §2, RFC 7517): written down, or at a URL.
//!
//! Looks at the shape alone. What a key can verify is found out by whoever verifies; a key that
//! should have stayed with the client is refused here, so that we never hold one.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// Largest key set that is kept or read from a URL: 16 KiB, some thirty RSA keys.
pub const JWKS_BYTES_MAX: usize = 16 * 1024;

/// Longest URL of a key set, in bytes.
const JWKS_URI_BYTES_MAX: usize = 2 * 1024;

/// Members of a JWK that only its owner may know (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Where a client's public keys are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKeys {
    /// The JSON text of a key set (`jwks`).
    Jwks(String),
    /// An https URL (`jwks_uri`), fetched when it is needed and never from special addresses.
    JwksUri(String),
}

/// Why keys cannot be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientKeysError {
    /// No object with an array `keys` of objects.
    #[error("jwks is not a JSON Web Key Set")]
    NotAKeySet,
    /// Longer than [`JWKS_BYTES_MAX`].
    #[error("jwks is too large")]
    TooLarge,
    /// A private or shared key: whoever published it must make a new one.
    #[error("jwks holds a private key: publish the public ones only")]
    PrivateKey,
    /// Not an https URL.
    #[error("jwks_uri is not an https URL")]
    NotHttps,
}

impl ClientKeys {
    /// A key set as it stands in a registration.
    ///
    /// # Errors
    /// When it is none, too large, or holds a key that is not public.
    pub fn inline(jwks: &Value) -> Result<Self, ClientKeysError> {
        let keys = jwks.get("keys").and_then(Value::as_array).ok_or(ClientKeysError::NotAKeySet)?;
        if !keys.iter().all(Value::is_object) {
            return Err(ClientKeysError::NotAKeySet);
        }
        let is_private = |key: &Value| PRIVATE_MEMBERS.iter().any(|name| key.get(name).is_some());
        if keys.iter().any(is_private) {
            return Err(ClientKeysError::PrivateKey);
        }
        let text = jwks.to_string();
        if text.len() > JWKS_BYTES_MAX {
            Err(ClientKeysError::TooLarge)
        } else {
            Ok(Self::Jwks(text))
        }
    }

    /// A key set in JSON text, as an operator writes it into a file.
    ///
    /// # Errors
    /// As [`ClientKeys::inline`].
    pub fn parse(text: &str) -> Result<Self, ClientKeysError> {
        let jwks: Value = serde_json::from_str(text).map_err(|_| ClientKeysError::NotAKeySet)?;
        Self::inline(&jwks)
    }

    /// A key set at a URL.
    ///
    /// # Errors
    /// When the URL is not https, or too long.
    pub fn at(uri: &str) -> Result<Self, ClientKeysError> {
        let is_https = Url::parse(uri).is_ok_and(|url| url.scheme() == "https");
        if is_https && uri.len() <= JWKS_URI_BYTES_MAX {
            Ok(Self::JwksUri(uri.to_owned()))
        } else {
            Err(ClientKeysError::NotHttps)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_public_keys_can_be_registered() {
        use ClientKeysError::{NotAKeySet, PrivateKey, TooLarge};
        let large = "x".repeat(JWKS_BYTES_MAX);
        let rows = [
            (json!({ "keys": [{ "kty": "EC", "x": "1", "y": "2" }] }), None, "public"),
            (json!({ "keys": [] }), None, "none yet"),
            (json!({ "keys": [{ "kty": "EC", "d": "1" }] }), Some(PrivateKey), "EC, private"),
            (json!({ "keys": [{ "kty": "RSA", "p": "1" }] }), Some(PrivateKey), "RSA, private"),
            (json!({ "keys": [{ "kty": "oct", "k": "1" }] }), Some(PrivateKey), "shared"),
            (json!({ "keys": [{ "x": "1" }, { "d": "1" }] }), Some(PrivateKey), "one of two"),
            (json!({ "keys": "x" }), Some(NotAKeySet), "no array"),
            (json!({ "keys": ["x"] }), Some(NotAKeySet), "no keys"),
            (json!({}), Some(NotAKeySet), "nothing"),
            (json!([]), Some(NotAKeySet), "another kind"),
            (json!({ "keys": [{ "kty": large }] }), Some(TooLarge), "16 KiB"),
        ];
        for (jwks, expected, reason) in rows {
            assert_eq!(ClientKeys::inline(&jwks).err(), expected, "{reason}");
        }
    }

    #[test]
    fn keys_are_fetched_by_https_alone() {
        let rows = [
            ("https://a.example/jwks.json", true, "https"),
            ("http://a.example/jwks.json", false, "plain"),
            ("http://localhost/jwks.json", false, "plain, on loopback"),
            ("file:///etc/passwd", false, "a file"),
            ("data:application/json,{}", false, "in the URL itself"),
            ("jwks.json", false, "relative"),
        ];
        for (uri, expected, reason) in rows {
            assert_eq!(ClientKeys::at(uri).is_ok(), expected, "{reason}");
        }
    }
}
