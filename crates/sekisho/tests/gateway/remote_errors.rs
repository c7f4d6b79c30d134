//! What goes wrong with servers at a URL: each trouble is an error of the call it concerns, in time,
//! in general words, and nothing is asked twice that may have been done.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode};
use sekisho::gateway::{RemoteServer, RemoteTransport};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::rig::{Plan, caller};
use crate::web::{Person, Seen, Web, event, greeting, in_front_of, result_of, stream_of};

/// How a call is answered.
#[derive(Debug, Clone, Copy)]
enum Answers {
    Status(u16),
    Text(&'static str, &'static str),
    Redirect,
    Stream(&'static str),
    Long,
    LongStream,
    Cut,
    Nothing,
    OfAnother,
}

fn answer(how: Answers, seen: &Seen) -> Response {
    if seen.method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    match how {
        Answers::Status(status) => {
            let challenge =
                ("www-authenticate", "Bearer resource_metadata=\"http://169.254.169.254\"");
            (StatusCode::from_u16(status).unwrap(), [challenge], "secret words").into_response()
        }
        Answers::Text(kind, text) => ([("content-type", kind)], text).into_response(),
        Answers::Redirect => {
            (StatusCode::TEMPORARY_REDIRECT, [("location", "http://127.0.0.1:9/")]).into_response()
        }
        Answers::Stream(text) => stream_of(&[text.to_owned()]),
        Answers::Long => {
            let answer = result_of(seen, &json!({ "x": "x".repeat(200_000) }));
            axum::Json(answer).into_response()
        }
        Answers::LongStream => {
            stream_of(&[event(&result_of(seen, &json!({ "x": "x".repeat(200_000) })))])
        }
        Answers::Cut => {
            let pieces = [
                Ok(event(&json!({ "jsonrpc": "2.0", "method": "notifications/x" }))),
                Err(std::io::Error::other("cut")),
            ];
            let body = Body::from_stream(futures::stream::iter(pieces));
            ([("content-type", "text/event-stream")], body).into_response()
        }
        Answers::Nothing => StatusCode::ACCEPTED.into_response(),
        Answers::OfAnother => {
            axum::Json(json!({ "jsonrpc": "2.0", "id": 999, "result": {} })).into_response()
        }
    }
}

#[tokio::test]
async fn every_trouble_is_an_error_of_its_call_and_nothing_is_asked_twice() {
    let rows = [
        (Answers::Status(500), "refuses with 500", "broken"),
        (Answers::Status(503), "refuses with 503", "busy"),
        (Answers::Status(429), "refuses with 429", "too often"),
        (Answers::Status(401), "does not let us in", "its own login, never ours"),
        (Answers::Status(403), "does not let us in", "not allowed"),
        (Answers::Redirect, "sends us elsewhere", "not followed"),
        (Answers::Text("text/html", "<p>hello"), "what is no message", "a page"),
        (Answers::Text("application/json", "{"), "ended its answer without one", "no JSON"),
        (Answers::Text("application/json", "[]"), "ended its answer without one", "nothing in it"),
        (Answers::Stream(""), "ended its answer without one", "an empty stream"),
        (Answers::Stream("data: {\n\n"), "ended its answer without one", "a stream of no messages"),
        (Answers::Long, "too much at once", "a long body"),
        (Answers::LongStream, "too much at once", "a long event"),
        (Answers::Cut, "broke off", "cut in the middle"),
        (Answers::Nothing, "ended its answer without one", "accepted, as if it were no request"),
        (Answers::OfAnother, "ended its answer without one", "the answer to another call"),
    ];
    for (how, expected, reason) in rows {
        let web = Web::serve(greeting(move |seen| async move { answer(how, &seen) })).await;
        let mut plan = Plan::at(&web.url("/mcp"));
        plan.limits.message_bytes_max = 64 * 1024;
        let rig = plan.begin();
        let front = in_front_of(&rig.gateway).await;
        let client = Person::begin(&front, "alice", &[]).await;
        let answered = client.post("tools/call", Some(41), json!({ "name": "x" })).await;
        assert_eq!(answered.status(), 200, "{how:?}: {reason}");
        assert!(!answered.headers().contains_key("www-authenticate"), "{how:?}: no login of ours");
        let text = answered.text().await.unwrap();
        assert!(text.contains(expected), "{how:?}: {reason}: {text}");
        assert!(text.contains("\"id\":41"), "{how:?}: {text}");
        for secret in ["127.0.0.1", "secret words", "169.254"] {
            assert!(!text.contains(secret), "{how:?}: {text}");
        }
        assert_eq!(web.count("tools/call"), 1, "{how:?}: {reason}");
        rig.stop().await;
    }
}

/// Case 99: nothing of it gets any further, whatever a client's reader would make of it.
#[tokio::test]
async fn a_server_that_speaks_bad_http_is_an_error_of_its_call() {
    let message = r#"{"jsonrpc":"2.0","id":2,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{}}}"#;
    let json = format!(
        "content-type: application/json\r\ncontent-length: {}\r\n\r\n{message}",
        message.len()
    );
    let rows = [
        (format!("HTTP/1.1 200 OK\r\nx-a: a\0b\r\n{json}"), "broke off", "NUL in a header"),
        (
            format!("HTTP/1.1 200 OK\r\nx-a: a\rX-Evil: 1\r\n{json}"),
            "broke off",
            "half an end of a line",
        ),
        (format!("HTTP/1.1 200 OK\r\nno colon\r\n{json}"), "broke off", "no header"),
        (format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n{json}"), "broke off", "two lengths"),
        (format!("HTTP/1.1 20 OK\r\n{json}"), "broke off", "no status"),
        (format!("ICY 200 OK\r\n{json}"), "broke off", "another protocol"),
        (
            format!("HTTP/1.1 200 OK\r\nx-a: {}", "x".repeat(1 << 20)),
            "broke off",
            "a head without end",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n".to_owned(),
            "server behind this one",
            "a switch",
        ),
        (
            format!("HTTP/1.1 200 OK\r\nmcp-session-id: a b\r\n{json}"),
            "cannot be used",
            "a session of two words",
        ),
        (
            format!("HTTP/1.1 200 OK\r\nmcp-session-id: \u{e9}\r\n{json}"),
            "cannot be used",
            "one beyond ASCII",
        ),
    ];
    for (said, expected, reason) in rows {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let words = said.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let words = words.clone();
                tokio::spawn(async move {
                    let mut asked = vec![0; 64 * 1024];
                    let _ = stream.read(&mut asked).await;
                    let _ = stream.write_all(words.as_bytes()).await;
                    let _ = stream.shutdown().await;
                    // Until the other end has read it.
                    let _ = stream.read(&mut asked).await;
                });
            }
        });
        let mut plan = Plan::at(&url);
        plan.limits.answer_wait = Duration::from_secs(20);
        let rig = plan.begin();
        let front = in_front_of(&rig.gateway).await;
        let mut client = testkit::McpClient::new(front.url("/mcp"));
        client.set_header("x-test-person", "alice");
        let answer = client.stateless("tools/call", json!({ "name": "x" })).await;
        assert_eq!(answer.status.as_u16(), 200, "{reason}: {}", answer.text);
        assert!(answer.text.contains(expected), "{reason}: {}", answer.text);
        assert_eq!(answer.message()["id"], 1, "{reason}: {}", answer.text);
        assert!(answer.header("x-evil").is_none() && !answer.text.contains("vil"), "{reason}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = listener.local_addr().unwrap();
    let rows = [
        // Nobody listens at port 9 of this machine.
        ("http://127.0.0.1:9/mcp".to_owned(), "cannot be reached", "refused"),
        ("http://no-such-host.invalid/mcp".to_owned(), "cannot be reached", "no such name"),
        // The kernel takes the connection; nobody ever reads from it.
        (format!("http://{taken}/mcp"), "does not answer", "silent"),
    ];
    for (url, expected, reason) in rows {
        let mut plan = Plan::at(&url);
        plan.limits.connect_wait = Duration::from_millis(500);
        plan.limits.start_wait = Duration::from_secs(1);
        let rig = plan.begin();
        let began = Instant::now();
        let error = rig.call(&caller("alice"), "x").await.unwrap_err();
        assert!(error.contains(expected), "{url}: {reason}: {error}");
        assert!(!error.contains("9/mcp") && !error.contains("invalid"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{url}: {reason}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_call_without_a_word_is_given_up_in_time() {
    let silent = greeting(async |seen: Seen| {
        if seen.method == Method::POST {
            std::future::pending::<()>().await;
        }
        StatusCode::METHOD_NOT_ALLOWED.into_response()
    });
    let web = Web::serve(silent).await;
    let mut plan = Plan::at(&web.url("/mcp"));
    plan.limits.answer_wait = Duration::from_millis(500);
    let rig = plan.begin();
    let error = rig.call(&caller("alice"), "x").await.unwrap_err();
    assert!(error.contains("does not answer"), "{error}");
    rig.stop().await;
    assert_eq!(web.count("notifications/cancelled"), 1, "and the server hears so");
}

#[tokio::test]
async fn a_stream_that_sends_its_messages_elsewhere_is_refused() {
    for (endpoint, reason) in [
        ("http://127.0.0.1:9/messages", "another port"),
        ("http://169.254.169.254/latest", "another host"),
        ("//evil.example/messages", "another host, the same scheme"),
    ] {
        let text = format!("event: endpoint\ndata: {endpoint}\n\n");
        let web = Web::serve(
            axum::Router::new().fallback(async move || stream_of(std::slice::from_ref(&text))),
        )
        .await;
        let server =
            RemoteServer::new(&web.url("/sse"), Some(RemoteTransport::HttpSse), []).unwrap();
        let rig = Plan { server: server.into(), ..Plan::at("http://127.0.0.1/") }.begin();
        let error = rig.call(&caller("alice"), "x").await.unwrap_err();
        assert!(error.contains("cannot be used"), "{endpoint}: {reason}: {error}");
        rig.stop().await;
    }
}
