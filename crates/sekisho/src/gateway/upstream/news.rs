//! What one call is told before its answer, on its way to whoever waits for that: a bounded queue with one
//! reader. Nearly every call is told nothing, and then it takes next to nothing; `tokio`'s queue sets
//! aside room for many messages at once, apart from what other processors write.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::connection::Event;

/// What one call is told before it looks; more is dropped, or refused if it is a question.
const EVENTS_MAX: usize = 64;

#[derive(Debug, Default)]
struct News {
    waiting: VecDeque<Event>,
    waker: Option<Waker>,
    /// Nothing more comes.
    is_over: bool,
    /// Nobody reads.
    is_unheard: bool,
}

/// Where a call is told something. Dropped, nothing more comes.
#[derive(Debug)]
pub(super) struct Teller(Arc<Mutex<News>>);

/// Where it hears of it.
#[derive(Debug)]
pub(super) struct Hearer(Arc<Mutex<News>>);

/// A queue for one call.
pub(super) fn news() -> (Teller, Hearer) {
    let news = Arc::default();
    (Teller(Arc::clone(&news)), Hearer(news))
}

impl Teller {
    /// Tells it if it listens and has room; else `false`.
    pub(super) fn tell(&self, event: Event) -> bool {
        let mut news = lock(&self.0);
        if news.is_unheard || news.waiting.len() >= EVENTS_MAX {
            return false;
        }
        news.waiting.push_back(event);
        let waker = news.waker.take();
        drop(news);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let mut news = lock(&self.0);
        news.is_over = true;
        let waker = news.waker.take();
        drop(news);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Hearer {
    /// The next event; nothing when no more come.
    pub(super) async fn recv(&mut self) -> Option<Event> {
        poll_fn(|context| {
            let mut news = lock(&self.0);
            if let Some(event) = news.waiting.pop_front() {
                return Poll::Ready(Some(event));
            }
            if news.is_over {
                return Poll::Ready(None);
            }
            news.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Wants to hear nothing.
    pub(super) fn close(&mut self) {
        lock(&self.0).is_unheard = true;
    }
}

impl Drop for Hearer {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock(news: &Mutex<News>) -> MutexGuard<'_, News> {
    news.lock().unwrap_or_else(PoisonError::into_inner)
}
