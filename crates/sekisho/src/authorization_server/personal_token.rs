//! Personal access tokens: for a machine that has no browser, by the person it acts for.
//!
//! A personal access token is a grant without a client, with one access token that cannot be renewed.
//! It is for one server, ends in at most [`PERSONAL_TOKEN_LIFE_MAX`], and is told once: what is kept is
//! its hash. Made on the account page and on the command line.

use std::time::Duration;

use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{ProtectedResource, ScopeSet};

use crate::clock::{Clock, Timestamp};
use crate::grant::{GrantId, Turn};
use crate::mint;
use crate::principal::Identity;
use crate::store::{
    PERSONAL_TOKENS_PER_PERSON_MAX, PersonalToken, PersonalTokenAdded, Store, StoreError,
};

/// Longest life of a personal access token: a leap year.
pub const PERSONAL_TOKEN_LIFE_MAX: Duration = Duration::from_hours(366 * 24);

/// Longest label.
pub const LABEL_CHARS_MAX: usize = 64;

/// What somebody asks for.
#[derive(Debug, Clone)]
pub struct PersonalTokenRequest<'a> {
    /// For whom it will speak.
    pub identity: &'a Identity,
    /// Where.
    pub server: &'a ProtectedResource,
    /// What it may do; empty for what the server asks of everybody.
    pub scope: ScopeSet,
    /// How long.
    pub life: Duration,
    /// What its owner calls it; may be empty.
    pub label: &'a str,
    /// The provider's session of the login that it is made in, if there is one.
    pub session: Option<GrantId>,
}

/// A new personal access token, the only time it is told.
#[derive(Debug)]
pub struct NewPersonalToken {
    /// The token.
    pub token: Secret,
    /// The grant it is, by which it is listed and removed.
    pub id: GrantId,
    /// What it may do.
    pub scope: ScopeSet,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Why there is none, worded with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum PersonalTokenError {
    /// A scope that the server does not have.
    #[error("the server {server:?} has no such scope: it has {known}")]
    UnknownScope {
        /// The server.
        server: String,
        /// What it has.
        known: ScopeSet,
    },
    /// No life at all, or more than [`PERSONAL_TOKEN_LIFE_MAX`].
    #[error("a token lives for a day to 366 days: choose a time between them")]
    Life,
    /// More than [`LABEL_CHARS_MAX`] characters.
    #[error("the label is longer than {LABEL_CHARS_MAX} characters")]
    LongLabel,
    /// A tab, newline or the like.
    #[error("the label contains a control character")]
    ControlCharacter,
    /// No more for this person.
    #[error(
        "the person has {PERSONAL_TOKENS_PER_PERSON_MAX} personal tokens already: remove one first"
    )]
    TooMany,
    /// The local account is not there.
    #[error("there is no account {0:?}")]
    NoAccount(String),
    /// The store is broken.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a personal access token.
///
/// # Errors
/// When it asks for what the server does not have, lives too long, or is one too many.
pub async fn add(
    store: &dyn Store,
    clock: &dyn Clock,
    request: &PersonalTokenRequest<'_>,
) -> Result<NewPersonalToken, PersonalTokenError> {
    let label = label(request.label)?;
    let scope = scope(request)?;
    if request.life < LIFE_MIN || request.life > PERSONAL_TOKEN_LIFE_MAX {
        return Err(PersonalTokenError::Life);
    }
    let now = clock.now();
    let id = GrantId::new(mint::id());
    let token = mint::personal_token(&id.place(Turn::default()));
    let row = PersonalToken {
        id,
        token: token.hash(),
        identity: request.identity.clone(),
        scope: scope.clone(),
        resource: request.server.resource.clone(),
        label,
        created_at: now,
        expires_at: now.plus(request.life),
        session: request.session.clone(),
    };
    match store.add_personal_token(&row).await? {
        PersonalTokenAdded::Added => {
            Ok(NewPersonalToken { token, id: row.id, scope, expires_at: row.expires_at })
        }
        PersonalTokenAdded::TooMany => Err(PersonalTokenError::TooMany),
        PersonalTokenAdded::NoAccount => {
            Err(PersonalTokenError::NoAccount(request.identity.subject.clone()))
        }
    }
}

fn label(text: &str) -> Result<Option<String>, PersonalTokenError> {
    let text = text.trim();
    if text.chars().count() > LABEL_CHARS_MAX {
        return Err(PersonalTokenError::LongLabel);
    }
    if text.chars().any(char::is_control) {
        return Err(PersonalTokenError::ControlCharacter);
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// All of them must be known: who writes down what a machine may do should hear of a slip.
fn scope(request: &PersonalTokenRequest<'_>) -> Result<ScopeSet, PersonalTokenError> {
    if request.scope.is_empty() {
        return Ok(request.server.scopes.clone());
    }
    let known = request.server.all_scopes();
    if known.covers(&request.scope) {
        return Ok(request.scope.clone());
    }
    let server = request.server.name.clone();
    Err(PersonalTokenError::UnknownScope { server, known })
}

/// Shortest life: less is better served by a login.
const LIFE_MIN: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use sekisho_protocol::oauth::Issuer;

    use super::*;
    use crate::clock::SystemClock;
    use crate::grant::TokenKey;
    use crate::principal::Claims;
    use crate::store::{MemoryStore, TableLimits};

    #[tokio::test]
    async fn a_token_is_what_the_server_and_the_limits_allow() {
        let issuer = Issuer::parse("http://localhost:8000").unwrap();
        let scopes = ScopeSet::of(["read", "write"]);
        let server = ProtectedResource::new(&issuer, "files", "/", scopes);
        let identity = Identity {
            issuer: "https://idp.example".into(),
            subject: "1".into(),
            name: None,
            email: None,
            email_verified: false,
            claims: Claims::default(),
        };
        let store = MemoryStore::new(TableLimits::default());
        let day = Duration::from_hours(24);
        let long = "x".repeat(LABEL_CHARS_MAX + 1);
        let rows = [
            ("read", day, "nightly build", Some("read"), "one of the scopes"),
            ("", day * 366, "", Some("read write"), "all of them, for the longest time"),
            ("read admin", day, "", None, "a scope that the server does not have"),
            ("read", day * 367, "", None, "too long a life"),
            ("read", Duration::from_hours(23), "", None, "too short a life"),
            ("read", day, &long, None, "too long a label"),
            ("read", day, "a\nb", None, "a label of two lines"),
        ];
        for (scope, life, label, expected, reason) in rows {
            let scope = ScopeSet::parse(scope).unwrap();
            let identity = &identity;
            let server = &server;
            let request =
                PersonalTokenRequest { identity, server, scope, life, label, session: None };
            let made = add(&store, &SystemClock, &request).await.ok();
            let granted = made.as_ref().map(|made| made.scope.to_string());
            assert_eq!(granted.as_deref(), expected, "{reason}");
            let Some(made) = made else { continue };
            assert!(made.token.reveal().starts_with("mcpp_") && made.token.reveal().len() == 69);
            assert!(
                store.find_access_token(&TokenKey::shown(&made.token)).await.unwrap().is_some()
            );
        }
    }
}
