//! The page at the end of a way that needs no answer.

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::frame::Frame;
use super::headers::Referrer;
use super::language::Language;

/// Something to know, nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticePage {
    /// All is done here; the window may go.
    Closable,
}

impl NoticePage {
    /// 200, in this language.
    pub fn respond(self, language: Language) -> Response {
        let frame = Frame::of(language);
        match self {
            Self::Closable => frame.answer(StatusCode::OK, Referrer::None, &Card { frame }),
        }
    }
}

#[derive(Template)]
#[template(path = "closable.html")]
struct Card {
    frame: Frame,
}
