//! One server behind us, from the handshake on: what it is, what is asked of it, what it tells.

mod connection;
mod exchange;
mod process;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sekisho_protocol::mcp::{
    INTERNAL_ERROR, InitializeResult, McpError, ProtocolVersion, write_notification,
};
use serde_json::value::{RawValue, to_raw_value};

pub(super) use self::connection::Connection;
pub(super) use self::exchange::{Exchange, Question, Step};
pub use self::process::StdioCommand;
use crate::mcp::{Context, ServerInfo, Subscription};

/// What can be carried between a client and a server. What a server says beyond it is not passed
/// on, so that no client relies on what would not arrive.
const CARRIED: [&str; 5] = ["tools", "prompts", "resources", "completions", "logging"];
/// What a client may be asked for by way of us.
const ASKED: [&str; 3] = ["sampling", "elicitation", "roots"];

/// A server that answers.
#[derive(Debug)]
pub(super) struct Upstream {
    connection: Arc<Connection>,
    info: Arc<ServerInfo>,
    has_logging: bool,
    followed: Mutex<HashMap<String, usize>>,
}

impl Upstream {
    /// Shakes hands: the server hears that its client can do what `capabilities` say.
    pub(super) async fn greet(
        connection: Arc<Connection>,
        capabilities: &RawValue,
    ) -> Result<Self, McpError> {
        let params = serde_json::json!({
            "protocolVersion": ProtocolVersion::LATEST_WITH_HANDSHAKE.as_str(),
            "capabilities": capabilities,
            "clientInfo": { "name": "sekisho", "version": env!("CARGO_PKG_VERSION") },
        });
        let params = to_raw_value(&params).map_err(|_| McpError::internal())?;
        let answer = connection.ask("initialize", Some(&params)).await?;
        let Some(result) = InitializeResult::parse(&answer) else {
            return Err(wrong_greeting("its answer to initialize is none"));
        };
        if ProtocolVersion::from_text(&result.protocol_version)
            .is_none_or(ProtocolVersion::is_stateless)
        {
            return Err(wrong_greeting("it speaks no revision of MCP that we know"));
        }
        let carried = only(result.capabilities, &CARRIED);
        let info = ServerInfo {
            capabilities: to_raw_value(&carried).map_err(|_| McpError::internal())?,
            server_info: result.server_info.to_owned(),
            instructions: result.instructions.map(std::borrow::Cow::into_owned),
        };
        connection.send(write_notification("notifications/initialized", None).into()).await;
        Ok(Self {
            has_logging: carried.contains_key("logging"),
            info: Arc::new(info),
            connection,
            followed: Mutex::default(),
        })
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
    ) -> Result<Exchange, McpError> {
        if self.has_logging
            && context.version().is_stateless()
            && let Some(level) = context.log_level()
        {
            // Without a handshake each request says it, and the server has to be told before.
            let level = to_raw_value(&serde_json::json!({ "level": level.as_str() }));
            let told = self.connection.ask("logging/setLevel", level.ok().as_deref()).await;
            if let Err(error) = told {
                tracing::debug!(%error, "the server behind us does not take the log level");
            }
        }
        Exchange::begin(&self.connection, method, params).await
    }

    pub(super) async fn notify(&self, method: &str, params: Option<&RawValue>) {
        self.connection.send(write_notification(method, params).into()).await;
    }

    /// Follows a resource; the server hears of the first who does and the last who no longer does.
    pub(super) async fn subscribe(self: &Arc<Self>, uri: &str) -> Result<Subscription, McpError> {
        let follower = Follower { upstream: Arc::clone(self), uri: uri.to_owned() };
        let is_first = {
            let mut table = lock(&self.followed);
            let count = table.entry(uri.to_owned()).or_default();
            *count += 1;
            *count == 1
        };
        if is_first {
            let params = to_raw_value(&serde_json::json!({ "uri": uri })).ok();
            let asked = self.connection.ask("resources/subscribe", params.as_deref()).await;
            if let Err(error) = asked {
                follower.forget();
                return Err(error);
            }
        }
        Ok(Subscription::holding(follower))
    }

    /// Whether nobody needs it: no call, nobody who follows anything.
    pub(super) fn is_at_rest(&self) -> bool {
        self.connection.is_at_rest() && lock(&self.followed).is_empty()
    }
}

/// Somebody who follows a resource, until it is dropped.
#[derive(Debug)]
struct Follower {
    upstream: Arc<Upstream>,
    uri: String,
}

impl Follower {
    /// Takes itself off the list; `true` if it was the last.
    fn leave(&self) -> bool {
        let mut table = lock(&self.upstream.followed);
        match table.entry(self.uri.clone()) {
            Entry::Occupied(mut count) if *count.get() > 1 => {
                *count.get_mut() -= 1;
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
            self.upstream.connection.tell("resources/unsubscribe", params.as_deref());
        }
    }
}

/// The capabilities of a client that a server behind us may hear of, as the client says them.
pub(super) fn capabilities_for_upstream(context: &Context) -> Box<RawValue> {
    let declared = context.client_capabilities();
    let asked = declared.as_deref().map(|declared| only(declared, &ASKED)).unwrap_or_default();
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
