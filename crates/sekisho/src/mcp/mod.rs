//! MCP: the service that is guarded, and the transports that carry it.
//!
//! ```text
//! POST GET DELETE mcp ── streamable_http ─┬─ era ─▶ modern (2026-07-28) ────┐
//! stdin, stdout ─────────────────── stdio ┘   └──▶ legacy (handshake, ──────┴─▶ McpService
//! GET sse, POST messages ────── http_sse ─────────▶         sessions)
//! ```
//!
//! The transports expect whoever guards them to stand in front and to leave an
//! `Arc<`[`Principal`]`>` in each request; Origin, Host and CORS are checked before them as well.
//! A request without a principal is nobody's, and so is its session.

mod changes;
mod elsewhere;
mod era;
mod http_sse;
mod input;
mod legacy;
mod looked_at;
mod modern;
mod refusal;
mod request;
#[cfg(feature = "rmcp")]
mod rmcp_service;
mod service;
mod sse;
mod stdio;
mod streamable_http;
mod tools;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::Router;
use axum::routing::{MethodRouter, get, post};
use tokio_util::sync::CancellationToken;

use self::changes::Audience;
pub use self::changes::{Changes, Whose};
use self::elsewhere::ClientsElsewhere;
pub(crate) use self::era::{METHOD, NAME, PROTOCOL_VERSION};
pub use self::input::{CallError, InputRequest, InputRequired};
pub use self::legacy::SessionLimits;
use self::legacy::Sessions;
use self::modern::{RequestState, Stateless};
#[cfg(feature = "rmcp")]
pub use self::rmcp_service::RmcpService;
pub use self::service::{CacheHint, Context, McpService, Peer, ServerInfo, Subscription};
pub(crate) use self::sse::keep_on_one_line;
pub use self::stdio::serve_stdio;
pub use self::streamable_http::Posts;
pub use self::tools::{Tool, Tools};
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::principal::Principal;
use crate::resource_server::TokenVerifier;
use crate::seal::Sealer;

/// How the HTTP transports behave.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where HTTP+SSE clients post to: an absolute path of ours, such as `/messages`.
    pub messages_path: String,
    /// What sessions may take.
    pub limits: SessionLimits,
    /// How often an idle stream gets a comment, so that no proxy takes it for dead.
    pub keep_alive: Duration,
    /// Seals what clients of 2026-07-28 bring back in a later call (`requestState`). Instances that
    /// serve the same clients share its keys.
    pub sealer: Sealer,
    /// How often each open stream asks whether its caller may still listen.
    pub liveness_poll: Duration,
    /// The other instances that serve the same clients, if there may be some.
    pub fleet: Option<Arc<Fleet>>,
}

impl Settings {
    /// The defaults, for HTTP+SSE messages at `messages_path`, with a key of this process alone.
    pub fn new(messages_path: impl Into<String>) -> Self {
        Self {
            messages_path: messages_path.into(),
            limits: SessionLimits::default(),
            keep_alive: Duration::from_secs(15),
            sealer: Sealer::ephemeral(),
            liveness_poll: Duration::from_millis(500),
            fleet: None,
        }
    }
}

/// The HTTP transports of one service. Cloning shares the sessions, and so does [`renewed`](Self::renewed).
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
    stateless: Stateless,
    elsewhere: Option<Arc<ClientsElsewhere>>,
    shutdown: CancellationToken,
    verifier: Option<Arc<dyn TokenVerifier>>,
    /// Who is asked about those who listen already: the verifier of whichever endpoint serves now.
    judge: Judge,
    clock: Arc<dyn Clock>,
}

/// Shared by all endpoints that served the same clients one after the other.
type Judge = Arc<Mutex<Option<Arc<dyn TokenVerifier>>>>;

impl McpEndpoints {
    /// Serves `service`. Streams ask `verifier` whether they may stay open, and end at once with
    /// `shutdown`. Where there are other instances, they are answered from [`begin`](Self::begin) on.
    pub fn new(
        service: Arc<dyn McpService>,
        settings: Settings,
        verifier: Option<Arc<dyn TokenVerifier>>,
        shutdown: CancellationToken,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let fleet = settings.fleet.clone();
        let sessions = Sessions::new(
            settings.limits.clone(),
            Arc::clone(&clock),
            shutdown.clone(),
            fleet.clone(),
        );
        let request_state = RequestState::new(settings.sealer.clone(), Arc::clone(&clock), fleet);
        let stateless = Stateless::new(Arc::clone(&service), &settings.limits, request_state);
        let endpoint = Arc::new(Endpoint {
            elsewhere: ClientsElsewhere::new(&settings),
            service,
            settings,
            sessions,
            stateless,
            shutdown,
            judge: Arc::new(Mutex::new(verifier.clone())),
            verifier,
            clock,
        });
        endpoint.follow_changes();
        Self { endpoint }
    }

    /// Takes from now on what other instances pass on. Whoever puts something together that may never
    /// answer anybody does not call it before all is there.
    pub fn begin(&self) {
        self.endpoint.take_from_elsewhere();
    }

    /// The same clients with their sessions and streams, served by another service or by other
    /// settings. Whoever makes it lets it [`take_over`](Self::take_over) when it answers the first
    /// request; what was begun before comes to its end as it was.
    #[must_use]
    pub fn renewed(
        &self,
        service: Arc<dyn McpService>,
        settings: Settings,
        verifier: Option<Arc<dyn TokenVerifier>>,
    ) -> Self {
        let former = &self.endpoint;
        let endpoint = Arc::new(Endpoint {
            sessions: former.sessions.limited(settings.limits.clone()),
            stateless: former.stateless.renewed(Arc::clone(&service), &settings.limits),
            elsewhere: ClientsElsewhere::new(&settings),
            service,
            settings,
            shutdown: former.shutdown.clone(),
            verifier,
            judge: Arc::clone(&former.judge),
            clock: Arc::clone(&former.clock),
        });
        Self { endpoint }
    }

    /// From now on clients hear what changes in this service and not in that of `former`, other instances
    /// are answered by it, and their streams stay open by this verifier.
    pub fn take_over(&self, former: &Self) {
        former.endpoint.forget_changes();
        self.endpoint.follow_changes();
        self.endpoint.take_from_elsewhere();
        self.endpoint.judge().clone_from(&self.endpoint.verifier);
    }

    /// Tells all clients that every list may be another one.
    pub fn tell_of_other_lists(&self) {
        if let Some(changes) = self.endpoint.service.changes() {
            changes.tools_changed();
            changes.prompts_changed();
            changes.resources_changed();
        }
    }

    /// Streamable HTTP: POST, GET and DELETE, for every revision.
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

impl Endpoint {
    /// Whether a stream of this caller may stay open: the token lasts, and nobody took it back.
    async fn may_listen(&self, caller: Option<&Arc<Principal>>) -> bool {
        let Some(principal) = caller else { return true };
        if principal.expires_at.is_over(self.clock.now()) {
            return false;
        }
        let verifier = self.judge().clone();
        match verifier {
            Some(verifier) => verifier.is_live(principal).await,
            None => true,
        }
    }

    fn judge(&self) -> MutexGuard<'_, Option<Arc<dyn TokenVerifier>>> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All who hear what changes in this service.
    fn audiences(&self) -> Vec<Weak<dyn Audience>> {
        let mut audiences = Vec::from(self.own_audiences());
        let is_heard_by_each = self.service.changes().is_none_or(Changes::is_heard_by_each);
        if let Some(elsewhere) = self.elsewhere.as_ref().filter(|_| !is_heard_by_each) {
            let elsewhere: Weak<ClientsElsewhere> = Arc::downgrade(elsewhere);
            audiences.push(elsewhere);
        }
        audiences
    }

    /// Those of this instance.
    fn own_audiences(&self) -> [Weak<dyn Audience>; 2] {
        [self.sessions.audience(), self.stateless.audience()]
    }

    fn follow_changes(&self) {
        for audience in self.audiences() {
            if let Some(changes) = self.service.changes() {
                changes.add(audience);
            }
        }
    }

    fn forget_changes(&self) {
        for audience in self.audiences() {
            if let Some(changes) = self.service.changes() {
                changes.forget(&audience);
            }
        }
    }
}
