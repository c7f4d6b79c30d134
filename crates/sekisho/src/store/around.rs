//! A store in front of another, where the same happens around every verb: one list of the verbs for
//! whoever wants that, so that none is forgotten. What is asked for without a wait passes as it is.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sekisho_protocol::SecretHash;
use sekisho_protocol::oauth::ClientId;

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

/// What happens around each verb of a store: it decides when the verb is asked, if at all, and what is
/// answered in the end.
pub trait Around: fmt::Debug + Send + Sync {
    /// Asks by `asked`, or does not.
    fn around<T: Send>(
        &self,
        verb: &'static str,
        asked: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> impl Future<Output = Result<T, StoreError>> + Send;
}

/// A store with something around each of its verbs.
#[derive(Debug)]
pub struct StoreWithin<A> {
    around: A,
    behind: Arc<dyn Store>,
}

impl<A: Around> StoreWithin<A> {
    /// Puts `around` around every verb of `behind`.
    pub fn new(around: A, behind: Arc<dyn Store>) -> Self {
        Self { around, behind }
    }
}

/// One line for each verb, so that none does more than the others.
macro_rules! verbs {
    ($(fn $verb:ident($($name:ident: $type:ty),* $(,)?) -> $answer:ty;)*) => {
        #[async_trait]
        impl<A: Around + 'static> Store for StoreWithin<A> {
            $(async fn $verb(&self, $($name: $type),*) -> Result<$answer, StoreError> {
                self.around.around(stringify!($verb), self.behind.$verb($($name),*)).await
            })*

            fn access_token_in_memory(&self, token: &SecretHash) -> Option<Arc<AccessToken>> {
                self.behind.access_token_in_memory(token)
            }
        }
    };
}

verbs! {
    fn instance_id() -> String;
    fn register_client(client: &Client) -> ();
    fn find_client(id: &ClientId) -> Option<Client>;
    fn begin_login(login: &LoginRecord) -> LoginBegun;
    fn find_login(login_state: &SecretHash) -> Option<LoginRecord>;
    fn take_login(login_state: &SecretHash) -> Option<LoginRecord>;
    fn issue_code(code: &CodeRecord) -> CodeIssue;
    fn find_code(code: &SecretHash) -> Option<CodeRecord>;
    fn redeem_code(code: &SecretHash, grant: &Grant, tokens: &IssuedTokens) -> CodeRedemption;
    fn find_access_token(token: &TokenKey) -> Option<Arc<AccessToken>>;
    fn find_refresh_token(token: &TokenKey) -> Option<RefreshToken>;
    fn rotate_refresh_token(
        token: &TokenKey,
        successors: &IssuedTokens,
        time: RotationTime,
    ) -> RefreshRotation;
    fn extend_refresh_token(token: &TokenKey, tokens: &IssuedTokens) -> RefreshExtension;
    fn revoke_grant(grant: &GrantId, now: Timestamp) -> ();
    fn revoke_access_token(token: &TokenKey, now: Timestamp) -> ();
    fn revocations_since(cursor: Option<i64>) -> (i64, Vec<Revocation>);
    fn list_grants(of: &GrantsOf, after: Option<&ListedGrant>) -> Vec<ListedGrant>;
    fn find_people(called: &str) -> Vec<FoundPerson>;
    fn end_grants(of: &GrantsOf, now: Timestamp) -> u64;
    fn describe_person(identity: &Identity, now: Timestamp) -> u64;
    fn note_use(grant: &GrantId, at: Timestamp) -> ();
    fn add_personal_token(token: &PersonalToken) -> PersonalTokenAdded;
    fn add_user(user: &LocalUser) -> bool;
    fn find_user(name: &str) -> Option<LocalUser>;
    fn list_users() -> Vec<LocalUser>;
    fn set_password(name: &str, password_hash: &str) -> bool;
    fn remove_user(name: &str, now: Timestamp) -> bool;
    fn remember_consent(consent: &RememberedConsent, now: Timestamp) -> ();
    fn is_consent_remembered(consent: &RememberedConsent, now: Timestamp) -> bool;
    fn begin_browser_session(
        browser: &SecretHash,
        identity: &Identity,
        expires_at: Timestamp,
    ) -> ();
    fn find_browser_session(browser: &SecretHash, now: Timestamp) -> Option<Identity>;
    fn end_browser_session(browser: &SecretHash) -> ();
    fn issue_code_of_session(code: &CodeRecord, session: &ProviderSession) -> CodeIssue;
    fn find_provider_session(grant: &GrantId) -> Option<ProviderSession>;
    fn find_provider_session_of_browser(browser: &SecretHash) -> Option<ProviderSession>;
    fn claim_provider_sessions(
        now: Timestamp,
        horizon: Timestamp,
        until: Timestamp,
        rows_max: u16,
        which: DueSessions,
    ) -> Vec<ClaimedSession>;
    fn claim_provider_session(
        grant: &GrantId,
        now: Timestamp,
        until: Timestamp,
    ) -> Option<ClaimedSession>;
    fn renew_provider_session(
        claimed: &ClaimedSession,
        tokens: &Sealed,
        check_at: Option<Timestamp>,
    ) -> bool;
    fn postpone_provider_session(claimed: &ClaimedSession, check_at: Timestamp) -> bool;
    fn end_provider_session(claimed: &ClaimedSession, now: Timestamp) -> SessionEnd;
    fn forget_provider_session(claimed: &ClaimedSession) -> ();
    fn log_out_at_provider(logout: &ProviderLogout, now: Timestamp) -> LoggedOut;
    fn begin_account_session(
        browser: &SecretHash,
        identity: &Identity,
        session: Option<&ProviderSession>,
        idle_until: Timestamp,
        expires_at: Timestamp,
    ) -> AccountSessionBegun;
    fn use_account_session(
        browser: &SecretHash,
        now: Timestamp,
        idle_until: Timestamp,
    ) -> Option<Identity>;
    fn sweep(now: Timestamp, unused_clients_before: Timestamp) -> Swept;
    fn sweep_some(now: Timestamp, unused_clients_before: Timestamp, rows_max: u32) -> Swept;
    fn keep_document_client(client: &Client) -> ();
    fn list_clients(after: Option<&ClientId>) -> Vec<Client>;
    fn remove_client(id: &ClientId, now: Timestamp) -> bool;
    fn is_client_in_use(id: &ClientId) -> bool;
    fn note_client_use(id: &ClientId, now: Timestamp) -> ();
    fn sweep_idle_clients(unused_since: Timestamp) -> Swept;
    fn issue_to_machine(grant: &Grant, tokens: &IssuedTokens) -> ();
    fn issue_vouched(grant: &Grant, tokens: &IssuedTokens) -> ();
    fn use_assertion(assertion: &UsedAssertion) -> AssertionUse;
    fn count_try(counters: &[TryCounter], now: Timestamp) -> TryCounted;
    fn claim_keys(newest_first: &[KeyId]) -> KeyClaim;
    fn note_flows(notes: &[FlowNote]) -> ();
    fn list_flows(trace_id: Option<&str>) -> Vec<Flow>;
    fn check() -> ();
}
