//! stdio: a message a line, nothing else, until the input ends (T40).

use std::sync::Arc;

use sekisho::mcp::{SessionLimits, serve_stdio};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};

use crate::rig::{Gate, VERSIONS, tools};

/// Everything a server writes when it is given `input` and nothing more.
async fn everything_written(input: impl AsRef<[u8]>) -> Vec<Value> {
    let (write, mut read) = duplex(1 << 20);
    let gate = Arc::new(Gate::default());
    gate.let_through();
    serve_stdio(Arc::new(tools(&gate)), input.as_ref(), write).await.unwrap();
    let mut written = String::new();
    read.read_to_string(&mut written).await.unwrap();
    assert!(written.is_empty() || written.ends_with('\n'));
    written.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn initialize(version: &str) -> Value {
    let params = json!({ "protocolVersion": version, "capabilities": {} });
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })
}

#[tokio::test]
async fn every_version_with_a_handshake_is_served() {
    for (asked, answered) in
        VERSIONS.map(|version| (version, version)).into_iter().chain([("2026-07-28", "2025-11-25")])
    {
        let call = json!({ "jsonrpc": "2.0", "id": "c", "method": "tools/call",
            "params": { "name": "echo", "arguments": { "a": 1 } } });
        let input = format!("{}\n\n{call}\r\n", initialize(asked));
        let written = everything_written(input).await;
        assert_eq!(written.len(), 2, "{written:?}");
        assert_eq!(written[0]["result"]["protocolVersion"], answered);
        assert_eq!(written[1]["result"]["content"][0]["text"], r#"{"a":1}"#);
    }
}

#[tokio::test]
async fn what_cannot_be_served_is_answered_with_an_error() {
    let long = format!("\"{}\"", "x".repeat(SessionLimits::default().body_bytes_max));
    let rows = [
        ("{", -32700, Value::Null, "not JSON"),
        ("\u{1}", -32700, Value::Null, "not even text"),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600, Value::Null, "null is no id"),
        (r#"{"jsonrpc":"2.0","id":7,"method":"no/such"}"#, -32601, json!(7), "unknown method"),
        (r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#, -32600, Value::Null, "an array"),
        (&long, -32600, Value::Null, "a line without end"),
    ];
    for (line, code, id, reason) in rows {
        let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
        let input = format!("{}\n{line}\n{ping}\n", initialize("2025-11-25"));
        let written = everything_written(input).await;
        assert_eq!(written[1]["error"]["code"], code, "{reason}");
        assert_eq!(written[1].get("id").cloned().unwrap_or_default(), id, "{reason}");
        assert_eq!(written[2]["result"], json!({}), "{reason}: the next line is served");
    }
}

/// T26, T40: `_meta` alone tells the era where there are no headers.
#[tokio::test]
async fn requests_without_a_handshake_are_served_between_those_with_one() {
    let stateless = |id: u32, method: &str, mut params: Value| {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
    };
    let input = [
        stateless(1, "server/discover", json!({})),
        stateless(2, "tools/call", json!({ "name": "echo", "arguments": {} })),
        stateless(3, "ping", json!({})),
        initialize("2025-11-25"),
        stateless(4, "tools/list", json!({})),
        stateless(5, "subscriptions/listen", json!({ "notifications": {} })),
    ];
    let written = everything_written(input.map(|line| line.to_string()).join("\n")).await;
    assert_eq!(written[0]["result"]["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(written[1]["result"]["resultType"], "complete");
    assert_eq!(written[2]["error"]["code"], -32601, "removed");
    assert_eq!(written[3]["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(written[4]["result"]["cacheScope"], "private");
    assert_eq!(written[5]["error"]["code"], -32601, "nothing to listen to");
}

#[tokio::test]
async fn a_forwarded_line_end_does_not_break_the_line() {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "multi_line" } });
    let written = everything_written(format!("{}\n{call}\n", initialize("2025-06-18"))).await;
    assert_eq!(written[1]["error"], json!({ "code": 7, "message": "a\nb" }));
}

#[tokio::test]
async fn requests_before_the_end_of_input_are_still_answered() {
    let call =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "wait" } });
    let written = everything_written(format!("{}\n{call}", initialize("2025-06-18"))).await;
    assert_eq!(written[1]["result"]["content"][0]["text"], "waited");
}

#[tokio::test]
async fn many_requests_at_once_are_answered_in_the_end() {
    let mut input = format!("{}\n", initialize("2025-11-25"));
    for id in 0..2000 {
        let ping = json!({ "jsonrpc": "2.0", "id": id, "method": "ping" });
        input.push_str(&ping.to_string());
        input.push('\n');
    }
    let written = everything_written(input).await;
    assert_eq!(written.len(), 2001);
}

#[tokio::test]
async fn a_call_overtakes_another_and_can_be_cancelled() {
    let gate = Arc::new(Gate::default());
    let (input, server_input) = duplex(1 << 16);
    let (server_output, output) = duplex(1 << 16);
    let service = Arc::new(tools(&gate));
    let server =
        tokio::spawn(async move { serve_stdio(service, server_input, server_output).await });
    let mut client = Client { input, output: BufReader::new(output) };

    client.send(&initialize("2025-11-25")).await;
    client.receive().await;
    client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    let wait =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "wait" } });
    client.send(&wait).await;
    gate.arrived().await;
    client.send(&json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" })).await;
    assert_eq!(client.receive().await["id"], 2);
    let cancel = json!({ "requestId": 1 });
    client
        .send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancel }))
        .await;
    gate.dropped().await;

    let announce = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": { "name": "announce" } });
    client.send(&announce).await;
    assert_eq!(client.receive().await["method"], "notifications/tools/list_changed");
    assert_eq!(client.receive().await["id"], 3);

    drop(client);
    server.await.unwrap().unwrap();
}

struct Client {
    input: DuplexStream,
    output: BufReader<DuplexStream>,
}

impl Client {
    async fn send(&mut self, message: &Value) {
        self.input.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap()
    }
}
