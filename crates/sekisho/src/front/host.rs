//! Which names this server answers to (RFC 9110 §7.2): a list, so that a page that rebinds its own
//! name to our address gets nothing. No URL is ever made from the Host header.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::uri::Authority;
use http::{HeaderMap, StatusCode, Uri, header};
use sekisho_protocol::oauth::Issuer;

/// The authorities that a request may name, in every spelling a client may use.
#[derive(Debug, Clone)]
pub struct HostPolicy {
    spellings: Vec<String>,
}

/// Why a request's host is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostRefusal {
    /// Neither a `Host` header nor an authority in the request line.
    #[error("the request names no host")]
    Missing,
    /// More than one `Host` header (RFC 9112 §3.2).
    #[error("the request has several Host headers")]
    Doubled,
    /// Not an authority.
    #[error("the request's Host is malformed")]
    Malformed,
    /// The request line and the `Host` header disagree.
    #[error("the request line and the Host header name different hosts")]
    Contradictory,
    /// Well formed, but no name of ours.
    #[error("this host name is not served here")]
    NotServed,
}

impl HostRefusal {
    /// 400, or 421 where another server might be meant (RFC 9110 §15.5.20).
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Missing | Self::Doubled | Self::Malformed | Self::Contradictory => {
                StatusCode::BAD_REQUEST
            }
            Self::NotServed => StatusCode::MISDIRECTED_REQUEST,
        }
    }
}

/// A configured host is not `name` or `name:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a host name with an optional port: write for example \"mcp.internal:8000\"")]
pub struct MalformedHost;

impl HostPolicy {
    /// Answers to the authority of `public_url` (if that is loopback, to every name of loopback
    /// with its port) and to `allowed`, each `name` or `name:port` as a `Host` header spells it.
    ///
    /// # Errors
    /// When an entry of `allowed` is not an authority.
    pub fn new(public_url: &Issuer, allowed: &[String]) -> Result<Self, MalformedHost> {
        let default_port = if public_url.is_https() { 443 } else { 80 };
        let (own, port) = parse(public_url.authority()).ok_or(MalformedHost)?;
        let port = port.unwrap_or(default_port);
        let mut policy = Self { spellings: Vec::new() };
        policy.admit(own, port, default_port);
        if LOOPBACK_NAMES.contains(&own) || is_loopback_address(own) {
            for name in LOOPBACK_NAMES {
                policy.admit(name, port, default_port);
            }
        }
        for text in allowed {
            let (host, port) = parse(text).ok_or(MalformedHost)?;
            policy.admit(host, port.unwrap_or(default_port), default_port);
        }
        Ok(policy)
    }

    fn admit(&mut self, host: &str, port: u16, default_port: u16) {
        self.spellings.push(format!("{host}:{port}"));
        if port == default_port {
            self.spellings.push(host.to_owned());
        }
    }

    /// Judges the host that a request names: by `Host` (HTTP/1), by `:authority` or an absolute
    /// request target (which both arrive in `uri`).
    ///
    /// # Errors
    /// One [`HostRefusal`] for each way to be wrong.
    pub fn judge(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), HostRefusal> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let named = hosts.next();
        if hosts.next().is_some() {
            return Err(HostRefusal::Doubled);
        }
        let named = match named {
            Some(value) => Some(value.to_str().map_err(|_| HostRefusal::Malformed)?),
            None => None,
        };
        match (named, uri.authority().map(Authority::as_str)) {
            (None, None) => Err(HostRefusal::Missing),
            (Some(one), None) | (None, Some(one)) => self.judge_name(one),
            (Some(named), Some(target)) if named.eq_ignore_ascii_case(target) => {
                self.judge_name(named)
            }
            (Some(_), Some(_)) => Err(HostRefusal::Contradictory),
        }
    }

    fn judge_name(&self, name: &str) -> Result<(), HostRefusal> {
        if self.spellings.iter().any(|spelling| spelling.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        Err(if parse(name).is_some() { HostRefusal::NotServed } else { HostRefusal::Malformed })
    }
}

/// `host` or `host:port`: no userinfo, no percent-encoding, no wildcard.
fn parse(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port = match port {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        Some(_) => return None,
        None => None,
    };
    (is_name(host) || is_bracketed_ipv6(host)).then_some((host, port))
}

fn is_name(host: &str) -> bool {
    !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

fn is_bracketed_ipv6(host: &str) -> bool {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

fn is_loopback_address(host: &str) -> bool {
    host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

const LOOPBACK_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use HostRefusal::{Contradictory, Doubled, Malformed, Missing, NotServed};

    type Row = (
        &'static str,
        &'static str,
        &'static [&'static str],
        Result<(), HostRefusal>,
        &'static str,
    );

    fn judged(public_url: &str, target: &str, hosts: &[&str]) -> Result<(), HostRefusal> {
        let issuer = Issuer::parse(public_url).unwrap();
        let policy = HostPolicy::new(&issuer, &["mcp.internal:9000".into(), "plain".into()]);
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, http::HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        policy.unwrap().judge(&target.parse().unwrap(), &headers)
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let local = "http://localhost:8000";
        let public = "https://mcp.example.com";
        let rows: &[Row] = &[
            (local, "/mcp", &["localhost:8000"], Ok(()), "itself"),
            (local, "/mcp", &["LOCALHOST:8000"], Ok(()), "names have no case"),
            (local, "/mcp", &["127.0.0.1:8000"], Ok(()), "another name of loopback"),
            (local, "/mcp", &["[::1]:8000"], Ok(()), "loopback, IPv6"),
            (local, "/mcp", &["mcp.internal:9000"], Ok(()), "allowed by the operator"),
            (local, "/mcp", &["plain"], Ok(()), "allowed without a port"),
            (local, "http://localhost:8000/mcp", &["localhost:8000"], Ok(()), "absolute form"),
            (local, "http://localhost:8000/mcp", &[], Ok(()), "HTTP/2: only :authority"),
            (local, "/mcp", &["localhost"], Err(NotServed), "without our port"),
            (local, "/mcp", &["localhost:8001"], Err(NotServed), "another port"),
            (local, "/mcp", &["plain:9000"], Err(NotServed), "allowed name, another port"),
            (local, "/mcp", &["evil.example"], Err(NotServed), "a rebound name"),
            (local, "/mcp", &["evil.example:8000"], Err(NotServed), "a rebound name, our port"),
            (local, "/mcp", &["localhost.evil.example:8000"], Err(NotServed), "a look-alike"),
            (local, "/mcp", &["127.0.0.1.evil.example:8000"], Err(NotServed), "a look-alike"),
            (local, "/mcp", &["localhost:8000."], Err(Malformed), "a port with a dot"),
            (local, "/mcp", &["localhost.:8000"], Err(NotServed), "a trailing dot"),
            (local, "/mcp", &["a/?x"], Err(Malformed), "path characters"),
            (local, "/mcp", &["localhost:8000/x"], Err(Malformed), "our name and more"),
            (local, "/mcp", &["u@localhost:8000"], Err(Malformed), "userinfo"),
            (local, "/mcp", &["localhost:8000@evil"], Err(Malformed), "we as userinfo"),
            (local, "/mcp", &["localhost:"], Err(Malformed), "an empty port"),
            (local, "/mcp", &[""], Err(Malformed), "empty"),
            (local, "/mcp", &["é"], Err(Malformed), "not ASCII"),
            (local, "/mcp", &[], Err(Missing), "no Host at all"),
            (local, "/mcp", &["localhost:8000", "evil.example"], Err(Doubled), "two Hosts"),
            (local, "/mcp", &["localhost:8000", "localhost:8000"], Err(Doubled), "twice the same"),
            (local, "http://evil.example/mcp", &["localhost:8000"], Err(Contradictory), "absolute"),
            (local, "http://localhost:8000/mcp", &["evil.example"], Err(Contradictory), "reverse"),
            (local, "http://evil.example/mcp", &[], Err(NotServed), "HTTP/2: another :authority"),
            (public, "/mcp", &["mcp.example.com"], Ok(()), "behind a proxy"),
            (public, "/mcp", &["mcp.example.com:443"], Ok(()), "the default port, written out"),
            (public, "/mcp", &["mcp.example.com:80"], Err(NotServed), "the other default port"),
            (public, "/mcp", &["localhost"], Err(NotServed), "loopback names are not ours here"),
            ("http://127.0.0.9:8000", "/", &["127.0.0.9:8000"], Ok(()), "a loopback address"),
        ];
        for (public_url, target, hosts, expected, reason) in rows {
            assert_eq!(judged(public_url, target, hosts), *expected, "{reason}: {hosts:?}");
        }
    }

    #[test]
    fn an_allowed_host_is_an_authority() {
        let issuer = Issuer::parse("http://localhost:8000").unwrap();
        for text in ["", "a b", "http://a", "a/b", "a@b", "a:", "*"] {
            assert!(HostPolicy::new(&issuer, &[text.to_owned()]).is_err(), "{text}");
        }
    }
}
