//! A login on its way to the identity provider, whatever it is for: counted, bound to its browser,
//! and known again by a state of our own. What it is for waits sealed in the store.

use axum::http::header::SET_COOKIE;
use axum::response::Response;
use sekisho_protocol::SecretHash;

use super::refusal::{Visitor, see_other};
use super::{AuthorizationServer, LOGIN_TTL};
use crate::identity_provider::LoginAttempt;
use crate::mint;
use crate::seal::Sealed;
use crate::store::{LoginBegun, LoginRecord};

/// An attempt that nobody knows of yet.
pub(super) fn new_attempt() -> LoginAttempt {
    LoginAttempt { login_state: mint::nonce(), nonce: mint::nonce(), code_verifier: mint::nonce() }
}

impl AuthorizationServer {
    /// Keeps the login, and sends the browser to the provider with the cookie that alone can bring
    /// it back. `seal` seals what it is for, at the place it is given.
    ///
    /// # Errors
    /// The page for a person whose login could not be kept.
    pub(super) async fn depart(
        &self,
        visitor: &Visitor,
        attempt: &LoginAttempt,
        location: &str,
        seal: impl FnOnce(&SecretHash) -> Sealed,
    ) -> Result<Response, Response> {
        let browser = mint::nonce();
        let login_state = attempt.login_state.hash();
        let login = LoginRecord {
            login_state,
            browser: browser.hash(),
            sealed: seal(&login_state),
            expires_at: self.clock.now().plus(LOGIN_TTL),
        };
        match self.store.begin_login(&login).await {
            Ok(LoginBegun::Begun) => {}
            Ok(LoginBegun::Full) => return Err(visitor.too_many(LOGIN_TTL)),
            Err(reason) => return Err(visitor.store_failed(&reason)),
        }
        let mut response = see_other(location);
        let cookie = self.cookies.bind(&attempt.login_state, &browser);
        response.headers_mut().append(SET_COOKIE, cookie);
        Ok(response)
    }
}
