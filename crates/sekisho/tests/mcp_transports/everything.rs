//! A service with tools, prompts, resources and changes, for what one tool cannot show.

use std::sync::Arc;

use async_trait::async_trait;
use sekisho::mcp::{
    CallError, Changes, Context, InputRequest, InputRequired, McpService, ServerInfo, Settings,
    Subscription,
};
use sekisho::protocol::mcp::{LogLevel, McpError, MirroredParam, mirrored_params};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::rig::{Gate, Rig};

/// A service with everything that this revision knows.
#[derive(Debug)]
pub(crate) struct Everything {
    info: Arc<ServerInfo>,
    pub(crate) changes: Changes,
    mirrored: Arc<[MirroredParam]>,
}

impl Everything {
    pub(crate) async fn start() -> (Rig, Changes) {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> (Rig, Changes) {
        let service = Self::new();
        let changes = service.changes.clone();
        (Rig::serve(Arc::new(service), Arc::new(Gate::default()), change).await, changes)
    }

    pub(crate) fn new() -> Self {
        // Where two instances serve it, both hear of it themselves.
        let changes = Changes::heard_by_each_instance();
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
        let mirrored = mirrored_params(&schema).unwrap().into();
        Self { info: Arc::new(info), changes, mirrored }
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
                Err(CallError::InputRequired(InputRequired {
                    requests,
                    ..InputRequired::default()
                }))
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

    async fn mirrored_params(
        &self,
        tool: &str,
        _context: &Context,
    ) -> Result<Arc<[MirroredParam]>, McpError> {
        Ok(if tool == "mirrored" { Arc::clone(&self.mirrored) } else { Arc::default() })
    }
}

/// The parameters of a call without arguments.
pub(crate) fn call(name: &str) -> Value {
    json!({ "name": name, "arguments": {} })
}
