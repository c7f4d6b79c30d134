//! How many wrong tokens one address may show at the checkpoint.
//!
//! Counted after a token was found wrong, so a valid one costs nothing and always opens, also from an
//! address that others guess from; but for one that another server would have to be asked about and
//! that was never good before. No token at all never counts: that is how clients begin.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::front::ClientAddress;
use crate::front::rate::{KEYS_MAX, PerAddress};

/// Wrong tokens from one address in a minute; one for all endpoints.
#[derive(Debug)]
pub struct RefusedTokens {
    limit: PerAddress,
    /// Networks that showed too many, and until when.
    over: Arc<Cache<IpAddr, Instant>>,
}

impl RefusedTokens {
    /// A burst of that number, then as many a minute.
    pub fn new(per_minute: NonZeroU32) -> Self {
        Self { limit: PerAddress::new(per_minute), over: Arc::new(Cache::new(KEYS_MAX)) }
    }

    /// The limit that is wanted from now on. Who has to wait goes on waiting; what was counted stays
    /// counted, unless the limit is another.
    #[must_use]
    pub fn renewed(&self, per_minute: NonZeroU32) -> Self {
        Self { limit: self.limit.renewed(per_minute), over: Arc::clone(&self.over) }
    }

    /// Counts one wrong token.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(super) fn count(&self, address: ClientAddress) -> Result<(), Duration> {
        self.limit.count(address.0).inspect_err(|wait| {
            self.over.insert(address.network(), Instant::now() + *wait);
        })
    }

    /// How long an address that showed too many has to wait.
    pub(super) fn wait_of(&self, address: ClientAddress) -> Option<Duration> {
        let until = self.over.get(&address.network())?;
        let wait = until.saturating_duration_since(Instant::now());
        (!wait.is_zero()).then_some(wait)
    }
}
