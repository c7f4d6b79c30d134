//! The resource a token is for (RFC 8707), kept as text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The canonical URI of one guarded MCP server, for instance `http://localhost:8000/mcp`.
///
/// A server has several names (its `mcp` and `sse` URLs); this is the one that grants and tokens
/// are bound to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ResourceUri(String);

impl ResourceUri {
    /// Takes the text as it is; who makes one knows that it names a server of ours.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a client's spelling names this resource: scheme and host in any case, a single
    /// trailing slash forgiven (RFC 8707 §2, MCP "Canonical Server URI"), everything else exact.
    pub fn is_named_by(&self, asked: &str) -> bool {
        let asked = asked.strip_suffix('/').unwrap_or(asked);
        let own = self.0.strip_suffix('/').unwrap_or(&self.0);
        let (asked_origin, asked_path) = split_origin(asked);
        let (own_origin, own_path) = split_origin(own);
        asked_origin.eq_ignore_ascii_case(own_origin) && asked_path == own_path
    }
}

/// `https://host:port` and the rest, cut at the first slash, question mark or hash after the host.
fn split_origin(uri: &str) -> (&str, &str) {
    let host_at = uri.find("://").map_or(0, |at| at + 3);
    let end = uri
        .char_indices()
        .find(|(at, character)| *at >= host_at && matches!(character, '/' | '?' | '#'))
        .map_or(uri.len(), |(at, _)| at);
    uri.split_at(end)
}

impl fmt::Display for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceUri({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_answers_to_its_name() {
        let resource = ResourceUri::new("https://mcp.example.com/mcp");
        let rows = [
            ("https://mcp.example.com/mcp", true, "itself"),
            ("HTTPS://MCP.Example.COM/mcp", true, "upper case scheme and host"),
            ("https://mcp.example.com/mcp/", true, "a trailing slash"),
            ("https://mcp.example.com/MCP", false, "the path has case"),
            ("https://mcp.example.com/mcp//", false, "two slashes"),
            ("https://mcp.example.com/mcp?x", false, "a query"),
            ("https://mcp.example.com/mcp#x", false, "a fragment"),
            ("https://mcp.example.com", false, "the origin alone"),
            ("https://mcp.example.com.evil/mcp", false, "another host"),
            ("http://mcp.example.com/mcp", false, "another scheme"),
            ("https://mcp.example.com:443/mcp", false, "a port it does not have"),
            ("/mcp", false, "relative"),
            ("", false, "empty"),
        ];
        for (asked, expected, reason) in rows {
            assert_eq!(resource.is_named_by(asked), expected, "{asked}: {reason}");
        }
    }
}
