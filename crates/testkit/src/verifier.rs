//! What a server behind us does with a token of ours: verifies it by the published keys, with another
//! library than the one that signed.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The claims of `token`, if `keys` (a JWK set) say that it is of `issuer` for `audience`.
pub fn verified(token: &str, keys: &Value, issuer: &str, audience: &str) -> Value {
    let (signed, signature) = token.rsplit_once('.').expect("a JWT");
    let (header, claims) = signed.split_once('.').expect("a JWT");
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let header: Value = serde_json::from_slice(&bytes(header)).expect("a header");
    assert_eq!(header["alg"], "ES256");
    let named = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]);
    let key = named.expect("a published key");
    let mut point = vec![4];
    for half in ["x", "y"] {
        point.extend(bytes(key[half].as_str().unwrap()));
    }
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(signed.as_bytes(), &bytes(signature)).expect("the signature is right");
    let claims: Value = serde_json::from_slice(&bytes(claims)).expect("claims");
    assert_eq!(claims["iss"], issuer);
    assert_eq!(claims["aud"], audience);
    claims
}
