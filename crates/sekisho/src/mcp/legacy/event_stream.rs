//! Messages on their way to one client, in order: a bounded queue that can be read again.
//!
//! A reader that falls behind is cut off, at once or after some patience with what is an answer.
//! A stream nobody reads at the moment keeps its newest messages, so that a client can come back
//! for them (`Last-Event-ID`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::limits::SessionLimits;

/// Whether what was read is kept to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mcp) enum Retention {
    /// A lost connection loses what was on its way.
    None,
    /// Kept as far as the queue's limits allow.
    Replay,
}

/// A message and its place in the stream, counted from 1.
#[derive(Debug, Clone)]
pub(in crate::mcp) struct Event {
    pub(in crate::mcp) position: u64,
    pub(in crate::mcp) data: Bytes,
}

/// What a reader has to do next.
#[derive(Debug, Clone)]
pub(in crate::mcp) enum Next {
    /// Deliver this.
    Event(Event),
    /// End the connection; the client comes back for the rest.
    HangUp { come_back_after: Duration },
}

/// What happened first on a stream that ends with an answer.
#[derive(Debug)]
pub(in crate::mcp) enum First {
    /// There is the answer and nothing else.
    Answer(Bytes),
    /// Something is told before the answer.
    Telling,
    /// It ended without an answer: the request was cancelled.
    Nothing,
}

/// What became of a message.
#[derive(Debug)]
pub(in crate::mcp) enum Offered {
    /// It is in the queue.
    Taken,
    /// The reader is behind; here it is again.
    NoRoom(Bytes),
    /// Nothing is taken any more.
    Over,
}

#[derive(Debug)]
pub(in crate::mcp) struct EventStream {
    /// Names the stream within its session; 0 until it has a name.
    number: AtomicU64,
    events_max: usize,
    bytes_max: usize,
    retention: Retention,
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug)]
struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
    /// The position of the next message to come in.
    next: u64,
    /// The position of the next message to go out.
    unread: u64,
    finished: bool,
    /// Counts those who ever read; only the latest one goes on reading.
    reader: u64,
    is_read: bool,
    /// Whoever reads is to go, and to come back no sooner than this.
    hang_up: Option<Duration>,
}

impl EventStream {
    pub(in crate::mcp) fn new(limits: &SessionLimits, retention: Retention) -> Arc<Self> {
        Arc::new(Self {
            number: AtomicU64::new(0),
            events_max: limits.queue_events_max,
            bytes_max: limits.queue_bytes_max,
            retention,
            queue: Mutex::new(Queue {
                events: VecDeque::new(),
                bytes: 0,
                next: 1,
                unread: 1,
                finished: false,
                reader: 0,
                is_read: false,
                hang_up: None,
            }),
            changed: Notify::new(),
        })
    }

    pub(in crate::mcp) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    pub(super) fn set_number(&self, number: u64) {
        self.number.store(number, Ordering::Relaxed);
    }

    /// Queues a message if there is room.
    pub(in crate::mcp) fn offer(&self, data: Bytes) -> Offered {
        let offered = self.lock().offer(data, self.events_max, self.bytes_max);
        if matches!(offered, Offered::Taken) {
            self.changed.notify_waiters();
        }
        offered
    }

    /// Queues a message; `false` if the stream is over, or is now because its reader is too slow.
    pub(in crate::mcp) fn push(&self, data: Bytes) -> bool {
        match self.offer(data) {
            Offered::Taken => true,
            Offered::Over => false,
            Offered::NoRoom(_) => {
                self.cut_off();
                false
            }
        }
    }

    /// Queues a message as soon as there is room; a reader that makes none within `wait` is too
    /// slow. `false` as in [`push`](Self::push).
    pub(in crate::mcp) async fn push_patiently(&self, mut data: Bytes, wait: Duration) -> bool {
        let patience = tokio::time::sleep(wait);
        tokio::pin!(patience);
        loop {
            let changed = self.changed.notified();
            data = match self.offer(data) {
                Offered::Taken => return true,
                Offered::Over => return false,
                Offered::NoRoom(data) => data,
            };
            tokio::select! {
                () = changed => {}
                () = &mut patience => {
                    self.cut_off();
                    return false;
                }
            }
        }
    }

    /// Waits until at most half the queue is taken, or the stream is over.
    pub(in crate::mcp) async fn caught_up(&self) {
        loop {
            let changed = self.changed.notified();
            {
                let queue = self.lock();
                let has_room =
                    queue.events.len() <= self.events_max / 2 && queue.bytes <= self.bytes_max / 2;
                if has_room || queue.finished {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Nothing more will come.
    pub(in crate::mcp) fn finish(&self) {
        self.lock().finished = true;
        self.changed.notify_waiters();
    }

    /// The last message. There is always room for it.
    pub(in crate::mcp) fn finish_with(&self, data: Bytes) {
        {
            let mut queue = self.lock();
            if !queue.finished {
                queue.add(data);
                queue.finished = true;
            }
        }
        self.changed.notify_waiters();
    }

    fn cut_off(&self) {
        self.lock().cut_off();
        self.changed.notify_waiters();
    }

    /// Sends whoever reads away, to come back after a while. A stream that nobody can come back to
    /// stays as it is, and so does one whose reader is gone already.
    pub(in crate::mcp) fn hang_up(&self, come_back_after: Duration) {
        if self.retention == Retention::None {
            return;
        }
        {
            let mut queue = self.lock();
            if queue.is_read || queue.reader == 0 {
                queue.hang_up = Some(come_back_after);
            }
        }
        self.changed.notify_waiters();
    }

    /// Whether nothing was ever told on it.
    pub(in crate::mcp) fn is_silent(&self) -> bool {
        self.lock().next == 1
    }

    /// Waits until something is told on it.
    pub(in crate::mcp) async fn told(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.is_silent() {
                return;
            }
            changed.await;
        }
    }

    /// Whether somebody reads it at the moment.
    pub(super) fn is_read(&self) -> bool {
        self.lock().is_read
    }

    /// Whether it ended and everything on it was read.
    pub(super) fn is_done(&self) -> bool {
        let queue = self.lock();
        queue.finished && queue.unread >= queue.next
    }

    /// Waits for the answer; where `may_tell` is set also for anything told before it.
    pub(in crate::mcp) async fn first(&self, may_tell: bool) -> First {
        loop {
            let changed = self.changed.notified();
            if let Some(first) = self.lock().first(may_tell) {
                return first;
            }
            changed.await;
        }
    }

    /// Begins to read behind `position`, or where the last reader stopped. Whoever read until now
    /// reads no more: the same client came back on another connection.
    pub(in crate::mcp) fn read(self: &Arc<Self>, behind: Option<u64>) -> Reader {
        let generation = {
            let mut queue = self.lock();
            if queue.reader > 0 {
                queue.hang_up = None;
            }
            queue.reader += 1;
            queue.is_read = true;
            if let Some(position) = behind {
                queue.unread = position.saturating_add(1).clamp(1, queue.next);
            }
            queue.reader
        };
        self.changed.notify_waiters();
        Reader { stream: Arc::clone(self), generation }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn offer(&mut self, data: Bytes, events_max: usize, bytes_max: usize) -> Offered {
        if self.finished {
            return Offered::Over;
        }
        // One message may exceed the bytes alone: else it could never be delivered.
        while !self.events.is_empty()
            && (self.events.len() >= events_max || self.bytes + data.len() > bytes_max)
        {
            if self.is_read && self.events.front().is_some_and(|old| old.position >= self.unread) {
                return Offered::NoRoom(data);
            }
            self.drop_oldest();
        }
        self.add(data);
        Offered::Taken
    }

    fn add(&mut self, data: Bytes) {
        self.bytes += data.len();
        self.events.push_back(Event { position: self.next, data });
        self.next += 1;
    }

    fn drop_oldest(&mut self) {
        if let Some(old) = self.events.pop_front() {
            self.bytes -= old.data.len();
            self.unread = self.unread.max(old.position + 1);
        }
    }

    fn cut_off(&mut self) {
        self.events.clear();
        self.bytes = 0;
        self.unread = self.next;
        self.finished = true;
    }

    fn first(&mut self, may_tell: bool) -> Option<First> {
        let told = self.events.len() - usize::from(self.finished && !self.events.is_empty());
        if may_tell && (told > 0 || self.hang_up.is_some()) {
            return Some(First::Telling);
        }
        if !self.finished {
            return None;
        }
        Some(self.events.pop_back().map_or(First::Nothing, |event| First::Answer(event.data)))
    }

    fn take(&mut self, retention: Retention) -> Option<Event> {
        let first = self.events.front()?.position;
        let index = usize::try_from(self.unread.saturating_sub(first)).ok()?;
        let event = self.events.get(index)?.clone();
        self.unread = event.position + 1;
        if retention == Retention::None {
            self.drop_oldest();
        }
        Some(event)
    }
}

/// Reads a stream to its end. Dropping it leaves the stream to whoever comes back.
#[derive(Debug)]
pub(in crate::mcp) struct Reader {
    stream: Arc<EventStream>,
    generation: u64,
}

impl Reader {
    pub(in crate::mcp) fn stream(&self) -> &Arc<EventStream> {
        &self.stream
    }

    /// What is next; nothing at the end, or when another reader took over.
    pub(in crate::mcp) async fn next(&mut self) -> Option<Next> {
        loop {
            let changed = self.stream.changed.notified();
            {
                let mut queue = self.stream.lock();
                if queue.reader != self.generation {
                    return None;
                }
                if let Some(event) = queue.take(self.stream.retention) {
                    // Somebody may wait for room.
                    self.stream.changed.notify_waiters();
                    return Some(Next::Event(event));
                }
                if queue.finished {
                    return None;
                }
                if let Some(come_back_after) = queue.hang_up.take() {
                    return Some(Next::HangUp { come_back_after });
                }
            }
            changed.await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut queue = self.stream.lock();
        if queue.reader == self.generation {
            queue.is_read = false;
        }
    }
}
