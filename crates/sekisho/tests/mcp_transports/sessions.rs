//! Whose session it is (case 83, demand 6 and 22).

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::rig::Rig;

/// Case 83: to anybody else a session does not exist, to the byte.
#[tokio::test]
async fn a_session_of_somebody_else_is_as_unknown_as_none() {
    let rig = Rig::start().await;
    let mut alice = rig.session("alice").await;
    let listening = alice.listen().await;

    for token in ["mallory", "alice-again", "alice-elsewhere", "nobody"] {
        let mut thief = rig.session(token).await;
        thief.session.clone_from(&alice.session);
        let mut lost = thief.clone();
        lost.session = Some("0123456789abcdef0123456789abcdef".to_owned());

        let (stolen, unknown) =
            (thief.request("ping", json!({})).await, lost.request("ping", json!({})).await);
        assert_eq!(stolen.status, StatusCode::NOT_FOUND, "{token}");
        assert_eq!((stolen.status, &stolen.text), (unknown.status, &unknown.text), "POST {token}");
        let names = |headers: &http::HeaderMap| {
            headers.keys().map(ToString::to_string).collect::<Vec<String>>()
        };
        assert_eq!(names(&stolen.headers), names(&unknown.headers), "{token}");

        assert_eq!(thief.listen().await.status, StatusCode::NOT_FOUND, "GET {token}");
        let (stolen, unknown) = (thief.end().await, lost.end().await);
        assert_eq!(stolen.status, StatusCode::NOT_FOUND, "DELETE {token}");
        assert_eq!(stolen.text, unknown.text, "DELETE {token}");
    }

    assert_eq!(alice.request("ping", json!({})).await.status, StatusCode::OK, "unaffected");
    alice.end().await;
    listening.end().await;
}

/// R12: where nothing guards the server, a session of nobody is everybody's; once it was begun
/// with a token it is not nobody's.
#[tokio::test]
async fn a_session_of_nobody_is_not_continued_with_a_token() {
    let rig = Rig::start().await;
    let mut nobody = rig.session("nobody").await;
    let mut alice = rig.client("alice");
    alice.session.clone_from(&nobody.session);
    assert_eq!(alice.request("ping", json!({})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(nobody.request("ping", json!({})).await.status, StatusCode::OK);
}

/// Demand 6: a session belongs to a grant, never to the bytes of a token.
#[tokio::test]
async fn a_session_survives_a_token_refresh() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await;
    for token in ["alice-newer", "alice", "alice-newer"] {
        client = client.with_token(token);
        let answer = client.call_tool("echo", json!({})).await;
        assert_eq!(answer.status, StatusCode::OK, "{token}");
    }
}

/// Demand 22: a client that comes back after a restart still names its old session.
#[tokio::test]
async fn initialize_with_an_old_session_begins_a_new_one() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await;
    let old = client.session.clone();
    client.initialize("2025-06-18").await;
    assert_ne!(client.session, old);
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::OK);
}

/// An initialize that fails leaves no session behind.
#[tokio::test]
async fn a_failed_initialize_begins_nothing() {
    let rig = Rig::start_with(|settings| settings.limits.sessions_max = 1).await;
    for accept in ["application/json", "text/event-stream"] {
        let mut client = rig.client("alice").accepting(accept);
        let answer = client.request("initialize", json!({ "capabilities": {} })).await;
        assert_eq!((answer.status, answer.error_code()), (StatusCode::OK, Some(-32602)));
        assert_eq!(answer.header("mcp-session-id"), None);
    }
    rig.session("alice").await;
}

/// A session without requests and streams is forgotten; one with a stream is not.
#[tokio::test]
async fn an_idle_session_is_forgotten() {
    let rig = Rig::start_with(|settings| {
        settings.limits.sessions_max = 3;
        settings.keep_alive = Duration::from_millis(50);
    })
    .await;
    let mut used = rig.session("nobody").await;
    let mut listening = rig.session("nobody").await;
    let mut idle = rig.session("nobody").await;
    let mut stream = listening.listen().await;
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);

    rig.clock.advance(minutes(29));
    used.request("ping", json!({})).await;
    // A stream keeps its session alive each time it is asked whether it may go on, which is more
    // often than it sends a comment.
    for _ in 0..2 {
        stream.next_or_comment().await.unwrap();
    }
    rig.clock.advance(minutes(29));

    let newcomer = rig.client("nobody").begin("2025-11-25").await;
    assert_eq!(newcomer.status, StatusCode::OK, "the idle session made room");
    assert_eq!(idle.request("ping", json!({})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(used.request("ping", json!({})).await.status, StatusCode::OK);
    assert_eq!(listening.request("ping", json!({})).await.status, StatusCode::OK);
}
