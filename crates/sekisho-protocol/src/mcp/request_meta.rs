//! What a request of 2026-07-28 says of itself in `params._meta`, since no handshake said it before, and
//! what its headers say once more.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::McpError;
use super::message::text_of;

/// What is read of `params` before anybody does anything: `_meta`, and what headers say once more. What could be
/// read in two ways is refused: who went by a header must not be told otherwise by who serves the body.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct ParamsOutline<'a> {
    /// What the request says of itself.
    #[serde(borrow, rename = "_meta", deserialize_with = "object_or_nothing")]
    pub meta: RequestMeta<'a>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    /// What a tool or a prompt is given, as it came.
    #[serde(borrow)]
    pub arguments: Option<&'a RawValue>,
}

impl<'a> ParamsOutline<'a> {
    /// Reads it; −32602 if `params` or their `_meta` are no object, or name one of these members twice.
    pub fn parse(params: Option<&'a RawValue>) -> Result<Self, McpError> {
        let Some(params) = params else { return Ok(Self::default()) };
        let text = Some(params.get()).filter(|text| text.starts_with('{'));
        text.and_then(|text| serde_json::from_str(text).ok()).ok_or_else(|| {
            McpError::invalid_params("params and params._meta are objects, each member named once")
        })
    }

    /// What a tool or a prompt is called; −32602 if it is no text.
    pub fn name(&self) -> Result<Option<Cow<'a, str>>, McpError> {
        text_in(self.name, "params.name")
    }

    /// Where a resource is; −32602 if it is no text.
    pub fn uri(&self) -> Result<Option<Cow<'a, str>>, McpError> {
        text_in(self.uri, "params.uri")
    }
}

fn text_in<'a>(member: Option<&'a RawValue>, name: &str) -> Result<Option<Cow<'a, str>>, McpError> {
    let Some(member) = member else { return Ok(None) };
    let text = text_of(member);
    text.map(Some).ok_or_else(|| McpError::invalid_params(format!("{name} is a text")))
}

/// `null` is as good as nothing. An array could be read as the members in their order, which nobody else does.
fn object_or_nothing<'de, D: Deserializer<'de>>(from: D) -> Result<RequestMeta<'de>, D::Error> {
    struct Object;
    impl<'de> Visitor<'de> for Object {
        type Value = RequestMeta<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_none<E>(self) -> Result<RequestMeta<'de>, E> {
            Ok(RequestMeta::default())
        }

        fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<RequestMeta<'de>, D::Error> {
            from.deserialize_map(self)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RequestMeta<'de>, A::Error> {
            RequestMeta::deserialize(MapAccessDeserializer::new(map))
        }
    }
    from.deserialize_option(Object)
}

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
    pub protocol_version: Cow<'a, str>,
    /// What the client can do for this request: an object as it came.
    pub client_capabilities: &'a RawValue,
}

impl<'a> RequestMeta<'a> {
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
    pub fn log_level(&self) -> Option<Cow<'a, str>> {
        self.log_level.and_then(text_of)
    }

    /// What progress of this request is reported under: a text or a number as it came.
    pub fn progress_token(&self) -> Option<&'a RawValue> {
        self.progress_token.filter(|token| token.get() != "null")
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
            (r#"{"name":"a","n\u0061me":"b"}"#, "what a header says once more, twice"),
            ("[{}]", "members without names there"),
            (r#"{"_meta":{"progressToken":1,"progressToken":2}}"#, "a member twice"),
        ] {
            let params: &RawValue = serde_json::from_str(text).unwrap();
            assert!(ParamsOutline::parse(Some(params)).is_err(), "{text}: {reason}");
        }
    }
}
