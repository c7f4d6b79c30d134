//! Calls whose server has asked something, while their client of 2026-07-28 finds the answer and
//! calls again. The server's own call stays open meanwhile, in this process alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sekisho_protocol::mcp::{INTERNAL_ERROR, McpError};
use serde_json::value::RawValue;

use super::limits::GatewayLimits;
use super::upstream::{Exchange, Question};
use crate::principal::{Person, Principal};

/// A call that waits, and for what.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) exchange: Exchange,
    pub(super) question: Question,
}

/// All of them, by a name that only the caller's sealed state tells.
#[derive(Debug)]
pub(super) struct HeldCalls {
    calls: Arc<Mutex<HashMap<String, Kept>>>,
    most: usize,
    most_of_person: usize,
    wait: Duration,
}

#[derive(Debug)]
struct Kept {
    person: Option<Person>,
    held: Held,
}

impl HeldCalls {
    pub(super) fn new(limits: &GatewayLimits) -> Self {
        Self {
            calls: Arc::default(),
            most: limits.held_calls_max,
            most_of_person: limits.held_calls_per_person_max,
            wait: limits.answer_wait,
        }
    }

    /// Keeps a call until its client comes back, but not for ever: then the server hears that it
    /// is cancelled. Answers the call's name.
    pub(super) fn keep(
        &self,
        caller: Option<&Arc<Principal>>,
        held: Held,
    ) -> Result<String, McpError> {
        let mut calls = lock(&self.calls);
        let person = caller.map(Principal::person);
        let of_person = calls.values().filter(|kept| kept.person == person).count();
        if calls.len() >= self.most || of_person >= self.most_of_person {
            return Err(McpError::new(INTERNAL_ERROR, "too many calls wait for their clients"));
        }
        let name = crate::mint::id();
        calls.insert(name.clone(), Kept { person, held });
        drop(calls);
        let (calls, forgotten, wait) = (Arc::clone(&self.calls), name.clone(), self.wait);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let forgotten = lock(&calls).remove(&forgotten);
            drop(forgotten);
        });
        Ok(name)
    }

    /// The call of this name, if this caller left it here.
    pub(super) fn take(
        &self,
        caller: Option<&Arc<Principal>>,
        state: &RawValue,
    ) -> Result<Held, McpError> {
        let gone =
            || McpError::invalid_params("this call does not wait here any more: make it anew");
        let name: String = serde_json::from_str(state.get()).map_err(|_| gone())?;
        let mut calls = lock(&self.calls);
        if calls.get(&name).ok_or_else(gone)?.person != caller.map(Principal::person) {
            return Err(gone());
        }
        calls.remove(&name).map(|kept| kept.held).ok_or_else(gone)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
