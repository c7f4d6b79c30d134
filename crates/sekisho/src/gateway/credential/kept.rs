//! Tokens that were got for callers, kept for as long as they are good: one question at a time for
//! each caller, however many calls want its answer.
//!
//! Kept by the hash of what the client showed us, so that a token says of a caller what the guard says
//! of that token. A failure is remembered for a moment, so that a provider that is down is not asked
//! for each call. A token that the server refused is traded for another, but if that is refused too,
//! no sooner than half a minute later.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use sekisho_protocol::{Secret, SecretHash};
use tokio::time::timeout;

use super::{CallerToken, CallerTokens, NotIntroduced};
use crate::clock::{Clock, Timestamp};
use crate::principal::Principal;

/// How long a token has to go on being good, at least, when it is sent. One that never lives so long
/// is sent once.
pub const FRESH_AT_LEAST: Duration = Duration::from_secs(15);
/// Longest that a call waits for its token.
pub const TOKEN_WAIT: Duration = Duration::from_secs(30);
/// Callers whose tokens are kept; the least used go first.
const KEPT_MAX: usize = 10_000;
/// How long a failure is an answer.
const FAILURE_KEPT: Duration = Duration::from_secs(5);
/// How long the successor of a refused token is sent at least, even if the server refuses it too.
const REFUSAL_IGNORED: Duration = Duration::from_secs(30);
/// How long a token is kept that does not say when it ends.
const UNKNOWN_LIFE: Duration = Duration::from_mins(1);

/// Tokens of callers, from `source`.
#[derive(Debug)]
pub struct KeptTokens {
    source: Arc<dyn CallerTokens>,
    clock: Arc<dyn Clock>,
    kept: Cache<SecretHash, Arc<Place>>,
}

/// What is known for one caller. Who asks holds it, and the others wait.
#[derive(Debug, Default)]
struct Place(tokio::sync::Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    outcome: Result<Secret, NotIntroduced>,
    got_at: Timestamp,
    /// Until when it is an answer.
    until: Timestamp,
    is_refused: bool,
    /// The one before was refused.
    is_successor: bool,
}

impl KeptTokens {
    /// Keeps what `source` gives.
    pub fn new(source: Arc<dyn CallerTokens>, clock: Arc<dyn Clock>) -> Self {
        Self { source, clock, kept: Cache::new(KEPT_MAX) }
    }

    /// The token that introduces `caller`.
    pub(super) async fn token_for(&self, caller: &Arc<Principal>) -> Result<Secret, NotIntroduced> {
        let outcome = timeout(TOKEN_WAIT, self.asked(caller)).await;
        let too_slow = || format!("it took longer than {} s", TOKEN_WAIT.as_secs());
        outcome.unwrap_or_else(|_| Err(NotIntroduced::Unavailable(too_slow())))
    }

    async fn asked(&self, caller: &Arc<Principal>) -> Result<Secret, NotIntroduced> {
        let place = self.place(caller);
        let mut kept = place.0.lock().await;
        let now = self.clock.now();
        let mut refused = None;
        if let Some(Kept { outcome, until, is_refused, .. }) = &*kept
            && !until.is_over(now)
        {
            match outcome {
                Ok(token) if *is_refused => refused = Some(token.hash()),
                known => return known.clone(),
            }
        }
        let got = self.source.token_for(caller, refused.as_ref()).await;
        // What was asked may have taken its time.
        let now = self.clock.now();
        let (outcome, until) = match got {
            Ok(CallerToken { token, ends_at }) => {
                let until = ends_at.map_or(now.plus(UNKNOWN_LIFE), |end| end.minus(FRESH_AT_LEAST));
                (Ok(token), until)
            }
            Err(reason) => (Err(reason), now.plus(FAILURE_KEPT)),
        };
        *kept = Some(Kept {
            outcome: outcome.clone(),
            got_at: now,
            until,
            is_refused: false,
            is_successor: refused.is_some(),
        });
        outcome
    }

    /// Lets the next call have another token, if it is still this one.
    pub(super) fn was_refused(&self, caller: &Principal, is_this: impl Fn(&Secret) -> bool) {
        let now = self.clock.now();
        if let Some(place) = self.kept.peek(&caller.token)
            // Whoever holds it is just getting another.
            && let Ok(mut kept) = place.0.try_lock()
            && let Some(kept) = kept.as_mut()
            && kept.outcome.as_ref().is_ok_and(is_this)
            && (!kept.is_successor || kept.got_at.plus(REFUSAL_IGNORED).is_over(now))
        {
            kept.is_refused = true;
        }
    }

    fn place(&self, caller: &Principal) -> Arc<Place> {
        let made = self.kept.get_or_insert_with(&caller.token, || {
            Ok::<_, std::convert::Infallible>(Arc::default())
        });
        match made {
            Ok(place) => place,
        }
    }
}
