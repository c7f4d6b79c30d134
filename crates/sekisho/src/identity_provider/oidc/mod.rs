//! An `OpenID` provider logs people in: code flow with PKCE and nonce (`OpenID` Connect Core §3.1).
//!
//! ```text
//! discovery ─▶ authorization_url ─▶ (browser at the provider) ─▶ code ─▶ token ─▶ id_token ─▶ Identity
//!                                              keys of the provider (crate::trusted) ──▲
//! ```
//!
//! Nothing is fetched before it is needed, so that we start while the provider is down. Nothing the
//! provider says reaches a browser, and no token, code or secret of its reaches an error or the log.

mod discovery;
mod id_token;
mod logout_token;
mod token;
mod userinfo;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_protocol::Secret;
use serde::de::DeserializeOwned;
use url::Url;

pub use self::logout_token::LOGOUT_TOKEN_AGE_MAX;

use self::discovery::{OFFLINE_ACCESS, ProviderMetadata};
use self::id_token::{Expected, Flaw, SignedClaims};
use self::logout_token::LogoutClaims;
use super::{
    ExchangeWish, IdentityProvider, LoggedIn, LoginAttempt, LogoutToken, ProviderError,
    ProviderToken, ProviderTokens,
};
use crate::clock::Clock;
use crate::principal::{Identity, WantedClaims};
use crate::trusted::{
    ANSWER_BYTES_MAX, Endpoint, Fault, Fetched, IssuerFlaw, KeySet, TokenKind, Unverified, Wire,
    check_issuer, read_keys,
};

/// Largest answer of the provider that is read, in bytes.
pub const PROVIDER_ANSWER_BYTES_MAX: usize = ANSWER_BYTES_MAX;

/// Longest that one step with the provider takes, whatever the provider does.
pub const PROVIDER_PATIENCE: Duration = Duration::from_secs(10);

/// How old metadata and keys may be before they are fetched anew. A key that the provider withdrew
/// is trusted no longer than that; a new one is found at once.
const FRESH_FOR: Duration = Duration::from_hours(1);

/// How old the last good answer may be when we are asked whether the provider is there.
const CHECKED_FOR: Duration = Duration::from_secs(15);

/// What an operator says about a provider.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    /// The provider's issuer, to the letter; a final slash counts.
    pub issuer: String,
    /// Our name there.
    pub client_id: String,
    /// Our secret there; `None` for a public client.
    pub client_secret: Option<Secret>,
    /// What we ask for; `openid` must be among them.
    pub scopes: Vec<String>,
    /// Where the browser comes back: our public URL and `/auth/callback`.
    pub redirect_uri: String,
    /// Whether to ask for refresh tokens that outlive the browser's session (`offline_access`),
    /// where the provider's metadata offers them.
    pub asks_offline_access: bool,
    /// What an authorization request says beside the usual, such as `audience`.
    pub parameters: Vec<(String, String)>,
    /// In what this provider differs from others.
    pub quirks: Quirks,
}

/// In what a provider differs from what the papers say, or from what its metadata says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quirks {
    /// What an authorization request says to get refresh tokens, where that is not a scope.
    pub offline_parameters: &'static [(&'static str, &'static str)],
    /// The claim that says that an e-mail address was verified, where it is not `email_verified`.
    pub email_verified_by: Option<&'static str>,
    /// Whether the ID token may leave out what the userinfo endpoint says (Core §5.4), so that it is
    /// asked for what is wanted and absent.
    pub asks_userinfo: bool,
    /// What its token endpoint says of a refresh token that is over, beside `invalid_grant`.
    pub says_of_over: &'static [&'static str],
}

impl OidcSettings {
    /// The preset for Keycloak, whose issuer is `https://HOST/realms/REALM`. A realm needs nothing
    /// beyond what any provider needs: its client scopes `email` and `profile` are there by default.
    pub fn keycloak(
        issuer: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: Option<Secret>,
        redirect_uri: impl Into<String>,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            client_id: client_id.into(),
            client_secret,
            scopes: ["openid", "email", "profile"].map(str::to_owned).to_vec(),
            redirect_uri: redirect_uri.into(),
            asks_offline_access: true,
            parameters: Vec::new(),
            quirks: Quirks::default(),
        }
    }
}

/// Settings that can never work, each worded with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum OidcSettingsError {
    /// The issuer is not an absolute URL without query, fragment and credentials.
    #[error(
        "issuer {0:?} is not a URL of a provider: write it as the provider does, for example \"https://login.example.com/realms/main\""
    )]
    Issuer(String),
    /// Tokens and secrets would cross a network in clear.
    #[error("issuer {0:?} is plain http, which is for loopback only: use https")]
    PlainIssuer(String),
    /// There is no client id.
    #[error("client_id is empty: register a client at the provider and write its id")]
    ClientId,
    /// There is a client secret, but nothing in it.
    #[error("client_secret is empty: leave it out for a public client")]
    ClientSecret,
    /// Without the scope `openid` a provider gives no ID token.
    #[error("scopes do not contain \"openid\": add it, without it nobody is logged in")]
    NoOpenidScope,
    /// A scope that is several, or none.
    #[error("scope {0:?} is not one word: write each scope as an entry of its own")]
    Scope(String),
    /// The TLS library could not be set up, for instance without any trusted certificate.
    #[error("TLS cannot be used: install the system's CA certificates")]
    Tls(#[source] reqwest::Error),
}

/// An `OpenID` provider.
#[derive(Debug)]
pub struct OidcProvider {
    settings: OidcSettings,
    claims: WantedClaims,
    clock: Arc<dyn Clock>,
    wire: Wire,
    metadata: Fetched<ProviderMetadata>,
    keys: Fetched<KeySet>,
}

impl OidcProvider {
    /// A provider that is asked for the first time when it is needed.
    ///
    /// # Errors
    /// When the settings cannot work with any provider.
    pub fn new(settings: OidcSettings, clock: Arc<dyn Clock>) -> Result<Self, OidcSettingsError> {
        check(&settings)?;
        let is_plain = settings.issuer.starts_with("http:");
        let wire = Wire::new(is_plain, PROVIDER_PATIENCE).map_err(OidcSettingsError::Tls)?;
        let metadata = Fetched::new(Arc::clone(&clock));
        let keys = Fetched::new(Arc::clone(&clock));
        let claims = WantedClaims::default();
        Ok(Self { settings, claims, clock, wire, metadata, keys })
    }

    /// Keeps these claims of a person, beside who they are.
    #[must_use]
    pub fn keeping(mut self, claims: WantedClaims) -> Self {
        self.claims = claims;
        self
    }

    /// Waits `patience` instead of [`PROVIDER_PATIENCE`].
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.wire.set_patience(patience);
        self
    }

    async fn metadata(&self, age: Duration) -> Result<Arc<ProviderMetadata>, Fault> {
        self.metadata.no_older_than(age, self.fetch_metadata()).await
    }

    fn fetch_metadata(&self) -> impl Future<Output = Result<ProviderMetadata, Fault>> + use<> {
        let (wire, issuer) = (self.wire.clone(), self.settings.issuer.clone());
        let has_secret = self.settings.client_secret.is_some();
        async move {
            let url = discovery::metadata_url(&issuer);
            let url =
                Url::parse(&url).map_err(|_| Fault::Unacceptable("its issuer is no URL".into()))?;
            let answer = wire.get(Endpoint::Metadata, url).await?;
            ProviderMetadata::read(&answer, &issuer, has_secret)
        }
    }

    fn fetch_keys(
        &self,
        metadata: &ProviderMetadata,
    ) -> impl Future<Output = Result<KeySet, Fault>> + use<> {
        let (wire, url) = (self.wire.clone(), metadata.jwks_uri.clone());
        async move { read_keys(&wire.get(Endpoint::Keys, url).await?) }
    }

    async fn trade(&self, code: &Secret, attempt: &LoginAttempt) -> Result<LoggedIn, Fault> {
        let metadata = self.metadata(FRESH_FOR).await?;
        let tokens = token::trade(&self.wire, &self.settings, &metadata, code, attempt).await?;
        let claims: SignedClaims =
            self.verify(&metadata, tokens.id_token()?, TokenKind::Id).await?;
        let sid = claims.sid();
        let now = self.clock.now();
        let expected = Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: &attempt.nonce,
            now,
        };
        let claims = claims.judge(&expected).map_err(unacceptable)?;
        let tokens = self.kept(tokens, &metadata);
        let identity = self.described(&metadata, claims, &tokens.access_token).await?;
        Ok(LoggedIn { identity, tokens: Some(tokens), sid })
    }

    /// The person whom judged claims are about, with what the userinfo endpoint adds.
    async fn described(
        &self,
        metadata: &ProviderMetadata,
        mut claims: SignedClaims,
        access_token: &Secret,
    ) -> Result<Identity, Fault> {
        let quirks = &self.settings.quirks;
        if let Some(url) = metadata.userinfo_endpoint.as_ref().filter(|_| quirks.asks_userinfo)
            && claims.lacks(&self.claims, self.settings.scopes.iter().any(|scope| scope == "email"))
        {
            claims.add(userinfo::ask(&self.wire, url, access_token, claims.subject()).await?);
        }
        claims.tell_of_absent(&self.claims);
        Ok(claims.described(&self.claims, quirks.email_verified_by))
    }

    /// What is kept of tokens. Where refresh tokens are not asked for by a scope, one that came is
    /// what was asked for.
    fn kept(&self, tokens: token::Tokens, metadata: &ProviderMetadata) -> ProviderTokens {
        let has_asked = self.scopes(metadata).contains(&OFFLINE_ACCESS);
        let tokens = tokens.kept(self.clock.now(), has_asked);
        let is_by_parameter = self.settings.asks_offline_access
            && !self.settings.quirks.offline_parameters.is_empty();
        let is_offline = tokens.is_offline || (is_by_parameter && tokens.refresh_token.is_some());
        ProviderTokens { is_offline, ..tokens }
    }

    /// What a login asks for.
    fn scopes(&self, metadata: &ProviderMetadata) -> Vec<&str> {
        let mut scopes: Vec<&str> = self.settings.scopes.iter().map(String::as_str).collect();
        let wants_offline = self.settings.asks_offline_access && metadata.offers_offline_access;
        if wants_offline && !scopes.contains(&OFFLINE_ACCESS) {
            scopes.push(OFFLINE_ACCESS);
        }
        scopes
    }

    async fn give_back(&self, refresh_token: &Secret) -> Result<(), Fault> {
        let metadata = self.metadata(FRESH_FOR).await?;
        token::revoke(&self.wire, &self.settings, &metadata, refresh_token).await
    }

    async fn ask_again(&self, refresh_token: &Secret) -> Result<ProviderTokens, Fault> {
        let metadata = self.metadata(FRESH_FOR).await?;
        let tokens = token::renew(&self.wire, &self.settings, &metadata, refresh_token).await?;
        Ok(self.kept(tokens, &metadata))
    }

    async fn trade_on(
        &self,
        access_token: &Secret,
        wish: &ExchangeWish,
    ) -> Result<ProviderToken, Fault> {
        let metadata = self.metadata(FRESH_FOR).await?;
        let now = self.clock.now();
        token::exchange(&self.wire, &self.settings, &metadata, access_token, wish, now).await
    }

    async fn check_renewed(
        &self,
        id_token: &Secret,
        access_token: &Secret,
        subject: &str,
    ) -> Result<Identity, Fault> {
        let metadata = self.metadata(FRESH_FOR).await?;
        let claims: SignedClaims = self.verify(&metadata, id_token, TokenKind::Id).await?;
        let OidcSettings { issuer, client_id, .. } = &self.settings;
        let judged = claims.judge_renewed(issuer, client_id, subject);
        let claims = judged.map_err(|flaw| {
            if flaw == Flaw::OtherPerson {
                Fault::Refused(flaw.to_string())
            } else {
                unacceptable(flaw)
            }
        })?;
        self.described(&metadata, claims, access_token).await
    }

    async fn check_logout(&self, token: &Secret) -> Result<LogoutToken, Fault> {
        let metadata = self.metadata(FRESH_FOR).await?;
        let claims: LogoutClaims = self.verify(&metadata, token, TokenKind::Logout).await?;
        let OidcSettings { issuer, client_id, .. } = &self.settings;
        claims.judge(issuer, client_id, self.clock.now()).map_err(unacceptable)
    }

    /// Verifies with the keys at hand; a key that is not among them may have been published since.
    async fn verify<C: DeserializeOwned>(
        &self,
        metadata: &ProviderMetadata,
        token: &Secret,
        kind: TokenKind,
    ) -> Result<C, Fault> {
        let keys = self.keys.no_older_than(FRESH_FOR, self.fetch_keys(metadata)).await?;
        let verified = self.keys.verify(keys, token, kind, self.fetch_keys(metadata)).await;
        verified.map(|(claims, _)| claims).map_err(|unverified| match unverified {
            Unverified::Flaw(flaw) => unacceptable(flaw.into()),
            Unverified::Fault(fault) => fault,
        })
    }

    async fn in_time<T>(
        &self,
        step: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, ProviderError> {
        self.wire.in_time(step).await.map_err(ProviderError::from)
    }
}

#[async_trait]
impl IdentityProvider for OidcProvider {
    fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    async fn authorization_url(&self, attempt: &LoginAttempt) -> Result<String, ProviderError> {
        let metadata = self.in_time(self.metadata(FRESH_FOR)).await?;
        let challenge = attempt.code_challenge()?;
        let scopes = self.scopes(&metadata).join(" ");
        let mut url = metadata.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.settings.redirect_uri)
            .append_pair("scope", &scopes)
            .append_pair("state", attempt.login_state.reveal())
            .append_pair("nonce", attempt.nonce.reveal())
            .append_pair("code_challenge", challenge.as_str())
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(self.settings.parameters.iter());
        if self.settings.asks_offline_access {
            let is_said =
                |name: &str| self.settings.parameters.iter().any(|(said, _)| said == name);
            let more = self.settings.quirks.offline_parameters.iter();
            url.query_pairs_mut().extend_pairs(more.filter(|(name, _)| !is_said(name)));
        }
        Ok(url.into())
    }

    async fn is_answer_from_us(&self, iss: Option<&str>) -> Result<bool, ProviderError> {
        match iss {
            Some(iss) => Ok(iss == self.settings.issuer),
            None => Ok(!self.in_time(self.metadata(FRESH_FOR)).await?.sends_iss),
        }
    }

    async fn redeem(
        &self,
        code: &Secret,
        attempt: &LoginAttempt,
    ) -> Result<LoggedIn, ProviderError> {
        self.in_time(self.trade(code, attempt)).await
    }

    async fn renew(&self, refresh_token: &Secret) -> Result<ProviderTokens, ProviderError> {
        self.in_time(self.ask_again(refresh_token)).await
    }

    async fn confirm(
        &self,
        tokens: &ProviderTokens,
        subject: &str,
    ) -> Result<Option<Identity>, ProviderError> {
        match &tokens.id_token {
            Some(id_token) => {
                let step = self.check_renewed(id_token, &tokens.access_token, subject);
                self.in_time(step).await.map(Some)
            }
            None => Ok(None),
        }
    }

    async fn exchange(
        &self,
        access_token: &Secret,
        wish: &ExchangeWish,
    ) -> Result<ProviderToken, ProviderError> {
        self.in_time(self.trade_on(access_token, wish)).await
    }

    async fn revoke(&self, refresh_token: &Secret) -> Result<(), ProviderError> {
        self.in_time(self.give_back(refresh_token)).await
    }

    fn sends_logouts(&self) -> bool {
        true
    }

    async fn read_logout(&self, token: &Secret) -> Result<LogoutToken, ProviderError> {
        self.in_time(self.check_logout(token)).await
    }

    async fn end_session_url(
        &self,
        id_token_hint: Option<&Secret>,
        return_to: &str,
        state: &str,
    ) -> Result<Option<String>, ProviderError> {
        let metadata = self.in_time(self.metadata(FRESH_FOR)).await?;
        let Some(mut url) = metadata.end_session_endpoint.clone() else { return Ok(None) };
        if let Some(hint) = id_token_hint {
            url.query_pairs_mut().append_pair("id_token_hint", hint.reveal());
        }
        url.query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("post_logout_redirect_uri", return_to)
            .append_pair("state", state);
        Ok(Some(url.into()))
    }

    async fn check(&self) -> Result<(), ProviderError> {
        self.in_time(self.metadata(CHECKED_FOR)).await.map(|_| ())
    }
}

impl From<Fault> for ProviderError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreachable { .. } | Fault::Outage { .. } | Fault::TooSlow(_) => {
                Self::Unavailable(Box::new(fault))
            }
            Fault::Unacceptable(reason) => Self::Unacceptable { reason },
            Fault::Refused(reason) => Self::Refused { reason },
        }
    }
}

fn unacceptable(flaw: Flaw) -> Fault {
    Fault::Unacceptable(flaw.to_string())
}

fn check(settings: &OidcSettings) -> Result<(), OidcSettingsError> {
    check_issuer(&settings.issuer).map_err(|flaw| {
        let issuer = settings.issuer.clone();
        match flaw {
            IssuerFlaw::NoUrl => OidcSettingsError::Issuer(issuer),
            IssuerFlaw::Plain => OidcSettingsError::PlainIssuer(issuer),
        }
    })?;
    if settings.client_id.is_empty() {
        return Err(OidcSettingsError::ClientId);
    }
    if settings.client_secret.as_ref().is_some_and(|secret| secret.reveal().is_empty()) {
        return Err(OidcSettingsError::ClientSecret);
    }
    let is_word =
        |scope: &&String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
    if let Some(scope) = settings.scopes.iter().find(|scope| !is_word(scope)) {
        return Err(OidcSettingsError::Scope(scope.clone()));
    }
    if !settings.scopes.iter().any(|scope| scope == "openid") {
        return Err(OidcSettingsError::NoOpenidScope);
    }
    Ok(())
}
