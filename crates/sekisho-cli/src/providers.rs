//! Makes of the settings whoever logs people in, and says at the start what they cannot do.

use std::sync::Arc;

use axum::Router;
use sekisho::authorization_server::{BrowserBinding, Provider, Providers, SessionRule};
use sekisho::clock::Clock;
use sekisho::identity_provider::IdentityProvider;
use sekisho::identity_provider::github::{GitHubProvider, GitHubSettings};
use sekisho::identity_provider::local::{self, LocalProvider};
use sekisho::identity_provider::oidc::{OidcProvider, OidcSettings};
use sekisho::identity_provider::preset::Lack;

use crate::config::{Config, GitHubConfig, OidcConfig, ProviderConfig, ProviderKind};
use crate::outcome::Failure;
use crate::standing::Standing;

/// Everybody who logs people in.
pub(crate) struct Logins {
    pub(crate) providers: Providers,
    /// Those that accounts of our own need.
    pub(crate) pages: Router,
    pub(crate) accounts: Option<Arc<LocalProvider>>,
}

/// All of them; `known` are the accounts of our own by the settings before, which know who tried how
/// often.
///
/// # Errors
/// When one cannot work with its settings.
pub(crate) async fn logins(
    config: &Config,
    standing: &Standing,
    known: Option<Arc<LocalProvider>>,
) -> Result<Logins, Failure> {
    let clock = &standing.clock;
    let mut all = Vec::new();
    let mut accounts = None;
    let mut pages = Router::new();
    for one in config.identity.providers() {
        let seam: Arc<dyn IdentityProvider> = match &one.kind {
            ProviderKind::Local => {
                let (provider, its_pages) = own(config, one, standing, known.as_ref()).await?;
                pages = pages.merge(its_pages);
                accounts = Some(Arc::clone(&provider));
                provider
            }
            ProviderKind::Oidc(oidc) => Arc::new(openid(config, one, oidc, clock)?),
            ProviderKind::GitHub(github) => Arc::new(self::github(config, one, github, clock)?),
        };
        tell_of_lacks(config, one, seam.issuer());
        let provider = Provider::new(seam).called(one.name.as_str(), one.label.as_str());
        all.push(provider.under(one.session).admitting(one.admission.clone()));
    }
    let providers = Providers::new(all).map_err(|error| Failure::because(&error))?;
    Ok(Logins { providers, pages, accounts })
}

async fn own(
    config: &Config,
    one: &ProviderConfig,
    standing: &Standing,
    known: Option<&Arc<LocalProvider>>,
) -> Result<(Arc<LocalProvider>, Router), Failure> {
    let Standing { store, sealer, clock, .. } = standing;
    let binding = BrowserBinding::new(&config.public_url, store.as_ref())
        .await
        .map_err(|error| Failure::because(&error))?;
    let callback = Provider::paths(&one.name).0;
    let provider = if let Some(known) = known.filter(|known| known.comes_back_to(&callback)) {
        Arc::clone(known)
    } else {
        let (public_url, sealer) = (config.public_url.clone(), sealer.clone());
        let new = LocalProvider::new(public_url, Arc::clone(store), sealer, Arc::clone(clock));
        Arc::new(new.coming_back_to(callback))
    };
    let pages = local::routes(Arc::clone(&provider), Arc::new(binding));
    Ok((provider, pages))
}

/// The `OpenID` provider of the settings.
///
/// # Errors
/// When no provider can be asked with them.
pub(crate) fn openid(
    config: &Config,
    one: &ProviderConfig,
    oidc: &OidcConfig,
    clock: &Arc<dyn Clock>,
) -> Result<OidcProvider, Failure> {
    let settings = OidcSettings {
        issuer: oidc.issuer.clone(),
        client_id: oidc.client_id.clone(),
        client_secret: oidc.client_secret.clone(),
        scopes: oidc.scopes.clone(),
        redirect_uri: callback(config, one),
        asks_offline_access: matches!(one.session, SessionRule::Follow { .. }),
        parameters: oidc.parameters.clone(),
        quirks: oidc.quirks,
    };
    let provider =
        OidcProvider::new(settings, Arc::clone(clock)).map_err(|error| Failure::because(&error))?;
    Ok(provider.keeping(config.claims.clone()))
}

/// The GitHub of the settings.
///
/// # Errors
/// When it cannot be asked with them.
pub(crate) fn github(
    config: &Config,
    one: &ProviderConfig,
    github: &GitHubConfig,
    clock: &Arc<dyn Clock>,
) -> Result<GitHubProvider, Failure> {
    let settings = GitHubSettings {
        issuer: github.issuer.clone(),
        client_id: github.client_id.clone(),
        client_secret: github.client_secret.clone(),
        scopes: github.scopes.clone(),
        redirect_uri: callback(config, one),
    };
    let provider = GitHubProvider::new(settings, Arc::clone(clock))
        .map_err(|error| Failure::because(&error))?;
    Ok(provider.keeping(config.claims.clone()))
}

/// Where this provider sends browsers back to.
pub(crate) fn callback(config: &Config, one: &ProviderConfig) -> String {
    config.public_url.endpoint(&Provider::paths(&one.name).0)
}

/// Nobody is told of what they do not count on.
fn tell_of_lacks(config: &Config, one: &ProviderConfig, issuer: &str) {
    let asks_for = |claims: &[&str]| config.claims.iter().any(|claim| claims.contains(&claim));
    for lack in one.lacks {
        let is_counted_on = match lack {
            Lack::LogoutMessages => one.session != SessionRule::LoginOnly,
            Lack::LogoutPage => true,
            Lack::Groups => asks_for(&["groups", "roles"]),
            Lack::VerifiedEmail => asks_for(&["email", "email_verified"]),
        };
        if is_counted_on {
            tracing::warn!(issuer, "{}: {}", one.label, lack.consequence());
        }
    }
}
