//! The provider's access token of a login, for a server behind us that wants to see it: good for a
//! while yet, or renewed.
//!
//! ```text
//! grant ─▶ its session ─▶ fresh? ─▶ the token
//!                │ no
//!                └─ claimed ─▶ renewed as in `provider_sessions` ─▶ once more
//!                       └ somebody asks already ─▶ wait for what they find
//! ```
//!
//! Only one process at a time renews a session, whoever wants to know. What was begun is brought to its
//! end, also when nobody waits for it any more: the answer may hold the only token that is good.

use std::sync::Arc;
use std::time::Duration;

use sekisho_protocol::SecretHash;
use tokio::time::{Instant, sleep};

use super::provider_sessions::{LEASE, Outcome, ProviderSessions, in_full};
use crate::grant::GrantId;
use crate::identity_provider::{ExchangeWish, ProviderError, ProviderToken};
use crate::store::StoreError;

/// A token that ends sooner than this is renewed first.
const FRESH_AT_LEAST: Duration = Duration::from_secs(30);
/// One that cannot be renewed now is good enough for as long as this.
const GOOD_AT_LEAST: Duration = Duration::from_secs(1);
/// How long somebody else's question is waited for: as long as a provider may take, and a busy store.
const OTHERS_WAIT: Duration = Duration::from_secs(20);
/// How often we look whether they are done.
const OTHERS_LOOKED_FOR_EVERY: Duration = Duration::from_millis(100);

/// Gives access tokens of the provider out.
#[derive(Debug, Clone)]
pub struct ProviderAccess(Arc<ProviderSessions>);

/// Why there is no token of the provider's. What is said beside is for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoProviderToken {
    /// No login at the provider is behind this grant: a personal token, a client that acts for itself.
    NoLogin,
    /// The session there is over; the person has to log in again.
    Over,
    /// Nothing can be said at the moment.
    Unavailable(String),
    /// The provider refuses, or its answer cannot be used.
    Refused(String),
}

impl ProviderAccess {
    pub(super) fn new(sessions: ProviderSessions) -> Self {
        Self(Arc::new(sessions))
    }

    /// The access token of the login behind a grant; another than `refused`.
    ///
    /// # Errors
    /// When there is none. The provider's clear no has ended the grant by then.
    pub async fn access_token(
        &self,
        grant: &GrantId,
        refused: Option<&SecretHash>,
    ) -> Result<ProviderToken, NoProviderToken> {
        let (sessions, grant, refused) = (Arc::clone(&self.0), grant.clone(), refused.copied());
        let asked = tokio::spawn(async move { sessions.fresh(&grant, refused).await });
        asked.await.unwrap_or_else(|_| Err(unavailable("it broke off")))
    }

    /// What the provider trades that token for.
    ///
    /// # Errors
    /// As above, and when it trades nothing.
    pub async fn exchanged(
        &self,
        grant: &GrantId,
        wish: &ExchangeWish,
    ) -> Result<ProviderToken, NoProviderToken> {
        let own = self.access_token(grant, None).await?;
        let session = self.0.store.find_provider_session(grant).await;
        let session = session.map_err(|error| of_store(&error))?;
        let provider = session.and_then(|session| self.0.providers.of_issuer(&session.issuer));
        let Some(provider) = provider else { return Err(NoProviderToken::NoLogin) };
        provider.seam.exchange(&own.token, wish).await.map_err(|error| match error {
            ProviderError::Unavailable(_) => unavailable(in_full(&error)),
            ProviderError::Unacceptable { reason } | ProviderError::Refused { reason } => {
                NoProviderToken::Refused(reason)
            }
        })
    }
}

impl ProviderSessions {
    async fn fresh(
        &self,
        grant: &GrantId,
        refused: Option<SecretHash>,
    ) -> Result<ProviderToken, NoProviderToken> {
        let give_up_at = Instant::now() + OTHERS_WAIT;
        let mut is_renewed = false;
        loop {
            let session =
                self.store.find_provider_session(grant).await.map_err(|error| of_store(&error))?;
            let Some(session) = session else { return Err(NoProviderToken::NoLogin) };
            let Some(tokens) = self.open_at(grant, &session.tokens) else {
                return Err(unavailable("its tokens do not open with this key"));
            };
            let now = self.clock.now();
            let token = tokens.access_token();
            let lives_for = |least| token.ends_at.is_none_or(|end| end.left(now) >= least);
            let is_refused = refused.is_some_and(|refused| token.token.matches(&refused));
            // A provider may give the same token again: then there is no other.
            if is_renewed || (!is_refused && lives_for(FRESH_AT_LEAST)) {
                return Ok(token);
            }
            let is_good = !is_refused && lives_for(GOOD_AT_LEAST);
            let instead_of = |problem| if is_good { Ok(token.clone()) } else { Err(problem) };
            if tokens.refresh_token.is_none() {
                return instead_of(NoProviderToken::Over);
            }
            let claimed = self.store.claim_provider_session(grant, now, now.plus(LEASE)).await;
            let Some(claimed) = claimed.map_err(|error| of_store(&error))? else {
                if Instant::now() >= give_up_at {
                    return instead_of(unavailable("another process asks, and is not answered"));
                }
                sleep(OTHERS_LOOKED_FOR_EVERY).await;
                continue;
            };
            match self.check(&claimed).await.map_err(|error| of_store(&error))? {
                Outcome::Alive => is_renewed = true,
                Outcome::Ended => return Err(NoProviderToken::Over),
                Outcome::Failed(reason) => {
                    return instead_of(NoProviderToken::Unavailable(reason));
                }
                // Somebody was faster, or the grant has ended: the next look shows it.
                Outcome::Lost if Instant::now() >= give_up_at => {
                    return instead_of(unavailable("it is never there when we look"));
                }
                Outcome::Lost => {}
            }
        }
    }
}

fn unavailable(reason: impl Into<String>) -> NoProviderToken {
    NoProviderToken::Unavailable(reason.into())
}

fn of_store(error: &StoreError) -> NoProviderToken {
    unavailable(in_full(error))
}
