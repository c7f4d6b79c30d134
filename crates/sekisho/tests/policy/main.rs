//! Rights per tool: what rules say, alone and behind the guard on every transport.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod conditions;
mod matrix;
mod merged;
mod properties;
mod rig;
mod rules;
mod wire;
