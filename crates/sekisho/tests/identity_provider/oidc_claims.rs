//! ID tokens that must not be believed, each with the reason.

use sekisho::clock::Clock as _;
use serde_json::{Value, json};
use testkit::identity_provider::{CLIENT_ID, Endpoint, Signing};

use crate::oidc::Scene;
use crate::{Outcome, outcome, said};

use Outcome::{LoggedIn, Unacceptable};

/// Case 17.
#[tokio::test]
async fn a_signature_that_proves_nothing_logs_nobody_in() {
    const WRONG: &str = "signature is wrong";
    let rows = [
        (Signing::None, "no JWT", "no signature"),
        (Signing::HmacWithPublicKey, "not accepted", "the public key as a shared secret"),
        (Signing::ForeignKey, WRONG, "somebody else's key under the published name"),
        (Signing::ForeignRsaKey, WRONG, "somebody else's RSA key under the published name"),
        (Signing::ZeroSignature, WRONG, "all zero"),
        (Signing::OtherSignature, WRONG, "the right key over something else"),
    ];
    let scene = Scene::new().await;
    scene.log_in("alice").await.unwrap();
    for (signing, expected, reason) in rows {
        scene.fake.misbehave(|it| it.signing = signing);
        let result = scene.log_in("alice").await;
        assert_eq!(outcome(&result), Unacceptable, "{reason}");
        let said = said(result);
        assert!(said.contains(expected), "{reason}: {said}");
    }
    scene.fake.behave();
    assert_eq!(outcome(&scene.log_in("alice").await), LoggedIn, "and then all is well again");
}

/// Cases 17 and 19: what a token's header may and may not say.
#[tokio::test]
async fn a_header_leads_nobody_astray() {
    let scene = Scene::new().await;
    let canary = scene.fake.canary();
    let own_key = json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" });
    let rows = [
        ("kid", json!("../../dev/null"), Unacceptable, "a path"),
        ("kid", json!("' OR 1=1 --"), Unacceptable, "a query"),
        ("kid", json!("x".repeat(10_000)), Unacceptable, "10 kB"),
        ("kid", json!("x".repeat(70_000)), Unacceptable, "more than a token may have"),
        ("kid", json!(7), Unacceptable, "a number"),
        ("kid", json!("1-RSA"), Unacceptable, "a key of another kind"),
        ("kid", json!("1-enc"), Unacceptable, "a key for encryption"),
        ("kid", json!("1-future"), Unacceptable, "a key of an unknown kind"),
        ("alg", json!("RS256"), Unacceptable, "an algorithm that the key is not for"),
        ("alg", json!("ES384"), Unacceptable, "a curve that the key is not on"),
        ("alg", json!("none"), Unacceptable, "none, with a signature"),
        ("alg", json!("nOnE"), Unacceptable, "none, disguised"),
        ("alg", json!("HS256"), Unacceptable, "a shared secret, with a signature"),
        ("alg", Value::Null, Unacceptable, "no algorithm"),
        ("crit", json!(["exp"]), Unacceptable, "a critical extension"),
        ("crit", json!([]), Unacceptable, "no critical extension, said in a forbidden way"),
        ("crit", json!("b64"), Unacceptable, "critical, of the wrong type"),
        ("typ", json!("at+jwt"), Unacceptable, "an access token"),
        ("typ", json!("logout+jwt"), Unacceptable, "a logout token"),
        ("typ", Value::Null, LoggedIn, "the type may be left out"),
        ("typ", json!("jwt"), LoggedIn, "and is not case-sensitive"),
        // The published key signed, so the token is good: the hints are not looked at.
        ("jku", json!(canary), LoggedIn, "a key set elsewhere"),
        ("x5u", json!(canary), LoggedIn, "a certificate elsewhere"),
        ("jwk", own_key, LoggedIn, "a key it brings along"),
    ];
    for (name, value, expected, reason) in rows {
        scene.fake.behave();
        scene.fake.misbehave(|it| it.header(name, value));
        assert_eq!(outcome(&scene.log_in("alice").await), expected, "{name}: {reason}");
    }
    assert_eq!(scene.fake.requests(Endpoint::Canary), 0, "no hint is ever followed");
    assert!(scene.fake.requests(Endpoint::Keys) <= 2, "strange names cost one fetch together");
}

/// Case 19: a key of the attacker's, with the directions to it.
#[tokio::test]
async fn a_foreign_key_is_not_fetched_from_where_the_token_says() {
    let scene = Scene::new().await;
    let canary = scene.fake.canary();
    for hint in ["jku", "x5u"] {
        for kid in ["1-P-256", "mine"] {
            scene.fake.misbehave(|it| {
                it.signing = Signing::ForeignKey;
                it.header("kid", kid);
                it.header(hint, canary.as_str());
            });
            assert_eq!(outcome(&scene.log_in("alice").await), Unacceptable, "{hint} and {kid}");
        }
    }
    assert_eq!(scene.fake.requests(Endpoint::Canary), 0);
}

/// Case 18.
#[tokio::test]
async fn every_claim_must_be_right() {
    let scene = Scene::new().await;
    let now = scene.clock.now().unix_seconds();
    let issuer = scene.fake.issuer();
    let both = || json!([CLIENT_ID, "other"]);
    let rows = [
        ("iss", json!("https://other.example"), Unacceptable, "another issuer"),
        ("iss", json!(format!("{issuer}/")), Unacceptable, "a slash more"),
        ("iss", json!([issuer]), Unacceptable, "a list"),
        ("iss", Value::Null, Unacceptable, "none"),
        ("aud", json!("other"), Unacceptable, "for another client"),
        ("aud", json!(["other"]), Unacceptable, "for another client, as a list"),
        ("aud", json!([]), Unacceptable, "for nobody"),
        ("aud", json!(7), Unacceptable, "a number"),
        ("aud", Value::Null, Unacceptable, "none"),
        ("aud", json!([CLIENT_ID]), LoggedIn, "for us, as a list"),
        ("aud", both(), LoggedIn, "for several, and issued to us"),
        ("azp", json!("other"), Unacceptable, "issued to another client"),
        ("azp", json!(7), Unacceptable, "a number"),
        ("azp", Value::Null, LoggedIn, "not needed for a single audience"),
        ("nonce", json!("other"), Unacceptable, "another login's"),
        ("nonce", json!(""), Unacceptable, "empty"),
        ("nonce", json!(7), Unacceptable, "a number"),
        ("nonce", Value::Null, Unacceptable, "none"),
        ("exp", json!(now - 8), LoggedIn, "8 s ago: the clocks differ"),
        ("exp", json!(now - 30), LoggedIn, "30 s ago: the clocks differ"),
        ("exp", json!(now - 31), Unacceptable, "31 s ago"),
        ("exp", json!(now - 61), Unacceptable, "61 s ago"),
        ("exp", json!(0), Unacceptable, "1970"),
        ("exp", json!(-1), Unacceptable, "before 1970"),
        ("exp", json!((now + 300).to_string()), Unacceptable, "a string (CVE-2026-25537)"),
        ("exp", json!([now + 300]), Unacceptable, "a list"),
        ("exp", json!(true), Unacceptable, "true"),
        ("exp", json!(1e99), Unacceptable, "no moment in time"),
        ("exp", Value::Null, Unacceptable, "none"),
        (
            "exp",
            serde_json::from_str(&format!("{now}.5")).unwrap(),
            LoggedIn,
            "a fraction of a second (RFC 7519 §2)",
        ),
        ("iat", json!(now + 30), LoggedIn, "30 s ahead: the clocks differ"),
        ("iat", json!(now + 31), Unacceptable, "31 s ahead"),
        ("iat", json!(now + 600), Unacceptable, "10 min ahead"),
        ("iat", json!(now.to_string()), Unacceptable, "a string"),
        ("iat", Value::Null, Unacceptable, "none"),
        ("nbf", json!(now + 30), LoggedIn, "30 s ahead: the clocks differ"),
        ("nbf", json!(now + 61), Unacceptable, "not yet"),
        ("nbf", json!("0"), Unacceptable, "a string"),
        ("sub", json!(""), Unacceptable, "nobody"),
        ("sub", json!("x".repeat(255)), LoggedIn, "the longest"),
        ("sub", json!("x".repeat(256)), Unacceptable, "too long"),
        ("sub", json!("a\u{0}b"), Unacceptable, "a NUL"),
        ("sub", json!(7), Unacceptable, "a number"),
        ("sub", Value::Null, Unacceptable, "none"),
        ("name", json!({ "evil": true }), Unacceptable, "an object"),
    ];
    for (claim, value, expected, reason) in rows {
        scene.fake.behave();
        scene.fake.misbehave(|it| it.claim(claim, value));
        let result = scene.log_in("alice").await;
        assert_eq!(outcome(&result), expected, "{claim}: {reason}: {result:?}");
    }
}

#[tokio::test]
async fn several_audiences_need_an_authorized_party() {
    let rows = [
        (json!([CLIENT_ID, "other"]), Value::Null, Unacceptable, "no azp"),
        (json!([CLIENT_ID, "other"]), json!("other"), Unacceptable, "another's azp"),
        (json!([CLIENT_ID, "other"]), json!(CLIENT_ID), LoggedIn, "our azp"),
        (json!([CLIENT_ID, CLIENT_ID]), Value::Null, Unacceptable, "twice the same is several"),
        (json!(["other", "third"]), json!(CLIENT_ID), Unacceptable, "our azp, others' audience"),
    ];
    let scene = Scene::new().await;
    for (audience, party, expected, reason) in rows {
        scene.fake.misbehave(|it| {
            it.claim("aud", audience);
            it.claim("azp", party);
        });
        assert_eq!(outcome(&scene.log_in("alice").await), expected, "{reason}");
    }
}

/// Case 22.
#[tokio::test]
async fn only_a_plain_verified_address_counts() {
    let rows = [
        (json!("a@corp.example"), json!(true), Some("a@corp.example"), true, "plain"),
        (json!("a@corp.example"), json!(false), Some("a@corp.example"), false, "not verified"),
        (json!("a@corp.example"), Value::Null, Some("a@corp.example"), false, "nothing said"),
        (json!("a@corp.example"), json!("true"), Some("a@corp.example"), false, "a string"),
        (json!("a@corp.example"), json!(1), Some("a@corp.example"), false, "a number"),
        (json!("a@x@corp.example"), json!(true), None, false, "two at signs"),
        (json!("\"a@x\"@corp.example"), json!(true), None, false, "quoted"),
        (json!("<a@x>@corp.example"), json!(true), None, false, "brackets"),
        (json!("a@corp.example\n"), json!(true), None, false, "a newline"),
        (json!("a @corp.example"), json!(true), None, false, "a space"),
        (json!("@corp.example"), json!(true), None, false, "nobody"),
        (json!("a@"), json!(true), None, false, "nowhere"),
        (json!("corp.example"), json!(true), None, false, "no at sign"),
        (json!(format!("{}@x", "a".repeat(260))), json!(true), None, false, "too long"),
        (Value::Null, json!(true), None, false, "none at all"),
    ];
    let scene = Scene::new().await;
    for (email, verified, expected, is_verified, reason) in rows {
        scene.fake.misbehave(|it| {
            it.claim("email", email);
            it.claim("email_verified", verified);
        });
        let identity = scene.log_in("alice").await.unwrap().identity;
        assert_eq!(identity.email.as_deref(), expected, "{reason}");
        assert_eq!(identity.email_verified, is_verified, "{reason}");
    }
}

#[tokio::test]
async fn a_name_is_shown_short_and_in_one_line() {
    let rows = [
        (json!("Alice"), json!("alice"), Some("Alice".to_owned()), "the name"),
        (Value::Null, json!("alice"), Some("alice".to_owned()), "else the user name"),
        (Value::Null, Value::Null, None, "else none"),
        (json!(" \n "), json!("alice"), None, "nothing to show"),
        (json!("A\r\nB\u{7}"), Value::Null, Some("AB".to_owned()), "control characters"),
        (json!("あ".repeat(300)), Value::Null, Some("あ".repeat(128)), "endless"),
    ];
    let scene = Scene::new().await;
    for (name, username, expected, reason) in rows {
        scene.fake.misbehave(|it| {
            it.claim("name", name);
            it.claim("preferred_username", username);
        });
        assert_eq!(scene.log_in("alice").await.unwrap().identity.name, expected, "{reason}");
    }
}
