//! `/logout`: a person logs out of this browser here, and at the identity provider where it has a
//! place for that (`OpenID` Connect RP-Initiated Logout 1.0).
//!
//! ```text
//! GET  /logout            the question, with a form
//! POST /logout            our browser session ends ─▶ the provider's logout page ─▶ GET /logout?state=done
//! ```
//!
//! Applications keep what they were granted: that is taken back on the account page, or by the provider
//! when it tells us of the logout. No other site can log anybody out: the form needs our page.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::Response;
use http::{Extensions, HeaderMap, Uri};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::Parameters;

use super::AuthorizationServer;
use super::refusal::{Visitor, see_other};
use crate::front::is_posted_by_our_page;
use crate::identity_provider::StoredProviderTokens;
use crate::pages::{LogoutPage, NoticePage, Problem};
use crate::seal::Purpose;
use crate::store::StoreError;

/// What the provider brings back as `state`. No secret: the page it leads to says only that all is
/// done.
const DONE: &str = "done";

pub(super) async fn show(
    State(server): State<Arc<AuthorizationServer>>,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
) -> Response {
    let visitor = Visitor::of(&headers, &extensions);
    let parameters = Parameters::parse(uri.query().unwrap_or_default().as_bytes());
    if parameters.value("state") == Some(DONE) {
        return NoticePage::Closable.respond(visitor.language());
    }
    let (csrf, set_cookie) = server.cookies.csrf(&headers);
    let mut response = LogoutPage { csrf: csrf.reveal() }.respond(visitor.language());
    response.headers_mut().append(SET_COOKIE, set_cookie);
    response
}

pub(super) async fn log_out(
    State(server): State<Arc<AuthorizationServer>>,
    headers: HeaderMap,
    extensions: Extensions,
    form: Result<Bytes, BytesRejection>,
) -> Response {
    let visitor = Visitor::of(&headers, &extensions);
    let form = Parameters::parse(&form.unwrap_or_default());
    if !server.is_answered(&headers, &form) {
        return visitor.page(StatusCode::FORBIDDEN, Problem::ForgedAnswer);
    }
    let session = server.cookies.session(&headers);
    let login = match server.end_browser_session(session.as_ref()).await {
        Ok(login) => login,
        Err(reason) => return visitor.store_failed(&reason),
    };
    let mut response = match server.logout_at_provider(login).await {
        Some(location) => see_other(&location),
        None => NoticePage::Closable.respond(visitor.language()),
    };
    for cookie in server.cookies.forget() {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

impl AuthorizationServer {
    /// Whether our page posted the form, from the browser it was shown in.
    fn is_answered(&self, headers: &HeaderMap, form: &Parameters) -> bool {
        let sent = form.value("csrf").filter(|_| !form.is_doubled("csrf")).map(Secret::new);
        is_posted_by_our_page(headers, &self.settings.issuer)
            && self
                .cookies
                .csrf_sent(headers)
                .zip(sent)
                .is_some_and(|(cookie, sent)| sent.matches(&cookie.hash()))
    }

    /// Forgets who is at this browser; gives the provider's issuer and the proof of their login, if it
    /// is still held.
    async fn end_browser_session(
        &self,
        session: Option<&Secret>,
    ) -> Result<Option<(String, Option<Secret>)>, StoreError> {
        let Some(session) = session else { return Ok(None) };
        let browser = session.hash();
        let found = self.store.find_provider_session_of_browser(&browser).await?;
        self.store.end_browser_session(&browser).await?;
        tracing::info!("logged out of this browser");
        Ok(found.map(|found| {
            let place = found.grant_id.as_str().as_bytes();
            let tokens: Option<StoredProviderTokens> =
                self.sealer.open_value(Purpose::ProviderTokens, place, &found.tokens).ok();
            (found.issuer, tokens.and_then(|tokens| tokens.id_token).map(Secret::new))
        }))
    }

    /// The place for logging out of the provider that this person came from; where nobody knows who it
    /// was, that of the only one. Without one, or while it cannot be asked, ours was all.
    async fn logout_at_provider(&self, login: Option<(String, Option<Secret>)>) -> Option<String> {
        let (provider, hint) = match login {
            Some((issuer, hint)) => (self.providers.of_issuer(&issuer), hint),
            None => (self.providers.only(), None),
        };
        let return_to = self.settings.issuer.endpoint("/logout");
        match provider?.seam.end_session_url(hint.as_ref(), &return_to, DONE).await {
            Ok(location) => location,
            Err(reason) => {
                tracing::warn!(
                    error = &reason as &dyn std::error::Error,
                    "logged out here, but the identity provider cannot be asked to do so too"
                );
                None
            }
        }
    }
}
