//! How often one grant may be refreshed. Other limits are [`Per`] a key as they are.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use quick_cache::sync::Cache;
use sekisho_protocol::SecretHash;

use crate::front::rate::{KEYS_MAX, Per};
use crate::grant::GrantId;

/// A limit for each grant, by which one token counts once.
pub(super) struct PerGrant {
    limit: Per<GrantId>,
    /// What was counted lately, so that asking for the same once more costs nothing.
    counted: Cache<SecretHash, ()>,
}

impl fmt::Debug for PerGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerGrant").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl PerGrant {
    pub(super) fn new(per_minute: NonZeroU32) -> Self {
        Self { limit: Per::new(per_minute), counted: Cache::new(KEYS_MAX) }
    }

    /// As [`Per::renewed`].
    pub(super) fn renewed(&self, per_minute: NonZeroU32) -> Self {
        Self { limit: self.limit.renewed(per_minute), counted: Cache::new(KEYS_MAX) }
    }

    /// Counts the first request with this token, and lets those after it pass.
    ///
    /// # Errors
    /// How long to wait, when there were too many before it.
    pub(super) fn count_once(&self, grant: &GrantId, token: &SecretHash) -> Result<(), Duration> {
        self.counted.get_or_insert_with(token, || self.count(grant))
    }

    /// Counts one request.
    ///
    /// # Errors
    /// How long to wait, when there were too many.
    pub(super) fn count(&self, grant: &GrantId) -> Result<(), Duration> {
        self.limit.count(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_shown_many_times_counts_once() {
        let limit = PerGrant::new(NonZeroU32::MIN);
        let (grant, other) = (GrantId::new("grant"), GrantId::new("other"));
        let [first, second] = [SecretHash::of(b"first"), SecretHash::of(b"second")];
        for _ in 0..50 {
            assert!(limit.count_once(&grant, &first).is_ok());
        }
        for _ in 0..2 {
            assert!(limit.count_once(&grant, &second).is_err(), "refused, so not counted either");
        }
        assert!(limit.count_once(&other, &second).is_ok(), "another grant");
    }
}
