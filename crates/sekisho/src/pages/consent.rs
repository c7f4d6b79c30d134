//! The consent page: who asks, where the answer goes, what for. Its form posts to `/consent`.

use std::fmt;

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::frame::Frame;
use super::headers::Referrer;
use super::language::Language;
use super::untrusted;

/// Asks a person whether an application may act for them. What it says of itself is untrusted.
#[derive(Clone)]
pub struct ConsentPage<'a> {
    /// The name the client registered under, shown as its own claim.
    pub client_name: Option<&'a str>,
    /// Ours, so that the person can name the application to whoever runs this server.
    pub client_id: &'a str,
    /// The host of the document that the client is known by, which is what we know it by: shown as
    /// its identity. `None` for a client that is known in another way.
    pub client_host: Option<&'a str>,
    /// The host (and port) the answer goes to, or `scheme:` for a private-use scheme.
    pub redirect_host: &'a str,
    /// The whole of it, for those who look closer.
    pub redirect_uri: &'a str,
    /// Whether every redirect URI of the client is on loopback, where any program can listen.
    pub is_loopback_only: bool,
    /// What the application asks for.
    pub scopes: Vec<&'a str>,
    /// What the person at this browser allowed it before, so that the rest is marked as new; empty
    /// if nothing, or if nobody knows who is there.
    pub held: Vec<&'a str>,
    /// The server it asks for it at.
    pub resource: &'a str,
    /// The sealed request, sent back in a hidden field of the form.
    pub consent: &'a str,
}

impl ConsentPage<'_> {
    /// 200, in this language.
    pub fn respond(self, language: Language) -> Response {
        let frame = Frame::of(language);
        let page = Card {
            frame,
            name: self.client_name.and_then(untrusted::name),
            client_id: untrusted::identifier(self.client_id),
            redirect_uri: untrusted::identifier(self.redirect_uri),
            host: breakable(self.redirect_host),
            client_host: self.client_host.map(breakable),
            recipient: Recipient::of(&self),
            asked: &self,
        };
        frame.answer(StatusCode::OK, Referrer::SameOrigin, &page)
    }
}

impl fmt::Debug for ConsentPage<'_> {
    /// Without the sealed request.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsentPage")
            .field("client_id", &self.client_id)
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}

impl ConsentPage<'_> {
    fn is_new(&self, scope: &str) -> bool {
        !self.held.is_empty() && !self.held.contains(&scope)
    }
}

/// Who listens at the redirect URI, as far as its shape tells.
#[derive(Debug, Clone, Copy)]
enum Recipient {
    /// Whoever runs a host.
    Host,
    /// Whatever program opened a port on the person's computer.
    Loopback,
    /// Whatever application took a private-use scheme (RFC 8252 §7.1).
    Scheme,
}

impl Recipient {
    fn of(page: &ConsentPage<'_>) -> Self {
        if page.is_loopback_only {
            Self::Loopback
        } else if page.redirect_host.ends_with(':') {
            Self::Scheme
        } else {
            Self::Host
        }
    }
}

/// A host that needs more than one line is broken after a dot, so that no line shows half a label
/// that looks like a name of its own; one that fits is left whole.
fn breakable(host: &str) -> Vec<&str> {
    if host.len() <= HOST_LINE_BYTES_MAX { vec![host] } else { host.split_inclusive('.').collect() }
}

/// What a narrow phone shows on one line.
const HOST_LINE_BYTES_MAX: usize = 20;

#[derive(Template)]
#[template(path = "consent.html")]
struct Card<'a> {
    frame: Frame,
    name: Option<String>,
    client_id: String,
    redirect_uri: String,
    host: Vec<&'a str>,
    client_host: Option<Vec<&'a str>>,
    recipient: Recipient,
    asked: &'a ConsentPage<'a>,
}
