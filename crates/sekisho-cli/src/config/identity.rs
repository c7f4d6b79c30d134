//! Who logs people in: `[identity]`, or each `[[identity]]` where people choose. Presets know what an
//! operator need not write.

use std::time::Duration;

use sekisho::authorization_server::SessionRule;
use sekisho::identity_provider::oidc::Quirks;
use sekisho::identity_provider::preset::{
    Lack, PRESETS, Preset, PresetIssuer, PresetProtocol, preset,
};
use sekisho::policy::Admission;
use sekisho::principal::EmailDomains;
use sekisho::protocol::Secret;
use sekisho::protocol::oauth::ScopeSet;
use url::Url;

use super::error::{ConfigError, Origin};
use super::external::ExternalConfig;
use super::rules;
use super::understood::{DAY, choose, life, provider_issuer, secret, server_name};
use super::written::{ConfigFile, Settings};

/// Who logs people in.
#[derive(Debug)]
pub(crate) enum IdentityConfig {
    /// People log in for us, at one of these; there is at least one.
    Providers(Vec<ProviderConfig>),
    /// Another authorization server, which issues the tokens too.
    External(ExternalConfig),
}

/// One provider, and on what terms its people come in.
#[derive(Debug)]
pub(crate) struct ProviderConfig {
    /// What it is called in URLs; empty for that of `[identity]`.
    pub(crate) name: String,
    /// What people call it; empty for accounts of our own.
    pub(crate) label: String,
    pub(crate) kind: ProviderKind,
    pub(crate) session: SessionRule,
    pub(crate) admission: Admission,
    /// For which domains of addresses it alone speaks.
    pub(crate) email_domains: Vec<String>,
    pub(crate) lacks: &'static [Lack],
}

/// What kind of provider it is.
#[derive(Debug)]
pub(crate) enum ProviderKind {
    /// Our own accounts.
    Local,
    /// An `OpenID` provider.
    Oidc(OidcConfig),
    /// GitHub.
    GitHub(GitHubConfig),
}

/// How we are known at an `OpenID` provider.
#[derive(Debug)]
pub(crate) struct OidcConfig {
    /// As text: an issuer is compared as text.
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<Secret>,
    pub(crate) scopes: Vec<String>,
    /// What an authorization request says beside the usual.
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) quirks: Quirks,
}

/// How we are known at GitHub.
#[derive(Debug)]
pub(crate) struct GitHubConfig {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    pub(crate) scopes: Vec<String>,
}

impl IdentityConfig {
    /// Everybody who logs people in for us.
    pub(crate) fn providers(&self) -> &[ProviderConfig] {
        match self {
            Self::Providers(providers) => providers,
            Self::External(_) => &[],
        }
    }

    /// Whether there are accounts of our own.
    pub(crate) fn has_accounts(&self) -> bool {
        self.providers().iter().any(|provider| provider.kind.is_local())
    }
}

impl ProviderKind {
    /// Whether it is accounts of our own.
    pub(crate) const fn is_local(&self) -> bool {
        matches!(self, Self::Local)
    }

    /// Whether it may trade tokens with us (RFC 8693): for that we must prove who we are.
    pub(super) const fn may_trade_tokens(&self) -> bool {
        match self {
            Self::Oidc(oidc) => oidc.client_secret.is_some(),
            Self::Local | Self::GitHub(_) => false,
        }
    }
}

/// All of them.
pub(super) fn providers(written: &ConfigFile) -> Result<Vec<ProviderConfig>, ConfigError> {
    let settings = &written.settings;
    if written.identities.is_empty() {
        for key in ["identity.name", "identity.label"] {
            if settings.was_written(key) {
                let problem = "there is only one provider to choose: leave it out, or begin each of \
                               several with [[identity]]";
                return Err(settings.refuse(key, problem));
            }
        }
        return Ok(vec![provider(settings, String::new())?]);
    }
    if let Some(key) = settings.written().find(|key| key.starts_with("identity.")) {
        let problem = "the file has [[identity]], and nobody knows which of them is meant: write it \
                       there";
        return Err(settings.refuse(key, problem));
    }
    let mut all: Vec<ProviderConfig> = Vec::new();
    for (origin, settings) in &written.identities {
        let one = provider(settings, name(origin, settings)?)?;
        let key = |key| if settings.was_written(key) { key } else { "identity.provider" };
        if all.iter().any(|other| other.name == one.name) {
            let problem = "another [[identity]] has that name: write another as name";
            return Err(settings.refuse(key("identity.name"), problem));
        }
        if all.iter().any(|other| other.issuer() == one.issuer()) {
            let problem =
                "another [[identity]] has that issuer, and a person would be two: keep one";
            return Err(settings.refuse(key("identity.issuer"), problem));
        }
        all.push(one);
    }
    Ok(all)
}

/// Which of them is believed about whose addresses.
pub(super) fn believed(providers: &[ProviderConfig]) -> EmailDomains {
    providers.iter().fold(EmailDomains::default(), |domains, provider| {
        domains.bind(provider.issuer(), provider.email_domains.iter().cloned())
    })
}

impl ProviderConfig {
    fn issuer(&self) -> &str {
        match &self.kind {
            ProviderKind::Local => "",
            ProviderKind::Oidc(oidc) => &oidc.issuer,
            ProviderKind::GitHub(github) => &github.issuer,
        }
    }
}

/// What one of several is called in URLs: its own name, or that of its provider.
fn name(origin: &Origin, settings: &Settings) -> Result<String, ConfigError> {
    if settings.was_written("identity.name") {
        return settings.parse("identity.name", server_name);
    }
    if settings.was_written("identity.provider") {
        return Ok(settings.text("identity.provider").to_owned());
    }
    let problem = "an [[identity]] needs a provider: write for example provider = \"google\"";
    Err(ConfigError::at(origin, "provider", None, problem))
}

fn provider(settings: &Settings, name: String) -> Result<ProviderConfig, ConfigError> {
    let chosen = settings.text("identity.provider");
    let (kind, label, lacks) = if chosen == "local" {
        local(settings)?;
        (ProviderKind::Local, String::new(), [].as_slice())
    } else {
        let preset =
            preset(chosen).ok_or_else(|| settings.refuse("identity.provider", unknown()))?;
        let (kind, issuer) = elsewhere(settings, preset)?;
        let label = match preset.label {
            "" => Url::parse(&issuer).ok().and_then(|url| url.host_str().map(str::to_owned)),
            label => Some(label.to_owned()),
        };
        (kind, label.unwrap_or_default(), preset.lacks)
    };
    let label = match settings.text("identity.label") {
        "" => label,
        label if label.chars().count() > LABEL_CHARS_MAX || label.chars().any(char::is_control) => {
            let problem = format!("it is no line of at most {LABEL_CHARS_MAX} characters");
            return Err(settings.refuse("identity.label", problem));
        }
        label => label.to_owned(),
    };
    let session = session(settings)?;
    let admission = rules::admission(settings)?;
    let email_domains = email_domains(settings)?;
    Ok(ProviderConfig { name, label, kind, session, admission, email_domains, lacks })
}

/// Longest label that fits on a button.
const LABEL_CHARS_MAX: usize = 60;

fn unknown() -> String {
    let names: Vec<_> = PRESETS.iter().map(|preset| format!("{:?}", preset.name)).collect();
    format!("there is no such provider: write \"local\" or one of {}", names.join(", "))
}

/// Settings of another provider would be ignored, which is never what was meant.
fn local(settings: &Settings) -> Result<(), ConfigError> {
    let foreign = [
        "identity.issuer",
        "identity.tenant",
        "identity.audience",
        "identity.prompt",
        "identity.client_id",
        "identity.client_secret",
        "identity.client_secret_file",
        "identity.scopes",
        "identity.email_domains",
        "identity.session",
        "identity.recheck",
    ];
    match foreign.into_iter().find(|key| settings.was_written(key)) {
        None => Ok(()),
        Some(key) => {
            let problem = "the local provider does not use it: set identity.provider to \"oidc\"";
            Err(settings.refuse(key, problem))
        }
    }
}

/// A provider somewhere else, and its issuer.
fn elsewhere(
    settings: &Settings,
    preset: &'static Preset,
) -> Result<(ProviderKind, String), ConfigError> {
    let issuer = issuer(settings, preset)?;
    let client_id = settings.text("identity.client_id").to_owned();
    if client_id.is_empty() {
        let problem = needed(preset, "set it to the client you made at your provider");
        return Err(settings.refuse("identity.client_id", problem));
    }
    if settings.was_written("identity.audience") && preset.name != "auth0" {
        let problem = "only \"auth0\" knows it: leave it out";
        return Err(settings.refuse("identity.audience", problem));
    }
    let scopes = scopes(settings, preset)?;
    let client_secret = secret(settings, "identity.client_secret", "identity.client_secret_file")?;
    let kind = match preset.protocol {
        PresetProtocol::OpenId(quirks) => ProviderKind::Oidc(OidcConfig {
            issuer: issuer.clone(),
            client_id,
            client_secret,
            scopes,
            parameters: parameters(settings)?,
            quirks,
        }),
        PresetProtocol::GitHub => {
            if settings.was_written("identity.prompt") {
                let problem = "GitHub knows no such thing: leave it out";
                return Err(settings.refuse("identity.prompt", problem));
            }
            let client_secret = client_secret.ok_or_else(|| {
                let problem = needed(preset, "generate one for your app there");
                settings.refuse("identity.client_secret_file", problem)
            })?;
            ProviderKind::GitHub(GitHubConfig {
                issuer: issuer.clone(),
                client_id,
                client_secret,
                scopes,
            })
        }
    };
    Ok((kind, issuer))
}

fn needed(preset: &Preset, remedy: &str) -> String {
    format!("provider {:?} needs it: {remedy}", preset.name)
}

/// What the operator wrote, or what the preset makes of what they wrote.
fn issuer(settings: &Settings, preset: &Preset) -> Result<String, ConfigError> {
    const ISSUER: &str = "identity.issuer";
    const TENANT: &str = "identity.tenant";
    let is_around = matches!(preset.issuer, PresetIssuer::Around { .. });
    if settings.was_written(TENANT) && !is_around {
        let problem = "this provider has no tenants: leave it out";
        return Err(settings.refuse(TENANT, problem));
    }
    if settings.was_written(TENANT) && settings.was_written(ISSUER) {
        return Err(settings.refuse(TENANT, "identity.issuer says it already: keep one of them"));
    }
    if !settings.text(ISSUER).is_empty() {
        return settings.parse(ISSUER, provider_issuer);
    }
    match preset.issuer {
        PresetIssuer::Fixed(issuer) => Ok(issuer.to_owned()),
        PresetIssuer::Written => {
            let remedy = "set it to the issuer of your provider's discovery document";
            Err(settings.refuse(ISSUER, needed(preset, remedy)))
        }
        PresetIssuer::Around { shape, before, after, what } => {
            let tenant = settings.text(TENANT);
            if tenant.is_empty() {
                return Err(settings.refuse(TENANT, needed(preset, &format!("write {what}"))));
            }
            if !shape.fits(tenant) {
                return Err(settings.refuse(TENANT, format!("it is no such thing: write {what}")));
            }
            Ok(format!("{before}{tenant}{after}"))
        }
    }
}

fn parameters(settings: &Settings) -> Result<Vec<(String, String)>, ConfigError> {
    if settings.was_written("identity.prompt") {
        choose(settings, "identity.prompt", &PROMPTS)?;
    }
    let written = |key| Some(settings.text(key).to_owned()).filter(|text| !text.is_empty());
    let audience = written("identity.audience").map(|audience| ("audience".to_owned(), audience));
    let prompt = written("identity.prompt").map(|prompt| ("prompt".to_owned(), prompt));
    Ok(audience.into_iter().chain(prompt).collect())
}

/// Core §3.1.2.1. With `none` nobody could log in.
const PROMPTS: [(&str, ()); 3] = [("login", ()), ("consent", ()), ("select_account", ())];

fn scopes(settings: &Settings, preset: &Preset) -> Result<Vec<String>, ConfigError> {
    const SCOPES: &str = "identity.scopes";
    if !settings.was_written(SCOPES) {
        return Ok(preset.scopes.iter().map(|scope| (*scope).to_owned()).collect());
    }
    let scopes = settings.list(SCOPES).to_vec();
    let is_openid = matches!(preset.protocol, PresetProtocol::OpenId(_));
    if is_openid && !scopes.iter().any(|scope| scope == "openid") {
        return Err(settings.refuse(SCOPES, "without \"openid\" nobody is identified: add it"));
    }
    if ScopeSet::of(scopes.iter().map(String::as_str)).iter().count() != scopes.len() {
        let problem = "one of them is no scope, or stands there twice: write each by itself, once";
        return Err(settings.refuse(SCOPES, problem));
    }
    Ok(scopes)
}

fn email_domains(settings: &Settings) -> Result<Vec<String>, ConfigError> {
    const DOMAINS: &str = "identity.email_domains";
    let domains = settings.list(DOMAINS);
    let is_plain = |domain: &&String| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        domain.contains('.') && !domain.starts_with('.') && domain.bytes().all(is_letter)
    };
    match domains.iter().find(|domain| !is_plain(domain)) {
        None => Ok(domains.to_vec()),
        Some(other) => {
            let problem = format!(
                "{other:?} is no domain: write what stands behind the @, as in corp.example"
            );
            Err(settings.refuse(DOMAINS, problem))
        }
    }
}

/// Whether the provider is asked again during a grant's life, and how often.
fn session(settings: &Settings) -> Result<SessionRule, ConfigError> {
    let follows = choose(settings, "identity.session", &SESSIONS)?;
    if !follows && settings.was_written("identity.recheck") {
        let problem = "nobody is asked again: leave it out, or set identity.session to \"follow\"";
        return Err(settings.refuse("identity.recheck", problem));
    }
    let recheck = life(settings, "identity.recheck", RECHECK_MAX)?;
    Ok(if follows { SessionRule::Follow { recheck } } else { SessionRule::LoginOnly })
}

const RECHECK_MAX: Duration = DAY;
const SESSIONS: [(&str, bool); 2] = [("follow", true), ("login-only", false)];
