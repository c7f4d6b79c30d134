//! `POST /revoke`: group F of the attacks.

use testkit::World;

#[tokio::test]
async fn an_access_token_ends_alone_and_at_once() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let tokens = world.tokens(&client, "alice").await;
    assert_eq!(world.call("/mcp", &tokens.access).await.status, 200);
    assert_eq!(world.revoke(&client, &tokens.access).await.status, 200);
    assert_eq!(world.call("/mcp", &tokens.access).await.status, 401);
    assert_eq!(world.refresh(&client, &tokens.refresh).await.status, 200, "the grant lives on");
}

#[tokio::test]
async fn a_refresh_token_takes_its_family_with_it() {
    let world = World::new().await;
    let client = world.confidential_client().await;
    let tokens = world.tokens(&client, "alice").await;
    let others = world.tokens(&client, "bob").await;
    assert_eq!(world.revoke(&client, &tokens.refresh).await.status, 200);
    assert_eq!(world.call("/mcp", &tokens.access).await.status, 401);
    assert_eq!(world.refresh(&client, &tokens.refresh).await.error(), "invalid_grant");
    assert_eq!(world.call("/mcp", &others.access).await.status, 200, "another grant of the client");
}

#[tokio::test]
async fn what_is_not_ones_own_is_answered_alike_and_stays() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let mallory = world.public_client("https://evil.example/cb").await;
    let tokens = world.tokens(&client, "alice").await;
    let own = world.revoke(&mallory, "mcp_unknown").await;
    for token in [&tokens.access, &tokens.refresh] {
        let answer = world.revoke(&mallory, token).await;
        assert_eq!((answer.status, &answer.body), (own.status, &own.body));
    }
    assert_eq!(own.status, 200);
    assert_eq!(world.call("/mcp", &tokens.access).await.status, 200);
    let hinted = [("token", tokens.access.as_str()), ("token_type_hint", "refresh_token")];
    assert_eq!(world.post_as(&client, "/revoke", &hinted).await.status, 200);
    assert_eq!(
        world.call("/mcp", &tokens.access).await.status,
        401,
        "a wrong hint misleads nobody"
    );
}

#[tokio::test]
async fn a_revocation_is_authenticated_and_complete() {
    let world = World::new().await;
    let client = world.confidential_client().await;
    let tokens = world.tokens(&client, "alice").await;
    let thief = testkit::RegisteredClient { secret: None, ..client.clone() };
    let refused = world.revoke(&thief, &tokens.access).await;
    assert_eq!((refused.status.as_u16(), refused.error().as_str()), (401, "invalid_client"));
    assert_eq!(world.call("/mcp", &tokens.access).await.status, 200);
    let nothing = world.post_as(&client, "/revoke", &[]).await;
    assert_eq!((nothing.status.as_u16(), nothing.error().as_str()), (400, "invalid_request"));
}
