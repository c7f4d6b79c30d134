//! `GET /auth/callback`: the person comes back from the identity provider, and the client gets a
//! code of ours. The provider's code never goes further than here.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::Response;
use http::{Extensions, HeaderMap, Uri};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{ClientId, OAuthError, OAuthErrorCode, Parameters};

use super::authorize::remembered;
use super::clients::{NoClient, no_client};
use super::flows::{self, Known, Step};
use super::refusal::{Visitor, provider_error, see_other};
use super::{AuthorizationServer, BROWSER_SESSION_TTL, ConsentRule};
use crate::audit::{self, Details, Event, Refused};
use crate::grant::{AuthorizationRequest, CodeGrant, GrantId, PendingLogin};
use crate::identity_provider::{LoggedIn, LoginAttempt};
use crate::mint;
use crate::pages::Problem;
use crate::principal::Identity;
use crate::seal::Purpose;
use crate::store::{CodeIssue, CodeRecord, LoginRecord, StoreError};

pub(super) async fn callback(
    State(server): State<Arc<AuthorizationServer>>,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
) -> Response {
    let visitor = Visitor::of(&headers, &extensions);
    let parameters = Parameters::parse(uri.query().unwrap_or_default().as_bytes());
    let Some(answer) = Answer::read(&parameters) else {
        return visitor.page(StatusCode::BAD_REQUEST, Problem::LoginNotFound);
    };
    let login_state = Secret::new(answer.state);
    let login = match server.store.take_login(&login_state.hash()).await {
        Ok(Some(login)) if !login.expires_at.is_over(server.clock.now()) => login,
        Ok(Some(_) | None) => {
            return visitor.page(StatusCode::BAD_REQUEST, Problem::LoginNotFound);
        }
        Err(reason) => return visitor.store_failed(&reason),
    };
    let mut response = server.finish(&visitor, &headers, &answer, &login_state, &login).await;
    response.headers_mut().append(SET_COOKIE, server.cookies.unbind(&login_state));
    response
}

/// What the provider sent along, before anything is believed.
pub(super) struct Answer<'a> {
    state: &'a str,
    pub(super) outcome: Outcome<'a>,
    /// `Err` when it came more than once.
    iss: Result<Option<&'a str>, ()>,
}

pub(super) enum Outcome<'a> {
    Code(&'a str),
    Error(&'a str),
}

impl<'a> Answer<'a> {
    /// An answer has a state, and a code or an error; else nobody knows what it answers.
    fn read(parameters: &'a Parameters) -> Option<Self> {
        let outcome = match (parameters.value("error"), parameters.value("code")) {
            (Some(error), _) => Outcome::Error(error),
            (None, Some(code)) => Outcome::Code(code),
            (None, None) => return None,
        };
        let iss = if parameters.is_doubled("iss") { Err(()) } else { Ok(parameters.value("iss")) };
        Some(Self { state: parameters.value("state")?, outcome, iss })
    }
}

impl AuthorizationServer {
    /// Everything after the login was taken out of the store: whatever happens now, it is spent.
    async fn finish(
        &self,
        visitor: &Visitor,
        headers: &HeaderMap,
        answer: &Answer<'_>,
        login_state: &Secret,
        login: &LoginRecord,
    ) -> Response {
        let is_same_browser = self
            .cookies
            .binding(headers, login_state)
            .is_some_and(|value| value.matches(&login.browser));
        if !is_same_browser {
            let detail = "a login came back in another browser; it is void";
            audit::note(
                Event::Refused(Refused::OtherBrowser),
                &Details { detail: Some(&detail), ..Details::default() },
            );
            return visitor.page(StatusCode::FORBIDDEN, Problem::OtherBrowser);
        }
        let place = login.login_state.as_bytes();
        if let Some(pending) = self.pending_account_login(login) {
            return self.finish_account_login(visitor, answer, login_state, &pending).await;
        }
        let Ok(pending) =
            self.sealer.open_value::<PendingLogin>(Purpose::Login, place, &login.sealed)
        else {
            tracing::error!(login = ?login.login_state, "a stored login does not open with this key");
            return visitor.page(StatusCode::BAD_REQUEST, Problem::LoginNotFound);
        };
        flows::resume(pending.flow.as_ref());
        flows::note(Step::CameBack, &Known::default());
        match self.is_from_provider(answer).await {
            Ok(true) => {}
            Ok(false) => {
                let detail = "a login came back with the iss of another provider";
                let (client, detail) = (Some(&pending.request.client_id), Some(&detail as _));
                audit::note(
                    Event::Refused(Refused::OtherProvider),
                    &Details { client, detail, ..Details::default() },
                );
                return visitor.page(StatusCode::BAD_REQUEST, Problem::WrongProvider);
            }
            Err(error) => return self.tell_client(&pending.request, &error),
        }
        let code = match answer.outcome {
            Outcome::Code(code) => Secret::new(code),
            Outcome::Error(error) => {
                return self.tell_client(&pending.request, &provider_said(error));
            }
        };
        let attempt = LoginAttempt {
            login_state: login_state.clone(),
            nonce: Secret::new(pending.nonce.as_str()),
            code_verifier: Secret::new(pending.code_verifier.as_str()),
        };
        match self.provider.redeem(&code, &attempt).await {
            Ok(person) => self.answer_client(visitor, headers, pending, person).await,
            Err(reason) => self.tell_client(&pending.request, &provider_error(&reason)),
        }
    }

    /// RFC 9207 §2.4: an answer that another provider could have sent is not looked at.
    pub(super) async fn is_from_provider(&self, answer: &Answer<'_>) -> Result<bool, OAuthError> {
        let Ok(iss) = answer.iss else { return Ok(false) };
        self.provider.is_answer_from_us(iss).await.map_err(|reason| provider_error(&reason))
    }

    /// The person is known: the client gets its code, unless somebody else was expected.
    async fn answer_client(
        &self,
        visitor: &Visitor,
        headers: &HeaderMap,
        pending: PendingLogin,
        person: LoggedIn,
    ) -> Response {
        let request = pending.request;
        let was_asked = pending.expected.is_none();
        if pending.expected.is_some_and(|expected| !expected.is_same_person(&person.identity)) {
            // Consent was remembered for somebody else at this browser: this person is asked.
            return self.ask_again(visitor, headers, request).await;
        }
        if !self.settings.admission.admits(&person.identity) {
            note_not_admitted(Some(&request.client_id), &person.identity);
            return self.tell_client(&request, &not_admitted());
        }
        let (client, user) = (Some(&request.client_id), Some(&person.identity));
        let details = Details { client, user, ..Details::default() };
        audit::note(Event::Login, &details);
        // What they were allowed before is theirs as the provider describes them now.
        if let Err(reason) = self.store.describe_person(&person.identity, self.clock.now()).await {
            return visitor.store_failed(&reason);
        }
        let code = mint::code();
        let browser = (self.settings.consent == ConsentRule::Remember).then(mint::nonce);
        let grant_id = GrantId::new(mint::id());
        match self.issue_code(&code, &request, &person, browser.as_ref(), &grant_id).await {
            Ok(CodeIssue::Issued) => {}
            Ok(CodeIssue::NoSuchUser) => {
                tracing::info!(client.id = %request.client_id, "the account was removed meanwhile");
                return self.tell_client(&request, &no_such_user());
            }
            Err(reason) => return visitor.store_failed(&reason),
        }
        audit::note(Event::Code, &details);
        flows::note(Step::CodeGiven, &Known { grant: Some(&grant_id), ..Known::default() });
        let mut parameters = vec![("code", code.reveal())];
        parameters.extend(request.state.as_deref().map(|state| ("state", state)));
        parameters.push(("iss", self.settings.issuer.as_str()));
        let mut response = see_other(&request.redirect_uri.with_query(&parameters));
        if let Some(browser) = browser {
            let asked = was_asked.then_some(&request);
            match self.remember(&person.identity, asked, &browser).await {
                Ok(cookie) => {
                    response.headers_mut().append(SET_COOKIE, cookie);
                }
                // The login stands; the person is merely asked again next time.
                Err(reason) => tracing::warn!("consent could not be remembered: {reason}"),
            }
        }
        response
    }

    async fn ask_again(
        &self,
        visitor: &Visitor,
        headers: &HeaderMap,
        request: AuthorizationRequest,
    ) -> Response {
        match self.known_client(&request.client_id).await {
            Ok(Some(client)) => self.ask(visitor, headers, request, &client).await,
            Ok(None) => no_client(visitor, &request.client_id, &NoClient::Unknown),
            Err(reason) => visitor.store_failed(&reason),
        }
    }

    async fn issue_code(
        &self,
        code: &Secret,
        request: &AuthorizationRequest,
        person: &LoggedIn,
        browser: Option<&Secret>,
        grant_id: &GrantId,
    ) -> Result<CodeIssue, StoreError> {
        let session = self.provider_session(grant_id, person, browser);
        let grant = CodeGrant {
            // The client's state has gone back to it and is nobody's business from here on.
            request: AuthorizationRequest { state: None, ..request.clone() },
            identity: person.identity.clone(),
            grant_id: grant_id.clone(),
        };
        let expires_at = self.clock.now().plus(self.settings.code_ttl);
        let record = CodeRecord { code: code.hash(), grant, expires_at, is_redeemed: false };
        match session {
            Some(session) => self.store.issue_code_of_session(&record, &session).await,
            None => self.store.issue_code(&record).await,
        }
    }

    /// Remembers who is at this browser, and the yes if there was one: a login that was silent
    /// makes no yes younger.
    async fn remember(
        &self,
        identity: &Identity,
        asked: Option<&AuthorizationRequest>,
        browser: &Secret,
    ) -> Result<http::HeaderValue, StoreError> {
        let now = self.clock.now();
        let expires_at = now.plus(BROWSER_SESSION_TTL);
        self.store.begin_browser_session(&browser.hash(), identity, expires_at).await?;
        if let Some(request) = asked
            && let Some(client) = self.known_client(&request.client_id).await?
        {
            let consent = remembered(identity.clone(), request, &client);
            self.store.remember_consent(&consent, now).await?;
        }
        Ok(self.cookies.begin_session(browser, BROWSER_SESSION_TTL.as_secs()))
    }
}

/// Writes down somebody whom the provider knows and the operator does not want.
pub(super) fn note_not_admitted(client: Option<&ClientId>, identity: &Identity) {
    let (user, detail) = (Some(identity), Some(&"identity.allow does not let this person in" as _));
    audit::note(
        Event::Refused(Refused::Person),
        &Details { client, user, detail, ..Details::default() },
    );
}

fn not_admitted() -> OAuthError {
    let reason = "this person may not log in here: the operator decides who may";
    OAuthError::new(OAuthErrorCode::AccessDenied, reason)
}

fn no_such_user() -> OAuthError {
    OAuthError::new(OAuthErrorCode::AccessDenied, "the person's account was removed")
}

/// The provider's `error` in the words our clients may hear; its own text goes nowhere.
fn provider_said(error: &str) -> OAuthError {
    match error {
        "access_denied"
        | "login_required"
        | "consent_required"
        | "interaction_required"
        | "account_selection_required" => OAuthError::new(
            OAuthErrorCode::AccessDenied,
            "the identity provider did not log the person in",
        ),
        "temporarily_unavailable" => OAuthError::new(
            OAuthErrorCode::TemporarilyUnavailable,
            "the identity provider is not available: try again later",
        ),
        _ => {
            OAuthError::new(OAuthErrorCode::ServerError, "the identity provider reported an error")
        }
    }
}
