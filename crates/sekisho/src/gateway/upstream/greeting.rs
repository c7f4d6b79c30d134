//! How a conversation begins: what the server speaks, what it is, what it can do.
//!
//! ```text
//! at a URL:  server/discover ─▶ initialize ─▶ the stream of HTTP+SSE
//! a command: initialize ─▶ server/discover
//! ```
//!
//! An answer that is of one era settles it. A server that refuses a revision and names another one that
//! we know is asked again in that one.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use sekisho_protocol::mcp::{
    DiscoverResult, HEADER_MISMATCH, INTERNAL_ERROR, InitializeResult, McpError, ProtocolVersion,
    UNSUPPORTED_PROTOCOL_VERSION, write_notification,
};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::connection::{Connection, Ending, Kind, ended};
use super::remote::{self, Client, RemoteServer, RemoteTransport, may_be_http_sse};
use super::stateless::{Beside, For, Stateless, Supplied};
use super::{CARRIED, CLIENT_NAME, Carrier, Following, Upstream, listening, only};
use crate::gateway::limits::GatewayLimits;
use crate::gateway::owners::Per;
use crate::mcp::{Changes, ServerInfo};
use crate::principal::Principal;

/// How long a server may take to say whether it speaks without a handshake. Some of those that do
/// not say nothing at all.
const DISCOVER_WAIT: Duration = Duration::from_secs(10);
/// How long a server may take to say whether it has a stream of what belongs to no call.
const STREAM_WAIT: Duration = Duration::from_millis(500);
/// How often it is asked, if it names another revision each time.
const DISCOVERIES_MAX: u32 = 2;

/// Why a server cannot be spoken to; with the status, if its refusal was one.
#[derive(Debug)]
struct Ungreeted {
    error: McpError,
    status: Option<StatusCode>,
    /// The server said so itself.
    is_answer: bool,
}

impl From<McpError> for Ungreeted {
    fn from(error: McpError) -> Self {
        Self { error, status: None, is_answer: false }
    }
}

/// What a server says to `server/discover`.
enum Discovered {
    /// It speaks without a handshake.
    Stateless(Box<Upstream>),
    /// It knows the question, and refuses the revision it was asked in, but would take this one.
    Refused(ProtocolVersion),
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

/// Finds out how a server at a URL is spoken to, and greets it: without a handshake, else with one,
/// else, if it refuses as such servers do and nobody said what it is, over HTTP+SSE.
pub(in crate::gateway) async fn reach(
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
        let greeted = match Upstream::find_out(&connection, capabilities, Beside::Headers).await {
            Ok(Some(upstream)) => Ok(upstream),
            Ok(None) => Upstream::greet(&connection, capabilities).await,
            Err(error) => Err(error.into()),
        };
        match greeted {
            Ok(upstream) => {
                if upstream.words.is_none() {
                    let (is_there, there) = oneshot::channel();
                    tokio::spawn(Arc::clone(&link).listen(is_there));
                    // A server that asks on a stream which is not there yet, asks nobody.
                    let _ = tokio::time::timeout(STREAM_WAIT, there).await;
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
    /// Greets a command, whose client can do what `capabilities` say: with a handshake, and if that is
    /// refused, without. Not the other way round: there are commands that end, or never say anything
    /// again, when they are first asked what they do not know.
    pub(in crate::gateway) async fn greet_command(
        connection: &Arc<Connection>,
        capabilities: &RawValue,
    ) -> Result<Self, McpError> {
        let no = match Self::greet(connection, capabilities).await {
            Err(no) if no.is_answer => no,
            greeted => return greeted.map_err(|no| no.error),
        };
        tracing::debug!(error = %no.error, "the server behind us may speak without a handshake");
        let found = Self::find_out(connection, capabilities, Beside::Nothing).await?;
        found.ok_or_else(|| {
            tracing::error!(error = %no.error, "the server behind us refuses to be greeted");
            no.error
        })
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
            Ending::Refused { error, status } => {
                return Err(Ungreeted { error, status, is_answer: true });
            }
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

    /// A server that speaks without a handshake; nothing if it is none.
    async fn find_out(
        connection: &Arc<Connection>,
        capabilities: &RawValue,
        beside: Beside,
    ) -> Result<Option<Self>, McpError> {
        let [mut version] = ProtocolVersion::STATELESS;
        for _ in 0..DISCOVERIES_MAX {
            match Self::discover(connection, capabilities, version, beside).await? {
                Discovered::Stateless(upstream) => return Ok(Some(*upstream)),
                Discovered::Refused(instead) => version = instead,
                Discovered::NotIt => return Ok(None),
            }
        }
        Err(wrong_greeting("it names a revision that it refuses"))
    }

    /// Asks whether the server speaks `version`, without a handshake.
    async fn discover(
        connection: &Arc<Connection>,
        capabilities: &RawValue,
        version: ProtocolVersion,
        beside: Beside,
    ) -> Result<Discovered, McpError> {
        let words = Stateless::new(version, beside, Arc::clone(connection.tools()));
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
                Ending::Refused { error, .. } => return refused(&error),
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
}

/// What a refusal of `server/discover` says of the server.
fn refused(error: &McpError) -> Result<Discovered, McpError> {
    let served = error.served_instead();
    match error.code() {
        Some(UNSUPPORTED_PROTOCOL_VERSION) => {
            match served.iter().rfind(|version| version.is_stateless()) {
                Some(version) => Ok(Discovered::Refused(*version)),
                // It has a handshake, and says so.
                None if !served.is_empty() => Ok(Discovered::NotIt),
                None => Err(wrong_greeting("it speaks no revision of MCP that we know")),
            }
        }
        // Only a server of that era says so, and it has no handshake.
        Some(HEADER_MISMATCH) => Err(wrong_greeting("it speaks no revision of MCP that we know")),
        Some(_) | None => Ok(Discovered::NotIt),
    }
}

fn wrong_greeting(reason: &'static str) -> McpError {
    tracing::error!(reason, "the server behind us cannot be used");
    McpError::new(INTERNAL_ERROR, "the server behind this one cannot be used")
}
