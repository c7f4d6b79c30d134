//! 2026-07-28: what each request must say, what each answer says, and that nothing is remembered.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use sekisho::mcp::{
    CallError, Changes, Context, InputRequest, InputRequired, McpService, ServerInfo, Settings,
    Subscription, Tool, Tools,
};
use sekisho::protocol::mcp::{LogLevel, McpError, MirroredParam, ToolResult, mirrored_params};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use testkit::{McpAnswer, McpClient};

use crate::rig::{Gate, Rig};

/// A service with everything that this revision knows.
#[derive(Debug)]
struct Everything {
    info: Arc<ServerInfo>,
    changes: Changes,
    mirrored: Vec<MirroredParam>,
}

impl Everything {
    async fn start() -> (Rig, Changes) {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Settings)) -> (Rig, Changes) {
        let changes = Changes::default();
        let capabilities = json!({
            "tools": { "listChanged": true },
            "resources": { "subscribe": true },
            "logging": {},
        });
        let mut info = ServerInfo::with_tools("everything", "1");
        info.capabilities = to_raw_value(&capabilities).unwrap();
        info.instructions = Some("Ask.".to_owned());
        let schema =
            json!({ "properties": { "region": { "type": "string", "x-mcp-header": "Region" } } });
        let service = Self {
            info: Arc::new(info),
            changes: changes.clone(),
            mirrored: mirrored_params(&schema).unwrap(),
        };
        (Rig::serve(Arc::new(service), Arc::new(Gate::default()), change).await, changes)
    }
}

#[async_trait]
impl McpService for Everything {
    async fn info(&self, _: &Context) -> Result<Arc<ServerInfo>, McpError> {
        Ok(Arc::clone(&self.info))
    }

    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        let params: Value =
            params.map_or(Value::Null, |params| serde_json::from_str(params.get()).unwrap());
        let text = |text: String| {
            Ok(to_raw_value(&json!({ "content": [{ "type": "text", "text": text }] })).unwrap())
        };
        match (method, params["name"].as_str()) {
            ("tools/list", _) => Ok(to_raw_value(&json!({ "tools": [] })).unwrap()),
            ("tools/call", Some("mirrored")) => text(params["arguments"]["region"].to_string()),
            ("tools/call", Some("talk")) => {
                context.log(LogLevel::Info, None, &"info");
                context.log(LogLevel::Error, Some("rig"), &"error");
                context.progress(1.0, Some(2.0), None);
                text("talked".to_owned())
            }
            ("tools/call", Some("interview")) => {
                let schema = json!({ "type": "object" });
                let name = InputRequest::elicitation("name", "Your name?", &schema);
                let name: Value = serde_json::from_str(context.ask(name).await?.get()).unwrap();
                let color = InputRequest::elicitation("color", "Your color?", &schema);
                let color: Value = serde_json::from_str(context.ask(color).await?.get()).unwrap();
                text(format!("{} {}", name["content"]["v"], color["content"]["v"]))
            }
            ("tools/call", Some("sample")) => {
                context.ask(InputRequest::sampling("s", &json!({}))).await?;
                text("sampled".to_owned())
            }
            ("prompts/list", _) => {
                let caller = &context.principal().unwrap().identity.subject;
                Ok(to_raw_value(&json!({ "prompts": [{ "name": caller }] })).unwrap())
            }
            ("tools/call", Some("left")) => {
                let requests = vec![InputRequest::sampling("s", &json!({}))];
                Err(CallError::InputRequired(InputRequired { requests, state: None }))
            }
            ("resources/read", _) => {
                Err(McpError::resource_not_found(params["uri"].as_str().unwrap()).into())
            }
            ("tools/call", Some("kind")) => {
                Ok(RawValue::from_string(r#"{"future" : 1.0e2}"#.to_owned()).unwrap())
            }
            ("tools/call", Some(name)) => {
                Err(McpError::invalid_params(format!("no tool {name}")).into())
            }
            _ => Err(McpError::method_not_found(method).into()),
        }
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }

    async fn subscribe(&self, uri: &str, _: &Context) -> Result<Subscription, McpError> {
        if uri == "test://there" {
            Ok(Subscription::plain())
        } else {
            Err(McpError::invalid_params("there is no such resource"))
        }
    }

    fn mirrored_params(&self, tool: &str) -> &[MirroredParam] {
        if tool == "mirrored" { &self.mirrored } else { &[] }
    }
}

/// The revision served.
const V: &str = "2026-07-28";

fn call(name: &str) -> Value {
    json!({ "name": name, "arguments": {} })
}

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

/// Case 92: what waits for a reader is bounded, whatever stream it is; then the stream is over.
#[tokio::test]
async fn a_listener_that_never_reads_is_cut_off_and_others_hear_everything() {
    let (rig, changes) = Everything::start_with(|settings| {
        settings.limits.queue_events_max = 4;
        settings.limits.calls_per_person_max = 1;
    })
    .await;
    let mut newer = rig.client("alice");
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let (sender, body) = newer.next_stateless(&json!({}), "subscriptions/listen", filter);
    let mut stateless = sender.post_for_stream(body.to_string()).await;
    let older = rig.session("mallory").await;
    let mut stream = older.listen().await;
    let full = rig.client("alice-elsewhere").stateless("server/discover", json!({})).await;
    assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS, "a listener counts for its person");

    // Nobody reads in between: this test has the only thread.
    for _ in 0..1_000 {
        changes.tools_changed();
    }
    let mut heard = [0, 0];
    while let Some(event) = stateless.next().await {
        heard[0] += usize::from(event.json()["method"] == "notifications/tools/list_changed");
    }
    while let Some(event) = stream.next().await {
        heard[1] += usize::from(event.json()["method"] == "notifications/tools/list_changed");
    }
    assert_eq!(heard, [0, 0], "what was waiting is given up");

    let mut again = rig.client("alice-elsewhere");
    let found = again.stateless("server/discover", json!({})).await;
    assert_eq!(found.status, StatusCode::OK, "the place is free again");
    let mut stream = older.listen().await;
    stream.next().await;
    changes.tools_changed();
    assert_eq!(stream.message().await["method"], "notifications/tools/list_changed");
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

const ELICITATION: fn() -> Value = || json!({ "elicitation": {} });

fn answers(key: &str, value: &str) -> Value {
    json!({ key: { "action": "accept", "content": { "v": value } } })
}

async fn interview(client: &mut McpClient, name: &str, more: Value) -> McpAnswer {
    let mut params = call(name);
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.stateless_with(&ELICITATION(), "tools/call", params).await
}

/// T29, T34: answers of earlier rounds need not be brought again.
#[tokio::test]
async fn a_call_asks_as_often_as_it_needs_and_remembers_nothing_itself() {
    let (rig, _) = Everything::start().await;
    let mut client = rig.client("alice");
    let first = interview(&mut client, "interview", json!({})).await.result();
    assert_eq!(first["resultType"], "input_required");
    assert_eq!(first["inputRequests"]["name"]["method"], "elicitation/create");
    assert_eq!(first.get("ttlMs"), None);
    let state = &first["requestState"];
    let round = json!({ "inputResponses": answers("name", "An"), "requestState": state });
    let second = interview(&mut client, "interview", round).await.result();
    assert!(second["inputRequests"].get("name").is_none(), "not asked twice");
    assert_ne!(second["requestState"], *state);

    let mut other_process = rig.client("alice-newer");
    let round = json!({
        "inputResponses": { "color": { "action": "accept", "content": { "v": "red" } }, "x": {} },
        "requestState": second["requestState"],
    });
    let last = interview(&mut other_process, "interview", round).await;
    assert_eq!(last.tool_text(), r#""An" "red""#, "a refreshed token changes nothing");

    let again = json!({ "requestState": second["requestState"], "inputResponses": {} });
    let again = interview(&mut client, "interview", again).await.result();
    assert!(again["inputRequests"].get("color").is_some(), "a missing answer is asked for again");
}

/// T34, R12.
#[tokio::test]
async fn a_state_serves_the_call_and_the_caller_it_was_made_for() {
    let (rig, _) = Everything::start().await;
    let mut alice = rig.client("alice");
    let state =
        interview(&mut alice, "interview", json!({})).await.result()["requestState"].clone();
    let text = state.as_str().unwrap();
    let flipped =
        format!("{}{}", &text[..text.len() - 2], if text.ends_with("AA") { "BB" } else { "AA" });
    let rows = [
        ("alice", "interview", state.clone(), json!({}), true, "as it was made"),
        ("alice", "interview", json!(format!("{text}-x")), json!({}), false, "lengthened"),
        ("alice", "interview", json!(flipped), json!({}), false, "altered"),
        ("alice", "interview", json!(7), json!({}), false, "no text"),
        ("mallory", "interview", state.clone(), json!({}), false, "another person"),
        ("alice-elsewhere", "interview", state.clone(), json!({}), false, "another client"),
        ("alice", "sample", state.clone(), json!({}), false, "another tool"),
        ("alice", "interview", state.clone(), json!({ "x": 1 }), false, "other arguments"),
    ];
    for (token, tool, state, arguments, opens, reason) in rows {
        let mut client = rig.client(token);
        let params = json!({ "requestState": state, "arguments": arguments });
        let answer = interview(&mut client, tool, params).await;
        let expected = if opens { None } else { Some(-32602) };
        assert_eq!(answer.error_code(), expected, "{reason}: {}", answer.text);
    }
    rig.clock.advance(Duration::from_secs(15 * 60 + 1));
    let late = interview(&mut alice, "interview", json!({ "requestState": state })).await;
    assert_eq!(late.error_code(), Some(-32602), "too late");
}

/// T27, T34.
#[tokio::test]
async fn a_client_is_asked_only_for_what_it_declares_and_answers_are_objects() {
    let (rig, _) = Everything::start().await;
    let mut client = rig.client("alice");
    for tool in ["sample", "left"] {
        let asked = interview(&mut client, tool, json!({})).await;
        assert_eq!((asked.status.as_u16(), asked.error_code()), (400, Some(-32021)), "{tool}");
        let required = &asked.message()["error"]["data"]["requiredCapabilities"];
        assert_eq!(*required, json!({ "sampling": {} }), "{tool}");
    }

    for wrong in [json!(7), json!([]), json!({ "name": 12345 })] {
        let answer = interview(&mut client, "interview", json!({ "inputResponses": wrong })).await;
        assert_eq!(answer.error_code(), Some(-32602), "{wrong}");
    }
}

/// T9, T17: the same service, asked by a client with a session: a request on its stream.
#[tokio::test]
async fn the_same_question_reaches_an_older_client_as_a_request() {
    let (rig, _) = Everything::start().await;
    let mut client = rig.client("alice");
    let begun = client
        .request(
            "initialize",
            json!({
                "protocolVersion": "2025-06-18",
                "capabilities": { "elicitation": {} },
                "clientInfo": { "name": "t", "version": "1" },
            }),
        )
        .await;
    client.session = begun.header("mcp-session-id").map(ToOwned::to_owned);
    client.version = Some("2025-06-18".to_owned());
    client.notify("notifications/initialized", json!({})).await;

    let body = client.next_request("tools/call", &call("interview"));
    let mut events = client.post_for_stream(body.to_string()).await;
    for value in ["An", "red"] {
        let question = events.message().await;
        assert_eq!(question["method"], "elicitation/create");
        let answer = json!({
            "jsonrpc": "2.0",
            "id": question["id"],
            "result": { "action": "accept", "content": { "v": value } },
        });
        let mut stranger = rig.client("mallory");
        stranger.session.clone_from(&client.session);
        let stolen = stranger.post(answer.to_string()).await;
        assert_eq!(stolen.status, StatusCode::NOT_FOUND, "another's session is unknown");
        assert_eq!(client.post(answer.to_string()).await.status, StatusCode::ACCEPTED);
    }
    let last = events.message().await;
    assert_eq!(last["result"]["content"][0]["text"], r#""An" "red""#);
    assert_eq!(last["result"].get("resultType"), None, "older clients know no such member");
}

/// T33, X17, X18, X29.
#[tokio::test]
async fn a_listener_hears_what_it_asked_for_under_its_own_id() {
    let (rig, changes) = Everything::start().await;
    let mut client = rig.client("alice");
    let filter = json!({
        "notifications": {
            "toolsListChanged": true,
            "promptsListChanged": true,
            "resourceSubscriptions": ["test://there", "test://nowhere"],
        },
    });
    let (sender, body) = client.next_stateless(&json!({}), "subscriptions/listen", filter);
    let mut events = sender.post_for_stream(body.to_string()).await;
    let first = events.message().await;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    let granted = json!({ "toolsListChanged": true, "resourceSubscriptions": ["test://there"] });
    assert_eq!(first["params"]["notifications"], granted, "what is served, of what is wanted");

    changes.prompts_changed();
    changes.resource_updated("test://elsewhere");
    changes.tools_changed();
    changes.resource_updated("test://there");
    let second = events.message().await;
    let third = events.message().await;
    assert_eq!(second["method"], "notifications/tools/list_changed");
    assert_eq!(third["method"], "notifications/resources/updated");
    assert_eq!(third["params"]["uri"], "test://there");
    for message in [&first, &second, &third] {
        let id = &message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
        assert_eq!(*id, json!(1), "a number stays a number");
    }

    rig.shutdown.cancel();
    let last = events.message().await;
    assert_eq!(last["id"], 1);
    assert_eq!(last["result"]["resultType"], "complete");
    events.end_in_order().await;
}

/// X27: a stream does not outlive the right to it.
#[tokio::test]
async fn a_listener_whose_token_is_taken_back_is_told_that_nothing_more_comes() {
    let (rig, _) = Everything::start().await;
    let mut client = rig.client("alice");
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let (sender, body) = client.next_stateless(&json!({}), "subscriptions/listen", filter);
    let mut events = sender.post_for_stream(body.to_string()).await;
    events.message().await;
    rig.verifier.revoke("alice");
    assert_eq!(events.message().await["result"]["resultType"], "complete");
    events.end().await;
}

/// A server that never changes has nothing to listen to.
#[tokio::test]
async fn listening_is_no_method_of_a_server_that_never_changes() {
    let rig = Rig::start().await;
    let mut client = rig.client("alice");
    let params = json!({ "notifications": { "toolsListChanged": true } });
    let answer = client.stateless("subscriptions/listen", params).await;
    assert_eq!((answer.status.as_u16(), answer.error_code()), (404, Some(-32601)));
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
