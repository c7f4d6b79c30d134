//! Documents by URL: kept as long as they say, fetched once however many ask at the same time.
//!
//! Nothing that failed is remembered (draft-ietf-oauth-client-id-metadata-document §4.4): what keeps
//! a stranger from making us ask in vain is the limit that the caller counts by.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use url::Url;

use super::{Fault, Fetched, Fetcher, Reach};
use crate::clock::{Clock, Timestamp};

/// The most documents that are kept; the least used go first.
const DOCUMENTS_CACHED_MAX: usize = 1_000;

/// The most documents that are being fetched at one moment.
const FETCHES_AT_ONCE_MAX: usize = 64;

/// Documents of one kind, understood as `T`.
pub(crate) struct Cached<T>(Arc<Shared<T>>);

struct Shared<T> {
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    bytes_max: usize,
    copies: Cache<String, Arc<Copy<T>>>,
    flights: Mutex<HashMap<String, Flight<T>>>,
    seats: Arc<Semaphore>,
}

struct Copy<T> {
    value: Arc<T>,
    fetched_at: Timestamp,
    fresh_until: Timestamp,
}

/// A fetch under way; `None` until it has ended.
type Flight<T> = watch::Receiver<Option<Result<Arc<T>, Fault>>>;

impl<T: Send + Sync + 'static> Cached<T> {
    /// No document yet; none larger than `bytes_max` is read.
    pub(crate) fn new(reach: Reach, clock: Arc<dyn Clock>, bytes_max: usize) -> Self {
        Self(Arc::new(Shared {
            fetcher: Fetcher::new(reach),
            clock,
            bytes_max,
            copies: Cache::new(DOCUMENTS_CACHED_MAX),
            flights: Mutex::default(),
            seats: Arc::new(Semaphore::new(FETCHES_AT_ONCE_MAX)),
        }))
    }

    /// The document at `url`, from memory if it is fresh and no older than `age_max`. `admit` is
    /// asked before a fetch begins, `read` understands what it brings.
    pub(crate) async fn get(
        &self,
        url: &Url,
        age_max: Duration,
        admit: impl FnOnce() -> Result<(), Duration>,
        read: impl FnOnce(&[u8]) -> Result<T, String> + Send + 'static,
    ) -> Result<Arc<T>, Fault> {
        if let Some(copy) = self.0.young(url, age_max) {
            return Ok(copy);
        }
        let mut flight = self.board(url, age_max, admit, read)?;
        match flight.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(landed)) => landed.clone(),
            // The fetch did not get to its end.
            Ok(None) | Err(_) => Err(Fault::Busy),
        }
    }

    /// A fetch of this document that is under way, else a new one.
    fn board(
        &self,
        url: &Url,
        age_max: Duration,
        admit: impl FnOnce() -> Result<(), Duration>,
        read: impl FnOnce(&[u8]) -> Result<T, String> + Send + 'static,
    ) -> Result<Flight<T>, Fault> {
        let mut flights = self.0.flights();
        if let Some(flight) = flights.get(url.as_str()) {
            return Ok(flight.clone());
        }
        // One may have landed since the caller looked.
        if let Some(copy) = self.0.young(url, age_max) {
            return Ok(watch::channel(Some(Ok(copy))).1);
        }
        admit().map_err(Fault::TooMany)?;
        let seat = Arc::clone(&self.0.seats).try_acquire_owned().map_err(|_| Fault::Busy)?;
        let (landed, flight) = watch::channel(None);
        flights.insert(url.as_str().to_owned(), flight.clone());
        let shared = Arc::clone(&self.0);
        // By itself, so that it ends and is cleared away though nobody waits for it any more.
        tokio::spawn(shared.fly(url.clone(), seat, landed, read));
        Ok(flight)
    }
}

impl<T: Send + Sync + 'static> Shared<T> {
    async fn fly(
        self: Arc<Self>,
        url: Url,
        _seat: OwnedSemaphorePermit,
        landed: watch::Sender<Option<Result<Arc<T>, Fault>>>,
        read: impl FnOnce(&[u8]) -> Result<T, String> + Send + 'static,
    ) {
        let cleared = Cleared { shared: Arc::clone(&self), url: url.as_str().to_owned() };
        let outcome = match self.fetcher.get(&url, self.bytes_max).await {
            Ok(fetched) => self.keep(&url, &fetched, read),
            Err(fault) => Err(fault),
        };
        drop(cleared);
        landed.send_replace(Some(outcome));
    }

    fn keep(
        &self,
        url: &Url,
        fetched: &Fetched,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Arc<T>, Fault> {
        let value = Arc::new(read(&fetched.body).map_err(Fault::Unusable)?);
        let fetched_at = self.clock.now();
        let fresh_until = fetched_at.plus(fetched.fresh_for);
        let copy = Copy { value: Arc::clone(&value), fetched_at, fresh_until };
        self.copies.insert(url.as_str().to_owned(), Arc::new(copy));
        Ok(value)
    }

    fn young(&self, url: &Url, age_max: Duration) -> Option<Arc<T>> {
        let now = self.clock.now();
        let copy = self.copies.get(url.as_str())?;
        let is_young = !copy.fresh_until.is_over(now)
            && !copy.fetched_at.plus(age_max).is_over(now)
            // A clock that was set back must not keep a copy for ever.
            && copy.fetched_at <= now;
        is_young.then(|| Arc::clone(&copy.value))
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<String, Flight<T>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a fetch off the list, however it ended.
struct Cleared<T: Send + Sync + 'static> {
    shared: Arc<Shared<T>>,
    url: String,
}

impl<T: Send + Sync + 'static> Drop for Cleared<T> {
    fn drop(&mut self) {
        self.shared.flights().remove(&self.url);
    }
}

impl<T> fmt::Debug for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("copies", &self.0.copies.len())
            .field("bytes_max", &self.0.bytes_max)
            .finish_non_exhaustive()
    }
}
