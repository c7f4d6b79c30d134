//! What sessions may take, every limit by its name.

use std::time::Duration;

/// How much of everything sessions may take. Beyond a person's share the answer is 429, beyond
/// the whole 503.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions in all.
    pub sessions_max: usize,
    /// Sessions of one person, over all their clients. Not counted where nothing guards the server.
    /// Over it, the one at rest for longest (a minute at least) gives way to a new one.
    pub sessions_per_person_max: usize,
    /// A session without request or open stream for this long is forgotten.
    pub idle: Duration,
    /// Streams of one session, with those a client may still come back for.
    pub streams_per_session_max: usize,
    /// Requests and notifications of one session that are being worked on.
    pub calls_per_session_max: usize,
    /// Requests of ours that one session has not answered yet.
    pub questions_per_session_max: usize,
    /// How long an answer to such a request may take: a person may be at it.
    pub answer_wait: Duration,
    /// Resources that one session, or one stream of 2026-07-28, follows.
    pub subscriptions_max: usize,
    /// Requests of 2026-07-28, with open streams, that one person may have at once, over all their
    /// clients. Not counted where nothing guards the server.
    pub calls_per_person_max: usize,
    /// A request's body, or a line over stdio, in bytes.
    pub body_bytes_max: usize,
    /// How long a body may take to arrive.
    pub body_wait: Duration,
    /// Messages waiting in one stream, with those kept for replay.
    pub queue_events_max: usize,
    /// Bytes waiting in one stream; a single message may exceed it.
    pub queue_bytes_max: usize,
    /// How long an answer waits for room in a full queue before the reader is taken for dead.
    pub reader_wait: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            sessions_max: 10_000,
            sessions_per_person_max: 100,
            idle: Duration::from_mins(30),
            streams_per_session_max: 16,
            calls_per_session_max: 64,
            questions_per_session_max: 16,
            answer_wait: Duration::from_mins(5),
            subscriptions_max: 256,
            calls_per_person_max: 256,
            body_bytes_max: 4 * 1024 * 1024,
            body_wait: Duration::from_secs(30),
            queue_events_max: 256,
            queue_bytes_max: 1024 * 1024,
            reader_wait: Duration::from_secs(10),
        }
    }
}
