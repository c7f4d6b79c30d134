//! What came of everything that was done: as expected, otherwise for a cause that the script itself
//! set, or otherwise without one, which is what fails the soak.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Result;

/// How many answers without a cause are shown word by word.
const SHOWN_MAX: usize = 50;
const SHOWN_BYTES_MAX: usize = 600;

/// What the script does that may bring an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The command behind the program was killed.
    CommandKilled,
    /// The access token that a stream was opened with is over.
    TokenExpired,
}

/// Everything so far.
#[derive(Debug)]
pub(super) struct Tally {
    began_at: Instant,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    expected: BTreeMap<&'static str, u64>,
    caused: BTreeMap<(&'static str, Cause), u64>,
    uncaused: BTreeMap<&'static str, u64>,
    shown: Vec<String>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { began_at: Instant::now(), counts: Mutex::default() }
    }

    /// As it has to be.
    pub(super) fn expected(&self, kind: &'static str) {
        *self.lock().expected.entry(kind).or_default() += 1;
    }

    /// Otherwise, and the script knows why.
    pub(super) fn caused(&self, kind: &'static str, cause: Cause) {
        *self.lock().caused.entry((kind, cause)).or_default() += 1;
    }

    /// Otherwise, and nobody knows why.
    pub(super) fn uncaused(&self, kind: &'static str, what: &str) {
        let after = self.began_at.elapsed();
        let mut counts = self.lock();
        *counts.uncaused.entry(kind).or_default() += 1;
        if counts.shown.len() < SHOWN_MAX {
            let what: String = what.chars().take(SHOWN_BYTES_MAX).collect();
            counts.shown.push(format!("after {:.1} s, {kind}: {what}", after.as_secs_f64()));
        }
    }

    /// As the result says it.
    pub(super) fn add(&self, kind: &'static str, result: Result<()>) {
        match result {
            Ok(()) => self.expected(kind),
            Err(error) => self.uncaused(kind, &error.to_string()),
        }
    }

    /// How much came out otherwise without a cause.
    pub(super) fn uncaused_in_all(&self) -> u64 {
        self.lock().uncaused.values().sum()
    }

    /// A table of all kinds, and what had no cause.
    pub(super) fn markdown(&self, elapsed: Duration) -> Result<String> {
        let counts = self.lock();
        let mut text =
            String::from("| what | as expected | for a cause of the script | without |\n");
        text.push_str("|---|--:|---|--:|\n");
        let mut kinds: Vec<_> = counts.expected.keys().chain(counts.uncaused.keys()).collect();
        kinds.extend(counts.caused.keys().map(|(kind, _)| kind));
        kinds.sort_unstable();
        kinds.dedup();
        let of = |counts: &BTreeMap<&str, u64>, kind: &str| counts.get(kind).copied().unwrap_or(0);
        for kind in kinds {
            let causes: Vec<String> = counts
                .caused
                .iter()
                .filter(|((caused, _), _)| caused == kind)
                .map(|((_, cause), count)| format!("{count} × {cause:?}"))
                .collect();
            let (expected, uncaused) = (of(&counts.expected, kind), of(&counts.uncaused, kind));
            writeln!(text, "| {kind} | {expected} | {} | {uncaused} |", causes.join(", "))?;
        }
        let in_all: u64 = counts.expected.values().sum();
        writeln!(text, "| **in all** | **{in_all}** in {} s | | |\n", elapsed.as_secs())?;
        for shown in &counts.shown {
            writeln!(text, "- {shown}")?;
        }
        Ok(text)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
