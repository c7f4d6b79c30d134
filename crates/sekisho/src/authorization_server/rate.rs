//! How often one address, one grant or one client may ask for something that costs us a row (GCRA, by
//! `governor`).

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use sekisho_protocol::oauth::ClientId;

use crate::front::ClientAddress;
use crate::grant::GrantId;

/// Addresses, grants or clients remembered before the idle ones are forgotten.
const KEYS_MAX: usize = 50_000;

/// A limit per address: a burst of the minute's number, then as many a minute.
#[derive(Debug)]
pub(super) struct PerAddress {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
}

impl PerAddress {
    pub(super) fn new(per_minute: NonZeroU32) -> Self {
        Self { limiter: RateLimiter::keyed(Quota::per_minute(per_minute)) }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(super) fn count(&self, address: IpAddr) -> Result<(), Duration> {
        if self.limiter.len() > KEYS_MAX {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(&ClientAddress(address).network())
            .map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

/// A limit per grant.
pub(super) type PerGrant = PerName<GrantId>;

/// A limit per client.
pub(super) type PerClient = PerName<ClientId>;

/// A limit per thing that has a name.
#[derive(Debug)]
pub(super) struct PerName<K: Clone + Hash + Eq> {
    limiter: DefaultKeyedRateLimiter<K>,
}

impl<K: Clone + Hash + Eq> PerName<K> {
    pub(super) fn new(per_minute: NonZeroU32) -> Self {
        Self { limiter: RateLimiter::keyed(Quota::per_minute(per_minute)) }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(super) fn count(&self, name: &K) -> Result<(), Duration> {
        if self.limiter.len() > KEYS_MAX {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(name)
            .map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_from_one_network_stops_and_others_go_on() {
        let limit = PerAddress::new(NonZeroU32::MIN);
        let from = |text: &str| text.parse().unwrap_or(IpAddr::V4([0, 0, 0, 0].into()));
        assert!(limit.count(from("192.0.2.1")).is_ok());
        assert!(limit.count(from("192.0.2.1")).is_err_and(|wait| wait <= Duration::from_secs(60)));
        assert!(limit.count(from("192.0.2.2")).is_ok(), "a neighbour");
        assert!(limit.count(from("2001:db8::1")).is_ok());
        assert!(limit.count(from("2001:db8::2")).is_err(), "the same /64");
        assert!(limit.count(from("::ffff:192.0.2.1")).is_err(), "the same address, mapped");
    }
}
