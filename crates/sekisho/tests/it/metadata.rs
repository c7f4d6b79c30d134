//! The documents by which clients find everything: A3 to A7, R4, R9.

use sekisho::authorization_server::Registration;
use sekisho_protocol::Secret;
use testkit::world::ISSUER;
use testkit::{Answer, Browser, World};

async fn get(world: &World, path: &str) -> Answer {
    Browser::default().open(&world.app, path).await
}

#[tokio::test]
async fn the_authorization_server_is_found_where_every_revision_looks() {
    let world = World::new().await;
    let base = "/.well-known/oauth-authorization-server";
    for path in ["", "/mcp", "/sse", "/other/mcp"] {
        let answer = get(&world, &format!("{base}{path}")).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.json()["issuer"], ISSUER, "{path}");
    }
    let document = get(&world, base).await.json();
    // Clients of 2025-03-26 without metadata use these very paths.
    for (name, path) in [
        ("authorization_endpoint", "/authorize"),
        ("token_endpoint", "/token"),
        ("registration_endpoint", "/register"),
        ("revocation_endpoint", "/revoke"),
        ("introspection_endpoint", "/introspect"),
    ] {
        assert_eq!(document[name], format!("{ISSUER}{path}"));
    }
    assert_eq!(document["code_challenge_methods_supported"], serde_json::json!(["S256"]));
    assert_eq!(document["response_types_supported"], serde_json::json!(["code"]));
    assert_eq!(document["authorization_response_iss_parameter_supported"], true);
    assert!(
        document["grant_types_supported"].as_array().unwrap().contains(&"refresh_token".into())
    );
    assert!(
        document["token_endpoint_auth_methods_supported"]
            .as_array()
            .unwrap()
            .contains(&"none".into())
    );
    let proofs =
        serde_json::json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]);
    assert_eq!(document["introspection_endpoint_auth_methods_supported"], proofs);
    assert_eq!(get(&world, "/.well-known/openid-configuration").await.status, 404);
}

#[tokio::test]
async fn a_resource_names_itself_as_it_was_asked() {
    let world = World::new().await;
    for path in ["/mcp", "/sse", "/other/mcp", "/other/sse", ""] {
        let answer = get(&world, &format!("/.well-known/oauth-protected-resource{path}")).await;
        assert_eq!(answer.status, 200, "{path}");
        let document = answer.json();
        assert_eq!(document["resource"], format!("{ISSUER}{path}"));
        assert_eq!(document["authorization_servers"], serde_json::json!([ISSUER]));
        assert_eq!(document["bearer_methods_supported"], serde_json::json!(["header"]));
        let scopes = document["scopes_supported"].as_array().unwrap();
        assert!(!scopes.is_empty() && !scopes.contains(&"offline_access".into()), "{scopes:?}");
    }
    assert_eq!(get(&world, "/.well-known/oauth-protected-resource/none").await.status, 404);
}

#[tokio::test]
async fn one_spelling_of_the_issuer_everywhere() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let issuer =
        get(&world, "/.well-known/oauth-authorization-server").await.json()["issuer"].clone();
    let resource = get(&world, "/.well-known/oauth-protected-resource/mcp").await.json();
    let url = testkit::world::authorize_url(&client, &[]);
    let back = world.log_in(&mut Browser::default(), "alice", &url).await;
    assert_eq!(issuer, resource["authorization_servers"][0]);
    assert_eq!(issuer, back.parameter("iss").unwrap());
    assert!(!issuer.as_str().unwrap().ends_with('/'));
}

#[tokio::test]
async fn registration_that_is_off_is_not_advertised() {
    let mut builder = World::builder();
    builder.settings.registration = Registration::Off;
    let world = builder.build().await;
    let document = get(&world, "/.well-known/oauth-authorization-server").await.json();
    assert!(document.get("registration_endpoint").is_none());
    assert_eq!(world.register(&serde_json::json!({})).await.status, 404);
}

#[tokio::test]
async fn registration_by_token_wants_the_token() {
    let mut builder = World::builder();
    builder.settings.registration = Registration::Token(Secret::new("initial"));
    let world = builder.build().await;
    let body = r#"{"redirect_uris":["https://a.example/cb"]}"#;
    let rows = [
        (None, 401, "none"),
        (Some("Bearer wrong"), 401, "wrong"),
        (Some("Basic initial"), 401, "another scheme"),
        (Some("Bearer initial"), 201, "right"),
    ];
    for (authorization, status, reason) in rows {
        let headers: Vec<_> =
            authorization.map(|value| ("authorization", value)).into_iter().collect();
        let answer = world.post("/register", &headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{reason}");
        if status == 401 {
            assert_eq!(answer.error(), "invalid_token");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
}
