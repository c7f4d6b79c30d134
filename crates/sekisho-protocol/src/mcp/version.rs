//! The dated revisions of MCP that begin with `initialize`, and how one is agreed upon.

use std::fmt;

/// A revision whose clients begin with `initialize`.
///
/// 2026-07-28 is not among them: it has no handshake, so nothing can be agreed upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// The first one: HTTP+SSE, no authorization.
    V2024_11_05,
    /// Streamable HTTP, batches, OAuth.
    V2025_03_26,
    /// No more batches; the `MCP-Protocol-Version` header.
    V2025_06_18,
    /// Streams that begin with a priming event.
    V2025_11_25,
}

impl ProtocolVersion {
    /// Every revision served, oldest first.
    pub const ALL: [Self; 4] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25];

    /// What is offered to whoever asks for something else.
    pub const LATEST: Self = Self::V2025_11_25;

    /// The revision of this name, if it is served.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// The date that names it on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
        }
    }

    /// The answer to an `initialize` that asks for `requested`: the same if it is served, else
    /// the latest with a handshake, also to a client that names 2026-07-28 there.
    pub fn negotiate(requested: &str) -> Self {
        Self::from_text(requested).unwrap_or(Self::LATEST)
    }

    /// Whether several messages may come in one array: demanded by 2025-03-26, dropped after it.
    pub const fn has_batches(self) -> bool {
        matches!(self, Self::V2025_03_26)
    }

    /// Whether a stream opens with an event of empty data. Older clients fail to parse that.
    pub fn has_priming_events(self) -> bool {
        self >= Self::V2025_11_25
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_version_it_asks_for_or_the_latest_with_a_handshake() {
        let rows = [
            ("2024-11-05", "2024-11-05", "served"),
            ("2025-03-26", "2025-03-26", "served"),
            ("2025-06-18", "2025-06-18", "served"),
            ("2025-11-25", "2025-11-25", "served"),
            ("2026-07-28", "2025-11-25", "has no handshake"),
            ("2024-10-07", "2025-11-25", "older than the first"),
            ("2099-01-01", "2025-11-25", "not yet written"),
            ("2025-11-25 ", "2025-11-25", "not a name, so the latest"),
            ("1.0.0", "2025-11-25", "not a date"),
            ("", "2025-11-25", "empty"),
        ];
        for (requested, answered, reason) in rows {
            let version = ProtocolVersion::negotiate(requested);
            assert_eq!(version.as_str(), answered, "{requested:?}: {reason}");
        }
    }

    #[test]
    fn what_differs_between_versions_is_said_once() {
        let rows = [
            (ProtocolVersion::V2024_11_05, false, false),
            (ProtocolVersion::V2025_03_26, true, false),
            (ProtocolVersion::V2025_06_18, false, false),
            (ProtocolVersion::V2025_11_25, false, true),
        ];
        for (version, batches, priming) in rows {
            assert_eq!(version.has_batches(), batches, "{version}");
            assert_eq!(version.has_priming_events(), priming, "{version}");
        }
    }
}
