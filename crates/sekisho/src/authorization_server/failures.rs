//! How often one address may be wrong at `/token` and `/revoke` (RFC 6749 §10.10).
//!
//! Counts by address alone, and answers 429 only in place of a wrong answer: whoever guesses at a
//! client's secret or a person's code locks out nobody, not even those who share the address.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::refusal::Refusal;
use crate::clock::{Clock, Timestamp};
use crate::front::ClientAddress;

/// Addresses remembered; when there are more, those whose minute is over are forgotten, and while
/// there are none of these a new one is not counted.
const ADDRESSES_MAX: usize = 50_000;

/// The time that failures are counted in.
const WINDOW: Duration = Duration::from_mins(1);

/// Failures by address.
pub(super) struct Failures {
    per_window: u32,
    clock: Arc<dyn Clock>,
    counted: Arc<Mutex<HashMap<IpAddr, Counted>>>,
}

struct Counted {
    failures: u32,
    until: Timestamp,
}

impl Failures {
    pub(super) fn new(per_minute: NonZeroU32, clock: Arc<dyn Clock>) -> Self {
        Self { per_window: per_minute.get(), clock, counted: Arc::default() }
    }

    /// The same failures under the limit that is wanted from now on.
    pub(super) fn renewed(&self, per_minute: NonZeroU32) -> Self {
        let (clock, counted) = (Arc::clone(&self.clock), Arc::clone(&self.counted));
        Self { per_window: per_minute.get(), clock, counted }
    }

    /// Counts what was refused, and puts "too many" in its place where the address had too many.
    /// What is no wrong guess passes as it is.
    pub(super) fn instead_of(&self, refusal: Refusal, address: Option<IpAddr>) -> Refusal {
        if !refusal.is_wrong_guess() {
            return refusal;
        }
        match self.check(address) {
            Ok(()) => {
                self.note(address);
                refusal
            }
            Err(wait) => Refusal::TooMany(wait),
        }
    }

    fn check(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        let Some(address) = address.map(network) else { return Ok(()) };
        let now = self.clock.now();
        match self.counted().get(&address) {
            Some(row) if row.failures >= self.per_window && !row.until.is_over(now) => {
                // No longer than a window, even if the clock was set back.
                Err(row.until.left(now).min(WINDOW))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn note(&self, address: Option<IpAddr>) {
        let Some(address) = address.map(network) else { return };
        let now = self.clock.now();
        let mut counted = self.counted();
        if counted.len() >= ADDRESSES_MAX && !counted.contains_key(&address) {
            counted.retain(|_, row| !row.until.is_over(now));
            if counted.len() >= ADDRESSES_MAX {
                return;
            }
        }
        let row =
            counted.entry(address).or_insert(Counted { failures: 0, until: now.plus(WINDOW) });
        if row.until.is_over(now) {
            *row = Counted { failures: 0, until: now.plus(WINDOW) };
        }
        row.failures = row.failures.saturating_add(1);
    }

    fn counted(&self) -> MutexGuard<'_, HashMap<IpAddr, Counted>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn network(address: IpAddr) -> IpAddr {
    ClientAddress(address).network()
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures").field("per_window", &self.per_window).finish_non_exhaustive()
    }
}
