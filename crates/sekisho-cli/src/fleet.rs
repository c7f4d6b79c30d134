//! Several instances on one `PostgreSQL` database: where the others reach this one, and what becomes of
//! that while we run. With any other store there is nobody else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use sekisho::fleet::Fleet;
use sekisho::front::TrustedProxies;
use sekisho::seal::Sealer;
use sekisho::store::PostgresStore;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::connections::{ConnectionLimits, Connections, accepting};
use crate::door::Door;
use crate::outcome::Failure;
use crate::store::OpenStore;

/// How long a connection has to show that it is another instance's.
const PROOF_WAIT: Duration = Duration::from_secs(2);

/// Our place among the instances.
pub(crate) struct Joined {
    pub(crate) fleet: Arc<Fleet>,
    store: Arc<PostgresStore>,
}

/// Listens for other instances and looks for them, where the store is one that may have some. Nothing
/// that they ask is answered before there is a service for it.
///
/// # Errors
/// When the address cannot be had or the store cannot be asked.
pub(crate) async fn join(
    config: &Config,
    store: &OpenStore,
    sealer: &Sealer,
) -> Result<Option<Joined>, Failure> {
    let Some(store) = store.postgres() else { return Ok(None) };
    let seen_at = store.seen_at().await.map_err(|error| Failure::because(&error))?;
    // Who reaches the database through a socket has it on the same machine, and so has everybody else.
    let seen_at = seen_at.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let wanted = config.fleet_listen.unwrap_or(SocketAddr::new(seen_at, 0));
    let listening = TcpListener::bind(wanted).await;
    let listener = listening.map_err(|error| cannot_listen(config.fleet_listen, wanted, &error))?;
    let mut address = listener.local_addr().map_err(|error| Failure::because(&error))?;
    if address.ip().is_unspecified() {
        address.set_ip(seen_at);
    }
    let fleet = Arc::new(Fleet::new(address, sealer.clone()));
    fleet.beat(&store).await.map_err(|error| Failure::because(&error))?;
    tracing::info!(instance = %fleet.me(), %address, "other instances reach this one there");

    let most = config.connection_limits().most;
    let proxies = TrustedProxies::default();
    // Strangers at one address must not have them all; several instances may be at one.
    let most_of_one = most.div_ceil(2);
    let connections = Connections::new(ConnectionLimits { most, most_of_one, proxies });
    let door = Door::try_from(listener).map_err(|error| Failure::because(&error))?;
    let answering = fleet.door(config.sessions.body_bytes_max).into_make_service();
    // HTTP/2 would keep the connection of whoever was turned away.
    let door = accepting(door, connections, Handle::new());
    let door = door.http1_only().first_request_timeout(PROOF_WAIT);
    tokio::spawn(door.serve(answering));
    tokio::spawn(Arc::clone(&fleet).follow(Arc::clone(&store)));
    Ok(Some(Joined { fleet, store }))
}

impl Joined {
    /// Says that we are not there any more.
    pub(crate) async fn leave(&self) {
        if let Err(error) = self.fleet.leave(&self.store).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "other instances have to find out that we ended");
        }
    }
}

fn cannot_listen(
    written: Option<SocketAddr>,
    wanted: SocketAddr,
    error: &std::io::Error,
) -> Failure {
    Failure::Run(match written {
        Some(_) => format!(
            "fleet_listen = \"{wanted}\": cannot listen there ({error}): choose an address of this \
             machine and a free port"
        ),
        None => format!(
            "cannot listen at {wanted}, where the database sees us ({error}): set fleet_listen to \
             an address and port where the other instances reach this one"
        ),
    })
}
