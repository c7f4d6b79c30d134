//! What an access token of another authorization server must be (case 55, and 53 and 54 there).

use sekisho::protocol::Secret;
use serde_json::{Value, json};
use testkit::identity_provider::{ACCESS_TOKEN_SECONDS, CLIENT_ID, Faults, Signing, subject_of};
use testkit::world::call;

use crate::{RESOURCE, Scene};

/// How one row makes a token different.
type Change = fn(&mut Faults, i64);

fn set(faults: &mut Faults, name: &str, value: Value) {
    faults.claims.insert(name.into(), value);
}

#[tokio::test]
async fn a_token_of_the_issuer_for_this_resource_opens_it_and_says_who_calls() {
    let scene = Scene::by_keys().await;
    let answer = scene.call(&scene.good()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let seen = answer.json();
    assert_eq!(seen["issuer"], scene.fake.issuer());
    assert_eq!(seen["subject"], subject_of("alice"));
    assert_eq!(seen["name"], "alice");
    assert_eq!(seen["email"], "alice@example.com");
    assert_eq!(seen["client"], CLIENT_ID);
    assert_eq!(seen["scope"], "openid fortune email");
}

/// The accepted half of the matrix: the ways in which good servers differ.
#[tokio::test]
async fn good_tokens_may_be_spelled_in_these_ways() {
    let rows: &[(&str, Change)] = &[
        ("signed with RSA", |it, _| it.signing = Signing::Rs256),
        ("signed with RSA-PSS", |it, _| it.signing = Signing::Ps256),
        ("signed with Ed25519", |it, _| it.signing = Signing::EdDsa),
        ("of RFC 9068", |it, _| {
            it.header("typ", "at+jwt");
            set(it, "typ", Value::Null);
        }),
        ("of RFC 9068, spelled out, with a nonce", |it, _| {
            it.header("typ", "application/at+jwt");
            set(it, "typ", Value::Null);
            set(it, "nonce", json!("n"));
        }),
        ("no type at all, but scopes", |it, _| {
            it.header("typ", Value::Null);
            set(it, "typ", Value::Null);
        }),
        ("the audience as a text", |it, _| set(it, "aud", json!(RESOURCE))),
        ("the name of HTTP+SSE", |it, _| set(it, "aud", json!("http://localhost:8000/sse"))),
        ("the origin", |it, _| set(it, "aud", json!(["http://localhost:8000"]))),
        ("the origin with a slash", |it, _| set(it, "aud", json!("http://localhost:8000/"))),
        ("scopes as a list in scp", |it, _| {
            set(it, "scope", Value::Null);
            set(it, "scp", json!(["fortune", "more"]));
        }),
        ("scopes as a text in scp", |it, _| {
            set(it, "scope", Value::Null);
            set(it, "scp", json!("more fortune"));
        }),
        ("client_id instead of azp", |it, _| {
            set(it, "azp", Value::Null);
            set(it, "client_id", json!("app"));
        }),
        ("no iat, no session, no name", |it, _| {
            for claim in ["iat", "sid", "preferred_username", "email", "email_verified"] {
                set(it, claim, Value::Null);
            }
        }),
        ("a clock a little ahead of ours", |it, now| {
            set(it, "iat", json!(now + 30));
            set(it, "nbf", json!(now + 30));
        }),
        ("a fraction of a second", |it, now| set(it, "exp", json!((now + 10) as f64 + 0.5))),
    ];
    for (reason, change) in rows {
        let scene = Scene::by_keys().await;
        let now = sekisho::clock::Clock::now(&*scene.clock).unix_seconds();
        scene.fake.misbehave(|it| change(it, now));
        let answer = scene.call(&scene.good()).await;
        assert_eq!(answer.status, 200, "{reason}: {}", answer.body);
    }
}

/// Case 55: each is 401 `invalid_token`, and points to where good tokens are given.
#[tokio::test]
async fn whatever_is_wrong_with_a_token_it_opens_nothing() {
    let rows: &[(&str, Change)] = &[
        ("alg none", |it, _| it.signing = Signing::None),
        ("HS256 with the public key", |it, _| it.signing = Signing::HmacWithPublicKey),
        ("a key that is not published", |it, _| it.signing = Signing::ForeignKey),
        ("an RSA key that is not published", |it, _| it.signing = Signing::ForeignRsaKey),
        ("a signature of zeros", |it, _| it.signing = Signing::ZeroSignature),
        ("the signature of something else", |it, _| it.signing = Signing::OtherSignature),
        ("another algorithm than its key's", |it, _| it.header("alg", "ES384")),
        ("a key of another kind by name", |it, _| it.header("alg", "RS256")),
        ("an extension that must be understood", |it, _| {
            it.header("crit", json!(["exp"]));
        }),
        ("its own key in its header, under no name that is published", |it, _| {
            it.signing = Signing::ForeignKey;
            it.header("kid", "mine");
            it.header("jku", "https://evil.example/keys");
        }),
        ("a logout token by its type", |it, _| it.header("typ", "logout+jwt")),
        ("a proof of possession by its type", |it, _| it.header("typ", "dpop+jwt")),
        ("an ID token by Keycloak's word", |it, _| set(it, "typ", json!("ID"))),
        ("a refresh token by Keycloak's word", |it, _| set(it, "typ", json!("Refresh"))),
        ("a logout token by Keycloak's word", |it, _| set(it, "typ", json!("Logout"))),
        ("an ID token by its word, of the right type", |it, _| {
            it.header("typ", "at+jwt");
            set(it, "typ", json!("ID"));
        }),
        ("neither type nor scopes: it may be an ID token", |it, _| {
            set(it, "typ", Value::Null);
            set(it, "scope", Value::Null);
        }),
        ("a nonce and no type: an ID token with a scope", |it, _| {
            set(it, "typ", Value::Null);
            set(it, "nonce", json!("n"));
        }),
        ("a hash of another token: an ID token", |it, _| set(it, "at_hash", json!("x"))),
        ("a hash of a code: an ID token", |it, _| set(it, "c_hash", json!("x"))),
        ("events: a logout token", |it, _| set(it, "events", json!({}))),
        ("bound to a key (DPoP, mTLS)", |it, _| set(it, "cnf", json!({ "jkt": "x" }))),
        ("no audience", |it, _| set(it, "aud", Value::Null)),
        ("no audience in the list", |it, _| set(it, "aud", json!([]))),
        ("another audience", |it, _| set(it, "aud", json!("account"))),
        ("other audiences", |it, _| set(it, "aud", json!(["account", CLIENT_ID]))),
        ("a resource below ours", |it, _| set(it, "aud", json!(format!("{RESOURCE}/x")))),
        ("the server beside ours", |it, _| {
            set(it, "aud", json!("http://localhost:8000/other/mcp"));
        }),
        ("an audience that is a number", |it, _| set(it, "aud", json!(1))),
        ("an audience that is an object", |it, _| set(it, "aud", json!({ RESOURCE: true }))),
        ("no issuer", |it, _| set(it, "iss", Value::Null)),
        ("another issuer", |it, _| set(it, "iss", json!("https://evil.example"))),
        ("no end", |it, _| set(it, "exp", Value::Null)),
        ("an end that is a text", |it, now| set(it, "exp", json!((now + 60).to_string()))),
        ("an end without an end", |it, _| set(it, "exp", json!(1e300))),
        ("at its end", |it, now| set(it, "exp", json!(now))),
        ("long over", |it, now| set(it, "exp", json!(now - 3600))),
        ("not yet", |it, now| set(it, "nbf", json!(now + 31))),
        ("issued in the future", |it, now| set(it, "iat", json!(now + 31))),
        ("nobody", |it, _| set(it, "sub", Value::Null)),
        ("an empty subject", |it, _| set(it, "sub", json!(""))),
        ("a subject of 300 letters", |it, _| set(it, "sub", json!("x".repeat(300)))),
        ("no client", |it, _| set(it, "azp", Value::Null)),
        ("scopes that are none", |it, _| set(it, "scope", json!("fortune \"quoted\""))),
    ];
    for (reason, change) in rows {
        let scene = Scene::by_keys().await;
        let now = sekisho::clock::Clock::now(&*scene.clock).unix_seconds();
        scene.fake.misbehave(|it| change(it, now));
        let answer = scene.call(&scene.good()).await;
        assert_eq!(answer.status, 401, "{reason}: {}", answer.body);
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("error=\"invalid_token\""), "{reason}: {challenge}");
        assert!(challenge.contains("/.well-known/oauth-protected-resource/mcp"), "{challenge}");
    }
    let scene = Scene::by_keys().await;
    let with_a_slash = format!("{}/", scene.fake.issuer());
    scene.fake.misbehave(|it| set(it, "iss", json!(with_a_slash)));
    assert_eq!(scene.call(&scene.good()).await.status, 401, "the issuer in another spelling");
}

#[tokio::test]
async fn an_id_token_is_no_access_token_even_if_it_is_for_us() {
    let scene = Scene::by_keys().await;
    assert_eq!(scene.call(&scene.fake.id_token("alice")).await.status, 401, "as it is");
    scene.fake.misbehave(|it| {
        set(it, "aud", json!(RESOURCE));
        set(it, "scope", json!("fortune"));
    });
    assert_eq!(scene.call(&scene.fake.id_token("alice")).await.status, 401, "for us");
    assert_eq!(scene.call(&scene.fake.logout_token("alice")).await.status, 401, "a logout token");
}

/// Cases 53 and 54 where the tokens are another server's.
#[tokio::test]
async fn a_token_for_one_server_opens_no_other() {
    let scene = Scene::by_keys().await;
    let token = scene.good();
    assert_eq!(scene.call(&token).await.status, 200);
    let answer = call(&scene.app, "/other/mcp", &token).await;
    assert_eq!(answer.status, 401);
    let challenge = answer.header("www-authenticate");
    assert!(challenge.contains("/.well-known/oauth-protected-resource/other/mcp"), "{challenge}");
    // Remembered or not: it was verified here a moment ago.
    assert_eq!(call(&scene.app, "/other/mcp", &token).await.status, 401);
    let account = scene.fake.access_token("alice", "account");
    assert_eq!(scene.call(&account).await.status, 401, "a token for the provider itself");
}

#[tokio::test]
async fn a_token_without_the_scope_is_told_which() {
    let scene = Scene::by_keys().await;
    scene.fake.misbehave(|it| set(it, "scope", json!("openid profile")));
    let answer = scene.call(&scene.good()).await;
    assert_eq!(answer.status, 403);
    let challenge = answer.header("www-authenticate");
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    assert!(challenge.contains("fortune"), "{challenge}");
}

/// A session is bound to person, client and grant: refreshing changes none of them.
#[tokio::test]
async fn a_newer_token_of_the_same_session_speaks_for_the_same_grant() {
    let scene = Scene::by_keys().await;
    let grant = async |token: String| scene.call(&token).await.json()["grant"].clone();
    let first = grant(scene.good()).await;
    assert_eq!(first, grant(scene.good()).await, "refreshed");
    assert_ne!(first, grant(scene.fake.access_token("bob", RESOURCE)).await, "somebody else");
    scene.fake.misbehave(|it| set(it, "sid", json!("another")));
    let second = grant(scene.good()).await;
    assert_ne!(first, second, "logged in anew");
    scene.fake.misbehave(|it| set(it, "azp", json!("another client")));
    assert_ne!(second, grant(scene.good()).await, "by another client");
    scene.fake.misbehave(|it| set(it, "sid", Value::Null));
    let nameless = grant(scene.good()).await;
    assert_eq!(nameless, grant(scene.good()).await, "where sessions have no names");
}

#[tokio::test]
async fn a_token_and_its_streams_end_when_it_says() {
    let scene = Scene::by_keys().await;
    let token = scene.good();
    let principal = scene.fortune.verify(&Secret::new(token.as_str())).await.unwrap();
    assert!(scene.fortune.is_live(&principal).await);
    scene.clock.advance(std::time::Duration::from_secs(ACCESS_TOKEN_SECONDS.unsigned_abs()));
    assert_eq!(scene.call(&token).await.status, 401);
    assert!(!scene.fortune.is_live(&principal).await);
}
