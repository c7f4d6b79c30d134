//! Several instances of one service, on one store and with one key, behind any load balancer.
//!
//! ```text
//! client ─▶ B: guard ─▶ mcp: the session is A's ─▶ relay ══ sealed, HTTP ══▶ door ─▶ A: mcp ─▶ service
//!                                                    │                                    │
//!   ◀───────────────────────────────────────────────┴◀════ sealed, part by part ══════════┘
//! ```
//!
//! What an instance holds in memory (a session with its streams, a call that waits for its client) has
//! the instance's name in its own, and a request about it that comes to another is passed on, whole.
//! The caller was checked where the request came in; the token stays there. Instances find each other
//! in the store (`members`), and know each other by the key alone: what is not sealed by it, or was
//! seen before, is nothing (`wire`, `door`).

mod door;
mod members;
mod relay;
mod wire;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::sync::Semaphore;

use self::door::Senders;
use self::members::Members;
pub use self::members::{BEAT_EVERY, GONE_AFTER};
pub(crate) use self::relay::{NotRelayed, Relayed};
use crate::mint;
use crate::seal::Sealer;

/// How long a connection to another instance may take.
pub const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// Names one process for as long as it lives: 16 hex digits, not secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceId(String);

impl InstanceId {
    /// How many letters a name has, so that it can stand in front of another.
    const LETTERS: usize = 16;

    fn new() -> Self {
        Self(mint::id().split_at(Self::LETTERS).0.to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes a request that another instance passed on, behind whatever guards the service.
pub(crate) type Taking = Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;

/// One instance, and what it knows of the others.
pub struct Fleet {
    me: InstanceId,
    /// Where the others reach us.
    address: SocketAddr,
    sealer: Sealer,
    members: Members,
    /// Requests that we passed on so far: each has its number.
    sent: AtomicU64,
    senders: Mutex<Senders>,
    arriving: Semaphore,
    services: RwLock<HashMap<String, Taking>>,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Fleet {
    /// An instance that the others reach at `address`, where [`Fleet::door`] is served. All seal with
    /// the same keys.
    pub fn new(address: SocketAddr, sealer: Sealer) -> Self {
        Self {
            me: InstanceId::new(),
            address,
            sealer,
            members: Members::default(),
            sent: AtomicU64::new(0),
            senders: Mutex::default(),
            arriving: Semaphore::new(door::ARRIVING_MAX),
            services: RwLock::default(),
            http: relay::client(),
        }
    }

    /// Our own name.
    pub fn me(&self) -> &InstanceId {
        &self.me
    }

    /// A name for something that we hold, from which every instance can tell that it is ours.
    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.me, mint::id())
    }

    /// Who holds what has this name, if that is somebody else.
    pub(crate) fn holder_elsewhere(&self, name: &str) -> Option<InstanceId> {
        let (holder, rest) = name.split_at_checked(InstanceId::LETTERS)?;
        let is_ours = holder == self.me.as_str() || rest.len() != 2 * InstanceId::LETTERS;
        (!is_ours).then(|| InstanceId(holder.to_owned()))
    }

    /// Who else lives.
    pub(crate) fn others(&self) -> Vec<InstanceId> {
        self.members.all()
    }

    /// From now on `taking` takes what others pass on for the service of this name.
    pub(crate) fn serve(&self, service: &str, taking: Taking) {
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        services.insert(service.to_owned(), taking);
    }

    fn service(&self, name: &str) -> Option<Taking> {
        self.services.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("me", &self.me)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
