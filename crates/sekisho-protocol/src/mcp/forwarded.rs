//! What changes in a message on its way to another server and back; all else stays byte for byte,
//! so that members nobody here knows of survive.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::McpError;
use super::message::write_text;

/// What every member of `_meta` that is for the next server alone begins with.
const OF_ONE_HOP: &str = "io.modelcontextprotocol/";
const PROGRESS_TOKEN: &str = "progressToken";

/// `params` for a server with a handshake: `_meta` says nothing of the client that was said by
/// `initialize`, and progress is asked for under `progress_token`, if the client asked for it.
///
/// # Errors
/// −32602 if `_meta` is no object that names its members once.
pub fn params_for_handshake(
    params: &RawValue,
    progress_token: u64,
) -> Result<Cow<'_, RawValue>, McpError> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow, default, rename = "_meta")]
        meta: Option<&'a RawValue>,
    }
    let text = params.get();
    // A name may hide behind escapes.
    if !text.contains("_meta") && !text.contains('\\') {
        return Ok(Cow::Borrowed(params));
    }
    let wrong = || McpError::invalid_params("params._meta is one object, its members named once");
    let Params { meta } = serde_json::from_str(text).map_err(|_| wrong())?;
    let Some(meta) = meta else { return Ok(Cow::Borrowed(params)) };
    let Members(members) = serde_json::from_str(meta.get()).map_err(|_| wrong())?;
    let changes = |name: &str| name.starts_with(OF_ONE_HOP) || name == PROGRESS_TOKEN;
    if !members.iter().any(|(name, _)| changes(name)) {
        return Ok(Cow::Borrowed(params));
    }
    let mut rewritten = Vec::with_capacity(meta.get().len());
    rewritten.push(b'{');
    for (name, value) in members.iter().filter(|(name, _)| !name.starts_with(OF_ONE_HOP)) {
        if rewritten.len() > 1 {
            rewritten.push(b',');
        }
        write_text(name, &mut rewritten);
        rewritten.push(b':');
        if name == PROGRESS_TOKEN && value.get() != "null" {
            rewritten.extend_from_slice(progress_token.to_string().as_bytes());
        } else {
            rewritten.extend_from_slice(value.get().as_bytes());
        }
    }
    rewritten.push(b'}');
    let rewritten = String::from_utf8(rewritten).map_err(|_| wrong())?;
    replaced(text, meta, &rewritten).map(Cow::Owned).ok_or_else(wrong)
}

/// Which request `notifications/progress` is about, if its token is one of ours.
pub fn progress_token_in(params: &RawValue) -> Option<u64> {
    Progress::read(params)?.token.get().parse().ok()
}

/// `params` of `notifications/progress` under the token that the client chose.
pub fn progress_under(params: &RawValue, token: &RawValue) -> Option<Box<RawValue>> {
    replaced(params.get(), Progress::read(params)?.token, token.get())
}

#[derive(Deserialize)]
struct Progress<'a> {
    #[serde(borrow, rename = "progressToken")]
    token: &'a RawValue,
}

impl<'a> Progress<'a> {
    fn read(params: &'a RawValue) -> Option<Self> {
        serde_json::from_str(params.get()).ok()
    }
}

/// `text` with other words where `part` stands, which was read out of it.
fn replaced(text: &str, part: &RawValue, words: &str) -> Option<Box<RawValue>> {
    let start = (part.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let (before, rest) = text.split_at_checked(start)?;
    let after = rest.get(part.get().len()..)?;
    RawValue::from_string([before, words, after].concat()).ok()
}

/// The members of an object in their order, each named once.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(serde::de::Error::custom("a member is named twice"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A name, borrowed unless something in it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn only_what_is_for_us_is_taken_out_of_params() {
        let rows = [
            (r#"{"name":"a","x" : 1.0e2}"#, r#"{"name":"a","x" : 1.0e2}"#, "nothing to change"),
            (r#"{"a":"\u0041"}"#, r#"{"a":"\u0041"}"#, "escapes, but no _meta"),
            (r#"{"_meta":{"traceparent":"00-1"}}"#, r#"{"_meta":{"traceparent":"00-1"}}"#, "kept"),
            (
                r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","traceparent" : "t", "io.modelcontextprotocol/logLevel":"debug"},"b":2}"#,
                r#"{"_meta":{"traceparent":"t"},"b":2}"#,
                "what a handshake says is not said again",
            ),
            (
                r#"{"b":2, "_meta": {"progressToken":"mine","x":{"y" : 1}} }"#,
                r#"{"b":2, "_meta": {"progressToken":7,"x":{"y" : 1}} }"#,
                "progress under our number",
            ),
            (
                r#"{"\u005fmeta":{"io.modelcontextprotocol\/clientInfo":{}}}"#,
                r#"{"\u005fmeta":{}}"#,
                "names behind escapes",
            ),
            (r#"{"_meta":{"progressToken":null}}"#, r#"{"_meta":{"progressToken":null}}"#, "none"),
        ];
        for (params, expected, reason) in rows {
            let params = raw(params);
            let forwarded = params_for_handshake(&params, 7).unwrap();
            assert_eq!(forwarded.get(), expected, "{params}: {reason}");
        }
        for (params, reason) in [
            (r#"{"_meta":1}"#, "no object"),
            (r#"{"_meta":{},"_meta":{}}"#, "two of them"),
            (r#"{"_meta":{"a":1,"\u0061":2}}"#, "a member twice, once in disguise"),
        ] {
            assert!(params_for_handshake(&raw(params), 7).is_err(), "{params}: {reason}");
        }
    }

    #[test]
    fn progress_comes_back_under_the_clients_token() {
        let params = raw(r#"{"progress":1 ,"progressToken": 12,"message":"half"}"#);
        assert_eq!(progress_token_in(&params), Some(12));
        let under = progress_under(&params, &raw(r#""mine""#)).unwrap();
        assert_eq!(under.get(), r#"{"progress":1 ,"progressToken": "mine","message":"half"}"#);
        for foreign in [r#"{"progressToken":"12"}"#, r#"{"progressToken":-1}"#, "{}", "[]"] {
            assert_eq!(progress_token_in(&raw(foreign)), None, "{foreign} is none of ours");
        }
    }
}
