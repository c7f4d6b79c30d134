//! Limits by address: a flood hears 429 and when to come back, and nobody else is the worse for it.
//! Cases 63 and 74 of the attacks.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use http::Request;
use sekisho::front::ClientAddress;
use sekisho::resource_server::{GuardLayer, OwnTokens, RefusedTokens};
use sekisho_protocol::oauth::{ResourceUri, ScopeSet};
use testkit::{Answer, App, World};

const FLOOD: [u8; 4] = [192, 0, 2, 1];
const OTHER: [u8; 4] = [192, 0, 2, 2];
const FORM: &str = "application/x-www-form-urlencoded";

async fn from(app: &App, address: [u8; 4], method: &str, path: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", FORM)
        .extension(ClientAddress(address.into()))
        .body(Body::empty())
        .unwrap();
    Answer::to(app, request).await
}

fn is_told_to_wait(answer: &Answer) -> bool {
    let wait = answer.header("retry-after").parse::<u64>();
    answer.status == 429 && wait.is_ok_and(|seconds| (1..=61).contains(&seconds))
}

#[tokio::test]
async fn every_public_endpoint_has_a_limit_for_each_address() {
    for (method, path, is_page) in [
        ("GET", "/authorize", true),
        ("POST", "/consent", true),
        ("GET", "/auth/callback", true),
        ("GET", "/account", true),
        ("POST", "/account", true),
        ("POST", "/account/login", true),
        ("POST", "/token", false),
        ("POST", "/revoke", false),
        ("POST", "/introspect", false),
    ] {
        let mut builder = World::builder();
        builder.settings.pages_per_minute = NonZeroU32::new(3).unwrap();
        builder.settings.calls_per_minute = NonZeroU32::new(3).unwrap();
        let world = builder.build().await;
        for _ in 0..3 {
            assert_ne!(from(&world.app, FLOOD, method, path).await.status, 429, "{path}");
        }
        let refused = from(&world.app, FLOOD, method, path).await;
        assert!(is_told_to_wait(&refused), "{path}: {refused:?}");
        if is_page {
            assert!(refused.is_page(429), "{path}");
        } else {
            assert_eq!(refused.error(), "temporarily_unavailable", "{path}");
        }
        assert_ne!(from(&world.app, OTHER, method, path).await.status, 429, "{path}: a neighbour");
        let metadata = "/.well-known/oauth-authorization-server";
        assert_eq!(from(&world.app, FLOOD, "GET", metadata).await.status, 200, "documents go on");
    }
}

#[tokio::test]
async fn guessing_tokens_is_slowed_and_a_valid_one_always_opens() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let good = world.tokens(&client, "alice").await.access;
    let refused = Arc::new(RefusedTokens::new(NonZeroU32::new(5).unwrap()));
    let guarded = |scopes| {
        let resource = ResourceUri::new("http://localhost:8000/mcp");
        let verifier =
            OwnTokens::new(Arc::clone(&world.store), resource, Arc::clone(&world.clock) as _);
        let guard = GuardLayer::new(Arc::new(verifier), scopes, "m").unwrap();
        any(|| async {}).layer(guard.limiting(Arc::clone(&refused)))
    };
    let app = Router::new()
        .route("/mcp", guarded(ScopeSet::default()))
        .route("/sse", guarded(ScopeSet::default()));
    let ask = async |address: [u8; 4], path: &str, token: Option<&str>| {
        let mut request = Request::post(path).extension(ClientAddress(address.into()));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        // The address is the connection's: what a caller says of itself is not read here.
        let request = request.header("x-forwarded-for", "203.0.113.9");
        Answer::to(&app, request.body(Body::empty()).unwrap()).await
    };
    for _ in 0..20 {
        assert_eq!(ask(FLOOD, "/mcp", None).await.status, 401, "no token never counts");
    }
    for number in 0..5 {
        let wrong = format!("mcp_{number:064}");
        assert_eq!(ask(FLOOD, "/mcp", Some(&wrong)).await.status, 401);
    }
    for path in ["/mcp", "/sse"] {
        let over = ask(FLOOD, path, Some("mcp_wrong")).await;
        assert!(is_told_to_wait(&over), "{path}: {over:?}");
        assert_eq!(over.error(), "temporarily_unavailable");
    }
    assert_eq!(ask(FLOOD, "/mcp", None).await.status, 401, "clients still learn where to begin");
    assert_eq!(ask(FLOOD, "/mcp", Some(&good)).await.status, 200, "from the same address too");
    assert_eq!(ask(OTHER, "/mcp", Some("mcp_wrong")).await.status, 401, "somebody else's slip");
    assert_eq!(ask(OTHER, "/mcp", Some(&good)).await.status, 200);
}
