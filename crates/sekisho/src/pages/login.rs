//! The login page of the `local` identity provider. Its form posts to `/login`.

use std::fmt;

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::frame::Frame;
use super::headers::Referrer;
use super::language::Language;
use super::words::Words;

/// Asks for a name and a password.
#[derive(Clone, Copy)]
pub struct LoginPage<'a> {
    /// Which login this is, sent back in a hidden field of the form.
    pub state: &'a str,
    /// What was typed before, so that only the password need be typed again; may be empty.
    pub username: &'a str,
    /// Why the page is shown once more.
    pub problem: Option<LoginProblem>,
}

/// What a person hears of a failed login; never which half was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginProblem {
    /// One or the other.
    WrongNameOrPassword,
    /// The account or the address has to wait.
    TooManyTries,
}

impl LoginPage<'_> {
    /// Under the status that fits the problem.
    pub fn respond(self, language: Language, status: StatusCode) -> Response {
        let frame = Frame::of(language);
        let problem = self.problem.map(|problem| problem.told(frame.words()));
        let page = Card { frame, problem, state: self.state, username: self.username };
        frame.answer(status, Referrer::SameOrigin, &page)
    }
}

impl LoginProblem {
    const fn told(self, words: &'static Words) -> &'static str {
        match self {
            Self::WrongNameOrPassword => words.login.wrong_name_or_password,
            Self::TooManyTries => words.login.too_many_tries,
        }
    }
}

impl fmt::Debug for LoginPage<'_> {
    /// Without the state.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginPage").field("problem", &self.problem).finish_non_exhaustive()
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct Card<'a> {
    frame: Frame,
    problem: Option<&'static str>,
    state: &'a str,
    username: &'a str,
}
