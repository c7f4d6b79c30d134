//! The table of the provider's sessions in memory, with the order in which they are due.
//!
//! A claim counts up and moves the row's next check to the end of the lease, so that a claim whose
//! holder is gone is due again by itself.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use sekisho_protocol::SecretHash;

use crate::clock::Timestamp;
use crate::grant::GrantId;
use crate::seal::Sealed;
use crate::store::{
    CLOCKS_APART_MAX, ClaimedSession, Due, DueSessions, ProviderLogout, ProviderSession,
};

#[derive(Default)]
pub(super) struct ProviderSessions {
    rows: HashMap<GrantId, Row>,
    due: BTreeSet<(Timestamp, GrantId)>,
}

struct Row {
    session: ProviderSession,
    claim: i64,
    failures: u32,
    /// Since when nothing hangs on it here.
    over_since: Option<Timestamp>,
    /// Until when somebody asks about it.
    claimed_until: Option<Timestamp>,
}

impl Row {
    /// Whether it says that this person is there.
    fn speaks_for(&self, issuer: &str, subject: &str) -> bool {
        self.over_since.is_none()
            && self.session.issuer == issuer
            && self.session.subject == subject
    }

    /// Whether nobody has it. A claim that ends later than any can, by whichever clock, is of one that was
    /// set back.
    fn is_free(&self, now: Timestamp, until: Timestamp) -> bool {
        self.claimed_until.is_none_or(|end| end.is_over(now) || end > until.plus(CLOCKS_APART_MAX))
    }
}

impl Row {
    fn claimed(&mut self, due: Due, until: Timestamp) -> ClaimedSession {
        self.claim += 1;
        self.claimed_until = Some(until);
        ClaimedSession {
            grant_id: self.session.grant_id.clone(),
            due,
            issuer: self.session.issuer.clone(),
            subject: self.session.subject.clone(),
            tokens: self.session.tokens.clone(),
            claim: self.claim,
            failures: self.failures,
        }
    }
}

impl ProviderSessions {
    pub(super) fn insert(&mut self, session: &ProviderSession) {
        let not_due_yet = ProviderSession { check_at: None, ..session.clone() };
        let row = Row {
            session: not_due_yet,
            claim: 0,
            failures: 0,
            over_since: None,
            claimed_until: None,
        };
        self.rows.insert(session.grant_id.clone(), row);
        self.check_next(&session.grant_id, session.check_at);
    }

    pub(super) fn remove(&mut self, grant: &GrantId) {
        self.check_next(grant, None);
        self.rows.remove(grant);
    }

    /// Nothing hangs on it any more: the provider is told, if there is something to tell it with.
    pub(super) fn bid_farewell(&mut self, grant: &GrantId, now: Timestamp) {
        let Some(row) = self.rows.get_mut(grant).filter(|row| row.over_since.is_none()) else {
            return;
        };
        if row.session.check_at.is_none() {
            return self.remove(grant);
        }
        row.over_since = Some(now);
        row.claim += 1;
        row.failures = 0;
        self.check_next(grant, Some(now));
    }

    /// As `bid_farewell`, to all for which this is so.
    pub(super) fn bid_farewell_unless(
        &mut self,
        now: Timestamp,
        stays: impl Fn(&ProviderSession) -> bool,
    ) -> u64 {
        let leaving: Vec<GrantId> = self
            .living()
            .filter(|session| !stays(session))
            .map(|session| session.grant_id.clone())
            .collect();
        for grant in &leaving {
            self.bid_farewell(grant, now);
        }
        super::count(leaving.len())
    }

    pub(super) fn forget_farewells(&mut self, now: Timestamp, kept: Duration) -> u64 {
        let is_old = |row: &&Row| row.over_since.is_some_and(|since| since.plus(kept).is_over(now));
        let old = self.rows.values().filter(is_old).map(|row| row.session.grant_id.clone());
        let old: Vec<GrantId> = old.collect();
        for grant in &old {
            self.remove(grant);
        }
        super::count(old.len())
    }

    pub(super) fn find(&self, grant: &GrantId) -> Option<ProviderSession> {
        let row = self.rows.get(grant).filter(|row| row.over_since.is_none());
        row.map(|row| row.session.clone())
    }

    /// Whether a session with offline access, about which the provider is asked, says that the person
    /// is there.
    pub(super) fn is_person_followed(&self, issuer: &str, subject: &str) -> bool {
        self.rows.values().any(|row| {
            row.speaks_for(issuer, subject)
                && row.session.is_offline
                && row.session.check_at.is_some()
        })
    }

    pub(super) fn of_browser(
        &self,
        browser: &SecretHash,
    ) -> impl Iterator<Item = &ProviderSession> {
        self.living().filter(move |session| session.browser.as_ref() == Some(browser))
    }

    pub(super) fn meant_by(&self, logout: &ProviderLogout) -> Vec<ProviderSession> {
        let is_meant = |session: &ProviderSession| {
            session.issuer == logout.issuer
                && match (&logout.subject, &logout.sid) {
                    (Some(subject), Some(_)) => {
                        session.subject == *subject
                            && (session.sid.is_none() || session.sid == logout.sid)
                    }
                    (Some(subject), None) => session.subject == *subject,
                    (None, Some(_)) => session.sid == logout.sid,
                    (None, None) => false,
                }
        };
        self.living().filter(|session| is_meant(session)).cloned().collect()
    }

    fn living(&self) -> impl Iterator<Item = &ProviderSession> {
        self.rows.values().filter(|row| row.over_since.is_none()).map(|row| &row.session)
    }

    pub(super) fn claim(
        &mut self,
        now: Timestamp,
        horizon: Timestamp,
        until: Timestamp,
        rows_max: u16,
        which: DueSessions,
    ) -> Vec<ClaimedSession> {
        let overdue = self.due.iter().take_while(|(check_at, _)| check_at.is_over(now));
        let too_far = self.due.iter().rev().take_while(|(check_at, _)| *check_at > horizon);
        let taken: Vec<GrantId> = overdue
            .chain(too_far)
            .filter(|(_, grant)| {
                let row = self.rows.get(grant);
                row.is_some_and(|row| row.over_since.is_some() || row.is_free(now, until))
            })
            .filter(|(_, grant)| match which {
                DueSessions::All => true,
                DueSessions::Farewells => {
                    self.rows.get(grant).is_some_and(|row| row.over_since.is_some())
                }
            })
            .take(usize::from(rows_max))
            .map(|(_, grant)| grant.clone())
            .collect();
        taken.iter().filter_map(|grant| self.claim_one(grant, until)).collect()
    }

    pub(super) fn claim_alone(
        &mut self,
        grant: &GrantId,
        now: Timestamp,
        until: Timestamp,
    ) -> Option<ClaimedSession> {
        let row = self.rows.get_mut(grant)?;
        let is_free = row.over_since.is_none() && row.is_free(now, until);
        is_free.then(|| row.claimed(Due::Question, until))
    }

    fn claim_one(&mut self, grant: &GrantId, until: Timestamp) -> Option<ClaimedSession> {
        self.check_next(grant, Some(until));
        let due = self.due_of(grant)?;
        self.rows.get_mut(grant).map(|row| row.claimed(due, until))
    }

    fn due_of(&self, grant: &GrantId) -> Option<Due> {
        let row = self.rows.get(grant)?;
        let ProviderSession { issuer, subject, .. } = &row.session;
        Some(if row.over_since.is_none() {
            Due::Question
        } else if self.rows.values().any(|other| other.speaks_for(issuer, subject)) {
            Due::SilentFarewell
        } else {
            Due::Farewell
        })
    }

    pub(super) fn is_claimed(&self, claimed: &ClaimedSession) -> bool {
        self.rows.get(&claimed.grant_id).is_some_and(|row| row.claim == claimed.claim)
    }

    pub(super) fn renew(
        &mut self,
        claimed: &ClaimedSession,
        tokens: &Sealed,
        check_at: Option<Timestamp>,
    ) -> bool {
        let row = self.rows.get_mut(&claimed.grant_id);
        let Some(row) = row.filter(|row| row.session.tokens == claimed.tokens) else {
            return false;
        };
        row.session.tokens = tokens.clone();
        row.claim += 1;
        row.failures = 0;
        row.claimed_until = None;
        if row.over_since.is_none() {
            self.check_next(&claimed.grant_id, check_at);
        }
        true
    }

    pub(super) fn postpone(&mut self, claimed: &ClaimedSession, check_at: Timestamp) -> bool {
        let is_ours = self.is_claimed(claimed);
        if let Some(row) = self.rows.get_mut(&claimed.grant_id).filter(|_| is_ours) {
            row.failures = row.failures.saturating_add(1);
            row.claimed_until = None;
            self.check_next(&claimed.grant_id, Some(check_at));
        }
        is_ours
    }

    fn check_next(&mut self, grant: &GrantId, check_at: Option<Timestamp>) {
        let Some(row) = self.rows.get_mut(grant) else { return };
        if let Some(before) = row.session.check_at {
            self.due.remove(&(before, grant.clone()));
        }
        row.session.check_at = check_at;
        if let Some(check_at) = check_at {
            self.due.insert((check_at, grant.clone()));
        }
    }
}
