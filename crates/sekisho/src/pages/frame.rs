//! What all pages share: the card around the words, and the answer around the page.

use askama::Template;
use axum::response::{Html, IntoResponse as _, Response};
use http::header::{CONTENT_LANGUAGE, VARY};
use http::{HeaderValue, StatusCode};

use super::headers::{self, Referrer};
use super::language::Language;
use super::words::Words;

/// The part of a template that is the same on every page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    language: Language,
}

impl Frame {
    pub(super) const fn of(language: Language) -> Self {
        Self { language }
    }

    pub(super) const fn words(self) -> &'static Words {
        Words::of(self.language)
    }

    pub(super) const fn tag(self) -> &'static str {
        self.language.tag()
    }

    #[expect(clippy::unused_self, reason = "the template asks the frame for everything")]
    pub(super) const fn style(self) -> &'static str {
        headers::STYLE
    }

    pub(super) fn answer(
        self,
        status: StatusCode,
        referrer: Referrer,
        page: &impl Template,
    ) -> Response {
        let mut response = match page.render() {
            Ok(html) => (status, Html(html)).into_response(),
            Err(reason) => {
                tracing::error!(error = &reason as &dyn std::error::Error, "a page failed");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        };
        let headers = response.headers_mut();
        headers::secure_headers(headers, referrer);
        headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(self.tag()));
        headers.append(VARY, HeaderValue::from_static("Accept-Language"));
        response
    }
}
