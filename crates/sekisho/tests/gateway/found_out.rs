//! What a server at a URL speaks, where it is not settled by the first answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse as _;
use http::{Method, StatusCode};
use serde_json::json;

use crate::rig::{Plan, caller};
use crate::web::{Seen, Speaks, Web, greeting, result_of};

/// Refuses the revision of the first `times` requests, naming others.
fn refusing(times: usize, supported: &'static [&'static str], then: Speaks) -> Router {
    let left = Arc::new(std::sync::atomic::AtomicUsize::new(times));
    let refuse = move |request: axum::extract::Request, next: axum::middleware::Next| {
        let left = Arc::clone(&left);
        async move {
            let is_stateless = request.headers().contains_key("mcp-method");
            let has_left = |left: usize| left.checked_sub(1).filter(|_| is_stateless);
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, has_left).is_err() {
                return next.run(request).await;
            }
            let data = json!({ "supported": supported, "requested": "2026-07-28" });
            let error = json!({ "code": -32022, "message": "not this one", "data": data });
            let answer = json!({ "jsonrpc": "2.0", "id": 1, "error": error });
            (StatusCode::BAD_REQUEST, axum::Json(answer)).into_response()
        }
    };
    then.server().layer(axum::middleware::from_fn(refuse))
}

/// 2026-07-28 "Protocol Version Negotiation": whoever is refused takes one of the revisions that are named.
#[tokio::test]
async fn a_server_that_names_a_revision_instead_is_spoken_to_in_that_one() {
    let rows: [(usize, &[&str], Speaks, Result<(), &str>, usize, usize, &str); 5] = [
        (1, &["2026-07-28"], Speaks::Stateless, Ok(()), 1, 0, "the same, at the second time"),
        (1, &["1900-01-01", "2026-07-28"], Speaks::Stateless, Ok(()), 1, 0, "one of two"),
        (9, &["2025-06-18", "2025-11-25"], Speaks::Handshake, Ok(()), 1, 1, "with a handshake"),
        (9, &["2026-07-28"], Speaks::Stateless, Err("cannot be used"), 2, 0, "for ever"),
        (9, &["2099-01-01"], Speaks::Stateless, Err("cannot be used"), 1, 0, "none of ours"),
    ];
    for (times, supported, speaks, expected, asked, greeted, reason) in rows {
        let web = Web::serve(refusing(times, supported, speaks)).await;
        let rig = Plan::at(&web.url("/mcp")).begin();
        let outcome = rig.call(&caller("alice"), "odd").await.map(drop);
        match (&outcome, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(words)) => assert!(error.contains(words), "{reason}: {error}"),
            (outcome, _) => panic!("{reason}: {outcome:?}"),
        }
        let discovered = asked + usize::from(times == 1);
        assert_eq!(web.count("server/discover"), discovered, "{reason}");
        assert_eq!(web.count("initialize"), greeted, "{reason}");
        rig.stop().await;
    }
}

/// What belongs to no call comes on a stream of its own. A server that asks on it, while it is not there yet, asks
/// nobody, and waits.
#[tokio::test]
async fn our_stream_is_there_before_the_first_call() {
    let is_there = Arc::new(AtomicBool::new(false));
    let server = greeting(move |seen: Seen| {
        let is_there = Arc::clone(&is_there);
        async move {
            if seen.method == Method::GET {
                tokio::time::sleep(Duration::from_millis(50)).await;
                is_there.store(true, Ordering::SeqCst);
                let silence = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
                let body = axum::body::Body::from_stream(silence);
                return ([("content-type", "text/event-stream")], body).into_response();
            }
            let is_there = is_there.load(Ordering::SeqCst);
            axum::Json(result_of(&seen, &json!({ "isThere": is_there }))).into_response()
        }
    });
    let web = Web::serve(server).await;
    let rig = Plan::at(&web.url("/mcp")).begin();
    let answer = rig.call(&caller("alice"), "any").await.unwrap();
    assert_eq!(answer, json!({ "isThere": true }));
    rig.stop().await;
}

/// Some say nothing on it, not even that it is there.
#[tokio::test]
async fn a_stream_that_never_comes_holds_nobody_up() {
    let server = greeting(async |seen: Seen| {
        if seen.method == Method::GET {
            std::future::pending::<()>().await;
        }
        axum::Json(result_of(&seen, &json!({ "content": [] }))).into_response()
    });
    let web = Web::serve(server).await;
    let rig = Plan::at(&web.url("/mcp")).begin();
    rig.call(&caller("alice"), "any").await.unwrap();
    rig.stop().await;
}
