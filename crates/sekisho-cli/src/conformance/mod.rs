//! The server that the official conformance suite asks for: tools, prompts and resources of the
//! names and answers it looks for, and nothing of use to anybody else. Only in builds with the
//! cargo feature `conformance`, never in one that is shipped.

mod asking;
mod prompts;
mod resources;
mod tools;

use std::sync::Arc;

use async_trait::async_trait;
use sekisho::mcp::{
    CacheHint, CallError, Changes, Context, McpService, ServerInfo, Subscription, Tools,
};
use sekisho::protocol::mcp::{McpError, MirroredParam, require_first_page};
use serde_json::value::{RawValue, to_raw_value};

/// A picture of one red point: a PNG in Base64.
const RED_POINT: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";

/// All of it as one service.
pub(crate) fn service() -> Conformance {
    let mut info = ServerInfo::with_tools("conformance", env!("CARGO_PKG_VERSION"));
    info.capabilities = raw(&serde_json::json!({
        "tools": { "listChanged": true },
        "prompts": { "listChanged": true },
        "resources": { "subscribe": true },
        "completions": {},
        "logging": {},
    }));
    let changes = Changes::default();
    let tools = asking::all(tools::all(Tools::new(info), &changes));
    Conformance { tools, changes }
}

#[derive(Debug)]
pub(crate) struct Conformance {
    tools: Tools,
    changes: Changes,
}

#[async_trait]
impl McpService for Conformance {
    async fn info(&self, context: &Context) -> Result<Arc<ServerInfo>, McpError> {
        self.tools.info(context).await
    }

    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        if method.ends_with("/list") {
            require_first_page(params)?;
        }
        match method {
            "prompts/list" => Ok(prompts::list()),
            "prompts/get" => prompts::get(params, context).await,
            "resources/list" => Ok(resources::list()),
            "resources/templates/list" => Ok(resources::templates()),
            "resources/read" => Ok(resources::read(params)?),
            "completion/complete" => Ok(prompts::complete(params)?),
            // The level itself is kept by the transports.
            "logging/setLevel" => Ok(raw(&serde_json::json!({}))),
            _ => self.tools.call(method, params, context).await,
        }
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }

    async fn subscribe(&self, uri: &str, _context: &Context) -> Result<Subscription, McpError> {
        resources::find(uri).map(|_| Subscription::plain())
    }

    async fn mirrored_params(
        &self,
        tool: &str,
        context: &Context,
    ) -> Result<Arc<[MirroredParam]>, McpError> {
        self.tools.mirrored_params(tool, context).await
    }

    fn cache_hint(&self, _method: &str, _context: &Context) -> CacheHint {
        CacheHint { ttl_ms: 1_000, is_public: true }
    }
}

fn raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_default()
}

/// The member of that name, a text, of an object.
fn text_in(value: &serde_json::Value, name: &str) -> Result<String, McpError> {
    let text = value.get(name).and_then(serde_json::Value::as_str);
    text.map(ToOwned::to_owned)
        .ok_or_else(|| McpError::invalid_params(format!("{name} is missing or no text")))
}

/// An object, as a value; an empty one where there is none.
fn object(params: Option<&RawValue>) -> serde_json::Value {
    let read = params.and_then(|params| serde_json::from_str(params.get()).ok());
    read.unwrap_or_else(|| serde_json::json!({}))
}
