//! Put OAuth 2.1 in front of any MCP server.
//!
//! Two roles that never import each other meet in the [`store`]: the [`authorization_server`] gives
//! tokens out, the [`resource_server`] lets them in. What is guarded is an [`mcp`] service, or any
//! `tower` service of yours.

mod audit;
pub mod authorization_server;
pub mod clock;
pub mod fetch;
pub mod fleet;
pub mod front;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod gateway;
mod gathered;
pub mod grant;
pub mod identity_provider;
mod jwks;
pub mod mcp;
pub mod measure;
mod mint;
pub mod pages;
pub mod policy;
pub mod principal;
pub mod resource_server;
pub mod seal;
pub mod signing;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod store;
mod trusted;

pub use gathered::Gathered;
pub use sekisho_protocol as protocol;
