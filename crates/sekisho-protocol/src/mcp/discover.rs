//! What a server of 2026-07-28 says of itself in its answer to `server/discover`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::version::ProtocolVersion;

/// The answer to `server/discover`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscoverResult<'a> {
    /// The revisions it serves without a handshake; any texts.
    #[serde(borrow)]
    pub supported_versions: Vec<Cow<'a, str>>,
    /// What it can do, as it came.
    #[serde(borrow)]
    pub capabilities: &'a RawValue,
    /// How a model should use it.
    #[serde(borrow, default)]
    pub instructions: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Debug, Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default, rename = "io.modelcontextprotocol/serverInfo")]
    server_info: Option<&'a RawValue>,
}

impl<'a> DiscoverResult<'a> {
    /// Reads it; nothing if it lacks a member that must be there, or names one twice.
    pub fn parse(result: &'a RawValue) -> Option<Self> {
        serde_json::from_str(result.get()).ok()
    }

    /// The newest revision without a handshake that both sides speak.
    pub fn common_version(&self) -> Option<ProtocolVersion> {
        let served = |version: &ProtocolVersion| {
            self.supported_versions.iter().any(|text| text == version.as_str())
        };
        ProtocolVersion::STATELESS.into_iter().rfind(served)
    }

    /// The name it gives itself, as it came, if it gives one.
    pub fn server_info(&self) -> Option<&'a RawValue> {
        self.meta.as_ref()?.server_info
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_server_is_spoken_to_in_a_revision_that_both_know() {
        let rows = [
            (r#"{"supportedVersions":["2026-07-28"],"capabilities":{}}"#, true, "ours"),
            (
                r#"{"supportedVersions":["2099-01-01","2026-07-28"],"capabilities":{},"x":1}"#,
                true,
                "among others",
            ),
            (r#"{"supportedVersions":["2099-01-01"],"capabilities":{}}"#, false, "a later one"),
            (
                r#"{"supportedVersions":["2025-11-25"],"capabilities":{}}"#,
                false,
                "one that has a handshake",
            ),
            (r#"{"supportedVersions":[],"capabilities":{}}"#, false, "none"),
        ];
        for (text, expected, reason) in rows {
            let raw: &RawValue = serde_json::from_str(text).unwrap();
            let result = DiscoverResult::parse(raw).unwrap();
            assert_eq!(result.common_version().is_some(), expected, "{text}: {reason}");
        }
        for (text, reason) in [
            ("{}", "nothing of it"),
            (r#"{"supportedVersions":["2026-07-28"]}"#, "no capabilities"),
            (r#"{"supportedVersions":"2026-07-28","capabilities":{}}"#, "no list"),
            (r#"{"supportedVersions":[],"supportedVersions":[],"capabilities":{}}"#, "twice"),
        ] {
            let raw: &RawValue = serde_json::from_str(text).unwrap();
            assert!(DiscoverResult::parse(raw).is_none(), "{text}: {reason}");
        }
    }
}
