//! Streamable HTTP (2025-03-26 and later): POST, GET and DELETE at one endpoint, of which
//! 2026-07-28 has POST alone. Expects the guard
//! in front and trusts the principal it left in the request; never looks at a token itself.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::future::{Abortable, Aborted};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sekisho_protocol::mcp::{Incoming, Message, ProtocolVersion, Request as McpRequest, RequestId};
use tokio::runtime::Handle;
use tower::Service;
use tracing::Instrument as _;

use super::Endpoint;
use super::era::{self, Era, PROTOCOL_VERSION};
use super::legacy::{
    Call, Caller, EventStream, First, Place, Retention, Session, Transport, batch, require_scopes,
    take_answer, take_notice,
};
use super::looked_at::LookedAt;
use super::modern::Answer;
use super::refusal::{Refusal, Refused};
use super::request::{Accepts, caller, only, read_body, require_json};
use super::sse::{self, Framing};
use crate::fleet::InstanceId;

/// Names the session, on every request after `initialize` and on its answer.
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// POST: a message from the client.
pub(super) async fn post(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    endpoint.take_message(request).await.unwrap_or_else(Refused::into_response)
}

/// POST as a plain service, for whoever finds the way to it without a router.
#[derive(Debug, Clone)]
pub struct Posts {
    pub(super) endpoint: Arc<Endpoint>,
}

impl Service<Request> for Posts {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let endpoint = Arc::clone(&self.endpoint);
        Box::pin(async move {
            Ok(endpoint.take_message(request).await.unwrap_or_else(Refused::into_response))
        })
    }
}

/// GET: a stream for what no request asked for, or the rest of one that was cut.
pub(super) async fn get(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let answer = match endpoint.asked_elsewhere(&request) {
        Some(holder) => endpoint.pass_on_alone(&holder, request).await,
        None => endpoint.open_stream(&request),
    };
    answer.unwrap_or_else(|refusal| Refused::from(refusal).into_response())
}

/// DELETE: the end of a session.
pub(super) async fn delete(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let answer = match endpoint.asked_elsewhere(&request) {
        Some(holder) => endpoint.pass_on_alone(&holder, request).await,
        None => endpoint.end_session(&request),
    };
    answer.unwrap_or_else(|refusal| Refused::from(refusal).into_response())
}

impl Endpoint {
    async fn take_message(self: &Arc<Self>, request: Request) -> Result<Response, Refused> {
        let (head, body) = request.into_parts();
        require_json(&head.headers)?;
        let body = read_body(body, self.sessions.limits()).await?;
        let accepts = Accepts::of(&head.headers);
        let sender = caller(&head.extensions).cloned();

        let incoming = Incoming::parse(&body)?;
        if let Incoming::Single(Message::Request(request)) = &incoming {
            match era::of_request(Some(&head.headers), request) {
                Ok(Era::Handshake) => {}
                Ok(Era::Stateless(outline)) => {
                    if let Some(holder) =
                        self.stateless.holder_elsewhere(request, &outline, &sender)
                    {
                        let passed =
                            self.pass_on(&holder, Transport::StreamableHttp, &head, &body).await;
                        // Where the holder is gone, so is the call: that is said here.
                        if !matches!(passed, Err(Refusal::SessionUnknown)) {
                            return passed.map_err(|refusal| refuse(refusal, &request.id));
                        }
                    }
                    return self
                        .take_stateless(&head.headers, sender, request, outline, accepts)
                        .await;
                }
                Err(error) => return Ok(Answer::unreadable(&request.id, &error).into_json()),
            }
        } else if era::is_stateless(&head.headers) {
            return Ok(self.take_stateless_notice(&sender, &incoming).await?);
        }
        if let Incoming::Single(Message::Request(request)) = &incoming
            && request.method == "initialize"
        {
            // Whatever version or session such a request names in its headers is history.
            let session = self.sessions.begin(Transport::StreamableHttp, sender.clone());
            let session = session.map_err(|refusal| refuse(refusal, &request.id))?;
            return Ok(self.initialize(session, &sender, request, accepts).await);
        }
        if let Ok(id) = session_id(&head.headers)
            && let Some(holder) = self.holder_elsewhere(id)
        {
            let passed = self.pass_on(&holder, Transport::StreamableHttp, &head, &body).await;
            return passed.map_err(|refusal| Refused { refusal, id: request_id(&incoming) });
        }
        let find = || {
            require_served_version(&head.headers)?;
            self.find_session(&head.headers, caller(&head.extensions))
        };
        match incoming {
            Incoming::Single(Message::Request(request)) => {
                let session = find().map_err(|refusal| refuse(refusal, &request.id))?;
                require_scopes(&*self.service, &sender, [&request])
                    .map_err(|refusal| refuse(refusal, &request.id))?;
                self.answer(session, &sender, &request, accepts)
                    .await
                    .map_err(|refusal| refuse(refusal, &request.id))
            }
            Incoming::Single(Message::Notification(notification)) => {
                take_notice(&self.service, &find()?, &sender, &notification)?;
                Ok(StatusCode::ACCEPTED.into_response())
            }
            Incoming::Single(Message::Response(response)) => {
                take_answer(&*find()?, &response);
                Ok(StatusCode::ACCEPTED.into_response())
            }
            Incoming::Batch(messages) => {
                let session = find()?;
                let Some(answers) = batch(&self.service, &session, &sender, &messages)? else {
                    return Ok(StatusCode::ACCEPTED.into_response());
                };
                let exchange = EventStream::new(self.sessions.limits(), Retention::Replay);
                Ok(self.respond(session, answers, None, exchange, accepts).await?)
            }
        }
    }

    async fn initialize(
        self: &Arc<Self>,
        session: Arc<Session>,
        sender: &Caller,
        request: &McpRequest<'_>,
        accepts: Accepts,
    ) -> Response {
        let begun = Begun { endpoint: self, session: &session };
        let answer = Call::new(&self.service, &session, sender, request, None).run().await;
        if session.version().is_none() {
            return json(answer);
        }
        drop(begun);
        let id = HeaderValue::from_str(session.id());
        let mut response = if accepts.json || !accepts.event_stream {
            json(answer)
        } else {
            let exchange = EventStream::new(self.sessions.limits(), Retention::Replay);
            exchange.finish_with(answer);
            // A session that has just begun has room.
            let _ = session.answer_on(&exchange);
            self.stream(session, &exchange, None)
        };
        if let Ok(id) = id {
            response.headers_mut().insert(SESSION_ID, id);
        }
        response
    }

    async fn answer(
        self: &Arc<Self>,
        session: Arc<Session>,
        sender: &Caller,
        request: &McpRequest<'_>,
        accepts: Accepts,
    ) -> Result<Response, Refusal> {
        let exchange = EventStream::new(self.sessions.limits(), Retention::Replay);
        let telling = accepts.event_stream.then(|| Arc::clone(&exchange));
        let call = Call::new(&self.service, &session, sender, request, telling);
        let id = Some(request.id.clone());
        self.respond(session, call.run(), id, exchange, accepts).await
    }

    /// Answers with JSON where the client takes it and nothing is told before the answer, with a
    /// stream otherwise. A client that hangs up meanwhile cancels nothing.
    async fn respond(
        self: &Arc<Self>,
        session: Arc<Session>,
        work: impl Future<Output = Bytes> + Send + 'static,
        id: Option<RequestId>,
        exchange: Arc<EventStream>,
        accepts: Accepts,
    ) -> Result<Response, Refusal> {
        let must_stream = accepts.event_stream && !accepts.json;
        if must_stream && !session.answer_on(&exchange) {
            return Err(Refusal::TooManyStreams);
        }
        let work: Work = Box::pin(work);
        let mut answering = match LookedAt::look(work).await {
            Ok(answer) if !must_stream && exchange.is_silent() => return Ok(json(answer)),
            Ok(answer) => Answering::done(answer, &exchange),
            Err(work) => Answering::begin(&session, id, work, &exchange)
                .inspect_err(|_| exchange.finish())?,
        };
        if must_stream {
            return Ok(self.stream(session, &exchange, None));
        }
        let mut may_tell = accepts.event_stream;
        loop {
            match answering.first(may_tell).await {
                First::Answer(answer) => return Ok(json(answer)),
                First::Nothing => return Ok(StatusCode::ACCEPTED.into_response()),
                First::Telling if session.answer_on(&exchange) => {
                    return Ok(self.stream(session, &exchange, None));
                }
                // There is no room for one more stream: the answer comes alone.
                First::Telling => may_tell = false,
            }
        }
    }

    fn open_stream(self: &Arc<Self>, request: &Request) -> Result<Response, Refusal> {
        let headers = request.headers();
        refuse_stateless(headers)?;
        if !Accepts::of(headers).event_stream {
            return Err(Refusal::NotAnEventStream);
        }
        require_served_version(headers)?;
        let session = self.find_session(headers, caller(request.extensions()))?;
        if let Some((number, position)) =
            only(headers, &LAST_EVENT_ID, "Last-Event-ID")?.and_then(sse::parse_event_id)
            && let Some(cut) = session.stream(number)
        {
            return Ok(self.stream(session, &cut, Some(position)));
        }
        let stream = EventStream::new(self.sessions.limits(), Retention::Replay);
        if !session.listen_on(&stream) {
            return Err(Refusal::TooManyStreams);
        }
        Ok(self.stream(session, &stream, None))
    }

    fn stream(
        self: &Arc<Self>,
        session: Arc<Session>,
        stream: &Arc<EventStream>,
        behind: Option<u64>,
    ) -> Response {
        let primes = session.version().is_some_and(ProtocolVersion::has_priming_events);
        let opening = (primes && behind.is_none()).then(|| sse::priming(stream.number()));
        sse::respond(self, session, stream.read(behind), Framing::Numbered, opening)
    }

    fn end_session(&self, request: &Request) -> Result<Response, Refusal> {
        refuse_stateless(request.headers())?;
        require_served_version(request.headers())?;
        let session = self.find_session(request.headers(), caller(request.extensions()))?;
        self.sessions.end(&session);
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    fn find_session(
        &self,
        headers: &HeaderMap,
        caller: Option<&Arc<crate::principal::Principal>>,
    ) -> Result<Arc<Session>, Refusal> {
        let session = self.sessions.find(Transport::StreamableHttp, session_id(headers)?, caller);
        session.ok_or(Refusal::SessionUnknown)
    }

    /// Who has the session of a request without a message, if that is another instance.
    fn asked_elsewhere(&self, request: &Request) -> Option<InstanceId> {
        let headers = request.headers();
        if era::is_stateless(headers) {
            return None;
        }
        self.holder_elsewhere(session_id(headers).ok()?)
    }

    async fn pass_on_alone(
        &self,
        holder: &InstanceId,
        request: Request,
    ) -> Result<Response, Refusal> {
        let (head, _) = request.into_parts();
        self.pass_on(holder, Transport::StreamableHttp, &head, &[]).await
    }
}

/// A session that ends again unless its `initialize` succeeds.
struct Begun<'a> {
    endpoint: &'a Endpoint,
    session: &'a Session,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.session.version().is_none() {
            self.endpoint.sessions.end(self.session);
        }
    }
}

/// An answer being worked on by whoever waits for it, as long as somebody does; dropped, it goes on by
/// itself. No other task has to be woken for most answers that way.
struct Answering {
    exchange: Arc<EventStream>,
    /// None when the answer is there, or will never be.
    rest: Option<(Abortable<LookedAt<Work>>, Place)>,
    span: tracing::Span,
}

type Work = Pin<Box<dyn Future<Output = Bytes> + Send>>;

impl Answering {
    fn begin(
        session: &Arc<Session>,
        id: Option<RequestId>,
        work: LookedAt<Work>,
        exchange: &Arc<EventStream>,
    ) -> Result<Self, Refusal> {
        let (place, work) = session.place(id, work)?;
        let (exchange, span) = (Arc::clone(exchange), tracing::Span::current());
        Ok(Self { exchange, rest: Some((work, place)), span })
    }

    /// One whose answer comes behind what was told.
    fn done(answer: Bytes, exchange: &Arc<EventStream>) -> Self {
        exchange.finish_with(answer);
        Self { exchange: Arc::clone(exchange), rest: None, span: tracing::Span::none() }
    }

    /// Waits for the answer; where `may_tell` is set also for anything told before it.
    async fn first(&mut self, may_tell: bool) -> First {
        if let Some((work, _)) = &mut self.rest {
            let answer = tokio::select! {
                biased;
                first = self.exchange.first(may_tell) => return first,
                answer = work => answer,
            };
            self.rest = None;
            match answer {
                Ok(answer) if self.exchange.is_silent() => return First::Answer(answer),
                Ok(answer) => self.exchange.finish_with(answer),
                Err(Aborted) => self.exchange.finish(),
            }
        }
        self.exchange.first(may_tell).await
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Some((work, place)) = self.rest.take() else { return };
        let ending = Ending(Arc::clone(&self.exchange));
        let goes_on = async move {
            if let Ok(answer) = work.await {
                ending.0.finish_with(answer);
            }
            drop((ending, place));
        };
        // There is none when all ends.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(goes_on.instrument(self.span.clone()));
        }
    }
}

/// A stream that ends also when the work on its answer is dropped.
struct Ending(Arc<EventStream>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.finish();
    }
}

fn request_id(incoming: &Incoming<'_>) -> Option<RequestId> {
    match incoming {
        Incoming::Single(Message::Request(request)) => Some(request.id.clone()),
        Incoming::Single(Message::Notification(_) | Message::Response(_)) | Incoming::Batch(_) => {
            None
        }
    }
}

fn session_id(headers: &HeaderMap) -> Result<&str, Refusal> {
    only(headers, &SESSION_ID, "Mcp-Session-Id")?.ok_or(Refusal::SessionMissing)
}

fn refuse(refusal: Refusal, id: &RequestId) -> Refused {
    Refused { refusal, id: Some(id.clone()) }
}

/// 2026-07-28 has POST alone.
fn refuse_stateless(headers: &HeaderMap) -> Result<(), Refusal> {
    if era::is_stateless(headers) { Err(Refusal::PostOnly) } else { Ok(()) }
}

/// Refuses a version nobody serves. The agreed one is known from the session, so a client that
/// names another served one, or none, is understood all the same.
fn require_served_version(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(PROTOCOL_VERSION) else { return Ok(()) };
    let requested = only(headers, &PROTOCOL_VERSION, "MCP-Protocol-Version")?;
    match requested.and_then(ProtocolVersion::from_text) {
        Some(version) if !version.is_stateless() => Ok(()),
        _ => Err(Refusal::VersionUnserved {
            requested: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        }),
    }
}

fn json(answer: Bytes) -> Response {
    let mut response = Response::new(Body::from(answer));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
