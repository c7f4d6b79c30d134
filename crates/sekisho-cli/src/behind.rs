//! What is guarded, as a service; and the processes that this takes, which end with us.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sekisho::gateway::{Gateway, GatewayLimits, Merged};
use sekisho::mcp::McpService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Server, Upstream};
use crate::fortune;
use crate::outcome::Failure;

/// How long processes may take to end: a little more than the library gives each of them.
const END_WAIT: Duration = Duration::from_secs(4);

/// Everything behind us.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    stopping: CancellationToken,
    processes: TaskTracker,
}

impl Behind {
    /// The services of all servers by their names, each with what `before` puts before it. One that is
    /// made of others is made of these very ones, so that nothing stands behind what it goes around.
    pub(crate) fn services<'a>(
        &self,
        config: &'a Config,
        before: impl Fn(&Server, Arc<dyn McpService>) -> Arc<dyn McpService>,
    ) -> Result<HashMap<&'a str, Arc<dyn McpService>>, Failure> {
        let mut services = HashMap::new();
        let (merged, alone): (Vec<_>, Vec<_>) =
            config.every_server().partition(|server| server.upstream.is_merged());
        for server in alone.into_iter().chain(merged) {
            let service = before(server, self.service(server, &services)?);
            services.insert(server.resource.name.as_str(), service);
        }
        Ok(services)
    }

    /// What a server serves, or what those of `services` do that it is made of.
    fn service(
        &self,
        server: &Server,
        services: &HashMap<&str, Arc<dyn McpService>>,
    ) -> Result<Arc<dyn McpService>, Failure> {
        Ok(match &server.upstream {
            Upstream::Fortune => Arc::new(fortune::service()),
            #[cfg(feature = "conformance")]
            Upstream::Conformance => Arc::new(crate::conformance::service()),
            Upstream::Guarded { server, per } => Arc::new(Gateway::new(
                server.clone(),
                *per,
                GatewayLimits::default(),
                self.stopping.clone(),
                self.processes.clone(),
            )),
            Upstream::Merged { members } => {
                let found = members.iter().filter_map(|member| {
                    Some((member.clone(), Arc::clone(services.get(member.as_str())?)))
                });
                let merged = Merged::new(&server.resource.name, found.collect());
                Arc::new(merged.map_err(|error| Failure::because(&error))?)
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
