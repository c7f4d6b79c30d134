//! The fake provider's keys, and every right and wrong way to sign with them.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
    RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::{Signing, replace};

/// RSA keys take a while to make, so all providers of a process share two, under names of their own.
static RSA: LazyLock<[RsaKeyPair; 2]> =
    LazyLock::new(|| [0, 1].map(|_| RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));

/// One set of keys.
pub(super) struct Keys {
    name: String,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Keys {
    pub(super) fn generate(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            ed25519: Ed25519KeyPair::generate().unwrap(),
        }
    }

    /// The key set: among what we need also what Keycloak publishes beside it, and a kind that
    /// nobody knows.
    pub(super) fn published(&self) -> Value {
        let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(RSA[0].public_key());
        let (n, e) = (encoded(&rsa.n), encoded(&rsa.e));
        let curve = |key: &EcdsaKeyPair, name: &str| {
            let point = &key.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            json!({ "kty": "EC", "crv": name, "use": "sig", "kid": self.id(name), "x": encoded(x), "y": encoded(y) })
        };
        json!({ "keys": [
            { "kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": self.id("enc"), "n": n, "e": e },
            { "kty": "from-the-future", "kid": self.id("future") },
            { "kty": "RSA", "use": "sig", "kid": self.id("RSA"), "n": n, "e": e },
            curve(&self.p256, "P-256"),
            curve(&self.p384, "P-384"),
            {
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                "kid": self.id("Ed25519"), "x": encoded(self.ed25519.public_key().as_ref()),
            },
        ] })
    }

    /// A JWT with these claims.
    pub(super) fn sign(
        &self,
        signing: Signing,
        header: &Map<String, Value>,
        claims: &Value,
    ) -> String {
        let (algorithm, key) = match signing {
            Signing::Es256
            | Signing::ForeignKey
            | Signing::ZeroSignature
            | Signing::OtherSignature => ("ES256", "P-256"),
            Signing::Es384 => ("ES384", "P-384"),
            Signing::Rs256 | Signing::ForeignRsaKey => ("RS256", "RSA"),
            Signing::Rs512 => ("RS512", "RSA"),
            Signing::Ps256 => ("PS256", "RSA"),
            Signing::EdDsa => ("EdDSA", "Ed25519"),
            Signing::None => ("none", "RSA"),
            Signing::HmacWithPublicKey => ("HS256", "RSA"),
        };
        let mut head = json!({ "alg": algorithm, "typ": "JWT", "kid": self.id(key) });
        replace(&mut head, header);
        let message = format!(
            "{}.{}",
            encoded(head.to_string().as_bytes()),
            encoded(claims.to_string().as_bytes())
        );
        format!("{message}.{}", encoded(&self.signature(signing, message.as_bytes())))
    }

    fn signature(&self, signing: Signing, message: &[u8]) -> Vec<u8> {
        match signing {
            Signing::Es256 => ecdsa(&self.p256, message),
            Signing::Es384 => ecdsa(&self.p384, message),
            Signing::Rs256 => rsa(&RSA[0], &RSA_PKCS1_SHA256, message),
            Signing::Rs512 => rsa(&RSA[0], &RSA_PKCS1_SHA512, message),
            Signing::Ps256 => rsa(&RSA[0], &RSA_PSS_SHA256, message),
            Signing::EdDsa => self.ed25519.sign(message).as_ref().to_vec(),
            Signing::None => Vec::new(),
            Signing::HmacWithPublicKey => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(RSA[0].public_key());
                let key = hmac::Key::new(hmac::HMAC_SHA256, &public.n);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Signing::ForeignKey => {
                let foreign = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                ecdsa(&foreign, message)
            }
            Signing::ForeignRsaKey => rsa(&RSA[1], &RSA_PKCS1_SHA256, message),
            Signing::ZeroSignature => vec![0; 64],
            Signing::OtherSignature => ecdsa(&self.p256, b"something else"),
        }
    }

    fn id(&self, key: &str) -> String {
        format!("{}-{key}", self.name)
    }
}

fn ecdsa(key: &EcdsaKeyPair, message: &[u8]) -> Vec<u8> {
    key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

fn rsa(key: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
