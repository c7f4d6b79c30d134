//! `sekisho serve`: puts the parts together, listens, and stops cleanly.
//!
//! ```text
//! listen ─▶ key ─▶ store ─▶ who issues tokens (issuing.rs) ─┐
//!                    └────▶ guard ─▶ MCP endpoints ─────────┴─▶ front ─▶ connections
//! ```
//!
//! The port is taken first, so that callers wait for an answer instead of being turned away, and
//! nothing slow stands between the start and the first answer.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use sekisho::clock::{Clock, SystemClock};
use sekisho::fleet::Fleet;
use sekisho::front::{Front, Surfaces};
use sekisho::identity_provider::local::accounts::{DEMO_USER, ensure_demo};
use sekisho::mcp::{self, McpEndpoints, McpService, Posts};
use sekisho::policy::Ruled;
use sekisho::protocol::oauth::ProtectedResource;
use sekisho::resource_server::{Guard, GuardLayer, RefusedTokens, TokenVerifier, metadata_routes};
use sekisho::seal::Sealer;
use sekisho::signing::SigningKeys;
use sekisho::store::{Store, Swept};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use crate::behind::Behind;
use crate::config::{Config, IdentityConfig, KeyFile, Server};
use crate::connections::{Connections, accepting};
use crate::fleet;
use crate::introducing::TokenSources;
use crate::issuing::{Issuing, issuing};
use crate::outcome::{Failure, say};
use crate::shortcut::Shortcut;
use crate::signpost::signpost;
use crate::store::OpenStore;
use crate::{key, memory, stopping, telemetry};

/// How often what has expired is removed from the store.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// How long a client that never finished a login is kept.
const UNUSED_CLIENTS_KEPT: Duration = Duration::from_hours(24);
/// Connections that wait to be accepted, in the kernel.
const BACKLOG: u32 = 1024;

/// Serves until a signal comes.
///
/// # Errors
/// When the port, the key or the store cannot be had, as one sentence.
pub(crate) fn run(config: Config) -> Result<(), Failure> {
    telemetry::begin(&config.log);
    let runtime = runtime()?;
    let served = runtime.block_on(serve(config));
    runtime.shutdown_background();
    served
}

/// Threads for everything that is async.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Runtime::new().map_err(|error| Failure::Run(format!("cannot start threads: {error}")))
}

async fn serve(config: Config) -> Result<(), Failure> {
    let listener = listen(config.listen).map_err(|error| cannot_listen(config.listen, &error))?;
    let sealer = key::sealer(&config.key_file, &config.store)?;
    let store = OpenStore::for_server(&config).await?;
    key::claim(&sealer, &config.key_file, store.shared.as_ref(), &config.store).await?;
    if let KeyFile::At(path) = &config.key_file {
        tokio::spawn(key::follow(path.clone(), sealer.clone(), Arc::clone(&store.shared)));
    }
    warn_of_one_address(&config);
    let joined = fleet::join(&config, &store, &sealer).await?;
    let stopping = CancellationToken::new();
    let behind = Behind::default();
    let fleet = joined.as_ref().map(|joined| &joined.fleet);
    let app = application(&config, &store.shared, sealer, &stopping, &behind, fleet).await?;

    let handle = Handle::new();
    let connections = Connections::new(
        config.connections_max,
        config.connections_per_address_max,
        config.proxies.clone(),
    );
    let server = accepting(listener, connections, handle.clone());
    let for_each_peer = tower::service_fn(move |peer| {
        std::future::ready(Ok::<_, Infallible>(app.clone().for_peer(peer)))
    });
    let answering = tokio::spawn(server.serve(for_each_peer));
    let signals = stopping::signals(handle, stopping)
        .map_err(|error| Failure::Run(format!("cannot listen for signals: {error}")))?;
    tokio::spawn(signals);
    tokio::spawn(sweep(Arc::clone(&store.shared), config.client_idle_ttl));
    tokio::spawn(memory::give_back());

    welcome(&config, &store.shared).await?;
    let ended = answering.await.map_err(|error| Failure::because(&error))?;
    behind.end().await;
    if let Some(joined) = joined {
        joined.leave().await;
    }
    store.close().await;
    tracing::info!("stopped");
    ended.map_err(|error| Failure::because(&error))
}

/// Limits count by address, and behind an unknown proxy everybody has the proxy's.
fn warn_of_one_address(config: &Config) {
    let is_behind_a_proxy = config.public_url.is_https() && config.listen.ip().is_loopback();
    if is_behind_a_proxy && config.proxies.is_empty() {
        tracing::warn!(
            "trusted_proxies is empty: all callers count as one address for every limit; \
             name the address of the reverse proxy"
        );
    }
}

/// Takes the port, also when connections of a process before us are still being closed.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    let known = [
        (
            io::ErrorKind::AddrInUse,
            "another program listens there already: stop it, or choose another port",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "this machine does not have that address: choose another",
        ),
        (io::ErrorKind::PermissionDenied, "we may not listen there: choose a port from 1024 on"),
    ];
    let found = known.iter().find(|(kind, _)| *kind == error.kind());
    let problem = match found {
        Some((_, problem)) => (*problem).to_owned(),
        None => format!("cannot listen there: {error}"),
    };
    Failure::Run(format!("listen = \"{address}\": {problem}"))
}

/// All routes behind the front.
async fn application(
    config: &Config,
    store: &Arc<dyn Store>,
    sealer: Sealer,
    stopping: &CancellationToken,
    behind: &Behind,
    fleet: Option<&Arc<Fleet>>,
) -> Result<sekisho::front::FrontService<Shortcut>, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let Issuing { routes, authorization_server, verifiers, readiness, provider } =
        issuing(config, store, &sealer, stopping, &clock).await?;
    let sources = TokenSources {
        public_url: config.public_url.clone(),
        keys: SigningKeys::new(sealer.clone()),
        provider,
        clock: Arc::clone(&clock),
    };
    let mut routes = routes
        .merge(metadata_routes(
            &config.public_url,
            &config.authorization.servers,
            &authorization_server,
        ))
        .merge(readiness.routes());
    if config.authorization.publishes_keys {
        routes = routes.merge(sources.keys.routes());
    }
    let refused = Arc::new(RefusedTokens::new(config.wrong_tokens_per_minute));
    let mut posts = Vec::new();
    let mut services =
        behind.services(config, Some(&sources), |server, service| match &server.rules {
            Some(rules) => Arc::new(Ruled::new(service, Arc::clone(rules))),
            None => service,
        });
    for server in &config.servers {
        let Some(service) = services.remove(server.resource.name.as_str()) else {
            continue;
        };
        let verifier = verifiers.of(&server.resource, &clock);
        let guarded = guarded(
            config,
            server,
            service?,
            &verifier,
            &sealer,
            (stopping, &refused, fleet),
            &clock,
        )?;
        routes = routes.merge(guarded.routes);
        posts.push(guarded.posts);
    }
    if let Some(Server { resource, .. }) = config.servers.first() {
        let at = |endpoint| config.public_url.endpoint(&format!("{}{endpoint}", resource.path));
        routes = signpost(routes, at("mcp"), at("sse"));
    }
    let endpoints = config.servers.iter().flat_map(|server| endpoints(&server.resource));
    let front = Front::new(
        config.hosts.clone(),
        config.origins.clone(),
        Surfaces::new(endpoints),
        config.proxies.clone(),
    );
    Ok(front.layer(Shortcut::new(posts, routes)))
}

/// The endpoints of one server: all routes, and the one that is nearly always asked.
struct Guarded {
    routes: Router,
    posts: (String, Guard<Posts>),
}

/// The endpoints of one server, each behind the guard that points to its own metadata.
fn guarded(
    config: &Config,
    server: &Server,
    service: Arc<dyn McpService>,
    verifier: &Arc<dyn TokenVerifier>,
    sealer: &Sealer,
    (stopping, refused, fleet): (&CancellationToken, &Arc<RefusedTokens>, Option<&Arc<Fleet>>),
    clock: &Arc<dyn Clock>,
) -> Result<Guarded, Failure> {
    let resource = &server.resource;
    let [mcp_path, sse_path, messages_path] = endpoints(resource);
    let mut settings = mcp::Settings::new(messages_path.clone());
    settings.limits = config.sessions.clone();
    settings.sealer = sealer.clone();
    settings.fleet = fleet.cloned();
    let transports = McpEndpoints::new(
        service,
        settings,
        Some(Arc::clone(verifier)),
        stopping.child_token(),
        Arc::clone(clock),
    );
    let guard = |endpoint: &str| {
        let metadata = resource.metadata_url(&config.public_url, endpoint);
        GuardLayer::new(Arc::clone(verifier), resource.scopes.clone(), &metadata)
            .map(|guard| guard.limiting(Arc::clone(refused)))
            .map_err(|error| Failure::because(&error))
    };
    // On each endpoint and not on the router, whose guarded fallback would answer 401 for paths
    // that are nobody's.
    let routes = Router::new()
        .route(&mcp_path, transports.mcp().layer(guard("mcp")?))
        .route(&sse_path, transports.sse().layer(guard("sse")?))
        .route(&messages_path, transports.messages().layer(guard("sse")?));
    let posts = (mcp_path, guard("mcp")?.layer(transports.mcp_posts()));
    Ok(Guarded { routes, posts })
}

fn endpoints(server: &ProtectedResource) -> [String; 3] {
    ["mcp", "sse", "messages"].map(|endpoint| format!("{}{endpoint}", server.path))
}

/// Says how to come in, and last that we listen.
async fn welcome(config: &Config, store: &Arc<dyn Store>) -> Result<(), Failure> {
    for server in &config.servers {
        let at =
            |endpoint| config.public_url.endpoint(&format!("{}{endpoint}", server.resource.path));
        let (name, mcp, sse) = (&server.resource.name, at("mcp"), at("sse"));
        tell(&format!("{name}: give an MCP client {mcp} (or {sse} for HTTP+SSE)"))?;
    }
    match &config.identity {
        IdentityConfig::Local => tell(&how_to_log_in(store).await?)?,
        IdentityConfig::Oidc(_) => {}
        IdentityConfig::External(other) => {
            tell(&format!("log in at {}, which gives the tokens", other.issuer))?;
        }
    }
    let address = if config.public_url.is_https() {
        format!("http://{}", config.listen)
    } else {
        config.public_url.as_str().to_owned()
    };
    tell(&format!("listening on {address}"))
}

/// Says a line to whoever started us; that nobody reads it is no reason to stop.
fn tell(line: &str) -> Result<(), Failure> {
    match say(line) {
        Err(Failure::BrokenPipe) => Ok(()),
        said => said,
    }
}

async fn how_to_log_in(store: &Arc<dyn Store>) -> Result<String, Failure> {
    let made = ensure_demo(store, &SystemClock).await;
    if let Some(password) = made.map_err(|error| Failure::because(&error))? {
        let password = password.reveal();
        return Ok(format!("log in as {DEMO_USER}, password {password} (shown only this once)"));
    }
    let demo = store.find_user(DEMO_USER).await.map_err(|error| Failure::because(&error))?;
    Ok(match demo {
        Some(_) => format!(
            "log in with your account; `sekisho user passwd {DEMO_USER}` gives {DEMO_USER} a new \
             password"
        ),
        None => "log in with your account; `sekisho user list` shows the accounts".to_owned(),
    })
}

/// Removes what has expired, for as long as we run.
async fn sweep(store: Arc<dyn Store>, client_idle_ttl: Option<Duration>) {
    let mut turn = interval(SWEEP_EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        let now = SystemClock.now();
        let swept = store.sweep(now, now.minus(UNUSED_CLIENTS_KEPT)).await;
        let idle = match client_idle_ttl {
            Some(ttl) => store.sweep_idle_clients(now.minus(ttl)).await,
            None => Ok(Swept::default()),
        };
        match swept.and_then(|swept| Ok(Swept { rows: swept.rows + idle?.rows })) {
            Ok(swept) => tracing::debug!(rows = swept.rows, "swept the store"),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the store could not be swept: trying again"
            ),
        }
    }
}
