//! Answers over HTTP/2 that their client does not take (RFC 9113 §5.2). It may hold each of them up for ever
//! by a window of no or few bytes, while the connection itself goes on: what is written to the socket says
//! nothing of that, so it is looked at here.

use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

/// The most bytes of an answer that are handed over together: who takes these in time is slow, not gone.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// What waits on one connection for its client; nothing ever, over HTTP/1. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Untaken(Arc<OnceLock<Mutex<Waiting>>>);

#[derive(Default)]
struct Waiting {
    /// The number of each answer with since when.
    since: BTreeSet<(Instant, u64)>,
    last: u64,
}

impl Untaken {
    /// Since when the client has taken nothing of an answer that is there for it; the longest of them.
    pub(crate) fn since(&self) -> Option<Instant> {
        let waiting = lock(self.0.get()?);
        waiting.since.first().map(|(since, _)| *since)
    }

    /// The same answer, of which is known from now on whether it is taken.
    pub(crate) fn watch(&self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let number = {
            let mut waiting = self.waiting();
            waiting.last += 1;
            waiting.last
        };
        let (rest, untaken) = (Bytes::new(), self.clone());
        let mut watched = Watched { body, rest, number, since: None, untaken };
        watched.wait();
        Body::new(watched)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(self.0.get_or_init(Mutex::default))
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Untaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Untaken").field("since", &self.since()).finish()
    }
}

/// An answer that is asked for its next piece when the one before is taken. Its last byte comes by itself: as
/// soon as that is asked for, all else has left.
struct Watched {
    body: Body,
    /// What is to be handed over before more is asked for.
    rest: Bytes,
    number: u64,
    since: Option<Instant>,
    untaken: Untaken,
}

impl Watched {
    fn wait(&mut self) {
        let now = Instant::now();
        self.untaken.waiting().since.insert((now, self.number));
        self.since = Some(now);
    }

    fn is_taken(&mut self) {
        if let Some(since) = self.since.take() {
            self.untaken.waiting().since.remove(&(since, self.number));
        }
    }

    /// The first piece of what is left.
    fn piece(&mut self) -> Bytes {
        let all = self.rest.len();
        let is_last = all > 1 && self.body.is_end_stream();
        self.rest.split_to(all.min(PIECE_BYTES_MAX).min(all - usize::from(is_last)))
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_taken();
        if self.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)?) else {
                return Poll::Ready(None);
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = self.piece();
        self.wait();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, hint) = (self.rest.len() as u64, self.body.size_hint());
        let mut all = SizeHint::new();
        all.set_lower(hint.lower().saturating_add(rest));
        if let Some(upper) = hint.upper() {
            all.set_upper(upper.saturating_add(rest));
        }
        all
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.is_taken();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::time::Duration;

    use http_body_util::BodyExt as _;
    use tokio::time::advance;

    use super::*;

    /// The pieces of an answer, and since when it was untaken before each.
    async fn taken(untaken: &Untaken, mut body: Body) -> Vec<usize> {
        let mut pieces = Vec::new();
        loop {
            assert_eq!(untaken.since().unwrap().elapsed(), Duration::ZERO, "{pieces:?}");
            advance(Duration::from_secs(7)).await;
            let Some(piece) = body.frame().await else { break };
            pieces.push(piece.unwrap().into_data().unwrap().len());
            if body.is_end_stream() {
                break;
            }
        }
        pieces
    }

    #[tokio::test(start_paused = true)]
    async fn each_piece_that_is_taken_is_a_sign_of_life_and_the_last_byte_comes_by_itself() {
        let piece = PIECE_BYTES_MAX;
        let rows = [
            (1, vec![1], "there is but the last one"),
            (100, vec![99, 1], "a short answer"),
            (piece, vec![piece - 1, 1], "a whole piece"),
            (piece + 1, vec![piece, 1], "and its last byte"),
            (2 * piece + 9, vec![piece, piece, 8, 1], "a long one"),
        ];
        for (length, expected, reason) in rows {
            let untaken = Untaken::default();
            let body = untaken.watch(Body::from(vec![b'x'; length]));
            assert_eq!(body.size_hint().exact(), Some(length as u64), "{reason}");
            assert_eq!(taken(&untaken, body).await, expected, "{reason}");
            assert_eq!(untaken.since(), None, "{reason}: gone with it");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_has_nothing_to_say_is_not_waited_for() {
        let untaken = Untaken::default();
        let (said, heard) = tokio::sync::mpsc::channel::<Bytes>(1);
        let pieces = futures::stream::unfold(heard, |mut heard| async {
            Some((Ok::<_, std::convert::Infallible>(heard.recv().await?), heard))
        });
        let mut body = untaken.watch(Body::from_stream(pieces));
        assert!(futures::poll!(body.frame()).is_pending());
        assert_eq!(untaken.since(), None, "the client took all there is");
        said.send(Bytes::from_static(b"data:\n\n")).await.unwrap();
        body.frame().await.unwrap().unwrap();
        advance(Duration::from_secs(9)).await;
        assert_eq!(untaken.since().unwrap().elapsed(), Duration::from_secs(9));
        let other = untaken.watch(Body::from("x"));
        drop(body);
        assert_eq!(untaken.since().unwrap().elapsed(), Duration::ZERO, "the other one's");
        drop(other);
        assert_eq!(untaken.since(), None);
    }

    #[test]
    fn an_answer_without_a_body_is_left_as_it_is() {
        let untaken = Untaken::default();
        assert!(untaken.watch(Body::empty()).is_end_stream());
        assert_eq!(untaken.since(), None);
    }
}
