//! Keys of our own that sign (ES256, RFC 7518 §3.4), and their public halves for whoever verifies
//! (`/jwks.json`, RFC 7517).
//!
//! ```text
//! ring of the operator's keys ─▶ one signing key each ─▶ the newest signs, all are published
//! ```
//!
//! They are derived from the operator's keys and stored nowhere, so that replicas and restarts have the
//! same, and a key that has grown old still verifies what it signed. ES256, since more verifiers in the
//! field have it than `EdDSA`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use sekisho_protocol::Secret;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::seal::{Derived, Deriver, KeyId, Sealer};

/// Where the public keys are.
pub const JWKS_PATH: &str = "/jwks.json";

/// A private key of P-256 as PKCS #8 (RFC 5208, RFC 5915) writes it, up to its 32 bytes.
const PKCS8_P256: [u8; 35] = [
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01,
    0x01, 0x04, 0x20,
];

/// Signs with the newest of our keys.
#[derive(Clone)]
pub struct SigningKeys {
    sealer: Sealer,
    /// Those of the keys that are in the ring now, once they were needed.
    made: Arc<Mutex<Vec<Arc<SigningKey>>>>,
}

struct SigningKey {
    of: KeyId,
    private: EncodingKey,
    public: Jwk,
    id: String,
}

impl SigningKeys {
    /// The signing keys of the operator's keys.
    pub fn new(sealer: Sealer) -> Self {
        Self { sealer, made: Arc::default() }
    }

    /// A JWT of this kind (its `typ`) with these claims.
    #[expect(clippy::expect_used, reason = "the key is one of P-256, and claims are plain values")]
    pub(crate) fn sign(&self, kind: &str, claims: &impl Serialize) -> Secret {
        let key = self.key(&self.sealer.deriver());
        let header = Header {
            typ: Some(kind.to_owned()),
            kid: Some(key.id.clone()),
            ..Header::new(Algorithm::ES256)
        };
        Secret::new(encode(&header, claims, &key.private).expect("a key that signs"))
    }

    /// The public keys, newest first.
    fn published(&self) -> JwkSet {
        let keys: Vec<_> = self.sealer.derivers().map(|deriver| self.key(&deriver)).collect();
        JwkSet { keys: keys.iter().map(|key| key.public.clone()).collect() }
    }

    fn key(&self, deriver: &Deriver) -> Arc<SigningKey> {
        let mut made = self.made();
        if let Some(known) = made.iter().find(|key| key.of == *deriver.key_id()) {
            return Arc::clone(known);
        }
        let key = Arc::new(SigningKey::derived(deriver));
        let current = self.sealer.key_ids();
        made.retain(|key| current.contains(&key.of));
        made.push(Arc::clone(&key));
        key
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Vec<Arc<SigningKey>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves the public keys.
    pub fn routes(&self) -> Router {
        Router::new().route(JWKS_PATH, get(show)).with_state(self.clone())
    }
}

/// Nobody on the way keeps it: a new key signs a few seconds after it is published.
async fn show(State(keys): State<SigningKeys>) -> Response {
    let headers = [(CONTENT_TYPE, "application/jwk-set+json"), (CACHE_CONTROL, "no-cache")];
    match serde_json::to_vec(&keys.published()) {
        Ok(document) => (headers, document).into_response(),
        Err(_) => http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl SigningKey {
    #[expect(
        clippy::expect_used,
        reason = "one in four thousand million numbers of 32 bytes is no key; 256 in a row are not seen"
    )]
    fn derived(deriver: &Deriver) -> Self {
        let mut tries = 0..=u8::MAX;
        tries.find_map(|again| Self::read(deriver, again)).expect("a number that is a key")
    }

    fn read(deriver: &Deriver, again: u8) -> Option<Self> {
        let number = deriver.derive(Derived::SigningKey, &[b"ES256", &[again]]);
        let pkcs8 = Zeroizing::new([&PKCS8_P256[..], &number[..]].concat());
        let private = EncodingKey::from_ec_der(&pkcs8);
        let mut public = Jwk::from_encoding_key(&private, Algorithm::ES256).ok()?;
        let id = public.thumbprint(ThumbprintHash::SHA256).ok()?;
        public.common.key_id = Some(id.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Some(Self { of: deriver.key_id().clone(), private, public, id })
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys(***)")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use serde_json::{Value, json};

    use super::*;
    use crate::jwks::{KeySet, Wanted};
    use crate::seal::{KeyRing, random_key};

    fn published(keys: &SigningKeys) -> Vec<Value> {
        let set = serde_json::to_value(keys.published()).unwrap();
        set["keys"].as_array().unwrap().clone()
    }

    /// Whether whoever has these keys takes this token.
    fn is_taken(token: &Secret, published: &[Value]) -> bool {
        let set = json!({ "keys": published }).to_string();
        let set = KeySet::parse(set.as_bytes()).unwrap();
        let header = jsonwebtoken::decode_header(token.reveal()).unwrap();
        let wanted = Wanted { id: header.kid.as_deref(), algorithm: header.alg };
        let Some(key) = set.find(wanted) else { return false };
        let mut validation = jsonwebtoken::Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_aud = false;
        jsonwebtoken::decode::<Value>(token.reveal(), key, &validation).is_ok()
    }

    #[test]
    fn whoever_has_the_same_key_file_signs_with_the_same_key() {
        let (key, other) = (random_key(), random_key());
        let of = |key| SigningKeys::new(Sealer::new(key));
        let token = of(&key).sign("JWT", &json!({ "sub": "alice" }));
        assert!(is_taken(&token, &published(&of(&key))), "another process, or a start later");
        assert!(!is_taken(&token, &published(&of(&other))), "somebody else");
        let [public] = &published(&of(&key))[..] else { unreachable!("there is one") };
        for (name, expected) in [("kty", "EC"), ("crv", "P-256"), ("alg", "ES256"), ("use", "sig")]
        {
            assert_eq!(public[name], expected, "{name}");
        }
        assert!(public.get("d").is_none(), "the public half alone: {public}");
    }

    #[test]
    fn what_was_signed_before_a_rotation_is_taken_after_it() {
        let (old, new) = (random_key(), random_key());
        let sealer = Sealer::new(&old);
        let keys = SigningKeys::new(sealer.clone());
        let before = keys.sign("JWT", &json!({}));
        // As `sekisho key rotate` goes about it: published first, signing a little later.
        sealer.turn_to(KeyRing::new(&old, [&new]));
        let announced = published(&keys);
        sealer.turn_to(KeyRing::new(&new, [&old]));
        let after = keys.sign("JWT", &json!({}));
        assert_ne!(
            jsonwebtoken::decode_header(before.reveal()).unwrap().kid,
            jsonwebtoken::decode_header(after.reveal()).unwrap().kid,
        );
        for set in [announced, published(&keys)] {
            assert!(is_taken(&before, &set) && is_taken(&after, &set), "both, at each step");
        }
        sealer.turn_to(KeyRing::new(&new, []));
        assert!(!is_taken(&before, &published(&keys)), "until the old key is taken away");
    }
}
