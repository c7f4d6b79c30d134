//! The server behind us: this very test program, started again. Its first lines are the test
//! harness's own, which are no messages, as real servers write them too.

use std::sync::Arc;

use async_trait::async_trait;
use sekisho::mcp::{
    CallError, Changes, Context, InputRequest, McpService, ServerInfo, Subscription, serve_stdio,
};
use sekisho::protocol::mcp::{LogLevel, McpError, MirroredParam, ToolCallParams, mirrored_params};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, duplex};

/// Set where the program is to be the server.
pub(crate) const ROLE: &str = "GATEWAY_TEST_ROLE";

/// Set to this, it is one that never heard of handshakes.
pub(crate) const WITHOUT_HANDSHAKE: &str = "without-handshake";

/// What `echo` answers, in a form that nobody would write who had understood it.
pub(crate) const ODD_RESULT: &str =
    r#"{"content":[],"unheard":{"of" : [1.0e2, 12345678901234567890, "\u00e9"]},"isError":false}"#;

/// A server when it is started as one; otherwise it says that such a server can be described.
#[tokio::test]
async fn a_server_when_it_is_started_as_one() {
    let service = Scripted::default();
    if let Some(role) = std::env::var_os(ROLE) {
        if role == WITHOUT_HANDSHAKE {
            let (unrefused, input) = duplex(1 << 20);
            let refused = refuse_handshakes(unrefused);
            let served = serve_stdio(Arc::new(service), input, tokio::io::stdout());
            tokio::join!(refused, served).1.unwrap();
        } else {
            serve_stdio(Arc::new(service), tokio::io::stdin(), tokio::io::stdout()).await.unwrap();
        }
        std::process::exit(0);
    }
    assert!(service.changes().is_some());
}

/// Passes on what comes, but for what nobody knows since 2026-07-28. Notes every method in a file, if one
/// is named.
async fn refuse_handshakes(mut unrefused: DuplexStream) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let message: serde_json::Value = serde_json::from_str(&line).unwrap();
        let method = message["method"].as_str().unwrap_or("answer");
        if let Ok(notes) = std::env::var("GATEWAY_TEST_NOTES") {
            let notes = std::fs::OpenOptions::new().create(true).append(true).open(notes);
            std::io::Write::write_all(&mut notes.unwrap(), format!("{method}\n").as_bytes())
                .unwrap();
        }
        if method == "initialize" {
            let error = json!({ "code": -32601, "message": "no such method" });
            let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "error": error });
            let mut out = tokio::io::stdout();
            out.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
            out.flush().await.unwrap();
        } else {
            unrefused.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        }
    }
}

/// Does by name what a test needs.
#[derive(Debug)]
pub(crate) struct Scripted {
    changes: Changes,
    routed: Arc<[MirroredParam]>,
}

impl Default for Scripted {
    fn default() -> Self {
        let region = json!({ "type": "string", "x-mcp-header": "Region" });
        let routed = mirrored_params(&json!({ "properties": { "region": region } })).unwrap();
        Self { changes: Changes::default(), routed: routed.into() }
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
                    let routed = json!({ "name": "routed", "inputSchema": schema });
                    let number = json!({ "type": "number", "x-mcp-header": "Number" });
                    let schema = json!({ "type": "object", "properties": { "number": number } });
                    let wrong = json!({ "name": "wrong", "inputSchema": schema });
                    Ok(to_raw_value(&json!({ "tools": [routed, wrong] })).unwrap())
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

    async fn mirrored_params(
        &self,
        tool: &str,
        _context: &Context,
    ) -> Result<Arc<[MirroredParam]>, McpError> {
        Ok(if tool == "routed" { Arc::clone(&self.routed) } else { Arc::default() })
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
