//! A document of another server that is fetched when it is needed, by one caller at a time.
//!
//! Whoever finds what it needs in the copy at hand never waits for a fetch, nor for its lock. A fetch
//! that has begun goes on when its caller gives up: hanging up makes nobody be asked again.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::wire::Fault;
use crate::clock::{Clock, Timestamp};

/// How long a failed fetch is answered from memory, so that a server that is down is not asked
/// once for every caller.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// How long nobody may ask for a newer copy after a newer copy was of no use: what a flood of
/// made-up key ids costs is one fetch in this time.
pub(crate) const FRUITLESS_COOL_DOWN: Duration = Duration::from_secs(30);

/// The newest copy of a document, and what is known of getting a newer one.
#[derive(Debug)]
pub(crate) struct Fetched<T> {
    clock: Arc<dyn Clock>,
    held: Arc<RwLock<Held<T>>>,
    turn: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct Held<T> {
    copy: Option<(Arc<T>, Timestamp)>,
    failure: Option<(Fault, Timestamp)>,
    fruitless_at: Option<Timestamp>,
}

impl<T: Send + Sync + 'static> Fetched<T> {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let held = Held { copy: None, failure: None, fruitless_at: None };
        Self { clock, held: Arc::new(RwLock::new(held)), turn: Arc::default() }
    }

    /// The copy at hand if it is young enough, else what `fetch` brings.
    pub(crate) async fn no_older_than(
        &self,
        age: Duration,
        fetch: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<Arc<T>, Fault> {
        if let Some(copy) = self.younger_than(age) {
            return Ok(copy);
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if let Some(copy) = self.younger_than(age) {
            return Ok(copy);
        }
        if let Some(fault) = self.failure_within(RETRY_AFTER) {
            return Err(fault);
        }
        self.fetch(turn, fetch, |_| true).await
    }

    /// A newer copy than `seen`, in which something was missing; `None` if the last newer copy was
    /// fetched in vain a moment ago. `is_useful` says whether the missing thing is in it.
    pub(crate) async fn newer_than(
        &self,
        seen: &Arc<T>,
        is_useful: impl Fn(&T) -> bool + Send + 'static,
        fetch: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<Option<Arc<T>>, Fault> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if let Some(copy) = self.copy().filter(|copy| !Arc::ptr_eq(copy, seen) && is_useful(copy)) {
            return Ok(Some(copy));
        }
        if self.is_cooling_down() {
            return Ok(None);
        }
        if let Some(fault) = self.failure_within(RETRY_AFTER) {
            return Err(fault);
        }
        self.fetch(turn, fetch, is_useful).await.map(Some)
    }

    async fn fetch(
        &self,
        turn: OwnedMutexGuard<()>,
        fetch: impl Future<Output = Result<T, Fault>> + Send + 'static,
        is_useful: impl Fn(&T) -> bool + Send + 'static,
    ) -> Result<Arc<T>, Fault> {
        let (clock, held) = (Arc::clone(&self.clock), Arc::clone(&self.held));
        let fetching = tokio::spawn(async move {
            let fetched = fetch.await.map(Arc::new);
            let now = clock.now();
            let mut held = held.write().unwrap_or_else(PoisonError::into_inner);
            match &fetched {
                Ok(copy) => {
                    held.copy = Some((Arc::clone(copy), now));
                    held.failure = None;
                    if !is_useful(copy) {
                        held.fruitless_at = Some(now);
                    }
                }
                Err(fault) => held.failure = Some((fault.clone(), now)),
            }
            drop(held);
            drop(turn);
            fetched
        });
        fetching.await.unwrap_or_else(|_| Err(Fault::Unacceptable("the fetch ended".into())))
    }

    /// The copy at hand, if it is young enough.
    pub(crate) fn younger_than(&self, age: Duration) -> Option<Arc<T>> {
        let now = self.clock.now();
        self.read(|held| {
            let (copy, since) = held.copy.as_ref()?;
            (!since.plus(age).is_over(now)).then(|| Arc::clone(copy))
        })
    }

    /// The copy at hand, however old.
    pub(crate) fn copy(&self) -> Option<Arc<T>> {
        self.read(|held| held.copy.as_ref().map(|(copy, _)| Arc::clone(copy)))
    }

    /// Whether the last fetch failed, no longer than `age` ago.
    pub(crate) fn has_failed_within(&self, age: Duration) -> bool {
        self.failure_within(age).is_some()
    }

    fn failure_within(&self, age: Duration) -> Option<Fault> {
        let now = self.clock.now();
        self.read(|held| {
            let (fault, at) = held.failure.as_ref()?;
            (!at.plus(age).is_over(now)).then(|| fault.clone())
        })
    }

    fn is_cooling_down(&self) -> bool {
        let now = self.clock.now();
        self.read(|held| held.fruitless_at)
            .is_some_and(|at| !at.plus(FRUITLESS_COOL_DOWN).is_over(now))
    }

    fn read<R>(&self, look: impl FnOnce(&Held<T>) -> R) -> R {
        look(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }
}
