//! The resource server alone, with tokens of another authorization server: `external` mode.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must stop"
)]

mod introspection;
mod keys;
mod outages;
mod tokens;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Extension;
use axum::routing::any;
use axum::{Json, Router};
use sekisho::clock::Clock;
use sekisho::front::ClientAddress;
use sekisho::principal::Principal;
use sekisho::protocol::Secret;
use sekisho::protocol::oauth::{Issuer, ProtectedResource, ScopeSet};
use sekisho::resource_server::{
    ExternalIssuer, GuardLayer, IntrospectedTokens, IntrospectionClient, RefusedTokens,
    SignedTokens, TokenVerifier,
};
use serde_json::{Value, json};
use testkit::identity_provider::{CLIENT_ID, CLIENT_SECRET, FakeIdentityProvider};
use testkit::world::{App, call};
use testkit::{Answer, ManualClock};

/// Where the guarded servers are: `fortune` at `/`, `other` below `/other/`.
const ISSUER: &str = "http://localhost:8000";
/// The canonical name of `fortune`.
const RESOURCE: &str = "http://localhost:8000/mcp";
/// How long opinions about tokens are remembered.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Counted only for callers whose address is known.
const WRONG_TOKENS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// For a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Another authorization server, and two guarded servers that trust it.
struct Scene {
    clock: Arc<ManualClock>,
    fake: FakeIdentityProvider,
    issuer: Arc<ExternalIssuer>,
    fortune: Arc<dyn TokenVerifier>,
    app: App,
}

#[derive(Clone, Copy)]
enum By {
    Keys,
    Introspection,
}

impl Scene {
    async fn by_keys() -> Self {
        Self::new(By::Keys, PATIENCE).await
    }

    async fn by_introspection() -> Self {
        Self::new(By::Introspection, PATIENCE).await
    }

    async fn new(by: By, patience: Duration) -> Self {
        let clock = Arc::new(ManualClock::default());
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let fake = FakeIdentityProvider::start(Arc::clone(&shared)).await;
        let issuer = ExternalIssuer::new(fake.issuer(), shared).unwrap().with_patience(patience);
        let issuer = Arc::new(issuer);
        let ours = Issuer::parse(ISSUER).unwrap();
        let resource = |name, path| ProtectedResource::new(&ours, name, path, ScopeSet::of([name]));
        let verifier = |resource: &ProtectedResource| -> Arc<dyn TokenVerifier> {
            match by {
                By::Keys => Arc::new(SignedTokens::new(Arc::clone(&issuer), resource)),
                By::Introspection => Arc::new(IntrospectedTokens::new(
                    Arc::clone(&issuer),
                    IntrospectionClient {
                        id: CLIENT_ID.into(),
                        secret: Secret::new(CLIENT_SECRET),
                    },
                    resource,
                    REMEMBERED,
                )),
            }
        };
        let (fortune, other) = (resource("fortune", "/"), resource("other", "/other/"));
        let (by_fortune, by_other) = (verifier(&fortune), verifier(&other));
        let refused = Arc::new(RefusedTokens::new(WRONG_TOKENS_PER_MINUTE));
        let app = [(&fortune, &by_fortune), (&other, &by_other)].into_iter().fold(
            Router::new(),
            |app, (resource, verifier)| {
                let metadata = resource.metadata_url(&ours, "mcp");
                let guard =
                    GuardLayer::new(Arc::clone(verifier), resource.scopes.clone(), &metadata);
                let path = format!("{}mcp", resource.path);
                let guard = guard.unwrap().limiting(Arc::clone(&refused));
                app.merge(Router::new().route(&path, any(who_am_i)).route_layer(guard))
            },
        );
        Self { clock, fake, issuer, fortune: by_fortune, app }
    }

    async fn call(&self, token: &str) -> Answer {
        call(&self.app, "/mcp", token).await
    }

    /// The same from somewhere.
    async fn call_from(&self, address: IpAddr, token: &str) -> Answer {
        let app = self.app.clone().layer(Extension(ClientAddress(address)));
        call(&app, "/mcp", token).await
    }

    /// An access token that opens the door.
    fn good(&self) -> String {
        self.fake.access_token("alice", RESOURCE)
    }
}

/// The guarded service says whom it sees.
async fn who_am_i(Extension(principal): Extension<Arc<Principal>>) -> Json<Value> {
    Json(json!({
        "issuer": principal.identity.issuer,
        "subject": principal.identity.subject,
        "name": principal.identity.name,
        "email": principal.identity.email,
        "client": principal.client_id.as_str(),
        "grant": principal.grant_id.as_str(),
        "scope": principal.scopes.to_string(),
    }))
}
