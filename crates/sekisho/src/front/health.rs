//! `/healthz` (the process answers) and `/readyz` (logins and calls can work), at any Host.
//!
//! Orchestrators ask often and from everywhere, so readiness is looked up at most once a second
//! and never waits longer than [`READINESS_WAIT`]. It names the part that fails, nothing more.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::identity_provider::IdentityProvider;
use crate::store::Store;

/// How long readiness waits for a part before it counts as failing.
pub const READINESS_WAIT: Duration = Duration::from_secs(2);
/// How long an answer about readiness is repeated.
const READINESS_AGE_MAX: Duration = Duration::from_secs(1);

/// What must work for the server to be ready.
#[derive(Debug)]
pub struct Readiness {
    store: Arc<dyn Store>,
    identity_provider: Arc<dyn IdentityProvider>,
    stopping: CancellationToken,
    last: Mutex<Option<(Instant, Report)>>,
}

#[derive(Debug, Clone, Serialize)]
struct Report {
    status: &'static str,
    failing: Vec<&'static str>,
}

impl Readiness {
    /// Ready while both parts are and `stopping` has not been cancelled.
    pub fn new(
        store: Arc<dyn Store>,
        identity_provider: Arc<dyn IdentityProvider>,
        stopping: CancellationToken,
    ) -> Self {
        Self { store, identity_provider, stopping, last: Mutex::new(None) }
    }

    /// The two routes.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { ([NO_STORE], "ok\n") }))
            .route("/readyz", get(ready))
            .with_state(Arc::new(self))
    }

    async fn report(&self) -> Report {
        if self.stopping.is_cancelled() {
            return Report::of(vec!["stopping"]);
        }
        // Callers wait for one another here, so that a burst asks each part once.
        let mut last = self.last.lock().await;
        if let Some((at, report)) = last.as_ref()
            && at.elapsed() < READINESS_AGE_MAX
        {
            return report.clone();
        }
        let report = self.look().await;
        *last = Some((Instant::now(), report.clone()));
        report
    }

    async fn look(&self) -> Report {
        let (store, provider) = tokio::join!(
            timeout(READINESS_WAIT, self.store.check()),
            timeout(READINESS_WAIT, self.identity_provider.check()),
        );
        let mut failing = Vec::new();
        if !matches!(store, Ok(Ok(()))) {
            failing.push("store");
        }
        if !matches!(provider, Ok(Ok(()))) {
            failing.push("identity_provider");
        }
        Report::of(failing)
    }
}

impl Report {
    fn of(failing: Vec<&'static str>) -> Self {
        Self { status: if failing.is_empty() { "ready" } else { "unavailable" }, failing }
    }
}

impl IntoResponse for Report {
    fn into_response(self) -> Response {
        let status =
            if self.failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, [NO_STORE], Json(self)).into_response()
    }
}

async fn ready(State(readiness): State<Arc<Readiness>>) -> Report {
    readiness.report().await
}

const NO_STORE: (header::HeaderName, &str) = (header::CACHE_CONTROL, "no-store");
