//! Tokens that mean nothing by themselves: their issuer is asked (RFC 7662; case 56).

use std::time::Duration;

use sekisho::protocol::Secret;
use serde_json::{Value, json};
use testkit::identity_provider::{ACCESS_TOKEN_SECONDS, Endpoint, Faults, subject_of};
use testkit::world::call;

use crate::{REMEMBERED, RESOURCE, Scene};

fn set(faults: &mut Faults, name: &str, value: Value) {
    faults.claims.insert(name.into(), value);
}

#[tokio::test]
async fn an_active_token_for_this_resource_opens_it_and_is_asked_about_once() {
    let scene = Scene::by_introspection().await;
    let token = scene.fake.opaque_token("alice", RESOURCE);
    let answer = scene.call(&token).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["subject"], subject_of("alice"));
    for _ in 0..10 {
        assert_eq!(scene.call(&token).await.status, 200);
    }
    assert_eq!(scene.fake.requests(Endpoint::Introspect), 1);
    assert!(scene.fortune.verify_from_memory(&Secret::new(token.as_str())).is_some());
    assert_eq!(call(&scene.app, "/other/mcp", &token).await.status, 401, "it is for one server");
}

#[tokio::test]
async fn an_opinion_counts_only_if_it_is_for_us() {
    let rows: &[(&str, fn(&mut Faults, i64))] = &[
        ("another issuer", |it, _| set(it, "iss", json!("https://evil.example"))),
        ("another audience", |it, _| set(it, "aud", json!("account"))),
        ("no audience", |it, _| set(it, "aud", Value::Null)),
        ("over", |it, now| set(it, "exp", json!(now - 1))),
        ("no end", |it, _| set(it, "exp", Value::Null)),
        ("not yet", |it, now| set(it, "nbf", json!(now + 60))),
        ("an ID token", |it, _| set(it, "typ", json!("ID"))),
        ("a refresh token", |it, _| set(it, "typ", json!("Refresh"))),
        ("a token bound to a key by its type", |it, _| set(it, "token_type", json!("DPoP"))),
        ("a token bound to a key", |it, _| set(it, "cnf", json!({ "jkt": "x" }))),
        ("nobody", |it, _| set(it, "sub", Value::Null)),
        ("no client", |it, _| set(it, "azp", Value::Null)),
    ];
    for (reason, change) in rows {
        let scene = Scene::by_introspection().await;
        let now = sekisho::clock::Clock::now(&*scene.clock).unix_seconds();
        scene.fake.misbehave(|it| change(it, now));
        let token = scene.fake.opaque_token("alice", RESOURCE);
        let answer = scene.call(&token).await;
        assert_eq!(answer.status, 401, "{reason}: {}", answer.body);
        assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""), "{reason}");
    }
    let scene = Scene::by_introspection().await;
    scene.fake.misbehave(|it| set(it, "iss", Value::Null));
    let token = scene.fake.opaque_token("alice", RESOURCE);
    assert_eq!(scene.call(&token).await.status, 200, "an issuer need not name itself");
    scene.fake.misbehave(|it| set(it, "scope", json!("openid")));
    let token = scene.fake.opaque_token("alice", RESOURCE);
    assert_eq!(scene.call(&token).await.status, 403, "no scope");
}

#[tokio::test]
async fn what_is_taken_back_is_refused_when_the_opinion_is_old() {
    let scene = Scene::by_introspection().await;
    let token = scene.fake.opaque_token("alice", RESOURCE);
    let secret = Secret::new(token.as_str());
    let principal = scene.fortune.verify(&secret).await.unwrap();
    scene.fake.revoke_opaque_tokens();
    scene.clock.advance(REMEMBERED - Duration::from_secs(1));
    assert_eq!(scene.call(&token).await.status, 200, "remembered");
    assert!(scene.fortune.is_live(&principal).await);
    scene.clock.advance(Duration::from_secs(1));
    assert!(scene.fortune.verify_from_memory(&secret).is_none());
    assert_eq!(scene.call(&token).await.status, 401);
    assert!(!scene.fortune.is_live(&principal).await, "nor does its stream go on");
}

#[tokio::test]
async fn an_opinion_is_never_remembered_beyond_the_tokens_end() {
    let scene = Scene::by_introspection().await;
    let token = scene.fake.opaque_token("alice", RESOURCE);
    scene.clock.advance(Duration::from_secs(ACCESS_TOKEN_SECONDS.unsigned_abs() - 5));
    assert_eq!(scene.call(&token).await.status, 200);
    scene.clock.advance(Duration::from_secs(5));
    assert!(scene.fortune.verify_from_memory(&Secret::new(token.as_str())).is_none());
    assert_eq!(scene.call(&token).await.status, 401);
}

#[tokio::test]
async fn a_wrong_token_shown_again_is_asked_about_once_in_a_while() {
    let scene = Scene::by_introspection().await;
    for _ in 0..10 {
        assert_eq!(scene.call("made-up").await.status, 401);
    }
    assert_eq!(scene.fake.requests(Endpoint::Introspect), 1);
    scene.clock.advance(REMEMBERED);
    assert_eq!(scene.call("made-up").await.status, 401);
    assert_eq!(scene.fake.requests(Endpoint::Introspect), 2);
}
