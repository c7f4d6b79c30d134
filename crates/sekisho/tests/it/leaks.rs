//! What must not be read by anybody else: answers in a cache, and by pages of other origins.

use axum::Router;
use http::Request;
use sekisho::front::{Front, HostPolicy, OriginPolicy, Surfaces, TrustedProxies};
use sekisho_protocol::oauth::Issuer;
use testkit::world::ISSUER;
use testkit::{Answer, App, World};
use tower::Layer as _;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The world as it is served: with the front, which knows the origins.
fn served(world: &World) -> App {
    let issuer = Issuer::parse(ISSUER).unwrap();
    let front = Front::new(
        HostPolicy::new(&issuer, &[]).unwrap(),
        OriginPolicy::new(&issuer, &[]).unwrap(),
        Surfaces::new(["/mcp".into(), "/sse".into()]),
        TrustedProxies::new(vec![]),
    );
    Router::new().fallback_service(front.layer(world.app.clone()))
}

#[tokio::test]
async fn no_answer_of_the_token_endpoint_may_be_kept() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let id = client.id.as_str();
    let rows = [
        ("/token", format!("client_id={id}"), 400, "invalid_request"),
        ("/token", format!("grant_type=password&client_id={id}"), 400, "unsupported_grant_type"),
        ("/token", "grant_type=refresh_token&refresh_token=x".to_owned(), 401, "invalid_client"),
        (
            "/token",
            format!("grant_type=refresh_token&refresh_token=x&client_id={id}"),
            400,
            "invalid_grant",
        ),
        ("/token", "x".repeat(1024 * 1024), 413, "invalid_request"),
        ("/revoke", format!("client_id={id}"), 400, "invalid_request"),
        ("/revoke", "token=x".to_owned(), 401, "invalid_client"),
    ];
    for (path, form, status, error) in rows {
        let answer = world.post(path, &[FORM], &form).await;
        assert_eq!((answer.status.as_u16(), answer.error().as_str()), (status, error), "{path}");
        assert_eq!(answer.header("content-type"), "application/json", "{error}");
        assert_eq!(answer.header("cache-control"), "no-store", "{error}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_reads_documents_and_no_decision() {
    let mut world = World::new().await;
    world.app = served(&world);
    let loopback = "http://localhost:6274";
    let rows = [
        ("GET", "/.well-known/oauth-authorization-server", true, "a document"),
        ("GET", "/.well-known/oauth-protected-resource/mcp", true, "a document"),
        ("POST", "/token", true, "a client in a page"),
        ("POST", "/register", true, "a client in a page"),
        ("POST", "/mcp", true, "the guarded endpoint, from a listed origin"),
        ("GET", "/authorize", false, "for people"),
        ("POST", "/consent", false, "for people"),
        ("GET", "/auth/callback", false, "for people"),
    ];
    for (method, path, may_be_read, reason) in rows {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost:8000")
            .header("origin", loopback)
            .body(axum::body::Body::empty())
            .unwrap();
        let answer = Answer::to(&world.app, request).await;
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(!allowed.is_empty(), may_be_read, "{path}: {reason}: {allowed:?}");
        assert_eq!(answer.header("access-control-allow-credentials"), "", "{path}");
    }
}
