//! GitHub logs people in: OAuth 2.0 with PKCE, but no `OpenID` Connect, so no discovery, no ID token and
//! no nonce. Who came back is asked of its API, with the token that was just given for this login's
//! code and verifier.
//!
//! ```text
//! code ─▶ /login/oauth/access_token ─▶ /user ─▶ /user/emails ─▶ (/user/orgs, /user/teams) ─▶ Identity
//! ```
//!
//! A person is their number: names are changed there, and given to others. Tokens of an OAuth app last
//! until they are revoked and have no refresh token; whether one is still good is asked with itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sekisho_protocol::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Map;
use url::Url;

use super::oidc::PROVIDER_PATIENCE;
use super::{IdentityProvider, LoggedIn, LoginAttempt, ProviderError, ProviderTokens};
use crate::clock::Clock;
use crate::principal::{Identity, WantedClaims};
use crate::trusted::{Description, Endpoint, Fault, Wire, check_issuer, described};

/// Where everybody's GitHub is; an Enterprise Server is somewhere else.
pub const GITHUB: &str = "https://github.com";

/// Most pages of organisations, and of teams, that are read: 1,000 of each.
pub const GROUP_PAGES_MAX: usize = 10;
const GROUPS_PER_PAGE: usize = 100;

/// The claim with somebody's organisations (`org`) and teams (`org/team`).
const GROUPS: &str = "groups";

/// Before an access token that is kept where others keep a refresh token.
const ASKS_WITH_ITSELF: &str = "access:";

/// How we are known there.
#[derive(Debug, Clone)]
pub struct GitHubSettings {
    /// [`GITHUB`], or the URL of an Enterprise Server.
    pub issuer: String,
    /// Of the OAuth app, or of the GitHub App.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What is asked for; a GitHub App has permissions instead, and takes no notice.
    pub scopes: Vec<String>,
    /// Where the browser comes back.
    pub redirect_uri: String,
}

/// Settings that can never work.
#[derive(Debug, thiserror::Error)]
pub enum GitHubSettingsError {
    /// The issuer is no https URL, nor http on loopback.
    #[error(
        "issuer {0:?} is no GitHub: leave it out, or write the https URL of your Enterprise Server"
    )]
    Issuer(String),
    /// The TLS library could not be set up.
    #[error("TLS cannot be used: install the system's CA certificates")]
    Tls(#[source] reqwest::Error),
}

/// GitHub, or an Enterprise Server of one's own.
#[derive(Debug)]
pub struct GitHubProvider {
    settings: GitHubSettings,
    /// Without a final slash.
    api: String,
    claims: WantedClaims,
    clock: Arc<dyn Clock>,
    wire: Wire,
}

/// What the token endpoint answers, with 200 in both cases.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Email {
    #[serde(rename = "email")]
    address: String,
    primary: bool,
    verified: bool,
}

#[derive(Deserialize)]
struct Organization {
    login: String,
}

#[derive(Deserialize)]
struct Team {
    slug: String,
    organization: Organization,
}

impl GitHubProvider {
    /// A provider that is asked for the first time when somebody logs in.
    ///
    /// # Errors
    /// When the settings cannot work.
    pub fn new(
        settings: GitHubSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, GitHubSettingsError> {
        let is_url = check_issuer(&settings.issuer).is_ok() && !settings.issuer.ends_with('/');
        if !is_url {
            return Err(GitHubSettingsError::Issuer(settings.issuer));
        }
        let api = if settings.issuer == GITHUB {
            "https://api.github.com".to_owned()
        } else {
            format!("{}/api/v3", settings.issuer)
        };
        let wire = Wire::new(settings.issuer.starts_with("http:"), PROVIDER_PATIENCE)
            .map_err(GitHubSettingsError::Tls)?;
        Ok(Self { settings, api, claims: WantedClaims::default(), clock, wire })
    }

    /// Keeps these claims of a person, beside who they are: of `login` and `groups` those that are
    /// wanted. Without `groups` nobody asks for organisations and teams.
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

    async fn ask_for_tokens(&self, form: &[(&str, &str)]) -> Result<ProviderTokens, Fault> {
        let url = url(&format!("{}/login/oauth/access_token", self.settings.issuer))?;
        let ours = [
            ("client_id", self.settings.client_id.as_str()),
            ("client_secret", self.settings.client_secret.reveal()),
        ];
        let form: Vec<_> = ours.into_iter().chain(form.iter().copied()).collect();
        let answer = self.wire.post(Endpoint::Token, url, &form, None).await?;
        let unusable = || {
            let status = answer.status;
            Fault::Unacceptable(format!("{} answered {status} without a token", Endpoint::Token))
        };
        let said: TokenAnswer = serde_json::from_slice(&answer.body).map_err(|_| unusable())?;
        if let Some(error) = &said.error {
            return Err(refusal(error));
        }
        let access_token =
            said.access_token.filter(|token| !token.is_empty()).ok_or_else(unusable)?;
        let lifetime = said.expires_in.map(Duration::from_secs);
        let refresh_token =
            said.refresh_token.unwrap_or_else(|| format!("{ASKS_WITH_ITSELF}{access_token}"));
        Ok(ProviderTokens {
            access_token: Secret::new(access_token),
            refresh_token: Some(Secret::new(refresh_token)),
            id_token: None,
            expires_at: lifetime.map(|lifetime| self.clock.now().plus(lifetime)),
            is_offline: true,
        })
    }

    async fn trade(&self, code: &Secret, attempt: &LoginAttempt) -> Result<LoggedIn, Fault> {
        let form = [
            ("code", code.reveal()),
            ("redirect_uri", self.settings.redirect_uri.as_str()),
            ("code_verifier", attempt.code_verifier.reveal()),
        ];
        let tokens = self.ask_for_tokens(&form).await?;
        let identity = self.person(&tokens.access_token).await?;
        Ok(LoggedIn { identity, tokens: Some(tokens), sid: None })
    }

    async fn ask_again(&self, refresh_token: &Secret) -> Result<ProviderTokens, Fault> {
        let Some(access_token) = refresh_token.reveal().strip_prefix(ASKS_WITH_ITSELF) else {
            let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.reveal())];
            return self.ask_for_tokens(&form).await;
        };
        let access_token = Secret::new(access_token);
        let _: User = self.read("user", &access_token).await?;
        Ok(ProviderTokens {
            access_token,
            refresh_token: Some(refresh_token.clone()),
            id_token: None,
            expires_at: None,
            is_offline: true,
        })
    }

    async fn give_back(&self, refresh_token: &Secret) -> Result<(), Fault> {
        let Some(access_token) = refresh_token.reveal().strip_prefix(ASKS_WITH_ITSELF) else {
            return Ok(());
        };
        let (id, secret) = (&self.settings.client_id, self.settings.client_secret.reveal());
        let url = url(&format!("{}/applications/{id}/token", self.api))?;
        let body = serde_json::json!({ "access_token": access_token });
        let answer = self.wire.delete(Endpoint::Revocation, url, &body, (id, secret)).await?;
        // Unknown there is as good as revoked.
        match answer.status.as_u16() {
            204 | 404 | 422 => Ok(()),
            status => {
                Err(Fault::Unacceptable(format!("{} answered {status}", Endpoint::Revocation)))
            }
        }
    }

    /// Who has this token.
    async fn person(&self, access_token: &Secret) -> Result<Identity, Fault> {
        let user: User = self.read("user", access_token).await?;
        let email = if self.settings.scopes.iter().any(|scope| scope == "user:email") {
            let emails: Vec<Email> = self.read("user/emails", access_token).await?;
            emails.into_iter().find(|email| email.primary)
        } else {
            None
        };
        let mut rest = Map::new();
        let mut has_unread_groups = false;
        if self.claims.iter().any(|claim| claim == GROUPS) {
            match self.groups(access_token).await? {
                Some(groups) => _ = rest.insert(GROUPS.to_owned(), groups.into()),
                None => has_unread_groups = true,
            }
        }
        rest.insert("login".to_owned(), user.login.clone().into());
        let description = Description {
            name: user.name.filter(|name| !name.trim().is_empty()),
            preferred_username: Some(user.login),
            email_verified: email.as_ref().is_some_and(|email| email.verified).into(),
            email: email.map(|email| email.address),
            rest,
        };
        let issuer = self.settings.issuer.clone();
        let mut person = described(issuer, user.id.to_string(), description, &self.claims);
        if has_unread_groups {
            person.claims = person.claims.in_part();
        }
        Ok(person)
    }

    /// Organisations and teams; nothing if they are too many, since half of them would be others.
    async fn groups(&self, access_token: &Secret) -> Result<Option<Vec<String>>, Fault> {
        let organizations = self.pages::<Organization>("user/orgs", access_token).await?;
        let teams = self.pages::<Team>("user/teams", access_token).await?;
        let (Some(organizations), Some(teams)) = (organizations, teams) else {
            tracing::warn!(
                claim = GROUPS,
                "somebody is in more organisations or teams than are read: rules see none of them"
            );
            return Ok(None);
        };
        let teams =
            teams.into_iter().map(|team| format!("{}/{}", team.organization.login, team.slug));
        Ok(Some(organizations.into_iter().map(|one| one.login).chain(teams).collect()))
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        what: &str,
        access_token: &Secret,
    ) -> Result<Option<Vec<T>>, Fault> {
        let mut all = Vec::new();
        for page in 1..=GROUP_PAGES_MAX {
            let path = format!("{what}?per_page={GROUPS_PER_PAGE}&page={page}");
            let some: Vec<T> = self.read(&path, access_token).await?;
            let is_last = some.len() < GROUPS_PER_PAGE;
            all.extend(some);
            if is_last {
                return Ok(Some(all));
            }
        }
        Ok(None)
    }

    async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        access_token: &Secret,
    ) -> Result<T, Fault> {
        let what = path.split('?').next().unwrap_or_default();
        let url = url(&format!("{}/{path}", self.api))?;
        let answer = self.wire.get_as(Endpoint::Userinfo, url, access_token).await?;
        match answer.status.as_u16() {
            200 => serde_json::from_slice(&answer.body).map_err(|_| {
                Fault::Unacceptable(format!("its answer about /{what} is not what it documents"))
            }),
            401 => Err(Fault::Refused("its API says that the token is not good any more".into())),
            403 | 404 => Err(Fault::Unacceptable(format!(
                "its API does not show us /{what}: let our app have {}",
                permission(what)
            ))),
            status => Err(Fault::Unacceptable(format!("its API answered {status} about /{what}"))),
        }
    }

    async fn in_time<T>(
        &self,
        step: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, ProviderError> {
        self.wire.in_time(step).await.map_err(ProviderError::from)
    }
}

#[async_trait]
impl IdentityProvider for GitHubProvider {
    fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    async fn authorization_url(&self, attempt: &LoginAttempt) -> Result<String, ProviderError> {
        let challenge = attempt.code_challenge()?;
        let mut url = url(&format!("{}/login/oauth/authorize", self.settings.issuer))?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.settings.redirect_uri)
            .append_pair("scope", &self.settings.scopes.join(" "))
            .append_pair("state", attempt.login_state.reveal())
            .append_pair("code_challenge", challenge.as_str())
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// It does not say that it names itself, and may begin to.
    async fn is_answer_from_us(&self, iss: Option<&str>) -> Result<bool, ProviderError> {
        let issuer = &self.settings.issuer;
        Ok(iss.is_none_or(|iss| iss == issuer || iss == format!("{issuer}/login/oauth")))
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

    /// It keeps ten of an OAuth app for each person.
    fn drops_older_tokens(&self, refresh_token: &Secret) -> bool {
        refresh_token.reveal().starts_with(ASKS_WITH_ITSELF)
    }

    async fn confirm(
        &self,
        tokens: &ProviderTokens,
        subject: &str,
    ) -> Result<Option<Identity>, ProviderError> {
        let identity = self.in_time(self.person(&tokens.access_token)).await?;
        if identity.subject == subject {
            Ok(Some(identity))
        } else {
            Err(ProviderError::Refused { reason: "the token is about another person".into() })
        }
    }

    async fn revoke(&self, refresh_token: &Secret) -> Result<(), ProviderError> {
        self.in_time(self.give_back(refresh_token)).await
    }

    /// Every question that could be asked counts against us there, so none is.
    async fn check(&self) -> Result<(), ProviderError> {
        Ok(())
    }
}

fn url(text: &str) -> Result<Url, Fault> {
    Url::parse(text).map_err(|_| Fault::Unacceptable("its address is no URL".into()))
}

/// What the app needs to see a place of the API, as an OAuth app and as a GitHub App.
fn permission(what: &str) -> &'static str {
    match what {
        "user/emails" => "the scope user:email (a GitHub App: Email addresses, read)",
        "user/orgs" | "user/teams" => "the scope read:org (a GitHub App: Members, read)",
        _ => "the scope read:user",
    }
}

/// The token endpoint's words, sorted by whose fault it is.
fn refusal(error: &str) -> Fault {
    match error {
        "bad_verification_code" => Fault::Refused("it says bad_verification_code".into()),
        "bad_refresh_token" => Fault::Refused("it says bad_refresh_token".into()),
        "unverified_user_email" => {
            Fault::Refused("the person has not verified an address there".into())
        }
        "incorrect_client_credentials" => Fault::Unacceptable(
            "it says incorrect_client_credentials: check client_id and client_secret".into(),
        ),
        "redirect_uri_mismatch" => Fault::Unacceptable(
            "it says redirect_uri_mismatch: write our callback into the app's settings there"
                .into(),
        ),
        _ => Fault::Unacceptable(format!("{} refuses the code", Endpoint::Token)),
    }
}
