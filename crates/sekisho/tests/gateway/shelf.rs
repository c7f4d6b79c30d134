//! A server of plain lists that writes down what reaches it, and that hangs and fails when a test
//! wants it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sekisho::mcp::{CallError, Changes, Context, McpService, ServerInfo, Subscription};
use sekisho::protocol::mcp::McpError;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// What it is about.
#[derive(Debug)]
pub(crate) struct Shelf {
    capabilities: Value,
    /// Each list by its method, in pages.
    lists: Vec<(&'static str, Vec<Value>)>,
    reached: Mutex<Vec<(String, String)>>,
    greeted: AtomicUsize,
    changes: Changes,
    /// Closed where it hangs, by what is asked.
    gate: Semaphore,
    hangs_at: Option<&'static str>,
    fails: bool,
}

impl Shelf {
    /// A server that can do this, and nothing else.
    pub(crate) fn new(capabilities: Value) -> Self {
        Self {
            capabilities,
            lists: Vec::new(),
            reached: Mutex::default(),
            greeted: AtomicUsize::new(0),
            changes: Changes::default(),
            gate: Semaphore::new(0),
            hangs_at: None,
            fails: false,
        }
    }

    /// A server of these tools, a page each.
    pub(crate) fn of_tools(pages: &[&[&str]]) -> Self {
        Self::new(json!({ "tools": {} })).with("tools/list", "tools", "name", pages)
    }

    pub(crate) fn with(
        mut self,
        method: &'static str,
        list: &str,
        key: &str,
        pages: &[&[&str]],
    ) -> Self {
        let entries = |page: &&[&str]| -> Vec<Value> {
            page.iter().map(|name| json!({ key: name, "x": 1 })).collect()
        };
        let end = pages.len() - 1;
        let pages = pages.iter().enumerate().map(|(at, page)| {
            let mut page = json!({ list: entries(page) });
            if at < end {
                page["nextCursor"] = json!(format!("page {}", at + 1));
            }
            page
        });
        self.lists.push((method, pages.collect()));
        self
    }

    /// It does not answer this, until it is [let on](Self::let_on).
    pub(crate) fn hanging_at(self, method: &'static str) -> Self {
        Self { hangs_at: Some(method), ..self }
    }

    pub(crate) fn failing(self) -> Self {
        Self { fails: true, ..self }
    }

    /// Everything that hangs goes on.
    pub(crate) fn let_on(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// What it was asked since this was last looked at.
    pub(crate) fn reached(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.reached.lock().unwrap())
    }

    /// How often it was asked what it is.
    pub(crate) fn greeted(&self) -> usize {
        self.greeted.load(Ordering::Relaxed)
    }

    async fn come_to(&self, method: &str) -> Result<(), McpError> {
        if self.fails {
            return Err(McpError::internal());
        }
        if self.hangs_at == Some(method) {
            drop(self.gate.acquire().await.unwrap());
        }
        Ok(())
    }
}

#[async_trait]
impl McpService for Shelf {
    async fn info(&self, _context: &Context) -> Result<Arc<ServerInfo>, McpError> {
        self.greeted.fetch_add(1, Ordering::Relaxed);
        self.come_to("initialize").await?;
        let mut info = ServerInfo::with_tools("shelf", "1");
        info.capabilities = to_raw_value(&self.capabilities).unwrap();
        Ok(Arc::new(info))
    }

    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        _context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        let text = params.map_or("", RawValue::get).to_owned();
        self.reached.lock().unwrap().push((method.to_owned(), text.clone()));
        self.come_to(method).await?;
        if let Some((_, pages)) = self.lists.iter().find(|(list, _)| *list == method) {
            let params: Value = serde_json::from_str(&text).unwrap_or_default();
            let page = match params["cursor"].as_str() {
                None => 0,
                Some(cursor) => cursor.strip_prefix("page ").unwrap().parse::<usize>().unwrap(),
            };
            return Ok(to_raw_value(&pages[page]).unwrap());
        }
        let link = json!({ "type": "resource_link", "uri": "note:1", "name": "note:1" });
        Ok(to_raw_value(&match method {
            "tools/call" => json!({ "content": [link], "structuredContent": { "uri": "note:1" } }),
            "resources/read" => json!({ "contents": [{ "uri": "note:1", "text": "" }] }),
            "prompts/get" => json!({ "messages": [{ "role": "user", "content": link }] }),
            _ => json!({}),
        })
        .unwrap())
    }

    async fn notice(&self, method: &str, _params: Option<&RawValue>, _context: &Context) {
        self.reached.lock().unwrap().push((method.to_owned(), String::new()));
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }

    async fn subscribe(&self, uri: &str, _context: &Context) -> Result<Subscription, McpError> {
        self.reached.lock().unwrap().push(("subscribe".to_owned(), uri.to_owned()));
        Ok(Subscription::plain())
    }
}
