//! The stages of a login, each a type that holds what is known by then. Pure: no store, no clock.
//!
//! ```text
//! GET /authorize       POST /consent       GET /auth/callback      POST /token
//! PendingConsent ────▶ PendingLogin ─────▶ CodeGrant ────────────▶ Grant
//!   (sealed in           (stored, single     (stored under the       (owns its access and
//!    the page)            use, sealed)        code's hash)            refresh tokens)
//! ```

use std::fmt;

use sekisho_protocol::oauth::{ClientId, ClientMetadata, ResourceUri, ScopeSet};
use sekisho_protocol::{Secret, SecretHash};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::principal::Identity;

/// Names one grant and so the family of its tokens; 32 hex digits, not secret.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(String);

impl GrantId {
    /// An id read back from a store.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The one grant that a client has at a server for acting by itself: the same for all its
    /// tokens, so that a newer one continues what an older one began, and all end together.
    pub fn of_machine(client: &ClientId, resource: &ResourceUri) -> Self {
        let hash = SecretHash::of(format!("machine\n{client}\n{resource}").as_bytes());
        let (half, _) = hash.as_bytes().split_at(16);
        let number = half.iter().fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
        Self(format!("{number:032x}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The beginning of it (64 bits), with which each token of the grant begins, so that a store knows where to
    /// look. That two grants have the same does no harm.
    pub fn family(&self) -> &str {
        self.0.get(..FAMILY_DIGITS).unwrap_or(&self.0)
    }

    /// The first 24 hex digits of its tokens of that turn.
    pub(crate) fn place(&self, turn: Turn) -> String {
        format!("{}{:08x}", self.family(), turn.number())
    }
}

/// Hex digits of a grant's id at the beginning of its tokens.
const FAMILY_DIGITS: usize = 16;

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantId({})", self.0)
    }
}

/// Names one login from `/authorize` on, for whoever asks what became of it; 32 hex digits. Nothing
/// depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlowId(String);

impl FlowId {
    /// An id that was minted, or read back.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a token is looked up by: its hash is what has to be there, the rest says where. The rest proves
/// nothing and is no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKey {
    /// The token's hash.
    pub hash: SecretHash,
    /// The [`GrantId::family`] of its grant.
    pub family: String,
    /// Its turn there; `None` where nobody knows, so that the whole family is looked through.
    pub turn: Option<Turn>,
}

/// How many trades of a refresh token there were before a token of its family: what is issued one after the
/// other lies beside each other in a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn(u32);

impl Turn {
    /// A turn read back from a store.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// That of the tokens which a token of this turn is traded for.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl TokenKey {
    /// Of a token of this grant.
    pub fn of(grant: &GrantId, turn: Option<Turn>, hash: SecretHash) -> Self {
        Self { hash, family: grant.family().to_owned(), turn }
    }

    /// Of a token that somebody shows. Whatever is no token of ours has no family and no turn.
    pub fn shown(token: &Secret) -> Self {
        let digits = token.reveal().split_once('_').map_or("", |(_, digits)| digits);
        let is_ours = digits.len() == TOKEN_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let (family, rest) =
            digits.split_at_checked(FAMILY_DIGITS).filter(|_| is_ours).unwrap_or_default();
        let turn = rest.get(..TURN_DIGITS).and_then(|turn| u32::from_str_radix(turn, 16).ok());
        Self { hash: token.hash(), family: family.to_owned(), turn: turn.map(Turn) }
    }
}

/// Hex digits of the turn, behind those of the family.
const TURN_DIGITS: usize = 8;

/// Hex digits of a token in all.
const TOKEN_DIGITS: usize = 64;

pub use sekisho_protocol::oauth::AuthorizationRequest;

/// A request that waits for a person's yes or no; lives sealed in the consent page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PendingConsent {
    /// What was asked.
    pub request: AuthorizationRequest,
    /// What the client's document said when the page was shown, for a client that has one: what a
    /// person approves is what they saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<ClientMetadata>,
    /// When the page is too old to be answered.
    pub expires_at: Timestamp,
    /// The flow that this is a step of, if it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<FlowId>,
}

/// An approved request whose person is at the identity provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PendingLogin {
    /// What was approved.
    pub request: AuthorizationRequest,
    /// Our `nonce` towards the provider.
    pub nonce: String,
    /// Our PKCE verifier towards the provider.
    pub code_verifier: String,
    /// The provider they are at, by its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
    /// Who must come back, where consent was remembered instead of asked.
    pub expected: Option<Identity>,
    /// The flow that this is a step of, if it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<FlowId>,
}

/// A person said yes and was logged in: what a code stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeGrant {
    /// What was approved.
    pub request: AuthorizationRequest,
    /// By whom.
    pub identity: Identity,
    /// The id the grant will have; fixed now, since the provider's session stands behind it already.
    pub grant_id: GrantId,
}

impl CodeGrant {
    /// The grant that redeeming the code makes.
    pub fn redeemed(&self, now: Timestamp) -> Grant {
        Grant {
            id: self.grant_id.clone(),
            client_id: self.request.client_id.clone(),
            identity: self.identity.clone(),
            scope: self.request.scope.clone(),
            resource: self.request.resource.clone(),
            created_at: now,
        }
    }
}

/// What a person allowed a client at one server. Its tokens live and die with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its name.
    pub id: GrantId,
    /// Who may act.
    pub client_id: ClientId,
    /// For whom.
    pub identity: Identity,
    /// What it may do.
    pub scope: ScopeSet,
    /// Where.
    pub resource: ResourceUri,
    /// When the code was redeemed.
    pub created_at: Timestamp,
}

/// The tokens made in one step, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedTokens {
    /// The access token's hash.
    pub access: SecretHash,
    /// When the access token ends.
    pub access_expires_at: Timestamp,
    /// The refresh token's hash and end, for clients that refresh.
    pub refresh: Option<(SecretHash, Timestamp)>,
    /// What the access token may do: the grant's scope, or less if the client asked for less.
    pub scope: ScopeSet,
    /// The turn of both.
    pub turn: Turn,
}
