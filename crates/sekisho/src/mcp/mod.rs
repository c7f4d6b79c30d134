//! MCP: the service that is guarded, and the transports that carry it.
//!
//! ```text
//! POST GET DELETE mcp ── streamable_http ─┐
//! GET sse, POST messages ────── http_sse ─┼─▶ legacy (sessions, handshake) ─▶ McpService
//! stdin, stdout ─────────────────── stdio ┘
//! ```
//!
//! The transports expect whoever guards them to stand in front and to leave an
//! `Arc<`[`Principal`](crate::principal::Principal)`>` in each request; Origin, Host and CORS are
//! checked before them as well. A request without a principal is nobody's, and so is its session.

mod changes;
mod http_sse;
mod input;
mod legacy;
mod refusal;
mod request;
mod service;
mod sse;
mod stdio;
mod streamable_http;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{MethodRouter, get, post};
use tokio_util::sync::CancellationToken;

pub use self::changes::Changes;
pub use self::input::{CallError, InputRequest, InputRequired};
pub use self::legacy::SessionLimits;
use self::legacy::Sessions;
pub use self::service::{CacheHint, Context, McpService, Peer, ServerInfo, Subscription};
pub use self::stdio::serve_stdio;
pub use self::streamable_http::Posts;
pub use self::tools::{Tool, Tools};
use crate::clock::Clock;
use crate::resource_server::TokenVerifier;

/// How the HTTP transports behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where HTTP+SSE clients post to: an absolute path of ours, such as `/messages`.
    pub messages_path: String,
    /// What sessions may take.
    pub limits: SessionLimits,
    /// How often an idle stream gets a comment, so that no proxy takes it for dead.
    pub keep_alive: Duration,
    /// How often each open stream asks whether its caller may still listen.
    pub liveness_poll: Duration,
}

impl Settings {
    /// The defaults, for HTTP+SSE messages at `messages_path`.
    pub fn new(messages_path: impl Into<String>) -> Self {
        Self {
            messages_path: messages_path.into(),
            limits: SessionLimits::default(),
            keep_alive: Duration::from_secs(15),
            liveness_poll: Duration::from_millis(500),
        }
    }
}

/// The HTTP transports of one service. Cloning shares the sessions.
#[derive(Debug, Clone)]
pub struct McpEndpoints {
    endpoint: Arc<Endpoint>,
}

/// What every request to one service works with.
#[derive(Debug)]
struct Endpoint {
    service: Arc<dyn McpService>,
    settings: Settings,
    sessions: Sessions,
    verifier: Option<Arc<dyn TokenVerifier>>,
    clock: Arc<dyn Clock>,
}

impl McpEndpoints {
    /// Serves `service`. Streams ask `verifier` whether they may stay open, and end at once with
    /// `shutdown`.
    pub fn new(
        service: Arc<dyn McpService>,
        settings: Settings,
        verifier: Option<Arc<dyn TokenVerifier>>,
        shutdown: CancellationToken,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let sessions = Sessions::new(settings.limits.clone(), Arc::clone(&clock), shutdown);
        Self { endpoint: Arc::new(Endpoint { service, settings, sessions, verifier, clock }) }
    }

    /// Streamable HTTP: POST, GET and DELETE.
    pub fn mcp(&self) -> MethodRouter {
        post(streamable_http::post)
            .get(streamable_http::get)
            .delete(streamable_http::delete)
            .with_state(Arc::clone(&self.endpoint))
    }

    /// The POST of Streamable HTTP alone, for callers that need no router to find it.
    pub fn mcp_posts(&self) -> Posts {
        Posts { endpoint: Arc::clone(&self.endpoint) }
    }

    /// The stream of HTTP+SSE: GET.
    pub fn sse(&self) -> MethodRouter {
        get(http_sse::open).with_state(Arc::clone(&self.endpoint))
    }

    /// Where HTTP+SSE clients post to; belongs at [`Settings::messages_path`].
    pub fn messages(&self) -> MethodRouter {
        post(http_sse::post).with_state(Arc::clone(&self.endpoint))
    }

    /// All three below `prefix`, which begins and ends with a slash.
    pub fn router(&self, prefix: &str) -> Router {
        Router::new()
            .route(&format!("{prefix}mcp"), self.mcp())
            .route(&format!("{prefix}sse"), self.sse())
            .route(&format!("{prefix}messages"), self.messages())
    }
}
