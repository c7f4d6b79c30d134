//! Public signing keys of somebody else (RFC 7517), each usable for its own algorithms only.
//!
//! Keys come from the set that their owner published and from nowhere else: `jku`, `x5u`, `jwk` and
//! `x5c` in a token's header are never looked at (RFC 8725 §3.10).

use std::fmt;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// What may be accepted at all: public-key algorithms only, so neither `none` nor a shared secret
/// that is in truth a public key (RFC 8725 §3.1).
pub(crate) const SIGNING_ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Most keys of a set that are looked at; providers have two to ten.
const KEYS_MAX: usize = 100;

/// The keys of a set that can verify a signature of ours to accept.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<VerificationKey>,
    edition: Edition,
}

/// Tells one set from another: what verified under one edition does so again under the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edition([u8; 32]);

/// A public key with the algorithms it may be used for.
pub(crate) struct VerificationKey {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// The key that a token asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) algorithm: Algorithm,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

impl KeySet {
    /// Reads a key set; `None` if it is none. A key that we do not understand is left out, since
    /// sets hold keys for other purposes beside (RFC 7517 §5).
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let document: Document<'_> = serde_json::from_slice(text).ok()?;
        let keys = document.keys.iter().take(KEYS_MAX);
        let keys = keys.filter_map(|key| VerificationKey::read(key.get())).collect();
        Some(Self { keys, edition: Edition(Sha256::digest(text).into()) })
    }

    /// Which set this is, by its text.
    pub(crate) const fn edition(&self) -> Edition {
        self.edition
    }

    /// The key a token asks for. Without a name it must be the only one that fits (Core §10.1).
    pub(crate) fn find(&self, wanted: Wanted<'_>) -> Option<&DecodingKey> {
        let mut fitting = self.keys.iter().filter(|key| {
            key.algorithms.contains(&wanted.algorithm)
                && (wanted.id.is_none() || key.id.as_deref() == wanted.id)
        });
        let first = fitting.next()?;
        (wanted.id.is_some() || fitting.next().is_none()).then_some(&first.key)
    }
}

impl VerificationKey {
    fn read(text: &str) -> Option<Self> {
        let jwk: Jwk = serde_json::from_str(text).ok()?;
        let is_for_signatures = jwk
            .common
            .public_key_use
            .as_ref()
            .is_none_or(|usage| *usage == PublicKeyUse::Signature)
            && jwk
                .common
                .key_operations
                .as_ref()
                .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let mut algorithms = algorithms_of(&jwk.algorithm);
        if let Some(only) = jwk.common.key_algorithm {
            let only = Algorithm::try_from(only).ok()?;
            algorithms.retain(|algorithm| *algorithm == only);
        }
        if !is_for_signatures || algorithms.is_empty() {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id, algorithms, key })
    }
}

/// What a key can do by its kind; shared secrets and unknown kinds can do nothing.
fn algorithms_of(key: &AlgorithmParameters) -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match key {
        AlgorithmParameters::RSA(_) => vec![RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => vec![ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => vec![ES384],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            vec![EdDSA]
        }
        AlgorithmParameters::EllipticCurve(_)
        | AlgorithmParameters::OctetKeyPair(_)
        | AlgorithmParameters::OctetKey(_)
        | AlgorithmParameters::Other(_)
        | _ => Vec::new(),
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}
