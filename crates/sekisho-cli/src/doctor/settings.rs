//! Settings that are understood and still rarely what was meant.

use std::path::Path;

use url::{Host, Url};

use super::finding::{Finding, quoted};
use crate::config::{Config, IdentityConfig, StoreLocation};

const ABOUT: &str = "settings";

/// Folders that are emptied without asking.
const TEMPORARY: [&str; 4] = ["/tmp", "/var/tmp", "/dev/shm", "/run"];

/// Descriptors that a server needs beside its connections: store, log, children, provider.
const OTHER_DESCRIPTORS: u64 = 256;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let risky: Vec<_> =
        [proxies(config), open_port(config), limits(config), descriptors(config), store(config)]
            .into_iter()
            .flatten()
            .collect();
    if !risky.is_empty() {
        return risky;
    }
    vec![Finding::ok(ABOUT, format!("understood; public_url is {}", config.public_url.as_str()))]
}

/// Limits count by address, and behind an unknown proxy everybody has the proxy's.
fn proxies(config: &Config) -> Option<Finding> {
    let is_behind_a_proxy = config.public_url.is_https() && config.tls.is_none();
    (is_behind_a_proxy && config.proxies.is_empty()).then(|| {
        Finding::warning(
            ABOUT,
            "public_url is https and trusted_proxies is empty: all callers count as one address for \
             every limit",
            "name the address of the reverse proxy in trusted_proxies, for example [\"127.0.0.1\"]",
        )
    })
}

fn open_port(config: &Config) -> Option<Finding> {
    let is_for_here = Url::parse(config.public_url.as_str()).is_ok_and(|url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    });
    (is_for_here && !config.listen.ip().is_loopback()).then(|| {
        Finding::warning(
            ABOUT,
            format!(
                "listen = \"{}\" opens the port to others, in clear, though public_url is for \
                     this machine alone",
                config.listen
            ),
            format!(
                "set listen to \"127.0.0.1:{}\", or public_url to the https URL of your reverse \
                     proxy",
                config.listen.port()
            ),
        )
    })
}

fn limits(config: &Config) -> Option<Finding> {
    (config.connections_per_address_max >= config.connections_max).then(|| {
        Finding::warning(
            ABOUT,
            format!(
                "limits.connections_per_address_max ({}) lets one address take all {} connections",
                config.connections_per_address_max, config.connections_max
            ),
            "set it to a tenth of limits.connections_max",
        )
    })
}

#[cfg(unix)]
fn descriptors(config: &Config) -> Option<Finding> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let has = limit.current?;
    let needs = u64::try_from(config.connections_max).unwrap_or(u64::MAX) + OTHER_DESCRIPTORS;
    (has < needs).then(|| {
        Finding::warning(
            ABOUT,
            format!(
                "limits.connections_max is {}, and a process started from here may have {has} files \
                 open",
                config.connections_max
            ),
            format!(
                "raise it where the server is started (ulimit -n {needs}, LimitNOFILE={needs}), or \
                 lower limits.connections_max"
            ),
        )
    })
}

#[cfg(not(unix))]
fn descriptors(_: &Config) -> Option<Finding> {
    None
}

fn store(config: &Config) -> Option<Finding> {
    match (&config.store, &config.identity) {
        (StoreLocation::Memory, IdentityConfig::Providers(_)) => Some(Finding::warning(
            ABOUT,
            "store = \"memory:\" forgets every client, login and token when the server stops",
            "set store to \"sqlite:sekisho.db\"",
        )),
        (StoreLocation::Sqlite(path), _) if is_temporary(path) => Some(Finding::warning(
            ABOUT,
            format!("store {} is in a folder that is emptied without asking", quoted(path)),
            "set store to a file in a folder of its own, for example \"sqlite:/var/lib/sekisho/sekisho.db\"",
        )),
        (StoreLocation::Memory | StoreLocation::Sqlite(_) | StoreLocation::Postgres(_), _) => None,
    }
}

fn is_temporary(path: &Path) -> bool {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    TEMPORARY.iter().any(|folder| path.starts_with(folder))
}
