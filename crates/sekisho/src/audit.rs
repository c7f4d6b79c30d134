//! The audit trail: one line of the log for each security event, under the target `sekisho::audit`.
//!
//! Names of events and fields are stable; docs/audit.md lists them. A line says who (client, person,
//! address), what, and under which trace id, and never holds a token, a code, a cookie or a secret. What is
//! written here is counted here too.

use std::fmt;
use std::net::IpAddr;

use sekisho_protocol::oauth::ClientId;

use crate::front::TraceId;
use crate::grant::GrantId;
use crate::measure::{EVENTS, REFUSALS, SIGN_INS};
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
    Refused(Refused),
    /// A personal access token was made.
    PersonalToken,
}

/// Why somebody was turned away, in the words of the metrics; the line's `detail` says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No such client, or it could not prove to be it.
    Client,
    Code,
    RefreshToken,
    AccessToken,
    /// The access token lacks a scope.
    Scope,
    /// No rule allows the call.
    Rule,
    /// The operator does not let this person in.
    Person,
    /// Wrong, or of nobody.
    Password,
    TooManyPasswords,
    /// A login came back in another browser.
    OtherBrowser,
    /// A login came back from another provider.
    OtherProvider,
}

impl Refused {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Code => "code",
            Self::RefreshToken => "refresh_token",
            Self::AccessToken => "access_token",
            Self::Scope => "scope",
            Self::Rule => "rule",
            Self::Person => "person",
            Self::Password => "password",
            Self::TooManyPasswords => "too_many_passwords",
            Self::OtherBrowser => "other_browser",
            Self::OtherProvider => "other_provider",
        }
    }

    /// Whether it ended an attempt to log in; a wrong password does not, it is typed again.
    const fn ends_a_sign_in(self) -> bool {
        match self {
            Self::Person | Self::OtherBrowser | Self::OtherProvider => true,
            Self::Client
            | Self::Code
            | Self::RefreshToken
            | Self::AccessToken
            | Self::Scope
            | Self::Rule
            | Self::Password
            | Self::TooManyPasswords => false,
        }
    }
}

const EVENTS_OF_ALL_KINDS: [Event; 9] = [
    Event::Login,
    Event::Consent,
    Event::Code,
    Event::Token,
    Event::Refresh,
    Event::Replay,
    Event::Revoke,
    Event::Refused(Refused::Client),
    Event::PersonalToken,
];

const REFUSALS_OF_ALL_KINDS: [Refused; 11] = [
    Refused::Client,
    Refused::Code,
    Refused::RefreshToken,
    Refused::AccessToken,
    Refused::Scope,
    Refused::Rule,
    Refused::Person,
    Refused::Password,
    Refused::TooManyPasswords,
    Refused::OtherBrowser,
    Refused::OtherProvider,
];

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
            Self::Refused(_) => "refused",
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

/// Shows the counters of everything that can happen, at nothing: a rise from nothing is seen then, and
/// the first event of its kind is not lost to whoever looks for rises.
pub(crate) fn show_counters() {
    for event in EVENTS_OF_ALL_KINDS {
        EVENTS.counter([event.as_str().into()]).increment(0);
    }
    for reason in REFUSALS_OF_ALL_KINDS {
        REFUSALS.counter([reason.as_str().into()]).increment(0);
    }
    for outcome in ["logged_in", "denied", "refused", "provider_failed"] {
        SIGN_INS.counter([outcome.into()]).increment(0);
    }
}

/// Runs `future` as part of a request from that address.
pub(crate) async fn within<F: Future>(address: Option<IpAddr>, future: F) -> F::Output {
    ADDRESS.scope(address, future).await
}

/// Writes the line, and counts it.
pub(crate) fn note(event: Event, details: &Details<'_>) {
    count(event);
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
        | Event::Refused(_)
        | Event::PersonalToken => write!(info),
    }
}

fn count(event: Event) {
    EVENTS.counter([event.as_str().into()]).increment(1);
    match event {
        Event::Refused(reason) => {
            REFUSALS.counter([reason.as_str().into()]).increment(1);
            if reason.ends_a_sign_in() {
                SIGN_INS.counter(["refused".into()]).increment(1);
            }
        }
        Event::Login => SIGN_INS.counter(["logged_in".into()]).increment(1),
        Event::Consent
        | Event::Code
        | Event::Token
        | Event::Refresh
        | Event::Replay
        | Event::Revoke
        | Event::PersonalToken => {}
    }
}

/// What others chose is cut: an event is a line, not a page.
fn short(text: &str) -> &str {
    let end = text.char_indices().nth(TEXT_CHARS_MAX).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

/// Longest client id or subject in a line; an id of ours has 32, one that is a URL fits.
const TEXT_CHARS_MAX: usize = 256;
