//! A request is looked at only when something has happened to it. The task of a connection is woken for more
//! than that: by the connection's own reading, and by parts of the request's work that wake each other while
//! they are looked at.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;
use futures::task::AtomicWaker;

/// Nothing has happened since it was looked at.
const QUIET: u8 = 0;
/// Something has.
const RUNG: u8 = 1;
/// Somebody looks at it, who need not be woken.
const LOOKED_AT: u8 = 2;

/// Work behind a bell, whose outcome is a `T`.
pub struct Belled<T> {
    work: BoxFuture<'static, T>,
    bell: Arc<Bell>,
    waker: Waker,
}

#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

impl<T> Belled<T> {
    pub(super) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        let bell = Arc::new(Bell { state: AtomicU8::new(RUNG), task: AtomicWaker::new() });
        Self { work: Box::pin(work), waker: Arc::clone(&bell).into(), bell }
    }
}

impl<T> Future for Belled<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Self { work, bell, waker } = &mut *self;
        bell.task.register(context.waker());
        if !bell.turns(RUNG, LOOKED_AT) {
            return Poll::Pending;
        }
        let outcome = work.as_mut().poll(&mut Context::from_waker(waker));
        if outcome.is_ready() {
            bell.state.store(QUIET, Ordering::Release);
        } else if !bell.turns(LOOKED_AT, QUIET) {
            bell.state.store(RUNG, Ordering::Release);
            context.waker().wake_by_ref();
        }
        outcome
    }
}

impl Bell {
    fn turns(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_or(RUNG, Ordering::AcqRel) == QUIET {
            self.task.wake();
        }
    }
}

impl<T> fmt::Debug for Belled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Belled").field("bell", &self.bell).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures::future::poll_fn;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often the task was woken since it was asked last.
    fn woken(task: &Task) -> usize {
        task.0.swap(0, Ordering::Relaxed)
    }

    fn look<T>(work: &mut Belled<T>, task: &Arc<Task>) -> Poll<T> {
        let waker = Waker::from(Arc::clone(task));
        Pin::new(work).poll(&mut Context::from_waker(&waker))
    }

    /// Work that rings so often in each look, and is done in the last.
    fn ringing(times: &'static [usize]) -> Belled<Waker> {
        let mut looks = times.iter();
        Belled::new(poll_fn(move |context: &mut Context<'_>| {
            let times = looks.next().copied().unwrap_or_default();
            (0..times).for_each(|_| context.waker().wake_by_ref());
            let is_last = looks.as_slice().is_empty();
            if is_last { Poll::Ready(context.waker().clone()) } else { Poll::Pending }
        }))
    }

    #[test]
    fn a_task_is_woken_unless_it_has_just_seen_the_end() {
        let task = Arc::<Task>::default();
        let mut work = ringing(&[2, 1]);
        assert!(look(&mut work, &task).is_pending());
        assert_eq!(woken(&task), 1, "something happened while it was looked at, and it goes on");
        let Poll::Ready(bell) = look(&mut work, &task) else { unreachable!("it is done") };
        assert_eq!(woken(&task), 0, "it is over");
        bell.wake();
        assert_eq!(woken(&task), 1, "what outlives the work is not");
    }

    #[test]
    fn work_is_looked_at_once_for_all_that_has_happened() {
        let task = Arc::<Task>::default();
        let (give, given) = std::sync::mpsc::channel();
        let mut work = Belled::<()>::new(poll_fn(move |context: &mut Context<'_>| {
            give.send(context.waker().clone()).unwrap_or_default();
            Poll::Pending
        }));
        for _ in 0..2 {
            assert!(look(&mut work, &task).is_pending());
            assert!(look(&mut work, &task).is_pending());
            let bells: Vec<Waker> = given.try_iter().collect();
            assert_eq!((bells.len(), woken(&task)), (1, 0), "nothing has happened to it");
            bells.iter().for_each(Waker::wake_by_ref);
            bells.into_iter().for_each(Waker::wake);
            assert_eq!(woken(&task), 1, "until it is looked at again");
        }
    }

    #[test]
    fn who_looks_last_is_woken() {
        let (first, second) = (Arc::<Task>::default(), Arc::<Task>::default());
        let mut work = ringing(&[0, 0]);
        assert!(look(&mut work, &first).is_pending());
        let bell = work.waker.clone();
        assert!(look(&mut work, &second).is_pending());
        bell.wake();
        assert_eq!((woken(&first), woken(&second)), (0, 1));
    }
}
