//! JSON-RPC 2.0 messages as MCP has them: parsed once, strictly, and not deeper than needed.
//!
//! A member named twice is refused, since two readers of such a text may see two messages. The id
//! is kept as text and echoed byte for byte; `params`, `result` and `error` are never rewritten.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{INVALID_REQUEST, McpError, PARSE_ERROR};
use super::json::Json;

/// How deep arrays and objects may be nested; as deep as `serde_json` itself follows.
pub const JSON_DEPTH_MAX: usize = 128;
/// How many messages one array may carry.
pub const BATCH_MESSAGES_MAX: usize = 100;
/// How long an id may be, quotes included: it is kept while the request runs.
pub const REQUEST_ID_BYTES_MAX: usize = 1024;

/// The id of a request: a string or an integer, as the exact JSON text it came in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// The JSON text, quotes included.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// An id met inside other parameters, such as `requestId` of `notifications/cancelled`.
    pub fn parse(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        let fits = text.len() <= REQUEST_ID_BYTES_MAX;
        (fits && (text.starts_with('"') || is_integer(text))).then(|| Self(text.into()))
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Something to be answered.
#[derive(Debug)]
pub struct Request<'a> {
    /// Echoed in the answer.
    pub id: RequestId,
    /// What to do.
    pub method: Cow<'a, str>,
    /// An object as it came, or nothing.
    pub params: Option<&'a RawValue>,
}

/// Something to be known, never answered.
#[derive(Debug)]
pub struct Notification<'a> {
    /// What happened.
    pub method: Cow<'a, str>,
    /// An object as it came, or nothing.
    pub params: Option<&'a RawValue>,
}

/// The other side's answer to a request of ours.
#[derive(Debug)]
pub struct Response<'a> {
    /// Which request; nothing if the other side could not read it.
    pub id: Option<RequestId>,
    /// `result`, or `error`, as it came.
    pub outcome: Result<&'a RawValue, &'a RawValue>,
}

/// One message.
#[derive(Debug)]
pub enum Message<'a> {
    /// Has an id and a method.
    Request(Request<'a>),
    /// Has a method only.
    Notification(Notification<'a>),
    /// Has a result or an error.
    Response(Response<'a>),
}

/// What a body or line holds.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// One message.
    Single(Message<'a>),
    /// An array of them, in order; some may be broken while others are fine.
    Batch(Vec<Result<Message<'a>, MessageError>>),
}

/// Why a text is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// No JSON, or nested deeper than [`JSON_DEPTH_MAX`].
    #[error("the body is not JSON, or nested more than 128 deep")]
    NotJson,
    /// JSON, but not a message.
    #[error("{reason}")]
    Invalid {
        /// The id, where it could be read.
        id: Option<RequestId>,
        /// What is wrong.
        reason: &'static str,
    },
}

impl MessageError {
    /// The id to answer to, where it could be read.
    pub fn id(&self) -> Option<&RequestId> {
        match self {
            Self::NotJson => None,
            Self::Invalid { id, .. } => id.as_ref(),
        }
    }

    /// The answer: −32700 or −32600.
    pub fn to_mcp_error(&self) -> McpError {
        let code = match self {
            Self::NotJson => PARSE_ERROR,
            Self::Invalid { .. } => INVALID_REQUEST,
        };
        McpError::new(code, self.to_string())
    }
}

impl<'a> Incoming<'a> {
    /// Reads a body or a line.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let text = std::str::from_utf8(body).map_err(|_| MessageError::NotJson)?;
        if is_too_deep(body) {
            return Err(MessageError::NotJson);
        }
        if text.trim_ascii_start().starts_with('[') {
            return parse_batch(text).map(Self::Batch);
        }
        Message::parse(text).map(Self::Single)
    }
}

fn parse_batch(text: &str) -> Result<Vec<Result<Message<'_>, MessageError>>, MessageError> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| MessageError::NotJson)?;
    if elements.is_empty() {
        return Err(invalid(None, "a batch holds at least one message"));
    }
    if elements.len() > BATCH_MESSAGES_MAX {
        return Err(invalid(None, "a batch holds at most 100 messages"));
    }
    Ok(elements.into_iter().map(|element| Message::parse(element.get())).collect())
}

/// Whether brackets nest beyond the limit; those in strings do not count.
fn is_too_deep(body: &[u8]) -> bool {
    // Nearly no message has so many brackets at all, and counting them costs next to nothing.
    if brackets(body) <= JSON_DEPTH_MAX {
        return false;
    }
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for &byte in body {
        if in_string {
            if escaped {
                escaped = false;
            } else if byte == b'\\' {
                escaped = true;
            } else if byte == b'"' {
                in_string = false;
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            return true;
        }
    }
    false
}

/// How many brackets open in it; counted in bytes, many at once.
fn brackets(body: &[u8]) -> usize {
    const AT_ONCE: usize = u8::MAX as usize;
    let in_some =
        |some: &[u8]| -> u8 { some.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum() };
    body.chunks(AT_ONCE).map(|some| usize::from(in_some(some))).sum()
}

impl<'a> Message<'a> {
    fn parse(text: &'a str) -> Result<Self, MessageError> {
        let envelope: Envelope<'a> = serde_json::from_str(text).map_err(|error| {
            if error.is_data() {
                invalid(None, "a message is one object that names each member once")
            } else {
                MessageError::NotJson
            }
        })?;
        envelope.into_message()
    }
}

fn invalid(id: Option<RequestId>, reason: &'static str) -> MessageError {
    MessageError::Invalid { id, reason }
}

/// The members of a message, before anything is known about them.
#[derive(Default)]
struct Envelope<'a> {
    jsonrpc: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    fn into_message(self) -> Result<Message<'a>, MessageError> {
        let id = self.id.and_then(RequestId::parse);
        if self.jsonrpc.and_then(|said| Json::from(said).as_text()).as_deref() != Some("2.0") {
            return Err(invalid(id, "a message says \"jsonrpc\":\"2.0\""));
        }
        let Some(method) = self.method else { return self.into_response(id) };
        if self.result.is_some() || self.error.is_some() {
            return Err(invalid(id, "a message is a question or an answer, not both"));
        }
        let Some(method) = Json::from(method).as_text() else {
            return Err(invalid(id, "a method is text"));
        };
        let params = self.params.filter(|params| params.get() != "null");
        if params.is_some_and(|params| !params.get().starts_with('{')) {
            return Err(invalid(id, "params are an object"));
        }
        match (self.id, id) {
            (None, _) => Ok(Message::Notification(Notification { method, params })),
            (Some(_), Some(id)) => Ok(Message::Request(Request { id, method, params })),
            (Some(_), None) => Err(invalid(None, "an id is a short string or an integer")),
        }
    }

    fn into_response(self, id: Option<RequestId>) -> Result<Message<'a>, MessageError> {
        let outcome = match (self.result, self.error) {
            (Some(result), None) => Ok(result),
            (None, Some(error)) => Err(error),
            (Some(_), Some(_)) => return Err(invalid(id, "an answer has a result or an error")),
            (None, None) => {
                return Err(invalid(id, "a message has a method, a result or an error"));
            }
        };
        // Only an error may answer a request that could not be read.
        if id.is_none() && (outcome.is_ok() || self.id.is_some_and(|id| id.get() != "null")) {
            return Err(invalid(None, "an answer says which request it answers"));
        }
        Ok(Message::Response(Response { id, outcome }))
    }
}

enum Member {
    Jsonrpc,
    Id,
    Method,
    Params,
    Result,
    Error,
    Other(String),
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Member;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Member, E> {
                Ok(match name {
                    "jsonrpc" => Member::Jsonrpc,
                    "id" => Member::Id,
                    "method" => Member::Method,
                    "params" => Member::Params,
                    "result" => Member::Result,
                    "error" => Member::Error,
                    other => Member::Other(other.to_owned()),
                })
            }
        }
        deserializer.deserialize_identifier(Name)
    }
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
                let mut envelope = Envelope::default();
                let mut others = HashSet::new();
                while let Some(member) = map.next_key()? {
                    let place = match member {
                        Member::Jsonrpc => &mut envelope.jsonrpc,
                        Member::Id => &mut envelope.id,
                        Member::Method => &mut envelope.method,
                        Member::Params => &mut envelope.params,
                        Member::Result => &mut envelope.result,
                        Member::Error => &mut envelope.error,
                        Member::Other(name) => {
                            if !others.insert(name) {
                                return Err(A::Error::custom("a member is named twice"));
                            }
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if place.replace(map.next_value()?).is_some() {
                        return Err(A::Error::custom("a member is named twice"));
                    }
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The answer that carries `result`.
pub fn write_result(id: &RequestId, result: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(40 + id.0.len() + result.len());
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.0.as_bytes());
    out.extend_from_slice(br#","result":"#);
    out.extend_from_slice(result.as_bytes());
    out.push(b'}');
    out
}

/// The answer that carries `error`. An id that could not be read is left out: MCP has no null ids.
pub fn write_error(id: Option<&RequestId>, error: &McpError) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    out.extend_from_slice(br#"{"jsonrpc":"2.0","#);
    if let Some(id) = id {
        out.extend_from_slice(br#""id":"#);
        out.extend_from_slice(id.0.as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(br#""error":"#);
    error.write(&mut out);
    out.push(b'}');
    out
}

/// A request of ours, by a number we chose; `params` are the text of an object.
pub fn write_request(id: u64, method: &str, params: Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(80 + params.map_or(0, str::len));
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.to_string().as_bytes());
    out.extend_from_slice(br#","method":"#);
    write_text(method, &mut out);
    if let Some(params) = params {
        out.extend_from_slice(br#","params":"#);
        out.extend_from_slice(params.as_bytes());
    }
    out.push(b'}');
    out
}

/// A notification of ours.
pub fn write_notification(method: &str, params: Option<&RawValue>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + params.map_or(0, |params| params.get().len()));
    out.extend_from_slice(br#"{"jsonrpc":"2.0","method":"#);
    write_text(method, &mut out);
    if let Some(params) = params {
        out.extend_from_slice(br#","params":"#);
        out.extend_from_slice(params.get().as_bytes());
    }
    out.push(b'}');
    out
}

/// `text` as a JSON string.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    // Writing text into memory does not fail; if it did, an empty string keeps the JSON whole.
    if serde_json::to_writer(&mut *out, text).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"\"\"");
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

    use proptest::prelude::*;
    use serde_json::value::to_raw_value;

    use super::*;

    fn kind(text: &str) -> &'static str {
        match Incoming::parse(text.as_bytes()) {
            Ok(Incoming::Single(Message::Request(_))) => "request",
            Ok(Incoming::Single(Message::Notification(_))) => "notification",
            Ok(Incoming::Single(Message::Response(_))) => "response",
            Ok(Incoming::Batch(_)) => "batch",
            Err(MessageError::NotJson) => "-32700",
            Err(MessageError::Invalid { id: Some(_), .. }) => "-32600 with id",
            Err(MessageError::Invalid { id: None, .. }) => "-32600",
        }
    }

    #[test]
    fn a_text_is_a_message_of_one_kind_or_refused() {
        let rows = [
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, "request", "integer id"),
            (r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#, "request", "string id"),
            (r#"{"jsonrpc":"2.0","id":-7,"method":"ping"}"#, "request", "negative id"),
            (
                r#"{"jsonrpc":"2.0","id":12345678901234567890,"method":"x"}"#,
                "request",
                "beyond 64 bits",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x","params":null}"#,
                "request",
                "some clients write null",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x","future":[{}]}"#,
                "request",
                "members of later revisions",
            ),
            (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, "notification", "no id"),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "response", "an answer"),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#, "response", "error"),
            (r#"{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}"#, "response", "unread id"),
            (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, "response", "unread id as others say it"),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, "batch", "an array"),
            (r#" [{"jsonrpc":"2.0","id":1,"method":"ping"}] "#, "batch", "with space around"),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, "-32600", "null is no id"),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, "-32600", "no fraction"),
            (r#"{"jsonrpc":"2.0","id":1e3,"method":"ping"}"#, "-32600", "no exponent"),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, "-32600", "no object"),
            (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, "-32600", "no truth value"),
            (r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}"#, "-32600", "id twice"),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#,
                "-32600",
                "method twice",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call"}"#,
                "-32600",
                "method twice, one in disguise",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","x":1,"x":2}"#,
                "-32600",
                "an unknown member twice",
            ),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, "-32600 with id", "another protocol"),
            (r#"{"id":1,"method":"ping"}"#, "-32600 with id", "no protocol"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "-32600 with id", "neither asks nor answers"),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "-32600 with id", "method is no text"),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x","result":{}}"#,
                "-32600 with id",
                "asks and answers",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
                "-32600 with id",
                "result and error",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}"#,
                "-32600 with id",
                "params without names",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x","params":"x"}"#,
                "-32600 with id",
                "params that are text",
            ),
            (r#"{"jsonrpc":"2.0","result":{}}"#, "-32600", "answers nothing"),
            ("[]", "-32600", "an empty batch"),
            ("1", "-32600", "a number"),
            (r#""ping""#, "-32600", "text"),
            ("null", "-32600", "null"),
            ("", "-32700", "nothing"),
            ("{", "-32700", "cut off"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}x"#, "-32700", "something behind it"),
            (r#"{"jsonrpc":"2.0","id":01,"method":"ping"}"#, "-32700", "not a JSON number"),
            (r"{'jsonrpc':'2.0'}", "-32700", "not JSON quotes"),
            ("[1,", "-32700", "a batch cut off"),
        ];
        for (text, expected, reason) in rows {
            assert_eq!(kind(text), expected, "{text}: {reason}");
        }
    }

    #[test]
    fn what_is_too_long_too_many_or_too_deep_is_refused() {
        let id = |length: usize| {
            format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"x"}}"#, "i".repeat(length))
        };
        assert_eq!(kind(&id(REQUEST_ID_BYTES_MAX - 2)), "request");
        assert_eq!(kind(&id(REQUEST_ID_BYTES_MAX - 1)), "-32600");

        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let batch = |count: usize| format!("[{}]", vec![ping; count].join(","));
        assert_eq!(kind(&batch(BATCH_MESSAGES_MAX)), "batch");
        assert_eq!(kind(&batch(BATCH_MESSAGES_MAX + 1)), "-32600");

        let nested = |depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{open}{close}}}}}"#)
        };
        assert_eq!(kind(&nested(JSON_DEPTH_MAX - 2)), "request");
        assert_eq!(kind(&nested(JSON_DEPTH_MAX - 1)), "-32700");
        let brackets_in_text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":"\"{}"}}}}"#,
            "[".repeat(500)
        );
        assert_eq!(kind(&brackets_in_text), "request");
        assert_eq!(Incoming::parse(b"\"\xff\"").unwrap_err(), MessageError::NotJson);
    }

    #[test]
    fn a_method_is_read_as_json_reads_it() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools\/c\u0061ll"}"#;
        let Ok(Incoming::Single(Message::Request(request))) = Incoming::parse(text.as_bytes())
        else {
            panic!("{text} is a request");
        };
        assert_eq!(request.method, "tools/call");
    }

    #[test]
    fn an_error_has_the_id_or_none_at_all() {
        let error = McpError::new(-32601, "no \"x\"").with_data(&["a"]);
        let id = RequestId("7".into());
        let rows = [
            (
                Some(&id),
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"no \"x\"","data":["a"]}}"#,
            ),
            (
                None,
                r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"no \"x\"","data":["a"]}}"#,
            ),
        ];
        for (id, expected) in rows {
            assert_eq!(String::from_utf8(write_error(id, &error)).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn ids_and_params_come_back_byte_for_byte(
            name in any::<String>(),
            value in any::<String>(),
            number in any::<i128>(),
            textual in any::<bool>(),
        ) {
            let id = if textual {
                serde_json::to_string(&name.chars().take(100).collect::<String>()).unwrap()
            } else {
                number.to_string()
            };
            let member = |text: &str| serde_json::to_string(text).unwrap();
            let params = format!("{{ {} : [ {} , 1.0e+5 ] }}", member(&name), member(&value));
            let body = format!(r#"{{"params":{params},"method":"x","id":{id},"jsonrpc":"2.0"}}"#);
            let Ok(Incoming::Single(Message::Request(request))) = Incoming::parse(body.as_bytes())
            else { panic!("{body} is a request") };
            prop_assert_eq!(request.id.as_json(), &id);
            prop_assert_eq!(request.params.unwrap().get(), &params);

            let answer = write_result(&request.id, request.params.unwrap().get());
            let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{params}}}"#);
            prop_assert_eq!(String::from_utf8(answer).unwrap(), expected);
        }

        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Incoming::parse(&body);
        }

        #[test]
        fn what_we_write_can_be_read(method in any::<String>(), text in any::<String>()) {
            let params = to_raw_value(&serde_json::json!({ "text": text })).unwrap();
            let line = write_notification(&method, Some(&params));
            let Ok(Incoming::Single(Message::Notification(read))) = Incoming::parse(&line)
            else { panic!("a notification") };
            prop_assert_eq!(read.method, method);
            prop_assert_eq!(read.params.unwrap().get(), params.get());
        }
    }
}
