//! Everything has a limit, and over it a clear refusal that harms nobody else (case 92).

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use testkit::{McpAnswer, McpClient, SseClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::rig::Rig;

#[tokio::test]
async fn a_person_has_a_share_of_sessions_over_all_clients() {
    let rig = Rig::start_with(|settings| settings.limits.sessions_per_person_max = 3).await;
    let one = rig.session("alice").await;
    rig.session("alice-elsewhere").await;
    let sse = rig.sse("alice-again").await;

    let refused = rig.client("alice").begin("2025-11-25").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.header("retry-after"), Some("60"));
    assert_eq!(refused.message()["id"], 1);
    let stream = SseClient::try_open(&format!("{}/sse", rig.url), "alice").await;
    assert_eq!(stream.status, StatusCode::TOO_MANY_REQUESTS);
    rig.session("mallory").await;

    one.end().await;
    rig.session("alice").await;
    drop(sse);
}

/// A script that never ends its sessions does not lock its owner out.
#[tokio::test]
async fn an_abandoned_session_gives_way_to_a_new_one() {
    let rig = Rig::start_with(|settings| settings.limits.sessions_per_person_max = 2).await;
    let mut abandoned = rig.session("alice").await;
    rig.clock.advance(Duration::from_secs(30));
    let mut busy = rig.session("alice").await;
    let call = busy.next_request("tools/call", &json!({ "name": "wait" })).to_string();
    let busy_client = busy.clone();
    let waiting = tokio::spawn(async move { busy_client.post(call).await });
    rig.gate.arrived().await;

    rig.clock.advance(Duration::from_secs(29));
    assert_eq!(rig.client("alice").begin("2025-11-25").await.status, 429, "used a minute ago");
    rig.clock.advance(Duration::from_secs(31));
    rig.session("alice").await;
    assert_eq!(abandoned.request("ping", json!({})).await.status, StatusCode::NOT_FOUND);
    rig.clock.advance(Duration::from_secs(30));
    assert_eq!(rig.client("alice").begin("2025-11-25").await.status, 429, "one is busy, one new");
    rig.gate.let_through();
    assert_eq!(waiting.await.unwrap().tool_text(), "waited");
}

#[tokio::test]
async fn the_server_has_room_for_so_many_sessions() {
    let rig = Rig::start_with(|settings| settings.limits.sessions_max = 2).await;
    let first = rig.session("alice").await;
    rig.session("mallory").await;
    let refused = rig.client("alice").begin("2025-11-25").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.header("retry-after"), Some("60"));
    first.end().await;
    rig.session("alice").await;
}

#[tokio::test]
async fn a_session_has_so_many_streams() {
    let rig = Rig::start_with(|settings| settings.limits.streams_per_session_max = 2).await;
    let client = rig.session("alice").await;
    let _first = client.listen().await;
    let _second = client.listen().await;
    let third = client.listen().await;
    assert_eq!(third.status, StatusCode::TOO_MANY_REQUESTS);

    let mut client = client.accepting("text/event-stream");
    let streamed = client.call_tool("echo", json!({})).await;
    assert_eq!(streamed.status, StatusCode::TOO_MANY_REQUESTS);
    let mut client = client.accepting("application/json, text/event-stream");
    let answer = client.call_tool("slow_progress", json!({}));
    rig.gate.let_through();
    let answer = answer.await;
    assert_eq!(answer.header("content-type"), Some("application/json"), "no room to tell");
    assert_eq!(answer.tool_text(), "waited");
}

/// So many calls of a tool, all of which have come to the gate.
async fn waiting_calls(
    rig: &Rig,
    client: &mut McpClient,
    tool: &str,
    count: usize,
) -> Vec<JoinHandle<McpAnswer>> {
    let mut waiting = Vec::new();
    for _ in 0..count {
        let call = client.next_request("tools/call", &json!({ "name": tool })).to_string();
        let client = client.clone();
        waiting.push(tokio::spawn(async move { client.post(call).await }));
        rig.gate.arrived().await;
    }
    waiting
}

/// Whether there is room is known when something is told, not when the call comes.
#[tokio::test]
async fn calls_that_tell_something_at_the_same_time_have_so_many_streams_between_them() {
    let rig = Rig::start_with(|settings| settings.limits.streams_per_session_max = 2).await;
    let mut client = rig.session("alice").await;
    let waiting = waiting_calls(&rig, &mut client, "late_progress", 3).await;
    for _ in 0..3 {
        rig.gate.let_through();
    }
    for _ in 0..3 {
        rig.gate.arrived().await;
        rig.gate.let_through();
    }
    let mut kinds = Vec::new();
    for call in waiting {
        let answer = call.await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        kinds.push(answer.header("content-type").unwrap().to_owned());
    }
    kinds.sort_unstable();
    assert_eq!(kinds, ["application/json", "text/event-stream", "text/event-stream"]);
}

#[tokio::test]
async fn a_session_has_so_many_calls_at_a_time() {
    let rig = Rig::start_with(|settings| settings.limits.calls_per_session_max = 2).await;
    let mut client = rig.session("alice").await;
    let waiting = waiting_calls(&rig, &mut client, "wait", 2).await;
    let refused = client.call_tool("wait", json!({})).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::OK, "ping is no work");

    rig.gate.let_through();
    rig.gate.let_through();
    for call in waiting {
        assert_eq!(call.await.unwrap().tool_text(), "waited");
    }
}

#[tokio::test]
async fn a_body_has_a_length() {
    let rig = Rig::start_with(|settings| settings.limits.body_bytes_max = 200).await;
    let client = rig.client("alice");
    let mut client = McpClient::clone(&client);
    client.initialize("2025-11-25").await;
    let body = |length: usize| {
        let frame = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":""}}"#;
        frame.replace("\"\"", &format!("\"{}\"", "x".repeat(length - frame.len())))
    };
    assert_eq!(client.post(body(200)).await.status, StatusCode::OK);
    let refused = client.post(body(201)).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(refused.error_code(), Some(-32600));
    let sse = rig.sse("alice").await;
    assert_eq!(sse.post(body(201)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// Case 101: chunks have no length to be judged by.
#[tokio::test]
async fn a_body_in_chunks_has_the_same_length() {
    let rig = Rig::start_with(|settings| settings.limits.body_bytes_max = 200).await;
    let mut socket = TcpStream::connect(rig.url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = "POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..3 {
        socket.write_all(format!("64\r\n{}\r\n", "x".repeat(100)).as_bytes()).await.unwrap();
    }
    let mut status = [0; 12];
    socket.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413", "and nobody waits for the end");
}

/// Case 101: what is within the length, and is meant to cost more than that.
#[tokio::test]
async fn a_text_that_is_no_sane_message_costs_an_error() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await;
    let deep = |count: usize| format!("{}{}", "[".repeat(count), "]".repeat(count));
    let in_params = |value: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"x":{value}}}}}"#)
    };
    let with_id = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    let rows = [
        (deep(1_000_000), 400, Some(-32700), "a million brackets"),
        (in_params(&deep(1_000_000)), 400, Some(-32700), "a million brackets inside"),
        ("[".repeat(1_000_000), 400, Some(-32700), "that never close"),
        (in_params("1e999999999"), 200, None, "a number that is never read"),
        (in_params(&"9".repeat(1_000_000)), 200, None, "a million digits"),
        (with_id("1e999"), 400, Some(-32600), "an id is an integer"),
        (with_id(&"9".repeat(2_000)), 400, Some(-32600), "a short one"),
        (format!("[{}]", vec![with_id("1"); 101].join(",")), 400, Some(-32600), "101 at once"),
    ];
    for (body, status, code, reason) in rows {
        let answer = client.post(body).await;
        assert_eq!((answer.status.as_u16(), answer.error_code()), (status, code), "{reason}");
    }
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::OK, "unharmed");
}

#[tokio::test]
async fn a_body_takes_so_long() {
    let rig = Rig::start_with(|settings| {
        settings.limits.body_wait = Duration::from_millis(50);
    })
    .await;
    let mut socket = TcpStream::connect(rig.url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = "POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    socket.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 408");
}

/// Case 92: whoever does not read is cut off with a bounded queue; others go on.
#[tokio::test]
async fn a_reader_that_never_reads_is_cut_off() {
    let rig = Rig::start_with(|settings| {
        settings.limits.reader_wait = Duration::from_millis(50);
        settings.limits.calls_per_session_max = 4;
    })
    .await;
    let mut sleeper = rig.sse("alice").await;
    sleeper.initialize("2024-11-05").await;
    let big = json!({ "jsonrpc": "2.0", "method": "tools/call",
        "params": { "name": "big", "arguments": { "bytes": 500_000 } } });
    let mut accepted = 0;
    for id in 0.. {
        let mut big = big.clone();
        big["id"] = json!(id);
        let status = sleeper.post(big.to_string()).await.status.as_u16();
        match status {
            202 => accepted += 1,
            429 => tokio::task::yield_now().await,
            404 => break,
            other => panic!("{other}"),
        }
        // The socket's own buffers take some megabytes before ours fill up.
        assert!(accepted < 200, "100 MB were taken for a reader that reads nothing");
    }

    let mut other = rig.sse("mallory").await;
    other.initialize("2024-11-05").await;
    assert_eq!(other.request("ping", json!({})).await["result"], json!({}));
}

/// A reader that is merely busy gets everything, however much comes at once.
#[tokio::test]
async fn answers_wait_for_a_reader_that_reads() {
    let rig = Rig::start_with(|settings| settings.limits.queue_events_max = 2).await;
    let mut client = rig.sse("alice").await;
    client.initialize("2024-11-05").await;
    for id in 0..20 {
        let big = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": { "name": "big", "arguments": { "bytes": 700_000 } } });
        assert_eq!(client.post(big.to_string()).await.status, StatusCode::ACCEPTED);
    }
    let mut answered = Vec::new();
    for _ in 0..20 {
        answered.push(client.events.message().await["id"].as_u64().unwrap());
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..20).collect::<Vec<u64>>());
}

/// What a tool tells may be dropped when there is too much of it, its answer never.
#[tokio::test]
async fn an_answer_has_room_whatever_was_told_before() {
    let rig = Rig::start_with(|settings| settings.limits.queue_events_max = 1).await;
    let mut client = rig.session("alice").await.accepting("text/event-stream");
    let answer = client.call_tool("progress", json!({})).await;
    assert_eq!(answer.tool_text(), "done");
}

/// A single answer may be longer than the queue.
#[tokio::test]
async fn a_long_answer_arrives_on_every_transport() {
    let rig = Rig::start().await;
    let arguments = json!({ "bytes": 3_000_000 });
    let mut json_client = rig.session("alice").await;
    let answer = json_client.call_tool("big", arguments.clone()).await;
    assert_eq!(answer.tool_text().len(), 3_000_000);
    let mut stream_client = rig.session("alice").await.accepting("text/event-stream");
    let answer = stream_client.call_tool("big", arguments.clone()).await;
    assert_eq!(answer.tool_text().len(), 3_000_000);
    let mut sse = rig.sse("alice").await;
    sse.initialize("2024-11-05").await;
    let answer = sse.request("tools/call", json!({ "name": "big", "arguments": arguments })).await;
    assert_eq!(answer["result"]["content"][0]["text"].as_str().unwrap().len(), 3_000_000);
}
