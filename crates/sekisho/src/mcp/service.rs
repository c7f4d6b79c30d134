//! What is served: a few tools, a gateway, anything that answers MCP methods with JSON.
//!
//! The transports do the handshake, `ping`, sessions and cancellation; a service never sees them.
//! JSON goes in and out as text, so that whoever forwards it loses nothing.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sekisho_protocol::mcp::{
    Json, LogLevel, McpError, MirroredParam, ProtocolVersion, write_notification,
};
use sekisho_protocol::oauth::ScopeSet;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::changes::Changes;
use super::input::{
    CallError, InputRequest, InputRequired, Inputs, missing_capability, unreachable_client,
};
use super::legacy::{EventStream, Session};
use crate::principal::Principal;

/// Answers the methods of MCP, for every client at once, whichever revision it speaks.
#[async_trait]
pub trait McpService: fmt::Debug + Send + Sync {
    /// What clients are told first, by `initialize` or `server/discover`. It may depend on who
    /// asks. Asked often, so it should be at hand.
    async fn info(&self, context: &Context) -> Result<Arc<ServerInfo>, McpError>;

    /// What it is called, as each answer to a client of 2026-07-28 says: the `serverInfo` object. For
    /// a service that knows its name before all else.
    async fn server_info(&self, context: &Context) -> Result<Box<RawValue>, McpError> {
        Ok(self.info(context).await?.server_info.clone())
    }

    /// Answers a request with the text of its `result`, in the form that revisions up to
    /// 2025-11-25 have: what 2026-07-28 adds is added by the transports, unless it is there.
    ///
    /// Never asked about `initialize`, `server/discover`, `ping`, `resources/subscribe` and
    /// `subscriptions/listen`, which the transports answer. Of `logging/setLevel` (up to
    /// 2025-11-25) it is told, and answers `{}` if it logs; the level is kept by the transports.
    ///
    /// The future is dropped when the client cancels the request. A client of 2026-07-28 does so
    /// by hanging up; one of an older revision that merely hangs up cancels nothing.
    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError>;

    /// Takes note of a client's notification. Never told of `notifications/initialized` or
    /// `notifications/cancelled`, which the transports understand themselves.
    async fn notice(&self, _method: &str, _params: Option<&RawValue>, _context: &Context) {}

    /// Where it says that a list or a resource changed; nothing if none ever does.
    fn changes(&self) -> Option<&Changes> {
        None
    }

    /// Lets a client follow a resource, until what is returned is dropped. What happens to the
    /// resource is said by [`changes`](Self::changes).
    async fn subscribe(&self, _uri: &str, _context: &Context) -> Result<Subscription, McpError> {
        Err(McpError::method_not_found("resources/subscribe"))
    }

    /// Which scopes the caller's token lacks for a request that they would open to it. Asked before
    /// anything of an answer is sent: over HTTP the answer is then 403 with a challenge.
    fn missing_scopes(
        &self,
        _method: &str,
        _params: Option<&RawValue>,
        _caller: &Principal,
    ) -> Option<ScopeSet> {
        None
    }

    /// Which arguments of a tool clients of 2026-07-28 repeat in headers. Asked before each call of
    /// a tool over HTTP; what goes wrong is the answer to that call.
    async fn mirrored_params(
        &self,
        _tool: &str,
        _context: &Context,
    ) -> Result<Arc<[MirroredParam]>, McpError> {
        Ok(Arc::default())
    }

    /// How long clients of 2026-07-28 may keep the answer to `method`. What depends on who asks
    /// stays private, which is the default.
    fn cache_hint(&self, _method: &str, _context: &Context) -> CacheHint {
        CacheHint::default()
    }
}

/// How long an answer may be kept, and by whom. The default: not at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheHint {
    /// How long it stays fresh, in milliseconds.
    pub ttl_ms: u64,
    /// Whether it is the same for everyone who may ask at all.
    pub is_public: bool,
}

/// A client's wish to hear of a resource; dropping it ends it.
pub struct Subscription {
    _ends_when_dropped: Option<Box<dyn Any + Send + Sync>>,
}

impl Subscription {
    /// One that needs nothing done when it ends.
    pub const fn plain() -> Self {
        Self { _ends_when_dropped: None }
    }

    /// One that drops `guard` when it ends.
    pub fn holding(guard: impl Any + Send + Sync) -> Self {
        Self { _ends_when_dropped: Some(Box::new(guard)) }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}

/// What a server says of itself in the answer to `initialize` and `server/discover`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerInfo {
    /// What it can do: the `capabilities` object.
    pub capabilities: Box<RawValue>,
    /// What it is called: the `serverInfo` object.
    pub server_info: Box<RawValue>,
    /// How a model should use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
}

impl ServerInfo {
    /// Whether the capability at this JSON pointer, such as `/tools/listChanged`, is declared true.
    pub(crate) fn declares(&self, pointer: &str) -> bool {
        let capabilities: serde_json::Value =
            serde_json::from_str(self.capabilities.get()).unwrap_or_default();
        let declared = capabilities.pointer(pointer).and_then(serde_json::Value::as_bool);
        declared.unwrap_or_default()
    }

    /// A server of this name and version that has tools and nothing else.
    pub fn with_tools(name: &str, version: &str) -> Self {
        let raw = |value: serde_json::Value| to_raw_value(&value).unwrap_or_default();
        Self {
            capabilities: raw(serde_json::json!({ "tools": {} })),
            server_info: raw(serde_json::json!({ "name": name, "version": version })),
            instructions: None,
        }
    }
}

/// Who asks, and how to tell and ask them something before the answer.
#[derive(Debug, Clone)]
pub struct Context {
    principal: Option<Arc<Principal>>,
    version: ProtocolVersion,
    progress_token: Option<Arc<RawValue>>,
    exchange: Option<Arc<EventStream>>,
    client: Client,
    inputs: Option<Arc<Inputs>>,
    found: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// What is known of the client, and from where.
#[derive(Debug, Clone)]
enum Client {
    /// Nothing: whatever is told is dropped.
    Nobody,
    /// From its `initialize`.
    Session(Weak<Session>),
    /// From the request itself.
    Request(Arc<Declared>),
}

/// What a request of 2026-07-28 declares about its client.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) capabilities: Box<RawValue>,
    pub(super) log_level: Option<LogLevel>,
}

impl Context {
    /// A caller without a connection: whatever is told to it is dropped.
    pub fn new(principal: Option<Arc<Principal>>, version: ProtocolVersion) -> Self {
        Self {
            principal,
            version,
            progress_token: None,
            exchange: None,
            client: Client::Nobody,
            inputs: None,
            found: OnceLock::new(),
        }
    }

    /// The same, with what its client can do: the `clientCapabilities` object.
    #[must_use]
    pub fn with_capabilities(self, capabilities: Box<RawValue>) -> Self {
        let declared = Arc::new(Declared { capabilities, log_level: None });
        Self { client: Client::Request(declared), ..self }
    }

    pub(super) fn of_session(
        session: &Arc<Session>,
        principal: Option<Arc<Principal>>,
        version: ProtocolVersion,
        exchange: Option<Arc<EventStream>>,
    ) -> Self {
        let client = Client::Session(Arc::downgrade(session));
        Self { exchange, client, ..Self::new(principal, version) }
    }

    pub(super) fn of_request(
        principal: Option<Arc<Principal>>,
        version: ProtocolVersion,
        exchange: Option<Arc<EventStream>>,
        declared: Arc<Declared>,
    ) -> Self {
        Self { exchange, client: Client::Request(declared), ..Self::new(principal, version) }
    }

    pub(super) fn with_progress_token(mut self, token: Option<Json<'_>>) -> Self {
        self.progress_token = token.map(|token| Arc::from(token.to_raw()));
        self
    }

    pub(super) fn with_inputs(mut self, inputs: Inputs) -> Self {
        self.inputs = Some(Arc::new(inputs));
        self
    }

    /// The verified caller; nobody where nothing guards the server, as over stdio.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }

    /// The version agreed upon in `initialize`, or named by the request.
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// What a service found for this request, so that it need not look for it at each question.
    pub(crate) fn found<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Arc::clone(self.found.get()?).downcast().ok()
    }

    /// Keeps what a service found, unless something is kept.
    pub(crate) fn keep_found(&self, found: Arc<impl Send + Sync + 'static>) {
        self.found.get_or_init(|| found);
    }

    /// Which session the request belongs to; none where there are no sessions.
    pub fn session_id(&self) -> Option<String> {
        let Client::Session(session) = &self.client else { return None };
        session.upgrade().map(|session| session.id().to_owned())
    }

    /// What the client declared that it can do, as it said it. Claims, as all a client says.
    pub fn client_capabilities(&self) -> Option<Box<RawValue>> {
        self.read_client_capabilities(ToOwned::to_owned)
    }

    /// What `read` makes of what the client declared.
    pub(crate) fn read_client_capabilities<T>(
        &self,
        read: impl FnOnce(&RawValue) -> T,
    ) -> Option<T> {
        match &self.client {
            Client::Nobody => None,
            Client::Session(session) => session.upgrade()?.client_capabilities().map(read),
            Client::Request(declared) => Some(read(&declared.capabilities)),
        }
    }

    /// What the client wants to hear of progress under, as it said it.
    pub fn progress_token(&self) -> Option<&RawValue> {
        self.progress_token.as_deref()
    }

    /// From which level on the client wants log messages; none wants none.
    pub fn log_level(&self) -> Option<LogLevel> {
        match &self.client {
            Client::Nobody => None,
            Client::Session(session) => session.upgrade().map(|session| session.log_level()),
            Client::Request(declared) => declared.log_level,
        }
    }

    /// Whether the client wants log messages of this level.
    pub fn wants_log(&self, level: LogLevel) -> bool {
        self.log_level().is_some_and(|wanted| level >= wanted)
    }

    /// Tells the client something about this very request, such as `notifications/progress`.
    /// Dropped where the client takes a single answer only, or does not read fast enough.
    pub fn notify(&self, method: &str, params: Option<&RawValue>) {
        if let Some(exchange) = &self.exchange {
            exchange.offer(Bytes::from(write_notification(method, params)));
        }
    }

    /// Tells how far this request got, if the client asked to know. `progress` only grows.
    pub fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        #[derive(Serialize)]
        struct Params<'a> {
            #[serde(rename = "progressToken")]
            token: &'a RawValue,
            progress: f64,
            #[serde(skip_serializing_if = "Option::is_none")]
            total: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<&'a str>,
        }
        let Some(token) = self.progress_token.as_deref() else { return };
        let params = Params { token, progress, total, message };
        if let Ok(params) = to_raw_value(&params) {
            self.notify("notifications/progress", Some(&params));
        }
    }

    /// Tells the client what goes on in this request, if it wants to hear of that level.
    pub fn log(&self, level: LogLevel, logger: Option<&str>, data: &impl Serialize) {
        #[derive(Serialize)]
        struct Log<'a, D> {
            level: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            logger: Option<&'a str>,
            data: &'a D,
        }
        if !self.wants_log(level) {
            return;
        }
        if let Ok(params) = to_raw_value(&Log { level: level.as_str(), logger, data }) {
            self.notify("notifications/message", Some(&params));
        }
    }

    /// Whether the client declared that it can do this: `sampling`, `elicitation`, `roots`. Never
    /// believed beyond this request, or this session.
    pub fn client_can(&self, capability: &str) -> bool {
        let names_it = |capabilities: &RawValue| {
            serde_json::from_str::<serde_json::Value>(capabilities.get())
                .is_ok_and(|all| all.get(capability).is_some_and(serde_json::Value::is_object))
        };
        match &self.client {
            Client::Nobody => false,
            Client::Session(session) => session
                .upgrade()
                .is_some_and(|session| session.client_capabilities().is_some_and(names_it)),
            Client::Request(declared) => names_it(&declared.capabilities),
        }
    }

    /// Refuses the call unless the client can do this (−32021 names it).
    pub fn require(&self, capability: &str) -> Result<(), McpError> {
        if self.client_can(capability) { Ok(()) } else { Err(missing_capability(capability)) }
    }

    /// Ends the connection that the answer to this request was to come by; the client comes back
    /// for it, no sooner than `after`. For what takes long: nothing between the two has to stay
    /// open. Only Streamable HTTP of 2025-11-25 has it; elsewhere the connection stays.
    pub fn let_client_poll(&self, after: Duration) {
        if self.version.has_priming_events()
            && let Some(exchange) = &self.exchange
        {
            exchange.hang_up(after);
        }
    }

    /// Asks the client for one thing. See [`ask_all`](Self::ask_all).
    pub async fn ask(&self, request: InputRequest) -> Result<Box<RawValue>, CallError> {
        let mut answers = self.ask_all(vec![request]).await?;
        answers.pop().ok_or_else(|| McpError::internal().into())
    }

    /// Asks the client for several things and returns its answers in their order.
    ///
    /// To be left with `?`: where the client has to call again (2026-07-28) the error is
    /// [`CallError::InputRequired`], and the service runs anew, with the answers given so far. So
    /// what comes before the first question should do nothing that must not be done twice.
    pub async fn ask_all(
        &self,
        requests: Vec<InputRequest>,
    ) -> Result<Vec<Box<RawValue>>, CallError> {
        let known = |request: &InputRequest| {
            self.inputs.as_ref()?.answers.get(request.key.as_ref()).cloned()
        };
        let answers: Vec<Option<Box<RawValue>>> = requests.iter().map(known).collect();
        let unknown: Vec<InputRequest> = (requests.into_iter().zip(&answers))
            .filter_map(|(request, answer)| answer.is_none().then_some(request))
            .collect();
        for request in &unknown {
            self.require(request.capability())?;
        }
        let mut fresh = match &self.client {
            _ if unknown.is_empty() => Vec::new(),
            Client::Nobody => return Err(unreachable_client().into()),
            Client::Request(_) => {
                let state = self.state().map(ToOwned::to_owned);
                return Err(CallError::InputRequired(InputRequired {
                    requests: unknown,
                    state,
                    is_held: false,
                }));
            }
            Client::Session(session) => {
                let session = session.upgrade().ok_or_else(unreachable_client)?;
                let exchange = self.exchange.as_ref().ok_or_else(unreachable_client)?;
                Box::pin(session.ask(exchange, &unknown)).await?
            }
        }
        .into_iter();
        let all = answers.into_iter().map(|answer| answer.or_else(|| fresh.next()));
        all.collect::<Option<Vec<_>>>().ok_or_else(|| McpError::internal().into())
    }

    /// What the service left itself in [`InputRequired::state`] when it was last called.
    pub fn state(&self) -> Option<&RawValue> {
        self.inputs.as_ref()?.state.as_deref()
    }

    /// What the client answered to what was asked under `key`, if it did.
    pub fn answer(&self, key: &str) -> Option<&RawValue> {
        self.inputs.as_ref()?.answers.get(key).map(AsRef::as_ref)
    }

    pub(super) fn inputs(&self) -> Option<&Inputs> {
        self.inputs.as_deref()
    }

    /// The client itself, to be told of what happens later. Without a session nobody can be.
    pub fn peer(&self) -> Peer {
        match &self.client {
            Client::Session(session) => Peer { session: Weak::clone(session) },
            Client::Nobody | Client::Request(_) => Peer { session: Weak::new() },
        }
    }
}

/// A client with a session; outlives the request it was taken from.
#[derive(Debug, Clone)]
pub struct Peer {
    session: Weak<Session>,
}

impl Peer {
    /// Tells the client something that no request asked for, such as
    /// `notifications/tools/list_changed`: on exactly one of its streams. `false` if it cannot be
    /// told: it is gone, has not finished the handshake or listens nowhere.
    pub fn notify(&self, method: &str, params: Option<&RawValue>) -> bool {
        self.session
            .upgrade()
            .is_some_and(|session| session.tell(Bytes::from(write_notification(method, params))))
    }
}
