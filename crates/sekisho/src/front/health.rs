//! `/healthz` (the process answers) and `/readyz` (logins and calls can work), at any Host; and the slow
//! stream beside them (`slow_stream.rs`).
//!
//! Orchestrators ask often and from everywhere, so readiness is looked up at most once a second
//! and never waits longer than [`READINESS_WAIT`]. It names the part that fails, nothing more.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::{BoxFuture, FutureExt as _, join_all};
use http::{StatusCode, header};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::slow_stream;

/// How long readiness waits for a part before it counts as failing.
pub const READINESS_WAIT: Duration = Duration::from_secs(2);
/// How long an answer about readiness is repeated.
const READINESS_AGE_MAX: Duration = Duration::from_secs(1);

/// What must work for the server to be ready.
pub struct Readiness {
    parts: Vec<Part>,
    stopping: CancellationToken,
    last: Mutex<Option<(Instant, Report)>>,
}

/// Something that must work, by the name it has when it fails.
struct Part {
    name: &'static str,
    works: Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
}

#[derive(Debug, Clone, Serialize)]
struct Report {
    status: &'static str,
    failing: Vec<&'static str>,
}

impl Readiness {
    /// Ready while all parts are and `stopping` has not been cancelled.
    pub fn new(stopping: CancellationToken) -> Self {
        Self { parts: Vec::new(), stopping, last: Mutex::new(None) }
    }

    /// Needs this part too: `works` says whether it does.
    #[must_use]
    pub fn needing<F>(
        mut self,
        name: &'static str,
        works: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.parts.push(Part { name, works: Box::new(move || works().boxed()) });
        self
    }

    /// The routes.
    pub fn routes(self) -> Router {
        slow_stream::routes(self.stopping.clone())
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
        let asked = self.parts.iter().map(async |part| {
            let works = timeout(READINESS_WAIT, (part.works)()).await.unwrap_or(false);
            (!works).then_some(part.name)
        });
        let failing = join_all(asked).await.into_iter().flatten().collect();
        Report::of(failing)
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.parts.iter().map(|part| part.name).collect();
        f.debug_struct("Readiness").field("parts", &names).finish_non_exhaustive()
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
