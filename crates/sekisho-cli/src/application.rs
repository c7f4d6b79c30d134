//! What follows from the settings: who issues tokens, what is guarded and by which rules, and the front
//! that every request meets first.
//!
//! ```text
//! who issues tokens (issuing.rs) ──────────────────────┐
//! what is behind us ─▶ rules ─▶ MCP endpoints ─▶ guard ─┴─▶ front
//! ```

use std::sync::Arc;

use axum::Router;
use sekisho::front::{Front, FrontService, Surfaces};
use sekisho::mcp::{self, McpEndpoints, McpService, Posts};
use sekisho::policy::Ruled;
use sekisho::protocol::oauth::ProtectedResource;
use sekisho::resource_server::{Guard, GuardLayer, RefusedTokens, TokenVerifier, metadata_routes};
use tower::Layer as _;

use crate::config::{Config, Server};
use crate::introducing::TokenSources;
use crate::issuing::{Issuing, issuing};
use crate::outcome::Failure;
use crate::shortcut::Shortcut;
use crate::signpost::signpost;
use crate::standing::Standing;

/// Everything that answers requests, as one configuration has it.
pub(crate) struct Application {
    /// What every request meets first, with all routes behind it.
    pub(crate) answering: FrontService<Shortcut>,
}

impl Application {
    /// Puts together what the settings name.
    ///
    /// # Errors
    /// When a part cannot work with them.
    pub(crate) async fn build(config: &Config, standing: &Standing) -> Result<Self, Failure> {
        let Issuing { routes, authorization_server, verifiers, readiness, provider } =
            issuing(config, standing).await?;
        let sources = TokenSources {
            public_url: config.public_url.clone(),
            keys: standing.signing_keys.clone(),
            provider,
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
        let refused = Arc::new(RefusedTokens::new(config.wrong_tokens_per_minute));
        let mut posts = Vec::new();
        let with_rules = |server: &Server, service| match &server.rules {
            Some(rules) => Arc::new(Ruled::new(service, Arc::clone(rules))) as Arc<dyn McpService>,
            None => service,
        };
        let mut services = standing.behind.services(config, Some(&sources), with_rules);
        for server in &config.servers {
            let Some(service) = services.remove(server.resource.name.as_str()) else {
                continue;
            };
            let verifier = verifiers.of(&server.resource, &standing.clock);
            let guarded = guarded(config, standing, server, service?, &verifier, &refused)?;
            routes = routes.merge(guarded.routes);
            posts.push(guarded.posts);
        }
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
        Ok(Self { answering: front.layer(Shortcut::new(posts, routes)) })
    }
}

/// The endpoints of one server: all routes, and the one that is nearly always asked.
struct Guarded {
    routes: Router,
    posts: (String, Guard<Posts>),
}

/// The endpoints of one server, each behind the guard that points to its own metadata.
fn guarded(
    config: &Config,
    standing: &Standing,
    server: &Server,
    service: Arc<dyn McpService>,
    verifier: &Arc<dyn TokenVerifier>,
    refused: &Arc<RefusedTokens>,
) -> Result<Guarded, Failure> {
    let resource = &server.resource;
    let [mcp_path, sse_path, messages_path] = endpoints(resource);
    let base_path = config.public_url.base_path();
    let mut settings = mcp::Settings::new(format!("{base_path}{messages_path}"));
    settings.limits = config.sessions.clone();
    settings.sealer = standing.sealer.clone();
    let transports = McpEndpoints::new(
        service,
        settings,
        Some(Arc::clone(verifier)),
        standing.stopping.child_token(),
        Arc::clone(&standing.clock),
    );
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
    Ok(Guarded { routes, posts })
}

fn endpoints(server: &ProtectedResource) -> [String; 3] {
    ["mcp", "sse", "messages"].map(|endpoint| format!("{}{endpoint}", server.path))
}
