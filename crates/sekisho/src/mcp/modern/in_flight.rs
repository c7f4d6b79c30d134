//! How many requests one person has at once. There are no sessions to count them by.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::mcp::legacy::Caller;
use crate::principal::Person;

#[derive(Debug)]
pub(super) struct InFlight {
    most: usize,
    of_person: Arc<Mutex<HashMap<Person, usize>>>,
}

/// One request's place; given back however it ends.
#[derive(Debug)]
pub(super) struct Place {
    of_person: Arc<Mutex<HashMap<Person, usize>>>,
    person: Person,
}

impl InFlight {
    pub(super) fn new(most: usize) -> Self {
        Self { most, of_person: Arc::default() }
    }

    /// The same requests under another limit.
    pub(super) fn limited(&self, most: usize) -> Self {
        Self { most, of_person: Arc::clone(&self.of_person) }
    }

    /// A place for a request that goes on; `Err` if its person has no more. Nobody is not counted.
    pub(super) fn enter(&self, caller: &Caller) -> Result<Option<Place>, TooMany> {
        let Some(caller) = caller else { return Ok(None) };
        let person = caller.person();
        let mut of_person = lock(&self.of_person);
        let count = of_person.entry(person.clone()).or_default();
        if *count >= self.most {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Some(Place { of_person: Arc::clone(&self.of_person), person }))
    }
}

/// This person has as many requests at once as one may have.
#[derive(Debug)]
pub(super) struct TooMany;

impl Drop for Place {
    fn drop(&mut self) {
        let mut of_person = lock(&self.of_person);
        if let Some(count) = of_person.get_mut(&self.person) {
            *count -= 1;
            if *count == 0 {
                of_person.remove(&self.person);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
