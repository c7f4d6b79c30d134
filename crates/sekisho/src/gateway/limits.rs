//! What servers behind us may take, every limit by its name.

use std::time::Duration;

/// How much of everything a server behind us may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayLimits {
    /// Conversations with one server at once: processes of a command, sessions at a URL; those that
    /// are ending too. Over it the one at rest for longest gives way; if none is at rest, the caller
    /// hears so.
    pub upstreams_max: usize,
    /// Conversations of one person, who may have unlike clients and many sessions. Over it the one at
    /// rest for longest among them gives way.
    pub upstreams_per_person_max: usize,
    /// A conversation without a call for this long is ended.
    pub idle: Duration,
    /// How long a server may take until it is greeted: a package may have to be fetched first.
    pub start_wait: Duration,
    /// How long a call may go without an answer or any word about it.
    pub answer_wait: Duration,
    /// How long it may take to connect to a server at a URL.
    pub connect_wait: Duration,
    /// Bytes of one message of a server: a line of a process, an event of a stream, a body.
    pub message_bytes_max: usize,
    /// Calls of one conversation that have no answer yet.
    pub calls_max: usize,
    /// Calls that wait for their client to come back with an answer (2026-07-28), in all.
    pub held_calls_max: usize,
    /// Of these, those of one person.
    pub held_calls_per_person_max: usize,
    /// Lines that a process may write to the log in a second; the rest is counted.
    pub log_lines_per_second: u32,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            upstreams_max: 100,
            upstreams_per_person_max: 8,
            idle: Duration::from_mins(10),
            start_wait: Duration::from_mins(1),
            answer_wait: Duration::from_mins(5),
            connect_wait: Duration::from_secs(10),
            message_bytes_max: 16 * 1024 * 1024,
            calls_max: 256,
            held_calls_max: 1_000,
            held_calls_per_person_max: 32,
            log_lines_per_second: 20,
        }
    }
}
