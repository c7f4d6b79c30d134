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
use sekisho::seal::Sealer;
use sekisho::store::Store;

use crate::config::{Config, GitHubConfig, OidcConfig, ProviderConfig, ProviderKind};
use crate::outcome::Failure;

/// All of them, and the pages that accounts of our own need.
///
/// # Errors
/// When one cannot work with its settings.
pub(crate) async fn providers(
    config: &Config,
    store: &Arc<dyn Store>,
    sealer: &Sealer,
    clock: &Arc<dyn Clock>,
) -> Result<(Providers, Router), Failure> {
    let mut all = Vec::new();
    let mut pages = Router::new();
    for one in config.identity.providers() {
        let seam: Arc<dyn IdentityProvider> = match &one.kind {
            ProviderKind::Local => {
                let (provider, its_pages) = accounts(config, one, store, sealer, clock).await?;
                pages = pages.merge(its_pages);
                provider
            }
            ProviderKind::Oidc(oidc) => Arc::new(openid(config, one, oidc, clock)?),
            ProviderKind::GitHub(github) => Arc::new(self::github(config, one, github, clock)?),
        };
        tell_of_lacks(config, one, seam.issuer());
        let provider = Provider::new(seam).called(one.name.as_str(), one.label.as_str());
        all.push(provider.under(one.session).admitting(one.admission.clone()));
    }
    let all = Providers::new(all).map_err(|error| Failure::because(&error))?;
    Ok((all, pages))
}

async fn accounts(
    config: &Config,
    one: &ProviderConfig,
    store: &Arc<dyn Store>,
    sealer: &Sealer,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<LocalProvider>, Router), Failure> {
    let binding = BrowserBinding::new(&config.public_url, store.as_ref())
        .await
        .map_err(|error| Failure::because(&error))?;
    let public_url = config.public_url.clone();
    let provider =
        LocalProvider::new(public_url, Arc::clone(store), sealer.clone(), Arc::clone(clock));
    let provider = Arc::new(provider.coming_back_to(Provider::paths(&one.name).0));
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
