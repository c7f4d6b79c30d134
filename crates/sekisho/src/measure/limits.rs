//! How full it is: the places of limits that people can run into, and who was turned away.

use super::Held;
use super::table::{PLACES, PLACES_TAKEN, TURNED_AWAY, Value};

/// A limit with places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Connections that are open.
    Connections,
    /// Sessions of MCP, over all guarded servers.
    McpSessions,
    /// Conversations with servers behind us, over all of them.
    Upstreams,
    /// Passwords that are being checked or wait for it.
    PasswordChecks,
    /// Steps of logins that wait to be written down.
    FlowNotes,
    /// Spans that wait to be sent to the collector.
    Spans,
}

/// Places that there are, until this is dropped: what has a limit may be made anew.
#[derive(Debug)]
pub struct Places {
    limit: Limit,
    count: f64,
}

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub struct Taken {
    _held: Held,
}

impl Limit {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::McpSessions => "mcp_sessions",
            Self::Upstreams => "upstreams",
            Self::PasswordChecks => "password_checks",
            Self::FlowNotes => "flow_notes",
            Self::Spans => "spans",
        }
    }

    /// There are so many places more, for as long as what is returned is kept.
    #[must_use]
    pub fn has(self, places: usize) -> Places {
        #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^52")]
        let places = Places { limit: self, count: places as f64 };
        PLACES.gauge([self.label()]).increment(places.count);
        // A series that is there before it is needed.
        PLACES_TAKEN.gauge([self.label()]).increment(0.0);
        TURNED_AWAY.counter([self.label()]).increment(0);
        places
    }

    /// Takes a place.
    pub fn take(self) -> Taken {
        Taken { _held: Held::of(PLACES_TAKEN.gauge([self.label()])) }
    }

    /// So many places are taken, where nobody holds them one by one.
    pub fn is_taken(self, places: usize) {
        #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^52")]
        PLACES_TAKEN.gauge([self.label()]).set(places as f64);
    }

    /// There was none left.
    pub fn turn_away(self) {
        TURNED_AWAY.counter([self.label()]).increment(1);
    }

    fn label(self) -> Value {
        Value::from(self.as_str())
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        PLACES.gauge([self.limit.label()]).decrement(self.count);
    }
}
