//! A provider that is down, slow, broken or somebody else (cases 21 and 114).

use std::sync::Arc;
use std::time::{Duration, Instant};

use sekisho::identity_provider::IdentityProvider as _;
use sekisho::identity_provider::oidc::{OidcProvider, PROVIDER_PATIENCE};
use serde_json::{Value, json};
use testkit::identity_provider::{Endpoint, Trouble};

use crate::oidc::{PUBLIC_URL, Scene};
use crate::{Outcome, attempt, chain, outcome, said};

use Outcome::{LoggedIn, Refused, Unacceptable, Unavailable};

/// Case 114: each trouble at each endpoint fails the login in time, as what it is, and is over
/// when the provider is well again.
#[tokio::test]
async fn every_trouble_fails_in_time_and_passes_by_itself() {
    const LITTLE_PATIENCE: Duration = Duration::from_millis(400);
    let rows = [
        (Trouble::Status(500), Unavailable, "broken"),
        (Trouble::Status(503), Unavailable, "overloaded"),
        (Trouble::Status(429), Unavailable, "too many of us"),
        (Trouble::Status(404), Unacceptable, "not there"),
        (Trouble::Status(204), Unacceptable, "nothing to say"),
        (Trouble::Silence, Unavailable, "silent"),
        (Trouble::Stalls, Unavailable, "stalls in the middle"),
        (Trouble::Junk, Unacceptable, "a page"),
        (Trouble::OtherJson, Unacceptable, "another document"),
        (Trouble::Huge, Unacceptable, "3 MiB"),
        (Trouble::Redirect, Unacceptable, "sends us elsewhere"),
    ];
    for endpoint in [Endpoint::Metadata, Endpoint::Token, Endpoint::Keys] {
        for (trouble, expected, reason) in rows {
            let mut scene = Scene::new().await;
            if matches!(trouble, Trouble::Silence | Trouble::Stalls) {
                scene.ours = scene.ours.with_patience(LITTLE_PATIENCE);
            }
            scene.fake.misbehave(|it| it.trouble(endpoint, trouble));
            let start = Instant::now();
            let result = scene.log_in("alice").await;
            assert_eq!(outcome(&result), expected, "{endpoint:?}: {reason}: {result:?}");
            assert!(start.elapsed() < Duration::from_secs(10), "{endpoint:?}: {reason}");
            assert_eq!(scene.fake.requests(Endpoint::Canary), 0, "{endpoint:?}: {reason}");

            scene.ours = scene.ours.with_patience(PROVIDER_PATIENCE);
            scene.fake.behave();
            scene.clock.advance(Duration::from_secs(2));
            let result = scene.log_in("alice").await;
            assert_eq!(outcome(&result), LoggedIn, "{endpoint:?}: {reason}: {result:?}");
        }
    }
}

#[tokio::test]
async fn we_start_while_the_provider_is_down_and_notice_when_it_comes() {
    let scene = Scene::new().await;
    scene.fake.misbehave(|it| it.trouble(Endpoint::Metadata, Trouble::Status(503)));
    let again = OidcProvider::new(scene.fake.settings(PUBLIC_URL), Arc::clone(&scene.clock) as _);
    let ours = again.unwrap();
    assert_eq!(outcome(&ours.check().await), Unavailable);
    scene.fake.behave();
    scene.clock.advance(Duration::from_secs(2));
    assert_eq!(outcome(&ours.check().await), LoggedIn);
}

#[tokio::test]
async fn a_provider_that_is_down_is_not_asked_once_for_every_login() {
    let scene = Scene::new().await;
    scene.fake.misbehave(|it| it.trouble(Endpoint::Metadata, Trouble::Status(503)));
    for _ in 0..50 {
        assert_eq!(outcome(&scene.ours.authorization_url(&attempt()).await), Unavailable);
    }
    assert_eq!(scene.fake.requests(Endpoint::Metadata), 1, "remembered for a moment");
    scene.clock.advance(Duration::from_secs(2));
    assert_eq!(outcome(&scene.ours.check().await), Unavailable);
    assert_eq!(scene.fake.requests(Endpoint::Metadata), 2);
}

#[tokio::test]
async fn an_outage_is_noticed_within_15_seconds() {
    let scene = Scene::new().await;
    for _ in 0..50 {
        assert_eq!(outcome(&scene.ours.check().await), LoggedIn);
    }
    assert_eq!(scene.fake.requests(Endpoint::Metadata), 1, "answered from memory");
    scene.fake.misbehave(|it| it.trouble(Endpoint::Metadata, Trouble::Status(503)));
    scene.clock.advance(Duration::from_secs(14));
    assert_eq!(outcome(&scene.ours.check().await), LoggedIn, "not yet");
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(outcome(&scene.ours.check().await), Unavailable);
}

#[tokio::test]
async fn a_hundred_logins_at_once_fetch_everything_once() {
    let scene = Scene::new().await;
    let urls = futures::future::join_all(
        (0..100).map(async |_| scene.ours.authorization_url(&attempt()).await),
    )
    .await;
    assert!(urls.iter().all(|url| outcome(url) == LoggedIn));
    assert_eq!(scene.fake.requests(Endpoint::Metadata), 1);
}

#[tokio::test]
async fn nobody_listening_and_no_tls_are_outages() {
    let mut scene = Scene::new().await;
    let (settings, issuer) = (scene.fake.settings(PUBLIC_URL), scene.fake.issuer().to_owned());
    scene.reset_with(|settings| settings.issuer = issuer.replace("http:", "https:"));
    assert_eq!(outcome(&scene.ours.check().await), Unavailable, "plain where TLS should be");
    let clock = Arc::clone(&scene.clock);
    drop(scene);
    let ours = OidcProvider::new(settings, clock).unwrap();
    let result = ours.authorization_url(&attempt()).await;
    assert_eq!(outcome(&result), Unavailable, "nobody listens");
    let said = chain(&result.unwrap_err());
    assert!(said.contains("the metadata document cannot be reached"), "{said}");
}

/// Case 21.
#[tokio::test]
async fn metadata_of_somebody_else_logs_nobody_in() {
    // ISSUER stands for the issuer of the provider that is asked.
    let rows = [
        ("issuer", json!("https://other.example"), "https://other.example", "another issuer"),
        ("issuer", json!("ISSUER/"), "exactly as the provider does", "a slash more"),
        ("issuer", json!("http://localhost/"), "exactly as", "the same host by another name"),
        ("issuer", json!(""), "exactly as", "an empty issuer"),
        ("issuer", Value::Null, "not an OpenID metadata document", "no issuer"),
        ("issuer", json!(7), "not an OpenID metadata document", "a number"),
        ("issuer", json!(["ISSUER"]), "not an OpenID metadata document", "a list"),
        ("token_endpoint", json!("http://login.example/x"), "token_endpoint", "off loopback"),
        ("token_endpoint", json!("https://evil.example/x"), "token_endpoint", "a foreign host"),
        ("token_endpoint", json!("http://u:p@127.0.0.1/x"), "token_endpoint", "credentials"),
        ("jwks_uri", json!("http://169.254.169.254/keys"), "jwks_uri", "the cloud's inside"),
        ("jwks_uri", json!("file:///etc/passwd"), "jwks_uri", "a file"),
        ("jwks_uri", Value::Null, "not an OpenID metadata document", "no keys"),
        ("authorization_endpoint", json!("javascript:alert(1)"), "endpoint", "a script"),
        (
            "authorization_endpoint",
            json!("http://127.0.0.1.evil.example/"),
            "endpoint",
            "no loopback",
        ),
        ("authorization_endpoint", json!("/authorize"), "endpoint", "relative"),
        ("id_token_signing_alg_values_supported", json!(["HS256", "none"]), "no algorithm", "weak"),
    ];
    for (member, value, expected, reason) in rows {
        let scene = Scene::new().await;
        let value = value.to_string().replace("ISSUER", scene.fake.issuer());
        let value: Value = serde_json::from_str(&value).unwrap();
        scene.fake.misbehave(|it| it.metadata(member, value));
        let ready = scene.ours.check().await;
        assert_eq!(outcome(&ready), Unacceptable, "{member}: {reason}");
        let said = chain(&ready.unwrap_err());
        assert!(said.contains(expected), "{member}: {reason}: {said}");
        assert_eq!(outcome(&scene.ours.authorization_url(&attempt()).await), Unacceptable);
        assert_eq!(
            scene.fake.requests_in_all(),
            scene.fake.requests(Endpoint::Metadata),
            "{member}: {reason}: nothing else was asked"
        );
    }
}

#[tokio::test]
async fn foreign_text_comes_quoted_and_short_into_the_log() {
    let scene = Scene::new().await;
    let issuer = format!("https://x\n2026 ERROR forged line {}", "y".repeat(10_000));
    scene.fake.misbehave(|it| it.metadata("issuer", issuer));
    let ready = scene.ours.check().await;
    let said = chain(&ready.unwrap_err());
    assert!(!said.contains('\n') && said.len() < 2_000, "{said}");
}

#[tokio::test]
async fn a_refusal_is_sorted_by_whose_fault_it_is() {
    let rows = [
        (400, "invalid_grant", Refused, "the code"),
        (400, "access_denied", Refused, "the person"),
        (401, "invalid_client", Unacceptable, "our credentials"),
        (400, "unauthorized_client", Unacceptable, "our registration"),
        (400, "invalid_request", Unacceptable, "our request"),
        (400, "nonsense", Unacceptable, "nobody knows"),
        (400, "temporarily_unavailable", Unavailable, "an outage"),
        (500, "server_error", Unavailable, "an outage"),
        (503, "invalid_grant", Unavailable, "the status counts first"),
        (200, "invalid_grant", Unacceptable, "an error that calls itself a success"),
    ];
    let scene = Scene::new().await;
    for (status, error, expected, reason) in rows {
        scene.fake.misbehave(|it| it.token_error = Some((status, error)));
        let result = scene.log_in("alice").await;
        assert_eq!(outcome(&result), expected, "{status} {error}: {reason}");
        assert!(!said(result).contains("nonsense"), "only known errors are named");
    }
}

#[tokio::test]
async fn a_success_must_be_complete() {
    let rows = [
        ("id_token", Value::Null, Unacceptable, "no ID token"),
        ("id_token", json!(""), Unacceptable, "an empty one"),
        ("id_token", json!("a.b"), Unacceptable, "two parts"),
        ("id_token", json!("a.b.c.d.e"), Unacceptable, "five parts: encrypted"),
        ("id_token", json!("e30.e30."), Unacceptable, "empty parts"),
        ("id_token", json!(["x"]), Unacceptable, "a list"),
        ("access_token", Value::Null, Unacceptable, "no access token"),
        ("access_token", json!(""), Unacceptable, "an empty one"),
        ("token_type", json!("mac"), Unacceptable, "a type we cannot use"),
        ("token_type", Value::Null, Unacceptable, "no type"),
        ("token_type", json!("bearer"), LoggedIn, "the type's case does not count"),
        ("expires_in", Value::Null, LoggedIn, "the life may be left out"),
        ("expires_in", json!(u64::MAX), LoggedIn, "an endless life"),
        ("expires_in", json!(-1), Unacceptable, "a negative life"),
        ("refresh_token", Value::Null, LoggedIn, "no refresh token"),
    ];
    let scene = Scene::new().await;
    for (member, value, expected, reason) in rows {
        scene.fake.behave();
        scene.fake.misbehave(|it| it.answer(member, value));
        assert_eq!(outcome(&scene.log_in("alice").await), expected, "{member}: {reason}");
    }
}
