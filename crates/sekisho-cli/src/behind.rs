//! What is guarded, as a service; and the processes that this takes, which end with us.

use std::sync::Arc;
use std::time::Duration;

use sekisho::gateway::{Gateway, GatewayLimits, GuardedServer};
use sekisho::mcp::McpService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Upstream;
use crate::fortune;
use crate::introducing::TokenSources;
use crate::outcome::Failure;

/// How long processes may take to end: a little more than the library gives each of them.
const END_WAIT: Duration = Duration::from_secs(4);

/// Why a server is not asked on behalf of nobody.
pub(crate) const NOBODY_CALLS: &str = "upstream.identity: this server hears who calls, and without \
                                       a login nobody is known to call: use `sekisho serve`";

/// Everything behind us.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    stopping: CancellationToken,
    processes: TaskTracker,
}

impl Behind {
    /// The service behind a server's endpoints. Where nobody is known who calls, there are no
    /// `sources`, and no service that wants to hear it.
    ///
    /// # Errors
    /// When it cannot be told who calls.
    pub(crate) fn service(
        &self,
        upstream: &Upstream,
        sources: Option<&TokenSources>,
    ) -> Result<Arc<dyn McpService>, Failure> {
        Ok(match upstream {
            Upstream::Fortune => Arc::new(fortune::service()),
            #[cfg(feature = "conformance")]
            Upstream::Conformance => Arc::new(crate::conformance::service()),
            Upstream::Guarded { server, per, introduced } => {
                if introduced.is_made && sources.is_none() {
                    return Err(Failure::Run(NOBODY_CALLS.to_owned()));
                }
                let server = match (server.as_ref(), introduced.token.as_ref().zip(sources)) {
                    (GuardedServer::Remote(server), Some((wish, sources))) => {
                        let server = server.clone().introducing(sources.introduction(wish));
                        server.map_err(|error| Failure::because(&error))?.into()
                    }
                    (server, _) => GuardedServer::clone(server),
                };
                Arc::new(Gateway::new(
                    server,
                    *per,
                    GatewayLimits::default(),
                    self.stopping.clone(),
                    self.processes.clone(),
                ))
            }
        })
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
