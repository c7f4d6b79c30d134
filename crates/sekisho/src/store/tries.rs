//! How often something may be tried, counted where every process sees it: a burst, and then one more now
//! and again (GCRA). A counter is one moment: when it has all its tries again.

use std::time::Duration;

use crate::clock::Timestamp;

/// One counter, and what it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TryCounter {
    /// Which it is.
    pub place: u32,
    /// Tries at once.
    pub burst: u32,
    /// How long it takes to regain one, in whole seconds.
    pub one_more_every: Duration,
}

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryCounted {
    /// It may be made.
    Allowed,
    /// A counter has no try left; this one does not count there.
    TooMany {
        /// How long until it has one.
        wait: Duration,
    },
}

/// What is kept of a counter.
#[derive(Debug, Clone, Copy)]
pub(super) struct TryRow {
    /// When it has all its tries again.
    pub(super) full_at: Timestamp,
    /// When that was said.
    pub(super) counted_at: Timestamp,
}

impl TryCounter {
    /// What a try makes of a counter, and what becomes of the try.
    pub(super) fn count(&self, known: Option<TryRow>, now: Timestamp) -> (TryRow, TryCounted) {
        // A clock that was set back since forgives nothing, and locks nobody out until it is that late again.
        let left = known.map_or(Duration::ZERO, |row| row.full_at.left(now.max(row.counted_at)));
        let all = self.one_more_every.saturating_mul(self.burst);
        let (left, counted) = match left.min(all) + self.one_more_every {
            next if next <= all => (next, TryCounted::Allowed),
            next => (left.min(all), TryCounted::TooMany { wait: next.saturating_sub(all) }),
        };
        (TryRow { full_at: now.plus(left), counted_at: now }, counted)
    }
}
