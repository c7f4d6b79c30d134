//! A server at a URL behind the checkpoint: one that anybody may ask, and another sekisho.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::extract::Request;
use sekisho::clock::SystemClock;
use sekisho::mcp::{CallError, Context, McpEndpoints, ServerInfo, Settings, Tool, Tools};
use sekisho::protocol::mcp::ToolResult;
use serde_json::json;
use serde_json::value::RawValue;
use testkit::{McpClient, SseClient};
use tokio_util::sync::CancellationToken;

use crate::harness::Folder;
use crate::person::log_in;

#[derive(Debug)]
struct Hello;

#[async_trait]
impl Tool for Hello {
    fn definition(&self) -> serde_json::Value {
        json!({ "name": "hello", "inputSchema": { "type": "object", "properties": {} } })
    }

    async fn call(
        &self,
        _arguments: Option<&RawValue>,
        _context: &Context,
    ) -> Result<ToolResult, CallError> {
        Ok(ToolResult::text("from behind"))
    }
}

/// A server without a guard: where it is, and how many requests it got.
pub(crate) async fn unguarded() -> (String, Arc<AtomicUsize>) {
    let service = Tools::new(ServerInfo::with_tools("hello", "1")).with(Hello);
    let endpoints = McpEndpoints::new(
        Arc::new(service),
        Settings::new("/messages"),
        None,
        CancellationToken::new(),
        Arc::new(SystemClock),
    );
    let asked: Arc<AtomicUsize> = Arc::default();
    let counted = Arc::clone(&asked);
    let counting = move |request: Request, next: axum::middleware::Next| {
        counted.fetch_add(1, Ordering::SeqCst);
        next.run(request)
    };
    let router = endpoints.router("/").layer(axum::middleware::from_fn(counting));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test]
async fn a_server_at_a_url_is_guarded_for_clients_of_every_transport_and_era() {
    for path in ["/mcp", "/sse"] {
        let (url, asked) = unguarded().await;
        let folder = Folder::new();
        let server = folder.serve_with(&["serve", "--upstream", &format!("{url}{path}")]).await;
        assert!(server.said.iter().any(|line| line.starts_with("main: give an MCP client ")));
        let nobody = McpClient::new(server.url("/mcp")).begin("2025-11-25").await;
        assert_eq!(nobody.status, 401);
        assert_eq!(asked.load(Ordering::SeqCst), 0, "nobody gets through");
        let tokens = log_in(&server, "demo", &server.password().unwrap()).await;

        let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
        client.begin("2025-11-25").await;
        let told = client.call_tool("hello", json!({})).await.tool_text();
        assert_eq!(told, "from behind", "{path}");

        let mut client = SseClient::open(&server.url("/sse"), Some(&tokens.access)).await;
        client.initialize("2024-11-05").await;
        let params = json!({ "name": "hello", "arguments": {} });
        let told = client.request("tools/call", params.clone()).await.to_string();
        assert!(told.contains("from behind"), "{path}: {told}");

        let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
        let told = client.stateless("tools/call", params).await.tool_text();
        assert_eq!(told, "from behind", "{path}");
    }
}

#[tokio::test]
async fn another_checkpoint_is_passed_with_the_operators_own_token_and_with_no_other() {
    let inner = Folder::new();
    let guarding = inner.serve("").await;
    let made = inner.run(&["token", "add", "--user", "demo", "--json"], "").await;
    let made: serde_json::Value = serde_json::from_str(&made.out).unwrap();
    let token = made["token"].as_str().unwrap();

    let outer = Folder::new();
    let settings = format!(
        "[[server]]\nname = \"main\"\npath = \"/\"\n[server.upstream]\nurl = \"{}\"\n\
         headers = {{ Authorization = \"Bearer {token}\" }}\n",
        guarding.url("/mcp")
    );
    let server = outer.serve(&settings).await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
    let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    client.begin("2025-11-25").await;
    let told = client.call_tool("fortune", json!({})).await.tool_text();
    assert!(told.starts_with("今日の運勢は: "), "{told}");
    let shown = outer.run(&["config", "show"], "").await;
    assert!(
        shown.out.contains("upstream.headers = { \"Authorization\" = \"***\" }"),
        "{}",
        shown.out
    );
    let log = std::fs::read_to_string(outer.path().join("log")).unwrap();
    assert!(!log.contains(token), "{log}");

    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": { "protocolVersion": "2025-11-25", "capabilities": {} } });
    let arguments = ["stdio", "--upstream", &guarding.url("/mcp")];
    let done = Folder::new().run(&arguments, &format!("{call}\n")).await;
    assert!(done.out.contains("does not let us in"), "{}{}", done.out, done.err);
    assert!(done.err.contains("upstream.headers"), "the operator hears what to do: {}", done.err);
}
