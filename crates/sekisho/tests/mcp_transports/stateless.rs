//! 2026-07-28: what each request must say, what each answer says, and that nothing is remembered.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use sekisho::mcp::{CallError, Context, ServerInfo, Tool, Tools};
use sekisho::protocol::mcp::ToolResult;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use testkit::McpClient;

use crate::everything::{Everything, call};
use crate::rig::{Gate, Rig};

/// The revision served.
const V: &str = "2026-07-28";

fn meta(version: &str) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// T20–T27, T36, X1, X2, X4, X10, X30: what is wrong first, is said first.
#[tokio::test]
async fn a_request_that_does_not_say_all_it_must_is_refused_in_one_order() {
    let (rig, _) = Everything::start().await;
    let no_capabilities = json!({ "io.modelcontextprotocol/protocolVersion": V });
    let no_version = json!({ "io.modelcontextprotocol/clientCapabilities": {} });
    let rows = [
        (Some(V), Some("tools/list"), "tools/list", meta(V), 200, 0, "complete"),
        (Some(V), None, "tools/list", json!({}), 400, -32602, "_meta before missing headers"),
        (
            Some(V),
            Some("tools/list"),
            "tools/list",
            no_capabilities,
            400,
            -32602,
            "no capabilities",
        ),
        (None, None, "tools/list", no_version, 400, -32602, "no version"),
        (None, Some("tools/list"), "tools/list", meta(V), 400, -32020, "no version header"),
        (
            Some("2025-11-25"),
            Some("tools/list"),
            "tools/list",
            meta(V),
            400,
            -32020,
            "another version",
        ),
        (
            Some("2025-11-25"),
            Some("tools/list"),
            "tools/list",
            meta("2025-11-25"),
            400,
            -32022,
            "an older version in this shape",
        ),
        (
            Some("2031-01-01"),
            Some("tools/list"),
            "tools/list",
            meta("2031-01-01"),
            400,
            -32022,
            "a version to come",
        ),
        (Some(V), None, "tools/list", meta(V), 400, -32020, "no method header"),
        (Some(V), Some("tools/call"), "tools/list", meta(V), 400, -32020, "another method"),
        (
            Some(V),
            Some("Tools/List"),
            "tools/list",
            meta(V),
            400,
            -32020,
            "values are case-sensitive",
        ),
        (Some(V), Some("initialize"), "initialize", meta(V), 404, -32601, "removed"),
        (Some(V), Some("ping"), "ping", meta(V), 404, -32601, "removed"),
        (Some(V), Some("logging/setLevel"), "logging/setLevel", meta(V), 404, -32601, "removed"),
        (
            Some(V),
            Some("resources/subscribe"),
            "resources/subscribe",
            meta(V),
            404,
            -32601,
            "removed",
        ),
        (
            Some(V),
            Some("resources/unsubscribe"),
            "resources/unsubscribe",
            meta(V),
            404,
            -32601,
            "removed",
        ),
        (Some(V), Some("no/such"), "no/such", meta(V), 404, -32601, "never was"),
    ];
    for (version, header, method, meta, status, code, reason) in rows {
        let mut client = rig.client("alice");
        client.version = version.map(ToOwned::to_owned);
        client.session = Some("0123456789abcdef0123456789abcdef".to_owned());
        if let Some(header) = header {
            client.set_header("mcp-method", header);
        }
        let answer = client.request(method, json!({ "_meta": meta })).await;
        let said = (answer.status.as_u16(), answer.error_code().unwrap_or_default());
        assert_eq!(said, (status, code), "{method} {version:?}: {reason}: {}", answer.text);
        assert_eq!(answer.message()["id"], 1, "{reason}: the id comes back");
        assert_eq!(answer.header("mcp-session-id"), None, "{reason}: no session is begun");
        if code == -32022 {
            let supported = &answer.message()["error"]["data"]["supported"];
            assert_eq!(*supported, json!([V]), "{reason}: nothing to fall back to");
        }
    }
}

/// T21, T22.
#[tokio::test]
async fn the_name_header_says_what_the_body_says() {
    let (rig, _) = Everything::start().await;
    let rows = [
        (Some("kind"), "kind", 200, "the same"),
        (Some("  kind "), "kind", 200, "space around belongs to HTTP"),
        (Some("=?base64?a2luZA==?="), "kind", 200, "wrapped"),
        (Some("Kind"), "kind", 400, "values are case-sensitive"),
        (Some("other"), "kind", 400, "another tool"),
        (Some("=?base64?a2luZ?="), "kind", 400, "no Base64"),
        (None, "kind", 400, "missing"),
    ];
    for (header, name, status, reason) in rows {
        let mut client = rig.client("alice");
        let (sender, body) = client.next_stateless(&json!({}), "tools/call", call(name));
        let mut request = sender.raw(Method::POST).header("content-type", "application/json");
        request = match header {
            Some(header) => request.header("mcp-name", header),
            None => request,
        };
        let mut built = request.body(body.to_string()).build().unwrap();
        let headers = built.headers_mut();
        headers.remove("mcp-name");
        if let Some(header) = header {
            headers.insert("mcp-name", header.parse().unwrap());
        }
        let answer = reqwest::Client::new().execute(built).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{header:?}: {reason}");
    }
}

/// Case 59: what keeps us from reading a name keeps nobody from serving it, so it goes nowhere.
#[tokio::test]
async fn a_body_that_hides_its_name_from_the_headers_is_refused() {
    let (rig, _) = Everything::start().await;
    let rows = [
        ("tools/call", r#""name":"kind","name":"other""#, "doubled"),
        ("tools/call", r#""name":"other","\u006eame":"kind""#, "doubled behind an escape"),
        ("tools/call", r#""name":1"#, "no text"),
        ("prompts/get", r#""name":"kind","name":"other""#, "a prompt doubled"),
        ("resources/read", r#""uri":"kind","uri":"other""#, "a resource doubled"),
        ("resources/read", r#""uri":{}"#, "no text"),
    ];
    for (method, members, reason) in rows {
        let client = rig.client("alice");
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{members},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
        );
        let request = client
            .raw(Method::POST)
            .header("content-type", "application/json")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method)
            .header("mcp-name", "kind")
            .body(body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 400, "{method} {members}: {reason}");
    }
    // A member of another method's is nobody's business and hides nothing.
    let mut client = rig.client("alice");
    client.set_header("mcp-name", "kind");
    let params = json!({ "name": "other", "uri": 0 });
    let (sender, body) = client.next_stateless(&json!({}), "tools/call", params);
    let mut built = sender.raw(Method::POST).body(body.to_string()).build().unwrap();
    built.headers_mut().insert("mcp-name", "kind".parse().unwrap());
    built.headers_mut().insert("content-type", "application/json".parse().unwrap());
    let answer = reqwest::Client::new().execute(built).await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
}

/// T23.
#[tokio::test]
async fn an_argument_that_a_tool_wants_in_a_header_is_the_same_there() {
    let (rig, _) = Everything::start().await;
    let rows = [
        (json!("eu"), Some("eu"), 200, "the same"),
        (json!("eu"), None, 400, "missing"),
        (json!("eu"), Some("us"), 400, "another"),
        (json!(null), None, 200, "nothing in either"),
        (json!(null), Some("eu"), 400, "only in the header"),
    ];
    for (region, header, status, reason) in rows {
        let mut client = rig.client("alice");
        if let Some(header) = header {
            client.set_header("mcp-param-region", header);
        }
        let params = json!({ "name": "mirrored", "arguments": { "region": region } });
        let answer = client.stateless("tools/call", params).await;
        let code = if status == 200 { None } else { Some(-32020) };
        assert_eq!(answer.status.as_u16(), status, "{region} {header:?}: {reason}");
        assert_eq!(answer.error_code(), code, "{region} {header:?}: {reason}");
    }
}

/// T28–T30, X15, X31: what is added, is added; the rest is the service's, byte for byte.
#[tokio::test]
async fn a_result_says_what_it_is_how_long_it_holds_and_who_gave_it() {
    let (rig, _) = Everything::start().await;
    let mut client = rig.client("alice");

    let found = client.stateless("server/discover", json!({})).await.result();
    assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(found["capabilities"]["tools"]["listChanged"], true);
    assert_eq!(found["instructions"], "Ask.");
    assert_eq!(found.get("serverInfo"), None, "the identity is in _meta only");
    let list = client.stateless("tools/list", json!({})).await.result();
    for result in [&found, &list] {
        assert_eq!(result["resultType"], "complete");
        assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&json!(0), &json!("private")));
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "everything");
    }

    let called = client.stateless("tools/call", call("kind")).await;
    assert!(called.text.contains(r#""future" : 1.0e2"#), "{}", called.text);
    assert_eq!(called.result()["resultType"], "complete");
    assert_eq!(called.result().get("ttlMs"), None, "a call is not kept");

    let unknown = client.stateless("tools/call", call("none")).await;
    assert_eq!((unknown.status, unknown.error_code()), (StatusCode::OK, Some(-32602)));

    let mut older = rig.session("alice").await;
    assert_eq!(older.request("tools/list", json!({})).await.result(), json!({ "tools": [] }));
}

/// Case 61, R11, T37, X28: a list may depend on the caller, never on the connection or on what was
/// asked before, and is nobody else's.
#[tokio::test]
async fn a_list_that_depends_on_the_caller_is_the_callers_own() {
    let (rig, _) = Everything::start().await;
    for token in ["alice", "mallory", "alice", "alice-newer"] {
        let expected = json!([{ "name": token.split('-').next() }]);
        let mut newer = rig.client(token);
        let list = newer.stateless("prompts/list", json!({})).await.result();
        assert_eq!((&list["prompts"], &list["cacheScope"]), (&expected, &json!("private")));
        let mut older = rig.session(token).await;
        let list = older.request("prompts/list", json!({})).await.result();
        assert_eq!(list["prompts"], expected, "{token}");
    }
}

/// T38: a schema is passed on as it is; nothing in it is looked up.
#[tokio::test]
async fn a_schema_that_points_elsewhere_is_passed_on_and_never_followed() {
    let canary = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let url = format!("http://{}/schema", canary.local_addr().unwrap());
    let schema = json!({
        "$schema": url,
        "type": "object",
        "properties": { "x": { "$ref": url }, "y": { "$dynamicRef": url } },
    });
    let tools = Tools::new(ServerInfo::with_tools("t", "1")).with(Pointing(schema.clone()));
    let rig = Rig::serve(Arc::new(tools), Arc::new(Gate::default()), |_| {}).await;
    let mut newer = rig.client("alice");
    let list = newer.stateless("tools/list", json!({})).await.result();
    assert_eq!(list["tools"][0]["inputSchema"], schema);
    let called = json!({ "name": "pointing", "arguments": { "x": 1, "y": 2 } });
    assert_eq!(newer.stateless("tools/call", called.clone()).await.tool_text(), "called");
    let mut older = rig.session("alice").await;
    assert_eq!(older.request("tools/call", called).await.tool_text(), "called");
    let nobody = canary.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[derive(Debug)]
struct Pointing(Value);

#[async_trait]
impl Tool for Pointing {
    fn definition(&self) -> Value {
        json!({ "name": "pointing", "inputSchema": self.0 })
    }

    async fn call(&self, _: Option<&RawValue>, _: &Context) -> Result<ToolResult, CallError> {
        Ok(ToolResult::text("called"))
    }
}

/// T36, X12: each era has its own number for what is not there.
#[tokio::test]
async fn a_resource_that_is_not_there_is_an_error_of_the_era_that_asks() {
    let (rig, _) = Everything::start().await;
    let uri = json!({ "uri": "test://nowhere" });
    let mut newer = rig.client("alice");
    let missing = newer.stateless("resources/read", uri.clone()).await;
    assert_eq!((missing.status, missing.error_code()), (StatusCode::OK, Some(-32602)));
    assert_eq!(missing.message()["error"]["data"], uri);
    let mut older = rig.session("alice").await;
    let missing = older.request("resources/read", uri.clone()).await;
    assert_eq!((missing.status, missing.error_code()), (StatusCode::OK, Some(-32002)));
    assert_eq!(missing.message()["error"]["data"], uri);
}

/// T31, T41.
#[tokio::test]
async fn only_what_the_request_asked_for_is_told_before_its_answer() {
    let (rig, _) = Everything::start().await;
    let rows = [
        (json!({}), vec![], "nothing asked"),
        (json!({ "progressToken": "p" }), vec!["notifications/progress"], "progress"),
        (
            json!({ "io.modelcontextprotocol/logLevel": "warning" }),
            vec!["notifications/message"],
            "errors, no infos",
        ),
        (
            json!({ "io.modelcontextprotocol/logLevel": "debug", "progressToken": 7 }),
            vec!["notifications/message", "notifications/message", "notifications/progress"],
            "all",
        ),
    ];
    for (meta, told, reason) in rows {
        let mut client = rig.client("alice");
        let params = json!({ "name": "talk", "_meta": meta });
        let answer = client.stateless("tools/call", params).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.message()["result"]["content"][0]["text"], "talked", "{reason}");
        let events: Vec<Value> = answer.events().iter().map(testkit::Event::json).collect();
        let methods: Vec<&str> =
            events.iter().filter_map(|event| event["method"].as_str()).collect();
        assert_eq!(methods, told, "{reason}");
        assert!(answer.events().iter().all(|event| event.id.is_none()), "nothing to come back to");
        if !told.is_empty() {
            assert_eq!(answer.header("x-accel-buffering"), Some("no"));
        }
    }
    let wrong = json!({ "name": "talk", "_meta": { "io.modelcontextprotocol/logLevel": "loud" } });
    let wrong = rig.client("alice").stateless("tools/call", wrong).await;
    assert_eq!((wrong.status.as_u16(), wrong.error_code()), (400, Some(-32602)));
}

/// T32, X8.
#[tokio::test]
async fn hanging_up_cancels() {
    let rig = Rig::start().await;
    let mut client = rig.client("alice");
    let (sender, body) = client.next_stateless(&json!({}), "tools/call", call("wait"));
    let calling = tokio::spawn(async move { sender.post(body.to_string()).await });
    rig.gate.arrived().await;
    calling.abort();
    rig.gate.dropped().await;
}

/// T19, T20, T35, X7, X9.
#[tokio::test]
async fn there_is_post_alone_and_one_message_in_it() {
    let rig = Rig::start().await;
    let mut client = rig.session("alice").await;
    client.version = Some("2026-07-28".to_owned());
    for method in [Method::GET, Method::DELETE] {
        let request = client.raw(method.clone()).header("accept", "text/event-stream");
        let answer = McpClient::send(request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
    let rows = [
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, 400, "clients answer nothing here"),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#, 400, "an array"),
        (r#"{"jsonrpc":"2.0","method":"notifications/custom"}"#, 202, "a notification"),
    ];
    for (body, status, reason) in rows {
        let answer = client.post(body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {reason}");
        assert_eq!(answer.text.is_empty(), status == 202, "{body}: {reason}");
    }
}

/// One person's requests never take all the room.
#[tokio::test]
async fn one_person_has_so_many_requests_at_once_and_no_more() {
    let rig = Rig::start_with(|settings| settings.limits.calls_per_person_max = 1).await;
    let mut alice = rig.client("alice");
    let (sender, body) = alice.next_stateless(&json!({}), "tools/call", call("wait"));
    let waiting = tokio::spawn(async move { sender.post(body.to_string()).await });
    rig.gate.arrived().await;
    let refused = rig.client("alice-elsewhere").stateless("tools/list", json!({})).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.header("retry-after").is_some());
    let other = rig.client("mallory").stateless("tools/list", json!({})).await;
    assert_eq!(other.status, StatusCode::OK, "nobody else is harmed");
    rig.gate.let_through();
    assert_eq!(waiting.await.unwrap().tool_text(), "waited");
    let again = rig.client("alice").stateless("tools/list", json!({})).await;
    assert_eq!(again.status, StatusCode::OK, "a place is given back");
}
