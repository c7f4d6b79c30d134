//! What was last said of whoever shows a token, so that it is asked once for each settings and each
//! description of a person, and not for each call.

use std::sync::atomic::{AtomicU64, Ordering};

/// Whether the person behind a token may be here. Whoever holds the same token in memory shares it.
#[derive(Debug, Default)]
pub struct Admitted(AtomicU64);

/// Names whoever decides: another one is asked anew.
#[derive(Debug, Clone, Copy)]
pub struct Judge(u64);

impl Judge {
    /// One that nothing was asked of yet.
    #[expect(clippy::new_without_default, reason = "no two are alike")]
    pub fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Admitted {
    /// What `judge` said, or what `decide` says in its place from now on.
    pub fn by(&self, judge: Judge, decide: impl FnOnce() -> bool) -> bool {
        let known = self.0.load(Ordering::Relaxed);
        if known >> 1 == judge.0 {
            return known & 1 == 1;
        }
        let admitted = decide();
        self.0.store(judge.0 << 1 | u64::from(admitted), Ordering::Relaxed);
        admitted
    }
}

impl Clone for Admitted {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

/// It is no part of what a token is.
impl PartialEq for Admitted {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Admitted {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_judge_is_asked_once() {
        let (admitted, one, another) = (Admitted::default(), Judge::new(), Judge::new());
        assert!(!admitted.by(one, || false));
        assert!(!admitted.by(one, || true), "it has said so");
        assert!(admitted.by(another, || true), "another one says otherwise");
        assert!(admitted.by(another, || false));
        assert!(!admitted.by(one, || false), "and the first is asked anew");
    }
}
