//! What an answer left unread of its request's body, read here so that the connection can go on.
//!
//! Whoever refuses a request does not look at its body, which may still be under way. hyper then ends
//! the connection behind the answer and does not say so (RFC 9112 §9.6), and a client that sends its next
//! request there is disconnected without a word. So we wait a moment for the rest, and where that is too
//! long or too much, the answer says that it is the last one.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::Response;
use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderValue, Request, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

/// Bytes of a body that are read only to be thrown away.
pub const UNREAD_BYTES_MAX: u64 = 256 * 1024;
/// How long an answer waits for them.
pub const UNREAD_WAIT: Duration = Duration::from_secs(1);

/// A body that is given back to its [`Unread`] by whoever drops it before its end.
pub(super) struct Lent<B> {
    /// There until its end.
    body: Option<B>,
    back: Option<Back<B>>,
}

type Back<B> = Arc<Mutex<Option<B>>>;

/// The place where a [`Lent`] body comes back to.
pub(super) struct Unread<B> {
    back: Back<B>,
    may_be_read: bool,
}

impl<B: Body> Unread<B> {
    /// Lends the body of `request`. A connection of HTTP/2 goes on in any case and has none here.
    pub(super) fn lend(request: Request<B>) -> (Request<Lent<B>>, Option<Self>) {
        let may_be_unread = request.version() < Version::HTTP_2 && !request.body().is_end_stream();
        let unread = may_be_unread.then(|| Self {
            back: Arc::default(),
            // Who asks first whether it is welcome is answered, and sends nothing (RFC 9110 §10.1.1).
            may_be_read: !request.headers().contains_key(header::EXPECT),
        });
        let back = unread.as_ref().map(|unread| Arc::clone(&unread.back));
        (request.map(|body| Lent { body: Some(body), back }), unread)
    }
}

impl<B> Unread<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    /// Reads what came back, or makes `answer` the last one of its connection.
    pub(super) async fn read_before(self, answer: &mut Response) {
        let rest = self.back.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(rest) = rest else { return };
        if is_last(answer.headers()) {
            return;
        }
        let is_read = self.may_be_read
            && rest.size_hint().lower() <= UNREAD_BYTES_MAX
            && timeout(UNREAD_WAIT, read(rest)).await.unwrap_or(false);
        if !is_read {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

fn is_last(headers: &HeaderMap) -> bool {
    headers.get(header::CONNECTION).is_some_and(|said| said.as_bytes() == b"close")
}

/// Whether its end was reached.
async fn read<B>(mut body: B) -> bool
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut left = UNREAD_BYTES_MAX;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
        match left.checked_sub(bytes) {
            Some(fewer) => left = fewer,
            None => return false,
        }
    }
    true
}

impl<B> Drop for Lent<B> {
    fn drop(&mut self) {
        if let Some(back) = &self.back {
            *back.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
        }
    }
}

impl<B: Body + Unpin> Body for Lent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        // Nothing is left that could come back.
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
