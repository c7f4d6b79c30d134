//! How many wrong tokens one address may show at the checkpoint (GCRA, by `governor`).
//!
//! Counted after a token was found wrong, so a valid one costs nothing and always opens, also from an
//! address that others guess from. No token at all never counts: that is how clients begin.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::front::ClientAddress;

/// Addresses remembered before the idle ones are forgotten.
const ADDRESSES_MAX: usize = 50_000;

/// Wrong tokens from one address in a minute; one for all endpoints.
#[derive(Debug)]
pub struct RefusedTokens {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
}

impl RefusedTokens {
    /// A burst of that number, then as many a minute.
    pub fn new(per_minute: NonZeroU32) -> Self {
        Self { limiter: RateLimiter::keyed(Quota::per_minute(per_minute)) }
    }

    /// Counts one wrong token.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(super) fn count(&self, address: ClientAddress) -> Result<(), Duration> {
        if self.limiter.len() > ADDRESSES_MAX {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(&address.network())
            .map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}
