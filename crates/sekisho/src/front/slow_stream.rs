//! `GET /healthz/stream`: a few events, slowly, so that whoever asks through the reverse proxy sees
//! whether streams come through as they are sent.
//!
//! The first event repeats the `Host` that arrived, and says whether `X-Forwarded-For` was believed.
//! It tells a caller nothing but what became of its own request, so nobody is asked who they are; what
//! it costs is bounded: [`SLOW_STREAMS_MAX`] at once, each over after its last event.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use http::{StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::client_address::Forwarding;

/// Where it is.
pub const SLOW_STREAM_PATH: &str = "/healthz/stream";
/// Events in one stream.
pub const SLOW_STREAM_EVENTS: u8 = 4;
/// Between two events.
pub const SLOW_STREAM_PAUSE: Duration = Duration::from_millis(500);
/// Before the last event, for `?patient`: longer than any silence of an MCP stream.
pub const SLOW_STREAM_LONG_PAUSE: Duration = Duration::from_secs(20);
/// Streams at one moment; others are told to come again.
pub const SLOW_STREAMS_MAX: usize = 4;

/// When to come again, in seconds.
const RETRY_AFTER_SECONDS: &str = "5";
/// Longest part of a `Host` that is repeated, in bytes.
const HOST_BYTES_MAX: usize = 256;

/// The route; its streams end with `stopping`.
pub(super) fn routes(stopping: CancellationToken) -> Router<Arc<super::Readiness>> {
    let streams = Streams { room: Arc::new(Semaphore::new(SLOW_STREAMS_MAX)), stopping };
    Router::new().route(SLOW_STREAM_PATH, get(stream).with_state(streams))
}

#[derive(Debug, Clone)]
struct Streams {
    room: Arc<Semaphore>,
    stopping: CancellationToken,
}

/// A stream on its way.
struct Open {
    first: Option<Bytes>,
    sent: u8,
    last_pause: Duration,
    stopping: CancellationToken,
    _room: OwnedSemaphorePermit,
}

async fn stream(
    State(streams): State<Streams>,
    forwarding: Option<Extension<Forwarding>>,
    request: Request,
) -> Response {
    let Ok(room) = Arc::clone(&streams.room).try_acquire_owned() else {
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, RETRY_AFTER_SECONDS)])
            .into_response();
    };
    let forwarding = forwarding.map_or(Forwarding::Absent, |Extension(forwarding)| forwarding);
    let last_pause = match request.uri().query() {
        Some("patient") => SLOW_STREAM_LONG_PAUSE,
        Some(_) | None => SLOW_STREAM_PAUSE,
    };
    let open = Open {
        first: Some(first_event(&request, forwarding)),
        sent: 0,
        last_pause,
        stopping: streams.stopping,
        _room: room,
    };
    let events = futures::stream::unfold(open, async |mut open| {
        let event = open.next().await?;
        Some((Ok::<_, Infallible>(event), open))
    });
    // The head of MCP's own streams, which proxies read it by.
    let head = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (head, Body::from_stream(events)).into_response()
}

impl Open {
    async fn next(&mut self) -> Option<Bytes> {
        self.sent += 1;
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let pause = match self.sent {
            SLOW_STREAM_EVENTS => self.last_pause,
            sent if sent > SLOW_STREAM_EVENTS => return None,
            _ => SLOW_STREAM_PAUSE,
        };
        tokio::select! {
            () = self.stopping.cancelled() => None,
            () = tokio::time::sleep(pause) => Some(event(&serde_json::json!({ "event": self.sent }))),
        }
    }
}

fn first_event(request: &Request, forwarding: Forwarding) -> Bytes {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    let host = host.unwrap_or_default();
    let forwarded_for = match forwarding {
        Forwarding::Absent => "absent",
        Forwarding::Believed => "believed",
        Forwarding::Ignored => "ignored",
    };
    event(&serde_json::json!({
        "event": 1,
        "host": host.get(..host.floor_char_boundary(HOST_BYTES_MAX)),
        "forwarded_for": forwarded_for,
    }))
}

fn event(data: &serde_json::Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}
