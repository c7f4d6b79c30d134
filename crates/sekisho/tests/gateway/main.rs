//! Servers behind us, as real processes and at real ports: what is carried both ways, by whom a process is shared,
//! and that none is left behind.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must stop"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "the program is told by its environment that it is the server, and shows what it got"
)]

mod carried;
mod child;
mod commands_without_handshake;
mod found_out;
mod introduced;
mod introduced_processes;
mod merged;
mod mirrored;
mod processes;
mod remote;
mod remote_errors;
mod rig;
mod shelf;
mod tls;
mod web;
