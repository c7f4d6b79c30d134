//! What the tests stand on. Never shipped.

pub mod clock;
