//! The configuration as understood: every value checked, every reserved name refused, so that
//! nothing after this module has to doubt a setting.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use sekisho::authorization_server::{self, ConsentRule, Documents, Registration, Rotation};
use sekisho::front::{HostPolicy, OriginPolicy, TrustedProxies};
use sekisho::mcp::SessionLimits;
use sekisho::policy::Rules;
use sekisho::principal::WantedClaims;
use sekisho::protocol::Secret;
use sekisho::protocol::mcp::MemberName;
use sekisho::protocol::oauth::{
    HostList, Issuer, ProtectedResource, ProtectedResources, RedirectRule, ScopeSet, is_loopback,
};
use sekisho::store::sqlite::Durability;
use sekisho::store::{PostgresStore, REFRESH_GRACE_MAX, TableLimits};
use url::Url;

use super::clients::clients;
use super::duration;
use super::error::{ConfigError, Origin};
use super::external;
use super::identity::{IdentityConfig, believed, providers};
use super::introduction;
use super::read_text;
use super::rules;
use super::tls::{self, TlsConfig};
use super::upstream::{Upstream, check_members, upstream};
use super::written::{ConfigFile, Settings};
use crate::connections::ConnectionLimits;

/// Everything `serve` needs to know.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) public_url: Issuer,
    pub(crate) listen: SocketAddr,
    /// None where something in front of us ends TLS, or nobody.
    pub(crate) tls: Option<TlsConfig>,
    /// Where other instances reach this one, if that was said.
    pub(crate) fleet_listen: Option<SocketAddr>,
    /// Where metrics are shown, if anywhere.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// Where traces are sent, if anywhere.
    pub(crate) traces: Option<TracesConfig>,
    pub(crate) store: StoreLocation,
    pub(crate) durability: Durability,
    pub(crate) key_file: KeyFile,
    pub(crate) hosts: HostPolicy,
    pub(crate) origins: OriginPolicy,
    pub(crate) proxies: TrustedProxies,
    /// Whether their connections begin with a header of the PROXY protocol.
    pub(crate) proxy_protocol: ProxyProtocol,
    pub(crate) identity: IdentityConfig,
    pub(crate) authorization: authorization_server::Settings,
    /// How long a client that registered itself may be unused; `None` for ever.
    pub(crate) client_idle_ttl: Option<Duration>,
    pub(crate) servers: Vec<Server>,
    /// Those that have no endpoints: they are reached as part of another alone.
    pub(crate) members_only: Vec<Server>,
    /// What is kept of people beside who they are.
    pub(crate) claims: WantedClaims,
    pub(crate) connections_max: usize,
    pub(crate) connections_per_address_max: usize,
    pub(crate) tables: TableLimits,
    pub(crate) wrong_tokens_per_minute: NonZeroU32,
    pub(crate) sessions: SessionLimits,
    /// How long what is being worked on may take at the end.
    pub(crate) drain: Duration,
    pub(crate) log: LogConfig,
}

/// Where traces are sent, and of how many requests.
#[derive(Debug, Clone)]
pub(crate) struct TracesConfig {
    pub(crate) endpoint: Url,
    pub(crate) percent: u8,
}

/// Where things are remembered.
#[derive(Debug, Clone)]
pub(crate) enum StoreLocation {
    /// Nowhere: all is forgotten with the process.
    Memory,
    /// In this file.
    Sqlite(PathBuf),
    /// In the database of this URL, which holds a password.
    Postgres(Secret),
}

/// Where the sealing key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyFile {
    /// Nowhere: a memory store needs none that outlives it, unless one is named.
    Ephemeral,
    /// In this file, which is made if it is not there.
    At(PathBuf),
}

impl Config {
    /// How many connections may be open.
    pub(crate) fn connection_limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            most: self.connections_max,
            most_of_one: self.connections_per_address_max,
            proxies: self.proxies.clone(),
        }
    }

    /// Those with endpoints, and then those without.
    pub(crate) fn every_server(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().chain(&self.members_only)
    }
}

/// One guarded MCP server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its path is empty if it has no endpoints.
    pub(crate) resource: ProtectedResource,
    /// Who may do what; none where everybody may do all.
    pub(crate) rules: Option<Arc<Rules>>,
    pub(crate) upstream: Upstream,
}

impl Server {
    /// Whether a merged server means it by this name.
    pub(crate) fn is_called(&self, name: &MemberName) -> bool {
        self.resource.name == name.as_str()
    }
}

/// Whether the trusted proxies say by the PROXY protocol whose connection they pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyProtocol {
    /// They do, at the beginning of each.
    Spoken,
    /// They do, and what they name may be a trusted proxy that writes `X-Forwarded-For`.
    Chained,
    /// They do not.
    Unspoken,
}

/// What is logged, and how it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// In the grammar of `tracing_subscriber::EnvFilter`.
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
}

/// The look of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Pretty,
    /// For machines: one JSON object a line.
    Json,
}

/// Understands what was written.
///
/// # Errors
/// The first wrong setting, in the order of the file in the guide.
pub(super) fn understand(written: &ConfigFile) -> Result<Config, ConfigError> {
    let settings = &written.settings;
    let (public_url, listen) = addresses(settings)?;
    let tls = tls::tls(settings, &public_url)?;
    let is_external = choose(settings, "authorization.mode", &MODES)?;
    if is_external {
        external::refuse_foreign(written)?;
    } else {
        external::refuse_own(settings)?;
    }
    let store = if is_external {
        StoreLocation::Memory
    } else {
        settings.parse("store", |text| store_location(settings, text))?
    };
    let fleet_listen = fleet_listen(settings, &store)?;
    let durability = choose(settings, "durability", &DURABILITIES)?;
    let key_file = key_file(settings, &store)?;
    let (hosts, origins, proxies) = callers(settings, &public_url)?;
    let proxy_protocol = choose(settings, "proxy_protocol", &PROXY_PROTOCOLS)?;
    if proxy_protocol != ProxyProtocol::Unspoken && proxies.is_empty() {
        let problem = "nobody is believed: name the proxy in trusted_proxies";
        return Err(settings.refuse("proxy_protocol", problem));
    }
    let metrics_listen = metrics_listen(settings, listen)?;
    let traces = traces(settings)?;
    let drain = life(settings, "drain", DRAIN_MAX)?;
    let log = log(settings)?;
    let servers = ruled(written, servers(written, &public_url)?)?;
    let (reached, members_only): (Vec<_>, Vec<_>) = servers
        .into_iter()
        // The one that is there when none is written has no settings.
        .zip(written.servers.iter().map(Some).chain(std::iter::repeat(None)))
        .partition(|(server, _)| !server.resource.path.is_empty());
    let (servers, of_reached): (Vec<_>, Vec<_>) = reached.into_iter().unzip();
    let (members_only, of_members): (Vec<_>, Vec<_>) = members_only.into_iter().unzip();
    let in_this_order = of_reached.into_iter().chain(of_members);
    let identity = if is_external {
        IdentityConfig::External(external::external(settings, &public_url, &servers)?)
    } else {
        IdentityConfig::Providers(providers(written)?)
    };
    let mut authorization = authorization(settings, public_url.clone(), &servers)?;
    let every_server = || servers.iter().chain(&members_only);
    let claims = rules::claims(every_server(), identity.providers())
        .believing(believed(identity.providers()));
    let as_written = every_server().zip(in_this_order);
    let as_written = as_written.filter_map(|(server, there)| Some((server, there?)));
    introduction::check(settings, as_written, &identity)?;
    authorization.publishes_keys = every_server().any(|server| server.upstream.is_signed_for());
    authorization.id_jag_claims = claims.clone();
    authorization.clients = clients(&written.clients, &authorization.servers.scopes())?;
    let client_idle_ttl = life_or_for_ever(settings, "authorization.client_idle_ttl")?;
    let connections_max = number(settings, "limits.connections_max", 1..=1_000_000)?;
    let connections_per_address_max =
        number(settings, "limits.connections_per_address_max", 1..=1_000_000)?;
    let tables = TableLimits {
        clients_max: number(settings, "limits.clients_max", 1..=1_000_000_000)?,
        logins_max: number(settings, "limits.logins_max", 1..=1_000_000_000)?,
        ..TableLimits::default()
    };
    let wrong_tokens_per_minute = rate(settings, "limits.wrong_tokens_per_minute")?;
    let sessions = session_limits(settings)?;
    Ok(Config {
        public_url,
        listen,
        tls,
        fleet_listen,
        metrics_listen,
        traces,
        store,
        durability,
        key_file,
        hosts,
        origins,
        proxies,
        proxy_protocol,
        identity,
        authorization,
        client_idle_ttl,
        servers,
        members_only,
        claims,
        connections_max,
        connections_per_address_max,
        tables,
        wrong_tokens_per_minute,
        sessions,
        drain,
        log,
    })
}

/// What is written of the two names the other follows: a lone `listen` is at `http://localhost`, a
/// lone `public_url` on loopback is listened to.
fn addresses(settings: &Settings) -> Result<(Issuer, SocketAddr), ConfigError> {
    let listen = settings.parse("listen", socket_address)?;
    if !settings.was_written("public_url") {
        if listen.port() == 0 {
            let problem = "clients must know the port beforehand: name one, or set public_url";
            return Err(settings.refuse("listen", problem));
        }
        let public_url = Issuer::parse(&local_url(listen.port()))
            .map_err(|problem| settings.refuse("listen", problem))?;
        return Ok((public_url, listen));
    }
    let public_url = settings.parse("public_url", Issuer::parse)?;
    let inside = Url::parse(public_url.as_str()).ok().filter(is_loopback);
    match inside.as_ref().and_then(Url::port_or_known_default) {
        Some(port)
            if !settings.was_written("listen")
                && public_url.is_https() == tls::is_wanted(settings) =>
        {
            Ok((public_url, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
        }
        Some(_) | None => Ok((public_url, listen)),
    }
}

/// Browsers drop the default port, so that the issuer must not have it.
fn local_url(port: u16) -> String {
    if port == 80 { "http://localhost".to_owned() } else { format!("http://localhost:{port}") }
}

/// A setting that would be ignored is never what was meant.
fn fleet_listen(
    settings: &Settings,
    store: &StoreLocation,
) -> Result<Option<SocketAddr>, ConfigError> {
    if !settings.was_written("fleet_listen") {
        return Ok(None);
    }
    let address = settings.parse("fleet_listen", socket_address)?;
    match store {
        StoreLocation::Postgres(_) => Ok(Some(address)),
        StoreLocation::Memory | StoreLocation::Sqlite(_) => {
            let problem =
                "only with store = \"postgres://…\" are there other instances: leave it out";
            Err(settings.refuse("fleet_listen", problem))
        }
    }
}

/// Another address than that of clients, which anybody reaches.
fn metrics_listen(
    settings: &Settings,
    listen: SocketAddr,
) -> Result<Option<SocketAddr>, ConfigError> {
    if settings.text("metrics_listen").is_empty() {
        return Ok(None);
    }
    let address = settings.parse("metrics_listen", socket_address)?;
    if address == listen {
        let problem = "clients are served there: choose another port, that only you can reach";
        return Err(settings.refuse("metrics_listen", problem));
    }
    Ok(Some(address))
}

/// A URL without a path is that of the whole collector, as OTLP has it.
fn traces(settings: &Settings) -> Result<Option<TracesConfig>, ConfigError> {
    let percent = number(settings, "traces_percent", 0..=100)?;
    if settings.text("traces_endpoint").is_empty() {
        return Ok(None);
    }
    let mut endpoint = settings.parse("traces_endpoint", |text| {
        Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .filter(|url| url.username().is_empty() && url.password().is_none())
            .ok_or("it is no URL of a collector: write for example \"http://127.0.0.1:4318\"")
    })?;
    if endpoint.path() == "/" {
        endpoint.set_path("/v1/traces");
    }
    Ok(Some(TracesConfig { endpoint, percent }))
}

fn socket_address(text: &str) -> Result<SocketAddr, &'static str> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    text.parse().map_err(|_| {
        "it is not an address and a port: write for example \"127.0.0.1:8000\", or \
         \"0.0.0.0:8000\" for every network"
    })
}

fn store_location(settings: &Settings, text: &str) -> Result<StoreLocation, String> {
    if text == "memory:" {
        return Ok(StoreLocation::Memory);
    }
    if text.starts_with("postgres:") || text.starts_with("postgresql:") {
        let url = Secret::new(text);
        PostgresStore::check_url(&url).map_err(|error| error.to_string())?;
        return Ok(StoreLocation::Postgres(url));
    }
    let remedy = "write \"sqlite:sekisho.db\", \"postgres://…\" or \"memory:\"";
    match text.strip_prefix("sqlite:") {
        Some(":memory:" | "memory:") => Err("write \"memory:\" for that".to_owned()),
        Some(path) if path.starts_with("//") => {
            let path = path.trim_start_matches('/');
            Err(format!("it is no URL: write \"sqlite:{path}\" or \"sqlite:/{path}\""))
        }
        Some("") => Err(format!("it names no file: {remedy}")),
        Some(path) if path.contains(['?', '\0']) => {
            Err("it has parameters: only a path can follow \"sqlite:\"".to_owned())
        }
        Some(path) => Ok(StoreLocation::Sqlite(settings.resolve("store", path))),
        None => Err(format!("it is no store: {remedy}")),
    }
}

fn key_file(settings: &Settings, store: &StoreLocation) -> Result<KeyFile, ConfigError> {
    if settings.text("key_file").is_empty() {
        return Err(settings.refuse("key_file", "it names no file: write a path"));
    }
    match store {
        StoreLocation::Memory if !settings.was_written("key_file") => Ok(KeyFile::Ephemeral),
        StoreLocation::Memory | StoreLocation::Sqlite(_) | StoreLocation::Postgres(_) => {
            Ok(KeyFile::At(settings.path("key_file")))
        }
    }
}

fn callers(
    settings: &Settings,
    public_url: &Issuer,
) -> Result<(HostPolicy, OriginPolicy, TrustedProxies), ConfigError> {
    let hosts = HostPolicy::new(public_url, settings.list("allowed_hosts"))
        .map_err(|problem| settings.refuse("allowed_hosts", problem))?;
    let origins = OriginPolicy::new(public_url, settings.list("allowed_origins"))
        .map_err(|problem| settings.refuse("allowed_origins", problem))?;
    let networks = settings.list("trusted_proxies").iter().map(|text| network(text));
    let networks: Result<Vec<_>, _> = networks.collect();
    let networks = networks.map_err(|problem| settings.refuse("trusted_proxies", problem))?;
    Ok((hosts, origins, TrustedProxies::new(networks)))
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("{text:?} is no network: write for example \"10.0.0.0/8\""))?;
    match network {
        network if network.prefix_len() == 0 => {
            Err(format!("{text:?} is everybody: list the proxies you run"))
        }
        network => Ok(network),
    }
}

fn log(settings: &Settings) -> Result<LogConfig, ConfigError> {
    let filter = settings.parse("log", |text| match crate::telemetry::check_filter(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(problem) => Err(format!("{problem}: write for example \"info\" or \"sekisho=debug\"")),
    })?;
    Ok(LogConfig { filter, format: choose(settings, "log_format", &LOG_FORMATS)? })
}

/// Plain http to the provider is for loopback only, as it is for ourselves.
pub(super) fn provider_issuer(text: &str) -> Result<String, &'static str> {
    const NO_URL: &str =
        "it is no issuer: write for example \"https://sso.example.com/realms/main\"";
    let url = Url::parse(text).map_err(|_| NO_URL)?;
    if url.host().is_none() || url.query().is_some() || url.fragment().is_some() {
        return Err(NO_URL);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has a user name or password: leave them out");
    }
    match url.scheme() {
        "https" => Ok(text.to_owned()),
        "http" if is_loopback(&url) => Ok(text.to_owned()),
        "http" => Err("plain http is for loopback only: use https"),
        _ => Err(NO_URL),
    }
}

/// A secret written in place or in a file of its own; not both.
pub(super) fn secret(
    settings: &Settings,
    key: &str,
    file_key: &str,
) -> Result<Option<Secret>, ConfigError> {
    if settings.was_written(key) && settings.was_written(file_key) {
        return Err(settings.refuse(file_key, format!("{key} is set as well: keep one of them")));
    }
    if settings.was_written(file_key) {
        let path = settings.path(file_key);
        let text = read_text(&path).map_err(|error| {
            settings.refuse(file_key, format!("cannot read it ({error}): name a readable file"))
        })?;
        let secret = Secret::new(text.trim_end_matches(['\r', '\n']));
        return if secret.reveal().is_empty() {
            Err(settings.refuse(file_key, "the file is empty: write the secret into it"))
        } else {
            Ok(Some(secret))
        };
    }
    match settings.secret(key) {
        Some(secret) if secret.reveal().is_empty() => {
            Err(settings.refuse(key, "it is empty: write the secret or leave it out"))
        }
        Some(secret) => Ok(Some(secret.clone())),
        None => Ok(None),
    }
}

/// The guarded servers; without any the built-in one at `/`.
fn servers(written: &ConfigFile, public_url: &Issuer) -> Result<Vec<Server>, ConfigError> {
    if written.servers.is_empty() {
        let scopes = ScopeSet::of(["fortune"]);
        let resource = ProtectedResource::new(public_url, "fortune", "/", scopes);
        return Ok(vec![Server { resource, rules: None, upstream: Upstream::Fortune }]);
    }
    let mut servers: Vec<Server> = Vec::new();
    for (origin, settings) in &written.servers {
        let server = server(origin, settings, public_url, &written.environment)?;
        let (name, path) = (&server.resource.name, &server.resource.path);
        if servers.iter().any(|other| other.resource.name == *name) {
            return Err(settings.refuse("name", "another [[server]] has it: choose another name"));
        }
        let has_endpoints = !path.is_empty();
        if has_endpoints && servers.iter().any(|other| other.resource.path == *path) {
            let key = if settings.was_written("path") { "path" } else { "name" };
            let problem = format!("another [[server]] is at {path:?}: choose another path");
            return Err(settings.refuse(key, problem));
        }
        let endpoints = endpoints(path);
        let collides = servers.iter().any(|other| {
            self::endpoints(&other.resource.path).iter().any(|at| endpoints.contains(at))
        });
        if has_endpoints && collides {
            return Err(settings.refuse("path", "it collides with another [[server]]: move one"));
        }
        servers.push(server);
    }
    check_members(&written.servers, &servers)?;
    Ok(servers)
}

/// The same servers with their rules, and the scopes that those ask for.
fn ruled(written: &ConfigFile, servers: Vec<Server>) -> Result<Vec<Server>, ConfigError> {
    rules::check_names(&written.rules, &servers)?;
    let mut all = Vec::new();
    for server in servers {
        let rules = rules::rules(&written.rules, &server)?.map(Arc::new);
        all.push(Server { rules, ..server });
    }
    // Through a merged server the rules of its members are asked too.
    let scopes: Vec<ScopeSet> = all.iter().map(|server| asked_for(server, &all)).collect();
    for (server, scopes) in all.iter_mut().zip(scopes) {
        server.resource = server.resource.clone().with_more_scopes(&scopes);
    }
    Ok(all)
}

/// Every scope that a rule wants which is asked about this server.
fn asked_for(server: &Server, servers: &[Server]) -> ScopeSet {
    let members = servers
        .iter()
        .filter(|other| server.upstream.members().iter().any(|name| other.is_called(name)));
    let rules = std::iter::once(server).chain(members).filter_map(|one| one.rules.as_ref());
    let scopes: Vec<ScopeSet> = rules.map(|rules| rules.scopes()).collect();
    ScopeSet::of(scopes.iter().flat_map(ScopeSet::iter))
}

fn server(
    origin: &Origin,
    settings: &Settings,
    public_url: &Issuer,
    environment: &[(OsString, OsString)],
) -> Result<Server, ConfigError> {
    if !settings.was_written("name") {
        let problem = "a [[server]] needs a name: write for example name = \"fortune\"";
        return Err(ConfigError::at(origin, "name", None, problem));
    }
    let name = settings.parse("name", server_name)?;
    let path = if settings.was_written("path") && settings.text("path").is_empty() {
        String::new()
    } else if settings.was_written("path") {
        settings.parse("path", server_path)?
    } else {
        server_path(&format!("/{name}")).map_err(|problem| settings.refuse("name", problem))?
    };
    if path.is_empty() && settings.was_written("scopes") {
        let problem = "without a path nobody is asked for them: leave them out";
        return Err(settings.refuse("scopes", problem));
    }
    let scopes = if settings.was_written("scopes") {
        server_scopes(settings.list("scopes"))
            .map_err(|problem| settings.refuse("scopes", problem))?
    } else {
        ScopeSet::of([name.as_str()])
    };
    let upstream = upstream(origin, settings, environment)?;
    let resource = ProtectedResource::new(public_url, &name, &path, scopes);
    Ok(Server { resource, rules: None, upstream })
}

pub(super) fn server_name(text: &str) -> Result<String, &'static str> {
    let is_name = !text.is_empty()
        && text.len() <= 63
        && !text.starts_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_name {
        Ok(text.to_owned())
    } else {
        Err("it is no name: write lower-case letters, digits and dashes, at most 63")
    }
}

/// With a slash at both ends, and clear of our own endpoints.
fn server_path(text: &str) -> Result<String, String> {
    if text == "/" {
        return Ok("/".to_owned());
    }
    let Some(inside) = text.strip_prefix('/') else {
        return Err(format!("it must begin with a slash: write \"/{text}\""));
    };
    if let Some(remedy) = text.strip_suffix('/') {
        return Err(format!("it ends with a slash: write {remedy:?}"));
    }
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    if !inside.split('/').all(is_segment) {
        return Err("it is no plain path: write letters, digits, dashes and slashes".to_owned());
    }
    let first = inside.split('/').next().unwrap_or_default();
    if OUR_PATHS.contains(&first) {
        return Err(format!("sekisho's own endpoints are at \"/{first}\": choose another path"));
    }
    Ok(format!("{text}/"))
}

/// What we serve ourselves, by first segment.
const OUR_PATHS: [&str; 19] = [
    ".well-known",
    "account",
    "assets",
    "auth",
    "authorize",
    "consent",
    "healthz",
    "introspect",
    "jwks.json",
    "login",
    "logout",
    "mcp",
    "messages",
    "metrics",
    "readyz",
    "register",
    "revoke",
    "sse",
    "token",
];

fn endpoints(path: &str) -> [String; 3] {
    ["mcp", "sse", "messages"].map(|endpoint| format!("{path}{endpoint}"))
}

fn server_scopes(texts: &[String]) -> Result<ScopeSet, &'static str> {
    let scopes = ScopeSet::of(texts.iter().map(String::as_str));
    if scopes.is_empty() {
        return Err("a server needs at least one scope: write for example [\"fortune\"]");
    }
    if scopes.iter().count() == texts.len() {
        Ok(scopes)
    } else {
        Err("one of them is no scope, or stands there twice: write each by itself, once")
    }
}

/// What the authorization server goes by.
fn authorization(
    settings: &Settings,
    public_url: Issuer,
    servers: &[Server],
) -> Result<authorization_server::Settings, ConfigError> {
    let resources = servers.iter().map(|server| server.resource.clone()).collect();
    let mut understood =
        authorization_server::Settings::new(public_url, ProtectedResources::new(resources));
    understood.registration = registration(settings)?;
    understood.consent = choose(settings, "authorization.consent", &CONSENTS)?;
    understood.id_jag_issuers = id_jag_issuers(settings)?;
    understood.code_ttl = life(settings, "authorization.code_ttl", 10 * MINUTE)?;
    understood.access_token_ttl = life(settings, "authorization.access_token_ttl", 30 * DAY)?;
    understood.refresh_token_ttl = life(settings, "authorization.refresh_token_ttl", 3_650 * DAY)?;
    understood.refresh_grace =
        match settings.parse("authorization.refresh_grace", duration::parse)? {
            Duration::ZERO => Duration::ZERO,
            _ => life(settings, "authorization.refresh_grace", REFRESH_GRACE_MAX)?,
        };
    understood.rotation = choose(settings, "authorization.rotation", &ROTATIONS)?;
    understood.client_secret_ttl = life_or_for_ever(settings, "authorization.client_secret_ttl")?;
    understood.documents = documents(settings)?;
    understood.redirects = redirects(settings)?;
    understood.fetches_per_minute = rate(settings, "limits.document_fetches_per_minute")?;
    understood.failures_per_minute = rate(settings, "limits.failures_per_minute")?;
    understood.pages_per_minute = rate(settings, "limits.pages_per_minute")?;
    understood.calls_per_minute = rate(settings, "limits.calls_per_minute")?;
    understood.registrations_per_minute = rate(settings, "limits.registrations_per_minute")?;
    understood.logins_per_minute = rate(settings, "limits.logins_per_minute")?;
    understood.refreshes_per_minute = rate(settings, "limits.refreshes_per_minute")?;
    Ok(understood)
}

/// Who may vouch for people.
fn id_jag_issuers(settings: &Settings) -> Result<Vec<String>, ConfigError> {
    const ISSUERS: &str = "authorization.id_jag_issuers";
    let issuers = settings.list(ISSUERS).iter().map(|text| provider_issuer(text));
    issuers.collect::<Result<_, _>>().map_err(|problem| settings.refuse(ISSUERS, problem))
}

/// Clients that are known by a document, and whose documents.
fn documents(settings: &Settings) -> Result<Documents, ConfigError> {
    const LISTS: [&str; 2] =
        ["authorization.cimd_allowed_hosts", "authorization.cimd_denied_hosts"];
    let hosts = |key| host_list(settings, key);
    if choose(settings, "authorization.cimd", &[("on", true), ("off", false)])? {
        let [allowed, denied] = LISTS.map(hosts);
        return Ok(Documents::On { allowed: allowed?, denied: denied? });
    }
    match LISTS.into_iter().find(|key| settings.was_written(key)) {
        None => Ok(Documents::Off),
        Some(key) => {
            let problem = "nobody is asked for it: set authorization.cimd to \"on\"";
            Err(settings.refuse(key, problem))
        }
    }
}

/// Which redirect URIs clients may have that the operator did not write down.
fn redirects(settings: &Settings) -> Result<RedirectRule, ConfigError> {
    let switch = [("on", false), ("off", true)];
    Ok(RedirectRule {
        refuses_private_use: choose(settings, "authorization.private_use_redirects", &switch)?,
        hosts: host_list(settings, "authorization.redirect_hosts")?,
    })
}

fn host_list(settings: &Settings, key: &str) -> Result<HostList, ConfigError> {
    HostList::parse(settings.list(key)).map_err(|entry| {
        let remedy = "write for example \"app.example\" or \"*.app.example\"";
        settings.refuse(key, format!("{entry:?} is no host name: {remedy}"))
    })
}

fn registration(settings: &Settings) -> Result<Registration, ConfigError> {
    const TOKEN: &str = "authorization.registration_token";
    const TOKEN_FILE: &str = "authorization.registration_token_file";
    let rule = settings.text("authorization.registration");
    let token = secret(settings, TOKEN, TOKEN_FILE)?;
    match (rule, token) {
        ("open", None) => Ok(Registration::Open),
        ("off", None) => Ok(Registration::Off),
        ("token", Some(token)) if token.reveal().len() < REGISTRATION_TOKEN_BYTES_MIN => {
            let key = if settings.was_written(TOKEN) { TOKEN } else { TOKEN_FILE };
            let problem = format!(
                "it is too short to be secret: use at least {REGISTRATION_TOKEN_BYTES_MIN} \
                 characters, for example from \"openssl rand -hex 32\""
            );
            Err(settings.refuse(key, problem))
        }
        ("token", Some(token)) => Ok(Registration::Token(token)),
        ("token", None) => {
            let problem = format!("it needs a token: set {TOKEN_FILE}");
            Err(settings.refuse("authorization.registration", problem))
        }
        ("open" | "off", Some(_)) => {
            let key = if settings.was_written(TOKEN) { TOKEN } else { TOKEN_FILE };
            let problem = "nobody is asked for it: set authorization.registration to \"token\"";
            Err(settings.refuse(key, problem))
        }
        (_, _) => {
            let problem = "there is no such rule: write \"open\", \"token\" or \"off\"";
            Err(settings.refuse("authorization.registration", problem))
        }
    }
}

fn session_limits(settings: &Settings) -> Result<SessionLimits, ConfigError> {
    Ok(SessionLimits {
        sessions_max: number(settings, "limits.sessions_max", 1..=10_000_000)?,
        sessions_per_person_max: number(
            settings,
            "limits.sessions_per_person_max",
            1..=10_000_000,
        )?,
        idle: life(settings, "limits.session_idle", 30 * DAY)?,
        body_bytes_max: number(settings, "limits.body_bytes_max", 1024..=1024 * 1024 * 1024)?,
        ..SessionLimits::default()
    })
}

/// One of a few words.
pub(super) fn choose<T: Clone>(
    settings: &Settings,
    key: &str,
    choices: &[(&str, T)],
) -> Result<T, ConfigError> {
    settings.parse(key, |text| {
        let found = choices.iter().find(|(word, _)| *word == text);
        found.map(|(_, meaning)| meaning.clone()).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
            format!("it is not one of the choices: write {}", words.join(" or "))
        })
    })
}

/// A length of time from a second to `most`.
pub(super) fn life(
    settings: &Settings,
    key: &str,
    most: Duration,
) -> Result<Duration, ConfigError> {
    settings.parse(key, |text| match duration::parse(text) {
        Ok(life) if (Duration::from_secs(1)..=most).contains(&life) => Ok(life),
        Ok(_) => {
            Err(format!("it is out of range: write from \"1s\" to {:?}", duration::show(most)))
        }
        Err(problem) => Err(problem.to_string()),
    })
}

/// A length of time up to ten years; `0` is for ever.
fn life_or_for_ever(settings: &Settings, key: &str) -> Result<Option<Duration>, ConfigError> {
    match settings.parse(key, duration::parse)? {
        Duration::ZERO => Ok(None),
        _ => life(settings, key, 3_650 * DAY).map(Some),
    }
}

/// A number in a range.
fn number<T: TryFrom<u64>>(
    settings: &Settings,
    key: &str,
    range: RangeInclusive<u64>,
) -> Result<T, ConfigError> {
    let number = settings.number(key);
    let fitting = range.contains(&number).then(|| T::try_from(number).ok()).flatten();
    fitting.ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        settings.refuse(key, format!("it is out of range: write from {least} to {most}"))
    })
}

fn rate(settings: &Settings, key: &str) -> Result<NonZeroU32, ConfigError> {
    let per_minute: u32 = number(settings, key, 1..=1_000_000)?;
    Ok(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN))
}

const MINUTE: Duration = Duration::from_mins(1);
pub(super) const DAY: Duration = Duration::from_hours(24);
const REGISTRATION_TOKEN_BYTES_MIN: usize = 16;

const DRAIN_MAX: Duration = Duration::from_hours(1);
const MODES: [(&str, bool); 2] = [("delegated", false), ("external", true)];
const DURABILITIES: [(&str, Durability); 2] =
    [("normal", Durability::Normal), ("full", Durability::Full)];
const CONSENTS: [(&str, ConsentRule); 2] =
    [("always", ConsentRule::Always), ("remember", ConsentRule::Remember)];
const ROTATIONS: [(&str, Rotation); 2] =
    [("always", Rotation::Always), ("off", Rotation::PublicClients)];
const PROXY_PROTOCOLS: [(&str, ProxyProtocol); 3] = [
    ("on", ProxyProtocol::Spoken),
    ("chained", ProxyProtocol::Chained),
    ("off", ProxyProtocol::Unspoken),
];
const LOG_FORMATS: [(&str, LogFormat); 2] =
    [("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
