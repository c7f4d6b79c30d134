//! `upstream.identity`: what a guarded server is told of who calls, and whether that can be had.

use std::collections::BTreeSet;
use std::ffi::OsString;

use axum::http::HeaderName;
use axum::http::header::{AUTHORIZATION, COOKIE};
use sekisho::gateway::{
    Attribute, Introduction, Per, RemoteServer, RemoteServerError, SignedTokens, StdioCommand,
};
use sekisho::identity_provider::ExchangeWish;
use sekisho::protocol::oauth::ScopeSet;

use super::error::{ConfigError, Origin};
use super::understood::{IdentityConfig, Server, choose};
use super::upstream::Upstream;
use super::written::Settings;

const BY: &str = "upstream.identity.by";
const NAMES: &str = "upstream.identity.names";
const HEADER: &str = "upstream.identity.header";
const AUDIENCE: &str = "upstream.identity.audience";
const CLAIMS: &str = "upstream.identity.claims";
const SCOPES: &str = "upstream.identity.scopes";

/// Headers as many servers behind a proxy that logs people in know them.
const HEADERS: [(&str, &str); 4] = [
    ("X-Forwarded-User", "subject"),
    ("X-Forwarded-User-Issuer", "issuer"),
    ("X-Forwarded-Preferred-Username", "name"),
    ("X-Forwarded-Email", "email"),
];

/// Variables of a process.
const VARIABLES: [(&str, &str); 4] = [
    ("MCP_USER_SUBJECT", "subject"),
    ("MCP_USER_ISSUER", "issuer"),
    ("MCP_USER_NAME", "name"),
    ("MCP_USER_EMAIL", "email"),
];

/// What a guarded server hears of its callers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Introduced {
    pub(crate) is_made: bool,
    /// A token, which somebody has to give; what is told without one is part of the server.
    pub(crate) token: Option<TokenWish>,
    /// What is kept of people for it.
    pub(super) claims: Vec<String>,
}

/// A token for each caller of a server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenWish {
    pub(crate) header: HeaderName,
    pub(crate) kind: TokenKind,
}

/// Whose token it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TokenKind {
    /// Signed by us.
    Signed { audience: Vec<String>, claims: Vec<String> },
    /// The access token that the identity provider gave for the login.
    Provider,
    /// What the identity provider gives for that.
    Exchanged(ExchangeWish),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Headers,
    Jwt,
    ProviderToken,
    TokenExchange,
    Environment,
}

const WAYS: [(&str, By); 5] = [
    ("headers", By::Headers),
    ("jwt", By::Jwt),
    ("provider-token", By::ProviderToken),
    ("token-exchange", By::TokenExchange),
    ("environment", By::Environment),
];

impl By {
    /// The settings that it uses beside.
    const fn uses(self) -> &'static [&'static str] {
        match self {
            Self::Headers | Self::Environment => &[NAMES],
            Self::Jwt => &[HEADER, AUDIENCE, CLAIMS],
            Self::ProviderToken => &[HEADER],
            Self::TokenExchange => &[HEADER, AUDIENCE, SCOPES],
        }
    }
}

/// How it is told, if it is.
fn way(settings: &Settings, per: Per) -> Result<Option<By>, ConfigError> {
    let others = [NAMES, HEADER, AUDIENCE, CLAIMS, SCOPES];
    let mut written = others.into_iter().filter(|key| settings.was_written(key));
    if !settings.was_written(BY) {
        return match written.next() {
            None => Ok(None),
            Some(key) => {
                let problem = format!(
                    "nothing is told of callers: write {BY} too, for example by = \"headers\""
                );
                Err(settings.refuse(key, problem))
            }
        };
    }
    let by = choose(settings, BY, &WAYS)?;
    if let Some(key) = written.find(|key| !by.uses().contains(key)) {
        let problem = format!("by = {:?} does not use it: leave it out", settings.text(BY));
        return Err(settings.refuse(key, problem));
    }
    if per == Per::Process {
        let problem = "all callers would share what only one of them is: write \"user\" or \
                       \"session\", or leave upstream.identity out";
        return Err(settings.refuse("upstream.per", problem));
    }
    Ok(Some(by))
}

/// What a server at a URL is told.
pub(super) fn of_remote(
    settings: &Settings,
    server: RemoteServer,
    per: Per,
) -> Result<(RemoteServer, Introduced), ConfigError> {
    let Some(by) = way(settings, per)? else { return Ok((server, Introduced::default())) };
    let kind = match by {
        By::Headers => return by_headers(settings, server),
        By::Environment => {
            let problem =
                "a server at a URL has no environment of ours: write \"headers\" or \"jwt\"";
            return Err(settings.refuse(BY, problem));
        }
        By::Jwt => TokenKind::Signed { audience: signed_for(settings)?, claims: claims(settings)? },
        By::ProviderToken => TokenKind::Provider,
        By::TokenExchange => TokenKind::Exchanged(exchange(settings)?),
    };
    let header = header(settings)?;
    // Only whether it can be set; the token itself is put together with the rest of the program.
    let alone = Introduction::Attributes(vec![(header.clone(), Attribute::Subject)]);
    if let Err(problem) = server.clone().introducing(alone) {
        let key = if settings.was_written(HEADER) { HEADER } else { BY };
        return Err(settings.refuse(key, problem));
    }
    let claims = match &kind {
        TokenKind::Signed { claims, .. } => claims.clone(),
        TokenKind::Provider | TokenKind::Exchanged(_) => Vec::new(),
    };
    Ok((server, Introduced { is_made: true, token: Some(TokenWish { header, kind }), claims }))
}

fn by_headers(
    settings: &Settings,
    server: RemoteServer,
) -> Result<(RemoteServer, Introduced), ConfigError> {
    let mut told = Vec::new();
    for (name, attribute) in names(settings, &HEADERS)? {
        let wrong = || RemoteServerError::Header(name.clone());
        let header: HeaderName = name.parse().map_err(|_| settings.refuse(NAMES, wrong()))?;
        if header == AUTHORIZATION || header == COOKIE {
            let problem = format!("{name:?} is for credentials, and this is none: choose another");
            return Err(settings.refuse(NAMES, problem));
        }
        told.push((header, attribute));
    }
    let claims = claims_of(&told);
    let server = server.introducing(Introduction::Attributes(told));
    let server = server.map_err(|problem| settings.refuse(NAMES, problem))?;
    Ok((server, Introduced { is_made: true, token: None, claims }))
}

/// What a command is told.
pub(super) fn of_command(
    settings: &Settings,
    mut command: StdioCommand,
    per: Per,
) -> Result<(StdioCommand, Introduced), ConfigError> {
    let Some(by) = way(settings, per)? else { return Ok((command, Introduced::default())) };
    match by {
        By::Environment => {}
        By::Headers => {
            let problem = "a command gets no headers: write \"environment\"";
            return Err(settings.refuse(BY, problem));
        }
        By::Jwt | By::ProviderToken | By::TokenExchange => {
            let problem = "a process keeps what it was started with, and a token ends before it \
                           does: write \"environment\", or guard a server at a URL";
            return Err(settings.refuse(BY, problem));
        }
    }
    for (name, attribute) in names(settings, &VARIABLES)? {
        let variable = OsString::from(&name);
        if name.is_empty() || name.contains(['=', '\0']) {
            let problem = format!("{name:?} cannot be a variable: no '=' and no NUL character");
            return Err(settings.refuse(NAMES, problem));
        }
        if command.environment.iter().any(|(known, _)| *known == variable) {
            let problem = format!("{name:?} has a value already: choose another name");
            return Err(settings.refuse(NAMES, problem));
        }
        if !attribute.is_the_persons() {
            let problem = format!(
                "{name:?} would be another for each client of a person, who share a process: \
                 leave \"client\" and \"scopes\" out"
            );
            return Err(settings.refuse(NAMES, problem));
        }
        command.told.push((variable, attribute));
    }
    let claims = claims_of(&command.told);
    Ok((command, Introduced { is_made: true, token: None, claims }))
}

/// The names that were written, else the usual ones, with what each tells.
fn names(
    settings: &Settings,
    usual: &[(&str, &str)],
) -> Result<Vec<(String, Attribute)>, ConfigError> {
    let read = |name: &str, word: &str| {
        let attribute = Attribute::parse(word);
        let attribute = attribute
            .map_err(|problem| settings.refuse(NAMES, format!("{name:?} = {word:?}: {problem}")))?;
        Ok((name.to_owned(), attribute))
    };
    if !settings.was_written(NAMES) {
        return usual.iter().map(|(name, word)| read(name, word)).collect();
    }
    let read: Result<Vec<_>, _> =
        settings.table(NAMES).map(|(name, word)| read(name, word.reveal())).collect();
    match read {
        Ok(names) if names.is_empty() => {
            Err(settings.refuse(NAMES, "it is empty: leave it out for the usual names"))
        }
        read => read,
    }
}

fn claims_of<N>(told: &[(N, Attribute)]) -> Vec<String> {
    told.iter().filter_map(|(_, attribute)| attribute.claim().map(str::to_owned)).collect()
}

fn header(settings: &Settings) -> Result<HeaderName, ConfigError> {
    if !settings.was_written(HEADER) {
        return Ok(AUTHORIZATION);
    }
    settings.parse(HEADER, |text| {
        text.parse().map_err(|_| "it cannot be a header: write letters, digits and dashes")
    })
}

/// Whom a token of ours is for: the URL as it was written, unless somebody says otherwise.
fn signed_for(settings: &Settings) -> Result<Vec<String>, ConfigError> {
    if settings.was_written(AUDIENCE) {
        return audience(settings);
    }
    Ok(vec![settings.text("upstream.url").to_owned()])
}

fn audience(settings: &Settings) -> Result<Vec<String>, ConfigError> {
    let audience = settings.list(AUDIENCE);
    let is_one = |text: &String| !text.is_empty() && !text.contains(char::is_whitespace);
    if audience.is_empty() || !audience.iter().all(is_one) {
        let problem = "it names nobody: write whom a token is for, each by itself";
        return Err(settings.refuse(AUDIENCE, problem));
    }
    Ok(audience.to_vec())
}

fn claims(settings: &Settings) -> Result<Vec<String>, ConfigError> {
    let claims = settings.list(CLAIMS);
    if let Some(own) = claims.iter().find(|name| SignedTokens::is_own(name)) {
        let problem = format!("{own:?} is said by us in any case: leave it out");
        return Err(settings.refuse(CLAIMS, problem));
    }
    let once: BTreeSet<_> = claims.iter().filter(|name| !name.is_empty()).collect();
    if once.len() != claims.len() {
        return Err(settings.refuse(CLAIMS, "one is empty or stands there twice: write each once"));
    }
    Ok(claims.to_vec())
}

fn exchange(settings: &Settings) -> Result<ExchangeWish, ConfigError> {
    let audience = if settings.was_written(AUDIENCE) { audience(settings)? } else { Vec::new() };
    let scopes = settings.list(SCOPES);
    if ScopeSet::of(scopes.iter().map(String::as_str)).iter().count() != scopes.len() {
        let problem = "one of them is no scope, or stands there twice: write each by itself, once";
        return Err(settings.refuse(SCOPES, problem));
    }
    if audience.is_empty() && scopes.is_empty() {
        let problem =
            format!("{AUDIENCE} or {SCOPES} is missing: write for whom a token is traded");
        return Err(settings.refuse(BY, problem));
    }
    Ok(ExchangeWish { audience, scopes: scopes.to_vec() })
}

/// Refuses what nobody could give with the rest of the settings.
pub(super) fn check<'a>(
    settings: &Settings,
    servers: impl Iterator<Item = (&'a Server, &'a (Origin, Settings))>,
    identity: &IdentityConfig,
) -> Result<(), ConfigError> {
    for (server, (_, of_server)) in servers {
        let Upstream::Guarded { introduced, .. } = &server.upstream else { continue };
        let Some(TokenWish { kind, .. }) = &introduced.token else { continue };
        let problem = match (kind, identity) {
            (TokenKind::Signed { .. }, IdentityConfig::External(_))
                if !settings.was_written("key_file") =>
            {
                "it signs by key_file, and there is none: set key_file, the same for every replica"
            }
            (TokenKind::Provider | TokenKind::Exchanged(_), IdentityConfig::External(_)) => {
                "with authorization.mode = \"external\" nobody logs in here, and no token of the \
                 provider's is kept: write \"jwt\" or \"headers\""
            }
            (TokenKind::Provider | TokenKind::Exchanged(_), IdentityConfig::Local) => {
                "accounts of our own have no token of anybody's: write \"jwt\" or \"headers\", or \
                 set identity.provider to \"oidc\" or \"keycloak\""
            }
            (TokenKind::Exchanged(_), IdentityConfig::Oidc(oidc))
                if oidc.client_secret.is_none() =>
            {
                "a client without a secret cannot trade tokens: set identity.client_secret_file"
            }
            (TokenKind::Signed { .. }, _)
            | (TokenKind::Provider | TokenKind::Exchanged(_), IdentityConfig::Oidc(_)) => continue,
        };
        return Err(of_server.refuse(BY, problem));
    }
    Ok(())
}
