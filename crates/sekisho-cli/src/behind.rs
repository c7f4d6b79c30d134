//! What is guarded, as a service; and the processes that this takes, which end with us.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sekisho::gateway::{Gateway, GatewayLimits, GuardedServer, Merged};
use sekisho::mcp::McpService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, Server, Upstream};
use crate::fortune;
use crate::introducing::TokenSources;
use crate::outcome::Failure;

/// How long processes may take to end: a little more than the library gives each of them.
const END_WAIT: Duration = Duration::from_secs(4);

/// Why a server is not asked on behalf of nobody.
pub(crate) const NOBODY_CALLS: &str = "upstream.identity: this server hears who calls, and without \
                                       a login nobody is known to call: use `sekisho serve`";

/// Services by the names of their servers, and why there is none.
pub(crate) type Services<'a> = HashMap<&'a str, Result<Arc<dyn McpService>, Failure>>;

/// What each server serves by itself, before any rules.
pub(crate) type Guarded = HashMap<String, Kept>;

/// A service, and what it was made of: as long as the same is written it goes on, with whatever it has
/// begun.
#[derive(Clone)]
pub(crate) struct Kept {
    upstream: Upstream,
    service: Arc<dyn McpService>,
    /// Ends it, whoever still uses it.
    ends: CancellationToken,
}

impl Kept {
    /// Whether it is this very service.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.service, &other.service)
    }

    /// Ends it once nobody uses it any more, and after `most` at the latest.
    pub(crate) async fn end_within(self, most: Duration) {
        let Self { service, ends, .. } = self;
        drop(service);
        tokio::time::sleep(most).await;
        ends.cancel();
    }
}

/// Everything behind us.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    stopping: CancellationToken,
    processes: TaskTracker,
}

impl Behind {
    /// The services of all servers by their names, each with what `before` puts before it. One that is
    /// made of others is made of these very ones, so that nothing stands behind what it goes around.
    /// Where nobody is known who calls, there are no `sources`, and no service that wants to hear it.
    /// What `former` has of the same is taken from there. Beside them, what is to be kept.
    pub(crate) fn services<'a>(
        &self,
        config: &'a Config,
        sources: Option<&TokenSources>,
        former: &Guarded,
        before: impl Fn(&Server, Arc<dyn McpService>) -> Arc<dyn McpService>,
    ) -> (Services<'a>, Guarded) {
        let (mut services, mut guarded) = (Services::new(), Guarded::new());
        let (merged, alone): (Vec<_>, Vec<_>) =
            config.every_server().partition(|server| server.upstream.is_merged());
        for server in alone.into_iter().chain(merged) {
            let name = &server.resource.name;
            let same = former.get(name).filter(|kept| kept.upstream == server.upstream);
            let kept = match same {
                // One that is made of others is made anew, as it goes by their rules.
                Some(kept) if !server.upstream.is_merged() => Ok(kept.clone()),
                Some(_) | None => self.kept(server, &services, sources),
            };
            let service = kept.map(|kept| {
                let service = before(server, Arc::clone(&kept.service));
                guarded.insert(name.clone(), kept);
                service
            });
            services.insert(name, service);
        }
        (services, guarded)
    }

    fn kept(
        &self,
        server: &Server,
        services: &Services<'_>,
        sources: Option<&TokenSources>,
    ) -> Result<Kept, Failure> {
        let ends = self.stopping.child_token();
        let service = self.service(server, services, sources, &ends)?;
        Ok(Kept { upstream: server.upstream.clone(), service, ends })
    }

    /// What a server serves, or what those of `services` do that it is made of.
    fn service(
        &self,
        server: &Server,
        services: &Services<'_>,
        sources: Option<&TokenSources>,
        ends: &CancellationToken,
    ) -> Result<Arc<dyn McpService>, Failure> {
        let name = &server.resource.name;
        Ok(match &server.upstream {
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
                Arc::new(Gateway::named(
                    name,
                    server,
                    *per,
                    GatewayLimits::default(),
                    ends,
                    self.processes.clone(),
                ))
            }
            Upstream::Merged { members } => {
                let mut found = Vec::with_capacity(members.len());
                for member in members {
                    match services.get(member.as_str()) {
                        Some(Ok(service)) => found.push((member.clone(), Arc::clone(service))),
                        Some(Err(error)) => {
                            return Err(Failure::Run(format!("server {member}: {error}")));
                        }
                        // The settings were understood: there is.
                        None => {}
                    }
                }
                let merged = Merged::new(&server.resource.name, found);
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
