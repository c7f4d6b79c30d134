//! What the tests stand on. Never shipped.

pub mod clock;
pub mod store_contract;
