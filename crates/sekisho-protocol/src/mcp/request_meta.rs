//! What a request of 2026-07-28 says of itself in `params._meta`, since no handshake said it before.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::McpError;

/// The members of `_meta` that MCP itself reads. All are claims of the client.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct RequestMeta<'a> {
    #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion")]
    protocol_version: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientCapabilities")]
    client_capabilities: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientInfo")]
    client_info: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/logLevel")]
    log_level: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
}

/// The two members without which a request of 2026-07-28 is refused.
#[derive(Debug, Clone)]
pub struct RequiredMeta<'a> {
    /// The revision that the request is written in; any text.
    pub protocol_version: std::borrow::Cow<'a, str>,
    /// What the client can do for this request: an object as it came.
    pub client_capabilities: &'a RawValue,
}

impl<'a> RequestMeta<'a> {
    /// Reads `params._meta`; −32602 if it is no object or names one of these members twice.
    pub fn parse(params: Option<&'a RawValue>) -> Result<Self, McpError> {
        #[derive(Deserialize)]
        struct Params<'a> {
            #[serde(borrow, default, rename = "_meta")]
            meta: Option<RequestMeta<'a>>,
        }
        let Some(params) = params else { return Ok(Self::default()) };
        let params: Params<'a> = serde_json::from_str(params.get()).map_err(|_| {
            McpError::invalid_params("params._meta is one object, its members named once")
        })?;
        Ok(params.meta.unwrap_or_default())
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
        let protocol_version = self.protocol_version.and_then(text_of);
        let client_capabilities =
            self.client_capabilities.filter(|given| given.get().starts_with('{'));
        Ok(RequiredMeta {
            protocol_version: protocol_version
                .ok_or_else(|| missing("protocolVersion", "a text"))?,
            client_capabilities: client_capabilities
                .ok_or_else(|| missing("clientCapabilities", "an object, which may be empty"))?,
        })
    }

    /// From which level on the client wants log messages about this request; none without it.
    pub fn log_level(&self) -> Option<std::borrow::Cow<'a, str>> {
        self.log_level.and_then(text_of)
    }

    /// What progress of this request is reported under: a text or a number as it came.
    pub fn progress_token(&self) -> Option<&'a RawValue> {
        self.progress_token.filter(|token| token.get() != "null")
    }
}

fn text_of(raw: &RawValue) -> Option<std::borrow::Cow<'_, str>> {
    super::message::text_of(raw)
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
            let meta = RequestMeta::parse(Some(params)).unwrap();
            assert_eq!(meta.is_of_stateless_era(), is_stateless, "{text}: {reason}");
            assert_eq!(meta.required().is_ok(), is_complete, "{text}: {reason}");
        }
        for (text, reason) in [
            (r#"{"_meta":1}"#, "no object"),
            (r#"{"_meta":{},"_meta":{}}"#, "twice"),
            (r#"{"_meta":{"progressToken":1,"progressToken":2}}"#, "a member twice"),
        ] {
            let params: &RawValue = serde_json::from_str(text).unwrap();
            assert!(RequestMeta::parse(Some(params)).is_err(), "{text}: {reason}");
        }
    }
}
