//! The dated revisions of MCP, and how one is agreed upon where there is a handshake.

use std::fmt;

/// A revision of MCP. Those up to 2025-11-25 begin with `initialize`; 2026-07-28 has no handshake,
/// so nothing is agreed upon: each request names it.
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
    /// No handshake, no sessions: every request says all it needs.
    V2026_07_28,
}

impl ProtocolVersion {
    /// The revisions that begin with `initialize`, oldest first.
    pub const WITH_HANDSHAKE: [Self; 4] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25];

    /// The revisions without a handshake.
    pub const STATELESS: [Self; 1] = [Self::V2026_07_28];

    /// What `initialize` offers to whoever asks for something else.
    pub const LATEST_WITH_HANDSHAKE: Self = Self::V2025_11_25;

    /// The revision of this name, if it is served.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut served = Self::WITH_HANDSHAKE.into_iter().chain(Self::STATELESS);
        served.find(|version| version.as_str() == text)
    }

    /// The date that names it on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// Whether it has neither handshake nor sessions.
    pub const fn is_stateless(self) -> bool {
        matches!(self, Self::V2026_07_28)
    }

    /// Whether `text` names a revision without a handshake, be it one of the future.
    pub fn is_named_stateless(text: &str) -> bool {
        text >= Self::V2026_07_28.as_str() && is_date(text)
    }

    /// The answer to an `initialize` that asks for `requested`: the same if it is served, else
    /// the latest with a handshake, also to a client that names 2026-07-28 there.
    pub fn negotiate(requested: &str) -> Self {
        let served = Self::from_text(requested).filter(|version| !version.is_stateless());
        served.unwrap_or(Self::LATEST_WITH_HANDSHAKE)
    }

    /// Whether several messages may come in one array: demanded by 2025-03-26, dropped after it.
    pub const fn has_batches(self) -> bool {
        matches!(self, Self::V2025_03_26)
    }

    /// Whether a stream opens with an event of empty data. Older clients fail to parse that.
    pub const fn has_priming_events(self) -> bool {
        matches!(self, Self::V2025_11_25)
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(place, byte)| match place {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
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
            (ProtocolVersion::V2026_07_28, false, false),
        ];
        for (version, batches, priming) in rows {
            assert_eq!(version.has_batches(), batches, "{version}");
            assert_eq!(version.has_priming_events(), priming, "{version}");
        }
    }

    #[test]
    fn a_name_tells_the_era_even_of_a_revision_not_yet_written() {
        let rows = [
            ("2025-11-25", false, "the last with a handshake"),
            ("2026-07-27", false, "before the change"),
            ("2026-07-28", true, "the first without"),
            ("2031-01-01", true, "later than all we know"),
            ("2026-7-28", false, "no date as MCP writes it"),
            ("DRAFT-2026-v1", false, "no date"),
            ("9", false, "no date"),
        ];
        for (text, stateless, reason) in rows {
            assert_eq!(ProtocolVersion::is_named_stateless(text), stateless, "{text}: {reason}");
        }
    }
}
