//! The flows, in process: no sockets, and the clock stands still.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod account;
mod admission;
mod authorize;
mod bearer;
mod client_assertion;
mod client_metadata_document;
mod desktop_clients;
mod failures;
mod id_jag;
mod introspect;
mod leaks;
mod limits;
mod login_is_bound;
mod logout;
mod machine;
mod metadata;
mod person_gone;
mod provider_access;
mod provider_session;
mod refresh;
mod register;
mod remembered_consent;
mod revoke;
mod several_providers;
mod story;
mod token;
