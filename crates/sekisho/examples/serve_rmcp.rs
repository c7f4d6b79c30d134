//! An `rmcp` server on our transports: over Streamable HTTP and HTTP+SSE, to clients of every
//! revision, behind the guard. The tool asks the person's name, in whichever way the client is
//! asked. Tokens come from the table of the example `guard_rmcp`.
//!
//! ```text
//! cargo run -p sekisho --features rmcp --example serve_rmcp -- a-token-of-your-choice
//! ```

#[path = "guard_rmcp.rs"]
#[expect(dead_code, reason = "its table of tokens is all that is needed")]
mod guard_rmcp;

use std::error::Error;
use std::sync::Arc;

use axum::Router;
use guard_rmcp::Tokens;
use rmcp::handler::server::common::Extension;
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use rmcp::schemars::{self, JsonSchema};
use rmcp::{Peer, RoleServer, ServerHandler, elicit_safe, tool, tool_handler, tool_router};
use sekisho::clock::SystemClock;
use sekisho::mcp::{McpEndpoints, RmcpService, Settings};
use sekisho::principal::Principal;
use sekisho::protocol::Secret;
use sekisho::protocol::oauth::{Issuer, ProtectedResource, ScopeSet};
use sekisho::resource_server::{GuardLayer, TokenVerifier};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const ORIGIN: &str = "http://localhost:8001";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let token = std::env::args().nth(1).ok_or("name a token: it will open the door for alice")?;
    let tokens = Tokens::default().with(&Secret::new(token), "alice");
    let listener = TcpListener::bind("127.0.0.1:8001").await?;
    axum::serve(listener, app(Arc::new(tokens))?).await?;
    Ok(())
}

/// `/mcp`, `/sse` and `/messages`, guarded.
fn app(tokens: Arc<dyn TokenVerifier>) -> Result<Router, Box<dyn Error>> {
    let issuer = Issuer::parse(ORIGIN)?;
    let server = ProtectedResource::new(&issuer, "greeter", "/", ScopeSet::of(["whoami"]));
    let metadata_url = server.metadata_url(&issuer, "mcp");
    let guard = GuardLayer::new(Arc::clone(&tokens), server.scopes, &metadata_url)?;
    let endpoints = McpEndpoints::new(
        Arc::new(RmcpService::new(Greeter)),
        Settings::new("/messages"),
        Some(tokens),
        CancellationToken::new(),
        Arc::new(SystemClock),
    );
    Ok(endpoints.router("/").route_layer(guard))
}

/// An ordinary rmcp server.
#[derive(Debug, Clone)]
struct Greeter;

/// What a person is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
struct Name {
    name: String,
}
elicit_safe!(Name);

#[tool_router]
impl Greeter {
    /// Greets whoever calls by the name they want to hear.
    #[tool]
    async fn greet(
        &self,
        peer: Peer<RoleServer>,
        Extension(principal): Extension<Arc<Principal>>,
    ) -> String {
        let asked = peer.elicit::<Name>("What shall I call you?").await;
        let name = asked.ok().flatten().map(|said| said.name);
        format!("Hello, {}", name.as_ref().unwrap_or(&principal.identity.subject))
    }
}

#[tool_handler]
impl ServerHandler for Greeter {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("greeter", env!("CARGO_PKG_VERSION")))
    }
}
