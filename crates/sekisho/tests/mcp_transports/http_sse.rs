//! HTTP+SSE, the transport of 2024-11-05 (T1–T4, case 84).

use http::{Method, StatusCode};
use serde_json::json;
use testkit::SseClient;

use crate::instances::SESSION_ID_LETTERS;
use crate::rig::{Rig, VERSIONS};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// T1.
#[tokio::test]
async fn the_first_event_says_where_to_post() {
    let rig = Rig::start_with(|settings| settings.messages_path = "/deep/messages".into()).await;
    let mut events = SseClient::try_open(&format!("{}/sse", rig.url), "alice").await;
    assert_eq!(events.headers["content-type"], "text/event-stream");
    assert_eq!(events.headers["cache-control"], "no-cache");
    assert_eq!(events.headers["x-accel-buffering"], "no");
    let endpoint = events.next().await.unwrap();
    assert_eq!((endpoint.name.as_deref(), endpoint.id), (Some("endpoint"), None));
    let uri = endpoint.data.unwrap();
    let id = uri.strip_prefix("/deep/messages?sessionId=").expect(&uri);
    assert!(
        id.len() == SESSION_ID_LETTERS && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{uri}"
    );
}

/// T2, T4: any version with a handshake may be agreed upon here.
#[tokio::test]
async fn answers_come_by_the_stream_under_every_version() {
    let rig = Rig::start().await;
    for version in VERSIONS.into_iter().chain(["2026-07-28"]) {
        let mut client = rig.sse("alice").await;
        let begun = client.initialize(version).await;
        let answered = if version == "2026-07-28" { "2025-11-25" } else { version };
        assert_eq!(begun["result"]["protocolVersion"], answered);
        let answer = client.request("tools/call", json!({ "name": "echo", "arguments": {} })).await;
        assert_eq!(answer["result"]["content"][0]["text"], "{}", "{version}");
        let error = client.request("no/such", json!({})).await;
        assert_eq!(error["error"]["code"], -32601, "{version}");
    }
}

/// T2: messages are events of that name, without ids, which nobody could come back to.
#[tokio::test]
async fn a_message_is_an_event_of_that_name() {
    let rig = Rig::start().await;
    let mut client = rig.sse("alice").await;
    assert_eq!(client.post(PING).await.status, StatusCode::ACCEPTED);
    let event = client.events.next().await.unwrap();
    assert_eq!((event.name.as_deref(), &event.id), (Some("message"), &None));
    assert_eq!(event.json(), json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
}

#[tokio::test]
async fn what_a_tool_tells_and_what_happens_comes_by_the_stream() {
    let rig = Rig::start().await;
    let mut client = rig.sse("alice").await;
    client.initialize("2024-11-05").await;
    let progress = client.request("tools/call", json!({ "name": "progress" })).await;
    assert_eq!(progress["params"]["progress"], 50);
    assert_eq!(client.events.message().await["params"]["progress"], 100);
    assert!(client.events.message().await["result"].is_object());

    let announced = client.request("tools/call", json!({ "name": "announce" })).await;
    assert_eq!(announced["method"], "notifications/tools/list_changed");
    assert_eq!(client.events.message().await["result"]["content"][0]["text"], "true");
}

/// T3, case 84: nobody posts into somebody else's session, and nothing is delivered there.
#[tokio::test]
async fn nobody_posts_to_a_session_of_somebody_else() {
    let rig = Rig::start().await;
    let mut alice = rig.sse("alice").await;
    alice.initialize("2024-11-05").await;
    let (messages, _) = alice.messages_url.split_once('=').unwrap();
    let unknown = format!("{messages}=0123456789abcdef0123456789abcdef");
    let refused = alice.post_to(&unknown, PING).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);

    for token in ["mallory", "alice-again", "alice-elsewhere", "nobody"] {
        let stranger = rig.sse(token).await;
        let answer = stranger.post_to(&alice.messages_url, PING).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{token}");
        assert_eq!(answer.text, refused.text, "{token}: as if the session did not exist");
    }

    alice.set_token("alice-newer");
    let next = alice.request("tools/call", json!({ "name": "echo" })).await;
    assert_eq!(next["id"], 2, "the next message is her own answer, after a refresh as well");
}

/// A session of one transport is unknown to the other.
#[tokio::test]
async fn a_session_never_changes_transports() {
    let rig = Rig::start().await;
    let sse = rig.sse("alice").await;
    let mut streamable = rig.session("alice").await;

    let base = sse.messages_url.split_once('=').unwrap();
    let crossed = format!("{}={}", base.0, streamable.session.as_deref().unwrap());
    assert_eq!(sse.post_to(&crossed, PING).await.status, StatusCode::NOT_FOUND);

    streamable.session = Some(base.1.to_owned());
    assert_eq!(streamable.post(PING).await.status, StatusCode::NOT_FOUND);
}

/// The session ends with its stream.
#[tokio::test]
async fn there_is_no_session_without_its_stream() {
    let rig = Rig::start().await;
    let client = rig.sse("alice").await;
    let other = rig.sse("alice").await;
    let url = client.messages_url.clone();
    assert_eq!(other.post_to(&url, PING).await.status, StatusCode::ACCEPTED);
    drop(client);
    loop {
        // The server notices the end of a connection when it notices it.
        if other.post_to(&url, PING).await.status == StatusCode::NOT_FOUND {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_posted_is_one_message_of_json() {
    let rig = Rig::start().await;
    let mut client = rig.sse("alice").await;
    client.initialize("2025-06-18").await;
    let rows = [
        (r#"{"jsonrpc":"2.0","method":"notifications/x"}"#, 202, "a notification"),
        (r#"{"jsonrpc":"2.0","id":"theirs","result":{}}"#, 202, "an answer"),
        ("{", 400, "not JSON"),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, 400, "null is no id"),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, 400, "an array under 2025-06-18"),
    ];
    for (body, status, reason) in rows {
        let answer = client.post(body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {reason}");
    }
    let plain = reqwest_post(&client.messages_url, "text/plain").await;
    assert_eq!(plain, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let nowhere = client.messages_url.split_once('?').unwrap().0.to_owned();
    assert_eq!(client.post_to(&nowhere, PING).await.status, StatusCode::NOT_FOUND);
    let twice = format!("{}&sessionId=x", client.messages_url);
    assert_eq!(client.post_to(&twice, PING).await.status, StatusCode::NOT_FOUND);
}

async fn reqwest_post(url: &str, content_type: &str) -> StatusCode {
    let client = testkit::McpClient::new(url).with_token("alice");
    let request = client.raw(Method::POST).header("content-type", content_type).body(PING);
    testkit::McpClient::send(request).await.status
}

/// X9 here: the version decides, as everywhere.
#[tokio::test]
async fn an_array_is_answered_by_an_array_under_2025_03_26() {
    let rig = Rig::start().await;
    let mut client = rig.sse("alice").await;
    client.initialize("2025-03-26").await;
    assert_eq!(client.post(format!("[{PING},{PING}]")).await.status, StatusCode::ACCEPTED);
    let answers = client.events.message().await;
    assert_eq!(answers.as_array().map(Vec::len), Some(2));
}

/// T17: the handshake comes first, once.
#[tokio::test]
async fn initialize_comes_first_and_once() {
    let rig = Rig::start().await;
    let mut client = rig.sse("alice").await;
    let early = client.request("tools/list", json!({})).await;
    assert_eq!(early["error"]["code"], -32600);
    assert_eq!(client.request("ping", json!({})).await["result"], json!({}));
    client.initialize("2025-06-18").await;
    let again = json!({ "protocolVersion": "2024-11-05", "capabilities": {} });
    assert_eq!(client.request("initialize", again).await["error"]["code"], -32600);
}

#[tokio::test]
async fn a_call_can_be_cancelled_and_another_one_overtake_it() {
    let rig = Rig::start().await;
    let mut client = rig.sse("alice").await;
    client.initialize("2024-11-05").await;
    let wait = r#"{"jsonrpc":"2.0","id":"w","method":"tools/call","params":{"name":"wait"}}"#;
    client.post(wait).await;
    rig.gate.arrived().await;
    assert_eq!(client.request("ping", json!({})).await["result"], json!({}));
    let cancel =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"w"}}"#;
    client.post(cancel).await;
    rig.gate.dropped().await;
}
