//! The example `guard_rmcp`: an rmcp service that nobody reaches without a token.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "../examples/guard_rmcp.rs"]
#[expect(dead_code, reason = "the test has the app, not the program around it")]
mod example;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::response::Response;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, WWW_AUTHENTICATE};
use http::{Request, StatusCode};
use sekisho::protocol::Secret;
use tower::ServiceExt;

const TOKEN: &str = "opens-the-door";
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const CALL: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"whoami"}}"#;

fn app() -> Router {
    example::app(example::Tokens::default().with(&Secret::new(TOKEN), "alice")).unwrap()
}

async fn post(app: &Router, headers: &[(&str, &str)], body: &'static str) -> Response {
    let request = Request::post("/mcp")
        .header(HOST, "localhost:8001")
        .header(ACCEPT, "application/json, text/event-stream")
        .header(CONTENT_TYPE, "application/json");
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
}

async fn text(response: Response) -> String {
    let body = to_bytes(response.into_body(), 64 * 1024).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn rmcp_is_not_reached_without_a_valid_token() {
    let rows: [(&[(&str, &str)], &str); 4] = [
        (&[], "no token"),
        (&[("authorization", "Bearer opens-another-door")], "an unknown token"),
        (&[("authorization", "Basic b3BlbnMtdGhlLWRvb3I=")], "another scheme"),
        (&[("mcp-session-id", "of-somebody-else")], "a session is no proof of identity"),
    ];
    for (headers, reason) in rows {
        let refused = post(&app(), headers, INITIALIZE).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{reason}");
        let challenge = refused.headers()[WWW_AUTHENTICATE].to_str().unwrap();
        let metadata = "http://localhost:8001/.well-known/oauth-protected-resource/mcp";
        assert!(challenge.contains(metadata), "{reason}: {challenge}");
    }
}

#[tokio::test]
async fn a_refused_client_learns_where_tokens_come_from() {
    let request = Request::get("/.well-known/oauth-protected-resource/mcp");
    let answer = app().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let metadata: serde_json::Value = serde_json::from_str(&text(answer).await).unwrap();
    assert_eq!(metadata["resource"], "http://localhost:8001/mcp");
    assert_eq!(metadata["authorization_servers"][0], "http://localhost:8000");
}

#[tokio::test]
async fn an_rmcp_tool_learns_who_calls_it() {
    let app = app();
    let bearer = format!("Bearer {TOKEN}");
    let begun = post(&app, &[(AUTHORIZATION.as_str(), &bearer)], INITIALIZE).await;
    assert_eq!(begun.status(), StatusCode::OK);
    let session = begun.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let headers = [
        (AUTHORIZATION.as_str(), bearer.as_str()),
        ("mcp-session-id", session.as_str()),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    assert_eq!(post(&app, &headers, INITIALIZED).await.status(), StatusCode::ACCEPTED);
    let called = post(&app, &headers, CALL).await;
    assert_eq!(called.status(), StatusCode::OK);
    let answer = text(called).await;
    assert!(answer.contains(r#""text":"alice""#), "{answer}");
}
