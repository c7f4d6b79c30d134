//! What must be remembered, one verb per atomic step of the flow.
//!
//! A verb never asks its caller to read, decide and write: it does the step and says what was.
//! `Ok(None)` means "there is none"; `Err` means "the store is broken", and callers answer 503.
//! Only hashes of tokens, codes and client secrets arrive here, and sealed bytes.

mod admitted;
mod around;
pub mod cached;
mod condition;
mod flows;
mod grants;
mod measured;
pub mod memory;
#[allow(clippy::duplicate_mod, reason = "what is in `sql/` is compiled once for each database")]
pub mod postgres;
#[allow(clippy::duplicate_mod, reason = "what is in `sql/` is compiled once for each database")]
pub mod sqlite;
mod tries;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_protocol::SecretHash;
use sekisho_protocol::oauth::{ClientId, ClientMetadata, ResourceUri, ScopeSet};

use crate::clock::Timestamp;
use crate::grant::{CodeGrant, Grant, GrantId, IssuedTokens, TokenKey, Turn};
use crate::principal::{Claims, Identity, Principal};
use crate::seal::{KeyId, Sealed};

pub use self::admitted::{Admitted, Judge};
pub use self::around::{Around, StoreWithin};
pub use self::cached::CachedStore;
pub use self::condition::{Condition, Contents, SchemaAge};
pub use self::flows::{
    FLOW_BYTES_MAX, FLOWS_KEPT, FLOWS_KEPT_MAX, FLOWS_LISTED_MAX, Flow, FlowNote, FlowOf, FlowStep,
};
pub use self::grants::{
    FoundBy, FoundPerson, GRANTS_LISTED_MAX, GrantsOf, LAST_USE_EXACT_TO, LastNoted, ListedGrant,
    PEOPLE_FOUND_MAX, PERSONAL_CLIENT, PERSONAL_TOKENS_PER_PERSON_MAX, Personal, PersonalToken,
    PersonalTokenAdded,
};
pub use self::measured::{Measured, MeasuredStore};
pub use self::memory::MemoryStore;
pub use self::postgres::{INSTANCES_MAX, InstanceSeen, PostgresOpenError, PostgresStore};
pub use self::sqlite::{Durability, OpenError, SqliteStore};
pub use self::tries::{TryCounted, TryCounter};

/// The issuer of our own accounts, as [`Identity::issuer`] has it.
pub const LOCAL_ISSUER: &str = "local";

/// How long a revocation is kept for other processes to notice.
pub const REVOCATIONS_KEPT: Duration = Duration::from_hours(24);

/// The longest window in which a traded refresh token may give its successors once more; a spent
/// token is kept for as long past its own end.
pub const REFRESH_GRACE_MAX: Duration = Duration::from_mins(10);

/// How long a remembered yes holds after it was last given.
pub const CONSENTS_KEPT: Duration = Duration::from_hours(365 * 24);

/// The most revocations that one call of [`Store::revocations_since`] gives.
pub const REVOCATIONS_READ_MAX: u16 = 256;

/// A registered client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// What it said of itself.
    pub metadata: ClientMetadata,
    /// Hash of its secret; `None` for a public client.
    pub secret: Option<SecretHash>,
    /// When the secret ends; `None` for never.
    pub secret_expires_at: Option<Timestamp>,
    /// When it registered.
    pub created_at: Timestamp,
    /// Who says that there is such a client.
    pub origin: ClientOrigin,
    /// When it was last given tokens, or registered; noted now and then, not each time.
    pub last_used_at: Timestamp,
}

/// Who says that there is a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientOrigin {
    /// The client itself (RFC 7591). It goes when it is not used.
    Dynamic,
    /// A document at the https URL that is its id; what is kept is the copy that somebody approved
    /// last. It goes when it is not used.
    Document,
    /// The operator. It stays until the operator removes it.
    Preregistered,
}

/// The most clients that one call of [`Store::list_clients`] gives.
pub const CLIENTS_LISTED_MAX: u16 = 256;

/// Whose share of the remembered assertions one takes: each has room for
/// [`TableLimits::assertions_per_share_max`], so that nobody's flood keeps others out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AssertionShare(SecretHash);

impl AssertionShare {
    /// One for all clients to whom nobody has allowed anything yet.
    pub fn of_strangers() -> Self {
        Self::called("strangers")
    }

    /// One for all clients that registered themselves and have a grant.
    pub fn of_clients_in_use() -> Self {
        Self::called("clients in use")
    }

    /// One for each client that the operator wrote down.
    pub fn of_preregistered(client: &ClientId) -> Self {
        Self::called(&format!("client\n{client}"))
    }

    /// One for each identity provider that vouches for people.
    pub fn of_issuer(issuer: &str) -> Self {
        Self::called(&format!("issuer\n{issuer}"))
    }

    fn called(name: &str) -> Self {
        Self(SecretHash::of(name.as_bytes()))
    }
}

/// An assertion that is about to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedAssertion {
    /// The hash of whose it is and its `jti`.
    pub id: SecretHash,
    /// Whose room it takes.
    pub share: AssertionShare,
    /// How long it is remembered: those of clients last ten minutes at most, those by which somebody
    /// vouches for a person an hour.
    pub expires_at: Timestamp,
}

/// What became of an attempt to use a client's assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssertionUse {
    /// First time: remembered until its end.
    Fresh,
    /// Used before.
    Replayed,
    /// Its share is full; it was not used.
    Full,
}

/// A login on its way: found by the hash of our own `state`, taken once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRecord {
    /// Hash of the `state` sent to the identity provider.
    pub login_state: SecretHash,
    /// Hash of the cookie that binds the login to its browser.
    pub browser: SecretHash,
    /// The sealed [`crate::grant::PendingLogin`].
    pub sealed: Sealed,
    /// When it is too old to be finished.
    pub expires_at: Timestamp,
}

/// A code that was given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeRecord {
    /// Hash of the code.
    pub code: SecretHash,
    /// What it stands for.
    pub grant: CodeGrant,
    /// When it is too old to be redeemed.
    pub expires_at: Timestamp,
    /// Whether it was redeemed already. A new code is not, whatever is said here.
    pub is_redeemed: bool,
}

/// An access token with what it needs to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// For whom it speaks, what it may do and when it ends. Shared, so that each request it opens
    /// the door for costs no copy.
    pub principal: Arc<Principal>,
    /// Where.
    pub resource: ResourceUri,
    /// When the use of its grant was last written down.
    pub last_noted: LastNoted,
    /// Whether its person may be here, by the settings of the moment.
    pub admitted: Admitted,
    /// Its turn in its family.
    pub turn: Turn,
}

impl AccessToken {
    /// What it is looked up by.
    pub fn key(&self) -> TokenKey {
        TokenKey::of(&self.principal.grant_id, Some(self.turn), self.principal.token)
    }
}

/// A refresh token that was not yet traded, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshToken {
    /// Hash of the token.
    pub token: SecretHash,
    /// The grant it belongs to, with client, scope and resource.
    pub grant: Grant,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Whether it was traded for a successor already.
    pub is_spent: bool,
    /// What it was traded for, once it was.
    pub successors: Option<Successors>,
    /// Its turn in its family.
    pub turn: Turn,
}

impl RefreshToken {
    /// What it is looked up by.
    pub fn key(&self) -> TokenKey {
        TokenKey::of(&self.grant.id, Some(self.turn), self.token)
    }
}

/// What a refresh token was traded for: enough to know the pair again when it is made once more,
/// and nothing it could be read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Successors {
    /// When the trade was.
    pub spent_at: Timestamp,
    /// Hash of the access token.
    pub access: SecretHash,
    /// When that access token ends.
    pub access_expires_at: Timestamp,
    /// What that access token may do.
    pub scope: ScopeSet,
}

impl Successors {
    /// Whether the token that was traded may still be answered with the same pair. Whether the
    /// successor was traded in its turn does not matter, and does not prolong anything.
    pub fn may_be_repeated(&self, time: RotationTime) -> bool {
        !self.spent_at.plus(time.grace).is_over(time.now)
    }
}

/// When a refresh token is traded, and how long a traded one may be shown again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationTime {
    /// This moment.
    pub now: Timestamp,
    /// The window after the trade; zero for none, at most [`REFRESH_GRACE_MAX`].
    pub grace: Duration,
}

/// What became of an attempt to redeem a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeRedemption {
    /// First time: grant and tokens are stored.
    Fresh,
    /// Redeemed before; nothing was stored.
    Replayed,
    /// No such code.
    Unknown,
}

/// What became of an attempt to keep a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeIssue {
    /// Kept.
    Issued,
    /// Its person had a local account, which was removed meanwhile; nothing was stored.
    NoSuchUser,
}

/// What became of an attempt to trade a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshRotation {
    /// First time: the successor pair is stored, the old refresh token is spent.
    Fresh,
    /// Spent before, so lately that the same pair may be given again; nothing was stored.
    InGrace(Successors),
    /// Spent before; nothing was stored.
    Replayed,
    /// No such token.
    Unknown,
}

/// What became of an attempt to use a refresh token that is not traded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshExtension {
    /// The access token is stored, and the refresh token has its new end.
    Extended,
    /// It was traded before; nothing was stored.
    Spent,
    /// No such token.
    Unknown,
}

/// Whether what is in the store was sealed with the keys at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyClaim {
    /// It was, or nothing says otherwise.
    Ours,
    /// It was sealed with a key that is not among them.
    Foreign,
}

/// What became of an attempt to begin a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginBegun {
    /// Stored.
    Begun,
    /// Too many logins are on their way; nothing was stored.
    Full,
}

/// A local account.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalUser {
    /// The name typed at login, which is also the subject.
    pub name: String,
    /// An argon2id hash in PHC form.
    pub password_hash: String,
    /// When it was added.
    pub created_at: Timestamp,
}

impl LocalUser {
    /// Who logs in with it: nothing is known of them but their name.
    pub fn into_identity(self) -> Identity {
        Identity {
            issuer: LOCAL_ISSUER.to_owned(),
            subject: self.name.clone(),
            name: Some(self.name),
            email: None,
            email_verified: false,
            claims: Claims::default(),
        }
    }
}

impl fmt::Debug for LocalUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A person's yes that may be remembered: the tuple for which nobody is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedConsent {
    /// Who said yes (issuer and subject count).
    pub identity: Identity,
    /// Hash over client, redirect URI, scopes and resource.
    pub tuple: SecretHash,
}

/// Something that was taken back, in the order it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// All tokens of a grant.
    Grant(GrantId),
    /// One access token.
    AccessToken(SecretHash),
}

/// A person's session at the identity provider. It begins with a login and ends with what hangs on
/// it: a grant or the code that becomes it, or a session at the account page and the personal tokens
/// made there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSession {
    /// The grant it stands behind; a name of its own if there is none.
    pub grant_id: GrantId,
    /// The provider.
    pub issuer: String,
    /// The person there.
    pub subject: String,
    /// The provider's own name for the session (`sid`), if it told one.
    pub sid: Option<String>,
    /// Hash of the cookie by which we know the browser that logged in, if it got one.
    pub browser: Option<SecretHash>,
    /// The provider's tokens, sealed at `grant_id`.
    pub tokens: Sealed,
    /// Whether they outlive the browser's session there (offline access), so that a no is about the
    /// person.
    pub is_offline: bool,
    /// When the provider is asked next whether the session lives on; `None` for never.
    pub check_at: Option<Timestamp>,
}

/// Which sessions are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueSessions {
    /// Those that live and those of which only a farewell is left.
    All,
    /// Those of which only a farewell is left.
    Farewells,
}

/// How far the clocks of two instances on one store may be apart.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(30);

/// A session that is due, and ours alone to ask about until the lease is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedSession {
    /// The grant it stands behind, or did.
    pub grant_id: GrantId,
    /// What the provider is to hear.
    pub due: Due,
    /// The provider.
    pub issuer: String,
    /// The person at the provider.
    pub subject: String,
    /// The provider's tokens, sealed at `grant_id`.
    pub tokens: Sealed,
    /// Which claim this is; another, or a renewal, makes it void.
    pub claim: i64,
    /// How often in a row nothing could be found out.
    pub failures: u32,
}

/// What there is to say to the provider about a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Something hangs on it here: does it live there?
    Question,
    /// Nothing hangs on it here any more.
    Farewell,
    /// As [`Due::Farewell`], but others of the same person live, and a provider may end those too.
    SilentFarewell,
}

/// What became of a session that the provider calls over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// The claim is void or the session is gone; nothing was done.
    Lost,
    /// What hung on it is ended.
    Ended,
    /// And nothing else says that the person is still there: the personal tokens of theirs, of which
    /// there are so many, open nothing until they log in again.
    PersonGone {
        /// How many.
        personal_tokens: u64,
    },
}

/// What became of an attempt to begin a session at the account page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountSessionBegun {
    /// It is open.
    Begun,
    /// Its person had a local account, which was removed meanwhile; nothing was stored.
    NoSuchUser,
}

/// How long the provider may be told that a session is not needed any more.
pub const FAREWELLS_KEPT: Duration = Duration::from_hours(1);

/// What the provider said when it logged somebody out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderLogout {
    /// The provider.
    pub issuer: String,
    /// Whom, if it said so.
    pub subject: Option<String>,
    /// Of which session, if not of all.
    pub sid: Option<String>,
    /// Hash of the message's own id, so that it counts once.
    pub message: SecretHash,
    /// Until when the message could be sent again.
    pub message_ends_at: Timestamp,
}

/// What became of a logout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoggedOut {
    /// These grants were ended; there may be none.
    Ended(Vec<GrantId>),
    /// The same message came before; nothing was ended.
    Replayed,
}

/// Limits on tables that strangers can fill.
#[derive(Debug, Clone, Copy)]
pub struct TableLimits {
    /// Registered clients. Over it, the oldest that never finished a login goes.
    pub clients_max: u64,
    /// Logins on their way. Over it, a new one is refused.
    pub logins_max: u64,
    /// Used assertions that are remembered at once of one [`AssertionShare`]. Over it, a new one is
    /// refused.
    pub assertions_per_share_max: u64,
}

impl Default for TableLimits {
    fn default() -> Self {
        Self { clients_max: 100_000, logins_max: 100_000, assertions_per_share_max: 100_000 }
    }
}

/// The most rows that a sweep removes in one step: some milliseconds, while which others wait.
pub const SWEPT_AT_ONCE_MAX: u32 = 250;

/// How many rows a sweep removed, and sessions it turned into farewells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Rows of any kind.
    pub rows: u64,
}

/// Why a store could not do its step.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Locked, full, unreachable: may work again later.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A row does not hold what we wrote.
    #[error("the store holds something unreadable in {table}")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a store can do. Implementations: memory, `SQLite`, `PostgreSQL`; one contract suite holds for all.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Random text made with the store, stable over restarts: keeps cookies of two instances apart.
    async fn instance_id(&self) -> Result<String, StoreError>;

    /// Keeps a new client. Over `clients_max` the oldest that never finished a login is dropped;
    /// if every client has finished one, the new one is kept all the same. One that the operator
    /// registered counts as having finished one.
    async fn register_client(&self, client: &Client) -> Result<(), StoreError>;
    /// The client, whether or not its secret has expired.
    async fn find_client(&self, id: &ClientId) -> Result<Option<Client>, StoreError>;

    /// Keeps a login that is on its way.
    async fn begin_login(&self, login: &LoginRecord) -> Result<LoginBegun, StoreError>;
    /// Looks at a login without taking it.
    async fn find_login(&self, login_state: &SecretHash)
    -> Result<Option<LoginRecord>, StoreError>;
    /// Takes a login out, so that exactly one caller gets it.
    async fn take_login(&self, login_state: &SecretHash)
    -> Result<Option<LoginRecord>, StoreError>;

    /// Keeps a code, and marks its client as one that finished a login; unless its person is a
    /// local one (`issuer` is `local`) whose account is gone, whoever removes it at the same time.
    async fn issue_code(&self, code: &CodeRecord) -> Result<CodeIssue, StoreError>;
    /// The code, redeemed or not.
    async fn find_code(&self, code: &SecretHash) -> Result<Option<CodeRecord>, StoreError>;
    /// Marks the code as redeemed and stores grant and tokens, all or nothing.
    async fn redeem_code(
        &self,
        code: &SecretHash,
        grant: &Grant,
        tokens: &IssuedTokens,
    ) -> Result<CodeRedemption, StoreError>;

    /// The access token, expired or not; `None` once revoked. A key without a turn is looked for in the
    /// whole family. Shared, so that a store which holds it in memory copies nothing.
    async fn find_access_token(
        &self,
        token: &TokenKey,
    ) -> Result<Option<Arc<AccessToken>>, StoreError>;
    /// The access token, if it can be had without a wait, as [`CachedStore`] can. `None` says
    /// nothing; ask [`Store::find_access_token`] then.
    fn access_token_in_memory(&self, _token: &SecretHash) -> Option<Arc<AccessToken>> {
        None
    }
    /// The refresh token, spent, expired or not; `None` once revoked. The key has its turn.
    async fn find_refresh_token(
        &self,
        token: &TokenKey,
    ) -> Result<Option<RefreshToken>, StoreError>;
    /// Marks the refresh token as spent and stores its successors, all or nothing. `token` is
    /// [`RefreshToken::key`]: what is shown need not say where it lies.
    async fn rotate_refresh_token(
        &self,
        token: &TokenKey,
        successors: &IssuedTokens,
        time: RotationTime,
    ) -> Result<RefreshRotation, StoreError>;
    /// Stores an access token and gives the refresh token, which stays what it is, the end that
    /// `tokens` says, all or nothing. For clients that keep their refresh token. `token` is
    /// [`RefreshToken::key`].
    async fn extend_refresh_token(
        &self,
        token: &TokenKey,
        tokens: &IssuedTokens,
    ) -> Result<RefreshExtension, StoreError>;

    /// Ends a grant and all its tokens. Ending one that is not there is fine.
    async fn revoke_grant(&self, grant: &GrantId, now: Timestamp) -> Result<(), StoreError>;
    /// Ends one access token; `token` is [`AccessToken::key`].
    async fn revoke_access_token(&self, token: &TokenKey, now: Timestamp)
    -> Result<(), StoreError>;
    /// What was revoked after `cursor`, by whichever process, oldest first and at most
    /// [`REVOCATIONS_READ_MAX`], and the cursor to ask for what follows. `None` as cursor gives
    /// nothing but the cursor of this moment.
    async fn revocations_since(
        &self,
        cursor: Option<i64>,
    ) -> Result<(i64, Vec<Revocation>), StoreError>;

    /// Grants with what is told of them, oldest first, at most [`GRANTS_LISTED_MAX`], and those that
    /// come after `after`.
    async fn list_grants(
        &self,
        of: &GrantsOf,
        after: Option<&ListedGrant>,
    ) -> Result<Vec<ListedGrant>, StoreError>;
    /// People with a grant who are called that, surest first, at most [`PEOPLE_FOUND_MAX`]. Machines
    /// are none. Somebody who is found in several ways is told of for each.
    async fn find_people(&self, called: &str) -> Result<Vec<FoundPerson>, StoreError>;
    /// Ends all these grants, as [`Store::revoke_grant`] does, and the codes that would become some;
    /// gives the number of grants. Whose grants these were is asked anew by every client; where all
    /// of a person's end, so do their browser sessions.
    async fn end_grants(&self, of: &GrantsOf, now: Timestamp) -> Result<u64, StoreError>;
    /// The provider describes a person otherwise than before: name, address and claims of all their
    /// grants and browser sessions are these from now on. Gives how many grants read otherwise now;
    /// of those every process hears.
    async fn describe_person(&self, identity: &Identity, now: Timestamp)
    -> Result<u64, StoreError>;
    /// Writes down that a grant was used at `at`, unless a later use is known.
    async fn note_use(&self, grant: &GrantId, at: Timestamp) -> Result<(), StoreError>;
    /// Keeps a personal access token: a grant of [`PERSONAL_CLIENT`] with one access token. For a
    /// local person the account must be there, and nobody gets more than
    /// [`PERSONAL_TOKENS_PER_PERSON_MAX`].
    async fn add_personal_token(
        &self,
        token: &PersonalToken,
    ) -> Result<PersonalTokenAdded, StoreError>;

    /// Adds a local account; `false` if the name is taken.
    async fn add_user(&self, user: &LocalUser) -> Result<bool, StoreError>;
    /// The account of that name.
    async fn find_user(&self, name: &str) -> Result<Option<LocalUser>, StoreError>;
    /// All accounts by name.
    async fn list_users(&self) -> Result<Vec<LocalUser>, StoreError>;
    /// Gives an account a new password hash and ends its browser sessions; `false` if there is no
    /// such account.
    async fn set_password(&self, name: &str, password_hash: &str) -> Result<bool, StoreError>;
    /// Removes an account with its remembered consents and browser sessions, and ends its grants
    /// (`issuer` is `local`); `false` if there is no such account.
    async fn remove_user(&self, name: &str, now: Timestamp) -> Result<bool, StoreError>;

    /// Remembers a yes given at `now`.
    async fn remember_consent(
        &self,
        consent: &RememberedConsent,
        now: Timestamp,
    ) -> Result<(), StoreError>;
    /// Whether that person said yes to that tuple, less than [`CONSENTS_KEPT`] before `now`.
    async fn is_consent_remembered(
        &self,
        consent: &RememberedConsent,
        now: Timestamp,
    ) -> Result<bool, StoreError>;
    /// Remembers who is logged in at a browser, by the hash of its cookie.
    async fn begin_browser_session(
        &self,
        browser: &SecretHash,
        identity: &Identity,
        expires_at: Timestamp,
    ) -> Result<(), StoreError>;
    /// Who is logged in at that browser at `now`.
    async fn find_browser_session(
        &self,
        browser: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<Identity>, StoreError>;

    /// Forgets who is logged in at that browser.
    async fn end_browser_session(&self, browser: &SecretHash) -> Result<(), StoreError>;

    /// As [`Store::issue_code`], and keeps the provider's session that the code comes of, in one
    /// step.
    async fn issue_code_of_session(
        &self,
        code: &CodeRecord,
        session: &ProviderSession,
    ) -> Result<CodeIssue, StoreError>;
    /// The provider's session behind a grant.
    async fn find_provider_session(
        &self,
        grant: &GrantId,
    ) -> Result<Option<ProviderSession>, StoreError>;
    /// The living session that began at that browser.
    async fn find_provider_session_of_browser(
        &self,
        browser: &SecretHash,
    ) -> Result<Option<ProviderSession>, StoreError>;
    /// Takes sessions that are due at `now`, longest due first and at most `rows_max`, for the
    /// caller alone: they are due again at `until`, whatever becomes of the caller. One that somebody
    /// has by [`Store::claim_provider_session`] is not taken, unless for its farewell. One that is due
    /// only after `horizon` counts as due: the clock was set back, or the rule was another.
    async fn claim_provider_sessions(
        &self,
        now: Timestamp,
        horizon: Timestamp,
        until: Timestamp,
        rows_max: u16,
        which: DueSessions,
    ) -> Result<Vec<ClaimedSession>, StoreError>;
    /// Takes the session behind a grant, due or not, for the caller alone until `until`; nothing if
    /// somebody has it at `now`, or if it is gone.
    async fn claim_provider_session(
        &self,
        grant: &GrantId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<ClaimedSession>, StoreError>;
    /// The session lives on with these tokens, and is checked next at `check_at`. They are stored
    /// if they follow those that are there, however late, and then every claim is void; `false`,
    /// and nothing is stored, if others came first or the session is gone.
    async fn renew_provider_session(
        &self,
        claimed: &ClaimedSession,
        tokens: &Sealed,
        check_at: Option<Timestamp>,
    ) -> Result<bool, StoreError>;
    /// Nothing could be found out: one failure more, and the next try at `check_at`; `false`, and
    /// nothing is stored, if the claim is void or the session is gone.
    async fn postpone_provider_session(
        &self,
        claimed: &ClaimedSession,
        check_at: Timestamp,
    ) -> Result<bool, StoreError>;
    /// The session is over: ends its grant, as [`Store::revoke_grant`], and the browser session that
    /// began with it. If it was the last of its person's with offline access, the person counts as
    /// gone until the next login, and their personal tokens are not found.
    async fn end_provider_session(
        &self,
        claimed: &ClaimedSession,
        now: Timestamp,
    ) -> Result<SessionEnd, StoreError>;
    /// The provider was told, or need not be: forgets the session, unless the claim is void.
    async fn forget_provider_session(&self, claimed: &ClaimedSession) -> Result<(), StoreError>;
    /// Ends the grants of one session of a person, or of all if none is named; a session whose
    /// `sid` was never told counts as any of that person's. Their browser sessions end too. Each
    /// message counts once.
    async fn log_out_at_provider(
        &self,
        logout: &ProviderLogout,
        now: Timestamp,
    ) -> Result<LoggedOut, StoreError>;
    /// As [`Store::begin_browser_session`], for a session that also opens the account page until
    /// `idle_until`, with the provider's session that it comes of; unless its person is a local one
    /// whose account is gone.
    async fn begin_account_session(
        &self,
        browser: &SecretHash,
        identity: &Identity,
        session: Option<&ProviderSession>,
        idle_until: Timestamp,
        expires_at: Timestamp,
    ) -> Result<AccountSessionBegun, StoreError>;
    /// Who is at the account page in that browser at `now`; the session is then idle from
    /// `idle_until` on.
    async fn use_account_session(
        &self,
        browser: &SecretHash,
        now: Timestamp,
        idle_until: Timestamp,
    ) -> Result<Option<Identity>, StoreError>;

    /// Removes what has expired: logins, tokens and sessions at their end; spent refresh tokens
    /// [`REFRESH_GRACE_MAX`] after their own, or once their grant has nothing left to lose;
    /// redeemed codes once a replay of them could no longer hit a living grant; grants with no
    /// token left; farewells [`FAREWELLS_KEPT`] old; consents [`CONSENTS_KEPT`] old;
    /// revocations a day old; used assertions at their end; clients that never finished a login
    /// and that nobody preregistered, registered before
    /// `unused_clients_before`; flows [`FLOWS_KEPT`] old. A provider session on which nothing hangs any more becomes a farewell.
    ///
    /// All of it, in steps of [`SWEPT_AT_ONCE_MAX`], so that others get to write in between.
    async fn sweep(
        &self,
        now: Timestamp,
        unused_clients_before: Timestamp,
    ) -> Result<Swept, StoreError> {
        let mut all = Swept::default();
        loop {
            let some = self.sweep_some(now, unused_clients_before, SWEPT_AT_ONCE_MAX).await?;
            if some.rows == 0 {
                return Ok(all);
            }
            all.rows += some.rows;
        }
    }
    /// As much of [`Store::sweep`] as is `rows_max` rows.
    async fn sweep_some(
        &self,
        now: Timestamp,
        unused_clients_before: Timestamp,
        rows_max: u32,
    ) -> Result<Swept, StoreError>;

    /// Keeps a client that is known by its document, in place of the copy before. As long as it never
    /// finished a login it counts as new. A row that is not a document's is left alone.
    async fn keep_document_client(&self, client: &Client) -> Result<(), StoreError>;
    /// Clients by id, those after `after`, at most [`CLIENTS_LISTED_MAX`].
    async fn list_clients(&self, after: Option<&ClientId>) -> Result<Vec<Client>, StoreError>;
    /// Removes a client and ends its grants; `false` if there is no such client. Its grants are
    /// ended all the same, since clients may be written elsewhere than here.
    async fn remove_client(&self, id: &ClientId, now: Timestamp) -> Result<bool, StoreError>;
    /// Whether a client has a grant.
    async fn is_client_in_use(&self, id: &ClientId) -> Result<bool, StoreError>;
    /// Notes that a client was used.
    async fn note_client_use(&self, id: &ClientId, now: Timestamp) -> Result<(), StoreError>;
    /// Removes clients that nobody preregistered, were not used since, and have no grant.
    async fn sweep_idle_clients(&self, unused_since: Timestamp) -> Result<Swept, StoreError>;
    /// Stores a token that a client asked for itself. The grant is made if it is not there.
    async fn issue_to_machine(
        &self,
        grant: &Grant,
        tokens: &IssuedTokens,
    ) -> Result<(), StoreError>;
    /// Stores a grant with the one token of it, on the word of somebody who vouches for its person.
    /// [`log_out_at_provider`](Self::log_out_at_provider) ends it with all of that person's sessions,
    /// and so does the end of the last one that says that they are there.
    async fn issue_vouched(&self, grant: &Grant, tokens: &IssuedTokens) -> Result<(), StoreError>;
    /// Remembers that an assertion was used, until its end.
    async fn use_assertion(&self, assertion: &UsedAssertion) -> Result<AssertionUse, StoreError>;
    /// Counts a try at each of these counters in their order, up to the first that has none left.
    async fn count_try(
        &self,
        counters: &[TryCounter],
        now: Timestamp,
    ) -> Result<TryCounted, StoreError>;
    /// Notes the first of these keys as the one that seals from now on, provided that the one
    /// noted before is among them or there is none.
    async fn claim_keys(&self, newest_first: &[KeyId]) -> Result<KeyClaim, StoreError>;

    /// Keeps steps of flows, in their order, [`FLOWS_KEPT_MAX`] flows of each kind.
    async fn note_flows(&self, notes: &[FlowNote]) -> Result<(), StoreError>;
    /// The latest flows, newest first, at most [`FLOWS_LISTED_MAX`]: all, or those with a step in the
    /// request of that trace id.
    async fn list_flows(&self, trace_id: Option<&str>) -> Result<Vec<Flow>, StoreError>;

    /// Whether the store can be written to, for `/readyz`.
    async fn check(&self) -> Result<(), StoreError>;
}
