//! Keeps access tokens in memory in front of another store, so that the guard asks no database.
//!
//! A revocation through this store holds before its verb returns. One by another process holds
//! after the next poll of [`CachedStore::follow`]. Only tokens that exist are kept: a flood of
//! made-up ones costs a query each and displaces nothing.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use quick_cache::sync::Cache;
use sekisho_protocol::SecretHash;
use sekisho_protocol::oauth::ClientId;
use tokio::time::MissedTickBehavior;

use super::{
    AccessToken, AccountSessionBegun, AssertionUse, ClaimedSession, Client, CodeIssue, CodeRecord,
    CodeRedemption, DueSessions, Flow, FlowNote, FoundPerson, GrantsOf, KeyClaim, ListedGrant,
    LocalUser, LoggedOut, LoginBegun, LoginRecord, PersonalToken, PersonalTokenAdded,
    ProviderLogout, ProviderSession, RefreshExtension, RefreshRotation, RefreshToken,
    RememberedConsent, Revocation, RotationTime, SessionEnd, Store, StoreError, Swept, TryCounted,
    TryCounter, UsedAssertion,
};
use crate::clock::Timestamp;
use crate::grant::{Grant, GrantId, IssuedTokens, TokenKey};
use crate::principal::Identity;
use crate::seal::{KeyId, Sealed};

/// The most access tokens kept in memory, at about half a kilobyte each.
pub const ACCESS_TOKENS_CACHED_MAX: usize = 50_000;

/// How often [`CachedStore::follow`] should ask what other processes revoked.
pub const REVOCATIONS_POLLED_EVERY: Duration = Duration::from_millis(250);

/// A store in front of another.
pub struct CachedStore {
    behind: Arc<dyn Store>,
    access_tokens: Cache<SecretHash, Arc<AccessToken>>,
    index: Mutex<Index>,
}

impl CachedStore {
    /// An empty cache in front of `behind`. Let [`CachedStore::follow`] run beside it where other
    /// processes share what is behind.
    pub fn new(behind: Arc<dyn Store>) -> Self {
        Self::with_capacity(behind, ACCESS_TOKENS_CACHED_MAX)
    }

    fn with_capacity(behind: Arc<dyn Store>, tokens_max: usize) -> Self {
        let access_tokens = Cache::new(tokens_max);
        Self { behind, access_tokens, index: Mutex::new(Index::new(tokens_max)) }
    }

    /// Drops what other processes revoke, for as long as it is polled. A store that cannot be asked
    /// is asked again at the next turn; since nobody knows what was missed meanwhile, everything
    /// in memory is dropped when it answers again.
    pub async fn follow(self: Arc<Self>, every: Duration) {
        let mut turn = tokio::time::interval(every);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cursor = None;
        let mut is_out = false;
        loop {
            turn.tick().await;
            match self.catch_up(cursor).await {
                Ok(reached) => {
                    cursor = Some(reached);
                    if is_out {
                        is_out = false;
                        tracing::info!("the store answers again: revocations are followed");
                    }
                }
                Err(error) => {
                    cursor = None;
                    if !is_out {
                        is_out = true;
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "revocations by other processes cannot be followed: trying again"
                        );
                    }
                }
            }
        }
    }

    /// Drops what was revoked after `cursor` and gives the new one; without a cursor drops all.
    async fn catch_up(&self, cursor: Option<i64>) -> Result<i64, StoreError> {
        let Some(mut cursor) = cursor else {
            let (now, _) = self.behind.revocations_since(None).await?;
            self.forget_all();
            return Ok(now);
        };
        loop {
            let (reached, revocations) = self.behind.revocations_since(Some(cursor)).await?;
            if revocations.is_empty() {
                return Ok(reached);
            }
            cursor = reached;
            let mut index = self.index();
            for revocation in &revocations {
                match revocation {
                    Revocation::Grant(grant) => self.forget_grant(&mut index, grant),
                    Revocation::AccessToken(token) => self.forget_token(&mut index, token),
                }
            }
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a token that was read at `epoch`, unless something was revoked since: then it may
    /// have been this one. Checked and kept under one lock, so that no revocation comes between.
    fn remember(&self, token: &Arc<AccessToken>, epoch: u64) {
        let mut index = self.index();
        if index.epoch != epoch {
            return;
        }
        self.access_tokens.insert(token.principal.token, Arc::clone(token));
        index.add(token);
        if index.is_overgrown() {
            index.retain(|token| self.access_tokens.contains_key(token));
        }
    }

    fn forget_grant(&self, index: &mut Index, grant: &GrantId) {
        index.epoch += 1;
        for token in index.take(grant) {
            self.access_tokens.remove(&token);
        }
    }

    fn forget_token(&self, index: &mut Index, token: &SecretHash) {
        index.epoch += 1;
        self.access_tokens.remove(token);
    }

    /// Looks at every token; for what happens seldom.
    fn forget_unless(&self, stays: impl Fn(&AccessToken) -> bool) {
        let mut index = self.index();
        index.epoch += 1;
        self.access_tokens.retain(|_, token| stays(token));
        index.retain(|token| self.access_tokens.contains_key(token));
    }

    fn forget_all(&self) {
        self.forget_unless(|_| false);
    }

    fn forget(&self, of: &GrantsOf) {
        match of {
            GrantsOf::Everyone => self.forget_all(),
            GrantsOf::Person { issuer, subject } => self.forget_unless(|token| {
                let identity = &token.principal.identity;
                identity.issuer != *issuer || identity.subject != *subject
            }),
            GrantsOf::Client(client) => {
                self.forget_unless(|token| token.principal.client_id != *client);
            }
            GrantsOf::One(grant) => self.forget_grant(&mut self.index(), grant),
        }
    }
}

impl fmt::Debug for CachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStore")
            .field("behind", &self.behind)
            .field("access_tokens", &self.access_tokens.len())
            .finish_non_exhaustive()
    }
}

/// Which tokens in memory belong to which grant, and how many revocations there were.
///
/// The cache evicts without telling, so an entry here may name a token that is gone; once there are
/// twice as many entries as the cache holds, those are cleared out.
struct Index {
    epoch: u64,
    tokens: HashMap<GrantId, HashSet<SecretHash>>,
    entries: usize,
    entries_max: usize,
}

impl Index {
    fn new(tokens_max: usize) -> Self {
        let entries_max = tokens_max.saturating_mul(2);
        Self { epoch: 0, tokens: HashMap::new(), entries: 0, entries_max }
    }

    fn add(&mut self, token: &AccessToken) {
        let of_grant = match self.tokens.get_mut(&token.principal.grant_id) {
            Some(of_grant) => of_grant,
            None => self.tokens.entry(token.principal.grant_id.clone()).or_default(),
        };
        if of_grant.insert(token.principal.token) {
            self.entries += 1;
        }
    }

    fn take(&mut self, grant: &GrantId) -> HashSet<SecretHash> {
        let taken = self.tokens.remove(grant).unwrap_or_default();
        self.entries = self.entries.saturating_sub(taken.len());
        taken
    }

    const fn is_overgrown(&self) -> bool {
        self.entries > self.entries_max
    }

    fn retain(&mut self, stays: impl Fn(&SecretHash) -> bool) {
        self.tokens.retain(|_, of_grant| {
            of_grant.retain(&stays);
            !of_grant.is_empty()
        });
        self.entries = self.tokens.values().map(HashSet::len).sum();
    }
}

#[async_trait]
impl Store for CachedStore {
    fn access_token_in_memory(&self, token: &SecretHash) -> Option<Arc<AccessToken>> {
        self.access_tokens.get(token)
    }

    async fn find_access_token(
        &self,
        token: &TokenKey,
    ) -> Result<Option<Arc<AccessToken>>, StoreError> {
        if let Some(cached) = self.access_token_in_memory(&token.hash) {
            return Ok(Some(cached));
        }
        let epoch = self.index().epoch;
        let found = self.behind.find_access_token(token).await?;
        if let Some(found) = &found {
            self.remember(found, epoch);
        }
        Ok(found)
    }

    // Whatever comes of a revocation, what was in memory goes: at worst it is read again.

    async fn revoke_grant(&self, grant: &GrantId, now: Timestamp) -> Result<(), StoreError> {
        let outcome = self.behind.revoke_grant(grant, now).await;
        self.forget_grant(&mut self.index(), grant);
        outcome
    }

    async fn revoke_access_token(
        &self,
        token: &TokenKey,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let outcome = self.behind.revoke_access_token(token, now).await;
        self.forget_token(&mut self.index(), &token.hash);
        outcome
    }

    async fn end_grants(&self, of: &GrantsOf, now: Timestamp) -> Result<u64, StoreError> {
        let outcome = self.behind.end_grants(of, now).await;
        self.forget(of);
        outcome
    }

    async fn describe_person(
        &self,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let outcome = self.behind.describe_person(identity, now).await;
        let Identity { issuer, subject, .. } = identity.clone();
        self.forget(&GrantsOf::Person { issuer, subject });
        outcome
    }

    async fn remove_user(&self, name: &str, now: Timestamp) -> Result<bool, StoreError> {
        let outcome = self.behind.remove_user(name, now).await;
        self.forget(&GrantsOf::local(name));
        outcome
    }

    async fn end_provider_session(
        &self,
        claimed: &ClaimedSession,
        now: Timestamp,
    ) -> Result<SessionEnd, StoreError> {
        let outcome = self.behind.end_provider_session(claimed, now).await;
        match outcome {
            Ok(SessionEnd::Lost | SessionEnd::Ended) => {
                self.forget_grant(&mut self.index(), &claimed.grant_id);
            }
            Ok(SessionEnd::PersonGone { .. }) | Err(_) => {
                let (issuer, subject) = (claimed.issuer.clone(), claimed.subject.clone());
                self.forget(&GrantsOf::Person { issuer, subject });
            }
        }
        outcome
    }

    async fn log_out_at_provider(
        &self,
        logout: &ProviderLogout,
        now: Timestamp,
    ) -> Result<LoggedOut, StoreError> {
        let outcome = self.behind.log_out_at_provider(logout, now).await;
        match &outcome {
            Ok(LoggedOut::Ended(grants)) => {
                let mut index = self.index();
                for grant in grants {
                    self.forget_grant(&mut index, grant);
                }
            }
            Ok(LoggedOut::Replayed) => {}
            // Nobody knows how far it came, nor whom it was about.
            Err(_) => self.forget_all(),
        }
        outcome
    }

    async fn remove_client(&self, id: &ClientId, now: Timestamp) -> Result<bool, StoreError> {
        let outcome = self.behind.remove_client(id, now).await;
        self.forget(&GrantsOf::Client(id.clone()));
        outcome
    }

    async fn sweep(
        &self,
        now: Timestamp,
        unused_clients_before: Timestamp,
    ) -> Result<Swept, StoreError> {
        let outcome = self.behind.sweep(now, unused_clients_before).await;
        self.forget_unless(|token| !token.principal.expires_at.is_over(now));
        outcome
    }

    async fn sweep_some(
        &self,
        now: Timestamp,
        unused_clients_before: Timestamp,
        rows_max: u32,
    ) -> Result<Swept, StoreError> {
        let outcome = self.behind.sweep_some(now, unused_clients_before, rows_max).await;
        self.forget_unless(|token| !token.principal.expires_at.is_over(now));
        outcome
    }

    // The rest is behind.

    async fn instance_id(&self) -> Result<String, StoreError> {
        self.behind.instance_id().await
    }

    async fn register_client(&self, client: &Client) -> Result<(), StoreError> {
        self.behind.register_client(client).await
    }

    async fn find_client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        self.behind.find_client(id).await
    }

    async fn begin_login(&self, login: &LoginRecord) -> Result<LoginBegun, StoreError> {
        self.behind.begin_login(login).await
    }

    async fn find_login(
        &self,
        login_state: &SecretHash,
    ) -> Result<Option<LoginRecord>, StoreError> {
        self.behind.find_login(login_state).await
    }

    async fn take_login(
        &self,
        login_state: &SecretHash,
    ) -> Result<Option<LoginRecord>, StoreError> {
        self.behind.take_login(login_state).await
    }

    async fn issue_code(&self, code: &CodeRecord) -> Result<CodeIssue, StoreError> {
        self.behind.issue_code(code).await
    }

    async fn find_code(&self, code: &SecretHash) -> Result<Option<CodeRecord>, StoreError> {
        self.behind.find_code(code).await
    }

    async fn redeem_code(
        &self,
        code: &SecretHash,
        grant: &Grant,
        tokens: &IssuedTokens,
    ) -> Result<CodeRedemption, StoreError> {
        self.behind.redeem_code(code, grant, tokens).await
    }

    async fn find_refresh_token(
        &self,
        token: &TokenKey,
    ) -> Result<Option<RefreshToken>, StoreError> {
        self.behind.find_refresh_token(token).await
    }

    async fn rotate_refresh_token(
        &self,
        token: &TokenKey,
        successors: &IssuedTokens,
        time: RotationTime,
    ) -> Result<RefreshRotation, StoreError> {
        self.behind.rotate_refresh_token(token, successors, time).await
    }

    async fn extend_refresh_token(
        &self,
        token: &TokenKey,
        tokens: &IssuedTokens,
    ) -> Result<RefreshExtension, StoreError> {
        self.behind.extend_refresh_token(token, tokens).await
    }

    async fn revocations_since(
        &self,
        cursor: Option<i64>,
    ) -> Result<(i64, Vec<Revocation>), StoreError> {
        self.behind.revocations_since(cursor).await
    }

    async fn list_grants(
        &self,
        of: &GrantsOf,
        after: Option<&ListedGrant>,
    ) -> Result<Vec<ListedGrant>, StoreError> {
        self.behind.list_grants(of, after).await
    }

    async fn find_people(&self, called: &str) -> Result<Vec<FoundPerson>, StoreError> {
        self.behind.find_people(called).await
    }

    async fn note_use(&self, grant: &GrantId, at: Timestamp) -> Result<(), StoreError> {
        self.behind.note_use(grant, at).await
    }

    async fn add_personal_token(
        &self,
        token: &PersonalToken,
    ) -> Result<PersonalTokenAdded, StoreError> {
        self.behind.add_personal_token(token).await
    }

    async fn add_user(&self, user: &LocalUser) -> Result<bool, StoreError> {
        self.behind.add_user(user).await
    }

    async fn find_user(&self, name: &str) -> Result<Option<LocalUser>, StoreError> {
        self.behind.find_user(name).await
    }

    async fn list_users(&self) -> Result<Vec<LocalUser>, StoreError> {
        self.behind.list_users().await
    }

    async fn set_password(&self, name: &str, password_hash: &str) -> Result<bool, StoreError> {
        self.behind.set_password(name, password_hash).await
    }

    async fn remember_consent(
        &self,
        consent: &RememberedConsent,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.behind.remember_consent(consent, now).await
    }

    async fn is_consent_remembered(
        &self,
        consent: &RememberedConsent,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.behind.is_consent_remembered(consent, now).await
    }

    async fn begin_browser_session(
        &self,
        browser: &SecretHash,
        identity: &Identity,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.behind.begin_browser_session(browser, identity, expires_at).await
    }

    async fn find_browser_session(
        &self,
        browser: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<Identity>, StoreError> {
        self.behind.find_browser_session(browser, now).await
    }

    async fn end_browser_session(&self, browser: &SecretHash) -> Result<(), StoreError> {
        self.behind.end_browser_session(browser).await
    }

    async fn issue_code_of_session(
        &self,
        code: &CodeRecord,
        session: &ProviderSession,
    ) -> Result<CodeIssue, StoreError> {
        self.behind.issue_code_of_session(code, session).await
    }

    async fn find_provider_session(
        &self,
        grant: &GrantId,
    ) -> Result<Option<ProviderSession>, StoreError> {
        self.behind.find_provider_session(grant).await
    }

    async fn find_provider_session_of_browser(
        &self,
        browser: &SecretHash,
    ) -> Result<Option<ProviderSession>, StoreError> {
        self.behind.find_provider_session_of_browser(browser).await
    }

    async fn claim_provider_sessions(
        &self,
        now: Timestamp,
        horizon: Timestamp,
        until: Timestamp,
        rows_max: u16,
        which: DueSessions,
    ) -> Result<Vec<ClaimedSession>, StoreError> {
        self.behind.claim_provider_sessions(now, horizon, until, rows_max, which).await
    }

    async fn claim_provider_session(
        &self,
        grant: &GrantId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ClaimedSession>, StoreError> {
        self.behind.claim_provider_session(grant, now, until).await
    }

    async fn forget_provider_session(&self, claimed: &ClaimedSession) -> Result<(), StoreError> {
        self.behind.forget_provider_session(claimed).await
    }

    async fn renew_provider_session(
        &self,
        claimed: &ClaimedSession,
        tokens: &Sealed,
        check_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        self.behind.renew_provider_session(claimed, tokens, check_at).await
    }

    async fn postpone_provider_session(
        &self,
        claimed: &ClaimedSession,
        check_at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.behind.postpone_provider_session(claimed, check_at).await
    }

    async fn keep_document_client(&self, client: &Client) -> Result<(), StoreError> {
        self.behind.keep_document_client(client).await
    }

    async fn list_clients(&self, after: Option<&ClientId>) -> Result<Vec<Client>, StoreError> {
        self.behind.list_clients(after).await
    }

    async fn is_client_in_use(&self, id: &ClientId) -> Result<bool, StoreError> {
        self.behind.is_client_in_use(id).await
    }

    async fn note_client_use(&self, id: &ClientId, now: Timestamp) -> Result<(), StoreError> {
        self.behind.note_client_use(id, now).await
    }

    async fn sweep_idle_clients(&self, unused_since: Timestamp) -> Result<Swept, StoreError> {
        self.behind.sweep_idle_clients(unused_since).await
    }

    async fn issue_to_machine(
        &self,
        grant: &Grant,
        tokens: &IssuedTokens,
    ) -> Result<(), StoreError> {
        self.behind.issue_to_machine(grant, tokens).await
    }

    async fn issue_vouched(&self, grant: &Grant, tokens: &IssuedTokens) -> Result<(), StoreError> {
        self.behind.issue_vouched(grant, tokens).await
    }

    async fn use_assertion(&self, assertion: &UsedAssertion) -> Result<AssertionUse, StoreError> {
        self.behind.use_assertion(assertion).await
    }

    async fn count_try(
        &self,
        counters: &[TryCounter],
        now: Timestamp,
    ) -> Result<TryCounted, StoreError> {
        self.behind.count_try(counters, now).await
    }

    async fn begin_account_session(
        &self,
        browser: &SecretHash,
        identity: &Identity,
        session: Option<&ProviderSession>,
        idle_until: Timestamp,
        expires_at: Timestamp,
    ) -> Result<AccountSessionBegun, StoreError> {
        self.behind.begin_account_session(browser, identity, session, idle_until, expires_at).await
    }

    async fn use_account_session(
        &self,
        browser: &SecretHash,
        now: Timestamp,
        idle_until: Timestamp,
    ) -> Result<Option<Identity>, StoreError> {
        self.behind.use_account_session(browser, now, idle_until).await
    }

    async fn claim_keys(&self, newest_first: &[KeyId]) -> Result<KeyClaim, StoreError> {
        self.behind.claim_keys(newest_first).await
    }

    async fn note_flows(&self, notes: &[FlowNote]) -> Result<(), StoreError> {
        self.behind.note_flows(notes).await
    }

    async fn list_flows(&self, trace_id: Option<&str>) -> Result<Vec<Flow>, StoreError> {
        self.behind.list_flows(trace_id).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.behind.check().await
    }
}

#[cfg(test)]
mod tests {
    use sekisho_protocol::oauth::{ResourceUri, ScopeSet};

    use super::*;
    use crate::grant::Turn;
    use crate::principal::{Claims, Principal};
    use crate::store::{Admitted, LastNoted, MemoryStore, TableLimits};

    #[test]
    fn cache_and_index_stay_within_their_limits() {
        let cached = cached(100);
        for number in 0..5_000_u32 {
            // Three tokens to a grant, as refreshing makes them.
            cached.remember(&token(number, number / 3), 0);
        }
        assert!(cached.access_tokens.len() <= 128, "{}", cached.access_tokens.len());
        let index = cached.index();
        assert!(index.entries <= 200, "{}", index.entries);
        let counted: usize = index.tokens.values().map(HashSet::len).sum();
        assert_eq!(index.entries, counted);
    }

    #[test]
    fn a_grant_is_forgotten_whatever_was_evicted_and_cleared_out_before() {
        let cached = cached(100);
        for number in 0..5_000_u32 {
            cached.remember(&token(number, number % 7), 0);
        }
        cached.forget_grant(&mut cached.index(), &grant(3));
        assert!(cached.access_tokens.len() > 50, "the others stay");
        assert!(cached.access_tokens.iter().all(|(_, token)| token.principal.grant_id != grant(3)));
    }

    #[test]
    fn what_was_read_before_a_revocation_is_not_kept_after_it() {
        let (one, other) = (token(1, 1), token(2, 2));
        for what in ["grant", "token", "person", "all"] {
            let cached = cached(100);
            let epoch = cached.index().epoch;
            match what {
                "grant" => cached.forget_grant(&mut cached.index(), &grant(1)),
                "token" => cached.forget_token(&mut cached.index(), &one.principal.token),
                "person" => cached.forget(&GrantsOf::Person {
                    issuer: "issuer".into(),
                    subject: "subject".into(),
                }),
                _ => cached.forget_all(),
            }
            cached.remember(&one, epoch);
            assert!(cached.access_token_in_memory(&one.principal.token).is_none(), "{what}");
            let epoch = cached.index().epoch;
            cached.remember(&other, epoch);
            assert!(
                cached.access_token_in_memory(&other.principal.token).is_some(),
                "{what}: read afterwards"
            );
        }
    }

    fn cached(tokens_max: usize) -> CachedStore {
        let behind = Arc::new(MemoryStore::new(TableLimits::default()));
        CachedStore::with_capacity(behind, tokens_max)
    }

    fn grant(number: u32) -> GrantId {
        GrantId::new(number.to_string())
    }

    fn token(number: u32, grant_number: u32) -> Arc<AccessToken> {
        let principal = Principal {
            identity: Identity {
                issuer: "issuer".into(),
                subject: "subject".into(),
                name: None,
                email: None,
                email_verified: false,
                claims: Claims::default(),
            },
            client_id: ClientId::new("client"),
            grant_id: grant(grant_number),
            scopes: ScopeSet::default(),
            token: SecretHash::of(&number.to_be_bytes()),
            expires_at: Timestamp::from_unix_seconds(0),
        };
        let resource = ResourceUri::new("http://localhost:8000/mcp");
        let last_noted = LastNoted::new(None);
        let (principal, admitted) = (Arc::new(principal), Admitted::default());
        let turn = Turn::default();
        Arc::new(AccessToken { principal, resource, last_noted, admitted, turn })
    }
}
