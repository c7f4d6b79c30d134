//! `POST /register`: A8, A14; group G of the attacks as far as dynamic registration goes.

use std::num::NonZeroU32;
use std::time::Duration;

use http::Request;
use sekisho::front::ClientAddress;
use serde_json::json;
use testkit::world::VERIFIER;
use testkit::{Answer, World};

#[tokio::test]
async fn what_was_stored_is_echoed() {
    let world = World::new().await;
    let answer = world
        .register(&json!({
            "client_name": "App", "redirect_uris": ["https://app.example/cb"],
            "grant_types": ["authorization_code", "refresh_token", "password"],
            "scope": "fortune unknown", "software_id": "ignored", "application_type": "web",
        }))
        .await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("cache-control"), "no-store");
    let document = answer.json();
    assert_eq!(document["client_name"], "App");
    assert_eq!(document["redirect_uris"], json!(["https://app.example/cb"]));
    assert_eq!(document["token_endpoint_auth_method"], "client_secret_basic");
    assert_eq!(document["grant_types"], json!(["authorization_code", "refresh_token"]));
    assert_eq!(document["scope"], "fortune");
    assert_eq!(document["client_secret_expires_at"], 0, "never, by default");
    assert!(document.get("software_id").is_none());
    assert!(document.get("registration_client_uri").is_none(), "not served, so not named");

    let public = world.public_client("http://127.0.0.1/cb").await;
    assert_eq!(public.secret, None);
    assert!(!public.id.starts_with("https://"), "a minted id is never a URL");
}

#[tokio::test]
async fn a_registration_without_scope_gets_the_servers() {
    let world = World::new().await;
    let answer = world.register(&json!({ "redirect_uris": ["https://app.example/cb"] })).await;
    assert_eq!(answer.json()["scope"], "fortune");
}

#[tokio::test]
async fn bad_metadata_is_refused_in_rfc_7591s_words() {
    let world = World::new().await;
    let rows = [
        (
            json!({ "redirect_uris": ["http://evil.example/cb"] }),
            "invalid_redirect_uri",
            "plain http",
        ),
        (json!({ "redirect_uris": ["javascript:alert(1)"] }), "invalid_redirect_uri", "script"),
        (
            json!({ "redirect_uris": ["https://a.example/cb#f"] }),
            "invalid_redirect_uri",
            "fragment",
        ),
        (json!({}), "invalid_redirect_uri", "none"),
        (
            json!({ "redirect_uris": ["https://a.example/cb"], "logo_uri": "javascript:x" }),
            "invalid_client_metadata",
            "logo",
        ),
        (json!("text"), "invalid_client_metadata", "not an object"),
    ];
    for (body, error, reason) in rows {
        let answer = world.register(&body).await;
        assert_eq!(answer.status, 400, "{reason}");
        assert_eq!(answer.error(), error, "{reason}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    for (headers, reason) in [
        (
            vec![("authorization", "Basic !!!")],
            "a malformed Authorization header is not our business",
        ),
        (vec![("authorization", "Bearer\u{9}x")], "nor is an odd one"),
    ] {
        let body = r#"{"redirect_uris":["https://a.example/cb"]}"#;
        assert_eq!(world.post("/register", &headers, body).await.status, 201, "{reason}");
    }
}

#[tokio::test]
async fn large_and_deep_bodies_are_refused() {
    let world = World::new().await;
    let large =
        json!({ "redirect_uris": ["https://a.example/cb"], "client_name": "n".repeat(65 * 1024) });
    assert_eq!(world.register(&large).await.status, 413, "65 kB");
    let huge = format!("{{\"client_name\":\"{}\"}}", "n".repeat(8 * 1024 * 1024));
    assert_eq!(world.post("/register", &[], &huge).await.status, 413, "8 MB");
    for path in ["/register", "/token"] {
        let late = futures::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("too slow"))]);
        let request = http::Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(axum::body::Body::from_stream(late))
            .unwrap();
        let answer = testkit::Answer::to(&world.app, request).await;
        assert_eq!((answer.status.as_u16(), answer.error()), (408, "invalid_request".to_owned()));
    }
    let deep = "[".repeat(8_000);
    assert_eq!(world.post("/register", &[], &deep).await.status, 400, "depth");
}

#[tokio::test]
async fn a_flood_from_one_address_is_slowed_and_others_are_not() {
    let mut builder = World::builder();
    builder.settings.registrations_per_minute = NonZeroU32::new(5).unwrap();
    let world = builder.build().await;
    let register = async |address: [u8; 4]| {
        let request = Request::post("/register")
            .extension(ClientAddress(address.into()))
            .body(axum::body::Body::from(r#"{"redirect_uris":["https://a.example/cb"]}"#))
            .unwrap();
        Answer::to(&world.app, request).await
    };
    for _ in 0..5 {
        assert_eq!(register([192, 0, 2, 1]).await.status, 201);
    }
    let refused = register([192, 0, 2, 1]).await;
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(register([192, 0, 2, 2]).await.status, 201, "somebody else");
}

#[tokio::test]
async fn a_secret_expires_only_if_the_operator_says_so() {
    let mut builder = World::builder();
    builder.settings.client_secret_ttl = Some(Duration::from_secs(3600));
    let world = builder.build().await;
    let client = world.confidential_client().await;
    let code = world.code(&client, "alice").await;
    world.clock.advance(Duration::from_secs(200));
    assert_eq!(world.redeem(&client, &code, VERIFIER).await.status, 200);
    world.clock.advance(Duration::from_secs(3400));
    let late = world.refresh(&client, "mcpr_x").await;
    assert_eq!((late.status.as_u16(), late.error().as_str()), (401, "invalid_client"));

    let world = World::new().await;
    let client = world.confidential_client().await;
    world.clock.advance(Duration::from_secs(10 * 365 * 24 * 3600));
    assert_eq!(world.refresh(&client, "mcpr_x").await.error(), "invalid_grant", "still believed");
}

/// Case 75, and A14's switch.
#[tokio::test]
async fn a_redirect_uri_that_the_operator_does_not_allow_is_left_out() {
    let mut builder = World::builder();
    builder.settings.redirects.refuses_private_use = true;
    builder.settings.redirects.hosts =
        sekisho_protocol::oauth::HostList::parse(&["app.example".into()]).unwrap();
    let world = builder.build().await;
    let uris = ["cursor://x/cb", "https://app.example/cb", "https://evil.example/cb"];
    let answer = world.register(&json!({ "redirect_uris": uris })).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.json()["redirect_uris"], json!([uris[1]]), "what was stored is echoed");
    let refused = world.register(&json!({ "redirect_uris": [uris[0], uris[2]] })).await;
    assert_eq!((refused.status.as_u16(), refused.error()), (400, "invalid_redirect_uri".into()));
}
