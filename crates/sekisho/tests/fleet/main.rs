//! The transports again, test for test, where every request about a session comes to an instance that
//! does not have it; and what is so only where there are several.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod apart;
#[path = "../mcp_transports/everything.rs"]
mod everything;
#[path = "../mcp_transports/http_sse.rs"]
mod http_sse;
mod instances;
#[path = "../mcp_transports/limits.rs"]
mod limits;
#[path = "../mcp_transports/listening.rs"]
mod listening;
#[path = "../mcp_transports/questions.rs"]
mod questions;
#[path = "../mcp_transports/renewed.rs"]
mod renewed;
#[path = "../mcp_transports/rig.rs"]
mod rig;
#[path = "../mcp_transports/sessions.rs"]
mod sessions;
#[path = "../mcp_transports/stateless.rs"]
mod stateless;
#[path = "../mcp_transports/streamable_http.rs"]
mod streamable_http;
#[path = "../mcp_transports/streams.rs"]
mod streams;
