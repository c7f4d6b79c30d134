//! The error a request is answered with (JSON-RPC 2.0 §5.1).

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::version::ProtocolVersion;

/// The body is not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// The body is JSON, but no message that may come here and now.
pub const INVALID_REQUEST: i64 = -32600;
/// There is no such method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The method is known, what it was given is wrong: also an unknown tool.
pub const INVALID_PARAMS: i64 = -32602;
/// It is our fault.
pub const INTERNAL_ERROR: i64 = -32603;
/// There is no such resource, up to 2025-11-25; 2026-07-28 says [`INVALID_PARAMS`].
pub const RESOURCE_NOT_FOUND: i64 = -32002;
/// 2026-07-28: a header and the body say different things, or the header is missing.
pub const HEADER_MISMATCH: i64 = -32020;
/// 2026-07-28: the request needs something of its client that the client did not declare.
pub const MISSING_CLIENT_CAPABILITY: i64 = -32021;
/// 2026-07-28: the revision that the request names is not served.
pub const UNSUPPORTED_PROTOCOL_VERSION: i64 = -32022;

/// Why a request got no result. Travels to the client as it is, so it holds no secret.
#[derive(Debug, Clone)]
pub struct McpError(Object);

#[derive(Debug, Clone)]
enum Object {
    Ours { code: i64, message: Cow<'static, str>, data: Option<Box<RawValue>> },
    Forwarded(Box<RawValue>),
}

impl McpError {
    /// An error of our own.
    pub fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Object::Ours { code, message: message.into(), data: None })
    }

    /// −32601, naming the method.
    pub fn method_not_found(method: &str) -> Self {
        Self::new(METHOD_NOT_FOUND, format!("there is no method {method:?} here"))
    }

    /// −32602: the method is known, its parameters are wrong.
    pub fn invalid_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(INVALID_PARAMS, message)
    }

    /// −32602, naming the tool that is not there.
    pub fn no_such_tool(name: &str) -> Self {
        Self::invalid_params(format!("there is no tool {name:?} here"))
    }

    /// −32602, naming the prompt that is not there.
    pub fn no_such_prompt(name: &str) -> Self {
        Self::invalid_params(format!("there is no prompt {name:?} here"))
    }

    /// −32002, naming the resource that is not there.
    pub fn resource_not_found(uri: &str) -> Self {
        Self::new(RESOURCE_NOT_FOUND, "there is no such resource")
            .with_data(&serde_json::json!({ "uri": uri }))
    }

    /// −32603. The reason belongs into the log, never here.
    pub fn internal() -> Self {
        Self::new(INTERNAL_ERROR, "the server failed at this request")
    }

    /// The `error` member of somebody else's answer, to be passed on text for text.
    pub fn forwarded(error: Box<RawValue>) -> Self {
        Self(Object::Forwarded(error))
    }

    /// The code, also of somebody else's error; nothing if that has none.
    pub fn code(&self) -> Option<i64> {
        #[derive(Deserialize)]
        struct Coded {
            code: i64,
        }
        match &self.0 {
            Object::Ours { code, .. } => Some(*code),
            Object::Forwarded(raw) => {
                serde_json::from_str::<Coded>(raw.get()).ok().map(|error| error.code)
            }
        }
    }

    /// The revisions of ours that a server names instead of the one it refuses (−32022).
    pub fn served_instead(&self) -> Vec<ProtocolVersion> {
        #[derive(Deserialize)]
        struct Refusal {
            data: Served,
        }
        #[derive(Deserialize)]
        struct Served {
            supported: Vec<String>,
        }
        let Object::Forwarded(raw) = &self.0 else { return Vec::new() };
        let refusal: Option<Refusal> = serde_json::from_str(raw.get()).ok();
        let named = refusal.map(|refusal| refusal.data.supported).unwrap_or_default();
        named.iter().filter_map(|text| ProtocolVersion::from_text(text)).collect()
    }

    /// Adds the `data` member. Data that cannot be written as JSON is left out.
    #[must_use]
    pub fn with_data(self, data: &impl Serialize) -> Self {
        match self.0 {
            Object::Ours { code, message, .. } => {
                let data = serde_json::value::to_raw_value(data).ok();
                Self(Object::Ours { code, message, data })
            }
            forwarded @ Object::Forwarded(_) => Self(forwarded),
        }
    }

    /// The same error as 2026-07-28 numbers it. That revision forbids what older ones use for a
    /// missing resource, and what it does not define itself from −32020 to −32099.
    #[must_use]
    pub fn in_stateless_words(self) -> Self {
        let Some(code) = self.code() else { return self };
        match code {
            RESOURCE_NOT_FOUND => self.with_code(INVALID_PARAMS),
            HEADER_MISMATCH | MISSING_CLIENT_CAPABILITY | UNSUPPORTED_PROTOCOL_VERSION => self,
            -32099..=-32020 => self.with_code(INTERNAL_ERROR),
            _ => self,
        }
    }

    /// The same error as revisions with a handshake number it: they know no number for what a
    /// client cannot do.
    #[must_use]
    pub fn in_handshake_words(self) -> Self {
        match self.code() {
            Some(MISSING_CLIENT_CAPABILITY) => self.with_code(INVALID_REQUEST),
            _ => self,
        }
    }

    fn with_code(self, code: i64) -> Self {
        match self.0 {
            Object::Ours { message, data, .. } => Self(Object::Ours { code, message, data }),
            Object::Forwarded(raw) => {
                let members: Result<serde_json::Map<_, _>, _> = serde_json::from_str(raw.get());
                let Ok(mut members) = members else { return Self(Object::Forwarded(raw)) };
                members.insert("code".to_owned(), code.into());
                let raw = serde_json::value::to_raw_value(&members).unwrap_or(raw);
                Self(Object::Forwarded(raw))
            }
        }
    }

    /// The `error` member as JSON text.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Object::Forwarded(raw) => out.extend_from_slice(raw.get().as_bytes()),
            Object::Ours { code, message, data } => {
                out.extend_from_slice(br#"{"code":"#);
                out.extend_from_slice(code.to_string().as_bytes());
                out.extend_from_slice(br#","message":"#);
                super::message::write_text(message, out);
                if let Some(data) = data {
                    out.extend_from_slice(br#","data":"#);
                    out.extend_from_slice(data.get().as_bytes());
                }
                out.push(b'}');
            }
        }
    }
}

impl fmt::Display for McpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Object::Ours { code, message, .. } => write!(f, "{message} ({code})"),
            Object::Forwarded(raw) => f.write_str(raw.get()),
        }
    }
}

impl std::error::Error for McpError {}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_refusal_names_what_is_served_instead() {
        let rows = [
            (r#"{"data":{"supported":["2026-07-28"]}}"#, 1, "ours"),
            (r#"{"data":{"supported":["1900-01-01","2025-11-25","2026-07-28"]}}"#, 2, "some ours"),
            (r#"{"data":{"supported":[]}}"#, 0, "none"),
            (r#"{"data":{"supported":"2026-07-28"}}"#, 0, "no list"),
            (r#"{"data":{}}"#, 0, "it does not say"),
            (r#"{"code":-32022}"#, 0, "no data"),
        ];
        for (text, expected, reason) in rows {
            let error = McpError::forwarded(RawValue::from_string(text.to_owned()).unwrap());
            assert_eq!(error.served_instead().len(), expected, "{text}: {reason}");
        }
        assert!(McpError::internal().served_instead().is_empty());
    }

    #[test]
    fn older_revisions_get_no_number_that_they_do_not_know() {
        for (code, expected) in [(MISSING_CLIENT_CAPABILITY, INVALID_REQUEST), (-32002, -32002)] {
            let error = McpError::new(code, "m").in_handshake_words();
            assert_eq!(error.code(), Some(expected));
        }
    }

    #[test]
    fn the_newest_revision_gets_no_number_that_it_forbids() {
        let forwarded =
            |text: &str| McpError::forwarded(RawValue::from_string(text.to_owned()).unwrap());
        let rows = [
            (
                McpError::resource_not_found("a:b"),
                r#"{"code":-32602,"message":"there is no such resource","data":{"uri":"a:b"}}"#,
                "not there",
            ),
            (
                forwarded(r#"{"code":-32002,"message":"gone","extra":1}"#),
                r#"{"code":-32602,"extra":1,"message":"gone"}"#,
                "somebody else's, its other members kept",
            ),
            (
                forwarded(r#"{"code":-32042,"message":"open a URL"}"#),
                r#"{"code":-32603,"message":"open a URL"}"#,
                "known to 2025-11-25 only",
            ),
            (
                McpError::new(MISSING_CLIENT_CAPABILITY, "m"),
                r#"{"code":-32021,"message":"m"}"#,
                "its own",
            ),
            (McpError::new(-32001, "m"), r#"{"code":-32001,"message":"m"}"#, "allowed"),
            (McpError::new(7, "m"), r#"{"code":7,"message":"m"}"#, "a number of the service's"),
            (forwarded(r#"{"message" : "m"}"#), r#"{"message" : "m"}"#, "no number at all"),
        ];
        for (error, expected, reason) in rows {
            let mut out = Vec::new();
            error.in_stateless_words().write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{reason}");
        }
    }
}
