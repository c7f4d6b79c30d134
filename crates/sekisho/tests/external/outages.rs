//! The other authorization server is down, slow or broken (case 56).

use std::sync::Arc;
use std::time::Duration;

use sekisho::resource_server::{KEYS_FRESH_FOR, KEYS_KEPT_FOR};
use testkit::identity_provider::{Endpoint, Trouble};

use crate::{By, PATIENCE, RESOURCE, Scene};

const TROUBLES: [(Trouble, &str); 10] = [
    (Trouble::Status(500), "broken"),
    (Trouble::Status(503), "overloaded"),
    (Trouble::Status(429), "too many of us"),
    (Trouble::Status(401), "does not know us"),
    (Trouble::Status(404), "not there"),
    (Trouble::Silence, "silent"),
    (Trouble::Stalls, "stalls in the middle"),
    (Trouble::Junk, "a page"),
    (Trouble::OtherJson, "another document"),
    (Trouble::Redirect, "sends us elsewhere"),
];

/// Never 200, and never 401, which would have clients throw their tokens away.
#[tokio::test]
async fn who_cannot_be_checked_is_told_to_come_back() {
    let places = [
        (By::Keys, Endpoint::Metadata),
        (By::Keys, Endpoint::Keys),
        (By::Introspection, Endpoint::Metadata),
        (By::Introspection, Endpoint::Introspect),
    ];
    for (by, endpoint) in places {
        for (trouble, reason) in TROUBLES {
            let is_slow = matches!(trouble, Trouble::Silence | Trouble::Stalls);
            let patience = if is_slow { Duration::from_millis(300) } else { PATIENCE };
            let scene = Scene::new(by, patience).await;
            scene.fake.misbehave(|it| it.trouble(endpoint, trouble));
            let token = match by {
                By::Keys => scene.good(),
                By::Introspection => scene.fake.opaque_token("alice", RESOURCE),
            };
            let answer = scene.call(&token).await;
            assert_eq!(answer.status, 503, "{endpoint:?}: {reason}: {}", answer.body);
            assert_eq!(answer.header("retry-after"), "5", "{endpoint:?}: {reason}");
            assert_eq!(answer.header("www-authenticate"), "", "{endpoint:?}: {reason}");
            assert_eq!(scene.fake.requests(Endpoint::Canary), 0, "{endpoint:?}: {reason}");
            if !is_slow {
                scene.fake.behave();
                scene.clock.advance(Duration::from_secs(2));
                assert_eq!(scene.call(&token).await.status, 200, "{endpoint:?}: {reason}: over");
            }
        }
    }
}

#[tokio::test]
async fn keys_are_kept_for_an_hour_while_the_issuer_is_down() {
    let scene = Scene::by_keys().await;
    scene.fake.misbehave(|it| it.claim("exp", 4_000_000_000_i64));
    let known = scene.good();
    assert_eq!(scene.call(&known).await.status, 200);
    scene.fake.misbehave(|it| {
        it.trouble(Endpoint::Keys, Trouble::Status(503));
        it.trouble(Endpoint::Metadata, Trouble::Status(503));
    });
    for passed in [KEYS_FRESH_FOR, KEYS_KEPT_FOR - KEYS_FRESH_FOR - Duration::from_secs(1)] {
        scene.clock.advance(passed);
        assert_eq!(scene.call(&known).await.status, 200, "a known token");
        assert_eq!(scene.call(&scene.good()).await.status, 200, "a new one of a known key");
        Arc::clone(&scene.issuer).check_keys().await.unwrap();
    }
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(scene.call(&known).await.status, 503, "kept too long");
    assert_eq!(scene.call(&scene.good()).await.status, 503);
    assert!(Arc::clone(&scene.issuer).check_keys().await.is_err());
    scene.fake.misbehave(|it| it.trouble.clear());
    scene.clock.advance(Duration::from_secs(2));
    assert_eq!(scene.call(&known).await.status, 200, "the issuer is back");
}

/// It may be of a key that is new: nobody can say that the token is wrong.
#[tokio::test]
async fn a_key_that_cannot_be_looked_for_makes_no_token_wrong() {
    let scene = Scene::by_keys().await;
    assert_eq!(scene.call(&scene.good()).await.status, 200);
    scene.fake.rotate_keys();
    scene.fake.misbehave(|it| it.trouble(Endpoint::Keys, Trouble::Status(500)));
    assert_eq!(scene.call(&scene.good()).await.status, 503);
}
