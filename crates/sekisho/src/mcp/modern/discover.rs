//! `server/discover`: what a client of 2026-07-28 may ask first, instead of a handshake.

use sekisho_protocol::mcp::{McpError, ProtocolVersion};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::answer::{self, There};
use crate::mcp::service::{CacheHint, ServerInfo};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Discovered<'a> {
    /// Revisions of this era only: whoever asks here must not fall back to a handshake.
    supported_versions: [&'static str; 1],
    capabilities: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
}

pub(super) fn result(info: &ServerInfo, hint: CacheHint) -> Result<String, McpError> {
    let discovered = Discovered {
        supported_versions: ProtocolVersion::STATELESS.map(ProtocolVersion::as_str),
        capabilities: &info.capabilities,
        instructions: info.instructions.as_deref(),
    };
    let discovered = to_raw_value(&discovered).map_err(|_| McpError::internal())?;
    answer::complete(&discovered, &There::default(), Some(&info.server_info), Some(hint))
}
