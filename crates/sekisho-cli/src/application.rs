//! What follows from the settings: who issues tokens, what is guarded and by which rules, and the front
//! that every request meets first.
//!
//! ```text
//! who issues tokens (issuing.rs) ──────────────────────┐
//! what is behind us ─▶ rules ─▶ MCP endpoints ─▶ guard ─┴─▶ front
//! ```
//!
//! Where one takes another's place (reload.rs), it is built whole beside it and shares what must not be
//! lost: sessions and streams of a server that is still there, the conversations with one that is still
//! the same, and all that was counted. Nothing of the former one is touched before the new one begins.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use sekisho::front::{Front, FrontService, Surfaces};
use sekisho::mcp::{self, McpEndpoints, McpService, Posts};
use sekisho::policy::Ruled;
use sekisho::protocol::oauth::ProtectedResource;
use sekisho::resource_server::{Guard, GuardLayer, RefusedTokens, TokenVerifier, metadata_routes};
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use crate::behind::Guarded;
use crate::config::{Config, Server};
use crate::introducing::TokenSources;
use crate::issuing::{Issuer, Issuing, issuing};
use crate::outcome::Failure;
use crate::shortcut::Shortcut;
use crate::signpost::signpost;
use crate::standing::Standing;

/// Everything that answers requests, as one configuration has it.
pub(crate) struct Application {
    pub(crate) config: Config,
    /// What every request meets first, with all routes behind it.
    pub(crate) answering: FrontService<Shortcut>,
    issuer: Issuer,
    guarded: Guarded,
    /// By the names of the servers.
    served: HashMap<String, Served>,
    refused: Arc<RefusedTokens>,
}

/// A server as its clients know it.
struct Served {
    endpoints: McpEndpoints,
    /// Whether they are clients of the former application.
    goes_on: bool,
    /// Ends their sessions and streams.
    ends: CancellationToken,
}

impl Application {
    /// Puts together what the settings name, and goes on with what `former` has of it.
    ///
    /// # Errors
    /// When a part cannot work with them.
    pub(crate) async fn build(
        config: Config,
        standing: &Standing,
        former: Option<&Self>,
    ) -> Result<Self, Failure> {
        let Issuing { routes, authorization_server, verifiers, readiness, issuer } =
            issuing(&config, standing, former.map(|former| &former.issuer)).await?;
        let sources = TokenSources {
            public_url: config.public_url.clone(),
            keys: standing.signing_keys.clone(),
            provider: Arc::clone(&standing.provider),
            clock: Arc::clone(&standing.clock),
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
        let refused = Arc::new(match former {
            Some(former) => former.refused.renewed(config.wrong_tokens_per_minute),
            None => RefusedTokens::new(config.wrong_tokens_per_minute),
        });
        let with_rules = |server: &Server, service| match &server.rules {
            Some(rules) => Arc::new(Ruled::new(service, Arc::clone(rules))) as Arc<dyn McpService>,
            None => service,
        };
        let nothing = Guarded::new();
        let known = former.map_or(&nothing, |former| &former.guarded);
        let (mut services, guarded) =
            standing.behind.services(&config, Some(&sources), known, with_rules);
        let (mut posts, mut served) = (Vec::new(), HashMap::new());
        for server in &config.servers {
            let Some(service) = services.remove(server.resource.name.as_str()) else {
                continue;
            };
            let verifier = verifiers.of(&server.resource, &standing.clock);
            let known = former.and_then(|former| former.clients_of(server));
            let these = Served::new(&config, standing, server, (service?, &verifier), known);
            let doors = doors(&config, server, &these.endpoints, &verifier, &refused)?;
            served.insert(server.resource.name.clone(), these);
            routes = routes.merge(doors.routes);
            posts.push(doors.posts);
        }
        drop(services);
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
        )
        .below(&config.public_url);
        let answering = front.layer(Shortcut::new(posts, routes));
        Ok(Self { config, answering, issuer, guarded, served, refused })
    }

    /// Takes the place of `former`: what both have goes on here, what only that one has ends in order.
    /// Whatever it works on gets its answer, if that takes no longer than stopping may.
    pub(crate) fn begin(&self, standing: &Standing, former: Option<&Self>) {
        standing.connections.limit(self.config.connection_limits());
        self.issuer.begin(former.map(|former| &former.issuer), standing);
        for new in self.served.values().filter(|now| !now.goes_on) {
            new.endpoints.begin();
        }
        let Some(former) = former else { return };
        for (name, before) in &former.served {
            match self.served.get(name).filter(|now| now.goes_on) {
                Some(now) => {
                    now.endpoints.take_over(&before.endpoints);
                    if !lists_alike(name, &former.config, &self.config) {
                        now.endpoints.tell_of_other_lists();
                    }
                }
                None => before.ends.cancel(),
            }
        }
        for (name, before) in &former.guarded {
            if !self.guarded.get(name).is_some_and(|now| now.is(before)) {
                tokio::spawn(before.clone().end_within(self.config.drain));
            }
        }
    }

    /// Those of the same server, if it serves what it served. Whoever is made of others is the same
    /// while it is: its members come and go.
    fn clients_of(&self, server: &Server) -> Option<&Served> {
        let name = &server.resource.name;
        let before = self.config.servers.iter().find(|before| before.resource.name == *name)?;
        let is_same = before.resource.resource == server.resource.resource
            && (before.upstream == server.upstream
                || (before.upstream.is_merged() && server.upstream.is_merged()));
        is_same.then(|| self.served.get(name)).flatten()
    }
}

impl Served {
    fn new(
        config: &Config,
        standing: &Standing,
        server: &Server,
        (service, verifier): (Arc<dyn McpService>, &Arc<dyn TokenVerifier>),
        known: Option<&Self>,
    ) -> Self {
        let base_path = config.public_url.base_path();
        let [_, _, messages_path] = endpoints(&server.resource);
        let mut settings = mcp::Settings::new(format!("{base_path}{messages_path}"));
        settings.limits = config.sessions.clone();
        settings.sealer = standing.sealer.clone();
        settings.fleet = standing.fleet.as_ref().map(|joined| Arc::clone(&joined.fleet));
        let verifier = Some(Arc::clone(verifier));
        if let Some(Self { endpoints, ends, .. }) = known {
            let endpoints = endpoints.renewed(service, settings, verifier);
            return Self { endpoints, goes_on: true, ends: ends.clone() };
        }
        let ends = standing.stopping.child_token();
        let clock = Arc::clone(&standing.clock);
        let endpoints = McpEndpoints::new(service, settings, verifier, ends.clone(), clock);
        Self { endpoints, goes_on: false, ends }
    }
}

/// Whether clients of this server see what they saw before.
fn lists_alike(name: &str, former: &Config, now: &Config) -> bool {
    let shown = |config: &Config| {
        let every = || config.every_server();
        let server = every().find(|server| server.resource.name == name);
        let members = server.map(|server| server.upstream.members()).unwrap_or_default();
        let of = |other: &&Server| members.iter().any(|member| other.is_called(member));
        let seen = |server: &Server| (server.rules.clone(), server.upstream.clone());
        server.into_iter().chain(every().filter(of)).map(seen).collect::<Vec<_>>()
    };
    shown(former) == shown(now)
}

/// The ways in to one server: all routes, and the one that is nearly always asked.
struct Doors {
    routes: Router,
    posts: (String, Guard<Posts>),
}

/// The endpoints of one server, each behind the guard that points to its own metadata.
fn doors(
    config: &Config,
    server: &Server,
    transports: &McpEndpoints,
    verifier: &Arc<dyn TokenVerifier>,
    refused: &Arc<RefusedTokens>,
) -> Result<Doors, Failure> {
    let resource = &server.resource;
    let [mcp_path, sse_path, messages_path] = endpoints(resource);
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
    Ok(Doors { routes, posts })
}

fn endpoints(server: &ProtectedResource) -> [String; 3] {
    ["mcp", "sse", "messages"].map(|endpoint| format!("{}{endpoint}", server.path))
}
