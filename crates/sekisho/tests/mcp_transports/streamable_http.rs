//! Streamable HTTP, the revisions with a handshake (T5–T17).

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::McpClient;

use crate::instances::SESSION_ID_LETTERS;
use crate::rig::{Rig, VERSIONS};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const ANSWER: &str = r#"{"jsonrpc":"2.0","id":"theirs","result":{}}"#;
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":
    {"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}"#;

/// T16, X3.
#[tokio::test]
async fn initialize_answers_the_version_asked_for_or_the_latest_with_a_handshake() {
    let rig = Rig::start().await;
    let others = [("2026-07-28", "2025-11-25"), ("2099-01-01", "2025-11-25"), ("", "2025-11-25")];
    for (asked, answered) in VERSIONS.map(|version| (version, version)).into_iter().chain(others) {
        let answer = rig.client("alice").begin(asked).await;
        assert_eq!(answer.status, StatusCode::OK, "{asked}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{asked}");
        let expected = json!({
            "protocolVersion": answered,
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "rig", "version": "1" },
        });
        assert_eq!(answer.result(), expected, "{asked}");
    }
}

/// T14.
#[tokio::test]
async fn a_session_id_is_random_hex_and_new_each_time() {
    let rig = Rig::start().await;
    let (one, two) = (rig.session("alice").await, rig.session("alice").await);
    let (one, two) = (one.session.unwrap(), two.session.unwrap());
    assert_ne!(one, two);
    for id in [one, two] {
        assert_eq!(id.len(), SESSION_ID_LETTERS, "{id}");
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
}

/// T14: begun, used, ended, gone.
#[tokio::test]
async fn a_session_lives_until_it_is_deleted() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await;
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::OK);

    let ended = client.end().await;
    assert_eq!((ended.status, &*ended.text), (StatusCode::NO_CONTENT, ""));

    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.listen().await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.end().await.status, StatusCode::NOT_FOUND);
}

/// T14, X6: what a request without a living session is answered, always with a JSON-RPC body.
#[tokio::test]
async fn only_initialize_works_without_a_session() {
    let rig = Rig::start().await;
    let unknown = "0123456789abcdef0123456789abcdef";
    let rows = [
        (None, PING, 400, "a request belongs to a session"),
        (None, INITIALIZED, 400, "so does a notification"),
        (None, ANSWER, 400, "and an answer"),
        (None, INITIALIZE, 200, "initialize begins one"),
        (Some(unknown), PING, 404, "no such session"),
        (Some(unknown), INITIALIZED, 404, "no such session"),
        (Some(unknown), ANSWER, 404, "no such session"),
        (Some("nonsense"), PING, 404, "an id of another form is unknown as well"),
        (Some(unknown), INITIALIZE, 200, "a client that comes back after a restart"),
    ];
    for (session, body, status, reason) in rows {
        let mut client = rig.client("alice");
        client.session = session.map(ToOwned::to_owned);
        let answer = client.post(body).await;
        assert_eq!(answer.status.as_u16(), status, "{session:?} {body}: {reason}");
        assert_eq!(answer.message()["jsonrpc"], "2.0", "{session:?} {body}: {reason}");
        let begun = answer.header("mcp-session-id");
        assert_eq!(begun.is_some(), status == 200, "{session:?} {body}: {reason}");
        assert!(begun.is_none() || begun != session, "{reason}: a new one");
    }
}

/// T15, X10, X11.
#[tokio::test]
async fn the_version_header_names_a_served_version_or_nothing() {
    let rig = Rig::start().await;
    let rows = [
        (Some("2025-11-25"), 200, "the agreed one"),
        (Some("2025-06-18"), 200, "another served one: the session knows better"),
        (None, 200, "absent: the session knows it"),
        (Some("2026-07-28"), 400, "says it is stateless, and lacks what that needs"),
        (Some("1999-12-31"), 400, "never was"),
        (Some("junk"), 400, "no version at all"),
        (Some(""), 400, "empty"),
    ];
    for (version, status, reason) in rows {
        let mut client = rig.session("alice").await;
        client.version = version.map(ToOwned::to_owned);
        let answer = client.request("ping", json!({})).await;
        assert_eq!(answer.status.as_u16(), status, "{version:?}: {reason}");
        if status == 400 {
            let error = &answer.message()["error"];
            let is_stateless = version == Some("2026-07-28");
            if is_stateless {
                assert_eq!(error["code"], -32602, "{version:?}: {reason}");
            } else {
                let served: Vec<&str> = VERSIONS.into_iter().chain(["2026-07-28"]).collect();
                assert_eq!(error["code"], -32022, "{version:?}: {reason}");
                assert_eq!(error["data"]["supported"], json!(served), "{version:?}: {reason}");
            }
            let status = if is_stateless { 405 } else { 400 };
            assert_eq!(client.listen().await.status.as_u16(), status, "GET {version:?}: {reason}");
            assert_eq!(client.end().await.status.as_u16(), status, "DELETE {version:?}: {reason}");
        }

        let mut beginner = rig.client("alice");
        beginner.version = version.map(ToOwned::to_owned);
        let begun = beginner.post(INITIALIZE).await;
        assert_eq!(begun.status, StatusCode::OK, "initialize with {version:?} is never refused");
    }
}

/// T7.
#[tokio::test]
async fn notifications_and_answers_are_accepted_without_a_body() {
    let rig = Rig::start().await;
    for version in VERSIONS {
        let client = rig.session_of(version, "alice").await;
        for body in [
            INITIALIZED,
            ANSWER,
            r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
            r#"{"jsonrpc":"2.0","method":"unheard/of"}"#,
        ] {
            let answer = client.post(body).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{version} {body}");
            assert_eq!(answer.text, "", "{version} {body}");
        }
    }
}

/// T8, X34.
#[tokio::test]
async fn a_request_is_answered_in_the_form_the_client_takes() {
    let rig = Rig::start().await;
    let rows = [
        ("application/json, text/event-stream", "application/json", "JSON is cheaper"),
        ("application/json", "application/json", "JSON only"),
        ("*/*", "application/json", "anything"),
        ("text/event-stream", "text/event-stream", "streams only"),
        ("text/html", "application/json", "unclear"),
    ];
    for version in VERSIONS {
        for (accept, form, reason) in rows {
            let mut client = rig.session_of(version, "alice").await.accepting(accept);
            let answer = client.call_tool("echo", json!({ "a": 1 })).await;
            assert_eq!(answer.status, StatusCode::OK, "{version} {accept}: {reason}");
            assert_eq!(answer.header("content-type"), Some(form), "{version} {accept}: {reason}");
            assert_eq!(answer.tool_text(), r#"{"a":1}"#, "{version} {accept}: {reason}");
        }
    }
}

/// T8 for the handshake itself.
#[tokio::test]
async fn a_client_that_takes_streams_only_can_initialize() {
    let rig = Rig::start().await;
    let mut client = rig.client("alice").accepting("text/event-stream");
    let begun = client.initialize("2025-11-25").await;
    assert_eq!(begun.header("content-type"), Some("text/event-stream"));
    assert_eq!(begun.header("cache-control"), Some("no-cache"));
    assert_eq!(begun.header("x-accel-buffering"), Some("no"));
    assert_eq!(begun.result()["protocolVersion"], "2025-11-25");
    assert!(client.session.is_some());
}

/// T10: what belongs to a request comes before its answer, on the same stream, which then ends.
#[tokio::test]
async fn what_a_tool_tells_comes_before_its_answer() {
    let rig = Rig::start().await;
    for tool in ["progress", "slow_progress"] {
        rig.gate.let_through();
        let mut client = rig.session("alice").await;
        let answer = client.call_tool(tool, json!({})).await;
        assert_eq!(answer.header("content-type"), Some("text/event-stream"), "{tool}");
        let messages: Vec<Value> =
            answer.events().iter().skip(1).map(testkit::mcp_client::Event::json).collect();
        let told: Vec<&Value> =
            messages.iter().map(|message| &message["params"]["progress"]).collect();
        assert_eq!(told, [&json!(50), &json!(100), &Value::Null], "{tool}");
        assert!(messages[2]["result"].is_object(), "{tool}");
    }
}

/// A client that takes JSON only gets the answer and nothing else.
#[tokio::test]
async fn what_a_tool_tells_is_dropped_where_only_json_is_taken() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await.accepting("application/json");
    let answer = client.call_tool("progress", json!({})).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.tool_text(), "done");
}

/// T9, X9.
#[tokio::test]
async fn an_array_is_served_under_2025_03_26_only() {
    let rig = Rig::start().await;
    let requests = format!("[{PING},{}]", PING.replace("\"id\":1", "\"id\":\"two\""));
    let notices = format!("[{INITIALIZED},{ANSWER}]");
    let mixed =
        format!(r#"[{INITIALIZED},{PING},{{"jsonrpc":"2.0","id":null,"method":"ping"}},7]"#);
    let initialize = format!("[{INITIALIZE}]");
    for version in VERSIONS {
        let client = rig.session_of(version, "alice").await;
        let served = version == "2025-03-26";
        let rows = [
            (&requests, if served { 200 } else { 400 }, "requests"),
            (&notices, if served { 202 } else { 400 }, "nothing to answer"),
            (&mixed, if served { 200 } else { 400 }, "something of everything"),
            (&initialize, 400, "initialize comes alone"),
            (&"[]".to_owned(), 400, "nothing"),
        ];
        for (body, status, reason) in rows {
            let answer = client.post(body.clone()).await;
            assert_eq!(answer.status.as_u16(), status, "{version}: {reason}: {}", answer.text);
        }
        if served {
            let answers = client.post(requests.clone()).await.message();
            assert_eq!(
                answers,
                json!([
                    { "jsonrpc": "2.0", "id": 1, "result": {} },
                    { "jsonrpc": "2.0", "id": "two", "result": {} },
                ])
            );
            let answers = client.post(mixed.clone()).await.message();
            let codes: Vec<&Value> =
                answers.as_array().unwrap().iter().map(|answer| &answer["error"]["code"]).collect();
            assert_eq!(codes, [&json!(-32600), &json!(-32600), &Value::Null]);
        }
    }
    let without_session = rig.client("alice").post(requests).await;
    assert_eq!(without_session.status, StatusCode::BAD_REQUEST, "no session, no version");
}

/// T9: an array may hold what takes time, and be answered as a stream.
#[tokio::test]
async fn an_array_waits_for_its_slowest_request() {
    let rig = Rig::start().await;
    rig.gate.let_through();
    let client = rig.session_of("2025-03-26", "alice").await.accepting("text/event-stream");
    let wait =
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "wait" } });
    let answer = client.post(format!("[{PING},{wait}]")).await;
    assert_eq!(answer.message()[1]["result"]["content"][0]["text"], "waited");
}

/// T17 and the errors of JSON-RPC itself: with HTTP 200 once a message was understood.
#[tokio::test]
async fn every_request_is_answered_with_a_result_or_an_error_of_its_own() {
    let rig = Rig::start().await;
    let client = rig.session("alice").await;
    let rows = [
        (PING, 200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "ping"),
        (
            r#"{"jsonrpc":"2.0","id":"\u0041 ","method":"ping"}"#,
            200,
            r#"{"jsonrpc":"2.0","id":"\u0041 ","result":{}}"#,
            "the id is echoed byte for byte",
        ),
        (
            r#"{"jsonrpc":"2.0","id":2,"method":"no/such"}"#,
            200,
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32601,"message":"there is no method \"no/such\" here"}}"#,
            "unknown method",
        ),
        (
            r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"nix"}}"#,
            200,
            r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32602,"message":"there is no tool \"nix\" here"}}"#,
            "unknown tool",
        ),
        (
            "{",
            400,
            r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"the body is not JSON, or nested more than 128 deep"}}"#,
            "not JSON: there is no id to echo, and none is made up",
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            400,
            r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"an id is a short string or an integer"}}"#,
            "null is no id",
        ),
        (
            r#"{"jsonrpc":"1.0","id":4,"method":"ping"}"#,
            400,
            r#"{"jsonrpc":"2.0","id":4,"error":{"code":-32600,"message":"a message says \"jsonrpc\":\"2.0\""}}"#,
            "another protocol",
        ),
    ];
    for (body, status, answered, reason) in rows {
        let answer = client.post(body).await;
        assert_eq!((answer.status.as_u16(), &*answer.text), (status, answered), "{reason}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{reason}");
    }
}

/// A service that panics, or forwards text with line ends, harms nobody.
#[tokio::test]
async fn a_failing_tool_costs_its_caller_an_error_and_nobody_anything() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await;
    let answer = client.call_tool("panic", json!({})).await;
    assert_eq!((answer.status, answer.error_code()), (StatusCode::OK, Some(-32603)));
    assert_eq!(client.call_tool("echo", json!({})).await.tool_text(), "{}");

    let mut client = client.accepting("text/event-stream");
    let answer = client.call_tool("multi_line", json!({})).await;
    assert_eq!(answer.message()["error"], json!({ "code": 7, "message": "a\nb" }));
}

/// Case 90: what a form or a simple request of another site can send.
#[tokio::test]
async fn a_post_is_json_or_refused() {
    let rig = Rig::start().await;
    let client = rig.session("alice").await;
    let rows = [
        (Some("application/json"), 200),
        (Some("Application/JSON; charset=utf-8"), 200),
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("multipart/form-data; boundary=x"), 415),
        (Some("application/jsonp"), 415),
        (Some(""), 415),
        (None, 415),
    ];
    for (content_type, status) in rows {
        let mut request = client.raw(Method::POST).body(PING);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer = McpClient::send(request).await;
        assert_eq!(answer.status.as_u16(), status, "{content_type:?}");
    }
    for (coding, status) in [("identity", 200), ("gzip", 415), ("br", 415), ("gzip, gzip", 415)] {
        let request = client.raw(Method::POST).body(PING);
        let request = request.header("content-type", "application/json");
        let answer = McpClient::send(request.header("content-encoding", coding)).await;
        assert_eq!(answer.status.as_u16(), status, "{coding}: nothing is unpacked");
    }
}

/// A header that names two sessions or versions names none.
#[tokio::test]
async fn a_header_that_comes_twice_is_refused() {
    let rig = Rig::start().await;
    let client = rig.session("alice").await;
    for header in ["mcp-session-id", "mcp-protocol-version", "content-type"] {
        let request = client.raw(Method::POST).header("content-type", "application/json");
        let answer = McpClient::send(request.header(header, "x").body(PING)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{header}");
    }
}

/// T5, T11, X7.
#[tokio::test]
async fn a_get_opens_a_stream_for_whoever_has_a_session_and_takes_streams() {
    let rig = Rig::start().await;
    let client = rig.session("alice").await;
    let stranger = rig.client("alice");
    let rows = [
        (&client, Some("text/event-stream"), 200, "a session's stream"),
        (&client, None, 200, "without Accept anything goes"),
        (&client, Some("application/json"), 406, "a stream is no JSON"),
        (&stranger, Some("text/event-stream"), 400, "no session: the old transport is at /sse"),
    ];
    for (client, accept, status, reason) in rows {
        let mut request = client.raw(Method::GET);
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{accept:?}: {reason}");
        if status == 200 {
            let header = |name: &str| response.headers()[name].to_str().unwrap();
            assert_eq!(header("content-type"), "text/event-stream");
            assert_eq!(header("cache-control"), "no-cache");
            assert_eq!(header("x-accel-buffering"), "no");
        }
    }
    let put = McpClient::send(client.raw(Method::PUT)).await;
    assert_eq!(put.status, StatusCode::METHOD_NOT_ALLOWED);
}
