//! Which addresses are somebody on the public internet (IANA special-purpose address registries).
//!
//! Where in doubt an address is refused: nobody publishes a document at one of these.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address may be connected to on behalf of a stranger.
pub(super) const fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

const fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network, private use (RFC 1918), loopback; multicast, reserved, broadcast.
        [0 | 10 | 127 | 224..=255, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        // Behind a carrier's NAT (RFC 6598), link-local with the clouds' metadata (RFC 3927).
        | [100, 64..=127, ..]
        | [169, 254, ..]
        // Protocols' own and documentation, 6to4 relays, AS112 and AMT, benchmarks.
        | [192, 0, 0 | 2, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [192, 88, 99, _]
        | [192, 31, 196, _]
        | [192, 52, 193, _]
        | [192, 175, 48, _]
        | [198, 18 | 19, ..] => false,
        _ => true,
    }
}

/// Only `2000::/3` is given out as global unicast, so that loopback, mapped and translated IPv4
/// (`::ffff:0:0/96`, `64:ff9b::/96`), unique local, link-local and multicast all lie outside.
const fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, ..] = address.segments();
    matches!(first, 0x2000..=0x3fff)
        && !matches!(
            (first, second, third),
            // IETF protocols with Teredo and ORCHID; documentation, twice; 6to4; AS112.
            (0x2001, 0..=0x1ff | 0xdb8, _)
                | (0x3fff, 0..=0xfff, _)
                | (0x2002, _, _)
                | (0x2620, 0x4f, 0x8000)
        )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn only_public_addresses_are_reached() {
        let rows = [
            ("8.8.8.8", true, "public"),
            ("1.1.1.1", true, "public"),
            ("100.63.255.255", true, "just before the carriers"),
            ("100.128.0.0", true, "just after the carriers"),
            ("172.15.255.255", true, "just before private use"),
            ("172.32.0.0", true, "just after private use"),
            ("192.0.1.1", true, "between two special ones"),
            ("198.17.255.255", true, "just before the benchmarks"),
            ("223.255.255.255", true, "just before multicast"),
            ("2606:4700::1111", true, "public, IPv6"),
            ("2001:200::1", true, "the first that was given out"),
            ("2001:4860:4860::8888", true, "public, IPv6"),
            ("2a00::1", true, "public, IPv6"),
            ("0.0.0.0", false, "this host"),
            ("0.1.2.3", false, "this network"),
            ("10.0.0.1", false, "private"),
            ("100.64.0.1", false, "behind a carrier's NAT"),
            ("100.127.255.255", false, "behind a carrier's NAT"),
            ("127.0.0.1", false, "loopback"),
            ("127.255.255.254", false, "loopback"),
            ("169.254.169.254", false, "the cloud's metadata"),
            ("172.16.0.1", false, "private"),
            ("172.31.255.255", false, "private"),
            ("192.0.0.8", false, "protocols' own"),
            ("192.0.2.1", false, "documentation"),
            ("192.31.196.1", false, "AS112"),
            ("192.52.193.1", false, "AMT"),
            ("192.88.99.1", false, "6to4 relay"),
            ("192.168.1.1", false, "private"),
            ("192.175.48.1", false, "AS112"),
            ("198.18.0.1", false, "benchmarks"),
            ("198.19.255.255", false, "benchmarks"),
            ("198.51.100.1", false, "documentation"),
            ("203.0.113.1", false, "documentation"),
            ("224.0.0.1", false, "multicast"),
            ("239.255.255.250", false, "multicast"),
            ("240.0.0.1", false, "reserved"),
            ("255.255.255.255", false, "broadcast"),
            ("::", false, "unspecified"),
            ("::1", false, "loopback"),
            ("::7f00:1", false, "IPv4-compatible"),
            ("::ffff:127.0.0.1", false, "IPv4-mapped loopback"),
            ("::ffff:8.8.8.8", false, "IPv4-mapped, whatever it maps"),
            ("64:ff9b::7f00:1", false, "NAT64"),
            ("64:ff9b:1::1", false, "NAT64, local"),
            ("100::1", false, "discard"),
            ("2001::1", false, "Teredo"),
            ("2001:10::1", false, "ORCHID"),
            ("2001:20::1", false, "ORCHIDv2"),
            ("2001:db8::1", false, "documentation"),
            ("2002:7f00:1::1", false, "6to4 of loopback"),
            ("2002:808:808::1", false, "6to4"),
            ("2620:4f:8000::1", false, "AS112"),
            ("3fff::1", false, "documentation"),
            ("5f00::1", false, "segment routing"),
            ("fc00::1", false, "unique local"),
            ("fd12:3456::1", false, "unique local"),
            ("fe80::1", false, "link-local"),
            ("fec0::1", false, "site-local"),
            ("ff02::1", false, "multicast"),
        ];
        for (address, expected, reason) in rows {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{reason}: {address}");
        }
    }
}
