//! What goes wrong on the way between two parts: delays, questions that never arrive, answers that do not.
//!
//! ```text
//! asked ─▶ before ─┬─▶ done ─▶ after ─┬─▶ heard
//!                  └─▶ unreached      └─▶ unheard: it was done, and nobody knows
//! ```

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::Chance;

/// What becomes of one question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fate {
    pub(crate) before: Duration,
    pub(crate) after: Duration,
    pub(crate) end: End,
}

/// How a question ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It is answered.
    Heard,
    /// It never arrives.
    Unreached,
    /// It is done, and the answer is lost.
    Unheard,
}

/// How often what goes wrong, in a hundred questions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Climate {
    pub(crate) unreached: u64,
    pub(crate) unheard: u64,
    pub(crate) slow: u64,
    /// In milliseconds.
    pub(crate) slowest: u64,
}

/// What goes wrong between two parts.
#[derive(Debug)]
pub(crate) struct Weather {
    chance: Mutex<Chance>,
    climate: Climate,
    is_calm: AtomicBool,
}

impl Weather {
    pub(crate) fn new(chance: Chance, climate: Climate) -> Self {
        Self { chance: Mutex::new(chance), climate, is_calm: AtomicBool::new(false) }
    }

    /// From now on all goes well.
    pub(crate) fn calm(&self) {
        self.is_calm.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::SeqCst)
    }

    /// What becomes of the next question.
    pub(crate) fn fate(&self) -> Fate {
        let mut chance = self.chance.lock().unwrap();
        let Climate { unreached, unheard, slow, slowest } = self.climate;
        let mut wait = |most: u64| Duration::from_millis(chance.within(0..most));
        let (mut before, mut after) = (wait(3), wait(3));
        let mut end = End::Heard;
        if !self.is_calm() {
            if chance.is(slow) {
                before = Duration::from_millis(chance.within(0..slowest));
            }
            if chance.is(slow) {
                after = Duration::from_millis(chance.within(0..slowest));
            }
            let drawn = chance.within(0..100);
            if drawn < unreached {
                end = End::Unreached;
            } else if drawn < unreached + unheard {
                end = End::Unheard;
            }
        }
        Fate { before, after, end }
    }
}
