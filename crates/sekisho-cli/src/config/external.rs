//! `authorization.mode = "external"`: another authorization server issues the tokens, and what is left
//! to set is who it is and how its tokens are checked.

use std::time::Duration;

use sekisho::protocol::oauth::Issuer;
use sekisho::resource_server::IntrospectionClient;

use super::error::ConfigError;
use super::understood::{Server, choose, life, provider_issuer, secret};
use super::written::{ConfigFile, Settings};

/// The other authorization server.
#[derive(Debug)]
pub(crate) struct ExternalConfig {
    /// As text: an issuer is compared as text.
    pub(crate) issuer: String,
    pub(crate) verification: Verification,
    /// What a token must be for, instead of the URL of the only server.
    pub(crate) audience: Vec<String>,
}

/// How its tokens are checked.
#[derive(Debug, Clone)]
pub(crate) enum Verification {
    /// By its keys.
    Jwt,
    /// By asking it.
    Introspection {
        client: IntrospectionClient,
        /// How long its word is remembered.
        ttl: Duration,
    },
}

/// Longest that a word about a token is remembered: so long may somebody who was thrown out stay.
const INTROSPECTION_TTL_MAX: Duration = Duration::from_mins(10);

/// What only this mode uses.
const OWN: [&str; 7] = [
    "authorization.issuer",
    "authorization.verify",
    "authorization.audience",
    "authorization.client_id",
    "authorization.client_secret",
    "authorization.client_secret_file",
    "authorization.introspection_ttl",
];

/// What only introspection uses.
const INTROSPECTION: [&str; 4] = [
    "authorization.client_id",
    "authorization.client_secret",
    "authorization.client_secret_file",
    "authorization.introspection_ttl",
];

/// Limits of endpoints and tables that are not there in this mode.
const LIMITS: [&str; 9] = [
    "limits.clients_max",
    "limits.logins_max",
    "limits.registrations_per_minute",
    "limits.logins_per_minute",
    "limits.document_fetches_per_minute",
    "limits.failures_per_minute",
    "limits.pages_per_minute",
    "limits.calls_per_minute",
    "limits.refreshes_per_minute",
];

/// Whether a setting is about issuing tokens, or about remembering whom they were issued to.
fn is_about_issuing(key: &str) -> bool {
    let is_ours = key == "authorization.mode" || OWN.contains(&key);
    matches!(key, "store" | "durability")
        || key.starts_with("identity.")
        || (key.starts_with("authorization.") && !is_ours)
        || LIMITS.contains(&key)
}

/// A setting that would be ignored is never what was meant.
pub(super) fn refuse_foreign(written: &ConfigFile) -> Result<(), ConfigError> {
    let settings = &written.settings;
    let foreign = settings.written().find(|key| is_about_issuing(key));
    if let Some(key) = foreign {
        let problem = "with authorization.mode = \"external\" no token is issued here, and nobody \
                       uses it: leave it out";
        return Err(settings.refuse(key, problem));
    }
    if let Some((origin, _)) = written.identities.first() {
        let problem = "with authorization.mode = \"external\" people log in at the other \
                       authorization server: leave it out";
        return Err(ConfigError::at(origin, "identity", None, problem));
    }
    match written.clients.first() {
        None => Ok(()),
        Some((origin, _)) => {
            let problem = "with authorization.mode = \"external\" clients are registered at the \
                           other authorization server: leave it out";
            Err(ConfigError::at(origin, "client", None, problem))
        }
    }
}

/// The same the other way round.
pub(super) fn refuse_own(settings: &Settings) -> Result<(), ConfigError> {
    match OWN.into_iter().find(|key| settings.was_written(key)) {
        None => Ok(()),
        Some(key) => {
            let problem = "tokens are issued here: leave it out, or set authorization.mode to \
                           \"external\"";
            Err(settings.refuse(key, problem))
        }
    }
}

/// Who issues the tokens, and how they are checked.
pub(super) fn external(
    settings: &Settings,
    public_url: &Issuer,
    servers: &[Server],
) -> Result<ExternalConfig, ConfigError> {
    const ISSUER: &str = "authorization.issuer";
    if settings.text(ISSUER).is_empty() {
        let problem = "authorization.mode \"external\" needs it: set it to the issuer of the \
                       authorization server, as its metadata says it";
        return Err(settings.refuse(ISSUER, problem));
    }
    let issuer = settings.parse(ISSUER, provider_issuer)?;
    if issuer.trim_end_matches('/') == public_url.as_str() {
        let problem = "it is our own public_url: write that of the other authorization server, or \
                       set authorization.mode to \"delegated\"";
        return Err(settings.refuse(ISSUER, problem));
    }
    let audience = settings.list("authorization.audience").to_vec();
    if !audience.is_empty() && servers.len() > 1 {
        let problem = "there are several servers, and each would take the tokens of the others: \
                       leave it out, so that a token is for the URL of one";
        return Err(settings.refuse("authorization.audience", problem));
    }
    Ok(ExternalConfig { issuer, verification: verification(settings)?, audience })
}

fn verification(settings: &Settings) -> Result<Verification, ConfigError> {
    let asks =
        choose(settings, "authorization.verify", &[("jwt", false), ("introspection", true)])?;
    if !asks {
        return match INTROSPECTION.into_iter().find(|key| settings.was_written(key)) {
            None => Ok(Verification::Jwt),
            Some(key) => {
                let problem = "nobody is asked about tokens: leave it out, or set \
                               authorization.verify to \"introspection\"";
                Err(settings.refuse(key, problem))
            }
        };
    }
    let id = settings.text("authorization.client_id").to_owned();
    let secret =
        secret(settings, "authorization.client_secret", "authorization.client_secret_file")?;
    match secret {
        Some(secret) if !id.is_empty() => Ok(Verification::Introspection {
            client: IntrospectionClient { id, secret },
            ttl: life(settings, "authorization.introspection_ttl", INTROSPECTION_TTL_MAX)?,
        }),
        Some(_) | None => {
            let problem = "it needs authorization.client_id and client_secret_file, as whom to ask: \
                           set them to those of a confidential client at the authorization server";
            Err(settings.refuse("authorization.verify", problem))
        }
    }
}
