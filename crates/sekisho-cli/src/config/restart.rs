//! Which settings a running server cannot turn to: what it was opened with, and what everything it has
//! issued is named after.

use super::identity::IdentityConfig;
use super::understood::{Config, StoreLocation, TracesConfig};

/// The names of those that differ.
pub(crate) fn needing_restart(former: &Config, now: &Config) -> Vec<&'static str> {
    let differs = [
        ("public_url", former.public_url != now.public_url),
        ("listen", former.listen != now.listen),
        ("tls", former.tls != now.tls),
        ("proxy_protocol", former.proxy_protocol != now.proxy_protocol),
        ("store", !is_same_store(&former.store, &now.store)),
        ("durability", former.durability != now.durability),
        ("key_file", former.key_file != now.key_file),
        ("fleet_listen", former.fleet_listen != now.fleet_listen),
        ("metrics_listen", former.metrics_listen != now.metrics_listen),
        ("traces_endpoint", traced(former, |to| &to.endpoint) != traced(now, |to| &to.endpoint)),
        ("traces_percent", traced(former, |to| &to.percent) != traced(now, |to| &to.percent)),
        ("log", former.log.filter != now.log.filter),
        ("log_format", former.log.format != now.log.format),
        ("authorization.mode", is_external(former) != is_external(now)),
        ("limits.body_bytes_max", is_other_at_the_door(former, now)),
        ("limits.clients_max", former.tables.clients_max != now.tables.clients_max),
        ("limits.logins_max", former.tables.logins_max != now.tables.logins_max),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

fn traced<T>(config: &Config, what: impl FnOnce(&TracesConfig) -> &T) -> Option<&T> {
    config.traces.as_ref().map(what)
}

/// Where there may be other instances, how much they may pass on is said once, when the door opens.
fn is_other_at_the_door(former: &Config, now: &Config) -> bool {
    matches!(now.store, StoreLocation::Postgres(_))
        && former.sessions.body_bytes_max != now.sessions.body_bytes_max
}

fn is_external(config: &Config) -> bool {
    matches!(config.identity, IdentityConfig::External(_))
}

fn is_same_store(one: &StoreLocation, other: &StoreLocation) -> bool {
    match (one, other) {
        (StoreLocation::Memory, StoreLocation::Memory) => true,
        (StoreLocation::Sqlite(one), StoreLocation::Sqlite(other)) => one == other,
        (StoreLocation::Postgres(one), StoreLocation::Postgres(other)) => {
            one.matches(&other.hash())
        }
        (StoreLocation::Memory | StoreLocation::Sqlite(_) | StoreLocation::Postgres(_), _) => false,
    }
}
