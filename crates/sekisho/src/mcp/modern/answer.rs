//! What 2026-07-28 adds to every result: its type, how long it stays fresh, and who answered.
//! Added to the text as it is, so that nothing else in it changes; what is there already, stays.

use sekisho_protocol::mcp::{Json, McpError};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::mcp::input::InputRequest;
use crate::mcp::service::CacheHint;

const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// Whether clients may keep answers to this method.
pub(super) fn is_cacheable(method: &str) -> bool {
    matches!(
        method,
        "server/discover"
            | "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
    )
}

/// What stands in a result of what this revision adds.
#[derive(Debug, Default)]
pub(super) struct There<'a> {
    result_type: Option<Json<'a>>,
    ttl_ms: Option<Json<'a>>,
    cache_scope: Option<Json<'a>>,
    meta: Option<Json<'a>>,
}

impl<'a> There<'a> {
    pub(super) fn read(result: &'a RawValue) -> Result<Self, McpError> {
        let names = ["resultType", "ttlMs", "cacheScope", "_meta"];
        let there = Json::from(result).named(names);
        let [result_type, ttl_ms, cache_scope, meta] = there.ok_or_else(not_an_object)?;
        Ok(Self { result_type, ttl_ms, cache_scope, meta })
    }

    /// Whether it says who answered, or says what nobody can add that to.
    pub(super) fn names_server(&self) -> bool {
        // Texts of up to 32 bytes are looked for many times faster.
        let (_, name) = SERVER_INFO.split_at("io.".len());
        let may_be_added_to = |meta: Json<'_>| meta.is_object() && !meta.get().contains(name);
        !self.meta.is_none_or(may_be_added_to)
    }
}

/// A result that ends the call. `server_info` is of no interest where it is there already.
pub(super) fn complete(
    result: &RawValue,
    there: &There<'_>,
    server_info: Option<&RawValue>,
    hint: Option<CacheHint>,
) -> Result<String, McpError> {
    let text = result.get();
    let inside = text.strip_prefix('{').ok_or_else(not_an_object)?;
    let server_info = server_info.filter(|_| !there.names_server()).map(RawValue::get);

    let mut out = String::with_capacity(text.len() + server_info.map_or(0, str::len) + 128);
    out.push('{');
    if there.result_type.is_none() {
        out.push_str(r#""resultType":"complete","#);
    }
    if let Some(CacheHint { ttl_ms, is_public }) = hint {
        if there.ttl_ms.is_none() {
            out.push_str(r#""ttlMs":"#);
            out.push_str(&ttl_ms.to_string());
            out.push(',');
        }
        if there.cache_scope.is_none() {
            let scope = if is_public { "public" } else { "private" };
            out.push_str(r#""cacheScope":""#);
            out.push_str(scope);
            out.push_str("\",");
        }
    }
    let Some(server_info) = server_info else {
        out.push_str(inside);
        return Ok(out);
    };
    match there.meta {
        None => {
            out.push_str(r#""_meta":{"io.modelcontextprotocol/serverInfo":"#);
            out.push_str(server_info);
            out.push('}');
            if !inside.trim_start().starts_with('}') {
                out.push(',');
            }
            out.push_str(inside.trim_start());
        }
        Some(meta) => {
            // Where `_meta` stands in the text it was read from.
            let start = meta.get().as_ptr() as usize - inside.as_ptr() as usize;
            let (before, after) = inside.split_at_checked(start + 1).ok_or_else(not_an_object)?;
            out.push_str(before);
            out.push('"');
            out.push_str(SERVER_INFO);
            out.push_str("\":");
            out.push_str(server_info);
            if !after.trim_start().starts_with('}') {
                out.push(',');
            }
            out.push_str(after);
        }
    }
    Ok(out)
}

/// A result that asks the client to call again with what it answers.
pub(super) fn input_required(
    requests: &[InputRequest],
    state: &str,
    server_info: Option<&RawValue>,
) -> Result<String, McpError> {
    #[derive(Serialize)]
    struct Asked<'a> {
        method: &'a str,
        params: &'a RawValue,
    }
    let asked = |request: &InputRequest| {
        let asked = Asked { method: &request.method, params: &request.params };
        Some((request.key.clone().into_owned(), serde_json::to_value(asked).ok()?))
    };
    let requests: serde_json::Map<String, serde_json::Value> =
        requests.iter().filter_map(asked).collect();
    let mut result = serde_json::json!({ "resultType": "input_required", "requestState": state });
    if !requests.is_empty()
        && let Some(members) = result.as_object_mut()
    {
        members.insert("inputRequests".to_owned(), serde_json::Value::Object(requests));
    }
    let result = to_raw_value(&result).map_err(|_| McpError::internal())?;
    complete(&result, &There::read(&result)?, server_info, None)
}

fn not_an_object() -> McpError {
    tracing::error!("the service's result is no object that names its members once");
    McpError::internal()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_result_says_what_it_is_and_keeps_the_rest_byte_for_byte() {
        const INFO: &str = r#"{"name":"s"}"#;
        const META: &str = r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}}"#;
        let public = Some(CacheHint { ttl_ms: 5, is_public: true });
        let rows = [
            (
                r#"{"a" : 1.0e2}"#,
                None,
                format!(r#"{{"resultType":"complete",{META},"a" : 1.0e2}}"#),
                "the rest as it came",
            ),
            ("{}", None, format!(r#"{{"resultType":"complete",{META}}}"#), "nothing else"),
            ("{ }", None, format!(r#"{{"resultType":"complete",{META}}}"#), "nothing but space"),
            (
                r#"{"tools":[]}"#,
                public,
                format!(
                    r#"{{"resultType":"complete","ttlMs":5,"cacheScope":"public",{META},"tools":[]}}"#
                ),
                "a list that may be kept",
            ),
            (
                r#"{"ttlMs":9,"cacheScope":"private","tools":[]}"#,
                public,
                format!(
                    r#"{{"resultType":"complete",{META},"ttlMs":9,"cacheScope":"private","tools":[]}}"#
                ),
                "what the service says itself, stays",
            ),
            (
                r#"{"_meta":{"x":1},"a":2}"#,
                None,
                r#"{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"},"x":1},"a":2}"#.to_owned(),
                "beside the service's own",
            ),
            (
                r#"{"a":2,"_meta":{ }}"#,
                None,
                r#"{"resultType":"complete","a":2,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"} }}"#.to_owned(),
                "into an empty one",
            ),
            (
                r#"{"_meta":{"io.modelcontextprotocol/serverInfo":{}},"resultType":"x"}"#,
                None,
                r#"{"_meta":{"io.modelcontextprotocol/serverInfo":{}},"resultType":"x"}"#.to_owned(),
                "all is there",
            ),
        ];
        let info = RawValue::from_string(INFO.to_owned()).unwrap();
        for (result, hint, expected, reason) in rows {
            let result = RawValue::from_string(result.to_owned()).unwrap();
            let there = There::read(&result).unwrap();
            let stamped = complete(&result, &there, Some(&info), hint).unwrap();
            assert_eq!(stamped, expected, "{result}: {reason}");
        }
        for result in ["[]", "1", r#"{"_meta":{},"_meta":{}}"#] {
            let result = RawValue::from_string(result.to_owned()).unwrap();
            let there = There::read(&result);
            let stamped = there.and_then(|there| complete(&result, &there, Some(&info), None));
            assert!(stamped.is_err(), "{result} is no result");
        }
    }
}
