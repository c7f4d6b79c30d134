//! What every request passes before any route: one tower layer around the whole application.
//!
//! ```text
//! request ─▶ trace id ─▶ URI length ─▶ base path ─▶ client address ─▶ Host ─▶ Origin, CORS ─▶ routes
//! answer  ◀─ access log, panics caught ◀── CORS headers ◀── unread body ◀──────┘
//! ```
//!
//! Each file is one rule and decides without I/O; [`Front`] asks them in this order. Nothing here
//! looks at a token: a foreign origin is refused before anyone is authenticated.

mod base_path;
mod bell;
mod body_deadline;
mod client_address;
mod health;
mod host;
mod origin;
pub(crate) mod rate;
mod service;
mod slow_stream;
mod trace_id;
mod unread_body;

pub use body_deadline::REQUEST_BODY_DEADLINE;
pub use client_address::{ClientAddress, TrustedProxies};
pub use health::{READINESS_WAIT, Readiness};
pub use host::{HostPolicy, HostRefusal, MalformedHost};
pub(crate) use origin::is_posted_by_our_page;
pub use origin::{MalformedOrigin, OriginPolicy, Surfaces};
pub use service::{Front, FrontService, URI_BYTES_MAX};
pub use slow_stream::{
    SLOW_STREAM_EVENTS, SLOW_STREAM_LONG_PAUSE, SLOW_STREAM_PATH, SLOW_STREAM_PAUSE,
    SLOW_STREAMS_MAX,
};
pub use trace_id::TraceId;
pub use unread_body::{UNREAD_BYTES_MAX, UNREAD_WAIT};
