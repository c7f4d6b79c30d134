//! The table of the provider's sessions in memory, with the order in which they are due.
//!
//! A claim counts up and moves the row's next check to the end of the lease, so that a claim whose
//! holder is gone is due again by itself.

use std::collections::{BTreeSet, HashMap};

use sekisho_protocol::SecretHash;

use crate::clock::Timestamp;
use crate::grant::GrantId;
use crate::seal::Sealed;
use crate::store::{ClaimedSession, ProviderLogout, ProviderSession};

#[derive(Default)]
pub(super) struct ProviderSessions {
    rows: HashMap<GrantId, Row>,
    due: BTreeSet<(Timestamp, GrantId)>,
}

struct Row {
    session: ProviderSession,
    claim: i64,
    failures: u32,
}

impl ProviderSessions {
    pub(super) fn insert(&mut self, session: &ProviderSession) {
        let not_due_yet = ProviderSession { check_at: None, ..session.clone() };
        let row = Row { session: not_due_yet, claim: 0, failures: 0 };
        self.rows.insert(session.grant_id.clone(), row);
        self.check_next(&session.grant_id, session.check_at);
    }

    pub(super) fn remove(&mut self, grant: &GrantId) {
        self.check_next(grant, None);
        self.rows.remove(grant);
    }

    pub(super) fn retain(&mut self, stays: impl Fn(&ProviderSession) -> bool) {
        let leaving: Vec<GrantId> = self
            .rows
            .values()
            .filter(|row| !stays(&row.session))
            .map(|row| row.session.grant_id.clone())
            .collect();
        for grant in leaving {
            self.remove(&grant);
        }
    }

    pub(super) fn find(&self, grant: &GrantId) -> Option<ProviderSession> {
        self.rows.get(grant).map(|row| row.session.clone())
    }

    pub(super) fn of_browser(
        &self,
        browser: &SecretHash,
    ) -> impl Iterator<Item = &ProviderSession> {
        let sessions = self.rows.values().map(|row| &row.session);
        sessions.filter(move |session| session.browser.as_ref() == Some(browser))
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
        let sessions = self.rows.values().map(|row| &row.session);
        sessions.filter(|session| is_meant(session)).cloned().collect()
    }

    pub(super) fn claim(
        &mut self,
        now: Timestamp,
        horizon: Timestamp,
        until: Timestamp,
        rows_max: u16,
    ) -> Vec<ClaimedSession> {
        let overdue = self.due.iter().take_while(|(check_at, _)| check_at.is_over(now));
        let too_far = self.due.iter().rev().take_while(|(check_at, _)| *check_at > horizon);
        let taken: Vec<GrantId> = overdue
            .chain(too_far)
            .take(usize::from(rows_max))
            .map(|(_, grant)| grant.clone())
            .collect();
        taken.iter().filter_map(|grant| self.claim_one(grant, until)).collect()
    }

    fn claim_one(&mut self, grant: &GrantId, until: Timestamp) -> Option<ClaimedSession> {
        self.check_next(grant, Some(until));
        let row = self.rows.get_mut(grant)?;
        row.claim += 1;
        Some(ClaimedSession {
            grant_id: grant.clone(),
            subject: row.session.subject.clone(),
            tokens: row.session.tokens.clone(),
            claim: row.claim,
            failures: row.failures,
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
        self.check_next(&claimed.grant_id, check_at);
        true
    }

    pub(super) fn postpone(&mut self, claimed: &ClaimedSession, check_at: Timestamp) -> bool {
        let is_ours = self.is_claimed(claimed);
        if let Some(row) = self.rows.get_mut(&claimed.grant_id).filter(|_| is_ours) {
            row.failures = row.failures.saturating_add(1);
            self.check_next(&claimed.grant_id, Some(check_at));
        }
        is_ours
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
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
