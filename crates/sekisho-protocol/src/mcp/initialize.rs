//! What a client says of itself in `initialize`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::McpError;

/// The parameters of `initialize`. A member named twice is refused.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitializeParams<'a> {
    /// The version asked for; any text.
    #[serde(borrow)]
    pub protocol_version: Cow<'a, str>,
    /// What the client can do, as it came.
    #[serde(borrow, default)]
    pub capabilities: Option<&'a RawValue>,
    /// The name the client gives itself: a claim, nothing may depend on it.
    #[serde(borrow, default)]
    pub client_info: Option<&'a RawValue>,
}

impl<'a> InitializeParams<'a> {
    /// Reads them; −32602 if the version is missing or anything is named twice.
    pub fn parse(params: Option<&'a RawValue>) -> Result<Self, McpError> {
        params.and_then(|params| serde_json::from_str(params.get()).ok()).ok_or_else(|| {
            McpError::invalid_params("initialize needs params with one protocolVersion")
        })
    }
}

/// What a server says of itself in its answer to `initialize`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitializeResult<'a> {
    /// The version it chose; any text.
    #[serde(borrow)]
    pub protocol_version: Cow<'a, str>,
    /// What it can do, as it came.
    #[serde(borrow)]
    pub capabilities: &'a RawValue,
    /// The name it gives itself, as it came.
    #[serde(borrow)]
    pub server_info: &'a RawValue,
    /// How a model should use it.
    #[serde(borrow, default)]
    pub instructions: Option<Cow<'a, str>>,
}

impl<'a> InitializeResult<'a> {
    /// Reads it; nothing if it lacks a member that must be there, or names one twice.
    pub fn parse(result: &'a RawValue) -> Option<Self> {
        serde_json::from_str(result.get()).ok()
    }
}
