//! The clock of one machine: it goes as time goes, and somebody sets it.

use std::sync::Mutex;
use std::time::Duration;

use sekisho::clock::{Clock, Timestamp};
use tokio::time::Instant;

/// What every clock shows at the beginning, in seconds since 1970.
const BEGINNING: i64 = 1_795_305_600;

/// A clock that is set now and then.
#[derive(Debug)]
pub(crate) struct SteppedClock {
    begun: Instant,
    /// How far it was off from when on, in seconds.
    steps: Mutex<Vec<(Instant, i64)>>,
}

impl SteppedClock {
    pub(crate) fn new() -> Self {
        let begun = Instant::now();
        Self { begun, steps: Mutex::new(vec![(begun, 0)]) }
    }

    /// Somebody sets it so many seconds ahead of what it would show if nobody ever had.
    pub(crate) fn set_ahead(&self, seconds: i64) {
        self.steps.lock().unwrap().push((Instant::now(), seconds));
    }

    /// The least and the most that it showed between two moments.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> (i64, i64) {
        let steps = self.steps.lock().unwrap();
        let mut shown = Vec::new();
        for (index, (begun, ahead)) in steps.iter().enumerate() {
            let end = steps.get(index + 1).map_or(to, |(next, _)| *next);
            if end >= from && *begun <= to {
                let at = [(*begun).max(from), end.min(to)];
                shown.extend(at.map(|at| self.without_steps(at) + ahead));
            }
        }
        (*shown.iter().min().unwrap(), *shown.iter().max().unwrap())
    }

    fn without_steps(&self, at: Instant) -> i64 {
        BEGINNING + seconds(at.duration_since(self.begun))
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        let ahead = self.steps.lock().unwrap().last().map_or(0, |(_, ahead)| *ahead);
        Timestamp::from_unix_seconds(self.without_steps(Instant::now()) + ahead)
    }
}

/// Whole seconds, as clocks here count.
pub(crate) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap()
}
