//! A store that forgets with the process: for tests and for `store = "memory:"`.
//!
//! Every verb is one visit to one lock, which is never held across an `await`. Nothing is shared
//! with other processes.

mod flows;
mod provider_sessions;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_protocol::SecretHash;
use sekisho_protocol::oauth::ClientId;

use self::flows::Flows;
use self::provider_sessions::ProviderSessions;
use super::tries::TryRow;
use super::{
    AccessToken, AccountSessionBegun, Admitted, AssertionShare, AssertionUse, CLIENTS_LISTED_MAX,
    CONSENTS_KEPT, ClaimedSession, Client, ClientOrigin, CodeIssue, CodeRecord, CodeRedemption,
    DueSessions, FAREWELLS_KEPT, FLOWS_KEPT, Flow, FlowNote, FoundBy, FoundPerson,
    GRANTS_LISTED_MAX, GrantsOf, KeyClaim, LOCAL_ISSUER, LastNoted, ListedGrant, LocalUser,
    LoggedOut, LoginBegun, LoginRecord, PEOPLE_FOUND_MAX, PERSONAL_CLIENT,
    PERSONAL_TOKENS_PER_PERSON_MAX, Personal, PersonalToken, PersonalTokenAdded, ProviderLogout,
    ProviderSession, REFRESH_GRACE_MAX, REVOCATIONS_KEPT, REVOCATIONS_READ_MAX, RefreshExtension,
    RefreshRotation, RefreshToken, RememberedConsent, Revocation, RotationTime, SessionEnd, Store,
    StoreError, Successors, Swept, TableLimits, TryCounted, TryCounter, UsedAssertion,
};
use crate::clock::Timestamp;
use crate::grant::{Grant, GrantId, IssuedTokens, TokenKey, Turn};
use crate::mint;
use crate::principal::{Identity, Principal};
use crate::seal::{KeyId, Sealed};

/// All tables in memory.
pub struct MemoryStore {
    instance_id: String,
    limits: TableLimits,
    tables: Mutex<Tables>,
}

impl MemoryStore {
    /// An empty store with an instance id of its own.
    pub fn new(limits: TableLimits) -> Self {
        Self { instance_id: mint::id(), limits, tables: Mutex::default() }
    }

    /// No verb leaves a table half changed, so a lock that a panic let go of is as good as any.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn instance_id(&self) -> Result<String, StoreError> {
        Ok(self.instance_id.clone())
    }

    async fn register_client(&self, client: &Client) -> Result<(), StoreError> {
        self.tables().register_client(client, self.limits.clients_max)
    }

    async fn find_client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        Ok(self.tables().clients.get(id).cloned())
    }

    async fn begin_login(&self, login: &LoginRecord) -> Result<LoginBegun, StoreError> {
        let mut tables = self.tables();
        if count(tables.logins.len()) >= self.limits.logins_max {
            return Ok(LoginBegun::Full);
        }
        insert_new(&mut tables.logins, login.login_state, login.clone())?;
        Ok(LoginBegun::Begun)
    }

    async fn find_login(
        &self,
        login_state: &SecretHash,
    ) -> Result<Option<LoginRecord>, StoreError> {
        Ok(self.tables().logins.get(login_state).cloned())
    }

    async fn take_login(
        &self,
        login_state: &SecretHash,
    ) -> Result<Option<LoginRecord>, StoreError> {
        Ok(self.tables().logins.remove(login_state))
    }

    async fn issue_code(&self, code: &CodeRecord) -> Result<CodeIssue, StoreError> {
        self.tables().issue_code(code)
    }

    async fn find_code(&self, code: &SecretHash) -> Result<Option<CodeRecord>, StoreError> {
        Ok(self.tables().codes.get(code).cloned())
    }

    async fn redeem_code(
        &self,
        code: &SecretHash,
        grant: &Grant,
        tokens: &IssuedTokens,
    ) -> Result<CodeRedemption, StoreError> {
        self.tables().redeem_code(code, grant, tokens)
    }

    async fn find_access_token(
        &self,
        token: &TokenKey,
    ) -> Result<Option<Arc<AccessToken>>, StoreError> {
        let tables = self.tables();
        let found = tables.access_tokens.get(&token.hash);
        Ok(found.filter(|token| !tables.is_suspended(token)).cloned())
    }

    async fn find_refresh_token(
        &self,
        token: &TokenKey,
    ) -> Result<Option<RefreshToken>, StoreError> {
        let tables = self.tables();
        let Some(row) = tables.refresh_tokens.get(&token.hash) else { return Ok(None) };
        Ok(tables.grants.get(&row.grant_id).map(|owner| RefreshToken {
            token: token.hash,
            grant: owner.grant.clone(),
            expires_at: row.expires_at,
            is_spent: row.successors.is_some(),
            successors: row.successors.clone(),
            turn: row.turn,
        }))
    }

    async fn rotate_refresh_token(
        &self,
        token: &TokenKey,
        successors: &IssuedTokens,
        time: RotationTime,
    ) -> Result<RefreshRotation, StoreError> {
        Ok(self.tables().rotate_refresh_token(&token.hash, successors, time))
    }

    async fn extend_refresh_token(
        &self,
        token: &TokenKey,
        tokens: &IssuedTokens,
    ) -> Result<RefreshExtension, StoreError> {
        Ok(self.tables().extend_refresh_token(&token.hash, tokens))
    }

    async fn revoke_grant(&self, grant: &GrantId, now: Timestamp) -> Result<(), StoreError> {
        self.tables().end_grants(&GrantsOf::One(grant.clone()), now);
        Ok(())
    }

    async fn revoke_access_token(
        &self,
        token: &TokenKey,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let TokenKey { hash: token, .. } = token;
        let mut tables = self.tables();
        let Some(access) = tables.access_tokens.remove(token) else { return Ok(()) };
        if let Some(owner) = tables.grants.get_mut(&access.principal.grant_id) {
            owner.access_tokens.remove(token);
        }
        tables.log_revocation(Revocation::AccessToken(*token), now);
        Ok(())
    }

    async fn revocations_since(
        &self,
        cursor: Option<i64>,
    ) -> Result<(i64, Vec<Revocation>), StoreError> {
        let tables = self.tables();
        let Some(cursor) = cursor else { return Ok((tables.last_revocation, Vec::new())) };
        let page: Vec<_> = tables
            .revocations
            .range(cursor.saturating_add(1)..)
            .take(usize::from(REVOCATIONS_READ_MAX))
            .collect();
        let cursor = page.last().map_or(cursor, |(seq, _)| **seq);
        Ok((cursor, page.into_iter().map(|(_, row)| row.what.clone()).collect()))
    }

    async fn list_grants(
        &self,
        of: &GrantsOf,
        after: Option<&ListedGrant>,
    ) -> Result<Vec<ListedGrant>, StoreError> {
        Ok(self.tables().list_grants(of, after))
    }

    async fn find_people(&self, called: &str) -> Result<Vec<FoundPerson>, StoreError> {
        Ok(self.tables().find_people(called))
    }

    async fn end_grants(&self, of: &GrantsOf, now: Timestamp) -> Result<u64, StoreError> {
        Ok(self.tables().take_back(of, now))
    }

    async fn describe_person(
        &self,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        Ok(self.tables().describe_person(identity, now))
    }

    async fn note_use(&self, grant: &GrantId, at: Timestamp) -> Result<(), StoreError> {
        if let Some(row) = self.tables().grants.get_mut(grant) {
            row.last_used_at = row.last_used_at.max(Some(at));
        }
        Ok(())
    }

    async fn add_personal_token(
        &self,
        token: &PersonalToken,
    ) -> Result<PersonalTokenAdded, StoreError> {
        self.tables().add_personal_token(token)
    }

    async fn add_user(&self, user: &LocalUser) -> Result<bool, StoreError> {
        Ok(insert_new(&mut self.tables().users, user.name.clone(), user.clone()).is_ok())
    }

    async fn find_user(&self, name: &str) -> Result<Option<LocalUser>, StoreError> {
        Ok(self.tables().users.get(name).cloned())
    }

    async fn list_users(&self) -> Result<Vec<LocalUser>, StoreError> {
        let mut users: Vec<_> = self.tables().users.values().cloned().collect();
        users.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(users)
    }

    async fn set_password(&self, name: &str, password_hash: &str) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let Some(user) = tables.users.get_mut(name) else { return Ok(false) };
        password_hash.clone_into(&mut user.password_hash);
        tables.browser_sessions.retain(|_, row| !is_person(&row.identity, LOCAL_ISSUER, name));
        Ok(true)
    }

    async fn remove_user(&self, name: &str, now: Timestamp) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        if tables.users.remove(name).is_none() {
            return Ok(false);
        }
        tables.take_back(&GrantsOf::local(name), now);
        Ok(true)
    }

    async fn remember_consent(
        &self,
        consent: &RememberedConsent,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.tables().consents.insert(consent_key(consent), now);
        Ok(())
    }

    async fn is_consent_remembered(
        &self,
        consent: &RememberedConsent,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let tables = self.tables();
        let given_at = tables.consents.get(&consent_key(consent));
        Ok(given_at.is_some_and(|given_at| !given_at.plus(CONSENTS_KEPT).is_over(now)))
    }

    async fn begin_browser_session(
        &self,
        browser: &SecretHash,
        identity: &Identity,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let row = BrowserSessionRow { identity: identity.clone(), expires_at, idle_until: None };
        let mut tables = self.tables();
        tables.is_written_down(identity);
        tables.browser_sessions.insert(*browser, row);
        Ok(())
    }

    async fn begin_account_session(
        &self,
        browser: &SecretHash,
        identity: &Identity,
        session: Option<&ProviderSession>,
        idle_until: Timestamp,
        expires_at: Timestamp,
    ) -> Result<AccountSessionBegun, StoreError> {
        let mut tables = self.tables();
        if tables.is_removed(identity) {
            return Ok(AccountSessionBegun::NoSuchUser);
        }
        tables.gone.remove(&Person::of(identity));
        let idle_until = Some(idle_until);
        let row = BrowserSessionRow { identity: identity.clone(), expires_at, idle_until };
        tables.is_written_down(identity);
        tables.browser_sessions.insert(*browser, row);
        if let Some(session) = session {
            tables.provider_sessions.insert(session);
        }
        Ok(AccountSessionBegun::Begun)
    }

    async fn use_account_session(
        &self,
        browser: &SecretHash,
        now: Timestamp,
        idle_until: Timestamp,
    ) -> Result<Option<Identity>, StoreError> {
        let mut tables = self.tables();
        let Some(row) = tables.browser_sessions.get_mut(browser) else { return Ok(None) };
        let is_idle = row.idle_until.is_none_or(|end| end.is_over(now));
        if is_idle || row.expires_at.is_over(now) {
            return Ok(None);
        }
        row.idle_until = Some(idle_until);
        Ok(Some(row.identity.clone()))
    }

    async fn find_browser_session(
        &self,
        browser: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<Identity>, StoreError> {
        let tables = self.tables();
        let living =
            tables.browser_sessions.get(browser).filter(|row| !row.expires_at.is_over(now));
        Ok(living.map(|row| row.identity.clone()))
    }

    async fn end_browser_session(&self, browser: &SecretHash) -> Result<(), StoreError> {
        self.tables().browser_sessions.remove(browser);
        Ok(())
    }

    async fn issue_code_of_session(
        &self,
        code: &CodeRecord,
        session: &ProviderSession,
    ) -> Result<CodeIssue, StoreError> {
        let mut tables = self.tables();
        let issued = tables.issue_code(code)?;
        if issued == CodeIssue::Issued {
            tables.provider_sessions.insert(session);
        }
        Ok(issued)
    }

    async fn find_provider_session(
        &self,
        grant: &GrantId,
    ) -> Result<Option<ProviderSession>, StoreError> {
        Ok(self.tables().provider_sessions.find(grant))
    }

    async fn find_provider_session_of_browser(
        &self,
        browser: &SecretHash,
    ) -> Result<Option<ProviderSession>, StoreError> {
        let tables = self.tables();
        let mut of_browser = tables.provider_sessions.of_browser(browser);
        Ok(of_browser.next().cloned())
    }

    async fn claim_provider_sessions(
        &self,
        now: Timestamp,
        horizon: Timestamp,
        until: Timestamp,
        rows_max: u16,
        which: DueSessions,
    ) -> Result<Vec<ClaimedSession>, StoreError> {
        Ok(self.tables().provider_sessions.claim(now, horizon, until, rows_max, which))
    }

    async fn claim_provider_session(
        &self,
        grant: &GrantId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ClaimedSession>, StoreError> {
        Ok(self.tables().provider_sessions.claim_alone(grant, now, until))
    }

    async fn renew_provider_session(
        &self,
        claimed: &ClaimedSession,
        tokens: &Sealed,
        check_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        Ok(self.tables().provider_sessions.renew(claimed, tokens, check_at))
    }

    async fn postpone_provider_session(
        &self,
        claimed: &ClaimedSession,
        check_at: Timestamp,
    ) -> Result<bool, StoreError> {
        Ok(self.tables().provider_sessions.postpone(claimed, check_at))
    }

    async fn end_provider_session(
        &self,
        claimed: &ClaimedSession,
        now: Timestamp,
    ) -> Result<SessionEnd, StoreError> {
        Ok(self.tables().end_provider_session(claimed, now))
    }

    async fn forget_provider_session(&self, claimed: &ClaimedSession) -> Result<(), StoreError> {
        let mut tables = self.tables();
        if tables.provider_sessions.is_claimed(claimed) {
            tables.provider_sessions.remove(&claimed.grant_id);
        }
        Ok(())
    }

    async fn log_out_at_provider(
        &self,
        logout: &ProviderLogout,
        now: Timestamp,
    ) -> Result<LoggedOut, StoreError> {
        Ok(self.tables().log_out_at_provider(logout, now))
    }

    async fn sweep_some(
        &self,
        now: Timestamp,
        unused_clients_before: Timestamp,
        rows_max: u32,
    ) -> Result<Swept, StoreError> {
        let mut room = Room { left: u64::from(rows_max), swept: 0 };
        let mut tables = self.tables();
        room.swept = tables.flows.sweep(now.minus(FLOWS_KEPT), room.left);
        room.left -= room.swept;
        tables.sweep(now, unused_clients_before, &mut room);
        Ok(Swept { rows: room.swept })
    }

    async fn keep_document_client(&self, client: &Client) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let Tables { clients, unfinished_clients, .. } = &mut *tables;
        match clients.get_mut(&client.id) {
            Some(row) if row.origin == ClientOrigin::Document => {
                if unfinished_clients.remove(&(row.created_at, row.id.clone())) {
                    row.created_at = client.created_at;
                    unfinished_clients.insert((row.created_at, row.id.clone()));
                }
                row.metadata = client.metadata.clone();
                row.last_used_at = client.last_used_at;
                Ok(())
            }
            Some(_) => Ok(()),
            None => tables.register_client(client, self.limits.clients_max),
        }
    }

    async fn list_clients(&self, after: Option<&ClientId>) -> Result<Vec<Client>, StoreError> {
        let tables = self.tables();
        let mut clients: Vec<_> = tables
            .clients
            .values()
            .filter(|client| after.is_none_or(|after| client.id > *after))
            .cloned()
            .collect();
        clients.sort_by(|a, b| a.id.cmp(&b.id));
        clients.truncate(usize::from(CLIENTS_LISTED_MAX));
        Ok(clients)
    }

    async fn remove_client(&self, id: &ClientId, now: Timestamp) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        tables.end_grants(&GrantsOf::Client(id.clone()), now);
        let Some(client) = tables.clients.remove(id) else { return Ok(false) };
        tables.unfinished_clients.remove(&(client.created_at, client.id));
        Ok(true)
    }

    async fn is_client_in_use(&self, id: &ClientId) -> Result<bool, StoreError> {
        Ok(self.tables().grants.values().any(|row| row.grant.client_id == *id))
    }

    async fn note_client_use(&self, id: &ClientId, now: Timestamp) -> Result<(), StoreError> {
        if let Some(client) = self.tables().clients.get_mut(id) {
            client.last_used_at = now;
        }
        Ok(())
    }

    async fn sweep_idle_clients(&self, unused_since: Timestamp) -> Result<Swept, StoreError> {
        let mut tables = self.tables();
        let rows_before = tables.clients.len();
        tables.sweep_idle_clients(unused_since);
        Ok(Swept { rows: count(rows_before.saturating_sub(tables.clients.len())) })
    }

    async fn issue_to_machine(
        &self,
        grant: &Grant,
        tokens: &IssuedTokens,
    ) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.grants.entry(grant.id.clone()).or_insert_with(|| GrantRow::new(grant));
        tables.insert_tokens(&grant.id, tokens);
        Ok(())
    }

    async fn issue_vouched(&self, grant: &Grant, tokens: &IssuedTokens) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.is_written_down(&grant.identity);
        let row = GrantRow { is_vouched: true, ..GrantRow::new(grant) };
        insert_new(&mut tables.grants, grant.id.clone(), row)?;
        tables.insert_tokens(&grant.id, tokens);
        Ok(())
    }

    async fn use_assertion(&self, assertion: &UsedAssertion) -> Result<AssertionUse, StoreError> {
        let UsedAssertion { id, share, expires_at } = assertion;
        let mut tables = self.tables();
        if tables.assertions.values().any(|used| used.contains_key(id)) {
            return Ok(AssertionUse::Replayed);
        }
        let used = tables.assertions.entry(*share).or_default();
        if count(used.len()) >= self.limits.assertions_per_share_max {
            return Ok(AssertionUse::Full);
        }
        used.insert(*id, *expires_at);
        Ok(AssertionUse::Fresh)
    }

    async fn count_try(
        &self,
        counters: &[TryCounter],
        now: Timestamp,
    ) -> Result<TryCounted, StoreError> {
        let mut tables = self.tables();
        for counter in counters {
            let known = tables.tries.get(&counter.place).copied();
            let (row, counted) = counter.count(known, now);
            tables.tries.insert(counter.place, row);
            if counted != TryCounted::Allowed {
                return Ok(counted);
            }
        }
        Ok(TryCounted::Allowed)
    }

    async fn claim_keys(&self, newest_first: &[KeyId]) -> Result<KeyClaim, StoreError> {
        let mut tables = self.tables();
        if tables.sealing_key.as_ref().is_some_and(|noted| !newest_first.contains(noted)) {
            return Ok(KeyClaim::Foreign);
        }
        tables.sealing_key = newest_first.first().cloned();
        Ok(KeyClaim::Ours)
    }

    async fn note_flows(&self, notes: &[FlowNote]) -> Result<(), StoreError> {
        let mut tables = self.tables();
        for note in notes {
            tables.flows.note(note);
        }
        Ok(())
    }

    async fn list_flows(&self, trace_id: Option<&str>) -> Result<Vec<Flow>, StoreError> {
        Ok(self.tables().flows.list(trace_id))
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[derive(Default)]
struct Tables {
    clients: HashMap<ClientId, Client>,
    /// The clients that never finished a login, oldest first.
    unfinished_clients: BTreeSet<(Timestamp, ClientId)>,
    logins: HashMap<SecretHash, LoginRecord>,
    codes: HashMap<SecretHash, CodeRecord>,
    grants: HashMap<GrantId, GrantRow>,
    access_tokens: HashMap<SecretHash, Arc<AccessToken>>,
    refresh_tokens: HashMap<SecretHash, RefreshRow>,
    revocations: BTreeMap<i64, RevocationRow>,
    last_revocation: i64,
    users: HashMap<String, LocalUser>,
    /// When each yes was last given.
    consents: HashMap<(Person, SecretHash), Timestamp>,
    browser_sessions: HashMap<SecretHash, BrowserSessionRow>,
    provider_sessions: ProviderSessions,
    /// How everything reads that is kept of a person, where all of it reads alike.
    alike: HashMap<Person, Identity>,
    /// Of whom the provider said no, and who did not log in since.
    gone: HashSet<Person>,
    /// Until when each could be sent again.
    logout_messages: HashMap<SecretHash, Timestamp>,
    assertions: HashMap<AssertionShare, HashMap<SecretHash, Timestamp>>,
    tries: HashMap<u32, TryRow>,
    sealing_key: Option<KeyId>,
    flows: Flows,
}

/// People of whom it is known that all reads alike. Of others it is looked for.
const PEOPLE_ALIKE_MAX: usize = 10_000;

/// A grant with the keys of its tokens, so that ending it looks at nobody else's.
struct GrantRow {
    grant: Grant,
    last_used_at: Option<Timestamp>,
    personal: Option<Personal>,
    /// The provider's session of the login that made it, if it is a personal token.
    session: Option<GrantId>,
    /// Whether it stands on somebody's word, and no session is kept of it.
    is_vouched: bool,
    access_tokens: HashSet<SecretHash>,
    refresh_tokens: HashSet<SecretHash>,
}

impl GrantRow {
    fn new(grant: &Grant) -> Self {
        Self {
            grant: grant.clone(),
            last_used_at: None,
            personal: None,
            session: None,
            is_vouched: false,
            access_tokens: HashSet::new(),
            refresh_tokens: HashSet::new(),
        }
    }
}

struct RefreshRow {
    grant_id: GrantId,
    expires_at: Timestamp,
    /// None for as long as it was not traded.
    successors: Option<Successors>,
    turn: Turn,
}

struct RevocationRow {
    what: Revocation,
    at: Timestamp,
}

struct BrowserSessionRow {
    identity: Identity,
    expires_at: Timestamp,
    /// Until when it opens the account page; `None` for never.
    idle_until: Option<Timestamp>,
}

#[derive(PartialEq, Eq, Hash)]
struct Person {
    issuer: String,
    subject: String,
}

impl Person {
    fn of(identity: &Identity) -> Self {
        Self { issuer: identity.issuer.clone(), subject: identity.subject.clone() }
    }

    fn is(&self, issuer: &str, subject: &str) -> bool {
        self.issuer == issuer && self.subject == subject
    }
}

impl Tables {
    fn register_client(&mut self, client: &Client, clients_max: u64) -> Result<(), StoreError> {
        insert_new(&mut self.clients, client.id.clone(), client.clone())?;
        while count(self.clients.len()) > clients_max {
            // The new one is not among them yet, so it is never the one that goes.
            let Some((_, oldest)) = self.unfinished_clients.pop_first() else { break };
            self.clients.remove(&oldest);
        }
        match client.origin {
            ClientOrigin::Preregistered => {}
            ClientOrigin::Dynamic | ClientOrigin::Document => {
                self.unfinished_clients.insert((client.created_at, client.id.clone()));
            }
        }
        Ok(())
    }

    fn mark_finished(&mut self, client: &ClientId) {
        if let Some(client) = self.clients.get(client) {
            self.unfinished_clients.remove(&(client.created_at, client.id.clone()));
        }
    }

    fn issue_code(&mut self, code: &CodeRecord) -> Result<CodeIssue, StoreError> {
        let identity = &code.grant.identity;
        if self.is_removed(identity) {
            return Ok(CodeIssue::NoSuchUser);
        }
        self.gone.remove(&Person::of(identity));
        let row = CodeRecord { is_redeemed: false, ..code.clone() };
        insert_new(&mut self.codes, code.code, row)?;
        self.mark_finished(&code.grant.request.client_id);
        Ok(CodeIssue::Issued)
    }

    fn redeem_code(
        &mut self,
        code: &SecretHash,
        grant: &Grant,
        tokens: &IssuedTokens,
    ) -> Result<CodeRedemption, StoreError> {
        let Some(row) = self.codes.get_mut(code) else { return Ok(CodeRedemption::Unknown) };
        if row.is_redeemed {
            return Ok(CodeRedemption::Replayed);
        }
        insert_new(&mut self.grants, grant.id.clone(), GrantRow::new(grant))?;
        row.is_redeemed = true;
        self.is_written_down(&grant.identity);
        self.insert_tokens(&grant.id, tokens);
        Ok(CodeRedemption::Fresh)
    }

    fn rotate_refresh_token(
        &mut self,
        token: &SecretHash,
        successors: &IssuedTokens,
        time: RotationTime,
    ) -> RefreshRotation {
        let Some(row) = self.refresh_tokens.get_mut(token) else {
            return RefreshRotation::Unknown;
        };
        match &row.successors {
            Some(earlier) if earlier.may_be_repeated(time) => {
                return RefreshRotation::InGrace(earlier.clone());
            }
            Some(_) => return RefreshRotation::Replayed,
            None => {}
        }
        row.successors = Some(Successors {
            spent_at: time.now,
            access: successors.access,
            access_expires_at: successors.access_expires_at,
            scope: successors.scope.clone(),
        });
        let grant_id = row.grant_id.clone();
        self.insert_tokens(&grant_id, successors);
        RefreshRotation::Fresh
    }

    fn extend_refresh_token(
        &mut self,
        token: &SecretHash,
        tokens: &IssuedTokens,
    ) -> RefreshExtension {
        let Some(row) = self.refresh_tokens.get_mut(token) else {
            return RefreshExtension::Unknown;
        };
        if row.successors.is_some() {
            return RefreshExtension::Spent;
        }
        if let Some((_, expires_at)) = tokens.refresh {
            row.expires_at = expires_at;
        }
        let grant_id = row.grant_id.clone();
        self.insert_tokens(&grant_id, &IssuedTokens { refresh: None, ..tokens.clone() });
        RefreshExtension::Extended
    }

    fn insert_tokens(&mut self, grant_id: &GrantId, tokens: &IssuedTokens) {
        let Some(owner) = self.grants.get_mut(grant_id) else { return };
        let principal = Principal {
            identity: owner.grant.identity.clone(),
            client_id: owner.grant.client_id.clone(),
            grant_id: grant_id.clone(),
            scopes: tokens.scope.clone(),
            token: tokens.access,
            expires_at: tokens.access_expires_at,
        };
        let resource = owner.grant.resource.clone();
        let last_noted = LastNoted::new(owner.last_used_at);
        let (principal, admitted) = (Arc::new(principal), Admitted::default());
        let turn = tokens.turn;
        let access = AccessToken { principal, resource, last_noted, admitted, turn };
        owner.access_tokens.insert(tokens.access);
        self.access_tokens.insert(tokens.access, Arc::new(access));
        if let Some((refresh, expires_at)) = tokens.refresh {
            owner.refresh_tokens.insert(refresh);
            let (grant_id, turn) = (grant_id.clone(), tokens.turn);
            let row = RefreshRow { grant_id, expires_at, successors: None, turn };
            self.refresh_tokens.insert(refresh, row);
        }
    }

    /// Whether there was such a grant.
    fn end_grant(&mut self, grant: &GrantId, now: Timestamp) -> bool {
        let Some(ended) = self.grants.remove(grant) else { return false };
        for token in &ended.access_tokens {
            self.access_tokens.remove(token);
        }
        for token in &ended.refresh_tokens {
            self.refresh_tokens.remove(token);
        }
        self.provider_sessions.bid_farewell(grant, now);
        self.log_revocation(Revocation::Grant(grant.clone()), now);
        true
    }

    fn end_provider_session(&mut self, claimed: &ClaimedSession, now: Timestamp) -> SessionEnd {
        let found = self.provider_sessions.find(&claimed.grant_id);
        let Some(session) = found.filter(|_| self.provider_sessions.is_claimed(claimed)) else {
            return SessionEnd::Lost;
        };
        self.provider_sessions.remove(&claimed.grant_id);
        self.end_grants(&GrantsOf::One(claimed.grant_id.clone()), now);
        if let Some(browser) = session.browser {
            self.browser_sessions.remove(&browser);
        }
        let ProviderSession { issuer, subject, .. } = session;
        if !session.is_offline || self.provider_sessions.is_person_followed(&issuer, &subject) {
            return SessionEnd::Ended;
        }
        let is_theirs = |row: &&GrantRow| {
            row.personal.is_some() && is_person(&row.grant.identity, &issuer, &subject)
        };
        let theirs = self.grants.values().filter(is_theirs);
        let mut theirs: Vec<_> = theirs.map(|row| row.grant.id.clone()).collect();
        theirs.sort();
        let personal_tokens = count(theirs.len());
        for grant in theirs {
            self.log_revocation(Revocation::Grant(grant), now);
        }
        self.end_vouched(&issuer, &subject, now);
        self.gone.insert(Person { issuer, subject });
        SessionEnd::PersonGone { personal_tokens }
    }

    /// Something is kept of a person that reads so.
    fn is_written_down(&mut self, identity: &Identity) {
        let person = Person::of(identity);
        if self.alike.get(&person).is_some_and(|known| known != identity) {
            self.alike.remove(&person);
        }
    }

    fn describe_person(&mut self, identity: &Identity, now: Timestamp) -> u64 {
        let person = Person::of(identity);
        if self.alike.get(&person) == Some(identity) {
            return 0;
        }
        let reads_otherwise = |row: &&mut GrantRow| {
            row.grant.identity.is_same_person(identity) && row.grant.identity != *identity
        };
        let mut told = Vec::new();
        for row in self.grants.values_mut().filter(reads_otherwise) {
            row.grant.identity = identity.clone();
            told.push(row.grant.id.clone());
            for token in &row.access_tokens {
                let Some(access) = self.access_tokens.get_mut(token) else { continue };
                let identity = identity.clone();
                let principal = Principal { identity, ..access.principal.as_ref().clone() };
                *access = Arc::new(AccessToken {
                    principal: Arc::new(principal),
                    resource: access.resource.clone(),
                    last_noted: LastNoted::new(row.last_used_at),
                    turn: access.turn,
                    admitted: Admitted::default(),
                });
            }
        }
        let sessions = self.browser_sessions.values_mut();
        for row in sessions.filter(|row| row.identity.is_same_person(identity)) {
            row.identity = identity.clone();
        }
        if self.alike.len() >= PEOPLE_ALIKE_MAX {
            self.alike.clear();
        }
        self.alike.insert(person, identity.clone());
        told.sort();
        for grant in &told {
            self.log_revocation(Revocation::Grant(grant.clone()), now);
        }
        count(told.len())
    }

    /// Whether it is a personal token of somebody of whom the provider said no.
    fn is_suspended(&self, token: &AccessToken) -> bool {
        let Principal { client_id, identity, .. } = token.principal.as_ref();
        client_id.as_str() == PERSONAL_CLIENT && self.gone.contains(&Person::of(identity))
    }

    /// Whether the person is a local account that is not there.
    fn is_removed(&self, identity: &Identity) -> bool {
        identity.issuer == LOCAL_ISSUER && !self.users.contains_key(&identity.subject)
    }

    fn log_out_at_provider(&mut self, logout: &ProviderLogout, now: Timestamp) -> LoggedOut {
        let message = insert_new(&mut self.logout_messages, logout.message, logout.message_ends_at);
        if message.is_err() {
            return LoggedOut::Replayed;
        }
        let meant = self.provider_sessions.meant_by(logout);
        let mut people: HashSet<String> = logout.subject.iter().cloned().collect();
        let mut ended = Vec::new();
        for session in meant {
            people.insert(session.subject);
            // Personal tokens outlive a logout, and with them what the provider is asked with.
            if !self.has_personal_tokens(&session.grant_id) {
                self.provider_sessions.remove(&session.grant_id);
                self.end_grants(&GrantsOf::One(session.grant_id.clone()), now);
                ended.push(session.grant_id);
            }
        }
        for subject in &people {
            ended.extend(self.end_vouched(&logout.issuer, subject, now));
        }
        self.browser_sessions.retain(|_, row| {
            row.identity.issuer != logout.issuer || !people.contains(&row.identity.subject)
        });
        LoggedOut::Ended(ended)
    }

    /// Ends what this person was given on somebody's word, of which no session is kept.
    fn end_vouched(&mut self, issuer: &str, subject: &str, now: Timestamp) -> Vec<GrantId> {
        let is_theirs =
            |row: &&GrantRow| row.is_vouched && is_person(&row.grant.identity, issuer, subject);
        let theirs = self.grants.values().filter(is_theirs);
        let theirs: Vec<_> = theirs.map(|row| row.grant.id.clone()).collect();
        for grant in &theirs {
            self.end_grants(&GrantsOf::One(grant.clone()), now);
        }
        theirs
    }

    fn has_personal_tokens(&self, session: &GrantId) -> bool {
        self.grants.values().any(|row| row.session.as_ref() == Some(session))
    }

    fn sweep_idle_clients(&mut self, unused_since: Timestamp) {
        let Self { clients, grants, unfinished_clients, .. } = self;
        let in_use: HashSet<&ClientId> = grants.values().map(|row| &row.grant.client_id).collect();
        clients.retain(|id, client| {
            let is_kept = client.origin == ClientOrigin::Preregistered
                || client.last_used_at >= unused_since
                || in_use.contains(id);
            if !is_kept {
                unfinished_clients.remove(&(client.created_at, id.clone()));
            }
            is_kept
        });
    }

    fn list_grants(&self, of: &GrantsOf, after: Option<&ListedGrant>) -> Vec<ListedGrant> {
        let mut found: Vec<_> = self
            .grants
            .values()
            .filter(|row| is_of(of, &row.grant.id, &row.grant.client_id, &row.grant.identity))
            .filter(|row| {
                let place = (row.grant.created_at, &row.grant.id);
                after.is_none_or(|last| place > (last.created_at, &last.id))
            })
            .collect();
        found.sort_by_key(|row| (row.grant.created_at, row.grant.id.clone()));
        found.truncate(usize::from(GRANTS_LISTED_MAX));
        found.into_iter().map(|row| self.listed(row)).collect()
    }

    fn find_people(&self, called: &str) -> Vec<FoundPerson> {
        let people = self.grants.values().map(|row| &row.grant.identity);
        let found = people.filter(|one| !one.is_machine()).flat_map(|one| {
            let ways = [
                (one.subject == called, FoundBy::Subject),
                (
                    one.email_verified && one.email.as_deref() == Some(called),
                    FoundBy::VerifiedEmail,
                ),
                (one.name.as_deref() == Some(called), FoundBy::Name),
            ];
            ways.into_iter().filter(|(is_called, _)| *is_called).map(|(_, by)| FoundPerson {
                by,
                issuer: one.issuer.clone(),
                subject: one.subject.clone(),
            })
        });
        let found: BTreeSet<FoundPerson> = found.collect();
        found.into_iter().take(usize::from(PEOPLE_FOUND_MAX)).collect()
    }

    fn listed(&self, row: &GrantRow) -> ListedGrant {
        let client = self.clients.get(&row.grant.client_id);
        ListedGrant {
            id: row.grant.id.clone(),
            client_id: row.grant.client_id.clone(),
            client: client.map(|client| client.metadata.clone()),
            identity: row.grant.identity.clone(),
            scope: row.grant.scope.clone(),
            resource: row.grant.resource.clone(),
            created_at: row.grant.created_at,
            last_used_at: row.last_used_at,
            personal: row.personal.clone(),
        }
    }

    /// Ends grants with their tokens, the codes that would become some, and the provider's sessions
    /// behind them; gives the number of grants.
    fn end_grants(&mut self, of: &GrantsOf, now: Timestamp) -> u64 {
        self.codes.retain(|_, row| {
            let grant = &row.grant;
            row.is_redeemed
                || !is_of(of, &grant.grant_id, &grant.request.client_id, &grant.identity)
        });
        // Those behind a grant go with it; a code that was not redeemed may have one, too.
        match of {
            GrantsOf::Person { issuer, subject } => {
                self.provider_sessions.bid_farewell_unless(now, |row| {
                    row.issuer != *issuer || row.subject != *subject
                });
            }
            GrantsOf::One(grant) => self.provider_sessions.bid_farewell(grant, now),
            GrantsOf::Everyone => {
                self.provider_sessions.bid_farewell_unless(now, |_| false);
            }
            GrantsOf::Client(_) => {}
        }
        let theirs = self.ids_of(of);
        count(theirs.iter().filter(|grant| self.end_grant(grant, now)).count())
    }

    /// As `end_grants`, for whoever takes back what was allowed: everybody concerned is asked anew,
    /// and where all of a person's goes, so do their browser sessions.
    fn take_back(&mut self, of: &GrantsOf, now: Timestamp) -> u64 {
        let concerned: Vec<Identity> = (self.ids_of(of).iter())
            .filter_map(|grant| self.grants.get(grant))
            .map(|row| row.grant.identity.clone())
            .collect();
        self.consents.retain(|(person, _), _| match of {
            GrantsOf::Everyone => false,
            GrantsOf::Person { issuer, subject } => !person.is(issuer, subject),
            GrantsOf::Client(_) | GrantsOf::One(_) => {
                !concerned.iter().any(|one| person.is(&one.issuer, &one.subject))
            }
        });
        self.browser_sessions.retain(|_, row| match of {
            GrantsOf::Everyone => false,
            GrantsOf::Person { issuer, subject } => !is_person(&row.identity, issuer, subject),
            GrantsOf::Client(_) | GrantsOf::One(_) => true,
        });
        self.end_grants(of, now)
    }

    /// In order, so that revocations are.
    fn ids_of(&self, of: &GrantsOf) -> Vec<GrantId> {
        if let GrantsOf::One(grant) = of {
            return vec![grant.clone()];
        }
        let is_theirs = |grant: &&Grant| is_of(of, &grant.id, &grant.client_id, &grant.identity);
        let grants = self.grants.values().map(|row| &row.grant);
        let mut theirs: Vec<_> = grants.filter(is_theirs).map(|grant| grant.id.clone()).collect();
        theirs.sort();
        theirs
    }

    fn add_personal_token(
        &mut self,
        token: &PersonalToken,
    ) -> Result<PersonalTokenAdded, StoreError> {
        let Identity { issuer, subject, .. } = &token.identity;
        if self.is_removed(&token.identity) {
            return Ok(PersonalTokenAdded::NoAccount);
        }
        let is_theirs = |row: &&GrantRow| {
            row.personal.is_some() && is_person(&row.grant.identity, issuer, subject)
        };
        let theirs = self.grants.values().filter(is_theirs).count();
        if theirs >= usize::from(PERSONAL_TOKENS_PER_PERSON_MAX) {
            return Ok(PersonalTokenAdded::TooMany);
        }
        let personal = Personal { label: token.label.clone(), expires_at: token.expires_at };
        let session = token.session.clone();
        let owner = GrantRow { personal: Some(personal), session, ..GrantRow::new(&token.grant()) };
        insert_new(&mut self.grants, token.id.clone(), owner)?;
        self.is_written_down(&token.identity);
        self.insert_tokens(&token.id, &token.tokens());
        Ok(PersonalTokenAdded::Added)
    }

    fn log_revocation(&mut self, what: Revocation, at: Timestamp) {
        self.last_revocation += 1;
        self.revocations.insert(self.last_revocation, RevocationRow { what, at });
    }

    fn sweep(&mut self, now: Timestamp, unused_clients_before: Timestamp, room: &mut Room) {
        self.logins.retain(|_, row| !room.takes(row.expires_at.is_over(now)));
        self.browser_sessions.retain(|_, row| !room.takes(row.expires_at.is_over(now)));
        self.tries.retain(|_, row| !room.takes(row.full_at.is_over(now)));
        self.assertions.retain(|_, used| {
            used.retain(|_, expires_at| !room.takes(expires_at.is_over(now)));
            !used.is_empty()
        });
        self.consents.retain(|_, given_at| !room.takes(given_at.plus(CONSENTS_KEPT).is_over(now)));
        self.sweep_grants(now, room);
        let Self { codes, grants, .. } = self;
        codes.retain(|_, row| {
            let may_hit_a_grant = row.is_redeemed && grants.contains_key(&row.grant.grant_id);
            !room.takes(!may_hit_a_grant && row.expires_at.is_over(now))
        });
        self.sweep_provider_sessions(now, room);
        self.logout_messages.retain(|_, ends_at| !room.takes(ends_at.is_over(now)));
        self.revocations.retain(|_, row| !room.takes(row.at.plus(REVOCATIONS_KEPT).is_over(now)));
        let Self { clients, unfinished_clients, .. } = self;
        unfinished_clients.retain(|(created_at, id)| {
            let goes = room.takes(*created_at < unused_clients_before);
            if goes {
                clients.remove(id);
            }
            !goes
        });
    }

    fn sweep_provider_sessions(&mut self, now: Timestamp, room: &mut Room) {
        let Self { codes, grants, provider_sessions, browser_sessions, gone, .. } = self;
        room.swept += provider_sessions.forget_farewells(now, FAREWELLS_KEPT);
        let unredeemed = codes.values().filter(|row| !row.is_redeemed);
        let mut needed: HashSet<&GrantId> = unredeemed.map(|row| &row.grant.grant_id).collect();
        needed.extend(grants.values().filter_map(|row| row.session.as_ref()));
        room.swept += provider_sessions.bid_farewell_unless(now, |row| {
            let is_open =
                row.browser.is_some_and(|browser| browser_sessions.contains_key(&browser));
            is_open || grants.contains_key(&row.grant_id) || needed.contains(&row.grant_id)
        });
        gone.retain(|person| {
            let mut identities = grants.values().map(|row| &row.grant.identity);
            identities.any(|one| is_person(one, &person.issuer, &person.subject))
        });
    }

    fn sweep_grants(&mut self, now: Timestamp, room: &mut Room) {
        let Self { grants, access_tokens, refresh_tokens, .. } = self;
        access_tokens.retain(|_, token| !room.takes(token.principal.expires_at.is_over(now)));
        refresh_tokens.retain(|_, row| {
            let kept = if row.successors.is_some() { REFRESH_GRACE_MAX } else { Duration::ZERO };
            !room.takes(row.expires_at.plus(kept).is_over(now))
        });
        grants.retain(|_, row| {
            row.access_tokens.retain(|token| access_tokens.contains_key(token));
            row.refresh_tokens.retain(|token| refresh_tokens.contains_key(token));
            let is_unspent = |token| {
                refresh_tokens.get(token).is_some_and(|row: &RefreshRow| row.successors.is_none())
            };
            let lives = !row.access_tokens.is_empty() || row.refresh_tokens.iter().any(is_unspent);
            let goes = room.takes(!lives);
            if goes {
                for token in &row.refresh_tokens {
                    room.swept += 1;
                    refresh_tokens.remove(token);
                }
            }
            !goes
        });
    }
}

/// How much a sweep may still remove.
struct Room {
    left: u64,
    swept: u64,
}

impl Room {
    /// Whether a row goes, if it is over.
    fn takes(&mut self, is_over: bool) -> bool {
        let goes = is_over && self.left > 0;
        if goes {
            self.left -= 1;
            self.swept += 1;
        }
        goes
    }
}

/// Inserts and never overwrites: two rows of one key are a fault of the caller, whatever the store.
fn insert_new<K: Eq + std::hash::Hash, V>(
    table: &mut HashMap<K, V>,
    key: K,
    row: V,
) -> Result<(), StoreError> {
    match table.entry(key) {
        std::collections::hash_map::Entry::Occupied(_) => {
            Err(StoreError::Unavailable("there is a row of this key already".into()))
        }
        std::collections::hash_map::Entry::Vacant(place) => {
            place.insert(row);
            Ok(())
        }
    }
}

fn consent_key(consent: &RememberedConsent) -> (Person, SecretHash) {
    let Identity { issuer, subject, .. } = &consent.identity;
    (Person { issuer: issuer.clone(), subject: subject.clone() }, consent.tuple)
}

fn is_of(of: &GrantsOf, grant: &GrantId, client: &ClientId, identity: &Identity) -> bool {
    match of {
        GrantsOf::Everyone => true,
        GrantsOf::Person { issuer, subject } => is_person(identity, issuer, subject),
        GrantsOf::Client(wanted) => client == wanted,
        GrantsOf::One(wanted) => grant == wanted,
    }
}

fn is_person(identity: &Identity, issuer: &str, subject: &str) -> bool {
    identity.issuer == issuer && identity.subject == subject
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
