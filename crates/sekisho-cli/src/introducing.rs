//! Where the tokens come from by which servers behind us hear who calls: our own keys, or the identity
//! provider that logged the caller in.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use sekisho::authorization_server::{NoProviderToken, ProviderAccess};
use sekisho::clock::Clock;
use sekisho::gateway::{
    CallerToken, CallerTokens, Introduction, KeptTokens, NotIntroduced, SignedTokens,
};
use sekisho::identity_provider::{ExchangeWish, ProviderToken};
use sekisho::principal::Principal;
use sekisho::protocol::SecretHash;
use sekisho::protocol::oauth::Issuer;
use sekisho::signing::SigningKeys;

use crate::config::{TokenKind, TokenWish};

/// Whoever has tokens of the provider that logs people in at the moment. Nobody where another server
/// does, or accounts of our own.
pub(crate) type ProviderOfNow = Arc<ArcSwapOption<ProviderAccess>>;

/// Whoever gives tokens for callers.
pub(crate) struct TokenSources {
    pub(crate) public_url: Issuer,
    pub(crate) keys: SigningKeys,
    pub(crate) provider: ProviderOfNow,
    pub(crate) clock: Arc<dyn Clock>,
}

impl TokenSources {
    /// What introduces callers as it is wished.
    pub(crate) fn introduction(&self, wish: &TokenWish) -> Introduction {
        let source: Arc<dyn CallerTokens> = match &wish.kind {
            TokenKind::Signed { audience, claims } => {
                let (keys, issuer) = (self.keys.clone(), self.public_url.clone());
                let signed =
                    SignedTokens::new(keys, issuer, audience.clone(), Arc::clone(&self.clock));
                Arc::new(signed.saying(claims.clone()))
            }
            TokenKind::Provider => Arc::new(OfProvider(Arc::clone(&self.provider), None)),
            TokenKind::Exchanged(wish) => {
                Arc::new(OfProvider(Arc::clone(&self.provider), Some(wish.clone())))
            }
        };
        let kept = KeptTokens::new(source, Arc::clone(&self.clock));
        Introduction::token(wish.header.clone(), Arc::new(kept))
    }
}

/// The provider's own token for a caller's login, or what it trades for it.
#[derive(Debug)]
struct OfProvider(ProviderOfNow, Option<ExchangeWish>);

#[async_trait]
impl CallerTokens for OfProvider {
    async fn token_for(
        &self,
        caller: &Arc<Principal>,
        refused: Option<&SecretHash>,
    ) -> Result<CallerToken, NotIntroduced> {
        let Self(provider, wish) = self;
        let Some(provider) = provider.load_full() else { return Err(NotIntroduced::NoLogin) };
        let given = match wish {
            None => provider.access_token(&caller.grant_id, refused).await,
            Some(wish) => provider.exchanged(&caller.grant_id, wish).await,
        };
        match given {
            Ok(ProviderToken { token, ends_at }) => Ok(CallerToken { token, ends_at }),
            Err(NoProviderToken::NoLogin) => Err(NotIntroduced::NoLogin),
            Err(NoProviderToken::Over) => Err(NotIntroduced::Over),
            Err(NoProviderToken::Unavailable(why)) => Err(NotIntroduced::Unavailable(why)),
            Err(NoProviderToken::Refused(why)) => Err(NotIntroduced::Refused(why)),
        }
    }
}
