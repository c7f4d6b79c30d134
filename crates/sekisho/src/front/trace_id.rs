//! A name for each request, so that an error page and the log can be put side by side.
//!
//! The caller's trace id is taken over if it sent a valid `traceparent` (W3C Trace Context §3.2).
//! It is no secret and decides nothing.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName};

use crate::measure::spans::Told;
use crate::mint;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

tokio::task_local! {
    static CURRENT: TraceId;
}

/// The request's trace id: prints as 32 lower-case hex digits. A request extension, and readable
/// anywhere below the request by [`TraceId::current`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// The caller's own trace id, or a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        headers
            .get(TRACEPARENT)
            .and_then(|value| value.to_str().ok())
            .and_then(Self::from_traceparent)
            .unwrap_or_else(Self::fresh)
    }

    /// The trace id of the request whose task this is; `None` outside of requests.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|id| *id).ok()
    }

    /// Runs `future` as part of the request with this id.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Runs `work` as part of the request with this id.
    pub(super) fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// An id that no other request has. Unique and well spread, but not unpredictable: it costs no
    /// call to the operating system, and nothing is protected by it.
    pub fn fresh() -> Self {
        static SEED: LazyLock<u128> = LazyLock::new(|| u128::from_ne_bytes(mint::bytes::<16>()));
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        let spread = u128::from(mixed(count)) << 64 | u128::from(mixed(!count));
        Self(*SEED ^ spread)
    }

    fn from_traceparent(text: &str) -> Option<Self> {
        Told::parse(text).map(|told| Self(told.trace_id))
    }

    /// The same as a number.
    pub(super) const fn bits(self) -> u128 {
        self.0
    }
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014): one-to-one, so counts stay distinct.
const fn mixed(count: u64) -> u64 {
    let a = count.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let b = (a ^ (a >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let c = (b ^ (b >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    c ^ (c >> 31)
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_traceparent_is_taken_over_and_nothing_else_is() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let rows = [
            (format!("00-{id}-b7ad6b7169203331-01"), true, "the paper's own example"),
            (format!("00-{id}-b7ad6b7169203331-00"), true, "not sampled"),
            (format!("01-{id}-b7ad6b7169203331-01-more"), true, "a later version may be longer"),
            (format!("00-{id}-b7ad6b7169203331-01-more"), false, "version 00 may not"),
            (format!("ff-{id}-b7ad6b7169203331-01"), false, "version ff is forbidden"),
            (format!("00-{id}-0000000000000000-01"), false, "no parent"),
            (format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), false, "no trace"),
            (format!("00-{}-b7ad6b7169203331-01", id.to_uppercase()), false, "upper case"),
            (format!("00-{}-b7ad6b7169203331-01", &id[..31]), false, "too short"),
            (format!("00-+{}-b7ad6b7169203331-01", &id[..31]), false, "a sign is no digit"),
            (format!("00-{id}"), false, "cut off"),
            (id.to_owned(), false, "only the id"),
            (String::new(), false, "empty"),
        ];
        for (text, expected, reason) in rows {
            let taken = TraceId::from_traceparent(&text).map(|id| id.to_string());
            assert_eq!(taken.as_deref(), expected.then_some(id), "{reason}: {text}");
        }
    }

    #[test]
    fn fresh_ids_differ() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| TraceId::fresh()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.to_string().len() == 32));
    }

    #[tokio::test]
    async fn the_current_id_is_known_below_the_request_and_nowhere_else() {
        let id = TraceId::fresh();
        assert_eq!(id.scope(async { TraceId::current() }).await, Some(id));
        assert_eq!(TraceId::current(), None);
    }
}
