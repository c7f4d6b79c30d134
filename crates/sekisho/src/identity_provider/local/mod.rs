//! Accounts of our own, for where there is no identity provider: name and argon2id password.
//!
//! To the authorization server it is a provider like any other: the browser is sent to `/login`,
//! and comes back to `/auth/callback` with a code. The code is sealed, not stored; it works for one
//! login only and for a minute. Passwords are never logged, nor are names that nobody has.

pub mod accounts;
mod login;
mod password;
mod tries;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use http::HeaderMap;
use sekisho_protocol::oauth::Issuer;
use sekisho_protocol::{Secret, SecretHash};
use serde::{Deserialize, Serialize};

pub use self::login::LOGIN_FORM_BYTES_MAX;
pub use self::password::{PASSWORD_CHECKS_AT_ONCE_MAX, PASSWORD_CHECKS_WAITING_MAX};
pub use self::tries::{Allowance, TryLimits};

use self::password::PasswordChecker;
use super::{IdentityProvider, LoggedIn, LoginAttempt, ProviderError};
use crate::clock::{Clock, Timestamp};
use crate::seal::{Purpose, Sealed, Sealer};
use crate::store::Store;

pub use crate::store::LOCAL_ISSUER;

/// How long a code for the callback works.
pub const LOCAL_CODE_TTL: Duration = Duration::from_mins(1);

/// Knows whether a login in progress belongs to the browser that asks.
///
/// The authorization server sets the cookie that binds them, and is the one to read it.
pub trait LoginBinding: std::fmt::Debug + Send + Sync {
    /// Whether `headers` carry the cookie whose hash is `browser`, set for `login_state`.
    fn is_bound(&self, headers: &HeaderMap, login_state: &Secret, browser: &SecretHash) -> bool;
}

/// Logs people in by name and password.
#[derive(Debug)]
pub struct LocalProvider {
    public_url: Issuer,
    /// The path that browsers come back to.
    callback: String,
    store: Arc<dyn Store>,
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    passwords: PasswordChecker,
    tries: TryLimits,
}

/// What a code says once it is opened.
#[derive(Serialize, Deserialize)]
struct LocalCode {
    name: String,
    expires_at: Timestamp,
}

impl LocalProvider {
    /// A provider over the accounts in `store`, with the default [`TryLimits`].
    pub fn new(
        public_url: Issuer,
        store: Arc<dyn Store>,
        sealer: Sealer,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let tries = TryLimits::default();
        let passwords = PasswordChecker::new();
        let callback = "/auth/callback".to_owned();
        Self { public_url, callback, store, sealer, clock, passwords, tries }
    }

    /// Sends browsers back to this path.
    #[must_use]
    pub fn coming_back_to(mut self, path: String) -> Self {
        self.callback = path;
        self
    }

    /// Whether that is the path.
    pub fn comes_back_to(&self, path: &str) -> bool {
        self.callback == path
    }

    /// Other limits on tries.
    #[must_use]
    pub fn with_limits(mut self, limits: TryLimits) -> Self {
        self.tries = limits;
        self
    }

    /// The proof that `name` logged in, for one login.
    fn code_for(&self, name: &str, login_state: &SecretHash) -> Secret {
        let expires_at = self.clock.now().plus(LOCAL_CODE_TTL);
        let code = LocalCode { name: name.to_owned(), expires_at };
        let sealed = self.sealer.seal_value(Purpose::LocalCode, login_state.as_bytes(), &code);
        Secret::new(sealed.to_text())
    }

    fn open_code(&self, code: &Secret, login_state: &SecretHash) -> Option<LocalCode> {
        let sealed = Sealed::from_text(code.reveal())?;
        self.sealer.open_value(Purpose::LocalCode, login_state.as_bytes(), &sealed).ok()
    }
}

/// `/login`: the page, and what its form posts to, for logins that `binding` knows.
pub fn routes(provider: Arc<LocalProvider>, binding: Arc<dyn LoginBinding>) -> Router {
    let pages = login::Pages { provider, binding };
    Router::new().route("/login", get(login::show).post(login::log_in)).with_state(pages)
}

#[async_trait]
impl IdentityProvider for LocalProvider {
    fn issuer(&self) -> &str {
        LOCAL_ISSUER
    }

    async fn authorization_url(&self, attempt: &LoginAttempt) -> Result<String, ProviderError> {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("state", attempt.login_state.reveal())
            .finish();
        Ok(format!("{}?{query}", self.public_url.endpoint("/login")))
    }

    /// We name nobody in the answer: it never leaves our own origin.
    async fn is_answer_from_us(&self, iss: Option<&str>) -> Result<bool, ProviderError> {
        Ok(iss.is_none())
    }

    async fn redeem(
        &self,
        code: &Secret,
        attempt: &LoginAttempt,
    ) -> Result<LoggedIn, ProviderError> {
        let refused = |reason: &str| ProviderError::Refused { reason: reason.to_owned() };
        let code = self
            .open_code(code, &attempt.login_state.hash())
            .ok_or_else(|| refused("the code is not one of ours for this login"))?;
        if code.expires_at.is_over(self.clock.now()) {
            return Err(refused("the code has expired"));
        }
        let user = self
            .store
            .find_user(&code.name)
            .await
            .map_err(|reason| ProviderError::Unavailable(Box::new(reason)))?
            .ok_or_else(|| refused("the account was removed"))?;
        Ok(LoggedIn { identity: user.into_identity(), tokens: None, sid: None })
    }

    async fn check(&self) -> Result<(), ProviderError> {
        Ok(())
    }
}
