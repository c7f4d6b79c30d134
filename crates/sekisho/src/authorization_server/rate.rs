//! How often one address, or one grant, may ask for something that costs us a row (GCRA, by
//! `governor`).

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use quick_cache::sync::Cache;
use sekisho_protocol::SecretHash;

use crate::front::ClientAddress;
use crate::grant::GrantId;

/// Addresses or grants remembered before the idle ones are forgotten.
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
pub(super) struct PerGrant {
    limiter: DefaultKeyedRateLimiter<GrantId>,
    /// What was counted lately, so that asking for the same once more costs nothing.
    counted: Cache<SecretHash, ()>,
}

impl fmt::Debug for PerGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerGrant").field("grants", &self.limiter.len()).finish_non_exhaustive()
    }
}

impl PerGrant {
    pub(super) fn new(per_minute: NonZeroU32) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_minute(per_minute));
        Self { limiter, counted: Cache::new(KEYS_MAX) }
    }

    /// Counts the first request with this token, and lets those after it pass.
    ///
    /// # Errors
    /// How long to wait, when there were too many before it.
    pub(super) fn count_once(&self, grant: &GrantId, token: &SecretHash) -> Result<(), Duration> {
        self.counted.get_or_insert_with(token, || self.count(grant))
    }

    /// Counts one request.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(super) fn count(&self, grant: &GrantId) -> Result<(), Duration> {
        if self.limiter.len() > KEYS_MAX {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(grant)
            .map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_shown_many_times_counts_once() {
        let limit = PerGrant::new(NonZeroU32::MIN);
        let (grant, other) = (GrantId::new("grant"), GrantId::new("other"));
        let [first, second] = [SecretHash::of(b"first"), SecretHash::of(b"second")];
        for _ in 0..50 {
            assert!(limit.count_once(&grant, &first).is_ok());
        }
        for _ in 0..2 {
            assert!(limit.count_once(&grant, &second).is_err(), "refused, so not counted either");
        }
        assert!(limit.count_once(&other, &second).is_ok(), "another grant");
    }

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
