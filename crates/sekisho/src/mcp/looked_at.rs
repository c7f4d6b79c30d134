//! Work that most often is done at the first look, and else is put among what can be cancelled.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Work that is not done at the first look. Whoever looks again at once, from the same task, sees nothing new and
/// need not look: the task is woken when something happens.
pub(super) struct LookedAt<F> {
    work: F,
    by: Option<Waker>,
}

impl<F: Future + Unpin> LookedAt<F> {
    /// Looks at it once.
    pub(super) async fn look(mut work: F) -> Result<F::Output, Self> {
        let looked = poll_fn(|context| {
            Poll::Ready(match Pin::new(&mut work).poll(context) {
                Poll::Ready(outcome) => Ok(outcome),
                Poll::Pending => Err(context.waker().clone()),
            })
        });
        looked.await.map_err(|by| Self { work, by: Some(by) })
    }
}

impl<F: Future + Unpin> Future for LookedAt<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.by.take().is_some_and(|by| by.will_wake(context.waker())) {
            return Poll::Pending;
        }
        Pin::new(&mut self.work).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn work_that_was_looked_at_is_looked_at_again_by_other_tasks_and_later() {
        let (first, second) = (Arc::new(Task), Arc::new(Task));
        for (again, looks, reason) in [(&first, 1, "the same task"), (&second, 2, "another one")] {
            let count = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&count);
            let work = poll_fn(move |_: &mut Context<'_>| {
                counted.fetch_add(1, Ordering::Relaxed);
                Poll::<()>::Pending
            });
            let waker = Waker::from(Arc::clone(&first));
            let looked = pin!(LookedAt::look(work)).poll(&mut Context::from_waker(&waker));
            let Poll::Ready(Err(mut work)) = looked else { unreachable!("it is not done") };
            for looks in looks..looks + 2 {
                let waker = Waker::from(Arc::clone(again));
                assert!(Pin::new(&mut work).poll(&mut Context::from_waker(&waker)).is_pending());
                assert_eq!(count.load(Ordering::Relaxed), looks, "{reason}");
            }
        }
    }
}
