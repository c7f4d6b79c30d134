//! GET `/`: what this is, and the URL to paste into an MCP client. Never lists who has access.

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::frame::Frame;
use super::headers::Referrer;
use super::language::Language;

/// Tells someone who opened the server in a browser what to do with it.
#[derive(Debug, Clone, Copy)]
pub struct WelcomePage<'a> {
    /// The Streamable HTTP endpoint, absolute.
    pub mcp_url: &'a str,
    /// The endpoint for clients that know only HTTP+SSE, absolute.
    pub sse_url: &'a str,
}

impl WelcomePage<'_> {
    /// 200, in this language.
    pub fn respond(self, language: Language) -> Response {
        let frame = Frame::of(language);
        let page = Card { frame, mcp_url: self.mcp_url, sse_url: self.sse_url };
        frame.answer(StatusCode::OK, Referrer::None, &page)
    }
}

#[derive(Template)]
#[template(path = "welcome.html")]
struct Card<'a> {
    frame: Frame,
    mcp_url: &'a str,
    sse_url: &'a str,
}
