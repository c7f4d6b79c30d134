//! The library's own transports around a service that tells of changes, which `fortune` never does:
//! what `subscriptions/listen` of 2026-07-28 is measured on. Listens, gives memory back and stops as
//! the program does.

use std::hint::black_box;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use clap::Parser;
use sekisho::clock::{Clock, SystemClock};
use sekisho::grant::{Grant, GrantId, IssuedTokens, Turn};
use sekisho::mcp::{CallError, Changes, Context, McpEndpoints, McpService, ServerInfo, Settings};
use sekisho::principal::{Claims, Identity};
use sekisho::protocol::Secret;
use sekisho::protocol::mcp::McpError;
use sekisho::protocol::oauth::{ClientId, ResourceUri, ScopeSet};
use sekisho::resource_server::{GuardLayer, OwnTokens, TokenVerifier};
use sekisho::store::{CachedStore, MemoryStore, Store, TableLimits};
use serde_json::value::{RawValue, to_raw_value};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What to serve.
#[derive(Debug, Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// The one token that opens the door.
    #[arg(long)]
    token: String,
}

const CALLS_PER_PERSON_MAX: usize = 20_000;
const HEAD_WAIT: Duration = Duration::from_secs(15);
const HEAD_BYTES_MAX: usize = 64 * 1024;
const DRAIN: Duration = Duration::from_secs(8);
const GIVE_BACK_EVERY: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let stopping = CancellationToken::new();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let resource = ResourceUri::new(format!("http://{}/mcp", arguments.listen));
    let store = store_with(&arguments.token, &resource, clock.now()).await?;
    let verifier: Arc<dyn TokenVerifier> =
        Arc::new(OwnTokens::new(store, resource, Arc::clone(&clock)));
    let mut settings = Settings::new("/messages");
    settings.limits.calls_per_person_max = CALLS_PER_PERSON_MAX;
    let service = Arc::new(Telling(Changes::default()));
    let endpoints =
        McpEndpoints::new(service, settings, Some(Arc::clone(&verifier)), stopping.clone(), clock);
    let guard = GuardLayer::new(verifier, ScopeSet::default(), "http://localhost/metadata")?;
    let app = Router::new().route("/mcp", endpoints.mcp().layer(guard));

    let handle = Handle::new();
    let mut server = axum_server::from_tcp(TcpListener::bind(arguments.listen)?)?
        .acceptor(NoDelayAcceptor::new())
        .handle(handle.clone());
    server.http_builder().http1().header_read_timeout(HEAD_WAIT).max_buf_size(HEAD_BYTES_MAX);
    tokio::spawn(async {
        loop {
            tokio::time::sleep(GIVE_BACK_EVERY).await;
            drop(black_box(Vec::<u8>::with_capacity(1024 * 1024)));
        }
    });
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminate.recv().await;
        stopping.cancel();
        handle.graceful_shutdown(Some(DRAIN));
    });
    Ok(server.serve(app.into_make_service()).await?)
}

/// A store that knows exactly `token`.
async fn store_with(
    token: &str,
    resource: &ResourceUri,
    now: sekisho::clock::Timestamp,
) -> Result<Arc<dyn Store>> {
    let store = CachedStore::new(Arc::new(MemoryStore::new(TableLimits::default())));
    let grant = Grant {
        id: GrantId::new("bench"),
        client_id: ClientId::new("bench"),
        identity: Identity {
            issuer: "local".to_owned(),
            subject: "bench".to_owned(),
            name: None,
            email: None,
            email_verified: false,
            claims: Claims::default(),
        },
        scope: ScopeSet::default(),
        resource: resource.clone(),
        created_at: now,
    };
    let tokens = IssuedTokens {
        access: Secret::new(token).hash(),
        access_expires_at: now.plus(Duration::from_hours(1)),
        refresh: None,
        scope: ScopeSet::default(),
        turn: Turn::default(),
    };
    store.issue_to_machine(&grant, &tokens).await?;
    Ok(Arc::new(store))
}

/// Has a list of tools that could change, and never does.
#[derive(Debug)]
struct Telling(Changes);

#[async_trait]
impl McpService for Telling {
    async fn info(&self, _: &Context) -> std::result::Result<Arc<ServerInfo>, McpError> {
        let mut info = ServerInfo::with_tools("listening", "1");
        let capabilities = serde_json::json!({ "tools": { "listChanged": true } });
        info.capabilities = to_raw_value(&capabilities).map_err(|_| McpError::internal())?;
        Ok(Arc::new(info))
    }

    async fn call(
        &self,
        method: &str,
        _: Option<&RawValue>,
        _: &Context,
    ) -> std::result::Result<Box<RawValue>, CallError> {
        Err(McpError::method_not_found(method).into())
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.0)
    }
}
