//! Requests, by what they asked for and how that came out. A path that is not ours is `other`, whatever it is.
//!
//! Each series is looked up once and then kept at its place, so that a request costs two additions.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use http::{Method, StatusCode};
use metrics::{Counter, Histogram};

use super::table::{REQUEST_SECONDS, REQUESTS, Value};

/// What there is to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Mcp,
    Sse,
    Messages,
    Authorize,
    Consent,
    Callback,
    Login,
    Logout,
    ProviderLogout,
    Account,
    Token,
    Register,
    Revoke,
    Introspect,
    Metadata,
    Health,
    Other,
}

const ROUTES: usize = Route::Other as usize + 1;

/// Methods that somebody here answers; all others are one.
const METHODS: [&str; 7] = ["GET", "POST", "DELETE", "OPTIONS", "HEAD", "PUT", "other"];

/// By the first digit.
const STATUSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Every series of requests, those that were needed so far.
pub(crate) struct Requests {
    answered: Box<[OnceLock<Counter>]>,
    took: Box<[OnceLock<Histogram>]>,
}

impl Default for Requests {
    fn default() -> Self {
        let places = ROUTES * METHODS.len() * STATUSES.len();
        Self {
            answered: (0..places).map(|_| OnceLock::new()).collect(),
            took: (0..ROUTES).map(|_| OnceLock::new()).collect(),
        }
    }
}

impl Requests {
    /// A request for `path` was answered. `is_mcp`: the path is one of a guarded server.
    pub(crate) fn answered(
        &self,
        (method, path, is_mcp): (&Method, &str, bool),
        status: StatusCode,
        took: Duration,
    ) {
        let route = Route::of(path, is_mcp);
        let method = METHODS.iter().position(|known| *known == method.as_str());
        let method = method.unwrap_or(METHODS.len() - 1);
        let status = match usize::from(status.as_u16() / 100) {
            first @ 1..=5 => first,
            _ => 0,
        };
        let place = (route as usize * METHODS.len() + method) * STATUSES.len() + status;
        if let Some(place) = self.answered.get(place) {
            place.get_or_init(|| counter(route, method, status)).increment(1);
        }
        if let Some(place) = self.took.get(route as usize) {
            let histogram = || REQUEST_SECONDS.histogram([Value::from(route.as_str())]);
            place.get_or_init(histogram).record(took);
        }
    }
}

/// What was asked for and how, in words of ours.
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
}

impl Asked {
    pub(crate) fn of(method: &Method, path: &str, is_mcp: bool) -> Self {
        let known = METHODS.iter().find(|known| **known == method.as_str());
        Self { method: known.unwrap_or(&"other"), route: Route::of(path, is_mcp).as_str() }
    }
}

fn counter(route: Route, method: usize, status: usize) -> Counter {
    let word = |words: &[&'static str], at| words.get(at).copied().unwrap_or("other");
    let values = [route.as_str(), word(&METHODS, method), word(&STATUSES, status)];
    REQUESTS.counter(values.map(Value::from))
}

impl Route {
    fn of(path: &str, is_mcp: bool) -> Self {
        if is_mcp {
            // Before it stands the name of the server.
            return match path.rsplit('/').next() {
                Some("sse") => Self::Sse,
                Some("messages") => Self::Messages,
                Some(_) | None => Self::Mcp,
            };
        }
        match path {
            "/authorize" => Self::Authorize,
            "/consent" => Self::Consent,
            "/auth/callback" => Self::Callback,
            "/login" => Self::Login,
            "/logout" => Self::Logout,
            "/auth/logout" => Self::ProviderLogout,
            "/token" => Self::Token,
            "/register" => Self::Register,
            "/revoke" => Self::Revoke,
            "/introspect" => Self::Introspect,
            "/account" | "/account/login" => Self::Account,
            "/healthz" | "/healthz/stream" | "/readyz" => Self::Health,
            "/jwks.json" => Self::Metadata,
            _ if path.starts_with("/.well-known/") => Self::Metadata,
            _ => Self::Other,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Mcp => "mcp",
            Self::Sse => "sse",
            Self::Messages => "messages",
            Self::Authorize => "authorize",
            Self::Consent => "consent",
            Self::Callback => "callback",
            Self::Login => "login",
            Self::Logout => "logout",
            Self::ProviderLogout => "provider_logout",
            Self::Account => "account",
            Self::Token => "token",
            Self::Register => "register",
            Self::Revoke => "revoke",
            Self::Introspect => "introspect",
            Self::Metadata => "metadata",
            Self::Health => "health",
            Self::Other => "other",
        }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}
