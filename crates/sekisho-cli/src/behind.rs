//! What is guarded, as a service; and the processes that this takes, which end with us.

use std::sync::Arc;
use std::time::Duration;

use sekisho::gateway::{Gateway, GatewayLimits, GuardedServer};
use sekisho::mcp::McpService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Upstream;
use crate::fortune;

/// How long processes may take to end: a little more than the library gives each of them.
const END_WAIT: Duration = Duration::from_secs(4);

/// Everything behind us.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    stopping: CancellationToken,
    processes: TaskTracker,
}

impl Behind {
    /// The service behind a server's endpoints.
    pub(crate) fn service(&self, upstream: &Upstream) -> Arc<dyn McpService> {
        match upstream {
            Upstream::Fortune => Arc::new(fortune::service()),
            #[cfg(feature = "conformance")]
            Upstream::Conformance => Arc::new(crate::conformance::service()),
            Upstream::Guarded { server, per } => Arc::new(Gateway::new(
                GuardedServer::clone(server),
                *per,
                GatewayLimits::default(),
                self.stopping.clone(),
                self.processes.clone(),
            )),
        }
    }

    /// Ends every process and waits until it is gone. Calls that are still open get no answer.
    pub(crate) async fn end(&self) {
        self.stopping.cancel();
        self.processes.close();
        if tokio::time::timeout(END_WAIT, self.processes.wait()).await.is_err() {
            tracing::warn!("processes behind us have not ended in time");
        }
    }
}
