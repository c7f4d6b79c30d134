//! Documents by URL: kept as long as they say, fetched once however many ask at the same time.
//!
//! Only so many are fetched at one moment, and of one host only a few, so that nobody's slow server
//! keeps others waiting. Some places are kept for whoever has been let in before: strangers, of however
//! many networks, cannot take those.
//!
//! Nothing that failed is remembered (draft-ietf-oauth-client-id-metadata-document §4.4): what keeps
//! a stranger from making us ask in vain is the limit that the caller counts by.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::watch;
use url::Url;

use super::{Fault, Fetched, Fetcher, Reach};
use crate::clock::{Clock, Timestamp};

/// The most documents that are kept; the least used go first.
const DOCUMENTS_CACHED_MAX: usize = 1_000;

/// The most documents that are being fetched at one moment.
const FETCHES_AT_ONCE_MAX: usize = 64;

/// How many of these may be strangers'.
const STRANGERS_AT_ONCE_MAX: usize = 48;

/// How many of one host; those of strangers and of others each count for themselves, so that no
/// stranger takes a host's places from those who use it.
const FETCHES_OF_ONE_HOST_MAX: usize = 8;

/// Whose document it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Somebody relies on it: the operator wrote the client down, or a person lets it act for them.
    Known,
    /// Anybody's.
    Stranger,
}

/// Documents of one kind, understood as `T`.
pub(crate) struct Cached<T>(Arc<Shared<T>>);

struct Shared<T> {
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    bytes_max: usize,
    copies: Cache<String, Arc<Copy<T>>>,
    flights: Mutex<HashMap<String, Flight<T>>>,
}

struct Copy<T> {
    value: Arc<T>,
    fetched_at: Timestamp,
    fresh_until: Timestamp,
}

/// A fetch under way.
struct Flight<T> {
    standing: Standing,
    host: String,
    landing: Landing<T>,
}

/// What comes of a fetch; `None` until it has ended.
type Landing<T> = watch::Receiver<Option<Result<Arc<T>, Fault>>>;

impl<T> Clone for Cached<T> {
    /// The same documents.
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> Cached<T> {
    /// No document yet; none larger than `bytes_max` is read.
    pub(crate) fn new(reach: Reach, clock: Arc<dyn Clock>, bytes_max: usize) -> Self {
        Self(Arc::new(Shared {
            fetcher: Fetcher::new(reach),
            clock,
            bytes_max,
            copies: Cache::new(DOCUMENTS_CACHED_MAX),
            flights: Mutex::default(),
        }))
    }

    /// Whether the document at `url` is in memory, fresh and no older than `age_max`.
    pub(crate) fn has(&self, url: &Url, age_max: Duration) -> bool {
        self.0.young(url, age_max).is_some()
    }

    /// The document at `url`, from memory if it is fresh and no older than `age_max`. `admit` is
    /// asked before a fetch begins, `read` understands what it brings.
    pub(crate) async fn get(
        &self,
        url: &Url,
        age_max: Duration,
        standing: Standing,
        admit: impl FnOnce() -> Result<(), Duration>,
        read: impl FnOnce(&[u8]) -> Result<T, String> + Send + 'static,
    ) -> Result<Arc<T>, Fault> {
        if let Some(copy) = self.0.young(url, age_max) {
            return Ok(copy);
        }
        let mut flight = self.board(url, age_max, standing, admit, read)?;
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
        standing: Standing,
        admit: impl FnOnce() -> Result<(), Duration>,
        read: impl FnOnce(&[u8]) -> Result<T, String> + Send + 'static,
    ) -> Result<Landing<T>, Fault> {
        let mut flights = self.0.flights();
        if let Some(flight) = flights.get(url.as_str()) {
            return Ok(flight.landing.clone());
        }
        // One may have landed since the caller looked.
        if let Some(copy) = self.0.young(url, age_max) {
            return Ok(watch::channel(Some(Ok(copy))).1);
        }
        admit().map_err(Fault::TooMany)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        if !has_room(&flights, standing, &host) {
            return Err(Fault::Busy);
        }
        let (landed, landing) = watch::channel(None);
        let flight = Flight { standing, host, landing: landing.clone() };
        flights.insert(url.as_str().to_owned(), flight);
        let shared = Arc::clone(&self.0);
        // By itself, so that it ends and is cleared away though nobody waits for it any more.
        tokio::spawn(shared.fly(url.clone(), landed, read));
        Ok(landing)
    }
}

impl<T: Send + Sync + 'static> Shared<T> {
    async fn fly(
        self: Arc<Self>,
        url: Url,
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

/// Whether one more may set out. There are few enough to look at each.
fn has_room<T>(flights: &HashMap<String, Flight<T>>, standing: Standing, host: &str) -> bool {
    let at_once_max = match standing {
        Standing::Known => FETCHES_AT_ONCE_MAX,
        Standing::Stranger => STRANGERS_AT_ONCE_MAX,
    };
    let alike = |flight: &&Flight<T>| flight.standing == standing && flight.host == host;
    flights.len() < at_once_max && flights.values().filter(alike).count() < FETCHES_OF_ONE_HOST_MAX
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_leave_room_for_those_who_are_known_and_hosts_for_each_other() {
        use Standing::{Known, Stranger};
        let mut flights: HashMap<String, Flight<()>> = HashMap::new();
        let mut set_out = |standing, host: &str| {
            let is_let = has_room(&flights, standing, host);
            if is_let {
                let (url, host) = (flights.len().to_string(), host.to_owned());
                let landing = watch::channel(None).1;
                flights.insert(url, Flight { standing, host, landing });
            }
            is_let
        };
        for number in 0..FETCHES_OF_ONE_HOST_MAX {
            assert!(set_out(Stranger, "slow.example"), "{number}");
        }
        assert!(!set_out(Stranger, "slow.example"), "a host has so many places");
        assert!(set_out(Known, "slow.example"), "which are not those of its own clients");
        assert!(set_out(Stranger, "other.example"));
        let taken = (0..1000).filter(|number| set_out(Stranger, &format!("{number}.example")));
        assert_eq!(taken.count(), STRANGERS_AT_ONCE_MAX - FETCHES_OF_ONE_HOST_MAX - 2);
        let known = (0..1000).filter(|number| set_out(Known, &format!("{number}.example")));
        assert_eq!(known.count(), FETCHES_AT_ONCE_MAX - STRANGERS_AT_ONCE_MAX, "the reserve");
    }
}
