//! What one would build by hand today: an `rmcp` Streamable HTTP service with the tool `fortune`
//! behind a bearer check of one SHA-256 and one look-up. The tool is written against
//! `ServerHandler` directly, without the macros' router, and what can be turned off is off.

mod shared;
#[path = "shared/tokens.rs"]
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use clap::{Parser, ValueEnum};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, StatusCode};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt as _};

use tokens::Tokens;

/// What to serve.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long)]
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The one token that opens the door.
    #[arg(long, default_value = "")]
    token: String,
    /// How rmcp answers.
    #[arg(long, value_enum)]
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Sessions, answers as an event stream: rmcp's default.
    Session,
    /// No sessions, answers as plain JSON.
    Json,
    /// No HTTP at all: standard input and output.
    Stdio,
}

const FORTUNES: [&str; 7] = ["大吉", "中吉", "小吉", "吉", "末吉", "凶", "大凶"];

#[derive(Debug, Clone, Default)]
struct Fortune {
    drawn: Arc<AtomicUsize>,
}

impl ServerHandler for Fortune {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = serde_json::Map::from_iter([("type".to_owned(), "object".into())]);
        Ok(ListToolsResult::with_all_items(vec![Tool::new("fortune", "Draws a fortune", schema)]))
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if call.name != "fortune" {
            return Err(ErrorData::invalid_params("there is no such tool", None));
        }
        let turn = self.drawn.fetch_add(1, Ordering::Relaxed) % FORTUNES.len();
        let fortune = FORTUNES.get(turn).copied().unwrap_or_default();
        let text = ContentBlock::text(format!("今日の運勢は: {fortune}"));
        Ok(CallToolResult::success(vec![text]).into())
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let config =
        StreamableHttpServerConfig::default().with_sse_keep_alive(None).with_sse_retry(None);
    let fortune = Fortune::default();
    let tool = move || Ok(fortune.clone());
    let app = match arguments.mode {
        Mode::Stdio => {
            let running = Fortune::default().serve(rmcp::transport::stdio()).await;
            let ended = running.map_err(std::io::Error::other)?.waiting().await;
            return ended.map(drop).map_err(std::io::Error::other);
        }
        Mode::Session => Router::new().route_service(
            "/mcp",
            StreamableHttpService::new(tool, Arc::new(LocalSessionManager::default()), config),
        ),
        Mode::Json => Router::new().route_service(
            "/mcp",
            StreamableHttpService::new(
                tool,
                Arc::new(NeverSessionManager::default()),
                config.with_legacy_session_mode(false).with_json_response(true),
            ),
        ),
    };
    let tokens = Arc::new(Tokens::only(&arguments.token));
    let guarded = app.layer(middleware::from_fn_with_state(tokens, check));
    shared::serve(arguments.listen, guarded).await
}

async fn check(State(tokens): State<Arc<Tokens>>, request: Request, next: Next) -> Response {
    if tokens.holder(request.headers()).is_some() {
        return next.run(request).await;
    }
    let mut refusal = Response::new(Body::empty());
    *refusal.status_mut() = StatusCode::UNAUTHORIZED;
    refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    refusal
}
