//! The issuer's keys: found, changed, withdrawn, and asked for by floods of made-up names.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use sekisho::protocol::Secret;
use sekisho::resource_server::KEYS_FRESH_FOR;
use testkit::identity_provider::{Endpoint, Trouble};
use testkit::world::call;

use crate::Scene;

#[tokio::test]
async fn a_known_token_costs_no_question_and_no_wait() {
    let scene = Scene::by_keys().await;
    let token = Secret::new(scene.good());
    assert!(scene.fortune.verify_from_memory(&token).is_none(), "nobody has seen it");
    assert_eq!(scene.call(token.reveal()).await.status, 200);
    let asked = scene.fake.requests_in_all();
    assert!(scene.fortune.verify_from_memory(&token).is_some(), "verified once");
    for _ in 0..10 {
        assert_eq!(scene.call(token.reveal()).await.status, 200);
        assert_eq!(scene.call(&scene.good()).await.status, 200, "another token, the same keys");
    }
    assert_eq!(scene.fake.requests_in_all(), asked);
}

#[tokio::test]
async fn a_hundred_who_come_at_once_cost_one_fetch() {
    let scene = Scene::by_keys().await;
    let tokens: Vec<_> = (0..100).map(|_| scene.good()).collect();
    let answers = join_all(tokens.iter().map(|token| scene.call(token))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(scene.fake.requests(Endpoint::Keys), 1);
}

#[tokio::test]
async fn new_keys_are_found_at_once_and_by_one_fetch() {
    let scene = Scene::by_keys().await;
    let old = scene.good();
    assert_eq!(scene.call(&old).await.status, 200);
    scene.fake.rotate_keys();
    let tokens: Vec<_> = (0..50).map(|_| scene.good()).collect();
    let answers = join_all(tokens.iter().map(|token| scene.call(token))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(scene.fake.requests(Endpoint::Keys), 2);
    assert_eq!(scene.call(&old).await.status, 401, "its key is published no longer");
}

/// A key that the issuer took back, because it was stolen: nobody shows a token of a new one.
#[tokio::test]
async fn a_withdrawn_key_opens_nothing_once_keys_are_fetched_anew() {
    let scene = Scene::by_keys().await;
    scene.fake.misbehave(|it| it.claim("exp", 4_000_000_000_i64));
    let token = scene.good();
    assert_eq!(scene.call(&token).await.status, 200);
    scene.fake.rotate_keys();
    assert_eq!(scene.call(&token).await.status, 200, "nobody knows yet");
    scene.clock.advance(KEYS_FRESH_FOR);
    // This call does not wait for the new keys; the fetch goes on beside it.
    scene.call(&token).await;
    while scene.fake.requests(Endpoint::Keys) < 2 {
        tokio::task::yield_now().await;
    }
    let mut status = http::StatusCode::OK;
    for _ in 0..10_000 {
        status = scene.call(&token).await.status;
        if status == 401 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(status, 401);
}

/// Nobody called, so nobody has had the keys fetched: the first who does waits for them.
#[tokio::test]
async fn a_withdrawn_key_opens_nothing_on_a_server_that_was_idle() {
    let scene = Scene::by_keys().await;
    scene.fake.misbehave(|it| it.claim("exp", 4_000_000_000_i64));
    let token = scene.good();
    assert_eq!(scene.call(&token).await.status, 200);
    scene.fake.rotate_keys();
    scene.clock.advance(2 * KEYS_FRESH_FOR);
    assert_eq!(scene.call(&token).await.status, 401);
}

#[tokio::test]
async fn a_fetch_goes_on_when_its_caller_hangs_up() {
    let scene = Scene::by_keys().await;
    scene.fake.misbehave(|it| it.trouble(Endpoint::Keys, Trouble::Silence));
    for _ in 0..3 {
        let (app, token) = (scene.app.clone(), scene.good());
        let caller = tokio::spawn(async move { call(&app, "/mcp", &token).await });
        while scene.fake.requests(Endpoint::Keys) < 1 {
            tokio::task::yield_now().await;
        }
        // Time enough to ask again, for a caller that would.
        tokio::time::sleep(Duration::from_millis(50)).await;
        caller.abort();
        assert!(caller.await.is_err());
    }
    assert_eq!(scene.fake.requests(Endpoint::Keys), 1);
}

#[tokio::test]
async fn a_flood_of_made_up_keys_costs_one_fetch_and_slows_nobody() {
    let scene = Scene::by_keys().await;
    let good = scene.good();
    assert_eq!(scene.call(&good).await.status, 200);
    let fetched = scene.fake.requests(Endpoint::Keys);
    scene.fake.misbehave(|it| it.made_up_kid = true);
    let flood: Vec<_> = (0..100).map(|_| scene.good()).collect();
    let answers = join_all(flood.iter().map(|token| scene.call(token))).await;
    assert!(answers.iter().all(|answer| answer.status == 401));
    assert_eq!(scene.fake.requests(Endpoint::Keys), fetched + 1);
    assert!(scene.fortune.verify_from_memory(&Secret::new(good)).is_some(), "without a wait");
    scene.fake.behave();
    assert_eq!(scene.call(&scene.good()).await.status, 200, "a new token of a known key");

    scene.clock.advance(Duration::from_secs(30));
    scene.fake.misbehave(|it| it.made_up_kid = true);
    assert_eq!(scene.call(&scene.good()).await.status, 401);
    assert_eq!(scene.fake.requests(Endpoint::Keys), fetched + 2, "once the cool-down is over");
}

#[tokio::test]
async fn metadata_of_another_issuer_is_never_believed() {
    for (name, value) in [
        ("issuer", "https://evil.example"),
        ("issuer", ""),
        ("jwks_uri", "https://evil.example/keys"),
        ("jwks_uri", "http://192.0.2.1/keys"),
        ("jwks_uri", "file:///etc/passwd"),
    ] {
        let scene = Scene::by_keys().await;
        scene.fake.misbehave(|it| it.metadata(name, value));
        let answer = scene.call(&scene.good()).await;
        assert_eq!(answer.status, 503, "{name} = {value}");
        assert_eq!(scene.fake.requests(Endpoint::Keys), 0, "{name} = {value}");
        assert!(Arc::clone(&scene.issuer).check_keys().await.is_err(), "{name} = {value}");
    }
}
