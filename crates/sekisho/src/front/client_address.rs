//! Where a request comes from: the peer, or what a trusted proxy says of it.
//!
//! `X-Forwarded-For` counts only from a peer in [`TrustedProxies`], read from the right, so that a
//! caller cannot choose the address it is limited by. No other forwarding header is ever read, and
//! no URL is made from one.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The caller's address as a request extension: what limiters count by and logs show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// What a request's `X-Forwarded-For` was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forwarding {
    /// There was none.
    Absent,
    /// A trusted proxy sent it.
    Believed,
    /// Somebody else sent it.
    Ignored,
}

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Peers whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl ClientAddress {
    /// The address to count by: an IPv6 caller owns a whole /64, so its last 64 bits are cleared.
    #[must_use]
    pub fn network(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        }
    }
}

impl TrustedProxies {
    /// The networks of proxies that the operator runs.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether nobody is trusted, so that every address is the peer's own.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The caller behind a request that came from `peer`.
    pub(super) fn client_of(&self, peer: SocketAddr, headers: &HeaderMap) -> ClientAddress {
        self.client_behind(peer.ip().to_canonical(), headers)
    }

    fn client_behind(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut nearest = peer;
        if !self.0.is_empty() {
            for hop in forwarded_for(headers) {
                if !self.is_trusted(nearest) {
                    break;
                }
                let Some(address) = parse_hop(hop) else { break };
                nearest = address;
            }
        }
        ClientAddress(nearest)
    }

    /// What becomes of the header in a request from `peer`.
    pub(super) fn forwarding(&self, peer: SocketAddr, headers: &HeaderMap) -> Forwarding {
        if !headers.contains_key(X_FORWARDED_FOR) {
            Forwarding::Absent
        } else if self.is_trusted(peer.ip().to_canonical()) {
            Forwarding::Believed
        } else {
            Forwarding::Ignored
        }
    }

    /// Whether this peer is one of the proxies.
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The hops of all `X-Forwarded-For` headers, nearest first.
fn forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .rev()
        .flat_map(|value| value.to_str().unwrap_or("").rsplit(','))
        .map(str::trim)
}

/// An address, with or without the port that some proxies add.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare
        .parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|with_port| with_port.ip()))
        .ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    type Texts = &'static [&'static str];
    type Row = (Texts, &'static str, Texts, &'static str, &'static str);

    fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let proxies =
            TrustedProxies::new(trusted.iter().map(|text| text.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        proxies.client_behind(peer.parse().unwrap(), &headers).0.to_string()
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        let rows: &[Row] = &[
            (&[], "192.0.2.1", &["203.0.113.9"], "192.0.2.1", "nobody is trusted"),
            (&["10.0.0.0/8"], "192.0.2.1", &["203.0.113.9"], "192.0.2.1", "a stranger lies"),
            (&["10.0.0.0/8"], "10.0.0.1", &["203.0.113.9"], "203.0.113.9", "our proxy says so"),
            (
                &["10.0.0.0/8"],
                "10.0.0.1",
                &["198.51.100.7, 203.0.113.9"],
                "203.0.113.9",
                "what stands left of it was sent by the client",
            ),
            (
                &["10.0.0.0/8"],
                "10.0.0.1",
                &["203.0.113.9, 10.0.0.2"],
                "203.0.113.9",
                "two proxies of ours",
            ),
            (
                &["10.0.0.0/8"],
                "10.0.0.1",
                &["198.51.100.7", "203.0.113.9"],
                "203.0.113.9",
                "two headers are one list",
            ),
            (&["10.0.0.0/8"], "10.0.0.1", &[], "10.0.0.1", "the proxy says nothing"),
            (&["10.0.0.0/8"], "10.0.0.1", &["unknown"], "10.0.0.1", "no address"),
            (
                &["10.0.0.0/8"],
                "10.0.0.1",
                &["203.0.113.9, rubbish"],
                "10.0.0.1",
                "nothing left of rubbish is believed",
            ),
            (&["10.0.0.0/8"], "10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9", "with a port"),
            (&["::1/128"], "::1", &["[2001:db8::7]:80"], "2001:db8::7", "IPv6 with a port"),
            (&["::1/128"], "::1", &["[2001:db8::7]"], "2001:db8::7", "IPv6 in brackets"),
            (&["::1/128"], "::1", &["::ffff:203.0.113.9"], "203.0.113.9", "IPv4 in disguise"),
        ];
        for (trusted, peer, forwarded, expected, reason) in rows {
            assert_eq!(client(trusted, peer, forwarded), *expected, "{reason}");
        }
    }

    #[test]
    fn an_ipv6_caller_is_counted_by_its_network() {
        let address = |text: &str| ClientAddress(text.parse().unwrap()).network().to_string();
        assert_eq!(address("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(address("192.0.2.1"), "192.0.2.1");
    }
}
