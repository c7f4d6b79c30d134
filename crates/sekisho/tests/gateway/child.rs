//! The server behind us: this very test program, started again. Its first lines are the test
//! harness's own, which are no messages, as real servers write them too.

use std::sync::Arc;

use async_trait::async_trait;
use sekisho::mcp::{
    CallError, Changes, Context, InputRequest, McpService, ServerInfo, Subscription, serve_stdio,
};
use sekisho::principal::Principal;
use sekisho::protocol::mcp::{LogLevel, McpError, MirroredParam, ToolCallParams, mirrored_params};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

/// Set where the program is to be the server.
pub(crate) const ROLE: &str = "GATEWAY_TEST_ROLE";

/// What `echo` answers, in a form that nobody would write who had understood it.
pub(crate) const ODD_RESULT: &str =
    r#"{"content":[],"unheard":{"of" : [1.0e2, 12345678901234567890, "\u00e9"]},"isError":false}"#;

/// A server when it is started as one; otherwise it says that such a server can be described.
#[tokio::test]
async fn a_server_when_it_is_started_as_one() {
    let service = Scripted::default();
    if std::env::var_os(ROLE).is_some() {
        serve_stdio(Arc::new(service), tokio::io::stdin(), tokio::io::stdout()).await.unwrap();
        std::process::exit(0);
    }
    assert!(service.changes().is_some());
}

/// Does by name what a test needs.
#[derive(Debug)]
pub(crate) struct Scripted {
    changes: Changes,
    routed: Vec<MirroredParam>,
}

impl Default for Scripted {
    fn default() -> Self {
        let region = json!({ "type": "string", "x-mcp-header": "Region" });
        let routed = mirrored_params(&json!({ "properties": { "region": region } })).unwrap();
        Self { changes: Changes::default(), routed }
    }
}

#[async_trait]
impl McpService for Scripted {
    async fn info(&self, _context: &Context) -> Result<Arc<ServerInfo>, McpError> {
        let mut info = ServerInfo::with_tools("scripted", "1");
        info.capabilities = to_raw_value(&json!({
            "tools": { "listChanged": true },
            "resources": { "subscribe": true },
            "logging": {},
            "tasks": { "list": {} },
            "experimental": { "x": {} },
        }))
        .unwrap();
        Ok(Arc::new(info))
    }

    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        if method != "tools/call" {
            return match method {
                "params/echo" => Ok(params.unwrap().to_owned()),
                "logging/setLevel" => Ok(raw("{}")),
                "tools/list" => {
                    let region = json!({ "type": "string", "x-mcp-header": "Region" });
                    let schema = json!({ "type": "object", "properties": { "region": region } });
                    let tool = json!({ "name": "routed", "inputSchema": schema });
                    Ok(to_raw_value(&json!({ "tools": [tool] })).unwrap())
                }
                "resources/read" => {
                    let error = McpError::new(-32002, "there is no such resource");
                    Err(error.with_data(&json!({ "uri": "test://x" })).into())
                }
                _ => Err(McpError::method_not_found(method).into()),
            };
        }
        let call = ToolCallParams::parse(params)?;
        match call.name.as_ref() {
            "odd" => Ok(raw(ODD_RESULT)),
            "tell" => {
                context.progress(1.0, Some(2.0), Some("half"));
                context.log(LogLevel::Warning, None, &"careful");
                Ok(raw("{}"))
            }
            "ask" => {
                let schema = json!({ "type": "object", "properties": {} });
                let question = InputRequest::elicitation("name", "Who are you?", &schema);
                let answer = context.ask(question).await?;
                let question = InputRequest::elicitation("again", "Really?", &schema);
                let again = context.ask(question).await?;
                Ok(to_raw_value(&json!({ "answers": [answer, again] })).unwrap())
            }
            "can" => {
                let can = ["sampling", "elicitation", "roots"].map(|what| context.client_can(what));
                Ok(to_raw_value(&json!({ "can": can })).unwrap())
            }
            "change" => {
                self.changes.tools_changed();
                self.changes.resource_updated("test://followed");
                Ok(raw("{}"))
            }
            "routed" => {
                let arguments = call.arguments;
                Ok(to_raw_value(&json!({ "content": [], "arguments": arguments })).unwrap())
            }
            "who" => Ok(to_raw_value(&json!({ "pid": std::process::id() })).unwrap()),
            "environment" => {
                let mut names: Vec<_> =
                    std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
                names.sort();
                Ok(to_raw_value(&json!({ "environment": names })).unwrap())
            }
            "fall" => std::process::abort(),
            "wait" => {
                let _left = Left(call.arguments.and_then(|given| {
                    let given: serde_json::Value = serde_json::from_str(given.get()).ok()?;
                    given["left"].as_str().map(str::to_owned)
                }));
                std::future::pending().await
            }
            "flood" => {
                let line = "x".repeat(1 << 20);
                Ok(to_raw_value(&json!({ "flood": line })).unwrap())
            }
            name => Err(McpError::invalid_params(format!("no tool {name:?}")).into()),
        }
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }

    fn mirrored_params(&self, tool: &str, _caller: Option<&Principal>) -> &[MirroredParam] {
        if tool == "routed" { &self.routed } else { &[] }
    }

    async fn subscribe(&self, _uri: &str, _context: &Context) -> Result<Subscription, McpError> {
        Ok(Subscription::plain())
    }
}

/// Says in a file that a call was given up: in the one that was named, or that the environment names.
struct Left(Option<String>);

impl Drop for Left {
    fn drop(&mut self) {
        let path = self.0.take().or_else(|| std::env::var("GATEWAY_TEST_LEFT").ok()).unwrap();
        std::fs::write(path, "cancelled").unwrap();
    }
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}
