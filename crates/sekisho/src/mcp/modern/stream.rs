//! From a request over HTTP to its answer: JSON where nothing is told before it, a stream
//! otherwise. The work is part of the answer: a client that hangs up ends it.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sekisho_protocol::mcp::{
    Incoming, McpError, Message, ParamsOutline, ProtocolVersion, Request, RequestId, write_error,
};
use tokio::time::Interval;
use tokio_util::sync::CancellationToken;

use super::Answer;
use super::in_flight::Place;
use super::listen::Listening;
use crate::mcp::Endpoint;
use crate::mcp::legacy::{Caller, EventStream, Next, Reader, Retention, require_scopes};
use crate::mcp::refusal::{Refusal, Refused};
use crate::mcp::request::Accepts;
use crate::mcp::service::Context;
use crate::mcp::sse;
use crate::measure::{Held, MCP_STREAMS};

type Work = Pin<Box<dyn Future<Output = Answer> + Send>>;

impl Endpoint {
    /// Takes a request that speaks 2026-07-28.
    pub(in crate::mcp) async fn take_stateless(
        self: &Arc<Self>,
        headers: &HeaderMap,
        sender: Caller,
        request: &Request<'_>,
        outline: ParamsOutline<'_>,
        accepts: Accepts,
    ) -> Result<Response, Refused> {
        let stateless = &self.stateless;
        let exchange = EventStream::new(&stateless.limits, Retention::None);
        let telling = accepts.event_stream.then(|| Arc::clone(&exchange));
        let checked = stateless.check(Some(headers), sender.clone(), request, outline, telling);
        let (checked, repeated) = match checked {
            Ok(checked) => checked,
            Err(refused) => return Ok(refused.into_json()),
        };
        require_scopes(&*self.service, &sender, [request])
            .map_err(|refusal| Refused { refusal, id: Some(request.id.clone()) })?;
        let place = stateless.in_flight.enter(&sender).map_err(|_| Refused {
            refusal: Refusal::TooManyCalls,
            id: Some(request.id.clone()),
        })?;
        if let Some(repeated) = repeated {
            let service = &*self.service;
            let checked = repeated.check_mirrored(headers, service, &checked.context).await;
            if let Err(error) = checked {
                return Ok(Answer::error(&request.id, &error, StatusCode::OK).into_json());
            }
        }
        if request.method == "subscriptions/listen" {
            if !accepts.event_stream {
                return Err(Refused {
                    refusal: Refusal::NotAnEventStream,
                    id: Some(request.id.clone()),
                });
            }
            return Ok(match stateless.listen(&checked, &exchange).await {
                Ok(listening) => {
                    self.respond_with(exchange, sender, place, Rest::Listening(listening))
                }
                Err(error) => Answer::error(&request.id, &error, StatusCode::OK).into_json(),
            });
        }
        let endpoint = Arc::clone(self);
        let mut work: Work = Box::pin(async move { endpoint.stateless.answer(checked).await });
        let only_stream = accepts.event_stream && !accepts.json;
        if !only_stream {
            tokio::select! {
                biased;
                answer = &mut work => {
                    if exchange.is_silent() {
                        return Ok(answer.into_json());
                    }
                    exchange.finish_with(answer.message);
                    return Ok(self.respond_with(exchange, sender, place, Rest::Nothing));
                }
                // Nothing is told to who takes no stream.
                () = exchange.told() => {}
            }
        }
        Ok(self.respond_with(exchange, sender, place, Rest::Working(work)))
    }

    /// Takes what asks for no answer. 2026-07-28 has neither arrays nor answers of clients.
    pub(in crate::mcp) async fn take_stateless_notice(
        &self,
        sender: &Caller,
        incoming: &Incoming<'_>,
    ) -> Result<Response, Refusal> {
        let Incoming::Single(Message::Notification(notification)) = incoming else {
            return Err(Refusal::NoMessageOfThisEra);
        };
        // Whoever cancels, hangs up; there is no handshake to be through with.
        if !matches!(
            notification.method.as_ref(),
            "notifications/cancelled" | "notifications/initialized"
        ) {
            let _place =
                self.stateless.in_flight.enter(sender).map_err(|_| Refusal::TooManyCalls)?;
            let context = Context::new(sender.clone(), ProtocolVersion::V2026_07_28);
            let notice = self.service.notice(&notification.method, notification.params, &context);
            // A panic concerns nobody but the log, where the panic hook has put it.
            let _ = AssertUnwindSafe(notice).catch_unwind().await;
        }
        let mut response = Response::default();
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
    }

    fn respond_with(
        self: &Arc<Self>,
        exchange: Arc<EventStream>,
        sender: Caller,
        place: Option<Place>,
        rest: Rest,
    ) -> Response {
        let open = Open {
            check: sse::every(self.settings.liveness_poll),
            keep_alive: sse::every(self.settings.keep_alive),
            shutdown: self.shutdown.clone(),
            endpoint: Arc::clone(self),
            reader: exchange.read(None),
            exchange,
            sender,
            rest,
            _place: place,
            _counted: Held::of(MCP_STREAMS.gauge(["stateless".into()])),
        };
        let chunks = futures::stream::unfold(open, |mut open| async move {
            let chunk = open.next().await?;
            Some((Ok::<_, Infallible>(chunk), open))
        });
        sse::event_stream(Body::from_stream(chunks))
    }
}

/// What is still to come on a stream.
enum Rest {
    /// What is queued, no more.
    Nothing,
    /// An answer.
    Working(Work),
    /// Changes, until the client goes or may not listen any more.
    Listening(Listening),
}

/// A stream being written to its client.
struct Open {
    endpoint: Arc<Endpoint>,
    exchange: Arc<EventStream>,
    reader: Reader,
    sender: Caller,
    rest: Rest,
    shutdown: CancellationToken,
    check: Interval,
    keep_alive: Interval,
    _place: Option<Place>,
    _counted: Held,
}

impl Open {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // A call that is being worked on gets its answer, if nobody loses patience.
            let only_listens = matches!(self.rest, Rest::Listening(_));
            let work = async {
                match &mut self.rest {
                    Rest::Working(work) => work.await,
                    Rest::Nothing | Rest::Listening(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.shutdown.cancelled(), if only_listens => {
                    self.end();
                }
                // Before what waits, of which there may always be more.
                _ = self.check.tick() => {
                    if !self.endpoint.may_listen(self.sender.as_ref()).await {
                        self.end();
                    }
                }
                next = self.reader.next() => {
                    // Nobody comes back to a stream of this era, so none is sent away.
                    let Some(Next::Event(event)) = next else { return None };
                    self.keep_alive.reset();
                    return Some(sse::message(None, &event.data));
                }
                answer = work => {
                    self.exchange.finish_with(answer.message);
                    self.rest = Rest::Nothing;
                }
                _ = self.keep_alive.tick() => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }

    /// Ends it before its time: a listener is told so, a caller gets no answer any more.
    fn end(&mut self) {
        match std::mem::replace(&mut self.rest, Rest::Nothing) {
            Rest::Listening(listening) => self.exchange.finish_with(listening.last_words()),
            Rest::Working(_) | Rest::Nothing => self.exchange.finish(),
        }
    }
}

impl Answer {
    pub(in crate::mcp) fn into_json(self) -> Response {
        let mut response = Response::new(Body::from(self.message));
        *response.status_mut() = self.status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }

    /// The refusal of a request whose `_meta` could not be read.
    pub(in crate::mcp) fn unreadable(id: &RequestId, error: &McpError) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: Bytes::from(write_error(Some(id), error)) }
    }
}
