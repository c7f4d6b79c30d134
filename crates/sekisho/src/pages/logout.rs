//! The question before a person is logged out. Its form posts to `/logout`.

use std::fmt;

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::frame::Frame;
use super::headers::Referrer;
use super::language::Language;

/// Asks whether to log out of this browser.
#[derive(Clone, Copy)]
pub struct LogoutPage<'a> {
    /// The double-submit value of this browser, sent back in a hidden field of the form.
    pub csrf: &'a str,
}

impl LogoutPage<'_> {
    /// 200, in this language.
    pub fn respond(self, language: Language) -> Response {
        let frame = Frame::of(language);
        frame.answer(StatusCode::OK, Referrer::SameOrigin, &Card { frame, csrf: self.csrf })
    }
}

impl fmt::Debug for LogoutPage<'_> {
    /// Without the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogoutPage").finish_non_exhaustive()
    }
}

#[derive(Template)]
#[template(path = "logout.html")]
struct Card<'a> {
    frame: Frame,
    csrf: &'a str,
}
