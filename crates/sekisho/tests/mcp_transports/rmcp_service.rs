//! A handler of `rmcp` behind our transports: what it says, asks and sees, whichever revision its
//! client speaks. Built with the cargo feature `rmcp`.

#![expect(deprecated, reason = "older clients have it: logging, roots")]

use std::sync::Arc;

use http::StatusCode;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListResourcesResult,
    ListToolsResult, LoggingLevel, LoggingMessageNotificationParam, PaginatedRequestParams,
    ProgressNotificationParam, ReadResourceRequestParams, ReadResourceResponse,
    ResourceUpdatedNotificationParam, ServerCapabilities, ServerConfig, SetLevelRequestParams,
    SubscribeRequestParams, Tool, UnsubscribeRequestParams,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use sekisho::mcp::{Changes, McpService as _, RmcpService};
use sekisho::principal::Principal;
use serde_json::{Value, json};
use testkit::McpClient;
use tokio::sync::mpsc;

use crate::rig::{Gate, Rig};

/// An rmcp server with everything that goes through the adapter.
struct Handler {
    followed: mpsc::UnboundedSender<String>,
    gate: Arc<Gate>,
}

impl Handler {
    async fn start() -> (Rig, Changes, mpsc::UnboundedReceiver<String>) {
        let (followed, hears) = mpsc::unbounded_channel();
        let gate = Arc::new(Gate::default());
        let handler = Self { followed, gate: Arc::clone(&gate) };
        let service = RmcpService::new(handler).with_changes(Changes::default());
        let changes = service.changes().unwrap().clone();
        (Rig::serve(Arc::new(service), gate, |_| {}).await, changes, hears)
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_logging()
            .enable_resources()
            .enable_resources_subscribe()
            .build();
        ServerConfig::new(capabilities).with_instructions("Ask.")
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = serde_json::Map::from_iter([("type".to_owned(), "object".into())]);
        Ok(ListToolsResult::with_all_items(vec![Tool::new("whoami", "Says who calls", schema)]))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::default())
    }

    async fn read_resource(
        &self,
        _: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        Err(ErrorData::resource_not_found("there is no such resource", None))
    }

    async fn set_level(
        &self,
        _: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn subscribe(
        &self,
        followed: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.followed.send(format!("follows {}", followed.uri)).unwrap();
        Ok(())
    }

    async fn unsubscribe(
        &self,
        followed: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.followed.send(format!("leaves {}", followed.uri)).unwrap();
        Ok(())
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text = match &*call.name {
            "whoami" => {
                let principal = context.extensions.get::<Arc<Principal>>();
                principal.map_or("nobody", |principal| &principal.identity.subject).to_owned()
            }
            "talk" => {
                talk(&context).await;
                "talked".to_owned()
            }
            "interview" => {
                let name = ask(&context, "Your name?").await?;
                let color = ask(&context, "Your color?").await?;
                format!("{name} {color}")
            }
            "both" => {
                let (name, roots) =
                    tokio::join!(ask(&context, "Your name?"), count_roots(&context));
                format!("{} {}", name?, roots?)
            }
            "wait" => {
                self.gate.wait().await;
                "waited".to_owned()
            }
            name => return Err(ErrorData::invalid_params(format!("no tool {name}"), None)),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}

async fn talk(context: &RequestContext<RoleServer>) {
    if let Some(token) = context.meta.get_progress_token() {
        let progress = ProgressNotificationParam::new(token, 1.0).with_total(2.0);
        context.peer.notify_progress(progress).await.unwrap();
    }
    for level in [LoggingLevel::Debug, LoggingLevel::Error] {
        let said = LoggingMessageNotificationParam::new(level, "said".into());
        context.peer.notify_logging_message(said).await.unwrap();
    }
    let updated = ResourceUpdatedNotificationParam::new("test://there");
    context.peer.notify_resource_updated(updated).await.unwrap();
}

async fn ask(context: &RequestContext<RoleServer>, message: &str) -> Result<String, ErrorData> {
    let question = json!({
        "mode": "form",
        "message": message,
        "requestedSchema": { "type": "object", "properties": {} },
    });
    let question = serde_json::from_value(question).unwrap();
    let answer = context.peer.create_elicitation(question).await;
    let answer = answer.map_err(|error| ErrorData::invalid_request(error.to_string(), None))?;
    Ok(answer.content.unwrap_or_default()["v"].as_str().unwrap_or("nothing").to_owned())
}

async fn count_roots(context: &RequestContext<RoleServer>) -> Result<usize, ErrorData> {
    let roots = context.peer.list_roots().await;
    let roots = roots.map_err(|error| ErrorData::invalid_request(error.to_string(), None))?;
    Ok(roots.roots.len())
}

fn call(name: &str) -> Value {
    json!({ "name": name, "arguments": {}, "_meta": { "progressToken": "p" } })
}

/// A client with a session that can be asked.
async fn session(rig: &Rig) -> McpClient {
    let mut client = rig.client("alice");
    let asked = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": { "elicitation": {}, "roots": {} },
        "clientInfo": { "name": "t", "version": "1" },
    });
    let begun = client.request("initialize", asked).await;
    assert_eq!(begun.result()["instructions"], "Ask.");
    assert_eq!(begun.result()["capabilities"]["resources"]["subscribe"], true);
    client.session = begun.header("mcp-session-id").map(ToOwned::to_owned);
    client.version = Some("2025-06-18".to_owned());
    client.notify("notifications/initialized", json!({})).await;
    client
}

#[tokio::test]
async fn a_handler_of_rmcp_is_served_to_every_revision_and_learns_who_calls() {
    let (rig, ..) = Handler::start().await;
    for version in crate::rig::VERSIONS {
        let mut client = rig.session_of(version, "alice").await;
        let tools = client.request("tools/list", json!({})).await.result();
        assert_eq!(tools["tools"][0]["name"], "whoami", "{version}");
        assert_eq!(client.call_tool("whoami", json!({})).await.tool_text(), "alice", "{version}");
    }
    let mut client = rig.client("mallory");
    let answer = client.stateless("tools/call", call("whoami")).await;
    assert_eq!(answer.tool_text(), "mallory");
    assert_eq!(answer.result()["resultType"], "complete");
    let mut sse = rig.sse("alice").await;
    sse.initialize("2024-11-05").await;
    let answer = sse.request("tools/call", call("whoami")).await;
    assert_eq!(answer["result"]["content"][0]["text"], "alice");
}

#[tokio::test]
async fn what_a_handler_of_rmcp_refuses_is_refused_in_the_words_of_the_revision() {
    let (rig, ..) = Handler::start().await;
    let mut older = rig.session("alice").await;
    let mut newer = rig.client("alice");
    let rows = [
        ("tools/call", json!({ "name": "nowhere" }), -32602, -32602, "the handler's own"),
        (
            "tools/call",
            json!({ "name": "whoami", "arguments": 1 }),
            -32602,
            -32602,
            "no such params",
        ),
        ("resources/read", json!({ "uri": "test://nowhere" }), -32002, -32602, "no resource"),
        ("prompts/get", json!({ "name": "x" }), -32601, -32601, "not what it has"),
        ("its/own", json!({}), -32601, -32601, "nobody's method"),
    ];
    for (method, params, in_older, in_newer, reason) in rows {
        let answer = older.request(method, params.clone()).await;
        assert_eq!(answer.error_code(), Some(in_older), "{reason}: {}", answer.text);
        let answer = newer.stateless(method, params).await;
        assert_eq!(answer.error_code(), Some(in_newer), "{reason}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_handler_of_rmcp_tells_before_its_answer_what_the_client_wants_to_hear() {
    let (rig, _changes, _hears) = Handler::start().await;
    let mut client = session(&rig).await;
    client.request("logging/setLevel", json!({ "level": "error" })).await.result();
    client.request("resources/subscribe", json!({ "uri": "test://there" })).await.result();
    let mut listening = client.listen().await;

    let body = client.next_request("tools/call", &call("talk"));
    let mut events = client.post_for_stream(body.to_string()).await;
    let said = [events.message().await, events.message().await]
        .map(|message| (message["method"].clone(), message["params"].clone()));
    let last = events.message().await;
    assert_eq!(last["result"]["content"][0]["text"], "talked");
    let progress = json!({ "progressToken": "p", "progress": 1.0, "total": 2.0 });
    let error = json!({ "level": "error", "data": "said" });
    assert_eq!(
        said,
        [("notifications/progress".into(), progress), ("notifications/message".into(), error)],
        "and nothing at debug"
    );
    let updated = listening.message().await;
    assert_eq!(updated["method"], "notifications/resources/updated", "told to who listens");
}

#[tokio::test]
async fn a_handler_of_rmcp_asks_older_clients_by_requests_and_newer_ones_by_calling_again() {
    let (rig, ..) = Handler::start().await;
    let mut client = session(&rig).await;
    let body = client.next_request("tools/call", &call("interview"));
    let mut events = client.post_for_stream(body.to_string()).await;
    for (message, value) in [("Your name?", "An"), ("Your color?", "red")] {
        let question = events.message().await;
        assert_eq!(question["method"], "elicitation/create");
        assert_eq!(question["params"]["message"], message);
        assert_eq!(question.pointer("/params/_meta/progressToken"), None, "nobody would hear it");
        let result = json!({ "action": "accept", "content": { "v": value } });
        let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result });
        assert_eq!(client.post(answer.to_string()).await.status, StatusCode::ACCEPTED);
    }
    assert_eq!(events.message().await["result"]["content"][0]["text"], "An red");

    let mut client = rig.client("alice");
    let capabilities = json!({ "elicitation": {} });
    let mut params = call("interview");
    for value in ["An", "red"] {
        let answer =
            client.stateless_with(&capabilities, "tools/call", params.clone()).await.result();
        assert_eq!(answer["resultType"], "input_required");
        let questions = answer["inputRequests"].as_object().unwrap();
        let (key, question) = questions.iter().next().unwrap();
        assert_eq!((questions.len(), &question["method"]), (1, &json!("elicitation/create")));
        let result = json!({ "action": "accept", "content": { "v": value } });
        params["inputResponses"] = json!({ key: result });
        params["requestState"] = answer["requestState"].clone();
    }
    let answer = client.stateless_with(&capabilities, "tools/call", params).await;
    assert_eq!(answer.tool_text(), "An red");
}

#[tokio::test]
async fn a_handler_of_rmcp_may_ask_two_things_at_once() {
    let (rig, ..) = Handler::start().await;
    let mut client = session(&rig).await;
    let body = client.next_request("tools/call", &call("both"));
    let mut events = client.post_for_stream(body.to_string()).await;
    let questions = [events.message().await, events.message().await];
    for question in questions.iter().rev() {
        let result = if question["method"] == "roots/list" {
            json!({ "roots": [{ "uri": "file:///a" }, { "uri": "file:///b" }] })
        } else {
            json!({ "action": "accept", "content": { "v": "An" } })
        };
        let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result });
        assert_eq!(client.post(answer.to_string()).await.status, StatusCode::ACCEPTED);
    }
    assert_eq!(events.message().await["result"]["content"][0]["text"], "An 2");
}

#[tokio::test]
async fn a_client_that_cannot_be_asked_is_not() {
    let (rig, ..) = Handler::start().await;
    let mut client = rig.client("alice");
    let answer = client.stateless("tools/call", call("interview")).await;
    assert!(answer.error_code().is_some(), "{}", answer.text);
    let mut older = rig.session("alice").await;
    let answer = older.request("tools/call", call("interview")).await;
    assert!(answer.error_code().is_some(), "{}", answer.text);
}

#[tokio::test]
async fn a_call_that_is_cancelled_is_dropped_in_the_handler_of_rmcp() {
    let (rig, ..) = Handler::start().await;
    let mut client = session(&rig).await;
    let body = client.next_request("tools/call", &call("wait"));
    let sender = client.clone();
    let id = body["id"].clone();
    let waiting = tokio::spawn(async move { sender.post(body.to_string()).await });
    rig.gate.arrived().await;
    client.notify("notifications/cancelled", json!({ "requestId": id })).await;
    rig.gate.dropped().await;
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_handler_of_rmcp_learns_who_follows_a_resource_and_who_leaves_it() {
    let (rig, changes, mut hears) = Handler::start().await;
    let mut client = session(&rig).await;
    let there = json!({ "uri": "test://there" });
    client.request("resources/subscribe", there.clone()).await.result();
    assert_eq!(hears.recv().await.unwrap(), "follows test://there");
    let mut listening = client.listen().await;
    changes.resource_updated("test://there");
    assert_eq!(listening.message().await["params"], there, "told by the handler's own Changes");
    client.request("resources/unsubscribe", there).await.result();
    assert_eq!(hears.recv().await.unwrap(), "leaves test://there");
}
