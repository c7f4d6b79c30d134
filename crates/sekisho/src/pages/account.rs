//! The account page: who may act for the person, and the way to end it. Its forms post to `/account`,
//! to `/account/login` and to `/logout`.

use std::fmt;

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::frame::Frame;
use super::headers::Referrer;
use super::language::Language;
use super::untrusted;
use super::words::Words;

/// Shows a person which applications may act for them, and their personal tokens.
#[derive(Clone)]
pub struct AccountPage<'a> {
    /// Who is logged in, as the provider calls them; untrusted.
    pub person: &'a str,
    /// What proves that a form was shown to this session, sent back in a hidden field.
    pub form: &'a str,
    /// The applications, newest first.
    pub applications: Vec<AccountApplication>,
    /// The personal tokens, newest first.
    pub tokens: Vec<AccountToken>,
    /// The servers that a token can be made for.
    pub servers: Vec<AccountServer<'a>>,
    /// A token that was just made: shown now and never again.
    pub made: Option<&'a str>,
    /// Why the last form was not followed.
    pub problem: Option<AccountProblem>,
}

/// An application that may act for somebody.
#[derive(Debug, Clone, Default)]
pub struct AccountApplication {
    /// By which it is removed.
    pub grant_id: String,
    /// What it calls itself; untrusted.
    pub name: Option<String>,
    /// Its id; untrusted.
    pub client_id: String,
    /// The hosts its answers go to.
    pub hosts: Vec<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Where.
    pub resource: String,
    /// Since which day.
    pub since: String,
    /// The day of its last use.
    pub last_used: Option<String>,
}

/// A personal token of somebody.
#[derive(Debug, Clone, Default)]
pub struct AccountToken {
    /// By which it is removed.
    pub grant_id: String,
    /// What its owner calls it.
    pub label: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Where.
    pub resource: String,
    /// Since which day.
    pub since: String,
    /// The day it ends.
    pub until: String,
    /// The day of its last use.
    pub last_used: Option<String>,
}

/// A server that a token can be made for.
#[derive(Debug, Clone)]
pub struct AccountServer<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it has.
    pub scopes: Vec<&'a str>,
}

/// Why a form was not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountProblem {
    /// No scope was chosen, or something else that the form does not offer.
    TokenNotMade,
    /// There are too many tokens already.
    TooManyTokens,
}

/// What is shown to a browser in which nobody is logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountLoginPage {
    /// Asks to log in.
    Asked,
    /// The login did not work; it may be tried again.
    Failed,
}

impl AccountPage<'_> {
    /// Under this status, in this language.
    pub fn respond(mut self, language: Language, status: StatusCode) -> Response {
        for application in &mut self.applications {
            application.name = application.name.as_deref().and_then(untrusted::name);
            application.client_id = untrusted::identifier(&application.client_id);
        }
        for token in &mut self.tokens {
            token.label = token.label.as_deref().and_then(untrusted::name);
        }
        let frame = Frame::of(language);
        let person = untrusted::identifier(self.person);
        let problem = self.problem.map(|problem| problem.told(frame.words()));
        let page = Card { frame, person, problem, account: &self };
        frame.answer(status, Referrer::SameOrigin, &page)
    }
}

impl AccountLoginPage {
    /// 200, or 403 after a login that failed; the form is posted to the URL `log_in_at`, since this
    /// page is shown at several.
    pub fn respond(self, language: Language, log_in_at: &str) -> Response {
        let frame = Frame::of(language);
        let (status, problem) = match self {
            Self::Asked => (StatusCode::OK, None),
            Self::Failed => (StatusCode::FORBIDDEN, Some(frame.words().account.login_failed)),
        };
        frame.answer(status, Referrer::SameOrigin, &LoginCard { frame, problem, log_in_at })
    }
}

impl AccountProblem {
    const fn told(self, words: &'static Words) -> &'static str {
        match self {
            Self::TokenNotMade => words.account.token_not_made,
            Self::TooManyTokens => words.account.too_many_tokens,
        }
    }
}

impl fmt::Debug for AccountPage<'_> {
    /// Without the token and the proof.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountPage")
            .field("applications", &self.applications.len())
            .field("tokens", &self.tokens.len())
            .finish_non_exhaustive()
    }
}

/// The choices of how long a token lives.
const LIVES_DAYS: [u16; 4] = [7, 30, 90, 365];

#[derive(Template)]
#[template(path = "account.html")]
struct Card<'a> {
    frame: Frame,
    person: String,
    problem: Option<&'static str>,
    account: &'a AccountPage<'a>,
}

#[derive(Template)]
#[template(path = "account_login.html")]
struct LoginCard<'a> {
    frame: Frame,
    problem: Option<&'static str>,
    log_in_at: &'a str,
}
