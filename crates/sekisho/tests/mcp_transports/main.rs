//! The transports as clients see them: over real sockets, with a guard that knows a few tokens.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod everything;
mod http_sse;
mod instances;
mod limits;
mod listening;
mod questions;
mod renewed;
mod rig;
#[cfg(feature = "rmcp")]
mod rmcp_service;
mod sessions;
mod stateless;
mod stdio;
mod streamable_http;
mod streams;
