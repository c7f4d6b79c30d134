//! The whole story in one test: read this first.

use std::time::Duration;

use serde_json::json;
use testkit::world::{ISSUER, VERIFIER, authorize_url, tokens};
use testkit::{Browser, World};

#[tokio::test]
async fn a_client_registers_a_person_logs_in_and_the_tool_answers() {
    let world = World::new().await;

    // The client knocks, and is told where to learn more.
    let knocked = world.post("/mcp", &[], "").await;
    assert_eq!(knocked.status, 401);
    let challenge = knocked.header("www-authenticate").to_owned();
    let metadata_url = challenge.split('"').nth(1).unwrap();
    assert_eq!(metadata_url, format!("{ISSUER}/.well-known/oauth-protected-resource/mcp"));

    // It introduces itself.
    let metadata =
        json!({ "redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none" });
    let registered = world.register(&metadata).await;
    assert_eq!(registered.status, 201);
    let client = testkit::RegisteredClient {
        id: registered.json()["client_id"].as_str().unwrap().into(),
        secret: None,
        redirect_uri: "http://127.0.0.1:49152/cb".into(),
    };

    // It opens the person's browser. The person reads who asks, and says yes.
    let mut alice = Browser::default();
    let page = alice.open(&world.app, &authorize_url(&client, &[])).await;
    assert!(page.is_page(200));
    assert!(page.body.contains("127.0.0.1:49152"), "the page shows where the answer goes");
    assert_eq!(world.provider.authorizations(), 0, "nobody was bothered yet");
    let to_provider = alice.decide(&world.app, &page, "approve").await;
    assert_eq!(to_provider.status, 303);

    // The identity provider logs her in and sends her back; she is passed on with our code.
    let callback = world.provider.log_in("alice", to_provider.location().unwrap());
    let back = alice.open(&world.app, &callback).await;
    assert_eq!(back.status, 303);
    assert!(back.location().unwrap().starts_with("http://127.0.0.1:49152/cb?"));
    assert_eq!(back.parameter("state").as_deref(), Some("client-state"));
    assert_eq!(back.parameter("iss").as_deref(), Some(ISSUER));

    // The client trades the code and is let in, as alice.
    let answer = world.redeem(&client, &back.parameter("code").unwrap(), VERIFIER).await;
    assert_eq!(answer.json()["expires_in"], 3600);
    assert_eq!(answer.json()["scope"], "fortune");
    let tokens = tokens(&answer);
    let called = world.call("/mcp", &tokens.access).await;
    assert_eq!(called.json()["subject"], "sub-alice");
    assert_eq!(called.json()["authorization_seen"], false, "the token goes no further");

    // An hour later the token is over; the refresh token brings another.
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(world.call("/mcp", &tokens.access).await.status, 401);
    let renewed = testkit::world::tokens(&world.refresh(&client, &tokens.refresh).await);
    assert_eq!(world.call("/sse", &renewed.access).await.status, 200, "one resource, two names");

    // The person's application signs out, and that is that.
    assert_eq!(world.revoke(&client, &renewed.refresh).await.status, 200);
    assert_eq!(world.call("/mcp", &renewed.access).await.status, 401);
}
