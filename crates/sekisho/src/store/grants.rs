//! Grants as people and operators see them: whose they are, when they were last used, and personal
//! access tokens, which are grants without a client.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sekisho_protocol::SecretHash;
use sekisho_protocol::oauth::{ClientId, ClientMetadata, ResourceUri, ScopeSet};

use crate::clock::Timestamp;
use crate::grant::{Grant, GrantId, IssuedTokens, Turn};
use crate::principal::Identity;
use crate::store::LOCAL_ISSUER;

/// The client id of every personal access token. No client can register under it.
pub const PERSONAL_CLIENT: &str = "@personal-access-token";

/// The most personal access tokens that one person can have at a time.
pub const PERSONAL_TOKENS_PER_PERSON_MAX: u16 = 50;

/// The most grants that one call of [`super::Store::list_grants`] gives.
pub const GRANTS_LISTED_MAX: u16 = 500;

/// How exact the last use of a grant is: it is written down at most once in this time.
pub const LAST_USE_EXACT_TO: Duration = Duration::from_hours(1);

/// Whose grants are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantsOf {
    /// All there are.
    Everyone,
    /// One person's.
    Person {
        /// Who logged the person in.
        issuer: String,
        /// Who it is there.
        subject: String,
    },
    /// One client's, whoever the person.
    Client(ClientId),
    /// That one.
    One(GrantId),
}

impl GrantsOf {
    /// The grants of the local account of that name.
    pub(super) fn local(name: &str) -> Self {
        Self::Person { issuer: LOCAL_ISSUER.to_owned(), subject: name.to_owned() }
    }

    /// The grants of this person.
    pub fn person(identity: &Identity) -> Self {
        Self::Person { issuer: identity.issuer.clone(), subject: identity.subject.clone() }
    }
}

/// The most people that one call of [`super::Store::find_people`] gives.
pub const PEOPLE_FOUND_MAX: u16 = 20;

/// By what somebody was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundBy {
    /// The subject, which the provider gave them; at our own accounts it is the account's name.
    Subject,
    /// An e-mail address that the provider calls verified.
    VerifiedEmail,
    /// A name to show. Anybody may call themselves so.
    Name,
}

/// Somebody who has a grant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundPerson {
    /// By what.
    pub by: FoundBy,
    /// Who logged the person in.
    pub issuer: String,
    /// Who it is there.
    pub subject: String,
}

/// A grant with what is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGrant {
    /// Its name.
    pub id: GrantId,
    /// Who may act.
    pub client_id: ClientId,
    /// What the client said of itself, if it is registered in the store.
    pub client: Option<ClientMetadata>,
    /// For whom.
    pub identity: Identity,
    /// What it may do.
    pub scope: ScopeSet,
    /// Where.
    pub resource: ResourceUri,
    /// Since when.
    pub created_at: Timestamp,
    /// When a token of it was last accepted, exact to [`LAST_USE_EXACT_TO`].
    pub last_used_at: Option<Timestamp>,
    /// What it has more as a personal access token.
    pub personal: Option<Personal>,
}

/// What a personal access token has beyond its grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Personal {
    /// What its owner calls it.
    pub label: Option<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A personal access token about to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonalToken {
    /// The grant it is.
    pub id: GrantId,
    /// Hash of the token.
    pub token: SecretHash,
    /// Whose it is.
    pub identity: Identity,
    /// What it may do.
    pub scope: ScopeSet,
    /// Where.
    pub resource: ResourceUri,
    /// What its owner calls it.
    pub label: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The provider's session of the login that made it, if there was one.
    pub session: Option<GrantId>,
}

impl PersonalToken {
    /// The grant that it is kept as.
    pub(super) fn grant(&self) -> Grant {
        Grant {
            id: self.id.clone(),
            client_id: ClientId::new(PERSONAL_CLIENT),
            identity: self.identity.clone(),
            scope: self.scope.clone(),
            resource: self.resource.clone(),
            created_at: self.created_at,
        }
    }

    /// The one token of that grant.
    pub(super) fn tokens(&self) -> IssuedTokens {
        IssuedTokens {
            access: self.token,
            access_expires_at: self.expires_at,
            refresh: None,
            scope: self.scope.clone(),
            turn: Turn::default(),
        }
    }
}

/// What became of an attempt to keep a personal access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonalTokenAdded {
    /// It works from now on.
    Added,
    /// The person has [`PERSONAL_TOKENS_PER_PERSON_MAX`] of them; nothing was stored.
    TooMany,
    /// The person is a local account that is not there; nothing was stored.
    NoAccount,
}

/// When the use of a token's grant was last written down. Whoever holds the same token in memory
/// shares it, so that writing it down is rare and asks nobody.
#[derive(Debug)]
pub struct LastNoted(AtomicI64);

impl LastNoted {
    /// As read from the store.
    pub fn new(last_used_at: Option<Timestamp>) -> Self {
        Self(AtomicI64::new(last_used_at.map_or(i64::MIN, Timestamp::unix_seconds)))
    }

    /// Whether a use at `now` is worth writing down: one comparison in memory.
    pub fn is_due(&self, now: Timestamp) -> bool {
        Self::is_old(self.0.load(Ordering::Relaxed), now)
    }

    /// Takes the task of writing it down; `false` if somebody else was faster.
    pub fn claim(&self, now: Timestamp) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        let taken = || {
            let (order, new) = (Ordering::Relaxed, now.unix_seconds());
            self.0.compare_exchange(last, new, order, order).is_ok()
        };
        Self::is_old(last, now) && taken()
    }

    fn is_old(last: i64, now: Timestamp) -> bool {
        last <= now.minus(LAST_USE_EXACT_TO).unix_seconds()
    }
}

impl Clone for LastNoted {
    fn clone(&self) -> Self {
        Self(AtomicI64::new(self.0.load(Ordering::Relaxed)))
    }
}

/// It is no part of what a token is.
impl PartialEq for LastNoted {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for LastNoted {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_written_down_once_an_hour() {
        let at =
            |seconds| Timestamp::from_unix_seconds(1_000_000).plus(Duration::from_secs(seconds));
        let noted = LastNoted::new(None);
        assert!(noted.is_due(at(0)), "never used before");
        assert!(noted.claim(at(0)));
        assert!(!noted.claim(at(0)), "somebody has");
        assert!(!noted.is_due(at(3_599)));
        assert!(noted.is_due(at(3_600)));
        assert!(!LastNoted::new(Some(at(0))).is_due(at(1)), "as the store says");
    }
}
