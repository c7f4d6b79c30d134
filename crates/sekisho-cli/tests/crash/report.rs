//! What was done and what was wrong.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Report {
    store: String,
    seed: u64,
    kills: AtomicU64,
    requests: AtomicU64,
    pub(crate) sign_ins: AtomicU64,
    pub(crate) refreshes: AtomicU64,
    pub(crate) revocations: AtomicU64,
    /// Requests that were on their way at a kill, so that nobody knew whether they counted.
    pub(crate) unsure: AtomicU64,
    /// MCP sessions, calls in them, and how often they had ended with their instance.
    pub(crate) sessions: AtomicU64,
    pub(crate) calls: AtomicU64,
    pub(crate) unknown_sessions: AtomicU64,
    pub(crate) lost_calls: AtomicU64,
    /// The longest that a call took, in milliseconds.
    pub(crate) longest_ms: AtomicU64,
    violations: Mutex<Vec<String>>,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Report {
    pub(crate) fn new(store: &str, seed: u64) -> Self {
        let store = store.split(':').next().unwrap_or_default().to_owned();
        Self { store, seed, ..Self::default() }
    }

    pub(crate) fn asked(&self) {
        count(&self.requests);
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn killed(&self) {
        count(&self.kills);
    }

    pub(crate) fn kills(&self) -> u64 {
        self.kills.load(Ordering::SeqCst)
    }

    pub(crate) fn violation(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.violations.lock().unwrap().is_empty()
    }

    pub(crate) fn violations(&self) -> String {
        let violations = self.violations.lock().unwrap();
        let mut text = format!("CRASH_SEED={} broke {} promises:", self.seed, violations.len());
        for violation in violations.iter() {
            write!(text, "\n  {violation}").unwrap();
        }
        text
    }

    /// Whether the load was one: enough was done for the kills to mean something.
    pub(crate) fn has_seen_everything(&self, kills: u64) -> bool {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let done = [&self.sign_ins, &self.refreshes, &self.revocations, &self.unsure];
        read(&self.kills) == kills && (kills < 10 || done.iter().all(|counter| read(counter) > 0))
    }

    #[expect(clippy::print_stdout, reason = "whoever runs this for long wants to read the figures")]
    pub(crate) fn tell(&self) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        println!(
            "crash: store={} seed={} kills={} requests={} sign_ins={} refreshes={} revocations={} \
             unsure_at_a_kill={} violations={} sessions={} calls={} sessions_unknown={} \
             calls_lost={} longest_call_ms={}",
            self.store,
            self.seed,
            read(&self.kills),
            read(&self.requests),
            read(&self.sign_ins),
            read(&self.refreshes),
            read(&self.revocations),
            read(&self.unsure),
            self.violations.lock().unwrap().len(),
            read(&self.sessions),
            read(&self.calls),
            read(&self.unknown_sessions),
            read(&self.lost_calls),
            read(&self.longest_ms),
        );
    }
}
