//! One server behind us: what it is, what it can do, what is asked of it, what it tells.
//!
//! ```text
//! Upstream ─▶ connection ─┬─ lines (a process: process.rs)
//!                         └─ remote: streamable_http, http_sse
//! ```

mod connection;
mod exchange;
mod lines;
mod listening;
mod news;
mod process;
mod remote;
mod stateless;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use sekisho_protocol::mcp::{
    DiscoverResult, HEADER_MISMATCH, INTERNAL_ERROR, InitializeResult, McpError, ProtocolVersion,
    UNSUPPORTED_PROTOCOL_VERSION, params_for_handshake, write_notification, write_request,
};
use serde_json::value::{RawValue, to_raw_value};
use tokio_util::task::AbortOnDropHandle;

pub(super) use self::connection::Connection;
use self::connection::{Ending, Kind, ended};
pub(super) use self::exchange::{Exchange, Question, Step};
use self::process::Process;
pub use self::process::StdioCommand;
pub(super) use self::remote::Client;
use self::remote::{Link, may_be_http_sse};
pub use self::remote::{RemoteServer, RemoteServerError, RemoteTransport};
pub(super) use self::stateless::Supplied;
use self::stateless::{For, Stateless, Words};
use super::limits::GatewayLimits;
use super::owners::{Per, Variables};
use crate::mcp::{Changes, Context, ServerInfo, Subscription};
use crate::principal::Principal;

/// What we are called, by servers that ask.
const CLIENT_NAME: &str =
    concat!("{\"name\":\"sekisho\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}");
/// How long a server may take to say whether it speaks without a handshake. Some of those that do
/// not say nothing at all.
const DISCOVER_WAIT: Duration = Duration::from_secs(10);
/// How many pages of tools are read to know what headers they want.
const TOOL_PAGES_MAX: u32 = 20;
/// What can be carried between a client and a server. What a server says beyond it is not passed
/// on, so that no client relies on what would not arrive.
pub(super) const CARRIED: [&str; 5] = ["tools", "prompts", "resources", "completions", "logging"];
/// What a client may be asked for by way of us.
const ASKED: [&str; 3] = ["sampling", "elicitation", "roots"];

/// Somebody else's server, as the operator wrote it down.
#[derive(Debug, Clone)]
pub enum GuardedServer {
    /// Started by us, spoken to over its standard input and output.
    Command(StdioCommand),
    /// There already, spoken to over HTTP.
    Remote(RemoteServer),
}

impl From<StdioCommand> for GuardedServer {
    fn from(command: StdioCommand) -> Self {
        Self::Command(command)
    }
}

impl From<RemoteServer> for GuardedServer {
    fn from(server: RemoteServer) -> Self {
        Self::Remote(server)
    }
}

/// What a conversation needs to go on.
#[derive(Debug)]
pub(super) enum Carrier {
    Process(Process),
    Remote(Arc<Link>),
}

impl Carrier {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        match self {
            Self::Process(process) => process.connection(),
            Self::Remote(link) => link.connection(),
        }
    }

    /// Waits until the server ends by itself.
    pub(super) async fn ended(&mut self) {
        match self {
            Self::Process(process) => process.ended().await,
            Self::Remote(link) => link.connection().closed().cancelled().await,
        }
    }

    /// Ends the conversation, and the server if it is ours.
    pub(super) async fn stop(self) {
        match self {
            Self::Process(process) => process.stop().await,
            Self::Remote(link) => link.stop().await,
        }
    }
}

/// A server that answers.
#[derive(Debug)]
pub(super) struct Upstream {
    connection: Arc<Connection>,
    info: Arc<ServerInfo>,
    has_logging: bool,
    /// How a server without a handshake is spoken to; nothing for one that shook hands.
    words: Words,
    followed: Arc<Following>,
    _lists: Option<AbortOnDropHandle<()>>,
}

/// What is followed, and in which conversation. It outlives one that ends, so that the next one of the
/// same owner goes on with it.
#[derive(Debug)]
struct Following {
    table: Mutex<HashMap<String, Followed>>,
    connection: Mutex<Arc<Connection>>,
}

impl Following {
    fn nothing(connection: &Arc<Connection>) -> Arc<Self> {
        let connection = Mutex::new(Arc::clone(connection));
        Arc::new(Self { table: Mutex::default(), connection })
    }
}

/// A resource that somebody follows.
#[derive(Debug, Default)]
struct Followed {
    by: usize,
    /// The call that stands for it, where each is one.
    listening: Option<AbortOnDropHandle<()>>,
}

/// Why a server cannot be spoken to; with the status, if its refusal was one.
#[derive(Debug)]
struct Ungreeted {
    error: McpError,
    status: Option<StatusCode>,
}

impl From<McpError> for Ungreeted {
    fn from(error: McpError) -> Self {
        Self { error, status: None }
    }
}

/// What a server says to `server/discover`.
enum Discovered {
    /// It speaks without a handshake.
    Stateless(Box<Upstream>),
    /// It may speak with one.
    NotIt,
}

/// A conversation that ends if its greeting is given up.
struct Greeting(Option<Arc<Connection>>);

impl Drop for Greeting {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.end();
        }
    }
}

/// Starts a command. It is not greeted yet.
pub(super) fn start(
    command: &StdioCommand,
    told: &Variables,
    limits: &GatewayLimits,
    changes: &Changes,
    per: Per,
) -> io::Result<Carrier> {
    command.start(told, limits, changes, per).map(Carrier::Process)
}

/// Finds out how a server at a URL is spoken to, and greets it: without a handshake, else with one,
/// else, if it refuses as such servers do and nobody said what it is, over HTTP+SSE.
pub(super) async fn reach(
    (server, client): (&RemoteServer, &Client),
    limits: &GatewayLimits,
    changes: &Changes,
    per: Per,
    caller: Option<&Arc<Principal>>,
    capabilities: &RawValue,
) -> Result<(Carrier, Upstream), McpError> {
    let transport = server.transport();
    if transport != Some(RemoteTransport::HttpSse) {
        let (connection, queued) = Connection::open(limits, changes.clone(), per, caller.cloned());
        let mut greeting = Greeting(Some(Arc::clone(&connection)));
        let link = remote::streamable_http::carry(server, client, &connection, queued);
        let greeted = match Upstream::discover(&connection, capabilities).await {
            Ok(Discovered::Stateless(upstream)) => Ok(*upstream),
            Ok(Discovered::NotIt) => Upstream::greet(&connection, capabilities).await,
            Err(error) => Err(error.into()),
        };
        match greeted {
            Ok(upstream) => {
                if upstream.words.is_none() {
                    tokio::spawn(Arc::clone(&link).listen());
                }
                greeting.0 = None;
                return Ok((Carrier::Remote(link), upstream));
            }
            Err(Ungreeted { status, .. }) if transport.is_none() && may_be_http_sse(status) => {
                tracing::debug!(?status, "the server behind us may speak HTTP+SSE");
            }
            Err(Ungreeted { error, .. }) => return Err(error),
        }
    }
    let (connection, queued) = Connection::open(limits, changes.clone(), per, caller.cloned());
    let mut greeting = Greeting(Some(Arc::clone(&connection)));
    let carried = remote::http_sse::carry(server, client, &connection, queued).await;
    let link = carried.map_err(|trouble| {
        let error = std::error::Error::source(&trouble);
        tracing::error!(error, "the stream of the server behind us cannot be had: {trouble}");
        trouble.to_mcp_error()
    })?;
    let upstream = Upstream::greet(&connection, capabilities).await.map_err(|no| no.error)?;
    greeting.0 = None;
    Ok((Carrier::Remote(link), upstream))
}

impl Upstream {
    /// Shakes hands with a command: the server hears that its client can do what `capabilities` say.
    pub(super) async fn shake_hands(
        connection: &Arc<Connection>,
        capabilities: &RawValue,
    ) -> Result<Self, McpError> {
        Self::greet(connection, capabilities).await.map_err(|no| no.error)
    }

    async fn greet(
        connection: &Arc<Connection>,
        capabilities: &RawValue,
    ) -> Result<Self, Ungreeted> {
        let client_info: &RawValue =
            serde_json::from_str(CLIENT_NAME).map_err(|_| McpError::internal())?;
        let params = serde_json::json!({
            "protocolVersion": ProtocolVersion::LATEST_WITH_HANDSHAKE.as_str(),
            "capabilities": capabilities,
            "clientInfo": client_info,
        });
        let params = to_raw_value(&params).map_err(|_| McpError::internal())?;
        let answer = match connection.ask("initialize", Some(&params), HeaderMap::new()).await {
            Ending::Result(answer) => answer,
            Ending::Refused { error, status } => return Err(Ungreeted { error, status }),
            Ending::Unreached(error) | Ending::Failed(error) => return Err(error.into()),
        };
        let Some(result) = InitializeResult::parse(&answer) else {
            return Err(wrong_greeting("its answer to initialize is none").into());
        };
        let version = ProtocolVersion::from_text(&result.protocol_version)
            .filter(|version| !version.is_stateless())
            .ok_or_else(|| wrong_greeting("it speaks no revision of MCP that we know"))?;
        connection.agree_on(version);
        let carried = only(result.capabilities, &CARRIED);
        let info = ServerInfo {
            capabilities: to_raw_value(&carried).map_err(|_| McpError::internal())?,
            server_info: result.server_info.to_owned(),
            instructions: result.instructions.map(std::borrow::Cow::into_owned),
        };
        connection.say(write_notification("notifications/initialized", None)).await;
        Ok(Self {
            has_logging: carried.contains_key("logging"),
            info: Arc::new(info),
            connection: Arc::clone(connection),
            words: None,
            followed: Following::nothing(connection),
            _lists: None,
        })
    }

    /// Asks whether the server speaks without a handshake.
    async fn discover(
        connection: &Arc<Connection>,
        capabilities: &RawValue,
    ) -> Result<Discovered, McpError> {
        let [version] = ProtocolVersion::STATELESS;
        let words = Stateless::new(version);
        let mut ear = connection.listen(Kind::Passing)?;
        let whom = For::All { capabilities };
        let (message, headers) =
            words.request(ear.id, "server/discover", None, whom, Supplied::default())?;
        ear.events.close();
        let asked = async {
            if !ear.call(message, headers).await {
                return Err(ended());
            }
            (&mut ear.answer).await.map_err(|_| ended())
        };
        let answer = match tokio::time::timeout(DISCOVER_WAIT, asked).await {
            Err(_) => return Ok(Discovered::NotIt),
            Ok(ending) => match ending? {
                Ending::Result(answer) => answer,
                Ending::Unreached(error) => return Err(error),
                // Whatever that was, it was no answer of a server of that era.
                Ending::Failed(_) => return Ok(Discovered::NotIt),
                Ending::Refused { error, .. } => {
                    // Only a server of that era says so, and it has no handshake.
                    return match error.code() {
                        Some(UNSUPPORTED_PROTOCOL_VERSION | HEADER_MISMATCH) => {
                            Err(wrong_greeting("it speaks no revision of MCP that we know"))
                        }
                        Some(_) | None => Ok(Discovered::NotIt),
                    };
                }
            },
        };
        let Some(result) = DiscoverResult::parse(&answer) else { return Ok(Discovered::NotIt) };
        let Some(version) = result.common_version() else { return Ok(Discovered::NotIt) };
        let carried = only(result.capabilities, &CARRIED);
        let unnamed = || RawValue::from_string("{\"name\":\"\",\"version\":\"\"}".to_owned());
        let info = ServerInfo {
            capabilities: to_raw_value(&carried).map_err(|_| McpError::internal())?,
            server_info: match result.server_info() {
                Some(info) => info.to_owned(),
                None => unnamed().map_err(|_| McpError::internal())?,
            },
            instructions: result.instructions.clone().map(std::borrow::Cow::into_owned),
        };
        connection.agree_on(version);
        let words = Arc::new(words);
        let lists = Self::listen_for_lists(connection, &words, &info).await;
        Ok(Discovered::Stateless(Box::new(Self {
            has_logging: carried.contains_key("logging"),
            info: Arc::new(info),
            connection: Arc::clone(connection),
            words: Some(words),
            followed: Following::nothing(connection),
            _lists: lists,
        })))
    }

    /// Hears of changed lists, if the server tells of any.
    async fn listen_for_lists(
        connection: &Arc<Connection>,
        words: &Arc<Stateless>,
        info: &ServerInfo,
    ) -> Option<AbortOnDropHandle<()>> {
        let mut wanted = serde_json::Map::new();
        for list in ["tools", "prompts", "resources"] {
            if info.declares(&format!("/{list}/listChanged")) {
                wanted.insert(format!("{list}ListChanged"), true.into());
            }
        }
        if wanted.is_empty() {
            return None;
        }
        let params = to_raw_value(&serde_json::json!({ "notifications": wanted })).ok()?;
        match listening::listen(connection, words, params, None).await {
            Ok(listening) => Some(listening),
            Err(error) => {
                tracing::warn!(%error, "the server behind us does not tell what it said it would");
                None
            }
        }
    }

    pub(super) fn info(&self) -> &Arc<ServerInfo> {
        &self.info
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Asks the server what the client asks us.
    pub(super) async fn begin(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
        supplied: Supplied<'_>,
    ) -> Result<Exchange, McpError> {
        let caller = context.principal().cloned();
        if let Some(words) = &self.words {
            let ear = self.connection.listen_for(Kind::Passing, caller)?;
            let (message, headers) =
                words.request(ear.id, method, params, For::Client(context), supplied)?;
            return Exchange::begin(ear, message, headers).await;
        }
        if self.has_logging
            && context.version().is_stateless()
            && let Some(level) = context.log_level()
        {
            // Without a handshake each request says it, and the server has to be told before.
            let level = to_raw_value(&serde_json::json!({ "level": level.as_str() }));
            let level = level.ok();
            let told = self.connection.ask("logging/setLevel", level.as_deref(), HeaderMap::new());
            let told = Box::pin(told).await;
            if let Err(error) = told.into_result() {
                tracing::debug!(%error, "the server behind us does not take the log level");
            }
        }
        let ear = self.connection.listen_for(Kind::Passing, caller)?;
        let params = params.map(|params| params_for_handshake(params, ear.id)).transpose()?;
        let message = write_request(ear.id, method, params.as_deref());
        Exchange::begin(ear, message, HeaderMap::new()).await
    }

    /// Whether each of its requests stands for itself.
    pub(super) fn is_stateless(&self) -> bool {
        self.words.is_some()
    }

    /// Whether it says what goes on in a call.
    pub(super) fn has_logging(&self) -> bool {
        self.has_logging
    }

    /// Learns which arguments of its tools are repeated in headers.
    pub(super) async fn learn_headers(&self) {
        let Some(words) = &self.words else { return };
        let mut cursor: Option<String> = None;
        for _ in 0..TOOL_PAGES_MAX {
            let params = cursor.map(|cursor| serde_json::json!({ "cursor": cursor }));
            let params = params.and_then(|params| to_raw_value(&params).ok());
            let Ok(page) = self.ask("tools/list", params.as_deref()).await else { return };
            cursor = words.learn(&page);
            if cursor.is_none() {
                return;
            }
        }
    }

    /// Asks something of our own.
    async fn ask(
        &self,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Box<RawValue>, McpError> {
        let Some(words) = &self.words else {
            return self.connection.ask(method, params, HeaderMap::new()).await.into_result();
        };
        let mut ear = self.connection.listen(Kind::Passing)?;
        ear.events.close();
        let none = RawValue::from_string("{}".to_owned()).unwrap_or_default();
        let whom = For::All { capabilities: &none };
        let (message, headers) =
            words.request(ear.id, method, params, whom, Supplied::default())?;
        if !ear.call(message, headers).await {
            return Err(ended());
        }
        let answer = tokio::time::timeout(self.connection.answer_wait(), &mut ear.answer).await;
        answer.map_err(|_| connection::silent())?.map_err(|_| ended())?.into_result()
    }

    /// Tells the server what a client tells us. One without sessions has nobody to tell it to.
    pub(super) async fn notify(&self, method: &str, params: Option<&RawValue>) {
        self.connection.say(write_notification(method, params)).await;
    }

    /// Follows a resource; the server hears of the first who does and the last who no longer does.
    pub(super) async fn subscribe(&self, uri: &str) -> Result<Subscription, McpError> {
        let watcher = Follower { followed: Arc::clone(&self.followed), uri: uri.to_owned() };
        let is_first = {
            let mut table = lock(&self.followed.table);
            let followed = table.entry(uri.to_owned()).or_default();
            followed.by += 1;
            followed.by == 1
        };
        if is_first {
            match self.follow(uri).await {
                Ok(listening) => {
                    if let Some(followed) = lock(&self.followed.table).get_mut(uri) {
                        followed.listening = listening;
                    }
                }
                Err(error) => {
                    watcher.forget();
                    return Err(error);
                }
            }
        }
        Ok(Subscription::holding(watcher))
    }

    /// Goes on with what was followed in a conversation of the same owner that has ended.
    pub(super) async fn go_on_with(&mut self, before: &Self) {
        self.followed = Arc::clone(&before.followed);
        *lock(&self.followed.connection) = Arc::clone(&self.connection);
        let uris: Vec<String> = lock(&self.followed.table).keys().cloned().collect();
        for uri in uris {
            let listening = match self.follow(&uri).await {
                Ok(listening) => listening,
                Err(error) => {
                    tracing::warn!(%error, "what was followed is not told of any more");
                    None
                }
            };
            if let Some(followed) = lock(&self.followed.table).get_mut(&uri) {
                followed.listening = listening;
            }
        }
    }

    /// Asks to be told of a resource; answers the call that stands for it, where one does.
    async fn follow(&self, uri: &str) -> Result<Option<AbortOnDropHandle<()>>, McpError> {
        let Some(words) = &self.words else {
            let params = to_raw_value(&serde_json::json!({ "uri": uri })).ok();
            return self.ask("resources/subscribe", params.as_deref()).await.map(|_| None);
        };
        let params = serde_json::json!({ "notifications": { "resourceSubscriptions": [uri] } });
        let params = to_raw_value(&params).map_err(|_| McpError::internal())?;
        listening::listen(&self.connection, words, params, Some(uri)).await.map(Some)
    }

    /// Whether nobody needs it: no call, nobody who follows anything.
    pub(super) fn is_at_rest(&self) -> bool {
        self.connection.is_at_rest() && lock(&self.followed.table).is_empty()
    }

    /// Whether its server has forgotten it, and no call is left that could still be answered.
    pub(super) fn is_spent(&self) -> bool {
        self.connection.is_forgotten() && self.connection.is_at_rest()
    }
}

/// Somebody who follows a resource, until it is dropped.
#[derive(Debug)]
struct Follower {
    followed: Arc<Following>,
    uri: String,
}

impl Follower {
    /// Takes itself off the list; `true` if it was the last.
    fn leave(&self) -> bool {
        let mut table = lock(&self.followed.table);
        match table.entry(self.uri.clone()) {
            Entry::Occupied(mut followed) if followed.get().by > 1 => {
                followed.get_mut().by -= 1;
                false
            }
            Entry::Occupied(last) => {
                last.remove();
                true
            }
            Entry::Vacant(_) => false,
        }
    }

    /// The server never took it: there is nothing to tell it.
    fn forget(mut self) {
        self.leave();
        self.uri.clear();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if !self.uri.is_empty() && self.leave() {
            let params = to_raw_value(&serde_json::json!({ "uri": self.uri })).ok();
            let connection = Arc::clone(&lock(&self.followed.connection));
            connection.tell("resources/unsubscribe", params.as_deref());
        }
    }
}

/// The capabilities of a client that a server behind us may hear of, as the client says them.
pub(super) fn capabilities_for_upstream(context: &Context) -> Box<RawValue> {
    let declared = context.client_capabilities();
    // Many clients can be asked nothing, and say so in two letters.
    let declared = declared.filter(|declared| declared.get() != "{}");
    let Some(declared) = declared else {
        return RawValue::from_string("{}".to_owned()).unwrap_or_default();
    };
    let asked = only(&declared, &ASKED);
    to_raw_value(&asked).unwrap_or_default()
}

/// The members of `object` that are called so.
fn only<'a>(object: &'a RawValue, names: &[&str]) -> BTreeMap<String, &'a RawValue> {
    let mut members: BTreeMap<String, &RawValue> =
        serde_json::from_str(object.get()).unwrap_or_default();
    members.retain(|name, _| names.contains(&name.as_str()));
    members
}

fn wrong_greeting(reason: &'static str) -> McpError {
    tracing::error!(reason, "the server behind us cannot be used");
    McpError::new(INTERNAL_ERROR, "the server behind this one cannot be used")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
