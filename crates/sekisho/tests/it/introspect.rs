//! `POST /introspect`: a client learns of its own tokens, and nobody of anybody else's.

use std::time::Duration;

use serde_json::json;
use testkit::World;
use testkit::world::{ISSUER, tokens};

const INACTIVE: &str = "{\"active\":false}";

#[tokio::test]
async fn a_client_learns_what_its_own_tokens_are_worth() {
    let world = World::new().await;
    let client = world.confidential_client().await;
    let first = world.tokens(&client, "alice").await;

    let access = world.post_as(&client, "/introspect", &[("token", &first.access)]).await;
    assert_eq!((access.status.as_u16(), access.header("cache-control")), (200, "no-store"));
    let exp = access.json()["exp"].as_i64().unwrap();
    let expected = json!({
        "active": true, "scope": "fortune", "client_id": client.id, "username": "alice",
        "token_type": "Bearer", "exp": exp, "sub": "sub-alice",
        "aud": format!("{ISSUER}/mcp"), "iss": ISSUER,
    });
    assert_eq!(access.json(), expected);

    let hinted = [("token", first.refresh.as_str()), ("token_type_hint", "access_token")];
    let refresh = world.post_as(&client, "/introspect", &hinted).await.json();
    assert_eq!((&refresh["active"], &refresh["sub"]), (&json!(true), &json!("sub-alice")));
    assert_eq!(refresh.get("token_type"), None, "a refresh token is no bearer token");
    assert!(refresh["exp"].as_i64().unwrap() > exp);

    let second = tokens(&world.refresh(&client, &first.refresh).await);
    let asked = world.post_as(&client, "/introspect", &[("token", &first.refresh)]).await;
    assert_eq!(asked.body, INACTIVE, "spent");
    world.clock.advance(Duration::from_hours(2));
    let asked = world.post_as(&client, "/introspect", &[("token", &second.access)]).await;
    assert_eq!(asked.body, INACTIVE, "expired");
    world.revoke(&client, &second.refresh).await;
    let asked = world.post_as(&client, "/introspect", &[("token", &second.refresh)]).await;
    assert_eq!(asked.body, INACTIVE, "revoked");
}

#[tokio::test]
async fn whoever_does_not_authenticate_learns_nothing() {
    let world = World::new().await;
    let client = world.confidential_client().await;
    let token = world.tokens(&client, "alice").await.access;
    let public = world.public_client("https://app.example/cb").await;
    let thief = testkit::RegisteredClient { secret: None, ..client.clone() };
    let guesser = testkit::RegisteredClient { secret: Some("guess".into()), ..client.clone() };
    let stranger = testkit::RegisteredClient { id: "nobody".into(), ..client.clone() };
    for (asker, reason) in [
        (&public, "a public client may not probe"),
        (&thief, "no secret"),
        (&guesser, "a wrong secret"),
        (&stranger, "an unknown client"),
    ] {
        let refused = world.post_as(asker, "/introspect", &[("token", &token)]).await;
        let answer = (refused.status.as_u16(), refused.error());
        assert_eq!(answer, (401, "invalid_client".to_owned()), "{reason}");
    }
    let nobody = [("content-type", "application/x-www-form-urlencoded")];
    let refused = world.post("/introspect", &nobody, &format!("token={token}")).await;
    assert_eq!(refused.status, 401, "no client at all");
    let nothing = world.post_as(&client, "/introspect", &[]).await;
    assert_eq!((nothing.status.as_u16(), nothing.error().as_str()), (400, "invalid_request"));
}

#[tokio::test]
async fn a_token_of_somebody_else_is_as_inactive_as_none() {
    let world = World::new().await;
    let owner = world.public_client("https://app.example/cb").await;
    let theirs = world.tokens(&owner, "alice").await;
    let asker = world.confidential_client().await;
    for token in [theirs.access.as_str(), &theirs.refresh, "mcp_unknown", ""] {
        let answer = world.post_as(&asker, "/introspect", &[("token", token)]).await;
        if token.is_empty() {
            assert_eq!(answer.status, 400, "an empty parameter is none (RFC 6749 §3.2)");
        } else {
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, INACTIVE), "{token}");
        }
    }
    assert_eq!(world.call("/mcp", &theirs.access).await.status, 200, "asking changes nothing");
}
