//! The identity provider as one instance reaches it. What it did and nobody heard of is the provider's
//! word all the same: a session whose new token was lost is over there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sekisho::authorization_server::LEASE;
use sekisho::identity_provider::{
    IdentityProvider, LoggedIn, LoginAttempt, LogoutToken, ProviderError, ProviderTokens,
};
use sekisho::principal::Identity;
use sekisho::protocol::Secret;
use testkit::ScriptedProvider;
use tokio::time::Instant;

use crate::instance::Link;
use crate::promises::Promises;
use crate::weather::Weather;

/// Everybody there is.
pub(crate) const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];

/// The provider, and what became of each refresh token that it gave.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) scripted: Arc<ScriptedProvider>,
    pub(crate) weather: Weather,
    given: Mutex<BTreeMap<String, Given>>,
}

/// A refresh token of the provider's.
#[derive(Debug, Clone)]
struct Given {
    person: String,
    /// By whom it was renewed, and when.
    renewed: Option<(Arc<Link>, Instant)>,
}

impl Provider {
    pub(crate) fn new(weather: Weather) -> Self {
        Self { scripted: Arc::default(), weather, given: Mutex::default() }
    }

    fn give(&self, tokens: Option<&ProviderTokens>) {
        let Some(tokens) = tokens else { return };
        let (Some(refresh), Some(id)) = (&tokens.refresh_token, &tokens.id_token) else { return };
        let person = id.reveal().trim_start_matches("idp-id-token-of-").to_owned();
        let given = Given { person, renewed: None };
        self.given.lock().unwrap().insert(refresh.reveal().to_owned(), given);
    }
}

/// The provider, reached by one instance.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) provider: Arc<Provider>,
    pub(crate) link: Arc<Link>,
    pub(crate) promises: Arc<Promises>,
}

impl Reached {
    async fn ask<T>(
        &self,
        what: &'static str,
        asked: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let lost = || ProviderError::Unavailable("connection reset".into());
        self.link.ask(&self.provider.weather, what, asked, lost).await
    }

    /// A session is not renewed. If that is because it was before, the answer must have been lost.
    fn refused(&self, refresh_token: &Secret) {
        let given = self.provider.given.lock().unwrap().get(refresh_token.reveal()).cloned();
        let Some(Given { person, renewed }) = given else { return };
        // A lease is over at once when the clock that it is by is set back by more.
        let may_be = |at| self.promises.clocks_jumped_since(at - LEASE);
        if renewed.is_some_and(|(by, at)| !by.may_have_lost(at) && !may_be(at)) {
            self.promises.broken(format!("a session of {person} was asked about twice"));
        }
        self.promises.provider_forgets(&person);
    }
}

#[async_trait]
impl IdentityProvider for Reached {
    fn issuer(&self) -> &str {
        self.provider.scripted.issuer()
    }

    async fn authorization_url(&self, attempt: &LoginAttempt) -> Result<String, ProviderError> {
        self.ask("authorization_url", self.provider.scripted.authorization_url(attempt)).await
    }

    async fn is_answer_from_us(&self, iss: Option<&str>) -> Result<bool, ProviderError> {
        self.provider.scripted.is_answer_from_us(iss).await
    }

    async fn redeem(
        &self,
        code: &Secret,
        attempt: &LoginAttempt,
    ) -> Result<LoggedIn, ProviderError> {
        let redeemed = self.ask("redeem", self.provider.scripted.redeem(code, attempt)).await;
        redeemed.inspect(|person| self.provider.give(person.tokens.as_ref()))
    }

    async fn renew(&self, refresh_token: &Secret) -> Result<ProviderTokens, ProviderError> {
        let renewing = async {
            let renewed = self.provider.scripted.renew(refresh_token).await;
            match &renewed {
                Ok(tokens) => {
                    let mut given = self.provider.given.lock().unwrap();
                    if let Some(before) = given.get_mut(refresh_token.reveal()) {
                        before.renewed = Some((Arc::clone(&self.link), Instant::now()));
                    }
                    drop(given);
                    self.provider.give(Some(tokens));
                }
                Err(ProviderError::Refused { .. }) => self.refused(refresh_token),
                Err(_) => {}
            }
            renewed
        };
        self.ask("renew", renewing).await
    }

    async fn confirm(
        &self,
        tokens: &ProviderTokens,
        subject: &str,
    ) -> Result<Option<Identity>, ProviderError> {
        self.provider.scripted.confirm(tokens, subject).await
    }

    async fn revoke(&self, refresh_token: &Secret) -> Result<(), ProviderError> {
        let revoking = async {
            let scripted = &self.provider.scripted;
            let before = PEOPLE.map(|person| scripted.sids_of(person).len());
            let revoked = scripted.revoke(refresh_token).await;
            for (person, before) in PEOPLE.iter().zip(before) {
                if scripted.sids_of(person).len() < before {
                    self.promises.provider_forgets(person);
                }
            }
            revoked
        };
        self.ask("revoke", revoking).await
    }

    fn sends_logouts(&self) -> bool {
        true
    }

    async fn read_logout(&self, token: &Secret) -> Result<LogoutToken, ProviderError> {
        self.ask("read_logout", self.provider.scripted.read_logout(token)).await
    }

    async fn check(&self) -> Result<(), ProviderError> {
        self.provider.scripted.check().await
    }
}
