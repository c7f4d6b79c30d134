//! The checkpoint: group E of the attacks, R1 to R7, R10.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use sekisho::resource_server::{GuardLayer, OwnTokens};
use sekisho_protocol::oauth::{ResourceUri, ScopeSet};
use testkit::world::{ISSUER, VERIFIER, authorize_url, tokens};
use testkit::{Answer, Browser, World};

fn metadata(path: &str) -> String {
    format!("resource_metadata=\"{ISSUER}/.well-known/oauth-protected-resource{path}\"")
}

#[tokio::test]
async fn every_request_is_checked_whatever_it_is() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let expired = world.tokens(&client, "alice").await.access;
    world.clock.advance(Duration::from_secs(3600));
    let revoked = world.tokens(&client, "alice").await.access;
    world.revoke(&client, &revoked).await;
    let garbage = "x".repeat(100 * 1024);
    let bearers = [
        (None, false, "none"),
        (Some("Bearer garbage".to_owned()), true, "garbage"),
        (Some("Bearer ".to_owned()), true, "empty"),
        (Some("Bearer a b".to_owned()), true, "two words"),
        (Some(format!("Bearer {garbage}")), true, "100 kB"),
        (Some(format!("Bearer {expired}")), true, "expired"),
        (Some(format!("Bearer {revoked}")), true, "revoked"),
        (Some("Basic YTpi".to_owned()), false, "another scheme is no token"),
    ];
    for path in ["/mcp", "/sse"] {
        for method in ["GET", "POST", "DELETE"] {
            for (authorization, token_came, reason) in &bearers {
                let mut request =
                    Request::builder().method(method).uri(path).header("mcp-session-id", "s");
                if let Some(value) = authorization {
                    request = request.header("authorization", value);
                }
                let answer = Answer::to(&world.app, request.body("".into()).unwrap()).await;
                assert_eq!(answer.status, 401, "{method} {path}: {reason}");
                let challenge = answer.header("www-authenticate");
                assert!(challenge.starts_with("Bearer "), "{challenge}");
                assert!(challenge.contains(&metadata(path)), "{challenge}");
                assert!(challenge.contains("scope=\"fortune\""), "{challenge}");
                assert_eq!(challenge.contains("error=\"invalid_token\""), *token_came, "{reason}");
                assert_eq!(answer.header("cache-control"), "no-store");
            }
        }
    }
}

#[tokio::test]
async fn the_scheme_has_any_case_and_the_header_comes_once() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let token = world.tokens(&client, "alice").await.access;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let header = format!("{scheme} {token}");
        assert_eq!(world.post("/mcp", &[("authorization", &header)], "").await.status, 200);
    }
    let header = format!("Bearer {token}");
    let twice = [("authorization", header.as_str()), ("authorization", header.as_str())];
    assert_eq!(world.post("/mcp", &twice, "").await.status, 400);
}

#[tokio::test]
async fn a_token_anywhere_but_in_the_header_is_no_token() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let token = world.tokens(&client, "alice").await.access;
    let in_query = world.post(&format!("/mcp?access_token={token}"), &[], "").await;
    assert_eq!(in_query.status, 401);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let in_form = world.post("/mcp", &form, &format!("access_token={token}")).await;
    assert_eq!(in_form.status, 401);
    assert!(!in_form.header("www-authenticate").contains("error="));
}

#[tokio::test]
async fn the_providers_token_opens_nothing_here() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    world.tokens(&client, "alice").await;
    let answer = world.call("/mcp", "idp-access-token").await;
    assert_eq!(answer.status, 401);
    assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
}

#[tokio::test]
async fn a_token_opens_the_resource_it_is_for_and_no_other() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let fortune = world.tokens(&client, "alice").await.access;
    let url = authorize_url(&client, &[("resource", "http://localhost:8000/other/mcp")]);
    let back = world.log_in(&mut Browser::default(), "alice", &url).await;
    let code = back.parameter("code").unwrap();
    let other = tokens(&world.redeem(&client, &code, VERIFIER).await).access;
    let rows = [
        (&fortune, "/mcp", 200),
        (&fortune, "/sse", 200),
        (&fortune, "/other/mcp", 401),
        (&other, "/other/mcp", 200),
        (&other, "/other/sse", 200),
        (&other, "/mcp", 401),
    ];
    for (token, path, status) in rows {
        let answer = world.call(path, token).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        if status == 401 {
            assert!(answer.header("www-authenticate").contains(&metadata(path)));
        }
    }
}

#[tokio::test]
async fn a_narrow_token_hears_which_scopes_it_lacks() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let url = authorize_url(
        &client,
        &[("resource", "http://localhost:8000/other/mcp"), ("scope", "other")],
    );
    let back = world.log_in(&mut Browser::default(), "alice", &url).await;
    let narrow = tokens(&world.redeem(&client, &back.parameter("code").unwrap(), VERIFIER).await);
    let answer = world.call("/other/mcp", &narrow.access).await;
    assert_eq!(answer.status, 403);
    let challenge = answer.header("www-authenticate");
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    assert!(challenge.contains("scope=\"other more\""), "{challenge}");
    assert!(challenge.contains(&metadata("/other/mcp")), "{challenge}");
}

/// Case 58: what is asked for, and how, is not looked at before the right to ask.
#[tokio::test]
async fn a_narrow_token_is_refused_whatever_it_sends() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let url = authorize_url(
        &client,
        &[("resource", "http://localhost:8000/other/mcp"), ("scope", "other")],
    );
    let back = world.log_in(&mut Browser::default(), "alice", &url).await;
    let narrow = tokens(&world.redeem(&client, &back.parameter("code").unwrap(), VERIFIER).await);
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"fortune"}}"#;
    let batch = format!("[{call},{call}]");
    let stateless = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"fortune","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let read = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"fortune:x"}}"#;
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let rows = [
        ("POST", "/other/mcp", call, "a call"),
        ("POST", "/other/mcp", &*batch, "in a batch"),
        ("POST", "/other/mcp", stateless, "of 2026-07-28"),
        ("POST", "/other/mcp", read, "by another method"),
        ("POST", "/other/mcp", initialize, "a session"),
        ("POST", "/other/mcp", "not json", "junk"),
        ("GET", "/other/mcp", "", "a stream"),
        ("DELETE", "/other/mcp", "", "an end"),
        ("GET", "/other/sse", "", "the other transport"),
    ];
    for (method, path, body, reason) in rows {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", narrow.access))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        let answer = Answer::to(&world.app, request.body(body.to_owned().into()).unwrap()).await;
        assert_eq!(answer.status, 403, "{method} {path}: {reason}");
        let challenge = answer.header("www-authenticate");
        assert!(challenge.contains("error=\"insufficient_scope\""), "{reason}: {challenge}");
        assert!(challenge.contains("scope=\"other more\""), "{reason}: {challenge}");
        assert!(challenge.contains("resource_metadata="), "{reason}: {challenge}");
    }
}

/// The challenge names all a client must ask for, and the page all it grants: the new grant is the
/// union, and nothing is added behind a person's back.
#[tokio::test]
async fn a_step_up_leads_to_a_grant_of_what_was_held_and_what_is_new() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let resource = ("resource", "http://localhost:8000/other/mcp");
    let mut browser = Browser::default();
    let begun = browser.post(&world.app, "/account/login", &[]).await;
    let callback = world.provider.log_in("alice", begun.location().unwrap());
    browser.open(&world.app, &callback).await;

    let url = authorize_url(&client, &[resource, ("scope", "other")]);
    assert!(!browser.open(&world.app, &url).await.body.contains("class=\"new\""), "none is held");
    let back = world.log_in(&mut browser, "alice", &url).await;
    let narrow = tokens(&world.redeem(&client, &back.parameter("code").unwrap(), VERIFIER).await);
    let refused = world.call("/other/mcp", &narrow.access).await;
    let challenge = refused.header("www-authenticate").to_owned();
    let (_, scope) = challenge.split_once("scope=\"").unwrap();
    let scope = scope.split('"').next().unwrap();

    let url = authorize_url(&client, &[resource, ("scope", scope)]);
    let page = browser.open(&world.app, &url).await;
    assert!(page.body.contains("<li>other</li>"), "held before: {}", page.body);
    assert!(
        page.body.contains("<li>more <strong class=\"new\">new</strong></li>"),
        "{}",
        page.body
    );
    let stranger = Browser::default().open(&world.app, &url).await;
    assert!(!stranger.body.contains("class=\"new\""), "nobody knows who is there");
    let back = world.log_in(&mut browser, "alice", &url).await;
    let wide = tokens(&world.redeem(&client, &back.parameter("code").unwrap(), VERIFIER).await);
    assert_eq!(world.call("/other/mcp", &wide.access).await.json()["scope"], "other more");
}

/// As above where an endpoint asks for less than the token has otherwise.
#[tokio::test]
async fn a_challenge_keeps_what_the_token_has_already() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let token = world.tokens(&client, "alice").await.access;
    let resource = ResourceUri::new("http://localhost:8000/mcp");
    let verifier =
        OwnTokens::new(Arc::clone(&world.store), resource, Arc::clone(&world.clock) as _);
    let guard = GuardLayer::new(Arc::new(verifier), ScopeSet::of(["admin"]), "m").unwrap();
    let app = axum::Router::new().route("/", axum::routing::any(|| async {})).layer(guard);
    let refused = testkit::world::call(&app, "/", &token).await;
    assert_eq!(refused.status, 403);
    let challenge = refused.header("www-authenticate");
    assert!(challenge.contains("scope=\"admin fortune\""), "{challenge}");
}
