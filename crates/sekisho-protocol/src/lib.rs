//! The words and rules of OAuth 2.1 and MCP as plain values.
//!
//! Text comes in, proof goes out: whoever holds a [`oauth::RedirectUri`] or a [`oauth::CodeChallenge`]
//! holds something that was checked. Nothing in this crate does I/O, reads a clock, draws a random
//! number or is async, so every rule can be tested by a table.

pub mod mcp;
pub mod oauth;
mod secret;

pub use secret::{Secret, SecretHash};
