//! Where to log in, where there are several places. Its buttons post to `/consent`, with the answer
//! that was given there, or to `/account/login`.

use std::fmt;

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::frame::Frame;
use super::headers::Referrer;
use super::language::Language;

/// Asks which identity provider to go to.
#[derive(Clone)]
pub struct ChooserPage<'a> {
    /// What the choice is for.
    pub form: ChooserForm<'a>,
    /// Name and label of each, in this order; without a label it is accounts of our own.
    pub providers: Vec<(&'a str, &'a str)>,
}

/// What somebody chooses for.
#[derive(Clone, Copy)]
pub enum ChooserForm<'a> {
    /// A client, which this sealed request is from: they said yes to it.
    Consent(&'a str),
    /// Their own account page.
    Account,
}

impl ChooserPage<'_> {
    /// 200, in this language.
    pub fn respond(self, language: Language) -> Response {
        let frame = Frame::of(language);
        frame.answer(StatusCode::OK, Referrer::SameOrigin, &Card { frame, asked: &self })
    }

    fn consent(&self) -> Option<&str> {
        match self.form {
            ChooserForm::Consent(consent) => Some(consent),
            ChooserForm::Account => None,
        }
    }
}

impl fmt::Debug for ChooserPage<'_> {
    /// Without the sealed request.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChooserPage").field("providers", &self.providers).finish_non_exhaustive()
    }
}

impl fmt::Debug for ChooserForm<'_> {
    /// Without the sealed request.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Consent(_) => "Consent",
            Self::Account => "Account",
        })
    }
}

#[derive(Template)]
#[template(path = "chooser.html")]
struct Card<'a> {
    frame: Frame,
    asked: &'a ChooserPage<'a>,
}
