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

impl TryCounter {
    /// What a try makes of a counter that has all its tries again at `full_at`, and what becomes of the
    /// try; `so_far` is what other counters said. One that was refused before does not count here.
    pub(super) fn count(
        &self,
        full_at: Option<Timestamp>,
        now: Timestamp,
        so_far: TryCounted,
    ) -> (Timestamp, TryCounted) {
        let latest = now.plus(self.one_more_every.saturating_mul(self.burst));
        // Later than that is of a clock that was ahead, and passes from now on.
        let full_at = full_at.unwrap_or(now).clamp(now, latest);
        let next = full_at.plus(self.one_more_every);
        match so_far {
            TryCounted::TooMany { .. } => (full_at, so_far),
            TryCounted::Allowed if next <= latest => (next, TryCounted::Allowed),
            TryCounted::Allowed => (full_at, TryCounted::TooMany { wait: next.left(latest) }),
        }
    }
}
