//! One server behind us: what it is, what it can do, what is asked of it, what it tells.
//!
//! ```text
//! Upstream ─▶ connection ─┬─ lines (a process: process.rs)
//!                         └─ remote: streamable_http, http_sse
//! ```

mod connection;
mod exchange;
mod greeting;
mod lines;
mod listening;
mod news;
mod process;
mod remote;
mod stateless;
mod tools;

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use sekisho_protocol::mcp::{
    McpError, ToolCallParams, params_for_handshake, write_notification, write_request,
};
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

pub(super) use self::connection::Connection;
use self::connection::{Kind, ended};
pub(super) use self::exchange::{Exchange, Question, Step};
pub(super) use self::greeting::reach;
use self::process::Process;
pub use self::process::StdioCommand;
pub(super) use self::remote::Client;
use self::remote::Link;
#[cfg(feature = "fuzzing")]
pub use self::remote::events_in;
pub use self::remote::{RemoteServer, RemoteServerError, RemoteTransport};
pub(super) use self::stateless::Supplied;
use self::stateless::{For, Words};
use super::limits::GatewayLimits;
use super::owners::{Per, Variables};
use crate::mcp::{Changes, Context, ServerInfo, Subscription};
use crate::measure::spans;

/// What we are called, by servers that ask.
const CLIENT_NAME: &str =
    concat!("{\"name\":\"sekisho\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}");
/// What can be carried between a client and a server. What a server says beyond it is not passed
/// on, so that no client relies on what would not arrive.
pub(super) const CARRIED: [&str; 5] = ["tools", "prompts", "resources", "completions", "logging"];
/// What a client may be asked for by way of us.
const ASKED: [&str; 3] = ["sampling", "elicitation", "roots"];

/// Somebody else's server, as the operator wrote it down.
#[derive(Debug, Clone, PartialEq)]
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

impl Upstream {
    pub(super) fn info(&self) -> &Arc<ServerInfo> {
        &self.info
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Asks the server what the client asks us. Nobody behind us reads another call out of it than we do: one
    /// that could be read in two ways is refused.
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
            let (message, mut headers) =
                words.request(ear.id, method, params, For::Client(context), supplied)?;
            spans::tell(&mut headers);
            return Exchange::begin(ear, message, headers).await;
        }
        if method == "tools/call" {
            ToolCallParams::parse(params)?;
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
        let message = write_request(ear.id, method, params.as_deref().map(RawValue::get));
        let mut headers = HeaderMap::new();
        spans::tell(&mut headers);
        Exchange::begin(ear, message, headers).await
    }

    /// Whether each of its requests stands for itself.
    pub(super) fn is_stateless(&self) -> bool {
        self.words.is_some()
    }

    /// Whether it says what goes on in a call.
    pub(super) fn has_logging(&self) -> bool {
        self.has_logging
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
        let whom = For::All { capabilities: &no_capabilities() };
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
        if !self.is_stateless() {
            self.connection.say(write_notification(method, params)).await;
        }
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

    /// Since when nobody has needed it; nothing while a call is open or somebody follows something.
    pub(super) fn at_rest_since(&self) -> Option<Instant> {
        self.connection.at_rest_since().filter(|_| lock(&self.followed.table).is_empty())
    }

    /// Whether its server has forgotten it, and no call is left that could still be answered.
    pub(super) fn is_spent(&self) -> bool {
        self.connection.is_forgotten() && self.connection.at_rest_since().is_some()
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
            let connection = Arc::clone(&lock(&self.followed.connection));
            // Without a handshake, the call that stood for it is given up, and that is all.
            if !connection.is_stateless() {
                let params = to_raw_value(&serde_json::json!({ "uri": self.uri })).ok();
                connection.tell("resources/unsubscribe", params.as_deref());
            }
        }
    }
}

/// The capabilities of a client that a server behind us may hear of, as the client says them.
pub(super) fn capabilities_for_upstream(context: &Context) -> Cow<'static, RawValue> {
    // Many clients can be asked nothing, and say so in two letters.
    let asked = context.read_client_capabilities(|declared| {
        let says_more = declared.get() != "{}";
        says_more.then(|| to_raw_value(&only(declared, &ASKED)).unwrap_or_default())
    });
    asked.flatten().map_or_else(no_capabilities, Cow::Owned)
}

/// Those of a client that can do nothing.
pub(super) fn no_capabilities() -> Cow<'static, RawValue> {
    static NONE: LazyLock<Box<RawValue>> =
        LazyLock::new(|| RawValue::from_string("{}".to_owned()).unwrap_or_default());
    Cow::Borrowed(&NONE)
}

/// The members of `object` that are called so.
fn only<'a>(object: &'a RawValue, names: &[&str]) -> BTreeMap<String, &'a RawValue> {
    let mut members: BTreeMap<String, &RawValue> =
        serde_json::from_str(object.get()).unwrap_or_default();
    members.retain(|name, _| names.contains(&name.as_str()));
    members
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
