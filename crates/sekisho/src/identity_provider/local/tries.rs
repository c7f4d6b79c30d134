//! How often a password may be tried (GCRA, by `governor`), by account and by address.
//!
//! An account is counted by address too, and only tries that were let through count: hammering at an
//! account locks nobody out of it who sits elsewhere.

use std::fmt;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::clock::{Clock, Timestamp};
use crate::front::ClientAddress;

/// Counters of each kind. Names and addresses are mapped onto so many by a hash that nobody
/// outside can foresee: the memory is bounded, and nothing ever needs to be evicted.
const COUNTERS_MAX: u64 = 65_536;

/// A burst of tries, and then one more now and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Tries at once.
    pub burst: NonZeroU32,
    /// How long it takes to regain one; not zero.
    pub one_more_every: Duration,
}

/// How often a password may be tried before a while must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TryLimits {
    /// For one account from one address (for IPv6: one /64).
    pub per_account: Allowance,
    /// For one account from all addresses together.
    pub per_account_anywhere: Allowance,
    /// From one address (for IPv6: one /64), at whatever accounts.
    pub per_address: Allowance,
}

impl Default for TryLimits {
    /// An account from one address: 5, then one every 12 s; from everywhere: 20, then one every 3 s.
    /// An address: 20, then one every 3 s.
    fn default() -> Self {
        let allowance = |burst: u32, seconds: u64| Allowance {
            burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN),
            one_more_every: Duration::from_secs(seconds),
        };
        Self {
            per_account: allowance(5, 12),
            per_account_anywhere: allowance(20, 3),
            per_address: allowance(20, 3),
        }
    }
}

/// Counts tries.
#[derive(Debug)]
pub(super) struct Tries {
    accounts: Counters,
    accounts_anywhere: Counters,
    addresses: Counters,
}

impl Tries {
    pub(super) fn new(limits: TryLimits, clock: &Arc<dyn Clock>) -> Self {
        Self {
            accounts: Counters::new(limits.per_account, clock),
            accounts_anywhere: Counters::new(limits.per_account_anywhere, clock),
            addresses: Counters::new(limits.per_address, clock),
        }
    }

    /// Counts a try.
    ///
    /// # Errors
    /// How long to wait, when there were too many from the address or at the account.
    pub(super) fn count(&self, address: IpAddr, account: &str) -> Result<(), Duration> {
        self.addresses.count(&ClientAddress(address).network())?;
        // By address first: an account that one visitor tries to death is still open to others.
        self.accounts.count(&(ClientAddress(address).network(), account))?;
        self.accounts_anywhere.count(account)
    }
}

struct Counters {
    places: RandomState,
    limiter: RateLimiter<u64, DashMapStateStore<u64>, Time, NoOpMiddleware<Duration>>,
}

impl Counters {
    fn new(allowance: Allowance, clock: &Arc<dyn Clock>) -> Self {
        let quota = Quota::with_period(allowance.one_more_every)
            .unwrap_or(Quota::per_second(NonZeroU32::MIN))
            .allow_burst(allowance.burst);
        let time = Time::new(clock);
        Self {
            places: RandomState::new(),
            limiter: RateLimiter::new(quota, DashMapStateStore::default(), time),
        }
    }

    fn count(&self, key: &(impl Hash + ?Sized)) -> Result<(), Duration> {
        let place = self.places.hash_one(key) % COUNTERS_MAX;
        self.limiter
            .check_key(&place)
            .map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").field("used", &self.limiter.len()).finish_non_exhaustive()
    }
}

/// Our clock as `governor` reads it: the sum of its steps ahead. What was counted under a clock that
/// is set back afterwards would else count until the time comes round again, be it in a year.
#[derive(Debug, Clone)]
struct Time {
    clock: Arc<dyn Clock>,
    passed: Arc<Mutex<Passed>>,
}

#[derive(Debug)]
struct Passed {
    last: Timestamp,
    sum: Duration,
}

impl Time {
    fn new(clock: &Arc<dyn Clock>) -> Self {
        let passed = Passed { last: clock.now(), sum: Duration::ZERO };
        Self { clock: Arc::clone(clock), passed: Arc::new(Mutex::new(passed)) }
    }
}

impl governor::clock::Clock for Time {
    type Instant = Duration;

    fn now(&self) -> Duration {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        passed.sum = passed.sum.saturating_add(now.left(passed.last));
        passed.last = now;
        passed.sum
    }
}
