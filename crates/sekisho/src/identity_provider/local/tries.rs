//! How often a password may be tried, by account and by address.
//!
//! An account is counted by address too, and only tries that were let through count: hammering at an
//! account locks nobody out of it who sits elsewhere. Counted is in the store, so that it holds over all
//! instances and a restart forgives nothing.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::front::ClientAddress;
use crate::seal::{Derived, Sealer};
use crate::store::TryCounter;

/// Counters of each kind. Names and addresses are mapped onto so many by a hash that nobody
/// outside can foresee: the table is bounded, and says nothing of them.
const COUNTERS_MAX: u32 = 65_536;

/// A burst of tries, and then one more now and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Tries at once.
    pub burst: NonZeroU32,
    /// How long it takes to regain one, in whole seconds; not zero.
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

impl TryLimits {
    /// What a try counts at, in this order.
    pub(super) fn counters(
        &self,
        sealer: &Sealer,
        address: IpAddr,
        account: &str,
    ) -> [TryCounter; 3] {
        let network = ClientAddress(address).network().to_string();
        let counter = |kind: u32, of: [&str; 2], allowance: Allowance| {
            let parts = [&kind.to_be_bytes()[..], of[0].as_bytes(), of[1].as_bytes()];
            let [one, two, ..] = *sealer.deriver().derive(Derived::TryCounter, &parts);
            let place = u32::from(u16::from_be_bytes([one, two]));
            TryCounter {
                place: kind * COUNTERS_MAX + place,
                burst: allowance.burst.get(),
                one_more_every: allowance.one_more_every,
            }
        };
        [
            counter(0, [&network, ""], self.per_address),
            // By address first: an account that one visitor tries to death is still open to others.
            counter(1, [&network, account], self.per_account),
            counter(2, ["", account], self.per_account_anywhere),
        ]
    }
}
