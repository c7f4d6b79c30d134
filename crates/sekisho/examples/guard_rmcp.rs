//! OAuth in front of an `rmcp` server: the guard is a `tower` layer, so it fits before rmcp's
//! Streamable HTTP service in any axum app. The tool reads who called it from the request.
//!
//! Here tokens come from a small table; an app would put [`OwnTokens`] over its store there, or its
//! own [`TokenVerifier`] for the tokens of an authorization server that it has already.
//!
//! ```text
//! cargo run -p sekisho --example guard_rmcp -- a-token-of-your-choice
//! curl -i http://localhost:8001/mcp          401, and where to ask for a token
//! ```
//!
//! [`OwnTokens`]: sekisho::resource_server::OwnTokens

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::serve::ListenerExt;
use rmcp::handler::server::common::Extension;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use sekisho::clock::{Clock, SystemClock};
use sekisho::grant::GrantId;
use sekisho::principal::{Claims, Identity, Principal};
use sekisho::protocol::oauth::{ClientId, Issuer, ProtectedResource, ProtectedResources, ScopeSet};
use sekisho::protocol::{Secret, SecretHash};
use sekisho::resource_server::{GuardLayer, TokenVerifier, VerifyError, metadata_routes};
use tokio::net::TcpListener;

const ORIGIN: &str = "http://localhost:8001";
const AUTHORIZATION_SERVER: &str = "http://localhost:8000";
const TOKEN_LIFE: Duration = Duration::from_hours(1);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let token = std::env::args().nth(1).ok_or("name a token: it will open the door for alice")?;
    let tokens = Tokens::default().with(&Secret::new(token), "alice");
    // Without TCP_NODELAY each event of a stream can wait for 40 ms.
    let listener = TcpListener::bind("127.0.0.1:8001").await?.tap_io(|stream| {
        // A stream that cannot be tuned is merely slower.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app(tokens)?).await?;
    Ok(())
}

/// The guarded service at `/mcp`, and the metadata (RFC 9728) that a refused client is sent to.
pub(crate) fn app(tokens: Tokens) -> Result<Router, Box<dyn Error>> {
    let issuer = Issuer::parse(ORIGIN)?;
    let server = ProtectedResource::new(&issuer, "whoami", "/", ScopeSet::of(["whoami"]));
    let guard = GuardLayer::new(
        Arc::new(tokens),
        server.scopes.clone(),
        &server.metadata_url(&issuer, "mcp"),
    )?;
    let service = StreamableHttpService::new(
        || Ok::<_, io::Error>(Whoami),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    let servers = ProtectedResources::new(vec![server]);
    Ok(Router::new().route_service("/mcp", service).route_layer(guard).merge(metadata_routes(
        &issuer,
        &servers,
        AUTHORIZATION_SERVER,
    )))
}

/// An ordinary rmcp server.
#[derive(Debug, Clone)]
struct Whoami;

#[tool_router]
#[expect(
    clippy::unused_self,
    reason = "rmcp calls tools on a server, and this one needs nothing of it"
)]
impl Whoami {
    /// Says who is calling.
    #[tool]
    fn whoami(&self, Extension(request): Extension<http::request::Parts>) -> String {
        let principal = request.extensions.get::<Arc<Principal>>();
        principal.map_or("nobody", |principal| &principal.identity.subject).to_owned()
    }
}

#[tool_handler]
impl ServerHandler for Whoami {}

/// Tokens by their hash, each with whom it speaks for.
#[derive(Debug, Default)]
pub(crate) struct Tokens(HashMap<SecretHash, Arc<Principal>>);

impl Tokens {
    /// These and one more, which speaks for `subject` for an hour from now.
    pub(crate) fn with(mut self, token: &Secret, subject: &str) -> Self {
        let principal = Principal {
            identity: Identity {
                issuer: "local".to_owned(),
                subject: subject.to_owned(),
                name: None,
                email: None,
                email_verified: false,
                claims: Claims::default(),
            },
            client_id: ClientId::new("curl"),
            grant_id: GrantId::new(subject),
            scopes: ScopeSet::of(["whoami"]),
            token: token.hash(),
            expires_at: SystemClock.now().plus(TOKEN_LIFE),
        };
        self.0.insert(token.hash(), Arc::new(principal));
        self
    }
}

#[async_trait]
impl TokenVerifier for Tokens {
    async fn verify(&self, token: &Secret) -> Result<Arc<Principal>, VerifyError> {
        let found = self.0.get(&token.hash()).filter(|found| is_current(found));
        found.cloned().ok_or(VerifyError::Invalid)
    }

    async fn is_live(&self, principal: &Principal) -> bool {
        is_current(principal)
    }
}

fn is_current(principal: &Principal) -> bool {
    !principal.expires_at.is_over(SystemClock.now())
}
