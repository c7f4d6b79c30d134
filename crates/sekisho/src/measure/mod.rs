//! What is counted and timed. [`METRICS`] lists what is counted, and docs/metrics.md says the same to people;
//! [`spans`] say what one request was about.
//!
//! ```text
//! what happens ─▶ Metric ─▶ the recorder of the process (crate `metrics`): Registry ─▶ text for Prometheus
//! ```
//!
//! The number of series is bounded by how this is made: a label's [`Value`] is a word of ours or a name
//! from the settings. Nothing that a caller sent becomes one, and no person, client, address or path. Without
//! a recorder all of it does nothing.

mod limits;
mod registry;
mod requests;
pub mod spans;
mod table;

pub use self::limits::{Limit, Places, Taken};
pub use self::registry::{Registry, SERIES_MAX};
pub(crate) use self::requests::{Asked, Requests};
pub(crate) use self::table::{
    EVENTS, LOGIN_STEPS, MCP_STREAMS, PROVIDER_SECONDS, REFUSALS, SIGN_INS, STORE_SECONDS,
    UPSTREAM_CALL_SECONDS, UPSTREAM_CALLS, UPSTREAM_CONVERSATIONS, UPSTREAM_STARTS,
};
pub use self::table::{Kind, METRICS, Metric, Value};

use metrics::Gauge;

/// One more of something, until it is dropped.
pub struct Held(Gauge);

impl Held {
    /// Counts one more.
    pub fn of(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}
