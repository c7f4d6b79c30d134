//! A service made of plain tools, for servers that are written here.

use std::collections::HashMap;
use std::fmt;

use async_trait::async_trait;
use sekisho_protocol::mcp::{McpError, ToolCallParams, ToolResult};
use serde_json::value::RawValue;

use super::service::{Context, McpService, ServerInfo};

/// One tool.
#[async_trait]
pub trait Tool: fmt::Debug + Send + Sync {
    /// What `tools/list` says of it: an object with `name` and `inputSchema`.
    fn definition(&self) -> serde_json::Value;

    /// Runs it. What goes wrong inside is a [`ToolResult::failure`], which a model can read;
    /// an [`McpError`] says that the call itself was wrong.
    async fn call(
        &self,
        arguments: Option<&RawValue>,
        context: &Context,
    ) -> Result<ToolResult, McpError>;
}

/// Serves `tools/list` and `tools/call`.
#[derive(Debug)]
pub struct Tools {
    info: ServerInfo,
    definitions: Vec<serde_json::Value>,
    list: Box<RawValue>,
    by_name: HashMap<String, Box<dyn Tool>>,
}

impl Tools {
    /// A server without tools yet.
    pub fn new(info: ServerInfo) -> Self {
        let mut tools =
            Self { info, definitions: Vec::new(), list: Box::default(), by_name: HashMap::new() };
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
            self.by_name.insert(name.to_owned(), Box::new(tool));
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
    ) -> Result<Box<RawValue>, McpError> {
        let asked = ToolCallParams::parse(params)?;
        let Some(tool) = self.by_name.get(asked.name.as_ref()) else {
            return Err(McpError::invalid_params(format!(
                "there is no tool {:?} here",
                asked.name
            )));
        };
        tool.call(asked.arguments, context).await?.to_raw()
    }
}

#[async_trait]
impl McpService for Tools {
    async fn info(&self, _context: &Context) -> Result<ServerInfo, McpError> {
        Ok(self.info.clone())
    }

    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, McpError> {
        match method {
            "tools/list" => Ok(self.list.clone()),
            "tools/call" => self.call_tool(params, context).await,
            _ => Err(McpError::method_not_found(method)),
        }
    }
}
