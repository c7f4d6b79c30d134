//! `sekisho serve`: puts the parts together, listens, and stops cleanly.
//!
//! ```text
//! listen ─▶ key ─▶ store ─▶ Standing: what lives as long as the process (standing.rs)
//!                              │
//! settings ────────────────────┴─▶ Application: what follows from them (application.rs)
//!     └─▶ changed? (reload.rs) ─▶ another one   └─▶ Current ─▶ connections (entrance.rs) ask it for each request
//! ```
//!
//! The port is taken first, so that callers wait for an answer instead of being turned away, and
//! nothing slow stands between the start and the first answer.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use sekisho::clock::{Clock as _, SystemClock};
use sekisho::identity_provider::local::accounts::{DEMO_USER, ensure_demo};
use sekisho::store::{Store, Swept};
use tokio::runtime::Runtime;
use tokio::time::{MissedTickBehavior, interval};

use crate::application::Application;
use crate::config::{Config, IdentityConfig};
use crate::connections::accepting;
use crate::current::Current;
use crate::door::{Bolt, Door, Peer};
use crate::entrance::Entrance;
use crate::metrics::Metrics;
use crate::outcome::{Failure, say};
use crate::reload::{self, Hangups, Settings};
use crate::standing::Standing;
use crate::stopping::Stopped;
use crate::traces::Traces;
use crate::{service_manager, stopping, telemetry, tls};

/// How often what has expired is removed from the store.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// How long a thread beside the workers is kept without work. What waits for the disk has another
/// thread go on with the requests, each time one that is idle: the longer they are kept, the more there
/// are among whom the work goes round, and the allocator keeps memory for each.
const IDLE_THREAD_KEPT: Duration = Duration::from_millis(250);
/// How long a client that never finished a login is kept.
const UNUSED_CLIENTS_KEPT: Duration = Duration::from_hours(24);

/// Serves until a signal comes.
///
/// # Errors
/// When the port, the key or the store cannot be had, as one sentence.
pub(crate) fn run(config: Config, settings: Settings) -> Result<(), Failure> {
    telemetry::begin(&config.log);
    let runtime = runtime()?;
    let served = runtime.block_on(serve(config, settings));
    runtime.shutdown_background();
    served
}

/// Threads for everything that is async.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = threads.enable_all().thread_keep_alive(IDLE_THREAD_KEPT).build();
    runtime.map_err(|error| Failure::Run(format!("cannot start threads: {error}")))
}

async fn serve(config: Config, settings: Settings) -> Result<(), Failure> {
    let cannot_hear =
        |error: io::Error| Failure::Run(format!("cannot listen for signals: {error}"));
    let hangups = Hangups::new().map_err(cannot_hear)?;
    let bolt = Bolt::default();
    let door = Door::open(config.listen, bolt.clone())?;
    let metrics = Metrics::begin(&config).await?;
    let tls = config.tls.as_ref().map(|tls| tls::begin(tls, &config.public_url)).transpose()?;
    let (standing, store) = Standing::new(&config).await?;
    let entrance = Entrance::by(&config, standing.connections.clone(), tls);
    warn_of_one_address(&config);
    if let Some(traces) = Traces::begin(config.traces.as_ref())? {
        tokio::spawn(traces.send(standing.stopping.clone()));
    }
    let current = Current::new(Application::build(config, &standing, None).await?);
    current.now().begin(&standing, None);

    let handle = Handle::new();
    let server = accepting(door, entrance, handle.clone());
    let asked = current.clone();
    let for_each_peer = tower::service_fn(move |Peer(peer)| {
        std::future::ready(Ok::<_, Infallible>(asked.for_peer(peer)))
    });
    let answering = tokio::spawn(server.serve(for_each_peer));
    let stopping = standing.stopping.clone();
    let stopped = Stopped { handle, current: current.clone(), stopping, bolt };
    tokio::spawn(stopping::signals(stopped).map_err(cannot_hear)?);
    let standing = Arc::new(standing);
    tokio::spawn(reload::follow(settings, current.clone(), Arc::clone(&standing), hangups));
    tokio::spawn(sweep(Arc::clone(&standing.store), current.clone()));
    if let Some(metrics) = metrics {
        tokio::spawn(metrics.serve());
    }

    welcome(&current.now().config, &standing.store).await?;
    service_manager::ready("serving");
    tokio::spawn(service_manager::heartbeat());
    let ended = answering.await.map_err(|error| Failure::because(&error))?;
    standing.behind.end().await;
    if let Some(joined) = &standing.fleet {
        joined.leave().await;
    }
    store.close().await;
    tracing::info!("stopped");
    ended.map_err(|error| Failure::because(&error))
}

/// Limits count by address, and behind an unknown proxy everybody has the proxy's.
fn warn_of_one_address(config: &Config) {
    let is_behind_a_proxy = config.public_url.is_https() && config.tls.is_none();
    let is_behind_a_proxy = is_behind_a_proxy && config.listen.ip().is_loopback();
    if is_behind_a_proxy && config.proxies.is_empty() {
        tracing::warn!(
            "trusted_proxies is empty: all callers count as one address for every limit; \
             name the address of the reverse proxy"
        );
    }
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
        IdentityConfig::Providers(_) if config.identity.has_accounts() => {
            tell(&how_to_log_in(store).await?)?;
        }
        IdentityConfig::Providers(_) => {}
        IdentityConfig::External(other) => {
            tell(&format!("log in at {}, which gives the tokens", other.issuer))?;
        }
    }
    let address = if config.public_url.is_https() && config.tls.is_none() {
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
async fn sweep(store: Arc<dyn Store>, current: Current) {
    let mut turn = interval(SWEEP_EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        let now = SystemClock.now();
        let swept = store.sweep(now, now.minus(UNUSED_CLIENTS_KEPT)).await;
        let idle = match current.now().config.client_idle_ttl {
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
