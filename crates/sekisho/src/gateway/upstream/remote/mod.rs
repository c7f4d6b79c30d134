//! A server at a URL that the operator wrote down, spoken to over Streamable HTTP or HTTP+SSE.
//!
//! Never follows a redirect, never uses a proxy from the environment, never sends anything of a
//! client's request but its message, and never sends a message twice that the server may have
//! taken. Whatever goes wrong is one [`Trouble`], which a client hears of in general words and the
//! log in exact ones.

mod client;
mod event_reader;
pub(super) mod http_sse;
mod plain;
pub(super) mod streamable_http;
mod trouble;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use sekisho_protocol::Secret;
use sekisho_protocol::mcp::{
    HEADER_MISMATCH, INVALID_PARAMS, Incoming, METHOD_NOT_FOUND, MISSING_CLIENT_CAPABILITY,
    McpError, Message, PARSE_ERROR,
};
use sekisho_protocol::oauth::is_loopback;
use url::Url;

pub(in crate::gateway) use self::client::Client;
use self::client::{Address, Response};
use self::event_reader::EventReader;
#[cfg(feature = "fuzzing")]
pub use self::event_reader::events_in;
use self::trouble::Trouble;
use super::connection::{Called, Connection, Outgoing};
use crate::gateway::complaints::Complaints;
use crate::gateway::credential::Introduction;
use crate::gateway::limits::GatewayLimits;
use crate::mcp::PROTOCOL_VERSION;
use crate::principal::Principal;

/// How servers name the session that an `initialize` began.
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// Longest id of a session.
const SESSION_ID_BYTES_MAX: usize = 1024;
/// Headers of a request beside the operator's, nearly always.
pub(super) const HEADERS_USUAL: usize = 12;
/// Bytes of a refusal that are read, for the error it may tell.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// How long a connection may be unused: shorter than servers in the field let it be, so that none is
/// used in the moment that they close it.
const CONNECTION_IDLE: Duration = Duration::from_secs(4);
/// How long the server may take to accept what asks for no answer.
const ACCEPT_WAIT: Duration = Duration::from_secs(30);
/// How long a stream that broke is left alone before it is asked for again, unless the server says
/// otherwise; twice as long each time that nothing came.
const RETRY_AT_FIRST: Duration = Duration::from_secs(1);
/// However little the server wants to be left alone.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// A server at a URL. It comes from the operator.
#[derive(Clone)]
pub struct RemoteServer {
    address: Arc<Address>,
    transport: Option<RemoteTransport>,
    headers: HeaderMap,
    /// Whose certificates are trusted; those of this machine, if it is nobody.
    authorities: Vec<reqwest::Certificate>,
    /// The text that they were read from.
    pem: Vec<u8>,
    introduction: Introduction,
}

/// Whether they are the same place, spoken to in the same way.
impl PartialEq for RemoteServer {
    fn eq(&self, other: &Self) -> bool {
        self.address.url() == other.address.url()
            && self.transport == other.transport
            && self.headers == other.headers
            && self.pem == other.pem
            && self.introduction == other.introduction
    }
}

/// How a server at a URL is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteTransport {
    /// One endpoint (2025-03-26 and later).
    StreamableHttp,
    /// A stream and an endpoint to post to (2024-11-05).
    HttpSse,
}

/// Why a server cannot be written so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteServerError {
    /// It is no URL that HTTP goes to.
    #[error("it is no URL of a server: write for example \"https://mcp.example.com/mcp\"")]
    NotAUrl,
    /// A name or password stands in the URL, where logs and errors would show it.
    #[error("it has a user name or password: leave them out, and write upstream.headers instead")]
    Credentials,
    /// What stands behind `#` is never sent.
    #[error("it has a fragment, which no server ever sees: leave out everything from # on")]
    Fragment,
    /// No header can be called so, or say this.
    #[error("{0:?} cannot be a header: letters, digits and dashes, and a value on one line")]
    Header(String),
    /// A header that is not the operator's to set.
    #[error("{0:?} is set by the protocol itself: leave it out")]
    ReservedHeader(String),
    /// It holds no certificate that anything could be trusted by.
    #[error("it holds no certificate: write a file of certificates in PEM")]
    Authorities,
    /// A header that would say two things.
    #[error("{0:?} would be set twice: keep one of them")]
    DoubledHeader(String),
}

impl RemoteServer {
    /// The server at `url`, which gets `headers` with every request. Without a `transport` it is
    /// Streamable HTTP, or HTTP+SSE if the server refuses the first message as such servers do.
    ///
    /// # Errors
    /// When the URL or a header cannot be used.
    pub fn new<'a>(
        url: &str,
        transport: Option<RemoteTransport>,
        headers: impl IntoIterator<Item = (&'a str, &'a Secret)>,
    ) -> Result<Self, RemoteServerError> {
        let url = Url::parse(url).map_err(|_| RemoteServerError::NotAUrl)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(RemoteServerError::NotAUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RemoteServerError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(RemoteServerError::Fragment);
        }
        let mut kept = HeaderMap::new();
        for (name, value) in headers {
            let wrong = || RemoteServerError::Header(name.to_owned());
            let header: HeaderName = name.parse().map_err(|_| wrong())?;
            if is_reserved(&header) {
                return Err(RemoteServerError::ReservedHeader(name.to_owned()));
            }
            let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            if kept.insert(header, value).is_some() {
                return Err(RemoteServerError::DoubledHeader(name.to_owned()));
            }
        }
        let (address, introduction) = (Arc::new(Address::new(url)?), Introduction::Nothing);
        let (authorities, pem) = (Vec::new(), Vec::new());
        Ok(Self { address, transport, headers: kept, authorities, pem, introduction })
    }

    /// Trusts the authorities whose certificates are in `pem`, and no other, whatever this machine trusts.
    ///
    /// # Errors
    /// When there is none in it, or one that is none.
    pub fn trusting(mut self, pem: &[u8]) -> Result<Self, RemoteServerError> {
        let wrong = |_| RemoteServerError::Authorities;
        self.authorities = reqwest::Certificate::from_pem_bundle(pem).map_err(wrong)?;
        if self.authorities.is_empty() {
            return Err(RemoteServerError::Authorities);
        }
        self.pem = pem.to_vec();
        // They are looked at when a client is made of them.
        self.client(&GatewayLimits::default()).map_err(wrong)?;
        Ok(self)
    }

    /// The same server, which hears who calls.
    ///
    /// # Errors
    /// When a header that would say so is set already, or not to be set.
    pub fn introducing(self, introduction: Introduction) -> Result<Self, RemoteServerError> {
        let mut names = introduction.names();
        for name in &names {
            if is_reserved(name) || *name == COOKIE {
                return Err(RemoteServerError::ReservedHeader(name.to_string()));
            }
        }
        let written = self.headers.keys();
        names.extend(written);
        names.sort_unstable_by_key(|name| name.as_str());
        if let Some([name, _]) = names.array_windows().find(|[one, other]| one == other) {
            return Err(RemoteServerError::DoubledHeader(name.to_string()));
        }
        Ok(Self { introduction, ..self })
    }

    /// How it hears who calls.
    pub(in crate::gateway) fn introduction(&self) -> &Introduction {
        &self.introduction
    }

    /// Whether all that is said to it can be read on the way.
    pub fn is_plain_beyond_loopback(&self) -> bool {
        self.address.url().scheme() == "http" && !is_loopback(self.address.url())
    }

    /// What one client does for all who talk to this server.
    pub(in crate::gateway) fn client(
        &self,
        limits: &GatewayLimits,
    ) -> Result<Client, reqwest::Error> {
        Client::new(self.address.url(), &self.authorities, limits)
    }

    pub(super) fn transport(&self) -> Option<RemoteTransport> {
        self.transport
    }
}

/// Without the query and the headers, which may hold secrets.
impl fmt::Debug for RemoteServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.address.url().clone();
        url.set_query(None);
        f.debug_struct("RemoteServer").field("url", &url.as_str()).finish_non_exhaustive()
    }
}

/// What HTTP and MCP say themselves, and what would change who is spoken to or how.
fn is_reserved(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "upgrade"
            | "expect"
            | "accept"
            | "accept-encoding"
            | "last-event-id"
            | "origin"
    ) || name.as_str().starts_with("mcp-")
        || name.as_str().starts_with("proxy-")
}

/// The way to a server for one conversation.
pub(in crate::gateway) struct Link {
    client: Client,
    /// Where messages are posted to.
    address: Arc<Address>,
    headers: HeaderMap,
    introduction: Introduction,
    session: OnceLock<HeaderValue>,
    connection: Arc<Connection>,
    /// Of callers that cannot be introduced.
    unintroduced: Complaints,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Link {
    fn new(
        server: &RemoteServer,
        client: &Client,
        address: Arc<Address>,
        connection: &Arc<Connection>,
    ) -> Arc<Self> {
        Arc::new(Self {
            client: client.clone(),
            address,
            headers: server.headers.clone(),
            introduction: server.introduction.clone(),
            session: OnceLock::new(),
            connection: Arc::clone(connection),
            unintroduced: Complaints::default(),
        })
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// What every request says: the operator's headers, who calls, what it says `beside` them, the session, and
    /// the revision. What comes later in this list takes the place of what is called the same.
    async fn head(
        &self,
        caller: Option<&Arc<Principal>>,
        beside: HeaderMap,
    ) -> Result<HeaderMap, Trouble> {
        let introduction = self.introduction.headers(caller).await?;
        let mut headers = beside;
        headers.reserve(HEADERS_USUAL.saturating_sub(headers.len()));
        // Most servers are told neither.
        if !self.headers.is_empty() || !introduction.is_empty() {
            let beside = std::mem::replace(&mut headers, self.headers.clone());
            headers.extend(introduction);
            headers.extend(beside);
        }
        if let Some(session) = self.session.get() {
            headers.insert(SESSION_ID, session.clone());
        }
        if let Some(version) = self.connection.version() {
            headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(version.as_str()));
        }
        Ok(headers)
    }

    /// Posts one message.
    async fn post(
        &self,
        message: Bytes,
        headers: HeaderMap,
        caller: Option<&Arc<Principal>>,
    ) -> Result<Response, Trouble> {
        let mut head = self.head(caller, headers).await?;
        head.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        head.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.ask(Method::POST, head, message, caller).await
    }

    /// Sends a request. If what introduced the caller in it is not taken, something else is tried next
    /// time.
    async fn ask(
        &self,
        method: Method,
        head: HeaderMap,
        body: Bytes,
        caller: Option<&Arc<Principal>>,
    ) -> Result<Response, Trouble> {
        let shown = self.introduction.token_in(&head).cloned();
        let response = self.client.send(method, &self.address, head, body).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let (Some(caller), Some(shown)) = (caller, &shown)
        {
            self.introduction.was_refused(caller, shown);
        }
        Ok(response)
    }

    /// Posts what asks for no answer.
    async fn post_word(&self, outgoing: Outgoing) {
        let posted = async {
            let caller = outgoing.caller.as_ref();
            let response = self.post(outgoing.message, outgoing.headers, caller).await?;
            self.judge(response).await.map(drop)
        };
        let posted = tokio::select! {
            posted = tokio::time::timeout(ACCEPT_WAIT, posted) => posted,
            () = self.connection.closed().cancelled() => return,
        };
        match posted.unwrap_or(Err(Trouble::TooSlow)) {
            Ok(()) => {}
            Err(Trouble::Forgotten) => self.connection.forget(None),
            Err(trouble) => tracing::warn!(%trouble, "the server behind us does not take a word"),
        }
    }

    /// Passes on what is queued: calls at once, all else in its order. Ends with the conversation.
    async fn pump<F: Future<Output = ()> + Send + 'static>(
        self: Arc<Self>,
        mut queued: tokio::sync::mpsc::Receiver<Outgoing>,
        call: impl Fn(Arc<Self>, Call) -> F,
    ) {
        // As many as there are calls at once: `calls_max`, and those that are being given up.
        let mut calls = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = self.connection.closing().cancelled() => return,
                Some(_) = calls.join_next() => {}
                outgoing = queued.recv() => match outgoing {
                    None => return,
                    Some(Outgoing {
                        message,
                        headers,
                        call: Some(Called { id, given_up }),
                        caller,
                    }) => {
                        let work = call(Arc::clone(&self), Call { message, headers, id, caller });
                        calls.spawn(async move {
                            tokio::select! {
                                () = work => {}
                                () = given_up.cancelled() => {}
                            }
                        });
                    }
                    // A server without sessions takes calls, and hears by a hang-up that one is
                    // over.
                    Some(_) if self.connection.is_stateless() => {}
                    Some(outgoing) => self.post_word(outgoing).await,
                },
            }
        }
    }

    /// A response of success, or what is in the way.
    async fn judge(&self, response: Response) -> Result<Response, Trouble> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            return Err(Trouble::Redirected(status));
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(Trouble::NotLetIn(status));
        }
        if status == StatusCode::NOT_FOUND && self.session.get().is_some() {
            return Err(Trouble::Forgotten);
        }
        let error = if is_json(&response) { Box::pin(told_in(response)).await } else { None };
        if self.connection.is_stateless() && !is_of_stateless_era(status, error.as_ref()) {
            return Err(Trouble::Forgotten);
        }
        Err(Trouble::Refused { status, error })
    }

    /// Lets a call end with its trouble. Whether it began makes a difference to whoever may ask
    /// again.
    fn fail(&self, id: u64, trouble: Trouble) {
        let is_forgotten = matches!(trouble, Trouble::Forgotten);
        let is_told = matches!(trouble, Trouble::Refused { error: Some(_), .. });
        // Who may call may call again and again.
        let is_due =
            !matches!(trouble, Trouble::NotIntroduced(_)) || self.unintroduced.is_due().is_some();
        if !is_forgotten && !is_told && is_due {
            let error = std::error::Error::source(&trouble);
            tracing::warn!(error, "a call of the server behind us fails: {trouble}");
        }
        let ending = trouble.into_ending();
        if is_forgotten {
            self.connection.forget(Some((id, ending)));
        } else {
            self.connection.finish(id, ending);
        }
    }
}

/// A call on its way.
pub(super) struct Call {
    pub(super) message: Bytes,
    pub(super) headers: HeaderMap,
    pub(super) id: u64,
    pub(super) caller: Option<Arc<Principal>>,
}

/// Whether a refusal is one of a server of 2026-07-28. Another one was put in its place if not, which
/// read nothing of the message (2026-07-28 "Versioning").
fn is_of_stateless_era(status: StatusCode, error: Option<&McpError>) -> bool {
    if !may_be_http_sse(Some(status)) {
        return true;
    }
    matches!(
        error.and_then(McpError::code),
        Some(
            PARSE_ERROR
                | METHOD_NOT_FOUND
                | INVALID_PARAMS
                | HEADER_MISMATCH
                | MISSING_CLIENT_CAPABILITY
        )
    )
}

/// The error that a refusal tells, if it does.
async fn told_in(response: Response) -> Option<McpError> {
    let body = tokio::time::timeout(ACCEPT_WAIT, body_of(response, REFUSAL_BYTES_MAX)).await;
    let body = body.ok()?.ok()?;
    let Ok(Incoming::Single(Message::Response(response))) = Incoming::parse(&body) else {
        return None;
    };
    response.outcome.err().map(|error| McpError::forwarded(error.to_owned()))
}

/// The whole body, if it is no longer than that.
async fn body_of(mut response: Response, bytes_max: usize) -> Result<Bytes, Trouble> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > bytes_max {
            return Err(Trouble::TooLong { bytes_max });
        }
        if body.is_empty() {
            // Nearly always all there is, and then not even copied.
            body = chunk.try_into_mut().unwrap_or_else(BytesMut::from);
        } else {
            body.extend_from_slice(&chunk);
        }
    }
    Ok(body.freeze())
}

fn is_json(response: &Response) -> bool {
    media_type(response).is_some_and(|found| found.eq_ignore_ascii_case("application/json"))
}

fn is_event_stream(response: &Response) -> bool {
    media_type(response).is_some_and(|found| found.eq_ignore_ascii_case("text/event-stream"))
}

fn media_type(response: &Response) -> Option<&str> {
    let value = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

/// What a server that refuses the first message of Streamable HTTP may be instead, by its status
/// (2025-11-25 "Backwards Compatibility").
pub(super) fn may_be_http_sse(status: Option<StatusCode>) -> bool {
    matches!(
        status,
        Some(StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
    )
}
