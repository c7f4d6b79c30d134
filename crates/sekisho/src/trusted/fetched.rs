//! A document of another server that is fetched when it is needed, by one caller at a time.
//!
//! Whoever finds what it needs in the copy at hand never waits for a fetch, nor for its lock.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

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
    held: RwLock<Held<T>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Held<T> {
    copy: Option<(Arc<T>, Timestamp)>,
    failure: Option<(Fault, Timestamp)>,
    fruitless_at: Option<Timestamp>,
}

impl<T> Fetched<T> {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let held = Held { copy: None, failure: None, fruitless_at: None };
        Self { clock, held: RwLock::new(held), turn: tokio::sync::Mutex::new(()) }
    }

    /// The copy at hand if it is young enough, else what `fetch` brings.
    pub(crate) async fn no_older_than(
        &self,
        age: Duration,
        fetch: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<Arc<T>, Fault> {
        if let Some(copy) = self.younger_than(age) {
            return Ok(copy);
        }
        let _turn = self.turn.lock().await;
        if let Some(copy) = self.younger_than(age) {
            return Ok(copy);
        }
        if let Some(fault) = self.recent_failure() {
            return Err(fault);
        }
        self.fetch(fetch).await
    }

    /// A newer copy than `seen`, in which something was missing; `None` if the last newer copy was
    /// fetched in vain a moment ago. `is_useful` says whether the missing thing is in it.
    pub(crate) async fn newer_than(
        &self,
        seen: &Arc<T>,
        is_useful: impl Fn(&T) -> bool + Send + Sync,
        fetch: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<Option<Arc<T>>, Fault> {
        let _turn = self.turn.lock().await;
        if let Some(copy) = self.copy().filter(|copy| !Arc::ptr_eq(copy, seen) && is_useful(copy)) {
            return Ok(Some(copy));
        }
        if self.is_cooling_down() {
            return Ok(None);
        }
        if let Some(fault) = self.recent_failure() {
            return Err(fault);
        }
        let copy = self.fetch(fetch).await?;
        if !is_useful(&copy) {
            self.change(|held| held.fruitless_at = Some(self.clock.now()));
        }
        Ok(Some(copy))
    }

    async fn fetch(
        &self,
        fetch: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<Arc<T>, Fault> {
        let fetched = fetch.await.map(Arc::new);
        let now = self.clock.now();
        self.change(|held| match &fetched {
            Ok(copy) => {
                held.copy = Some((Arc::clone(copy), now));
                held.failure = None;
            }
            Err(fault) => held.failure = Some((fault.clone(), now)),
        });
        fetched
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

    fn recent_failure(&self) -> Option<Fault> {
        let now = self.clock.now();
        self.read(|held| {
            let (fault, at) = held.failure.as_ref()?;
            (!at.plus(RETRY_AFTER).is_over(now)).then(|| fault.clone())
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

    fn change(&self, step: impl FnOnce(&mut Held<T>)) {
        step(&mut self.held.write().unwrap_or_else(PoisonError::into_inner));
    }
}
