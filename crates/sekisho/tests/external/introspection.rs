//! Tokens that mean nothing by themselves: their issuer is asked (RFC 7662; case 56).

use std::time::Duration;

use sekisho::protocol::Secret;
use serde_json::{Value, json};
use testkit::identity_provider::{ACCESS_TOKEN_SECONDS, Endpoint, Faults, Trouble, subject_of};
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
    scene.clock.advance(REMEMBERED.saturating_sub(Duration::from_secs(1)));
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

/// The issuer is not ours to flood.
#[tokio::test]
async fn who_shows_too_many_wrong_tokens_has_no_more_of_them_asked_about() {
    let scene = Scene::by_introspection().await;
    let known = scene.fake.opaque_token("alice", RESOURCE);
    let from = |text: &str| text.parse().unwrap();
    assert_eq!(scene.call_from(from("192.0.2.1"), &known).await.status, 200);
    for number in 0..20 {
        let answer = scene.call_from(from("192.0.2.1"), &format!("made-up-{number}")).await;
        let expected = if number < 5 { 401 } else { 429 };
        assert_eq!(answer.status, expected, "number {number}");
    }
    // One is asked about before it is seen that there were too many.
    assert_eq!(scene.fake.requests(Endpoint::Introspect), 1 + 6);

    let unseen = scene.fake.opaque_token("bob", RESOURCE);
    assert_eq!(scene.call_from(from("192.0.2.1"), &unseen).await.status, 429);
    assert_eq!(scene.call_from(from("192.0.2.2"), &unseen).await.status, 200, "a neighbour");
    scene.clock.advance(REMEMBERED);
    assert_eq!(scene.call_from(from("192.0.2.1"), &known).await.status, 200, "was good before");
}

#[tokio::test]
async fn a_flood_of_made_up_tokens_takes_no_seat_of_those_that_were_good() {
    let scene = Scene::by_introspection().await;
    let known = scene.fake.opaque_token("alice", RESOURCE);
    assert_eq!(scene.call(&known).await.status, 200);
    scene.clock.advance(REMEMBERED);
    scene.fake.misbehave(|it| it.trouble(Endpoint::Introspect, Trouble::Silence));
    let app = scene.app.clone();
    let flood = (0..200).map(|number| {
        let app = app.clone();
        tokio::spawn(async move { call(&app, "/mcp", &format!("made-up-{number}")).await })
    });
    let flood: Vec<_> = flood.collect();
    while scene.fake.requests(Endpoint::Introspect) < 1 + 64 {
        tokio::task::yield_now().await;
    }
    scene.fake.misbehave(|it| it.trouble.clear());
    assert_eq!(scene.call(&known).await.status, 200, "while all other seats are taken");
    assert_eq!(scene.fake.requests(Endpoint::Introspect), 1 + 64 + 1);
    for one in flood {
        one.abort();
    }
}
