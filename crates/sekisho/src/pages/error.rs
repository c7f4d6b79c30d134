//! The error page: what happened, why, what to do, and the trace id that the log has too.

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::frame::Frame;
use super::headers::Referrer;
use super::language::Language;
use super::untrusted;
use super::words::{Told, Words};

/// Says that it did not work. A page and never a redirect: nobody is known who could be told.
#[derive(Debug, Clone, Copy)]
pub struct ErrorPage<'a> {
    /// The answer's status, also shown in small print.
    pub status: StatusCode,
    /// What to tell the person.
    pub problem: Problem<'a>,
    /// As in the log; empty if there is none.
    pub trace_id: &'a str,
}

/// What can stop someone, in the words that person can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem<'a> {
    /// The application's registration is not here, or not any more.
    UnknownClient {
        /// As it came; untrusted.
        client_id: &'a str,
    },
    /// The application wants the answer at an address it did not register.
    UnknownRedirectUri {
        /// As it came; untrusted.
        redirect_uri: &'a str,
    },
    /// The application is known by a document, and that cannot be used.
    ClientDocument {
        /// In English: our own words, or ours about a field of the document.
        what: &'a str,
    },
    /// The application's link is malformed.
    BadRequest {
        /// Our own fixed text, in English.
        what: &'a str,
    },
    /// Unknown, expired or finished.
    LoginNotFound,
    /// The login was begun in another browser.
    OtherBrowser,
    /// The consent form did not come from this browser's own page.
    ForgedAnswer,
    /// The answer names another issuer than the identity provider we sent the person to (RFC 9207).
    WrongProvider,
    /// A rate limit.
    TooManyRequests {
        /// Whole seconds until it is worth trying again.
        retry_after_seconds: u64,
    },
    /// Something we depend on is down.
    Unavailable,
    /// No such page.
    NotFound,
    /// We are broken.
    Internal,
}

impl ErrorPage<'_> {
    /// The page, in this language.
    pub fn respond(self, language: Language) -> Response {
        let frame = Frame::of(language);
        let page = Card {
            frame,
            status: self.status.as_u16(),
            told: self.problem.told(frame.words()),
            wait: self.problem.wait(frame.words()),
            evidence: self.problem.evidence(frame.words()),
            trace_id: self.trace_id,
        };
        frame.answer(self.status, Referrer::None, &page)
    }
}

impl Problem<'_> {
    /// What it is, in a sentence for operators.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::UnknownClient { client_id } => format!("there is no client {client_id:?}"),
            Self::UnknownRedirectUri { redirect_uri } => {
                format!("redirect_uri {redirect_uri:?} is not registered for this client")
            }
            Self::ClientDocument { what } => format!("the client's document: {what}"),
            Self::BadRequest { what } => (*what).to_owned(),
            Self::LoginNotFound => "the login is unknown, too old or finished".to_owned(),
            Self::OtherBrowser => "the login was begun in another browser".to_owned(),
            Self::ForgedAnswer => "the form is not one of this browser's pages".to_owned(),
            Self::WrongProvider => "the answer is another provider's (iss)".to_owned(),
            Self::TooManyRequests { .. } => "too many requests from this address".to_owned(),
            Self::Unavailable => "something that is needed does not answer".to_owned(),
            Self::NotFound => "there is no such page".to_owned(),
            Self::Internal => "the server is broken".to_owned(),
        }
    }

    const fn told(self, words: &'static Words) -> &'static Told {
        let problems = &words.problems;
        match self {
            Self::UnknownClient { .. } => &problems.unknown_client,
            Self::UnknownRedirectUri { .. } => &problems.unknown_redirect_uri,
            Self::ClientDocument { .. } => &problems.client_document,
            Self::BadRequest { .. } => &problems.bad_request,
            Self::LoginNotFound => &problems.login_not_found,
            Self::OtherBrowser => &problems.other_browser,
            Self::ForgedAnswer => &problems.forged_answer,
            Self::WrongProvider => &problems.wrong_provider,
            Self::TooManyRequests { .. } => &problems.too_many_requests,
            Self::Unavailable => &problems.unavailable,
            Self::NotFound => &problems.not_found,
            Self::Internal => &problems.internal,
        }
    }

    fn wait(self, words: &Words) -> Option<String> {
        let Self::TooManyRequests { retry_after_seconds } = self else {
            return None;
        };
        Some((words.error.wait)(retry_after_seconds))
    }

    fn evidence(self, words: &Words) -> Option<Evidence> {
        let (label, value) = match self {
            Self::UnknownClient { client_id } => (words.consent.client_id, client_id),
            Self::UnknownRedirectUri { redirect_uri } => (words.consent.redirect_uri, redirect_uri),
            Self::ClientDocument { what } | Self::BadRequest { what } => {
                (words.error.what_was_wrong, what)
            }
            Self::LoginNotFound
            | Self::OtherBrowser
            | Self::ForgedAnswer
            | Self::WrongProvider
            | Self::TooManyRequests { .. }
            | Self::Unavailable
            | Self::NotFound
            | Self::Internal => return None,
        };
        let value = untrusted::identifier(value);
        Some(Evidence { label, value }).filter(|evidence| !evidence.value.is_empty())
    }
}

/// The piece of the request that was refused.
struct Evidence {
    label: &'static str,
    value: String,
}

#[derive(Template)]
#[template(path = "error.html")]
struct Card<'a> {
    frame: Frame,
    status: u16,
    told: &'static Told,
    wait: Option<String>,
    evidence: Option<Evidence>,
    trace_id: &'a str,
}
