//! How often one key, mostly an address, may ask (GCRA, by `governor`): a burst of the minute's number,
//! then as many a minute. Decides nothing by itself; whoever counts says what is refused.

use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::Extensions;

use super::ClientAddress;

/// Keys remembered before the idle ones are forgotten.
pub(crate) const KEYS_MAX: usize = 50_000;

/// A limit for each key.
pub(crate) struct Per<K: Hash + Eq + Clone> {
    limiter: Arc<DefaultKeyedRateLimiter<K>>,
    per_minute: NonZeroU32,
}

impl<K: Hash + Eq + Clone> Per<K> {
    pub(crate) fn new(per_minute: NonZeroU32) -> Self {
        let limiter = Arc::new(RateLimiter::keyed(Quota::per_minute(per_minute)));
        Self { limiter, per_minute }
    }

    /// The limit that is wanted from now on: what was counted stays counted, unless it is another.
    pub(crate) fn renewed(&self, per_minute: NonZeroU32) -> Self {
        if self.per_minute == per_minute {
            Self { limiter: Arc::clone(&self.limiter), per_minute }
        } else {
            Self::new(per_minute)
        }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(crate) fn count(&self, key: &K) -> Result<(), Duration> {
        if self.limiter.len() > KEYS_MAX {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(key)
            .map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

impl<K: Hash + Eq + Clone> fmt::Debug for Per<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Per").field("keys", &self.limiter.len()).finish_non_exhaustive()
    }
}

/// A limit for each address; a whole IPv6 network counts as one.
#[derive(Debug)]
pub(crate) struct PerAddress(Per<IpAddr>);

impl PerAddress {
    pub(crate) fn new(per_minute: NonZeroU32) -> Self {
        Self(Per::new(per_minute))
    }

    /// As [`Per::renewed`].
    pub(crate) fn renewed(&self, per_minute: NonZeroU32) -> Self {
        Self(self.0.renewed(per_minute))
    }

    /// Counts one request.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(crate) fn count(&self, address: IpAddr) -> Result<(), Duration> {
        self.0.count(&ClientAddress(address).network())
    }

    /// Counts the request with these extensions; nothing where no connection is known.
    ///
    /// # Errors
    /// As [`PerAddress::count`].
    pub(crate) fn count_caller(&self, extensions: &Extensions) -> Result<(), Duration> {
        match extensions.get() {
            Some(ClientAddress(address)) => self.count(*address),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_stays_counted_under_the_same_limit() {
        let limit = PerAddress::new(NonZeroU32::MIN);
        let caller = IpAddr::V4([192, 0, 2, 1].into());
        assert!(limit.count(caller).is_ok());
        assert!(limit.renewed(NonZeroU32::MIN).count(caller).is_err(), "the same limit");
        let another = limit.renewed(NonZeroU32::MAX);
        assert!(another.count(caller).is_ok(), "another one begins anew");
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
