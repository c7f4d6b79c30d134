//! Who issues the tokens: our own authorization server, with whoever logs people in for it, or another
//! one. The rest of the program learns of it what it serves, whom to point clients to, and who checks a
//! token.

use std::sync::Arc;

use axum::Router;
use sekisho::authorization_server::{AuthorizationServer, Providers};
use sekisho::clock::Clock;
use sekisho::front::Readiness;
use sekisho::identity_provider::local::LocalProvider;
use sekisho::principal::WantedClaims;
use sekisho::protocol::oauth::ProtectedResource;
use sekisho::resource_server::{
    Admitting, ExternalIssuer, IntrospectedTokens, OwnTokens, SignedTokens, TokenVerifier,
};
use sekisho::store::Store;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ExternalConfig, IdentityConfig, Verification};
use crate::key;
use crate::outcome::Failure;
use crate::providers::{Logins, logins};
use crate::standing::Standing;

/// What is known of it.
pub(crate) struct Issuing {
    /// What is served for it; nothing at all where another server issues.
    pub(crate) routes: Router,
    /// The issuer that clients are pointed to.
    pub(crate) authorization_server: String,
    pub(crate) verifiers: Verifiers,
    pub(crate) readiness: Readiness,
    pub(crate) issuer: Issuer,
}

/// Whoever issues them, with what outlives the settings: what was counted, fetched and noted.
pub(crate) enum Issuer {
    Ours {
        server: Arc<AuthorizationServer>,
        /// Our own accounts, if they log people in.
        accounts: Option<Arc<LocalProvider>>,
        /// Whether people log in anywhere else.
        is_elsewhere: bool,
        /// Cancelled when another one, by other settings, asks the provider.
        superseded: CancellationToken,
    },
    Other(Arc<ExternalIssuer>),
}

impl Issuer {
    /// Begins what is done beside all requests, in the place of `former`.
    pub(crate) fn begin(&self, former: Option<&Self>, standing: &Standing) {
        let Self::Ours { server, is_elsewhere, superseded, .. } = self else { return };
        if let Some(Self::Ours { superseded, .. }) = former {
            superseded.cancel();
        } else {
            tokio::spawn(server.flow_writer().follow());
        }
        // Accounts of our own end what they granted when they are removed.
        if *is_elsewhere {
            tokio::spawn(server.provider_sessions().follow(superseded.clone()));
        }
        let access = is_elsewhere.then(|| Arc::new(server.provider_access()));
        standing.provider.store(access);
    }
}

/// Who checks tokens, for each guarded server.
pub(crate) enum Verifiers {
    Own {
        store: Arc<dyn Store>,
        admitting: Admitting,
    },
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
            Self::Own { store, admitting } => {
                let resource = resource.resource.clone();
                let verifier = OwnTokens::new(Arc::clone(store), resource, Arc::clone(clock));
                Arc::new(verifier.admitting(admitting.clone()))
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

/// Puts together what the settings name, and goes on with what `former` has of it.
///
/// # Errors
/// When a part cannot work with them.
pub(crate) async fn issuing(
    config: &Config,
    standing: &Standing,
    former: Option<&Issuer>,
) -> Result<Issuing, Failure> {
    let Standing { store, sealer, clock, stopping, .. } = standing;
    let readiness = Readiness::new(stopping.clone());
    if let IdentityConfig::External(other) = &config.identity {
        return external(other, &config.claims, readiness, clock, former);
    }
    let known = match former {
        Some(Issuer::Ours { accounts, .. }) => accounts.clone(),
        Some(Issuer::Other(_)) | None => None,
    };
    let Logins { providers, pages, accounts } = logins(config, standing, known).await?;
    let settings = config.authorization.clone();
    let server = match former {
        Some(Issuer::Ours { server, .. }) => server.renewed(settings, providers.clone()),
        Some(Issuer::Other(_)) | None => AuthorizationServer::new(
            settings,
            Arc::clone(store),
            providers.clone(),
            sealer.clone(),
            Arc::clone(clock),
        )
        .await
        .map_err(|error| Failure::because(&error))?,
    };
    let is_elsewhere = config.identity.providers().iter().any(|one| !one.kind.is_local());
    let admitting = {
        let server = Arc::clone(&server);
        Admitting::those(move |person| server.admits(person))
    };
    let asked = Arc::clone(store);
    let keys = (sealer.clone(), Arc::clone(store));
    Ok(Issuing {
        routes: server.browser_routes().merge(server.client_routes()).merge(pages),
        authorization_server: config.public_url.as_str().to_owned(),
        verifiers: Verifiers::Own { store: Arc::clone(store), admitting },
        readiness: readiness
            .needing("store", move || {
                let store = Arc::clone(&asked);
                async move { store.check().await.is_ok() }
            })
            .needing("key", move || {
                let (sealer, store) = keys.clone();
                async move { key::opens(&sealer, store.as_ref()).await }
            })
            .needing("identity_provider", move || {
                let providers = providers.clone();
                async move { somebody_is_there(&providers).await }
            }),
        issuer: Issuer::Ours {
            server,
            accounts,
            is_elsewhere,
            superseded: CancellationToken::new(),
        },
    })
}

/// Whether anybody can log in: one provider that is down is no reason to turn away the people of
/// another.
async fn somebody_is_there(providers: &Providers) -> bool {
    for provider in providers.iter() {
        if provider.seam.check().await.is_ok() {
            return true;
        }
    }
    false
}

/// Nothing is served, stored or asked before the first token is shown.
fn external(
    other: &ExternalConfig,
    claims: &WantedClaims,
    readiness: Readiness,
    clock: &Arc<dyn Clock>,
    former: Option<&Issuer>,
) -> Result<Issuing, Failure> {
    let issuer = match former {
        // It has the keys, and may be out of reach at the moment.
        Some(Issuer::Other(known)) if known.as_str() == other.issuer => Arc::clone(known),
        Some(Issuer::Other(_) | Issuer::Ours { .. }) | None => {
            let issuer = ExternalIssuer::new(&other.issuer, Arc::clone(clock));
            Arc::new(issuer.map_err(|error| Failure::because(&error))?)
        }
    };
    let asked = Arc::clone(&issuer);
    let needs_keys = matches!(other.verification, Verification::Jwt);
    Ok(Issuing {
        routes: Router::new(),
        authorization_server: other.issuer.clone(),
        verifiers: Verifiers::External {
            issuer: Arc::clone(&issuer),
            by: other.verification.clone(),
            audience: other.audience.clone(),
            claims: claims.clone(),
        },
        issuer: Issuer::Other(issuer),
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
