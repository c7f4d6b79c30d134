//! What a request of 2026-07-28 says of itself in `params._meta`, since no handshake said it before, and
//! what its headers say once more.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::error::McpError;
use super::json::Json;

/// What is read of `params` before anybody does anything: `_meta`, what headers say once more, and what goes on
/// with an earlier call. What could be read in two ways is refused: who went by a header must not be told
/// otherwise by who serves the body.
#[derive(Debug, Clone, Copy, Default)]
pub struct ParamsOutline<'a> {
    /// What the request says of itself.
    pub meta: RequestMeta<'a>,
    name: Option<Json<'a>>,
    uri: Option<Json<'a>>,
    /// What a tool or a prompt is given.
    pub arguments: Option<Json<'a>>,
    /// What the client answers to the questions of an earlier answer.
    pub input_responses: Option<Json<'a>>,
    /// What that answer wanted to have back.
    pub request_state: Option<Json<'a>>,
}

impl<'a> ParamsOutline<'a> {
    /// Reads it; −32602 if `params` or their `_meta` are no object, or name one of these members twice.
    pub fn parse(params: Option<&'a RawValue>) -> Result<Self, McpError> {
        let Some(params) = params else { return Ok(Self::default()) };
        let read = || {
            let [meta, name, uri, arguments, input_responses, request_state] = Json::from(params)
                .named([
                "_meta",
                "name",
                "uri",
                "arguments",
                "inputResponses",
                "requestState",
            ])?;
            let meta = meta.map_or_else(|| Some(RequestMeta::default()), RequestMeta::read)?;
            Some(Self { meta, name, uri, arguments, input_responses, request_state })
        };
        read().ok_or_else(|| {
            McpError::invalid_params("params and params._meta are objects, each member named once")
        })
    }

    /// What a tool or a prompt is called; −32602 if it is no text.
    pub fn name(&self) -> Result<Option<Cow<'a, str>>, McpError> {
        text_in(self.name, "name")
    }

    /// Where a resource is; −32602 if it is no text.
    pub fn uri(&self) -> Result<Option<Cow<'a, str>>, McpError> {
        text_in(self.uri, "uri")
    }
}

/// The text in the member of `params` that is called so; −32602 if it is none.
pub(super) fn text_in<'a>(
    member: Option<Json<'a>>,
    name: &str,
) -> Result<Option<Cow<'a, str>>, McpError> {
    let Some(member) = member else { return Ok(None) };
    let text = member.as_text();
    text.map(Some).ok_or_else(|| McpError::invalid_params(format!("params.{name} is a text")))
}

/// The members of `_meta` that MCP itself reads. All are claims of the client.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestMeta<'a> {
    protocol_version: Option<Json<'a>>,
    client_capabilities: Option<Json<'a>>,
    client_info: Option<Json<'a>>,
    log_level: Option<Json<'a>>,
    progress_token: Option<Json<'a>>,
}

/// The two members without which a request of 2026-07-28 is refused.
#[derive(Debug, Clone)]
pub struct RequiredMeta<'a> {
    /// The revision that the request is written in; any text.
    pub protocol_version: Cow<'a, str>,
    /// What the client can do for this request: an object.
    pub client_capabilities: Json<'a>,
}

impl<'a> RequestMeta<'a> {
    /// That of `params` of which no outline can be read; nothing if it is there twice, or cannot be read itself.
    pub fn of_unclear(params: &'a RawValue) -> Option<Self> {
        let [meta] = Json::from(params).named(["_meta"])?;
        Self::read(meta?)
    }

    fn read(meta: Json<'a>) -> Option<Self> {
        let [protocol_version, client_capabilities, client_info, log_level, progress_token] = meta
            .named([
                "io.modelcontextprotocol/protocolVersion",
                "io.modelcontextprotocol/clientCapabilities",
                "io.modelcontextprotocol/clientInfo",
                "io.modelcontextprotocol/logLevel",
                "progressToken",
            ])?;
        Some(Self { protocol_version, client_capabilities, client_info, log_level, progress_token })
    }

    /// Whether anything in it is known to 2026-07-28 only.
    pub fn is_of_stateless_era(&self) -> bool {
        self.protocol_version.is_some()
            || self.client_capabilities.is_some()
            || self.client_info.is_some()
            || self.log_level.is_some()
    }

    /// What must be there; −32602 names what is not.
    pub fn required(&self) -> Result<RequiredMeta<'a>, McpError> {
        let missing = |name: &str, what: &str| {
            McpError::invalid_params(format!(
                "params._meta needs \"io.modelcontextprotocol/{name}\", {what}"
            ))
        };
        let protocol_version = self.protocol_version.and_then(Json::as_text);
        let client_capabilities = self.client_capabilities.filter(|given| given.is_object());
        Ok(RequiredMeta {
            protocol_version: protocol_version
                .ok_or_else(|| missing("protocolVersion", "a text"))?,
            client_capabilities: client_capabilities
                .ok_or_else(|| missing("clientCapabilities", "an object, which may be empty"))?,
        })
    }

    /// From which level on the client wants log messages about this request; none without it.
    pub fn log_level(&self) -> Option<Cow<'a, str>> {
        self.log_level.and_then(Json::as_text)
    }

    /// What progress of this request is reported under: a text or a number as it came.
    pub fn progress_token(&self) -> Option<Json<'a>> {
        self.progress_token
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_request_without_a_handshake_says_its_version_and_what_its_client_can_do() {
        const VERSION: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
        const CAPABILITIES: &str = r#""io.modelcontextprotocol/clientCapabilities":{}"#;
        let rows = [
            (format!(r#"{{"_meta":{{{VERSION},{CAPABILITIES}}}}}"#), true, true, "all there is"),
            (format!(r#"{{"_meta":{{{VERSION}}}}}"#), true, false, "no capabilities"),
            (format!(r#"{{"_meta":{{{CAPABILITIES}}}}}"#), true, false, "no version"),
            (
                r#"{"_meta":{"io.modelcontextprotocol/clientInfo":{}}}"#.to_owned(),
                true,
                false,
                "a name alone",
            ),
            (r#"{"_meta":{"progressToken":1}}"#.to_owned(), false, false, "as older clients do"),
            (r#"{"_meta":{}}"#.to_owned(), false, false, "empty"),
            ("{}".to_owned(), false, false, "none"),
            (
                r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":7,"io.modelcontextprotocol/clientCapabilities":{}}}"#.to_owned(),
                true,
                false,
                "a version is text",
            ),
            (
                r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}}"#.to_owned(),
                true,
                false,
                "capabilities are an object",
            ),
        ];
        for (text, is_stateless, is_complete, reason) in rows {
            let params: &RawValue = serde_json::from_str(&text).unwrap();
            let ParamsOutline { meta, .. } = ParamsOutline::parse(Some(params)).unwrap();
            assert_eq!(meta.is_of_stateless_era(), is_stateless, "{text}: {reason}");
            assert_eq!(meta.required().is_ok(), is_complete, "{text}: {reason}");
        }
        for (text, reason) in [
            (r#"{"_meta":1}"#, "no object"),
            (r#"{"_meta":["2026-07-28",{}]}"#, "members without names"),
            (r#"{"_meta":{},"_meta":{}}"#, "twice"),
            (r#"{"_meta":null,"_meta":{}}"#, "twice, once as nothing"),
            (r#"{"requestState":"a","requestState":"b"}"#, "two states"),
            (r#"{"name":"a","n\u0061me":"b"}"#, "what a header says once more, twice"),
            ("[{}]", "members without names there"),
            (r#"{"_meta":{"progressToken":1,"progressToken":2}}"#, "a member twice"),
        ] {
            let params: &RawValue = serde_json::from_str(text).unwrap();
            assert!(ParamsOutline::parse(Some(params)).is_err(), "{text}: {reason}");
        }
    }
}
