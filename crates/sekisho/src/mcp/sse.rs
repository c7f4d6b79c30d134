//! A stream of messages as `text/event-stream`, open for as long as its client may listen.
//!
//! It ends with its last message, its session, or the caller's rights: the newest token seen in the
//! session is asked about twice a second. When the server stops, what is being worked on is answered
//! first; who only listens is sent away at once, with word when to come back where the revision has it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, header};
use sekisho_protocol::mcp::ProtocolVersion;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Endpoint;
use super::legacy::{Next, Reader, Session};
use crate::measure::{Held, MCP_STREAMS};

/// When a client is to come back whose stream ends because the server stops: whoever takes its place is
/// there by then, or another instance.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);
/// Longest that a stream waits for answers on it when the server stops. Whoever stops it mostly has less
/// patience.
const SETTLE_WAIT: Duration = Duration::from_hours(1);

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
        is_leaving: false,
        settling: None,
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
struct Open {
    endpoint: Arc<Endpoint>,
    session: Arc<Session>,
    reader: Reader,
    framing: Framing,
    opening: Option<Bytes>,
    is_over: bool,
    is_leaving: bool,
    /// Completes when nothing is worked on any more, once the server stops.
    settling: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
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
            let settled = async {
                match &mut self.settling {
                    Some(settling) => settling.await,
                    None => std::future::pending().await,
                }
            };
            let stops = self.endpoint.shutdown.cancelled();
            tokio::select! {
                biased;
                () = self.session.ended().cancelled() => return None,
                () = stops, if !self.is_leaving => match self.leave() {
                    Leaving::Now(last) => {
                        self.is_over = true;
                        return last;
                    }
                    Leaving::WhenSettled => {}
                },
                () = settled => {
                    self.settling = None;
                    self.reader.stream().finish();
                }
                _ = self.check.tick() => {
                    if !may_go_on(&self.endpoint, &self.session).await {
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

    /// How this stream ends now that the server stops.
    fn leave(&mut self) -> Leaving {
        self.is_leaving = true;
        match self.framing {
            // It ends with its answer, as it would.
            Framing::Numbered if !self.session.listens_on(self.reader.stream()) => {}
            Framing::Numbered => {
                let version = self.session.version();
                let may_hear = version.is_some_and(ProtocolVersion::has_priming_events);
                return Leaving::Now(may_hear.then(|| retry(COME_BACK_AFTER)));
            }
            Framing::Plain => {
                let session = Arc::clone(&self.session);
                self.settling = Some(Box::pin(async move { session.settle(SETTLE_WAIT).await }));
            }
        }
        Leaving::WhenSettled
    }
}

async fn may_go_on(endpoint: &Endpoint, session: &Session) -> bool {
    let now = endpoint.clock.now();
    if !endpoint.may_listen(session.principal().as_ref()).await {
        return false;
    }
    session.touch(now);
    true
}

/// When a stream ends whose server stops.
enum Leaving {
    /// At once, with these last words.
    Now(Option<Bytes>),
    /// When it has what is being worked on.
    WhenSettled,
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
