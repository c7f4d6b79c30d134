//! What happened, in its order: the same for the same seed, to the letter.

use std::fmt::Display;
use std::sync::Mutex;

use tokio::time::Instant;

/// Everything that happened in one simulation.
#[derive(Debug)]
pub(crate) struct History {
    begun: Instant,
    lines: Mutex<Vec<String>>,
}

impl History {
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), lines: Mutex::default() }
    }

    pub(crate) fn note(&self, what: impl Display) {
        let at = self.begun.elapsed().as_secs_f64();
        self.lines.lock().unwrap().push(format!("{at:>8.3} {what}"));
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}
