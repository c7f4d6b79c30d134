//! A server on a port of its own, with tools that wait, tell and fail as a test wants it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use sekisho::clock::{Clock, Timestamp};
use sekisho::grant::GrantId;
use sekisho::mcp::{
    CallError, Context, McpEndpoints, McpService, ServerInfo, Settings, Tool, Tools,
};
use sekisho::principal::{Claims, Identity, Principal};
use sekisho::protocol::mcp::{McpError, ToolResult};
use sekisho::protocol::oauth::{ClientId, ScopeSet};
use sekisho::protocol::{Secret, SecretHash};
use sekisho::resource_server::{TokenVerifier, VerifyError};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use testkit::{ManualClock, McpClient, SseClient};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) const VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// A running server.
pub(crate) struct Rig {
    pub(crate) url: String,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) verifier: Arc<KnownTokens>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) endpoints: McpEndpoints,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let gate = Arc::new(Gate::default());
        Self::serve(Arc::new(tools(&gate)), gate, change).await
    }

    /// Serves another service than the tools at the gate.
    pub(crate) async fn serve(
        service: Arc<dyn McpService>,
        gate: Arc<Gate>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let clock = Arc::new(ManualClock::default());
        let verifier = Arc::new(KnownTokens::new(clock.now()));
        let shutdown = CancellationToken::new();
        let mut settings = Settings::new("/messages");
        settings.liveness_poll = Duration::from_millis(10);
        change(&mut settings);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let first = std::cell::RefCell::new(None);
        let instance = |settings| {
            let endpoints = McpEndpoints::new(
                Arc::clone(&service),
                settings,
                Some(Arc::clone(&verifier) as _),
                shutdown.clone(),
                Arc::clone(&clock) as _,
            );
            endpoints.begin();
            first.borrow_mut().get_or_insert_with(|| endpoints.clone());
            guarded(&endpoints, &verifier)
        };
        let app = crate::instances::serving(settings, instance).await;
        let endpoints = first.take().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, clock, verifier, gate, shutdown, endpoints }
    }

    /// Another service for the same clients, at another port and with another verifier.
    pub(crate) async fn renewed(&self, service: Arc<dyn McpService>) -> Self {
        let verifier = Arc::new(KnownTokens::new(self.clock.now()));
        let mut settings = Settings::new("/messages");
        settings.liveness_poll = Duration::from_millis(10);
        let judge = Some(Arc::clone(&verifier) as _);
        let endpoints = self.endpoints.renewed(service, settings, judge);
        let url = at_a_port(&endpoints, &verifier).await;
        let (clock, gate) = (Arc::clone(&self.clock), Arc::clone(&self.gate));
        Self { url, clock, verifier, gate, shutdown: self.shutdown.clone(), endpoints }
    }

    /// A client that has not begun yet.
    pub(crate) fn client(&self, token: &str) -> McpClient {
        McpClient::new(format!("{}/mcp", self.url)).with_token(token)
    }

    /// A client with a session of the latest version.
    pub(crate) async fn session(&self, token: &str) -> McpClient {
        self.session_of("2025-11-25", token).await
    }

    pub(crate) async fn session_of(&self, version: &str, token: &str) -> McpClient {
        let mut client = self.client(token);
        client.initialize(version).await;
        client
    }

    pub(crate) async fn sse(&self, token: &str) -> SseClient {
        SseClient::open(&format!("{}/sse", self.url), Some(token)).await
    }
}

/// Serves them where nobody listened before.
async fn at_a_port(endpoints: &McpEndpoints, verifier: &Arc<KnownTokens>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = guarded(endpoints, verifier);
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// All of them behind a guard that knows these tokens.
fn guarded(endpoints: &McpEndpoints, verifier: &Arc<KnownTokens>) -> Router {
    let known = Arc::clone(verifier);
    let guard = middleware::from_fn(move |mut request: Request, next: Next| {
        let known = Arc::clone(&known);
        async move {
            let token = request.headers().get("authorization");
            let token = token.and_then(|token| token.to_str().ok()?.strip_prefix("Bearer "));
            if let Some(principal) = token.and_then(|token| known.principal(token)) {
                request.extensions_mut().insert(principal);
            }
            next.run(request).await
        }
    });
    endpoints.router("/").layer(guard)
}

/// Who is who. `alice-newer` is what Alice gets when she refreshes `alice`.
pub(crate) struct KnownTokens {
    now: Timestamp,
    revoked: Mutex<HashSet<SecretHash>>,
}

impl std::fmt::Debug for KnownTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KnownTokens")
    }
}

impl KnownTokens {
    fn new(now: Timestamp) -> Self {
        Self { now, revoked: Mutex::default() }
    }

    fn principal(&self, token: &str) -> Option<Arc<Principal>> {
        let (subject, client, grant, hours) = match token {
            "alice" => ("alice", "inspector", "g1", 1),
            "alice-newer" => ("alice", "inspector", "g1", 2),
            "alice-again" => ("alice", "inspector", "g2", 1),
            "alice-elsewhere" => ("alice", "cursor", "g3", 1),
            "mallory" => ("mallory", "inspector", "g4", 1),
            _ => return None,
        };
        Some(Arc::new(Principal {
            identity: Identity {
                issuer: "local".to_owned(),
                subject: subject.to_owned(),
                name: None,
                email: None,
                email_verified: false,
                claims: Claims::default(),
            },
            client_id: ClientId::new(client),
            grant_id: GrantId::new(grant),
            scopes: ScopeSet::of(["fortune"]),
            token: Secret::new(token).hash(),
            expires_at: self.now.plus(Duration::from_hours(hours)),
        }))
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.revoked.lock().unwrap().insert(Secret::new(token).hash());
    }
}

#[async_trait]
impl TokenVerifier for KnownTokens {
    async fn verify(&self, token: &Secret) -> Result<Arc<Principal>, VerifyError> {
        self.principal(token.reveal()).ok_or(VerifyError::Invalid)
    }

    async fn is_live(&self, principal: &Principal) -> bool {
        !self.revoked.lock().unwrap().contains(&principal.token)
    }
}

/// Where the tool `wait` stands until it is let through.
#[derive(Debug)]
pub(crate) struct Gate {
    arrived: Semaphore,
    open: Semaphore,
    finished: Semaphore,
    dropped: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        let none = || Semaphore::new(0);
        Self { arrived: none(), open: none(), finished: none(), dropped: none() }
    }
}

impl Gate {
    /// Until a call of `wait` stands at the gate.
    pub(crate) async fn arrived(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }

    /// Lets one call through.
    pub(crate) fn let_through(&self) {
        self.open.add_permits(1);
    }

    /// What a call of `wait` does.
    pub(crate) async fn wait(&self) {
        struct Waiting<'a>(&'a Gate);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.dropped.add_permits(1);
            }
        }
        let waiting = Waiting(self);
        self.arrived.add_permits(1);
        self.open.acquire().await.unwrap().forget();
        std::mem::forget(waiting);
        self.finished.add_permits(1);
    }

    /// Until a call that was let through is done.
    pub(crate) async fn finished(&self) {
        self.finished.acquire().await.unwrap().forget();
    }

    /// Until a call was given up before it was let through.
    pub(crate) async fn dropped(&self) {
        self.dropped.acquire().await.unwrap().forget();
    }
}

pub(crate) fn tools(gate: &Arc<Gate>) -> Tools {
    let tool = |name| Scripted { name, gate: Arc::clone(gate) };
    [
        "echo",
        "wait",
        "progress",
        "slow_progress",
        "late_progress",
        "announce",
        "big",
        "panic",
        "multi_line",
        "poll",
    ]
    .into_iter()
    .fold(Tools::new(ServerInfo::with_tools("rig", "1")), |tools, name| tools.with(tool(name)))
}

#[derive(Debug)]
struct Scripted {
    name: &'static str,
    gate: Arc<Gate>,
}

#[async_trait]
impl Tool for Scripted {
    fn definition(&self) -> Value {
        json!({ "name": self.name, "inputSchema": { "type": "object" } })
    }

    async fn call(
        &self,
        arguments: Option<&RawValue>,
        context: &Context,
    ) -> Result<ToolResult, CallError> {
        let arguments = arguments.map_or("", RawValue::get);
        match self.name {
            "echo" => Ok(ToolResult::text(arguments)),
            "wait" => self.wait().await,
            "poll" => {
                context.let_client_poll(Duration::from_millis(7));
                self.wait().await
            }
            "progress" => {
                tell_progress(context);
                Ok(ToolResult::text("done"))
            }
            "slow_progress" => {
                tell_progress(context);
                self.wait().await
            }
            "late_progress" => {
                self.wait().await?;
                tell_progress(context);
                self.wait().await
            }
            "announce" => {
                let told = context.peer().notify("notifications/tools/list_changed", None);
                Ok(ToolResult::text(told.to_string()))
            }
            "big" => {
                let asked: Value = serde_json::from_str(arguments).unwrap();
                let bytes = asked["bytes"].as_u64().unwrap();
                Ok(ToolResult::text("x".repeat(usize::try_from(bytes).unwrap())))
            }
            "multi_line" => Err(McpError::forwarded(
                RawValue::from_string(
                    "{\r\n  \"code\": 7,\n  \"message\": \"a\\nb\"\n}".to_owned(),
                )
                .unwrap(),
            )
            .into()),
            other => panic!("the tool {other} panics"),
        }
    }
}

impl Scripted {
    async fn wait(&self) -> Result<ToolResult, CallError> {
        self.gate.wait().await;
        Ok(ToolResult::text("waited"))
    }
}

fn tell_progress(context: &Context) {
    for progress in [50, 100] {
        let params = to_raw_value(&json!({ "progressToken": "p", "progress": progress })).unwrap();
        context.notify("notifications/progress", Some(&params));
    }
}
