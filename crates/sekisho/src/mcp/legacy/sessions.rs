//! The table of sessions: who may find which, who makes room for whom.
//!
//! A session id proves nothing. Whoever continues a session must be the person, client and grant
//! that began it; to anybody else it does not exist.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::limits::SessionLimits;
use super::session::{Session, Transport};
use crate::clock::{Clock, Timestamp};
use crate::fleet::Fleet;
use crate::mcp::changes::{Audience, Change, Whose};
use crate::mcp::refusal::Refusal;
use crate::measure::{Limit, Places, Taken};
use crate::principal::Principal;

/// Every session of one endpoint.
#[derive(Debug)]
pub(in crate::mcp) struct Sessions {
    limits: SessionLimits,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
    fleet: Option<Arc<Fleet>>,
    table: Arc<Mutex<Table>>,
    _places: Places,
}

#[derive(Debug)]
struct Table {
    sessions: HashMap<Box<str>, Arc<Session>>,
    of_person: HashMap<Person, usize>,
    swept_at: Timestamp,
    /// As many as there are sessions, for the metrics.
    taken: Vec<Taken>,
}

/// Issuer and subject.
type Person = (String, String);

impl Sessions {
    pub(in crate::mcp) fn new(
        limits: SessionLimits,
        clock: Arc<dyn Clock>,
        shutdown: CancellationToken,
        fleet: Option<Arc<Fleet>>,
    ) -> Self {
        let places = Limit::McpSessions.has(limits.sessions_max);
        let table = Table {
            sessions: HashMap::new(),
            of_person: HashMap::new(),
            swept_at: clock.now(),
            taken: Vec::new(),
        };
        let table = Arc::new(Mutex::new(table));
        Self { limits, clock, shutdown, fleet, table, _places: places }
    }

    /// The same sessions under other limits. What a session took by the former ones it keeps.
    pub(in crate::mcp) fn limited(&self, limits: SessionLimits) -> Self {
        let (clock, table) = (Arc::clone(&self.clock), Arc::clone(&self.table));
        let places = Limit::McpSessions.has(limits.sessions_max);
        let (shutdown, fleet) = (self.shutdown.clone(), self.fleet.clone());
        Self { limits, clock, shutdown, fleet, table, _places: places }
    }

    /// All sessions, as whoever hears of changes.
    pub(in crate::mcp) fn audience(&self) -> Weak<dyn Audience> {
        let table: Weak<Mutex<Table>> = Arc::downgrade(&self.table);
        table
    }

    pub(in crate::mcp) fn limits(&self) -> &SessionLimits {
        &self.limits
    }

    /// Begins a session under a name nobody can guess, by which other instances know whose it is. None
    /// begins when all is to end soon.
    pub(in crate::mcp) fn begin(
        &self,
        transport: Transport,
        principal: Option<Arc<Principal>>,
    ) -> Result<Arc<Session>, Refusal> {
        if self.shutdown.is_cancelled() {
            return Err(Refusal::Stopping);
        }
        let now = self.clock.now();
        let mut table = self.lock();
        if table.sessions.len() >= self.limits.sessions_max
            || table.swept_at.plus(SWEEP_EVERY).is_over(now)
        {
            table.sweep(now, self.limits.idle);
        }
        if table.sessions.len() >= self.limits.sessions_max {
            Limit::McpSessions.turn_away();
            return Err(Refusal::ServerFull);
        }
        if let Some(principal) = &principal {
            let person = person(principal);
            let begun = |table: &Table| table.of_person.get(&person).copied().unwrap_or_default();
            if begun(&table) >= self.limits.sessions_per_person_max {
                table.forget_abandoned(&person, now);
            }
            if begun(&table) >= self.limits.sessions_per_person_max {
                return Err(Refusal::TooManySessions);
            }
            *table.of_person.entry(person).or_default() += 1;
        }
        let id = self.fleet.as_ref().map_or_else(crate::mint::id, |fleet| fleet.name());
        let session = Session::new(id, transport, principal, &self.limits, now);
        table.sessions.insert(session.id().into(), Arc::clone(&session));
        table.taken.push(Limit::McpSessions.take());
        Ok(session)
    }

    /// The caller's session of this name. One of somebody else is as unknown as one that never
    /// was. Finding a session keeps it alive and lets it see the caller's newest token.
    pub(in crate::mcp) fn find(
        &self,
        transport: Transport,
        id: &str,
        caller: Option<&Arc<Principal>>,
    ) -> Option<Arc<Session>> {
        let session = self.lock().sessions.get(id).cloned()?;
        if session.transport() != transport || !session.belongs_to(caller) {
            return None;
        }
        let now = self.clock.now();
        if session.ended().is_cancelled() || session.is_idle(now, self.limits.idle) {
            self.end(&session);
            return None;
        }
        session.touch(now);
        if let Some(caller) = caller {
            session.renew(caller);
        }
        Some(session)
    }

    /// Ends a session, its streams and what it is working on.
    pub(in crate::mcp) fn end(&self, session: &Session) {
        self.lock().remove(session.id());
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audience for Mutex<Table> {
    fn hear(&self, change: Change<'_>, whose: &Whose) {
        let all: Vec<Arc<Session>> = {
            let table = self.lock().unwrap_or_else(PoisonError::into_inner);
            table.sessions.values().cloned().collect()
        };
        for session in all {
            session.hear(change, whose);
        }
    }
}

impl Table {
    fn sweep(&mut self, now: Timestamp, idle: Duration) {
        self.swept_at = now;
        let ids: Vec<Box<str>> = (self.sessions.iter())
            .filter(|(_, session)| session.is_idle(now, idle))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            self.remove(&id);
        }
    }

    /// Makes room among one person's sessions. Many clients never end theirs; a script that begins
    /// one at each run must not lock its owner out.
    fn forget_abandoned(&mut self, of: &Person, now: Timestamp) {
        let abandoned = (self.sessions.values())
            .filter(|session| session.is_idle(now, ABANDONED_AFTER) && !session.is_busy())
            .filter(|session| session.principal().is_some_and(|owner| person(&owner) == *of))
            .min_by_key(|session| session.used_at())
            .map(|session| Box::<str>::from(session.id()));
        if let Some(id) = abandoned {
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &str) {
        let Some(session) = self.sessions.remove(id) else { return };
        self.taken.pop();
        if let Some(principal) = session.principal() {
            let person = person(&principal);
            if let Some(count) = self.of_person.get_mut(&person) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.of_person.remove(&person);
                }
            }
        }
        session.end();
    }
}

fn person(principal: &Principal) -> Person {
    (principal.identity.issuer.clone(), principal.identity.subject.clone())
}

/// Sweeping looks at every session, so it is not done at each request.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// A session at rest for this long gives way to a new one of its owner, if there is no other room.
const ABANDONED_AFTER: Duration = Duration::from_mins(1);
