//! The audit trail: one line of the log for each security event, under the target `sekisho::audit`.
//!
//! Names of events and fields are stable; docs/audit.md lists them. A line says who (client, person,
//! address), what, and under which trace id, and never holds a token, a code, a cookie or a secret.

use std::fmt;
use std::net::IpAddr;

use sekisho_protocol::oauth::ClientId;

use crate::front::TraceId;
use crate::grant::GrantId;
use crate::principal::Identity;

tokio::task_local! {
    static ADDRESS: Option<IpAddr>;
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A person logged in.
    Login,
    /// A person said yes or no to a client, or had said yes before.
    Consent,
    /// A client was given a code.
    Code,
    /// A code was traded for tokens.
    Token,
    /// A refresh token was traded for its successors.
    Refresh,
    /// A code or a refresh token came a second time: its grant is ended.
    Replay,
    /// A grant or a token was ended.
    Revoke,
    /// Somebody was turned away.
    Refused,
    /// A personal access token was made.
    PersonalToken,
}

impl Event {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Consent => "consent",
            Self::Code => "code",
            Self::Token => "token",
            Self::Refresh => "refresh",
            Self::Replay => "replay",
            Self::Revoke => "revoke",
            Self::Refused => "refused",
            Self::PersonalToken => "personal_token",
        }
    }
}

/// What is known of an event; what is not known is left out of the line.
#[derive(Default)]
pub(crate) struct Details<'a> {
    pub(crate) client: Option<&'a ClientId>,
    pub(crate) user: Option<&'a Identity>,
    pub(crate) grant: Option<&'a GrantId>,
    /// How it came out, or why.
    pub(crate) detail: Option<&'a (dyn fmt::Display + Sync)>,
    /// Where the request does not run within [`within`].
    pub(crate) address: Option<IpAddr>,
}

/// Runs `future` as part of a request from that address.
pub(crate) async fn within<F: Future>(address: Option<IpAddr>, future: F) -> F::Output {
    ADDRESS.scope(address, future).await
}

/// Writes the line.
pub(crate) fn note(event: Event, details: &Details<'_>) {
    let known = ADDRESS.try_with(|address| *address).ok().flatten();
    let address = details.address.or(known);
    let name = event.as_str();
    macro_rules! write {
        ($level:ident) => {
            tracing::$level!(
                target: "sekisho::audit",
                event = name,
                trace_id = TraceId::current().map(tracing::field::display),
                client.id = details.client.map(|id| short(id.as_str())),
                client.address = address.map(tracing::field::display),
                user.issuer = details.user.map(|user| short(&user.issuer)),
                user.subject = details.user.map(|user| short(&user.subject)),
                grant.id = details.grant.map(GrantId::as_str),
                detail = details.detail.map(tracing::field::display),
                "audit: {name}"
            )
        };
    }
    match event {
        // Two hold what one should: somebody may have stolen it.
        Event::Replay => write!(warn),
        Event::Login
        | Event::Consent
        | Event::Code
        | Event::Token
        | Event::Refresh
        | Event::Revoke
        | Event::Refused
        | Event::PersonalToken => write!(info),
    }
}

/// What others chose is cut: an event is a line, not a page.
fn short(text: &str) -> &str {
    let end = text.char_indices().nth(TEXT_CHARS_MAX).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

/// Longest client id or subject in a line; an id of ours has 32, one that is a URL fits.
const TEXT_CHARS_MAX: usize = 256;
