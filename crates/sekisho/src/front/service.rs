//! The layer itself: asks the rules in order, runs the routes, and logs what came of it.
//!
//! The log has method, path without query, status and duration; never a header, query or body,
//! since those carry tokens and codes.

use std::any::Any;
use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use tokio::time::Instant;
use tower::{Layer, Service};

use sekisho_protocol::oauth::Issuer;

use super::base_path;
use super::bell::Belled;
use super::body_deadline::BodyDeadline;
use super::client_address::TrustedProxies;
use super::host::{HostPolicy, HostRefusal};
use super::origin::{Cors, OriginPolicy, Surfaces};
use super::slow_stream::SLOW_STREAM_PATH;
use super::trace_id::TraceId;
use super::unread_body::Unread;
use crate::measure::spans::{self, Known, Open};
use crate::measure::{self, Requests};

/// Longest request target that is looked at, in bytes; over it 414.
pub const URI_BYTES_MAX: usize = 16 * 1024;

/// Longest path that is logged, in bytes.
const LOGGED_PATH_BYTES_MAX: usize = 256;

/// The rules every request passes; a [`Layer`] for the whole application.
#[derive(Debug, Clone)]
pub struct Front {
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    hosts: HostPolicy,
    origins: OriginPolicy,
    surfaces: Surfaces,
    proxies: TrustedProxies,
    below: Option<Issuer>,
    requests: Requests,
}

/// [`Front`] around the routes.
#[derive(Debug, Clone)]
pub struct FrontService<S> {
    inner: S,
    rules: Arc<Rules>,
    peer: Option<SocketAddr>,
}

impl<S> FrontService<S> {
    /// The same for the requests of one connection. Without it the peer is looked for in axum's
    /// [`ConnectInfo`].
    #[must_use]
    pub fn for_peer(self, peer: SocketAddr) -> Self {
        Self { peer: Some(peer), ..self }
    }
}

impl Front {
    /// Puts the rules together.
    pub fn new(
        hosts: HostPolicy,
        origins: OriginPolicy,
        surfaces: Surfaces,
        proxies: TrustedProxies,
    ) -> Self {
        Self::with(hosts, origins, surfaces, proxies, None)
    }

    /// Takes the base path of `public_url` off each request, whose routes know of none; beside it
    /// there is nothing but health.
    #[must_use]
    pub fn below(&self, public_url: &Issuer) -> Self {
        let Rules { hosts, origins, surfaces, proxies, .. } = self.rules.as_ref();
        // Without a path there is nothing to take off.
        let below = Some(public_url.clone()).filter(|url| !url.base_path().is_empty());
        Self::with(hosts.clone(), origins.clone(), surfaces.clone(), proxies.clone(), below)
    }

    fn with(
        hosts: HostPolicy,
        origins: OriginPolicy,
        surfaces: Surfaces,
        proxies: TrustedProxies,
        below: Option<Issuer>,
    ) -> Self {
        let requests = Requests::default();
        Self { rules: Arc::new(Rules { hosts, origins, surfaces, proxies, below, requests }) }
    }
}

impl<S> Layer<S> for Front {
    type Service = FrontService<S>;

    fn layer(&self, inner: S) -> FrontService<S> {
        FrontService { inner, rules: Arc::clone(&self.rules), peer: None }
    }
}

impl Rules {
    /// What the answer needs for CORS, or the answer itself.
    fn admit(
        &self,
        request: &mut Request<Body>,
        peer: Option<SocketAddr>,
    ) -> Result<Cors, Box<Response>> {
        if uri_bytes(request) > URI_BYTES_MAX {
            return Err(Box::new(refusal(StatusCode::URI_TOO_LONG, "the URL is too long")));
        }
        if !is_framed_in_one_way(request.headers()) {
            return Err(Box::new(unframed()));
        }
        if self.below.as_ref().is_some_and(|public_url| !base_path::enter(public_url, request)) {
            return Err(Box::new(refusal(StatusCode::NOT_FOUND, "nothing is here")));
        }
        let connect_info = request.extensions().get::<ConnectInfo<SocketAddr>>();
        if let Some(peer) = peer.or_else(|| connect_info.map(|ConnectInfo(peer)| *peer)) {
            let client = self.proxies.client_of(peer, request.headers());
            request.extensions_mut().insert(client);
            if request.uri().path() == SLOW_STREAM_PATH {
                let forwarding = self.proxies.forwarding(peer, request.headers());
                request.extensions_mut().insert(forwarding);
            }
        }
        let path = request.uri().path();
        if !matches!(path, "/healthz" | "/readyz" | SLOW_STREAM_PATH) {
            self.hosts.judge(request.uri(), request.headers()).map_err(|reason| {
                if reason == HostRefusal::NotServed {
                    let host = request.headers().get(header::HOST);
                    tracing::info!(?host, "refused: if this host is ours, add it to allowed_hosts");
                }
                Box::new(refusal(reason.status(), &reason.to_string()))
            })?;
        }
        self.origins.judge(&self.surfaces, request.method(), path, request.headers())
    }

    /// The path of the route that was asked for; empty if it is beside the base path.
    fn route<'a>(&self, path: &'a str) -> Cow<'a, str> {
        match &self.below {
            Some(public_url) => base_path::inside(public_url, path).unwrap_or_default(),
            None => path.into(),
        }
    }

    fn measure(&self, asked: &Asked, answer: &Response) {
        let path = self.route(asked.uri.path());
        let what = (&asked.method, path.as_ref(), self.surfaces.is_mcp(&path));
        self.requests.answered(what, answer.status(), asked.at.elapsed());
    }

    /// What a trace says of the request, if it is to be told at all.
    fn span(&self, trace_id: TraceId, asked: &Asked, headers: &HeaderMap) -> Option<Open> {
        let path = self.route(asked.uri.path());
        let words = || measure::Asked::of(&asked.method, &path, self.surfaces.is_mcp(&path));
        let span = Open::request(trace_id.bits(), headers, || {
            let measure::Asked { method, route } = words();
            format!("{method} {route}")
        })?;
        let measure::Asked { method, route } = words();
        span.note("http.request.method", method.into());
        span.note("http.route", route.into());
        Some(span)
    }
}

impl<S, B> Service<Request<B>> for FrontService<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Belled<Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (request, unread) = Unread::lend(request);
        let mut request = request.map(with_deadline);
        let trace_id = TraceId::of(request.headers());
        request.extensions_mut().insert(trace_id);
        let asked = Asked::of(&request);
        match trace_id.sync_scope(|| self.rules.admit(&mut request, self.peer)) {
            Err(mut answer) => {
                drop(request);
                let rules = Arc::clone(&self.rules);
                Belled::new(trace_id.scope(async move {
                    read_before(&mut answer, unread).await;
                    rules.measure(&asked, &answer);
                    Ok(asked.logged(trace_id, *answer))
                }))
            }
            Ok(cors) => {
                let mut span = self.rules.span(trace_id, &asked, request.headers());
                let routes = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
                let rules = Arc::clone(&self.rules);
                Belled::new(trace_id.scope(async move {
                    let mut answer = match spans::within(span.as_ref(), routes).await {
                        Ok(Ok(answer)) => answer,
                        Ok(Err(never)) => match never {},
                        Err(panic) => after_panic(panic.as_ref()),
                    };
                    read_before(&mut answer, unread).await;
                    cors.apply(answer.headers_mut());
                    rules.measure(&asked, &answer);
                    if let Some(span) = &mut span {
                        ended(span, answer.status());
                    }
                    Ok(asked.logged(trace_id, answer))
                }))
            }
        }
    }
}

fn ended(span: &mut Open, status: StatusCode) {
    span.note("http.response.status_code", Known::Number(status.as_u16().into()));
    if status.is_server_error() {
        span.fail();
    }
}

/// What the access log says of a request.
struct Asked {
    method: Method,
    uri: Uri,
    at: Instant,
}

impl Asked {
    fn of(request: &Request<Body>) -> Self {
        Self { method: request.method().clone(), uri: request.uri().clone(), at: Instant::now() }
    }

    /// Logs the answer by its gravity, and names a failed one by its trace id.
    ///
    /// What is answered a thousand times a second in a healthy server (200, 401 to a client that
    /// has no token yet) is for `debug`: an access log at `info` would cost more than the guard.
    fn logged(self, trace_id: TraceId, mut answer: Response) -> Response {
        let status = answer.status();
        let method = &self.method;
        let path = shortened(self.uri.path());
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    target: "sekisho::access",
                    %trace_id, %method, path, status = status.as_u16(),
                    ms = self.at.elapsed().as_millis(), "answered"
                )
            };
        }
        if status.is_server_error() {
            log!(warn);
        } else if status.is_client_error() && !matches!(status.as_u16(), 401 | 404 | 405) {
            log!(info);
        } else {
            log!(debug);
        }
        if (status.is_client_error() || status.is_server_error())
            && let Ok(value) = HeaderValue::try_from(trace_id.to_string())
        {
            answer.headers_mut().insert(X_TRACE_ID, value);
        }
        answer
    }
}

async fn read_before<B>(answer: &mut Response, unread: Option<Unread<B>>)
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    if let Some(unread) = unread {
        unread.read_before(answer).await;
    }
}

/// Bodies that are there already, as most are, need no deadline.
fn with_deadline<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    if body.is_end_stream() { Body::empty() } else { Body::new(BodyDeadline::new(body)) }
}

fn shortened(path: &str) -> &str {
    path.get(..path.floor_char_boundary(LOGGED_PATH_BYTES_MAX)).unwrap_or_default()
}

fn uri_bytes(request: &Request<Body>) -> usize {
    request.uri().path_and_query().map_or(0, |target| target.as_str().len())
}

/// Whether a body has no coding but that of chunks, once: what another reader could end elsewhere, it
/// could take for two requests (RFC 9112 §6.3, §11.2). Lengths are judged before anything gets here.
fn is_framed_in_one_way(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// Nothing that comes after it on the connection is read.
fn unframed() -> Response {
    let sentence = "a body comes with a length or in chunks, and in no other coding";
    let mut response = refusal(StatusCode::BAD_REQUEST, sentence);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn refusal(status: StatusCode, sentence: &str) -> Response {
    (status, format!("{sentence}\n")).into_response()
}

/// The panic hook has already written where; the caller only learns that it was not its fault.
fn after_panic(panic: &(dyn Any + Send)) -> Response {
    let message = panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!("a request handler panicked: {message}");
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong here")
}

const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");
