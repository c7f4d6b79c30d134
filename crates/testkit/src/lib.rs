//! What the tests stand on: actors and stand-ins. Never shipped.
//!
//! A [`World`] is the whole server in process, without sockets, under a clock that stands still.
//! A [`Browser`] opens pages and answers forms; a [`ScriptedProvider`] logs people in, and a
//! [`FakeIdentityProvider`] does so over sockets, rightly or wrongly.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must stop, and this crate serves only tests"
)]

mod browser;
pub mod chance;
mod client_key;
pub mod clock;
pub mod document_host;
pub mod identity_provider;
pub mod mcp_client;
pub mod naive;
pub mod postgres;
pub mod scripted_provider;
pub mod store_contract;
mod verifier;
pub mod world;

pub use browser::{Answer, Browser};
pub use chance::Chance;
pub use client_key::ClientKey;
pub use clock::ManualClock;
pub use document_host::DocumentHost;
pub use identity_provider::FakeIdentityProvider;
pub use mcp_client::{Event, McpAnswer, McpClient, SseClient};
pub use scripted_provider::ScriptedProvider;
pub use verifier::verified;
pub use world::{App, RegisteredClient, Tokens, World, WorldBuilder};
