//! Who issues the tokens: our own authorization server, with whoever logs people in for it, or another
//! one. The rest of the program learns of it what it serves, whom to point clients to, and who checks a
//! token.

use std::sync::Arc;

use axum::Router;
use sekisho::authorization_server::{
    AuthorizationServer, BrowserBinding, ProviderAccess, SessionRule,
};
use sekisho::clock::Clock;
use sekisho::front::Readiness;
use sekisho::identity_provider::IdentityProvider;
use sekisho::identity_provider::local::{self, LocalProvider};
use sekisho::identity_provider::oidc::{OidcProvider, OidcSettings};
use sekisho::principal::WantedClaims;
use sekisho::protocol::oauth::ProtectedResource;
use sekisho::resource_server::{
    ExternalIssuer, IntrospectedTokens, OwnTokens, SignedTokens, TokenVerifier,
};
use sekisho::seal::Sealer;
use sekisho::store::Store;

use crate::config::{Config, ExternalConfig, IdentityConfig, OidcConfig, Verification};
use crate::outcome::Failure;
use crate::standing::Standing;

/// What is known of it.
pub(crate) struct Issuing {
    /// What is served for it; nothing at all where another server issues.
    pub(crate) routes: Router,
    /// The issuer that clients are pointed to.
    pub(crate) authorization_server: String,
    pub(crate) verifiers: Verifiers,
    pub(crate) readiness: Readiness,
    /// Whoever has tokens of the provider that logs people in, if one does.
    pub(crate) provider: Option<Arc<ProviderAccess>>,
}

/// Who checks tokens, for each guarded server.
pub(crate) enum Verifiers {
    Own(Arc<dyn Store>),
    External {
        issuer: Arc<ExternalIssuer>,
        by: Verification,
        audience: Vec<String>,
        claims: WantedClaims,
    },
}

impl Verifiers {
    /// The verifier for one guarded server.
    pub(crate) fn of(
        &self,
        resource: &ProtectedResource,
        clock: &Arc<dyn Clock>,
    ) -> Arc<dyn TokenVerifier> {
        match self {
            Self::Own(store) => {
                let resource = resource.resource.clone();
                Arc::new(OwnTokens::new(Arc::clone(store), resource, Arc::clone(clock)))
            }
            Self::External { issuer, by: Verification::Jwt, audience, claims } => {
                let verifier = SignedTokens::new(Arc::clone(issuer), resource);
                let verifier = verifier.keeping(claims.clone());
                match audience.as_slice() {
                    [] => Arc::new(verifier),
                    written => Arc::new(verifier.for_audience(written.to_vec())),
                }
            }
            Self::External {
                issuer,
                by: Verification::Introspection { client, ttl },
                audience,
                claims,
            } => {
                let verifier =
                    IntrospectedTokens::new(Arc::clone(issuer), client.clone(), resource, *ttl)
                        .keeping(claims.clone());
                match audience.as_slice() {
                    [] => Arc::new(verifier),
                    written => Arc::new(verifier.for_audience(written.to_vec())),
                }
            }
        }
    }
}

/// Puts together what the settings name.
///
/// # Errors
/// When a part cannot work with them.
pub(crate) async fn issuing(config: &Config, standing: &Standing) -> Result<Issuing, Failure> {
    let Standing { store, sealer, clock, stopping, .. } = standing;
    let readiness = Readiness::new(stopping.clone());
    let Provider { provider, pages } = match &config.identity {
        IdentityConfig::External(other) => {
            return external(other, &config.claims, readiness, clock);
        }
        IdentityConfig::Local => by_accounts(config, store, sealer, clock).await?,
        IdentityConfig::Oidc(oidc) => by_openid(config, oidc, clock)?,
    };
    let server = AuthorizationServer::new(
        config.authorization.clone(),
        Arc::clone(store),
        Arc::clone(&provider),
        sealer.clone(),
        Arc::clone(clock),
    )
    .await
    .map_err(|error| Failure::because(&error))?;
    // Accounts of our own end what they granted when they are removed.
    let is_elsewhere = matches!(&config.identity, IdentityConfig::Oidc(_));
    if is_elsewhere {
        tokio::spawn(server.provider_sessions().follow());
    }
    tokio::spawn(server.flow_writer().follow());
    let asked = Arc::clone(store);
    Ok(Issuing {
        routes: server.browser_routes().merge(server.client_routes()).merge(pages),
        authorization_server: config.public_url.as_str().to_owned(),
        verifiers: Verifiers::Own(Arc::clone(store)),
        provider: is_elsewhere.then(|| Arc::new(server.provider_access())),
        readiness: readiness
            .needing("store", move || {
                let store = Arc::clone(&asked);
                async move { store.check().await.is_ok() }
            })
            .needing("identity_provider", move || {
                let provider = Arc::clone(&provider);
                async move { provider.check().await.is_ok() }
            }),
    })
}

/// Nothing is served, stored or asked before the first token is shown.
fn external(
    other: &ExternalConfig,
    claims: &WantedClaims,
    readiness: Readiness,
    clock: &Arc<dyn Clock>,
) -> Result<Issuing, Failure> {
    let issuer = ExternalIssuer::new(&other.issuer, Arc::clone(clock));
    let issuer = Arc::new(issuer.map_err(|error| Failure::because(&error))?);
    let asked = Arc::clone(&issuer);
    let needs_keys = matches!(other.verification, Verification::Jwt);
    Ok(Issuing {
        routes: Router::new(),
        authorization_server: other.issuer.clone(),
        verifiers: Verifiers::External {
            issuer,
            by: other.verification.clone(),
            audience: other.audience.clone(),
            claims: claims.clone(),
        },
        provider: None,
        readiness: readiness.needing("authorization_server", move || {
            let issuer = Arc::clone(&asked);
            async move {
                let checked = if needs_keys {
                    issuer.check_keys().await
                } else {
                    issuer.check_introspection().await
                };
                checked.is_ok()
            }
        }),
    })
}

/// Who logs people in, and the pages that this needs.
struct Provider {
    provider: Arc<dyn IdentityProvider>,
    pages: Router,
}

async fn by_accounts(
    config: &Config,
    store: &Arc<dyn Store>,
    sealer: &Sealer,
    clock: &Arc<dyn Clock>,
) -> Result<Provider, Failure> {
    let binding = BrowserBinding::new(&config.public_url, store.as_ref())
        .await
        .map_err(|error| Failure::because(&error))?;
    let provider = Arc::new(LocalProvider::new(
        config.public_url.clone(),
        Arc::clone(store),
        sealer.clone(),
        Arc::clone(clock),
    ));
    let pages = local::routes(Arc::clone(&provider), Arc::new(binding));
    Ok(Provider { provider, pages })
}

fn by_openid(
    config: &Config,
    oidc: &OidcConfig,
    clock: &Arc<dyn Clock>,
) -> Result<Provider, Failure> {
    Ok(Provider { provider: Arc::new(openid(config, oidc, clock)?), pages: Router::new() })
}

/// The `OpenID` provider of the settings.
///
/// # Errors
/// When no provider can be asked with them.
pub(crate) fn openid(
    config: &Config,
    oidc: &OidcConfig,
    clock: &Arc<dyn Clock>,
) -> Result<OidcProvider, Failure> {
    let settings = OidcSettings {
        issuer: oidc.issuer.clone(),
        client_id: oidc.client_id.clone(),
        client_secret: oidc.client_secret.clone(),
        scopes: oidc.scopes.clone(),
        redirect_uri: config.public_url.endpoint("/auth/callback"),
        asks_offline_access: matches!(
            config.authorization.provider_session,
            SessionRule::Follow { .. }
        ),
    };
    let provider =
        OidcProvider::new(settings, Arc::clone(clock)).map_err(|error| Failure::because(&error))?;
    Ok(provider.keeping(config.claims.clone()))
}
