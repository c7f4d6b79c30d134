//! A request body has to be complete within [`REQUEST_BODY_DEADLINE`], or the request fails.
//!
//! Servers read the whole body before they answer, so a body sent byte by byte would hold its
//! place for as long as its sender likes. The answer, which may be a stream, is not limited here.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// How long a request body may take from its first wait to its last byte.
pub const REQUEST_BODY_DEADLINE: Duration = Duration::from_secs(30);

/// A body that fails once its deadline has passed. The timer starts with the first wait: most
/// bodies arrive together with their head and never need one.
pub(super) struct BodyDeadline<B> {
    body: B,
    deadline: Option<Pin<Box<Sleep>>>,
}

/// The body was not complete in time.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the request body was not complete within {} s", REQUEST_BODY_DEADLINE.as_secs())]
pub(super) struct TooSlow;

impl<B> BodyDeadline<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, deadline: None }
    }
}

impl<B> Body for BodyDeadline<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(REQUEST_BODY_DEADLINE)));
        deadline.as_mut().poll(context).map(|()| Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, Full, StreamBody};

    #[tokio::test]
    async fn a_body_that_is_there_is_read() {
        let body = BodyDeadline::new(Full::new(Bytes::from_static(b"all of it")));
        let read = body.collect().await.map(http_body_util::Collected::to_bytes);
        assert_eq!(read.ok(), Some(Bytes::from_static(b"all of it")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_fails_at_the_deadline() {
        let stalled = futures::stream::pending::<Result<Frame<Bytes>, BoxError>>();
        let started = tokio::time::Instant::now();
        let read = BodyDeadline::new(StreamBody::new(stalled)).collect().await;
        assert!(read.is_err_and(|error| error.is::<TooSlow>()));
        assert!(started.elapsed() >= REQUEST_BODY_DEADLINE);
    }
}
