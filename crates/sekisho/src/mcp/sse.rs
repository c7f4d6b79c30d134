//! A stream of messages as `text/event-stream`, open for as long as its client may listen.
//!
//! It ends with its last message, its session, the server, or the caller's rights: the newest
//! token seen in the session is asked about twice a second.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, header};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Endpoint;
use super::legacy::{Next, Reader, Session};
use crate::measure::{Held, MCP_STREAMS};

/// How messages look on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// With an id that names stream and place, to come back to.
    Numbered,
    /// Without, as HTTP+SSE has it. Its session is its stream and ends with it.
    Plain,
}

impl Framing {
    /// Which transport looks so.
    const fn transport(self) -> &'static str {
        match self {
            Self::Numbered => "streamable_http",
            Self::Plain => "http_sse",
        }
    }
}

/// Answers with everything `reader` gets, after `opening`.
pub(super) fn respond(
    endpoint: &Arc<Endpoint>,
    session: Arc<Session>,
    reader: Reader,
    framing: Framing,
    opening: Option<Bytes>,
) -> Response {
    let settings = &endpoint.settings;
    let open = Open {
        check: every(settings.liveness_poll),
        keep_alive: every(settings.keep_alive),
        endpoint: Arc::clone(endpoint),
        session,
        reader,
        framing,
        opening,
        is_over: false,
        _counted: Held::of(MCP_STREAMS.gauge([framing.transport().into()])),
    };
    let chunks = futures::stream::unfold(open, |mut open| async move {
        let chunk = open.next().await?;
        Some((Ok::<_, Infallible>(chunk), open))
    });
    event_stream(Body::from_stream(chunks))
}

/// The head of every stream.
pub(super) fn event_stream(chunks: Body) -> Response {
    let mut response = Response::new(chunks);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

pub(super) fn every(period: Duration) -> Interval {
    // An interval of nothing would panic.
    let period = period.max(Duration::from_millis(1));
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// A stream being written to its client.
#[derive(Debug)]
struct Open {
    endpoint: Arc<Endpoint>,
    session: Arc<Session>,
    reader: Reader,
    framing: Framing,
    opening: Option<Bytes>,
    is_over: bool,
    check: Interval,
    keep_alive: Interval,
    _counted: Held,
}

impl Open {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        if self.is_over {
            return None;
        }
        loop {
            tokio::select! {
                biased;
                () = self.session.ended().cancelled() => return None,
                _ = self.check.tick() => {
                    if !self.may_go_on().await {
                        return None;
                    }
                }
                next = self.reader.next() => {
                    let event = match next? {
                        Next::Event(event) => event,
                        Next::HangUp { come_back_after } => {
                            self.is_over = true;
                            return Some(retry(come_back_after));
                        }
                    };
                    self.keep_alive.reset();
                    let stream = self.reader.stream().number();
                    let place = match self.framing {
                        Framing::Numbered => Some((stream, event.position)),
                        Framing::Plain => None,
                    };
                    return Some(message(place, &event.data));
                }
                _ = self.keep_alive.tick() => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }

    async fn may_go_on(&self) -> bool {
        let now = self.endpoint.clock.now();
        if !self.endpoint.may_listen(self.session.principal().as_ref()).await {
            return false;
        }
        self.session.touch(now);
        true
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.framing == Framing::Plain {
            self.endpoint.sessions.end(&self.session);
        }
    }
}

/// The event that opens a stream a client can come back to.
pub(super) fn priming(stream: u64) -> Bytes {
    Bytes::from(format!("id: {stream}-0\ndata:\n\n"))
}

/// What tells a client when to come back, before its stream is cut.
fn retry(after: Duration) -> Bytes {
    Bytes::from(format!("retry: {}\n\n", after.as_millis()))
}

/// The event that tells an HTTP+SSE client where to post.
pub(super) fn endpoint(uri: &str) -> Bytes {
    Bytes::from(format!("event: endpoint\ndata: {uri}\n\n"))
}

/// Reads the id of an event: its stream and its place there.
pub(super) fn parse_event_id(text: &str) -> Option<(u64, u64)> {
    let (stream, position) = text.split_once('-')?;
    Some((stream.parse().ok()?, position.parse().ok()?))
}

pub(super) fn message(place: Option<(u64, u64)>, json: &Bytes) -> Bytes {
    let mut out = Vec::with_capacity(json.len() + 48);
    if let Some((stream, position)) = place {
        out.extend_from_slice(format!("id: {stream}-{position}\n").as_bytes());
    }
    out.extend_from_slice(b"event: message\ndata: ");
    let start = out.len();
    out.extend_from_slice(json);
    keep_on_one_line(out.get_mut(start..).unwrap_or_default());
    out.extend_from_slice(b"\n\n");
    Bytes::from(out)
}

/// Line ends can stand between the tokens of a JSON text only, where a space means the same.
pub(crate) fn keep_on_one_line(json: &mut [u8]) {
    for byte in json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}
