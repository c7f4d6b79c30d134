//! `GET /login` and `POST /login`: name and password, for a login that this browser began.
//!
//! Never says which of the two was wrong, and never redirects anywhere but to our own callback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{self, Body};
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{Extensions, HeaderMap, HeaderValue, Request, StatusCode, Uri};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{Issuer, Parameters};

use super::accounts::UserName;
use super::password::PasswordCheck;
use super::{LocalProvider, LoginBinding};
use crate::audit::{self, Details, Event, Refused};
use crate::front::{ClientAddress, TraceId, is_posted_by_our_page};
use crate::pages::{self, ErrorPage, Language, LoginPage, LoginProblem, Problem};
use crate::store::{StoreError, TryCounted};

/// Largest form that is read: 8 KiB.
pub const LOGIN_FORM_BYTES_MAX: usize = 8 * 1024;

/// Longest `state` that is looked up; ours have 64 characters.
const STATE_BYTES_MAX: usize = 256;

/// What somebody is told to wait while the store is down or too many passwords are being checked.
const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(5);

/// Why there is no login to show a form for.
#[derive(Debug, thiserror::Error)]
enum LoginRefusal {
    #[error("the form came from a page that is not ours")]
    ForgedForm,
    #[error("the form is larger than 8 KiB")]
    TooLarge,
    #[error("the body is not a form")]
    NotAForm,
    #[error("a field came twice")]
    DoubledField,
    #[error("there is no such login, or it has expired")]
    LoginNotFound,
    #[error("the login was begun in another browser")]
    OtherBrowser,
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// What the form says.
struct LoginForm {
    login_state: Secret,
    username: String,
    password: Secret,
}

/// What became of a name and a password.
enum Outcome {
    LoggedIn { code: Secret },
    WrongNameOrPassword,
    TooManyTries { wait: Duration },
}

/// What both requests need.
#[derive(Debug, Clone)]
pub(super) struct Pages {
    pub(super) provider: Arc<LocalProvider>,
    pub(super) binding: Arc<dyn LoginBinding>,
}

pub(super) async fn show(
    State(pages): State<Pages>,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
) -> Response {
    let language = Language::of(&headers);
    let parameters = Parameters::parse(uri.query().unwrap_or_default().as_bytes());
    let login_state = Secret::new(parameters.value("state").unwrap_or_default());
    match pages.find_bound(&headers, &login_state).await {
        Ok(()) => LoginPage { state: login_state.reveal(), username: "", problem: None }
            .respond(language, StatusCode::OK),
        Err(refusal) => refusal.respond(language, &extensions),
    }
}

pub(super) async fn log_in(State(pages): State<Pages>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let language = Language::of(&parts.headers);
    let address = address_of(&parts.extensions);
    let provider = &pages.provider;
    let outcome = async {
        let form = LoginForm::read(&parts.headers, body, &provider.public_url).await?;
        pages.find_bound(&parts.headers, &form.login_state).await?;
        let outcome = provider.try_password(address, &form).await?;
        Ok((form, outcome))
    };
    match outcome.await {
        Ok((form, outcome)) => answer(provider, &form, outcome, language),
        Err(refusal) => LoginRefusal::respond(&refusal, language, &parts.extensions),
    }
}

impl Pages {
    /// Whether the login is on its way, and in the browser that sent these headers.
    async fn find_bound(
        &self,
        headers: &HeaderMap,
        login_state: &Secret,
    ) -> Result<(), LoginRefusal> {
        if !(1..=STATE_BYTES_MAX).contains(&login_state.reveal().len()) {
            return Err(LoginRefusal::LoginNotFound);
        }
        let login = self.provider.store.find_login(&login_state.hash()).await?;
        match login.filter(|login| !login.expires_at.is_over(self.provider.clock.now())) {
            None => Err(LoginRefusal::LoginNotFound),
            Some(login) if self.binding.is_bound(headers, login_state, &login.browser) => Ok(()),
            Some(_) => Err(LoginRefusal::OtherBrowser),
        }
    }
}

impl LocalProvider {
    async fn try_password(
        &self,
        address: IpAddr,
        form: &LoginForm,
    ) -> Result<Outcome, LoginRefusal> {
        let name = UserName::parse(&form.username).ok();
        let account = name.as_ref().map_or("", UserName::as_str);
        let counters = self.tries.counters(&self.sealer, address, account);
        let counted = self.store.count_try(&counters, self.clock.now()).await?;
        if let TryCounted::TooMany { wait } = counted {
            note_refused(address, Refused::TooManyPasswords, "too many tries at a password");
            return Ok(Outcome::TooManyTries { wait });
        }
        let user = match &name {
            Some(name) => self.store.find_user(name.as_str()).await?,
            None => None,
        };
        let (name, stored) = user.map(|user| (user.name, user.password_hash)).unzip();
        match (self.passwords.check(stored, form.password.clone()).await, name) {
            (PasswordCheck::Right, Some(name)) => {
                tracing::debug!(user = %name, client.address = %address, "the password is right");
                Ok(Outcome::LoggedIn { code: self.code_for(&name, &form.login_state.hash()) })
            }
            (PasswordCheck::Right | PasswordCheck::Wrong, _) => {
                note_refused(address, Refused::Password, "wrong name or password");
                Ok(Outcome::WrongNameOrPassword)
            }
            (PasswordCheck::Busy, _) => {
                tracing::warn!(client.address = %address, "login put off: too many at once");
                Ok(Outcome::TooManyTries { wait: RETRY_AFTER_OUTAGE })
            }
        }
    }
}

/// The name that was typed is left out: people type passwords there.
fn note_refused(address: IpAddr, reason: Refused, detail: &str) {
    let (address, detail) = (Some(address), Some(&detail as _));
    audit::note(Event::Refused(reason), &Details { detail, address, ..Details::default() });
}

impl LoginForm {
    async fn read(
        headers: &HeaderMap,
        body: Body,
        public_url: &Issuer,
    ) -> Result<Self, LoginRefusal> {
        if !is_posted_by_our_page(headers, public_url) {
            return Err(LoginRefusal::ForgedForm);
        }
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(LoginRefusal::NotAForm);
        }
        let body =
            body::to_bytes(body, LOGIN_FORM_BYTES_MAX).await.map_err(|_| LoginRefusal::TooLarge)?;
        let parameters = Parameters::parse(&body);
        if parameters.has_doubled() {
            return Err(LoginRefusal::DoubledField);
        }
        let field = |name: &str| parameters.value(name).unwrap_or_default();
        Ok(Self {
            login_state: Secret::new(field("state")),
            username: field("username").to_owned(),
            password: Secret::new(field("password")),
        })
    }
}

/// The address to count by. Where no connection is known everybody shares one.
fn address_of(extensions: &Extensions) -> IpAddr {
    if let Some(ClientAddress(address)) = extensions.get() {
        return *address;
    }
    extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip())
}

fn answer(
    provider: &LocalProvider,
    form: &LoginForm,
    outcome: Outcome,
    language: Language,
) -> Response {
    let page = |problem, status| {
        let (state, username) = (form.login_state.reveal(), form.username.as_str());
        LoginPage { state, username, problem: Some(problem) }.respond(language, status)
    };
    match outcome {
        Outcome::LoggedIn { code } => to_callback(provider, &form.login_state, &code),
        // Not 401: there is no HTTP authentication scheme to challenge for (RFC 9110 §15.5.2).
        Outcome::WrongNameOrPassword => page(LoginProblem::WrongNameOrPassword, StatusCode::OK),
        Outcome::TooManyTries { wait } => {
            retry_after(page(LoginProblem::TooManyTries, StatusCode::TOO_MANY_REQUESTS), wait)
        }
    }
}

/// 303, so that the browser comes to the callback by GET and without the form.
fn to_callback(provider: &LocalProvider, login_state: &Secret, code: &Secret) -> Response {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("code", code.reveal())
        .append_pair("state", login_state.reveal())
        .finish();
    let location = format!("{}?{query}", provider.public_url.endpoint(&provider.callback));
    let Ok(location) = HeaderValue::from_str(&location) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response();
    pages::secure_headers(response.headers_mut(), pages::Referrer::None);
    response
}

fn retry_after(mut response: Response, wait: Duration) -> Response {
    // Whole seconds, rounded up: whoever comes a moment early is refused again.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

impl LoginRefusal {
    fn respond(&self, language: Language, extensions: &Extensions) -> Response {
        let trace_id = extensions.get::<TraceId>().map_or_else(String::new, ToString::to_string);
        let page =
            |status, problem| ErrorPage { status, problem, trace_id: &trace_id }.respond(language);
        if let Self::Store(reason) = self {
            tracing::error!(trace_id, error = reason as &dyn std::error::Error, "{self}");
        } else {
            tracing::info!(trace_id, "no login: {self}");
        }
        match self {
            Self::ForgedForm => page(StatusCode::FORBIDDEN, Problem::ForgedAnswer),
            Self::TooLarge => {
                page(StatusCode::PAYLOAD_TOO_LARGE, Problem::BadRequest { what: "form" })
            }
            Self::NotAForm => {
                page(StatusCode::UNSUPPORTED_MEDIA_TYPE, Problem::BadRequest { what: "form" })
            }
            Self::DoubledField => {
                page(StatusCode::BAD_REQUEST, Problem::BadRequest { what: "form" })
            }
            Self::LoginNotFound => page(StatusCode::BAD_REQUEST, Problem::LoginNotFound),
            Self::OtherBrowser => page(StatusCode::FORBIDDEN, Problem::OtherBrowser),
            Self::Store(_) => {
                let page = page(StatusCode::SERVICE_UNAVAILABLE, Problem::Unavailable);
                retry_after(page, RETRY_AFTER_OUTAGE)
            }
        }
    }
}
