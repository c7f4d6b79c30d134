//! `metrics_listen`: what is measured, at `/metrics` of a listener of its own, so that whoever reaches our
//! clients' address does not reach it. It asks nobody who they are: choose an address that only those can
//! reach who may know how busy we are. Nothing secret is in it, and no name of a person or client.

#[cfg(target_os = "linux")]
mod process;

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::get;
use axum_server::{AddrListener as _, Handle};
use metrics::gauge;
use sekisho::clock::{Clock, SystemClock};
use sekisho::front::TrustedProxies;
use sekisho::measure::Registry;

use crate::config::Config;
use crate::connections::{ConnectionLimits, Connections, accepting};
use crate::door::{Door, Peer};
use crate::outcome::Failure;

/// Connections to the metrics at once: a few that collect, and somebody who looks.
const CONNECTIONS_MAX: usize = 16;

/// What is measured, and where it is shown.
pub(crate) struct Metrics {
    registry: Registry,
    door: Door,
}

impl Metrics {
    /// Begins to measure and takes the port, if there is to be one. To be called before anything is
    /// made that is measured.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub(crate) async fn begin(config: &Config) -> Result<Option<Self>, Failure> {
        let Some(address) = config.metrics_listen else { return Ok(None) };
        let door = Door::bind_to(Peer(address)).await.map_err(|error| refused(address, &error))?;
        let registry = Registry::default();
        // Fails only if somebody measures already.
        drop(metrics::set_global_recorder(registry.clone()));
        gauge!("sekisho_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let now = SystemClock.now().unix_seconds();
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970")]
        gauge!("process_start_time_seconds").set(now as f64);
        Ok(Some(Self { registry, door }))
    }

    /// Shows them for as long as we run.
    pub(crate) async fn serve(self) {
        let Self { registry, door } = self;
        let connections = Connections::new(ConnectionLimits {
            most: CONNECTIONS_MAX,
            most_of_one: CONNECTIONS_MAX,
            proxies: TrustedProxies::default(),
        });
        let metrics = move || async move {
            #[cfg(target_os = "linux")]
            process::look();
            let head = [
                (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"),
                (CACHE_CONTROL, "no-store"),
            ];
            (head, registry.render())
        };
        let app = Router::new().route("/metrics", get(metrics));
        let server = accepting(door, connections, Handle::new());
        if let Err(error) = server.serve(app.into_make_service()).await {
            tracing::warn!(%error, "the metrics are not shown any more");
        }
    }
}

fn refused(address: SocketAddr, error: &io::Error) -> Failure {
    Failure::Run(format!(
        "metrics_listen = \"{address}\": cannot listen there: {error}: choose another address or port"
    ))
}
