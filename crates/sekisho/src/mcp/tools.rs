//! A service made of plain tools, for servers that are written here.

use std::collections::HashMap;
use std::fmt;

use async_trait::async_trait;
use sekisho_protocol::mcp::{
    McpError, MirroredParam, ToolCallParams, ToolResult, mirrored_params, require_first_page,
};
use serde_json::value::RawValue;
use std::sync::Arc;

use super::input::CallError;
use super::service::{CacheHint, Context, McpService, ServerInfo};

/// How long clients may keep the list: it changes with the program only.
const LIST_TTL_MS: u64 = 60_000;

/// One tool.
#[async_trait]
pub trait Tool: fmt::Debug + Send + Sync {
    /// What `tools/list` says of it: an object with `name` and `inputSchema`.
    fn definition(&self) -> serde_json::Value;

    /// Runs it. What goes wrong inside is a [`ToolResult::failure`], which a model can read;
    /// a [`CallError`] says that the call itself was wrong, or needs an answer of the client first.
    async fn call(
        &self,
        arguments: Option<&RawValue>,
        context: &Context,
    ) -> Result<ToolResult, CallError>;
}

/// Serves `tools/list` and `tools/call`.
#[derive(Debug)]
pub struct Tools {
    info: Arc<ServerInfo>,
    definitions: Vec<serde_json::Value>,
    list: Box<RawValue>,
    by_name: HashMap<String, Named>,
}

/// A tool and which of its arguments are repeated in headers.
#[derive(Debug)]
struct Named {
    tool: Box<dyn Tool>,
    mirrored: Arc<[MirroredParam]>,
}

impl Tools {
    /// A server without tools yet.
    pub fn new(info: ServerInfo) -> Self {
        let mut tools = Self {
            info: Arc::new(info),
            definitions: Vec::new(),
            list: Box::default(),
            by_name: HashMap::new(),
        };
        tools.write_list();
        tools
    }

    /// Adds a tool; the list keeps the order of adding. A tool without a name, or with one that
    /// is taken, replaces nothing and is left out.
    #[must_use]
    pub fn with(mut self, tool: impl Tool + 'static) -> Self {
        let definition = tool.definition();
        if let Some(name) = definition.get("name").and_then(serde_json::Value::as_str)
            && !self.by_name.contains_key(name)
        {
            let schema = definition.get("inputSchema").unwrap_or(&serde_json::Value::Null);
            let mirrored = mirrored_params(schema).unwrap_or_else(|reason| {
                tracing::warn!(mcp.tool = name, reason, "clients will leave this tool out");
                Vec::new()
            });
            self.by_name
                .insert(name.to_owned(), Named { tool: Box::new(tool), mirrored: mirrored.into() });
            self.definitions.push(definition);
            self.write_list();
        }
        self
    }

    /// The list is written once and served as it is.
    fn write_list(&mut self) {
        let list = serde_json::json!({ "tools": self.definitions });
        self.list = serde_json::value::to_raw_value(&list).unwrap_or_default();
    }

    async fn call_tool(
        &self,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        let asked = ToolCallParams::parse(params)?;
        let Some(Named { tool, .. }) = self.by_name.get(asked.name.as_ref()) else {
            return Err(McpError::no_such_tool(&asked.name).into());
        };
        Ok(tool.call(asked.arguments, context).await?.to_raw()?)
    }
}

#[async_trait]
impl McpService for Tools {
    async fn info(&self, _context: &Context) -> Result<Arc<ServerInfo>, McpError> {
        Ok(Arc::clone(&self.info))
    }

    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        match method {
            "tools/list" => {
                require_first_page(params)?;
                Ok(self.list.clone())
            }
            "tools/call" => self.call_tool(params, context).await,
            _ => Err(McpError::method_not_found(method).into()),
        }
    }

    async fn mirrored_params(
        &self,
        tool: &str,
        _context: &Context,
    ) -> Result<Arc<[MirroredParam]>, McpError> {
        let named = self.by_name.get(tool);
        Ok(named.map(|named| Arc::clone(&named.mirrored)).unwrap_or_default())
    }

    /// The list is the same for everyone and as long as the program runs.
    fn cache_hint(&self, method: &str, _context: &Context) -> CacheHint {
        match method {
            "tools/list" => CacheHint { ttl_ms: LIST_TTL_MS, is_public: false },
            _ => CacheHint::default(),
        }
    }
}
