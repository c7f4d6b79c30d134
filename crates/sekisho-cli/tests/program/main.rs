//! The outside of the program: the real binary, in a folder of its own, on a free port.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must stop"
)]

mod client;
mod crowd;
mod doctor;
mod eras;
mod external;
mod faults;
mod flows;
mod grant;
mod guarding;
mod harness;
mod introducing;
mod key;
mod merged;
mod metrics;
mod person;
mod processes;
mod proxy;
mod reload;
mod remote;
mod replicas;
mod rules;
mod schema;
mod service_manager;
mod settings;
mod starting;
mod stdio;
mod stopping;
mod traces;
mod user;
mod wire;
