//! `/account`: a person sees who may act for them, ends it, and makes personal tokens.
//!
//! ```text
//! GET /account ─▶ log in? ─POST /account/login─▶ identity provider ─/auth/callback─▶ GET /account
//! POST /account: remove a grant, or make a personal token
//! ```
//!
//! The login is one like any other, bound to the browser that began it, but no client is part of it and
//! no code comes of it: what it gives is a browser session, which ends when idle and at its end. A form
//! counts only if our page posted it and it was sealed for that very session. Shows a person nothing of
//! anybody else.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::Response;
use http::{Extensions, HeaderMap};
use sekisho_protocol::oauth::{ClientMetadata, Parameters, ScopeSet};
use sekisho_protocol::{Secret, SecretHash};
use serde::{Deserialize, Serialize};

use super::callback::{Answer, Outcome, note_not_admitted};
use super::login::new_attempt;
use super::personal_token::{self, NewPersonalToken, PersonalTokenError, PersonalTokenRequest};
use super::refusal::{Visitor, provider_error, see_other};
use super::{AuthorizationServer, Provider};
use crate::audit::{self, Details, Event};
use crate::clock::Timestamp;
use crate::front::is_posted_by_our_page;
use crate::grant::GrantId;
use crate::identity_provider::{LoggedIn, LoginAttempt};
use crate::mint;
use crate::pages::{
    AccountApplication, AccountLoginPage, AccountPage, AccountProblem, AccountServer, AccountToken,
    ChooserForm, Problem,
};
use crate::principal::Identity;
use crate::seal::{Purpose, Sealed};
use crate::store::{AccountSessionBegun, GrantsOf, ListedGrant, LoginRecord, StoreError};

/// How long the page stays open unused.
const SESSION_IDLE: Duration = Duration::from_mins(30);
/// How long a session lasts at most.
const SESSION_TTL: Duration = Duration::from_hours(8);

/// A person on the way to the identity provider for the account page.
#[derive(Serialize, Deserialize)]
pub(super) struct PendingAccountLogin {
    nonce: String,
    code_verifier: String,
    /// The provider's name.
    #[serde(default)]
    provider: String,
}

/// Somebody who is logged in at this browser.
struct Session {
    value: Secret,
    identity: Identity,
}

pub(super) async fn show(
    State(server): State<Arc<AuthorizationServer>>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Response {
    let visitor = Visitor::of(&headers, &extensions);
    match server.account_session(&headers).await {
        Ok(Some(session)) => server.account_page(&visitor, &session, None, None).await,
        Ok(None) => server.log_in_page(AccountLoginPage::Asked, &visitor),
        Err(reason) => visitor.store_failed(&reason),
    }
}

pub(super) async fn log_in(
    State(server): State<Arc<AuthorizationServer>>,
    headers: HeaderMap,
    extensions: Extensions,
    form: Result<Bytes, BytesRejection>,
) -> Response {
    let visitor = Visitor::of(&headers, &extensions);
    if !is_posted_by_our_page(&headers, &server.settings.issuer) {
        return visitor.page(StatusCode::FORBIDDEN, Problem::ForgedAnswer);
    }
    let form = Parameters::parse(&form.unwrap_or_default());
    let chosen = form.value("provider").and_then(|name| server.providers.named(name));
    match server.providers.only().or(chosen) {
        Some(provider) => server.begin_account_login(&visitor, &extensions, provider).await,
        None => server.choice(ChooserForm::Account).respond(visitor.language()),
    }
}

pub(super) async fn change(
    State(server): State<Arc<AuthorizationServer>>,
    headers: HeaderMap,
    extensions: Extensions,
    form: Result<Bytes, BytesRejection>,
) -> Response {
    let visitor = Visitor::of(&headers, &extensions);
    let form = Parameters::parse(&form.unwrap_or_default());
    let session = match server.account_session(&headers).await {
        Ok(Some(session)) => session,
        Ok(None) => return server.log_in_page(AccountLoginPage::Asked, &visitor),
        Err(reason) => return visitor.store_failed(&reason),
    };
    if !server.is_our_account_form(&headers, &session, &form) {
        return visitor.page(StatusCode::FORBIDDEN, Problem::ForgedAnswer);
    }
    match form.value("action") {
        Some("remove") => server.remove_grant(&visitor, &session, &form).await,
        Some("make") => server.make_token(&visitor, &session, &form).await,
        Some(_) | None => {
            let what = "action must be remove or make";
            visitor.page(StatusCode::BAD_REQUEST, Problem::BadRequest { what })
        }
    }
}

impl AuthorizationServer {
    async fn account_session(&self, headers: &HeaderMap) -> Result<Option<Session>, StoreError> {
        let Some(value) = self.cookies.session(headers) else { return Ok(None) };
        let now = self.clock.now();
        let idle_until = now.plus(SESSION_IDLE);
        let found = self.store.use_account_session(&value.hash(), now, idle_until).await?;
        // Who may not come in any more has no page left either.
        let found = found.filter(|identity| self.providers.admit(identity));
        Ok(found.map(|identity| Session { value, identity }))
    }

    /// What a form must bring back: sealed for this session, so that no other site and no other
    /// session can know it.
    fn account_form(&self, session: &Session) -> String {
        self.sealer.seal(Purpose::AccountForm, session.value.hash().as_bytes(), &[]).to_text()
    }

    fn is_our_account_form(
        &self,
        headers: &HeaderMap,
        session: &Session,
        form: &Parameters,
    ) -> bool {
        let sealed = form.value("form").and_then(Sealed::from_text);
        let place = session.value.hash();
        let opens = |sealed: Sealed| {
            self.sealer.open(Purpose::AccountForm, place.as_bytes(), &sealed).is_ok()
        };
        is_posted_by_our_page(headers, &self.settings.issuer) && sealed.is_some_and(opens)
    }

    async fn account_page(
        &self,
        visitor: &Visitor,
        session: &Session,
        made: Option<&NewPersonalToken>,
        problem: Option<AccountProblem>,
    ) -> Response {
        let of = GrantsOf::person(&session.identity);
        let mut grants = match self.store.list_grants(&of, None).await {
            Ok(grants) => grants,
            Err(reason) => return visitor.store_failed(&reason),
        };
        grants.reverse();
        let (tokens, applications): (Vec<_>, Vec<_>) =
            grants.iter().partition(|grant| grant.personal.is_some());
        let servers = self.settings.servers.iter().map(|server| AccountServer {
            name: &server.name,
            scopes: server.scopes.iter().chain(server.more_scopes.iter()).collect(),
        });
        let identity = &session.identity;
        let status = match problem {
            None => StatusCode::OK,
            Some(AccountProblem::TokenNotMade) => StatusCode::BAD_REQUEST,
            Some(AccountProblem::TooManyTokens) => StatusCode::CONFLICT,
        };
        AccountPage {
            person: identity.name.as_deref().unwrap_or(&identity.subject),
            form: &self.account_form(session),
            applications: applications.into_iter().map(application).collect(),
            tokens: tokens.into_iter().map(token).collect(),
            servers: servers.collect(),
            made: made.map(|made| made.token.reveal()),
            problem,
        }
        .respond(visitor.language(), status)
    }

    /// Ends a grant of this person; somebody else's, or none at all, is left as it is.
    async fn remove_grant(
        &self,
        visitor: &Visitor,
        session: &Session,
        form: &Parameters,
    ) -> Response {
        let id = GrantId::new(form.value("grant").unwrap_or_default());
        match self.end_own_grant(&session.identity, id).await {
            Ok(()) => see_other(&self.settings.issuer.endpoint("/account")),
            Err(reason) => visitor.store_failed(&reason),
        }
    }

    async fn end_own_grant(&self, identity: &Identity, id: GrantId) -> Result<(), StoreError> {
        let of = GrantsOf::One(id.clone());
        let found = self.store.list_grants(&of, None).await?;
        // A grant never changes hands, so what is theirs now is theirs a moment later.
        if found.iter().any(|grant| grant.identity.is_same_person(identity)) {
            self.store.end_grants(&of, self.clock.now()).await?;
            let (user, grant) = (Some(identity), Some(&id));
            let detail = Some(&"by its person" as _);
            audit::note(Event::Revoke, &Details { user, grant, detail, ..Details::default() });
        }
        Ok(())
    }

    async fn make_token(
        &self,
        visitor: &Visitor,
        session: &Session,
        form: &Parameters,
    ) -> Response {
        match self.make_asked_token(session, form).await {
            Ok(made) => {
                let (user, grant) = (Some(&session.identity), Some(&made.id));
                audit::note(Event::PersonalToken, &Details { user, grant, ..Details::default() });
                self.account_page(visitor, session, Some(&made), None).await
            }
            Err(PersonalTokenError::Store(reason)) => visitor.store_failed(&reason),
            Err(PersonalTokenError::TooMany) => {
                let problem = AccountProblem::TooManyTokens;
                self.account_page(visitor, session, None, Some(problem)).await
            }
            Err(
                PersonalTokenError::UnknownScope { .. }
                | PersonalTokenError::Life
                | PersonalTokenError::LongLabel
                | PersonalTokenError::ControlCharacter
                | PersonalTokenError::NoAccount(_),
            ) => {
                let problem = AccountProblem::TokenNotMade;
                self.account_page(visitor, session, None, Some(problem)).await
            }
        }
    }

    async fn make_asked_token(
        &self,
        session: &Session,
        form: &Parameters,
    ) -> Result<NewPersonalToken, PersonalTokenError> {
        let request = self.asked_token(session, form).ok_or(PersonalTokenError::Life)?;
        let login = self.store.find_provider_session_of_browser(&session.value.hash()).await?;
        let request =
            PersonalTokenRequest { session: login.map(|login| login.grant_id), ..request };
        personal_token::add(self.store.as_ref(), self.clock.as_ref(), &request).await
    }

    /// What the form asks for; `None` for what our form cannot say.
    fn asked_token<'a>(
        &'a self,
        session: &'a Session,
        form: &'a Parameters,
    ) -> Option<PersonalTokenRequest<'a>> {
        let name = form.value("server")?;
        let server = self.settings.servers.iter().find(|server| server.name == name)?;
        let is_chosen = |scope: &&str| form.value(&format!("scope:{scope}")).is_some();
        let offered = server.scopes.iter().chain(server.more_scopes.iter());
        let scope = ScopeSet::of(offered.filter(is_chosen));
        if scope.is_empty() && !server.scopes.is_empty() {
            return None;
        }
        let days: u64 = form.value("days")?.parse().ok()?;
        let life = Duration::from_secs(days.checked_mul(24 * 60 * 60)?);
        let label = form.value("label").unwrap_or_default();
        let identity = &session.identity;
        Some(PersonalTokenRequest { identity, server, scope, life, label, session: None })
    }

    /// Sends the browser to the identity provider, for nobody but this page.
    async fn begin_account_login(
        &self,
        visitor: &Visitor,
        extensions: &Extensions,
        provider: &Provider,
    ) -> Response {
        if let Err(wait) = self.logins.count_caller(extensions) {
            return visitor.too_many(wait);
        }
        let attempt = new_attempt();
        let location = match provider.seam.authorization_url(&attempt).await {
            Ok(location) => location,
            Err(reason) => {
                provider_error(&reason);
                return visitor.page(StatusCode::SERVICE_UNAVAILABLE, Problem::Unavailable);
            }
        };
        let pending = PendingAccountLogin {
            nonce: attempt.nonce.reveal().to_owned(),
            code_verifier: attempt.code_verifier.reveal().to_owned(),
            provider: provider.name.clone(),
        };
        let seal = |login_state: &SecretHash| {
            self.sealer.seal_value(Purpose::AccountLogin, login_state.as_bytes(), &pending)
        };
        self.depart(visitor, &attempt, &location, seal).await.unwrap_or_else(|page| page)
    }

    /// What a login is for, if it is for the account page.
    pub(super) fn pending_account_login(&self, login: &LoginRecord) -> Option<PendingAccountLogin> {
        let place = login.login_state.as_bytes();
        self.sealer.open_value(Purpose::AccountLogin, place, &login.sealed).ok()
    }

    fn log_in_page(&self, page: AccountLoginPage, visitor: &Visitor) -> Response {
        page.respond(visitor.language(), &self.settings.issuer.endpoint("/account/login"))
    }

    /// The browser that began the login came back from the provider.
    pub(super) async fn finish_account_login(
        &self,
        visitor: &Visitor,
        answer: &Answer<'_>,
        login_state: &Secret,
        pending: &PendingAccountLogin,
    ) -> Response {
        let provider = match self.answering(answer, &pending.provider).await {
            Ok(Some(provider)) => provider,
            Ok(None) => return visitor.page(StatusCode::BAD_REQUEST, Problem::WrongProvider),
            Err(_) => return visitor.page(StatusCode::SERVICE_UNAVAILABLE, Problem::Unavailable),
        };
        let Outcome::Code(code) = answer.outcome else {
            return self.log_in_page(AccountLoginPage::Failed, visitor);
        };
        let attempt = LoginAttempt {
            login_state: login_state.clone(),
            nonce: Secret::new(pending.nonce.as_str()),
            code_verifier: Secret::new(pending.code_verifier.as_str()),
        };
        let person = match provider.seam.redeem(&Secret::new(code), &attempt).await {
            Ok(person) => person,
            Err(reason) => {
                provider_error(&reason);
                return self.log_in_page(AccountLoginPage::Failed, visitor);
            }
        };
        if !provider.admission.admits(&person.identity) {
            note_not_admitted(None, &person.identity);
            return self.log_in_page(AccountLoginPage::Failed, visitor);
        }
        match self.begin_session(provider, &person).await {
            Ok(Some(cookie)) => {
                let detail = Some(&"account page" as _);
                let user = Some(&person.identity);
                audit::note(Event::Login, &Details { user, detail, ..Details::default() });
                let mut response = see_other(&self.settings.issuer.endpoint("/account"));
                response.headers_mut().append(SET_COOKIE, cookie);
                response
            }
            Ok(None) => self.log_in_page(AccountLoginPage::Failed, visitor),
            Err(reason) => visitor.store_failed(&reason),
        }
    }

    /// `None` if the person's account was removed meanwhile.
    async fn begin_session(
        &self,
        provider: &Provider,
        person: &LoggedIn,
    ) -> Result<Option<http::HeaderValue>, StoreError> {
        // A new value at each login: a cookie that was planted before it opens nothing.
        let browser = mint::nonce();
        let now = self.clock.now();
        let (idle_until, expires_at) = (now.plus(SESSION_IDLE), now.plus(SESSION_TTL));
        let (hash, identity) = (browser.hash(), &person.identity);
        let login =
            self.provider_session(provider, &GrantId::new(mint::id()), person, Some(&browser));
        let begun = self
            .store
            .begin_account_session(&hash, identity, login.as_ref(), idle_until, expires_at)
            .await?;
        Ok(match begun {
            AccountSessionBegun::Begun => {
                Some(self.cookies.begin_session(&browser, SESSION_TTL.as_secs()))
            }
            AccountSessionBegun::NoSuchUser => None,
        })
    }
}

fn application(grant: &ListedGrant) -> AccountApplication {
    let metadata = grant.client.as_ref();
    AccountApplication {
        grant_id: grant.id.as_str().to_owned(),
        name: metadata.and_then(|client| client.client_name.clone()),
        client_id: grant.client_id.as_str().to_owned(),
        hosts: metadata.map(hosts).unwrap_or_default(),
        scopes: grant.scope.iter().map(str::to_owned).collect(),
        resource: grant.resource.as_str().to_owned(),
        since: day(grant.created_at),
        last_used: grant.last_used_at.map(day),
    }
}

fn token(grant: &ListedGrant) -> AccountToken {
    let personal = grant.personal.as_ref();
    AccountToken {
        grant_id: grant.id.as_str().to_owned(),
        label: personal.and_then(|personal| personal.label.clone()),
        scopes: grant.scope.iter().map(str::to_owned).collect(),
        resource: grant.resource.as_str().to_owned(),
        since: day(grant.created_at),
        until: personal.map(|personal| day(personal.expires_at)).unwrap_or_default(),
        last_used: grant.last_used_at.map(day),
    }
}

/// Where a client's answers go, each host once.
fn hosts(client: &ClientMetadata) -> Vec<String> {
    let mut hosts: Vec<_> =
        client.redirect_uris.iter().map(|uri| uri.as_redirect_uri().shown_host()).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The day of a moment, in UTC.
fn day(moment: Timestamp) -> String {
    moment.to_string().chars().take_while(|c| *c != 'T').collect()
}
