//! What is served: a few tools, a gateway, anything that answers MCP methods with JSON.
//!
//! The transports do the handshake, `ping`, sessions and cancellation; a service never sees them.
//! JSON goes in and out as text, so that whoever forwards it loses nothing.

use std::fmt;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use sekisho_protocol::mcp::{McpError, ProtocolVersion, write_notification};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::legacy::{EventStream, Session};
use crate::principal::Principal;

/// Answers the methods of MCP, for every client at once.
#[async_trait]
pub trait McpService: fmt::Debug + Send + Sync {
    /// What `initialize` tells the client. What it says may depend on who asks.
    async fn info(&self, context: &Context) -> Result<ServerInfo, McpError>;

    /// Answers a request with the text of its `result`. Never asked about `initialize` or `ping`.
    ///
    /// The future is dropped when the client cancels the request; a client that merely hangs up
    /// cancels nothing.
    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, McpError>;

    /// Takes note of a client's notification. Never told of `notifications/initialized` or
    /// `notifications/cancelled`, which the transports understand themselves.
    async fn notice(&self, _method: &str, _params: Option<&RawValue>, _context: &Context) {}
}

/// What a server says of itself in the answer to `initialize`.
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

/// Who asks, and how to tell them something before the answer.
#[derive(Debug, Clone)]
pub struct Context {
    principal: Option<Arc<Principal>>,
    version: ProtocolVersion,
    exchange: Option<Arc<EventStream>>,
    session: Weak<Session>,
}

impl Context {
    /// A caller without a connection: whatever is told to it is dropped.
    pub fn new(principal: Option<Arc<Principal>>, version: ProtocolVersion) -> Self {
        Self { principal, version, exchange: None, session: Weak::new() }
    }

    pub(super) fn of(
        session: &Arc<Session>,
        principal: Option<Arc<Principal>>,
        version: ProtocolVersion,
        exchange: Option<Arc<EventStream>>,
    ) -> Self {
        Self { principal, version, exchange, session: Arc::downgrade(session) }
    }

    /// The verified caller; nobody where nothing guards the server, as over stdio.
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        self.principal.as_ref()
    }

    /// The version agreed upon in `initialize`.
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Tells the client something about this very request, such as `notifications/progress`.
    /// Dropped where the client takes a single answer only, or does not read fast enough.
    pub fn notify(&self, method: &str, params: Option<&RawValue>) {
        if let Some(exchange) = &self.exchange {
            exchange.offer(Bytes::from(write_notification(method, params)));
        }
    }

    /// The client itself, to be told of what happens later.
    pub fn peer(&self) -> Peer {
        Peer { session: Weak::clone(&self.session) }
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
