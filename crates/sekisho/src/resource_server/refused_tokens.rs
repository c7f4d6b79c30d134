//! How many wrong tokens one address may show at the checkpoint.
//!
//! Counted after a token was found wrong, so a valid one costs nothing and always opens, also from an
//! address that others guess from. No token at all never counts: that is how clients begin.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::front::ClientAddress;
use crate::front::rate::PerAddress;

/// Wrong tokens from one address in a minute; one for all endpoints.
#[derive(Debug)]
pub struct RefusedTokens(PerAddress);

impl RefusedTokens {
    /// A burst of that number, then as many a minute.
    pub fn new(per_minute: NonZeroU32) -> Self {
        Self(PerAddress::new(per_minute))
    }

    /// Counts one wrong token.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(super) fn count(&self, ClientAddress(address): ClientAddress) -> Result<(), Duration> {
        self.0.count(address)
    }
}
