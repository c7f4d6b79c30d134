//! Logout tokens (`OpenID` Connect Back-Channel Logout 1.0 §2.6): which are believed, each other with
//! the reason. Whether one came before is for the store to know.

use std::time::Duration;

use sekisho::clock::Clock as _;
use sekisho::identity_provider::oidc::LOGOUT_TOKEN_AGE_MAX;
use sekisho::identity_provider::{IdentityProvider as _, LogoutToken, ProviderError};
use sekisho_protocol::Secret;
use serde_json::{Value, json};
use testkit::identity_provider::{CLIENT_ID, Endpoint, Faults, Signing, session_of, subject_of};

use crate::oidc::Scene;
use crate::{Outcome, outcome};

use Outcome::{LoggedIn as Believed, Unacceptable as Refused, Unavailable};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

impl Scene {
    async fn told(&self, change: impl FnOnce(&mut Faults)) -> Result<LogoutToken, ProviderError> {
        self.fake.misbehave(change);
        let token = Secret::new(self.fake.logout_token("alice"));
        self.fake.behave();
        self.ours.read_logout(&token).await
    }
}

#[tokio::test]
async fn a_logout_token_names_a_person_and_a_session() {
    let scene = Scene::new().await;
    let token = scene.told(|_| {}).await.unwrap();
    assert_eq!(token.issuer, scene.fake.issuer());
    assert_eq!(token.subject, Some(subject_of("alice")));
    assert_eq!(token.sid, Some(session_of("alice")));
    let other = scene.told(|_| {}).await.unwrap();
    assert_ne!(token.id, other.id, "each message has an id of its own");
    assert!(token.ends_at <= scene.clock.now().plus(LOGOUT_TOKEN_AGE_MAX + Duration::from_mins(1)));
}

#[tokio::test]
async fn every_claim_of_a_logout_token_must_be_right() {
    let scene = Scene::new().await;
    let now = scene.clock.now().unix_seconds();
    let old = i64::try_from(LOGOUT_TOKEN_AGE_MAX.as_secs()).unwrap();
    let rows = [
        ("sid", Value::Null, Believed, "all of a person's sessions"),
        ("sub", Value::Null, Believed, "a session alone"),
        ("aud", json!(["other", CLIENT_ID]), Believed, "others are told too"),
        ("exp", json!(now - 30), Believed, "clocks may differ by half a minute"),
        ("iss", json!("https://other.example"), Refused, "another provider"),
        ("iss", Value::Null, Refused, "nobody's"),
        ("aud", json!("other"), Refused, "for another client"),
        ("aud", json!(["other"]), Refused, "for other clients"),
        ("aud", Value::Null, Refused, "for nobody"),
        ("exp", json!(now - 31), Refused, "over"),
        ("exp", Value::Null, Refused, "without an end"),
        ("iat", json!(now + 31), Refused, "from the future"),
        ("iat", json!(now - old - 31), Refused, "issued too long ago, whatever its end"),
        ("iat", Value::Null, Refused, "without a beginning"),
        ("nbf", json!(now + 31), Refused, "not yet"),
        ("jti", Value::Null, Refused, "without an id, so that it could come again"),
        ("jti", json!(""), Refused, "an empty id"),
        ("jti", json!("x".repeat(256)), Refused, "an endless id"),
        ("events", Value::Null, Refused, "no event: an ID token, for instance"),
        ("events", json!({}), Refused, "nothing happened"),
        ("events", json!({ "http://other.example/event": {} }), Refused, "something else happened"),
        ("events", json!({ EVENT: true }), Refused, "the event is no object"),
        ("events", json!([EVENT]), Refused, "a list"),
        ("events", json!({ EVENT: {}, "revoke_offline_access": true }), Believed, "and more"),
        ("nonce", json!("n"), Refused, "a nonce: an ID token played back"),
        ("nonce", json!(""), Refused, "an empty nonce"),
        ("nonce", json!(false), Refused, "a nonce of another type"),
        ("sub", json!(""), Refused, "nobody"),
        ("sub", json!("a\nb"), Refused, "no name"),
        ("sub", json!(7), Refused, "a number"),
        ("sid", json!(""), Refused, "an empty session"),
        ("sid", json!("x".repeat(256)), Refused, "an endless name for a session"),
    ];
    for (claim, value, expected, reason) in rows {
        let told = scene.told(|it| it.claim(claim, value.clone())).await;
        assert_eq!(outcome(&told), expected, "{claim} = {value}: {reason}");
    }
    let neither = scene.told(|it| {
        it.claim("sub", Value::Null);
        it.claim("sid", Value::Null);
    });
    assert_eq!(outcome(&neither.await), Refused, "neither a person nor a session");
}

#[tokio::test]
async fn a_logout_that_the_provider_did_not_sign_is_not_believed() {
    let signings = [
        (Signing::None, "no signature"),
        (Signing::HmacWithPublicKey, "the public key as a shared secret"),
        (Signing::ForeignKey, "somebody else's key under the published name"),
        (Signing::ForeignRsaKey, "somebody else's RSA key"),
        (Signing::ZeroSignature, "all zero"),
        (Signing::OtherSignature, "the right key over something else"),
    ];
    let scene = Scene::new().await;
    assert_eq!(outcome(&scene.told(|it| it.signing = Signing::Rs256).await), Believed);
    for (signing, reason) in signings {
        assert_eq!(outcome(&scene.told(|it| it.signing = signing).await), Refused, "{reason}");
    }
    let types = [
        (json!("logout+jwt"), Believed, "what it should say"),
        (json!("LOGOUT+JWT"), Believed, "case does not matter"),
        (json!("application/logout+jwt"), Believed, "in full"),
        (json!("JWT"), Believed, "as many say"),
        (Value::Null, Believed, "silent"),
        (json!("at+jwt"), Refused, "an access token"),
        (json!("secevent+jwt"), Refused, "another event"),
    ];
    for (typ, expected, reason) in types {
        assert_eq!(outcome(&scene.told(|it| it.header("typ", typ)).await), expected, "{reason}");
    }
    assert_eq!(outcome(&scene.told(|it| it.header("crit", json!(["x"]))).await), Refused);
    for (text, reason) in [("", "nothing"), ("x.y.z", "no JWT"), ("eyJ", "a piece of one")] {
        let told = scene.ours.read_logout(&Secret::new(text)).await;
        assert_eq!(outcome(&told), Refused, "{reason}");
    }
    let long = Secret::new("x".repeat(70_000));
    assert_eq!(outcome(&scene.ours.read_logout(&long).await), Refused, "endless");
    assert_eq!(scene.fake.requests(Endpoint::Canary), 0);
}

#[tokio::test]
async fn neither_kind_of_token_passes_for_the_other() {
    let scene = Scene::new().await;
    let person = scene.log_in("alice").await.unwrap();
    let id_token = person.tokens.unwrap().id_token.unwrap();
    assert_eq!(outcome(&scene.ours.read_logout(&id_token).await), Refused, "has no event");
    // And as the answer to a login: no nonce, and it may say what it is.
    let logout = scene.fake.logout_token("alice");
    scene.fake.misbehave(|it| it.answer("id_token", logout));
    assert_eq!(outcome(&scene.log_in("alice").await), Refused);
}

#[tokio::test]
async fn a_rotated_key_is_found_for_a_logout_too() {
    let scene = Scene::new().await;
    assert_eq!(outcome(&scene.told(|_| {}).await), Believed);
    scene.fake.rotate_keys();
    assert_eq!(outcome(&scene.told(|_| {}).await), Believed, "signed with the new key");
    assert_eq!(scene.fake.requests(Endpoint::Keys), 2, "fetched anew, once");
    for _ in 0..20 {
        assert_eq!(outcome(&scene.told(|it| it.made_up_kid = true).await), Refused);
    }
    assert_eq!(scene.fake.requests(Endpoint::Keys), 3, "a flood of made-up names costs one fetch");

    let scene = Scene::new().await;
    let token = Secret::new(scene.fake.logout_token("alice"));
    scene.fake.misbehave(|it| {
        it.trouble(Endpoint::Keys, testkit::identity_provider::Trouble::Status(503));
    });
    let told = scene.ours.read_logout(&token).await;
    assert_eq!(outcome(&told), Unavailable, "without the keys nobody can say");
}
